//! What all values have in common: a type, and a line that ends in CR LF.

use memchr::memchr;
use wiremesh::DecodeError;

/// A sign and 18 digits: no length that counts is longer.
const MAX_DIGITS: usize = 18;

/// The decimal number that begins `bytes`, and how many bytes it takes with its CR LF. `None` while its end is not
/// there and what is there may become one; `Some(Err)` where nothing can.
///
/// As strict as the server: no plus, no zeros in front, no minus before zero.
#[inline(always)]
pub(super) fn number(bytes: &[u8]) -> Option<Result<(i64, usize), ()>> {
    // Most are short.
    let digit = |byte: u8| i64::from(byte.wrapping_sub(b'0'));
    match *bytes {
        [a @ b'0'..=b'9', b'\r', b'\n', ..] => Some(Ok((digit(a), 3))),
        [a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Some(Ok((digit(a).wrapping_mul(10).wrapping_add(digit(b)), 4)))
        }
        _ => any_number(bytes),
    }
}

fn any_number(bytes: &[u8]) -> Option<Result<(i64, usize), ()>> {
    let (negative, digits) = match bytes.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, bytes),
    };
    let mut value = 0i64;
    for (n, byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            if n >= MAX_DIGITS || (n > 0 && value == 0) {
                return Some(Err(()));
            }
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
            continue;
        }
        if *byte != b'\r' || n == 0 || (negative && value == 0) {
            return Some(Err(()));
        }
        return match digits.get(n.wrapping_add(1)) {
            Some(b'\n') => {
                let len = n.wrapping_add(2).wrapping_add(usize::from(negative));
                Some(Ok((if negative { value.wrapping_neg() } else { value }, len)))
            }
            Some(_) => Some(Err(())),
            None => None,
        };
    }
    None
}

/// The offset of the CR LF at `from` or behind it; else where to look on when there are more bytes.
#[inline(always)]
pub(super) fn line_end(bytes: &[u8], from: usize) -> Result<usize, usize> {
    // Most lines are very short.
    if let Some(short) = bytes.get(from..).and_then(<[u8]>::first_chunk::<8>)
        && let Some(at) = short.array_windows().position(|pair| pair == b"\r\n")
    {
        return Ok(from.saturating_add(at));
    }
    far_line_end(bytes, from)
}

fn far_line_end(bytes: &[u8], mut from: usize) -> Result<usize, usize> {
    loop {
        let Some(rest) = bytes.get(from..) else { return Err(from) };
        let Some(at) = memchr(b'\r', rest) else { return Err(bytes.len()) };
        let at = from.saturating_add(at);
        match bytes.get(at.saturating_add(1)) {
            Some(b'\n') => return Ok(at),
            Some(_) => from = at.saturating_add(1),
            None => return Err(at),
        }
    }
}

/// An integer as a reply may have it.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether a line of this type may read so. Big numbers are what scripts make of them.
pub(super) fn check_line(kind: u8, text: &[u8]) -> Result<(), DecodeError> {
    let (fine, what) = match kind {
        b':' => (integer(text).is_some(), "integer"),
        b'_' => (text.is_empty(), "null"),
        b'#' => (matches!(text, b"t" | b"f"), "boolean"),
        b',' => {
            let double = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
            (double.is_some(), "double")
        }
        _ => (true, ""),
    };
    if fine { Ok(()) } else { Err(DecodeError::Malformed { what }) }
}

/// Refuses a frame that is longer than it may be.
#[inline(always)]
pub(super) fn check_frame(seen: usize, max_frame: usize) -> Result<(), DecodeError> {
    if seen > max_frame {
        return Err(DecodeError::limit("max_frame", max_frame, seen));
    }
    Ok(())
}

/// How many bytes must be there before it is seen whether a bulk whose data ends at `at` ends as it must; 0 when it does.
#[inline(always)]
pub(super) fn check_end(bytes: &[u8], at: usize) -> Result<usize, DecodeError> {
    match bytes.get(at..).unwrap_or_default() {
        [b'\r', b'\n', ..] => Ok(0),
        [b'\r'] => Ok(at.saturating_add(2)),
        [] => Ok(at.saturating_add(1)),
        _ => Err(DecodeError::Malformed { what: super::scan::BULK_END }),
    }
}
