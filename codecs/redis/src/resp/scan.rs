use wiremesh::{DecodeError, Limits};

use super::{
    MAX_BULK,
    head::{check_end, check_frame, check_line, line_end, number},
};

/// The shortest value there is: a type, CR and LF.
const SHORTEST: u64 = 3;

/// A bit that no count reaches.
const ATTRIBUTES: u64 = 1 << 63;

/// Finds the end of a server's value, and keeps what it has seen of one that is not complete.
#[derive(Debug, Default)]
pub struct Scan {
    /// What is before it is understood.
    at: usize,
    /// From `at` to here there is no end of a line.
    searched: usize,
    /// Nothing new can be learned before this many bytes are there.
    need: usize,
    /// Where the value begins, its attributes left out.
    start: usize,
    /// How many values each of the collections around `at` still lacks, with [`ATTRIBUTES`] where they are attributes.
    open: Vec<u64>,
}

/// Where a whole value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Where it begins; before it stand its attributes.
    pub start: usize,
    /// The offset behind its last byte.
    pub end: usize,
}

impl Scan {
    /// The value that `bytes` begin with; `None` until it is complete. Called again, with the same bytes and more.
    ///
    /// # Errors
    /// With the first bytes that show that no value will come of them, or a longer, wider or deeper one than `limits`
    /// allow. Nothing can be read of the connection from there on.
    #[inline]
    pub fn run(&mut self, limits: &Limits, bytes: &[u8]) -> Result<Option<Reply>, DecodeError> {
        if bytes.len() < self.need {
            return Ok(None);
        }
        let found = self.walk(limits, bytes);
        match found {
            // As most replies go: nothing was kept, and nothing is to be forgotten.
            Ok(Some(_)) if self.at == 0 && self.need == 0 => {}
            Ok(Some(_)) => self.forget(),
            Ok(None) => check_frame(bytes.len(), limits.max_frame)?,
            Err(_) => {}
        }
        found
    }

    fn forget(&mut self) {
        (self.at, self.searched, self.need, self.start) = (0, 0, 0, 0);
        self.open.clear();
    }

    #[inline]
    fn walk(&mut self, limits: &Limits, bytes: &[u8]) -> Result<Option<Reply>, DecodeError> {
        let (mut at, mut start) = (self.at, self.start);
        loop {
            let Some(next) = self.step(limits, bytes, at)? else {
                (self.at, self.start) = (at, start);
                return Ok(None);
            };
            let complete = match next {
                Next::Value(end) => {
                    at = end;
                    self.complete()
                }
                Next::Open(end) => {
                    at = end;
                    Complete::No
                }
                Next::NoAttributes(end) => {
                    at = end;
                    if self.open.is_empty() { Complete::Attributes } else { Complete::No }
                }
            };
            match complete {
                Complete::No => {}
                Complete::Attributes => start = at,
                Complete::Yes => {
                    check_frame(at, limits.max_frame)?;
                    return Ok(Some(Reply { start, end: at }));
                }
            }
        }
    }

    /// Counts a value that is complete, and the collections that are complete with it.
    #[inline]
    fn complete(&mut self) -> Complete {
        while let Some(left) = self.open.last_mut() {
            *left = left.wrapping_sub(1);
            if *left & !ATTRIBUTES != 0 {
                return Complete::No;
            }
            let attributes = *left & ATTRIBUTES != 0;
            self.open.pop();
            if attributes {
                // The value that they belong to is still to come.
                return if self.open.is_empty() { Complete::Attributes } else { Complete::No };
            }
        }
        Complete::Yes
    }

