use std::borrow::Cow;

use bytes::BytesMut;
use memchr::memchr;
use wiremesh::{DecodeError, Limits};

use super::{
    MAX_BULK, MAX_INLINE,
    head::{check_end, check_frame, number},
    inline::{self, QUOTES},
    scan::BULK,
};

/// The shortest argument: `$0`, and CR LF twice.
const SHORTEST: u64 = 6;

/// Empty requests before a request stay in front of it, as long as they are no more than so many bytes.
const MAX_EMPTY: usize = 64 << 10;

/// Finds the end of a client's request, and keeps what it has seen of one that is not complete.
///
/// Requests are arrays of bulks, or lines. Empty ones are skipped, as the server skips them.
#[derive(Debug, Default)]
pub struct RequestScan {
    /// What is before it is understood.
    at: usize,
    /// Nothing new can be learned before this many bytes are there.
    need: usize,
    /// Where the request begins, empty ones left out.
    start: usize,
    argc: usize,
    /// How many arguments are still to come.
    left: usize,
}

/// What a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Empty requests only, of this many bytes. They have no answer and may be thrown away.
    Empty(usize),
    /// An array of `argc` bulks, of which there is at least one.
    Array {
        /// Where it begins; before it stand empty requests.
        start: usize,
        /// The offset behind its last byte.
        end: usize,
        /// How many they are.
        argc: usize,
    },
    /// A line of at least one word.
    Line {
        /// The offset behind its end; before it stand empty requests.
        end: usize,
        /// The same as an array of bulks.
        array: Box<BytesMut>,
        /// How many they are.
        argc: usize,
    },
}

impl RequestScan {
    /// The request that `bytes` begin with; `None` until it is complete. Called again, with the same bytes and more.
    ///
    /// # Errors
    /// With the first bytes that show that it is none, or larger than the limits allow. See [`complaint`] for what to
    /// tell the client before its connection is closed.
    #[inline]
    pub fn run(&mut self, limits: &Limits, bytes: &[u8]) -> Result<Option<Request>, DecodeError> {
        if bytes.len() < self.need {
            return Ok(None);
        }
        let found = self.walk(limits, bytes);
        match found {
            Ok(Some(_)) => *self = Self::default(),
            Ok(None) => check_frame(bytes.len(), limits.max_frame)?,
            Err(_) => {}
        }
        found
    }

    #[inline]
    fn walk(&mut self, limits: &Limits, bytes: &[u8]) -> Result<Option<Request>, DecodeError> {
        while self.argc == 0 {
            let Some(kind) = bytes.get(self.start) else {
                self.need = self.start.saturating_add(1);
                return Ok(None);
            };
            if *kind != b'*' {
                if let Some(line) = self.line(limits, bytes)? {
                    return Ok(Some(line));
                }
            } else if let Some(rest) = bytes.get(self.start.saturating_add(1)..) {
                self.head(limits, rest)?;
            }
            if self.need > bytes.len() {
                return Ok(None);
            }
            if self.argc == 0 && self.start >= MAX_EMPTY {
                return Ok(Some(Request::Empty(self.start)));
            }
        }
        self.arguments(limits, bytes)
    }

    /// The line behind `*`.
    #[inline]
    fn head(&mut self, limits: &Limits, rest: &[u8]) -> Result<(), DecodeError> {
        let body = self.start.saturating_add(1);
        let (count, len) = match number(rest) {
            None => {
                self.need = body.saturating_add(rest.len()).saturating_add(1);
                return Ok(());
            }
            Some(Err(())) => return Err(DecodeError::Malformed { what: COUNT }),
            Some(Ok(found)) => found,
        };
        let body = body.saturating_add(len);
        let argc = usize::try_from(count).unwrap_or_default();
        if argc == 0 {
            self.start = body;
            return Ok(());
        }
        if argc > limits.max_elements {
            return Err(DecodeError::limit(MAX_ELEMENTS, limits.max_elements, argc));
        }
        let least = (body as u64).saturating_add((argc as u64).saturating_mul(SHORTEST));
        if least > limits.max_frame as u64 {
            let max = limits.max_frame as u64;
            return Err(DecodeError::Limit { limit: "max_frame", max, seen: least });
        }
        (self.at, self.argc, self.left) = (body, argc, argc);
        Ok(())
    }

