//! The little of Hessian 2 that a proxy needs: to find a string in the head of a SOFARPC request, and to write the
//! bodies of the answers that it gives itself.
//!
//! Reading knows both grammars: the draft that sofa-hessian 3.x writes (a class definition begins with `O`, its name is
//! bare text) and the final one of 4.x (`C`, its name is a string). Writing uses the draft, which every SOFA peer reads.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use crate::wire::{SOFA_REQUEST, SOFA_RESPONSE};

/// How far into a body a field is looked for. Class definition and names together take a few hundred bytes.
const PEEK: usize = 8 * 1024;
/// The most fields that a class definition may have for us to look at it. SofaRequest has five.
const MAX_FIELDS: usize = 32;
/// The longest text that is written, in UTF-16 units: below the length from which a string must be cut into chunks.
const MAX_TEXT: usize = 0x7fff;

/// What SOFABolt throws at the caller when it finds it in an answer that is no success.
pub(crate) const SERVER_EXCEPTION: &[u8] = b"com.alipay.remoting.rpc.exception.RpcServerException";

/// The string field `name` of the SofaRequest that `body` begins with, if it comes before any field that is not a plain
/// value. Java and Node write the strings first.
pub(crate) fn string_field<'a>(body: &'a [u8], name: &[u8]) -> Option<Cow<'a, str>> {
    let mut reader = Reader::new(body.get(..PEEK).unwrap_or(body))?;
    if reader.class_name()? != SOFA_REQUEST {
        return None;
    }
    let fields = reader.int().filter(|&count| count <= MAX_FIELDS)?;
    let mut wanted = None;
    for index in 0..fields {
        if reader.string()? == name {
            wanted = Some(index);
        }
    }
    reader.object()?;
    for _ in 0..wanted? {
        reader.skip()?;
    }
    reader.string().map(String::from_utf8_lossy)
}

struct Reader<'a> {
    rest: &'a [u8],
    draft: bool,
}

impl<'a> Reader<'a> {
    /// For a body that begins with a class definition.
    fn new(body: &'a [u8]) -> Option<Self> {
        let (&tag, rest) = body.split_first()?;
        matches!(tag, b'O' | b'C').then_some(Self { rest, draft: tag == b'O' })
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    /// An integer that is not negative and that a count may have.
    fn int(&mut self) -> Option<usize> {
        let tag = self.byte()?;
        match tag {
            0x90..=0xbf => Some(usize::from(tag.wrapping_sub(0x90))),
            0xc8..=0xcf => Some(usize::from(u16::from_be_bytes([tag & 0x07, self.byte()?]))),
            b'I' => {
                let raw = self.take(4)?.first_chunk()?;
                usize::try_from(i32::from_be_bytes(*raw)).ok()
            }
            _ => None,
        }
    }

    /// The name in the class definition.
    fn class_name(&mut self) -> Option<&'a [u8]> {
        if !self.draft {
            return self.string();
        }
        let units = self.int()?;
        self.text(units)
    }

    /// What precedes the fields of an object of the first class.
    fn object(&mut self) -> Option<()> {
        match (self.byte()?, self.draft) {
            (0x60, false) => Some(()),
            (b'o', true) | (b'O', false) => (self.int()? == 0).then_some(()),
            _ => None,
        }
    }

    /// A string in one chunk.
    fn string(&mut self) -> Option<&'a [u8]> {
        let tag = self.byte()?;
        self.string_of(tag)
    }

    fn string_of(&mut self, tag: u8) -> Option<&'a [u8]> {
        let units = match tag {
            0x00..=0x1f => usize::from(tag),
            0x30..=0x33 if !self.draft => {
                usize::from(u16::from_be_bytes([tag & 0x03, self.byte()?]))
            }
            b'S' => usize::from(u16::from_be_bytes(*self.take(2)?.first_chunk()?)),
            _ => return None,
        };
        self.text(units)
    }

    /// Text of so many UTF-16 units, each of which takes one to three bytes.
    fn text(&mut self, units: usize) -> Option<&'a [u8]> {
        if let Some(text) = self.rest.get(..units)
            && text.is_ascii()
        {
            return self.take(units);
        }
        let (mut seen, mut len) = (0usize, 0usize);
        while seen < units {
            let (unit, bytes) = match *self.rest.get(len)? {
                0x00..=0x7f => (1, 1),
                0xc0..=0xdf => (1, 2),
                0xe0..=0xef => (1, 3),
                // Not what Java writes, but others do.
                0xf0..=0xf7 => (2, 4),
                _ => return None,
            };
            seen = seen.saturating_add(unit);
            len = len.saturating_add(bytes);
        }
        self.take(len)
    }

    /// Passes over a null, a boolean, a number or a string.
    fn skip(&mut self) -> Option<()> {
        let tag = self.byte()?;
        let len = match tag {
            b'N' | b'T' | b'F' | 0x80..=0xbf | 0xd8..=0xef => 0,
            0xc0..=0xcf | 0xf0..=0xff => 1,
            0xd0..=0xd7 | 0x38..=0x3f => 2,
            b'I' => 4,
            b'L' | b'D' => 8,
            _ => return self.string_of(tag).map(|_| ()),
        };
        self.take(len).map(|_| ())
    }
}

