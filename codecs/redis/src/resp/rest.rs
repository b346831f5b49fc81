//! Messages that are passed on as they come, since a bulk of theirs is too long to be held.

use wiremesh::DecodeError;

use super::{
    MAX_BULK,
    head::number,
    request::ARGUMENT,
    scan::{BULK, BULK_END},
};

/// A bulk that is at least as long need not be held: 1 MiB.
pub const LONG: usize = 1 << 20;

/// What is still to come of a message that was begun.
#[derive(Debug, Default)]
pub struct Rest {
    /// Bytes of the bulk that it is in the middle of, CR and LF included.
    bulk: usize,
    /// How many bulks follow.
    bulks: usize,
}

impl Rest {
    /// That of a reply which is one long bulk, and where its bytes begin.
    pub fn of_reply(bytes: &[u8]) -> Option<(Self, usize)> {
        let line = bytes.strip_prefix(b"$").or_else(|| bytes.strip_prefix(b"="))?;
        let (bulk, line) = long(line)?;
        Some((Self { bulk, bulks: 0 }, line.saturating_add(1)))
    }

    /// That of a request whose first arguments are there and whose next is long; how many there will be; and where its
    /// bytes begin.
    pub fn of_request(bytes: &[u8]) -> Option<(Self, usize, usize)> {
        let (argc, line) = number(bytes.strip_prefix(b"*")?)?.ok()?;
        let argc = usize::try_from(argc).ok()?;
        let (mut at, mut left) = (line.saturating_add(1), argc);
        loop {
            left = left.checked_sub(1)?;
            let line = bytes.get(at..)?.strip_prefix(b"$")?;
            let (len, head) = number(line)?.ok()?;
            let body = at.saturating_add(1).saturating_add(head);
            let end = body.saturating_add(usize::try_from(len).ok()?).saturating_add(2);
            if end <= bytes.len() {
                at = end;
                continue;
            }
            let (bulk, _) = long(line)?;
            return Some((Self { bulk, bulks: left }, argc, body));
        }
    }

    /// How many of these bytes, the next that have come, belong to the message.
    ///
    /// # Errors
    /// The message goes on as none can. What was passed on of it cannot be taken back.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, DecodeError> {
        let mut at = 0usize;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            at = at.saturating_add(self.take_bulk(rest)?);
            if self.is_over() || self.bulk > 0 {
                return Ok(at);
            }
            let line = match bytes.get(at..).and_then(<[u8]>::split_first) {
                None => return Ok(at),
                Some((b'$', line)) => line,
                Some((other, _)) => {
                    return Err(DecodeError::Unknown { what: ARGUMENT, value: u64::from(*other) });
                }
            };
            let Some(head) = number(line) else { return Ok(at) };
            let malformed = DecodeError::Malformed { what: BULK };
            let Ok((len, line)) = head else { return Err(malformed) };
            let len = usize::try_from(len).ok().filter(|len| *len <= MAX_BULK).ok_or(malformed)?;
            self.bulk = len.saturating_add(2);
            self.bulks = self.bulks.saturating_sub(1);
            at = at.saturating_add(1).saturating_add(line);
        }
    }

    /// Whether the message is complete.
    pub fn is_over(&self) -> bool {
        self.bulk == 0 && self.bulks == 0
    }

    fn take_bulk(&mut self, bytes: &[u8]) -> Result<usize, DecodeError> {
        for (left, end) in [(2, b'\r'), (1, b'\n')] {
            let at = self.bulk.checked_sub(left);
            if at.and_then(|at| bytes.get(at)).is_some_and(|byte| *byte != end) {
                return Err(DecodeError::Malformed { what: BULK_END });
            }
        }
        let taken = self.bulk.min(bytes.len());
        self.bulk = self.bulk.saturating_sub(taken);
        Ok(taken)
    }
}