    #[inline]
    fn arguments(&mut self, limits: &Limits, bytes: &[u8]) -> Result<Option<Request>, DecodeError> {
        let mut at = self.at;
        while self.left > 0 {
            let body = at.saturating_add(1);
            let head = match bytes.get(at) {
                Some(b'$') => number(bytes.get(body..).unwrap_or_default()),
                Some(other) => {
                    return Err(DecodeError::Unknown { what: ARGUMENT, value: u64::from(*other) });
                }
                None => None,
            };
            let Some(head) = head else {
                (self.at, self.need) = (at, bytes.len().saturating_add(1));
                return Ok(None);
            };
            let Some((len, line)) =
                head.ok().and_then(|(len, line)| Some((usize::try_from(len).ok()?, line)))
            else {
                return Err(DecodeError::Malformed { what: BULK });
            };
            if len > MAX_BULK {
                return Err(DecodeError::limit(MAX_BULK_NAME, MAX_BULK, len));
            }
            let data_end = body.saturating_add(line).saturating_add(len);
            let end = data_end.saturating_add(2);
            check_frame(end, limits.max_frame)?;
            let need = check_end(bytes, data_end)?;
            if need > 0 {
                (self.at, self.need) = (at, need);
                return Ok(None);
            }
            at = end;
            self.left = self.left.wrapping_sub(1);
        }
        Ok(Some(Request::Array { start: self.start, end: at, argc: self.argc }))
    }

    /// A line; `None` if it is empty, or not complete.
    #[cold]
    fn line(&mut self, limits: &Limits, bytes: &[u8]) -> Result<Option<Request>, DecodeError> {
        let from = self.start.max(self.at);
        let fresh = bytes.get(from..).unwrap_or_default();
        let end = memchr(b'\n', fresh).map(|at| from.saturating_add(at));
        let line = bytes.get(self.start..end.unwrap_or(bytes.len())).unwrap_or_default();
        if line.len() > MAX_INLINE {
            return Err(DecodeError::limit(MAX_INLINE_NAME, MAX_INLINE, line.len()));
        }
        // The server takes it for the end of what there is, and would wait for ever.
        if memchr(0, line.get(from.saturating_sub(self.start)..).unwrap_or_default()).is_some() {
            return Err(DecodeError::Malformed { what: ZERO });
        }
        let Some(end) = end else {
            (self.at, self.need) = (bytes.len(), bytes.len().saturating_add(1));
            return Ok(None);
        };
        let end = end.saturating_add(1);
        check_frame(end, limits.max_frame)?;
        let (array, argc) = inline::split(line.strip_suffix(b"\r").unwrap_or(line))?;
        if argc > 0 {
            return Ok(Some(Request::Line { end, array: Box::new(array), argc }));
        }
        (self.start, self.at) = (end, end);
        Ok(None)
    }
}

/// What the server says, behind `ERR`, to a client whose bytes are refused so.
pub fn complaint(error: &DecodeError) -> Cow<'static, str> {
    let what =
        match error {
            DecodeError::Malformed { what: COUNT }
            | DecodeError::Limit { limit: MAX_ELEMENTS, .. } => "invalid multibulk length",
            DecodeError::Malformed { what: BULK }
            | DecodeError::Limit { limit: MAX_BULK_NAME, .. } => "invalid bulk length",
            DecodeError::Malformed { what: QUOTES } => "unbalanced quotes in request",
            DecodeError::Malformed { what: ZERO }
            | DecodeError::Limit { limit: MAX_INLINE_NAME, .. } => "too big inline request",
            DecodeError::Unknown { what: ARGUMENT, value } => {
                let byte = u8::try_from(*value).unwrap_or(b'?');
                return format!("Protocol error: expected '$', got '{}'", char::from(byte)).into();
            }
            other => return format!("Protocol error: {other}").into(),
        };
    format!("Protocol error: {what}").into()
}

const COUNT: &str = "number of arguments";
pub(super) const ARGUMENT: &str = "type of an argument";
const ZERO: &str = "line: it has a zero byte";
const MAX_ELEMENTS: &str = "max_elements";
const MAX_BULK_NAME: &str = "a bulk";
const MAX_INLINE_NAME: &str = "a line";
