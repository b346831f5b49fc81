//! What stands before the values in an execution, and what it is made for another connection.

use std::{ops::Range, sync::Arc};

use bytes::{Buf, BufMut, BytesMut};

use crate::{
    Command, QueryAttributes,
    frame::BODY,
    wire::{Head, MAX_BODY, Reader, Short},
};

/// The flag of an execution that says that a count of parameters is there where there might be none.
pub(crate) const COUNT_AVAILABLE: u8 = 8;

/// The flag of a bulk execution that says that types follow.
const BULK_TYPES: u16 = 128;

/// An execution up to its values. Positions are those in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Execution {
    /// Of the same layout whether types are in it or not.
    form: Form,
    /// Where the types are that the client says; `None`: those it has said last.
    types: Option<Range<usize>>,
    values: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Single {
        flags: u8,
        /// Parameters, and attributes behind them.
        count: usize,
        /// Which of them are NULL.
        nulls: Range<usize>,
        /// Each type has a name.
        named: bool,
    },
    Bulk {
        flags: u16,
    },
}

/// Why an execution is not what the server would understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It ends too early.
    Short,
    /// It has attributes whose types it does not say.
    Untyped,
}

impl From<Short> for Wrong {
    fn from(Short: Short) -> Self {
        Self::Short
    }
}

impl Execution {
    /// Reads one of a statement with so many parameters; `named`: of a connection with query attributes.
    pub(super) fn parse(
        command: Command,
        body: &[u8],
        parameters: u16,
        named: bool,
    ) -> Result<Self, Wrong> {
        let mut rest = Reader::new(body);
        let parameters = usize::from(parameters);
        let at = |rest: &Reader<'_>| body.len().saturating_sub(rest.rest().len());
        rest.u32()?;
        if command == Command::StmtBulkExecute {
            let flags = rest.u16()?;
            let from = at(&rest);
            let said = flags & BULK_TYPES != 0 && parameters > 0;
            if said {
                rest.take(parameters.saturating_mul(2))?;
            }
            let types = said.then(|| from..at(&rest));
            return Ok(Self { form: Form::Bulk { flags }, types, values: at(&rest) });
        }
        let flags = rest.u8()?;
        rest.u32()?;
        let counted = named && (parameters > 0 || flags & COUNT_AVAILABLE != 0);
        let count = match counted {
            true => usize::try_from(rest.lenenc_int()?).map_err(|_| Wrong::Short)?,
            false => parameters,
        };
        if count < parameters {
            return Err(Wrong::Short);
        }
        let attributes = count > parameters;
        let mut types = None;
        let from = at(&rest);
        let mut nulls = from..from;
        if count > 0 {
            rest.take(count.div_ceil(8))?;
            nulls.end = at(&rest);
            if rest.u8()? != 0 {
                let from = at(&rest);
                match named {
                    true => (0..count).try_for_each(|_| {
                        rest.take(2)?;
                        rest.lenenc_bytes().map(drop)
                    })?,
                    false => rest.take(count.saturating_mul(2)).map(drop)?,
                }
                types = Some(from..at(&rest));
            }
        }
        if attributes && types.is_none() {
            return Err(Wrong::Untyped);
        }
        let form = Form::Single { flags, count, nulls, named };
        Ok(Self { form, types, values: at(&rest) })
    }