/// The length of a long bulk, CR and LF included, and that of the line that says so.
fn long(line: &[u8]) -> Option<(usize, usize)> {
    let (len, line) = number(line)?.ok()?;
    let len = usize::try_from(len).ok().filter(|len| (LONG..=MAX_BULK).contains(len))?;
    Some((len.saturating_add(2), line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(len: usize) -> Vec<u8> {
        [format!("${len}\r\n").as_bytes(), &vec![b'x'; len], b"\r\n"].concat()
    }

    #[test]
    fn a_long_bulk_ends_where_it_ends_however_it_comes() {
        for len in [LONG, LONG + 1] {
            let bytes = [&reply(len)[..], b"+next\r\n"].concat();
            for size in [1000, 65_536, LONG - 3, LONG, usize::MAX] {
                let (mut rest, body) = Rest::of_reply(&bytes).expect("it is long");
                let mut at = body;
                while !rest.is_over() {
                    let end = at.saturating_add(size).min(bytes.len());
                    at += rest.take(&bytes[at..end]).expect("it is well-formed");
                }
                assert_eq!(&bytes[at..], b"+next\r\n", "{len} in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_is_not_one_long_bulk_is_none() {
        let short = format!("${}\r\n", LONG - 1);
        let far = format!("${}\r\n", MAX_BULK + 1);
        let nested = format!("*1\r\n${LONG}\r\n");
        for bytes in ["", "$", "$1048576", "$-1\r\n", "+OK\r\n", &short, &far, &nested] {
            assert!(Rest::of_reply(bytes.as_bytes()).is_none(), "{bytes}");
        }
        assert!(Rest::of_reply(b"=1048576\r\ntxt:").is_some());
    }

    #[test]
    fn a_long_bulk_that_does_not_end_as_it_must_is_refused() {
        for bad in ["x\n", "\rx", "\n\r"] {
            let mut bytes = reply(LONG);
            let end = bytes.len() - 2;
            bytes[end..].copy_from_slice(bad.as_bytes());
            for cut in [end, end + 1, end + 2] {
                let (mut rest, body) = Rest::of_reply(&bytes).expect("it is long");
                let taken = rest.take(&bytes[body..cut]).map(|taken| body + taken);
                let refused = taken.and_then(|at| rest.take(&bytes[at..]));
                assert_eq!(refused, Err(DecodeError::Malformed { what: BULK_END }), "{bad:?}");
            }
        }
    }

    #[test]
    fn a_request_ends_with_its_last_argument() {
        let value = reply(LONG);
        for after in ["", "$2\r\nEX\r\n$3\r\n100\r\n", "$0\r\n\r\n"] {
            let argc = 3 + after.matches('$').count();
            let head = format!("*{argc}\r\n$3\r\nSET\r\n$1\r\nk\r\n");
            let bytes = [head.as_bytes(), &value, after.as_bytes(), b"*1\r\n"].concat();
            for size in [1, 7, 100_000, usize::MAX] {
                let begun = head.len() + value.len() / 2;
                let (mut rest, count, body) = Rest::of_request(&bytes[..begun]).expect("long");
                assert_eq!(count, argc);
                let mut at = body + rest.take(&bytes[body..begun]).expect("it is well-formed");
                let mut seen = begun;
                // The last bytes one by one, as far as the size says so.
                while !rest.is_over() {
                    let far = bytes.len() - seen > 200;
                    let step = if far { bytes.len() - seen - 100 } else { size };
                    seen = seen.saturating_add(step).min(bytes.len());
                    at += rest.take(&bytes[at..seen]).expect("it is well-formed");
                }
                assert_eq!(&bytes[at..], b"*1\r\n", "{after:?} by {size}");
            }
        }
        for bad in ["+", "$x\r\n", "$-1\r\n", "$536870913\r\n"] {
            let (mut rest, _, body) =
                Rest::of_request(&[b"*2\r\n", &value[..value.len() - 2]].concat()).expect("long");
            let bytes = [&value[value.len() - LONG - 2..], bad.as_bytes()].concat();
            assert!(body > 0 && rest.take(&bytes).is_err(), "{bad}");
        }
    }
}
