//! Values put together: each function appends to what is there.

use bytes::{Buf, BufMut, BytesMut};

use super::Version;

/// A simple string. CR and LF, which it cannot hold, become spaces.
pub fn simple(out: &mut BytesMut, text: &[u8]) {
    line(out, b'+', text);
}

/// An error. Its first word is its code. CR and LF, which it cannot hold, become spaces.
pub fn error(out: &mut BytesMut, text: &[u8]) {
    line(out, b'-', text);
}

/// An integer.
pub fn integer(out: &mut BytesMut, value: i64) {
    out.put_u8(b':');
    if value < 0 {
        out.put_u8(b'-');
    }
    decimal(out, value.unsigned_abs());
    crlf(out);
}

/// A bulk string.
pub fn bulk(out: &mut BytesMut, bytes: &[u8]) {
    head(out, b'$', bytes.len());
    out.put_slice(bytes);
    crlf(out);
}

/// A verbatim string of the format `txt`; a bulk string in RESP2.
pub fn verbatim(out: &mut BytesMut, text: &[u8], version: Version) {
    if version == Version::Resp2 {
        return bulk(out, text);
    }
    head(out, b'=', text.len().saturating_add(4));
    out.put_slice(b"txt:");
    out.put_slice(text);
    crlf(out);
}

/// No value: `_`, in RESP2 `$-1`.
pub fn null(out: &mut BytesMut, version: Version) {
    out.put_slice(match version {
        Version::Resp2 => b"$-1\r\n",
        Version::Resp3 => b"_\r\n",
    });
}

/// No value where an array was wanted: `_`, in RESP2 `*-1`.
pub fn null_array(out: &mut BytesMut, version: Version) {
    out.put_slice(match version {
        Version::Resp2 => b"*-1\r\n",
        Version::Resp3 => b"_\r\n",
    });
}

/// The head of an array: `count` values must follow.
pub fn array(out: &mut BytesMut, count: usize) {
    head(out, b'*', count);
}

/// The head of a map: `pairs` times a key and a value must follow. A flat array in RESP2.
pub fn map(out: &mut BytesMut, pairs: usize, version: Version) {
    match version {
        Version::Resp2 => head(out, b'*', pairs.saturating_mul(2)),
        Version::Resp3 => head(out, b'%', pairs),
    }
}

/// The head of a set: `count` values must follow. An array in RESP2.
pub fn set(out: &mut BytesMut, count: usize, version: Version) {
    head(out, if version == Version::Resp2 { b'*' } else { b'~' }, count);
}

/// The head of a push: `count` values must follow. An array in RESP2.
pub fn push(out: &mut BytesMut, count: usize, version: Version) {
    head(out, if version == Version::Resp2 { b'*' } else { b'>' }, count);
}

/// A boolean; 1 or 0 in RESP2.
pub fn boolean(out: &mut BytesMut, value: bool, version: Version) {
    out.put_slice(match (version, value) {
        (Version::Resp2, true) => b":1\r\n",
        (Version::Resp2, false) => b":0\r\n",
        (Version::Resp3, true) => b"#t\r\n",
        (Version::Resp3, false) => b"#f\r\n",
    });
}

/// A type and a number: the head of everything that has a length.
fn head(out: &mut impl BufMut, kind: u8, number: usize) {
    out.put_u8(kind);
    decimal(out, number as u64);
    crlf(out);
}

/// A line of a type; CR and LF in `text` become spaces.
fn line(out: &mut BytesMut, kind: u8, text: &[u8]) {
    out.reserve(text.len().saturating_add(3));
    out.put_u8(kind);
    let clean = |byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte };
    out.extend(text.iter().map(clean));
    crlf(out);
}

/// A collection of the values that `fill` appends and counts.
pub(crate) fn collection(kind: u8, fill: impl FnOnce(&mut BytesMut) -> usize) -> BytesMut {
    // Room for the longest head, which is known last.
    let mut out = BytesMut::zeroed(MAX_HEAD);
    let count = fill(&mut out);
    let mut digits = [0; MAX_HEAD];
    let mut rest = &mut digits[..];
    head(&mut rest, kind, count);
    let at = rest.len();
    let front = digits.get(..MAX_HEAD.saturating_sub(at)).unwrap_or_default();
    if let Some(room) = out.get_mut(at..MAX_HEAD) {
        room.copy_from_slice(front);
    }
    out.advance(at);
    out
}

/// A type, 20 digits, CR and LF.
const MAX_HEAD: usize = 23;

fn crlf(out: &mut impl BufMut) {
    out.put_slice(b"\r\n");
}

fn decimal(out: &mut impl BufMut, mut value: u64) {
    let (mut digits, mut used) = ([b'0'; 20], 0usize);
    for digit in digits.iter_mut().rev() {
        *digit = b'0'.wrapping_add((value % 10) as u8);
        value /= 10;
        used = used.wrapping_add(1);
        if value == 0 {
            break;
        }
    }
    out.put_slice(digits.get(digits.len().wrapping_sub(used)..).unwrap_or_default());
}
