//! Written is the draft grammar, which every SOFA peer reads.

use bytes::{BufMut, BytesMut};

use crate::wire::SOFA_RESPONSE;

/// The longest text that is written, in UTF-16 units: below the length from which a string must be cut into chunks.
const MAX_TEXT: usize = 0x7fff;

/// What SOFABolt throws at the caller when it finds it in an answer that is no success.
pub(crate) const SERVER_EXCEPTION: &[u8] = b"com.alipay.remoting.rpc.exception.RpcServerException";

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