    /// The types of the statement's own parameters, two bytes each, as far as the execution says them.
    pub(super) fn types<'a>(
        &self,
        body: &'a [u8],
        parameters: u16,
    ) -> Option<impl Iterator<Item = u8> + Clone + 'a> {
        let named = matches!(self.form, Form::Single { named: true, .. });
        let mut rest = Reader::new(body.get(self.types.clone()?).unwrap_or_default());
        let one = move || {
            let kind = rest.take(2).ok()?;
            if named {
                rest.lenenc_bytes().ok()?;
            }
            Some(kind)
        };
        Some(std::iter::from_fn(one).take(parameters.into()).flatten().copied())
    }

    /// Which values are NULL, a bit each, as far as that is told before them. Behind the last parameter's bit those of
    /// attributes may be told.
    pub(super) fn nulls<'a>(&self, body: &'a [u8], parameters: u16) -> &'a [u8] {
        match &self.form {
            Form::Single { nulls, .. } => {
                let all = body.get(nulls.clone()).unwrap_or_default();
                all.get(..usize::from(parameters).div_ceil(8)).unwrap_or(all)
            }
            Form::Bulk { .. } => &[],
        }
    }

    /// Whether it says types.
    pub(super) fn has_types(&self) -> bool {
        self.types.is_some()
    }

    /// Those beside the statement's own parameters, if all values are there.
    pub(super) fn attributes<'a>(
        &self,
        body: &'a [u8],
        parameters: u16,
    ) -> Option<QueryAttributes<'a>> {
        let Form::Single { count, ref nulls, named: true, .. } = self.form else { return None };
        let types = body.get(self.types.clone()?)?;
        let (nulls, values) = (body.get(nulls.clone())?, body.get(self.values..)?);
        let mut all = QueryAttributes::of(nulls, types, values, count);
        match parameters.checked_sub(1) {
            Some(last) => all.nth(last.into()).map(|_| all),
            None => Some(all),
        }
    }

    /// Whether a cursor is asked for.
    pub(super) fn wants_cursor(&self) -> bool {
        matches!(self.form, Form::Single { flags, .. } if flags & 7 != 0)
    }

    /// Whether a connection of the other kind would read it otherwise.
    pub(super) fn differs(&self, named: bool) -> bool {
        matches!(self.form, Form::Single { named: mine, .. } if mine != named)
    }

    /// What stands before the values, the command's code and the id left out, for a connection with query attributes or
    /// without, where there are none in it. `types` are put in, if it says none itself.
    fn prefix(
        &self,
        body: &[u8],
        parameters: u16,
        to_named: bool,
        types: Option<&[u8]>,
    ) -> Vec<u8> {
        let own = body.get(self.types.clone().unwrap_or_default()).unwrap_or_default();
        let mut out = Vec::new();
        let &Form::Single { flags, count, ref nulls, named } = &self.form else {
            let Form::Bulk { flags } = self.form else { return out };
            out.put_u16_le(if types.is_some() { flags | BULK_TYPES } else { flags });
            out.put_slice(own);
            out.put_slice(types.unwrap_or_default());
            return out;
        };
        let keeps_count = named && to_named;
        let count = if to_named { count } else { parameters.into() };
        out.put_u8(if keeps_count { flags } else { flags & !COUNT_AVAILABLE });
        // How many times: always once.
        out.put_u32_le(1);
        if to_named && (count > 0 || (keeps_count && flags & COUNT_AVAILABLE != 0)) {
            let mut number = BytesMut::new();
            crate::wire::put_lenenc_int(&mut number, count as u64);
            out.put_slice(&number);
        }
        if count == 0 {
            return out;
        }
        let nulls = body.get(nulls.clone()).unwrap_or_default();
        out.put_slice(nulls.get(..count.div_ceil(8)).unwrap_or(nulls));
        let said = self.types.is_some() || types.is_some();
        out.put_u8(said.into());
        if named == to_named && types.is_none() {
            out.put_slice(own);
            return out;
        }
        let mut put = |kind: [u8; 2]| {
            out.put_slice(&kind);
            if to_named {
                // The name, which parameters need not have.
                out.put_u8(0);
            }
        };
        let mut pairs = |types: &mut dyn Iterator<Item = u8>| {
            while let (Some(low), Some(high)) = (types.next(), types.next()) {
                put([low, high]);
            }
        };
        match types {
            Some(types) => pairs(&mut types.iter().copied()),
            None => {
                if let Some(mut types) = self.types(body, parameters) {
                    pairs(&mut types);
                }
            }
        }
        out
    }

    /// How much of `body` is left when the values of attributes are taken off its end: where they end it, and no parameter's
    /// value may have come otherwise.
    fn without_attributes(&self, body: &[u8], parameters: u16) -> Option<usize> {
        if !matches!(self.form, Form::Single { count, .. } if count > parameters.into()) {
            return None;
        }
        let rest = self.attributes(body, parameters)?.rest();
        Some(body.len().saturating_sub(rest.len()))
    }

    /// Makes `frame`, which is the first packet of this execution or its beginning, one for another connection. Answers how
    /// long the packet is now, if it and those that follow have to be cut anew for that.
    ///
    /// `whole`: it is all there, and so are all parameters' values in it. Else the values of attributes stay where they are, behind all that a
    /// connection without attributes reads.
    pub(super) fn rewrite(
        &self,
        frame: &mut BytesMut,
        parameters: u16,
        to_named: bool,
        types: Option<&Arc<[u8]>>,
        whole: bool,
    ) -> Result<Option<usize>, Wrong> {
        /// The statement's id.
        const ID: usize = 4;
        let mut head = Head::read(frame).ok_or(Wrong::Short)?;
        let body = frame.get(BODY..).unwrap_or_default();
        if whole
            && !to_named
            && let Some(left) = self.without_attributes(body, parameters)
        {
            head.len = head.len.saturating_sub(body.len().saturating_sub(left));
            frame.truncate(BODY.saturating_add(left));
        }
        let body = frame.get(BODY..).unwrap_or_default();
        let prefix = self.prefix(body, parameters, to_named, types.map(|types| &types[..]));
        let old = self.values.saturating_sub(ID);
        let len = head.len.saturating_sub(old).saturating_add(prefix.len());
        let from = BODY.saturating_add(ID);
        let start: [u8; BODY + ID] = *frame.first_chunk().ok_or(Wrong::Short)?;
        if let Some(less) = old.checked_sub(prefix.len()) {
            frame.advance(less);
        } else {
            let more = prefix.len().saturating_sub(old);
            let (values, end) = (from.saturating_add(old), frame.len());
            frame.resize(end.saturating_add(more), 0);
            frame.copy_within(values..end, values.saturating_add(more));
        }
        let (first, rest) = frame.split_at_mut_checked(from).ok_or(Wrong::Short)?;
        first.copy_from_slice(&start);
        let place = rest.get_mut(..prefix.len()).ok_or(Wrong::Short)?;
        place.copy_from_slice(&prefix);
        if len != head.len && (head.is_continued() || len >= MAX_BODY) {
            return Ok(Some(len));
        }
        let bytes = Head { len, ..head }.bytes();
        first.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
        Ok(None)
    }
}

/// What a client says beside the statement with an execution of one with so many parameters: `body` is what follows the
/// command's code. `None`: nothing.
pub(crate) fn attributes(body: &[u8], parameters: u16) -> Option<QueryAttributes<'_>> {
    Execution::parse(Command::StmtExecute, body, parameters, true)
        .ok()?
        .attributes(body, parameters)
}
