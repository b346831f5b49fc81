//! Replies that speak of the connection: the client is told of its own, not of the one that it shares.

use bytes::BytesMut;
use wiremesh::correlation::View;

use crate::{
    Message,
    resp::{Value, write},
};

/// Puts the client's number in the place of the connection's, in the reply to `HELLO`.
pub(super) fn rewrite_id(reply: &mut Message, client: u64) {
    let found = {
        let bytes = reply.bytes();
        // The key and, behind it, an integer: `$2 id :7`.
        let key: &[u8] = b"$2\r\nid\r\n:";
        bytes.windows(key.len()).position(|window| window == key).and_then(|at| {
            let start = at.saturating_add(key.len());
            let len = bytes.get(start..)?.iter().position(|byte| *byte == b'\r')?;
            Some((start, start.saturating_add(len)))
        })
    };
    let Some((start, end)) = found else { return };
    let bytes = reply.bytes();
    let mut rewritten = BytesMut::with_capacity(bytes.len().saturating_add(20));
    rewritten.extend_from_slice(bytes.get(..start).unwrap_or_default());
    rewritten.extend_from_slice(client.to_string().as_bytes());
    rewritten.extend_from_slice(bytes.get(end..).unwrap_or_default());
    *reply = Message::raw(rewritten);
}

/// Tells the client of itself, in the reply to `CLIENT INFO` or `CLIENT ID`.
pub(super) fn rewrite(reply: &mut Message, view: &View<'_>, name: &[u8]) {
    let (verbatim, text) = match reply.value() {
        Value::Bulk(text) => (false, String::from_utf8_lossy(text).into_owned()),
        Value::Integer(_) => {
            *reply = Message::integer(i64::try_from(view.client).unwrap_or(i64::MAX));
            return;
        }
        Value::Verbatim(_, text) => (true, String::from_utf8_lossy(text).into_owned()),
        _ => return,
    };
    let line = text.trim_end_matches('\n');
    let end = text.get(line.len()..).unwrap_or_default();
    let own: Vec<_> = line
        .split(' ')
        .map(|field| match field.split_once('=') {
            Some(("id", _)) => format!("id={}", view.client),
            Some(("addr", _)) => format!("addr={}", view.peer),
            Some(("name", _)) => format!("name={}", String::from_utf8_lossy(name)),
            _ => field.to_owned(),
        })
        .collect();
    let own = own.join(" ") + end;
    let mut bytes = BytesMut::new();
    if verbatim {
        bytes.extend_from_slice(
            format!("={}\r\ntxt:{own}\r\n", own.len().saturating_add(4)).as_bytes(),
        );
    } else {
        write::bulk(&mut bytes, own.as_bytes());
    }
    *reply = Message::raw(bytes);
}