/// A SofaResponse by which the framework, not the service, reports an error.
pub(crate) fn sofa_error(message: &str) -> BytesMut {
    let mut out = sofa_response();
    out.put_u8(b'T');
    put_string(&mut out, message);
    out.put_slice(b"NN");
    out
}

/// The exceptions that a SOFARPC client itself would throw.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SofaThrowable {
    /// `SofaTimeOutException`.
    Timeout,
    /// `SofaRpcException` of type `SERVER_BUSY`.
    ServerBusy,
}

/// A SofaResponse that has an exception in place of the result.
pub(crate) fn sofa_thrown(throwable: SofaThrowable, message: &str) -> BytesMut {
    let (class, error_type): (&[u8], usize) = match throwable {
        SofaThrowable::Timeout => (b"com.alipay.sofa.rpc.core.exception.SofaTimeOutException", 200),
        SofaThrowable::ServerBusy => (b"com.alipay.sofa.rpc.core.exception.SofaRpcException", 100),
    };
    let mut out = sofa_response();
    out.put_slice(b"FN");
    put_class(&mut out, class, &["errorType", "detailMessage", "cause", "stackTrace"]);
    out.put_slice(&[b'o', 0x91]);
    put_int(&mut out, error_type);
    put_string(&mut out, message);
    out.put_u8(b'N');
    put_no_frames(&mut out);
    out.put_u8(b'N');
    out
}

/// A SofaResponse whose result is a string.
pub(crate) fn sofa_result(text: &str) -> BytesMut {
    let mut out = sofa_response();
    out.put_slice(b"FN");
    put_string(&mut out, text);
    out.put_u8(b'N');
    out
}

/// A string by itself.
pub(crate) fn string(text: &str) -> BytesMut {
    let mut out = BytesMut::new();
    put_string(&mut out, text);
    out
}

/// An `RpcServerException`, without cause and stack.
pub(crate) fn server_exception(message: &str) -> BytesMut {
    let mut out = BytesMut::new();
    put_class(&mut out, SERVER_EXCEPTION, &["detailMessage", "cause", "stackTrace"]);
    out.put_slice(&[b'o', 0x90]);
    put_string(&mut out, message);
    out.put_u8(b'N');
    put_no_frames(&mut out);
    out
}

fn sofa_response() -> BytesMut {
    let mut out = BytesMut::with_capacity(256);
    put_class(&mut out, SOFA_RESPONSE, &["isError", "errorMsg", "appResponse", "responseProps"]);
    out.put_slice(&[b'o', 0x90]);
    out
}

/// An empty array of stack trace elements.
fn put_no_frames(out: &mut BytesMut) {
    out.put_slice(b"Vt\x00\x1c[java.lang.StackTraceElementn\x00z");
}

fn put_class(out: &mut BytesMut, name: &[u8], fields: &[&str]) {
    out.put_u8(b'O');
    put_int(out, name.len());
    out.put_slice(name);
    put_int(out, fields.len());
    for field in fields {
        put_string(out, field);
    }
}

/// An integer below 2,048.
fn put_int(out: &mut BytesMut, value: usize) {
    if value < 48 {
        out.put_u8(0x90u8.saturating_add(value as u8));
    } else {
        out.put_u16(0xc800u16.saturating_add(value as u16));
    }
}

/// A string, cut off where it is too long for one chunk.
fn put_string(out: &mut BytesMut, text: &str) {
    let text = cut(text);
    let units = text.encode_utf16().count();
    if units < 32 {
        out.put_u8(units as u8);
    } else {
        out.put_u8(b'S');
        out.put_u16(units as u16);
    }
    for char in text.chars() {
        let mut pair = [0; 2];
        match char.encode_utf16(&mut pair) {
            [_] => out.put_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            // Java encodes each half of a surrogate pair by itself, and reads nothing else.
            halves => halves.iter().for_each(|&half| {
                let bits = |shift: u32| (half >> shift) as u8 & 0x3f;
                out.put_slice(&[0xed, 0x80 | bits(6), 0x80 | bits(0)]);
            }),
        }
    }
}

/// The longest beginning of `text` that fits into one chunk.
fn cut(text: &str) -> &str {
    let mut units = 0usize;
    let end = text.char_indices().find(|(_, char)| {
        units = units.saturating_add(char.len_utf16());
        units > MAX_TEXT
    });
    end.and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}
