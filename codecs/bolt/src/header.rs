//! The header block: `keyLen(4) key valLen(4) value`, again and again, without a count. A length of -1 stands for null;
//! a pair with a null in it says nothing, but stays where it is.

use std::ops::Range;

use wiremesh::DecodeError;

use crate::wire::u32_at;

/// The bytes that a pair takes.
pub(crate) fn size_of(name: &str, value: &str) -> usize {
    8usize.saturating_add(name.len()).saturating_add(value.len())
}

/// What every request is asked for, found in the one walk that checks the block.
///
/// One word, as [`Layout`](crate::layout::Layout) is: bits 0-31 the place of the service, 32-61 that of the method,
/// 62-63 how a Java client calls. A place is an offset and a length of 15 bits each; offset 0 stands for nowhere.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Index(u64);

/// How a SOFARPC client for Java calls; others do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invoke {
    /// No `type`.
    Unsaid,
    /// `sync` or `future`, with an answer that is made into objects of their own classes.
    Wait,
    /// `callback`.
    Callback,
    /// Something else, or an answer for a generic call.
    Other,
}

impl Index {
    /// Walks the block, and refuses it unless it is pairs to its end.
    #[inline]
    pub(crate) fn of(block: &[u8]) -> Result<Self, DecodeError> {
        if block.is_empty() { Ok(Self(0)) } else { Self::of_pairs(block) }
    }

    fn of_pairs(block: &[u8]) -> Result<Self, DecodeError> {
        let (mut found, mut at) = (Found::default(), 0usize);
        while at < block.len() {
            let Some(spot) = Spot::at(block, at) else { break };
            if spot.key_len < u32::BITS && Found::LENGTHS & (1 << spot.key_len) != 0 {
                found.note(block, at, &spot);
            }
            at = spot.end;
        }
        if at != block.len() {
            return Err(DecodeError::Malformed { what: "header key/value block" });
        }
        Ok(found.index())
    }

    /// Value of `service`, else of `sofa_head_target_service`.
    #[inline]
    pub(crate) fn service(self, block: &[u8]) -> Option<&[u8]> {
        slice(block, self.0 as u32)
    }

    /// Value of `sofa_head_method_name`.
    #[inline]
    pub(crate) fn method(self, block: &[u8]) -> Option<&[u8]> {
        slice(block, (self.0 >> 32) as u32 & PLACE)
    }

    #[inline]
    pub(crate) fn invoke(self) -> Invoke {
        match self.0 >> 62 {
            0 => Invoke::Unsaid,
            1 => Invoke::Wait,
            2 => Invoke::Callback,
            _ => Invoke::Other,
        }
    }
}

/// The bits of a place.
const PLACE: u32 = (1 << 30) - 1;

/// The bytes at a place.
#[inline]
fn slice(block: &[u8], place: u32) -> Option<&[u8]> {
    let (at, len) = (place >> 15 & 0x7fff, place & 0x7fff);
    if at == 0 { None } else { block.get(at as usize..)?.get(..len as usize) }
}

/// What an index is made from: places, and values.
#[derive(Default)]
struct Found<'a> {
    service: u32,
    target: u32,
    method: u32,
    invoke: Option<&'a [u8]>,
    generic: Option<&'a [u8]>,
}

impl<'a> Found<'a> {
    /// One bit for the length of every name in [`note`](Self::note).
    const LENGTHS: u32 = 1 << 4 | 1 << 7 | 1 << 21 | 1 << 22 | 1 << 24;

    #[inline]
    fn note(&mut self, block: &'a [u8], at: usize, spot: &Spot) {
        let Some(Pair { name, value, .. }) = spot.pair(block, at) else { return };
        let place = (spot.value as u32) << 15 | value.len() as u32;
        match name {
            b"service" => self.service = place,
            b"sofa_head_target_service" => self.target = place,
            b"sofa_head_method_name" => self.method = place,
            b"type" => self.invoke = Some(value),
            b"sofa_head_generic_type" => self.generic = Some(value),
            _ => {}
        }
    }

    fn index(&self) -> Index {
        let service = if self.service == 0 { self.target } else { self.service };
        let invoke: u64 = match (self.invoke, self.generic) {
            (None, _) => 0,
            (Some(b"sync" | b"future"), None | Some(b"0")) => 1,
            (Some(b"callback"), _) => 2,
            _ => 3,
        };
        Index(u64::from(service) | u64::from(self.method) << 32 | invoke << 62)
    }
}

/// The value of `name` that a receiver would use: the last one.
#[inline]
pub(crate) fn find<'a>(block: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (mut at, mut found) = (0usize, None);
    while let Some(spot) = Spot::at(block, at) {
        if spot.key_len as usize == name.len()
            && spot.value_len != NULL
            && block.get(at.wrapping_add(4)..spot.value.wrapping_sub(4)) == Some(name)
        {
            found = block.get(spot.value..spot.end);
        }
        at = spot.end;
    }
    found
}

/// The pairs of a block that was [checked](Index::of), nulls left out.
pub(crate) fn pairs(block: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    let mut at = 0usize;
    std::iter::from_fn(move || {
        loop {
            let start = at;
            let spot = Spot::at(block, start)?;
            at = spot.end;
            if let Some(pair) = spot.pair(block, start) {
                return Some(pair);
            }
        }
    })
}

/// A name, its value, and where in the block the two lie.
pub(crate) struct Pair<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) span: Range<usize>,
}

/// A length that stands for null.
const NULL: u32 = u32::MAX;

/// Where the parts of a pair are. Lengths are below 2^32 each, so that no sum of offsets overflows.
struct Spot {
    key_len: u32,
    value_len: u32,
    value: usize,
    end: usize,
}

impl Spot {
    /// The pair at `at`; its end may be outside of the block, and other negative lengths than -1 put it there.
    #[inline(always)]
    fn at(block: &[u8], at: usize) -> Option<Self> {
        let len = |len: u32| if len == NULL { 0 } else { len as usize };
        let key_len = u32_at(block, at)?;
        let key_end = at.wrapping_add(4).wrapping_add(len(key_len));
        let value_len = u32_at(block, key_end)?;
        let value = key_end.wrapping_add(4);
        Some(Self { key_len, value_len, value, end: value.wrapping_add(len(value_len)) })
    }

    /// The pair itself, unless there is a null in it.
    fn pair<'a>(&self, block: &'a [u8], start: usize) -> Option<Pair<'a>> {
        if self.key_len == NULL || self.value_len == NULL {
            return None;
        }
        let name = block.get(start.wrapping_add(4)..self.value.wrapping_sub(4))?;
        let value = block.get(self.value..self.end)?;
        Some(Pair { name, value, span: start..self.end })
    }
}