    /// Reads one head, and the bytes that it announces.
    #[inline]
    fn step(
        &mut self,
        limits: &Limits,
        bytes: &[u8],
        at: usize,
    ) -> Result<Option<Next>, DecodeError> {
        let Some((&kind, rest)) = bytes.get(at..).and_then(<[u8]>::split_first) else {
            self.need = at.saturating_add(1);
            return Ok(None);
        };
        let head_at = at.saturating_add(1);
        match kind {
            b':' if let Some(Ok((_, len))) = number(rest) => {
                Ok(Some(Next::Value(head_at.saturating_add(len))))
            }
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {
                match line_end(bytes, head_at.max(self.searched)) {
                    Ok(end) => {
                        self.searched = 0;
                        if !matches!(kind, b'+' | b'-') {
                            check_line(kind, bytes.get(head_at..end).unwrap_or_default())?;
                        }
                        Ok(Some(Next::Value(end.saturating_add(2))))
                    }
                    Err(searched) => {
                        self.searched = searched;
                        self.need = bytes.len().saturating_add(1);
                        Ok(None)
                    }
                }
            }
            b'$' | b'=' | b'!' | b'*' | b'%' | b'~' | b'>' | b'|' => {
                if rest.first() == Some(&b'?') {
                    return Err(DecodeError::Malformed { what: STREAMED });
                }
                let is_bulk = matches!(kind, b'$' | b'=' | b'!');
                let malformed =
                    DecodeError::Malformed { what: if is_bulk { BULK } else { COLLECTION } };
                let Some(number) = number(rest) else {
                    self.need = bytes.len().saturating_add(1);
                    return Ok(None);
                };
                let Ok((number, len)) = number else { return Err(malformed) };
                let body = head_at.saturating_add(len);
                let Ok(number) = usize::try_from(number) else {
                    return if number == -1 && matches!(kind, b'$' | b'*') {
                        Ok(Some(Next::Value(body)))
                    } else {
                        Err(malformed)
                    };
                };
                if is_bulk {
                    self.bulk(limits, bytes, kind, body, number)
                } else {
                    self.collection(limits, kind, body, number).map(Some)
                }
            }
            _ => Err(DecodeError::Unknown { what: "type", value: u64::from(kind) }),
        }
    }

    #[inline]
    fn bulk(
        &mut self,
        limits: &Limits,
        bytes: &[u8],
        kind: u8,
        body: usize,
        len: usize,
    ) -> Result<Option<Next>, DecodeError> {
        if len > MAX_BULK {
            return Err(DecodeError::limit("a bulk", MAX_BULK, len));
        }
        let data_end = body.saturating_add(len);
        let end = data_end.saturating_add(2);
        check_frame(end, limits.max_frame)?;
        if kind == b'=' {
            let colon = bytes.get(body.saturating_add(3));
            if len < 4 || colon.is_some_and(|colon| *colon != b':') {
                return Err(DecodeError::Malformed { what: "verbatim string" });
            }
            if colon.is_none() {
                self.need = body.saturating_add(4);
                return Ok(None);
            }
        }
        match check_end(bytes, data_end)? {
            0 => Ok(Some(Next::Value(end))),
            need => {
                self.need = need;
                Ok(None)
            }
        }
    }

    fn collection(
        &mut self,
        limits: &Limits,
        kind: u8,
        body: usize,
        count: usize,
    ) -> Result<Next, DecodeError> {
        if count > limits.max_elements {
            return Err(DecodeError::limit("max_elements", limits.max_elements, count));
        }
        if kind == b'>' && !self.open.is_empty() {
            return Err(DecodeError::Malformed { what: "push inside of another value" });
        }
        let values = match kind {
            b'%' | b'|' => (count as u64).saturating_mul(2),
            _ => count as u64,
        };
        if values == 0 {
            return Ok(if kind == b'|' { Next::NoAttributes(body) } else { Next::Value(body) });
        }
        let least = (body as u64).saturating_add(values.saturating_mul(SHORTEST));
        if least > limits.max_frame as u64 {
            let max = limits.max_frame as u64;
            return Err(DecodeError::Limit { limit: "max_frame", max, seen: least });
        }
        let depth = self.open.len().saturating_add(1);
        if depth > limits.max_depth {
            return Err(DecodeError::limit("max_depth", limits.max_depth, depth));
        }
        self.open.push(if kind == b'|' { values | ATTRIBUTES } else { values });
        Ok(Next::Open(body))
    }
}

/// What stood at an offset, and the offset behind it.
enum Next {
    /// A whole value.
    Value(usize),
    /// The head of a collection that is not empty.
    Open(usize),
    /// Attributes, of which there are none.
    NoAttributes(usize),
}

/// What is complete with a value.
enum Complete {
    /// Not all.
    No,
    /// Attributes of the outermost value, which begins now.
    Attributes,
    /// The outermost value.
    Yes,
}

pub(super) const BULK: &str = "bulk length";
pub(super) const BULK_END: &str = "end of a bulk";
const COLLECTION: &str = "number of elements";
const STREAMED: &str = "length: streamed values are not supported";
