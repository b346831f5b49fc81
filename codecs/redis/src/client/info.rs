//! Replies that speak of the connection or of the server: the client is told of its own, and of what it is shown.

use bytes::BytesMut;
use wiremesh::correlation::View;

use crate::{
    Message,
    resp::{Value, Version, write},
};

/// Puts the client's number in the place of the connection's, and this mode in that of the server's, in the reply to
/// `HELLO`.
pub(super) fn rewrite_hello(reply: &mut Message, client: u64, mode: Option<&str>) {
    let bytes = reply.bytes();
    let Some(head) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let mut own = BytesMut::with_capacity(bytes.len().saturating_add(20));
    own.extend_from_slice(bytes.get(..=head).unwrap_or_default());
    let mut key: &[u8] = b"";
    for item in reply.items() {
        match (key, mode) {
            (b"$2\r\nid\r\n", _) => {
                write::integer(&mut own, i64::try_from(client).unwrap_or(i64::MAX));
            }
            (b"$4\r\nmode\r\n", Some(mode)) => write::bulk(&mut own, mode.as_bytes()),
            _ => own.extend_from_slice(item),
        }
        key = item;
    }
    *reply = Message::raw(own);
}

/// Puts this mode in the place of the server's, in the reply to `INFO`.
pub(super) fn rewrite_mode(reply: &mut Message, mode: &str) {
    let Some((text, version)) = text(reply) else { return };
    let enabled = u8::from(mode == "cluster");
    let line = |line: &str| match line.split_once(':') {
        Some(("redis_mode", _)) => format!("redis_mode:{mode}\r\n"),
        Some(("cluster_enabled", _)) => format!("cluster_enabled:{enabled}\r\n"),
        _ => line.to_owned(),
    };
    let own: String = text.split_inclusive('\n').map(line).collect();
    *reply = Message::verbatim(&own, version);
}

/// Puts another integer in the place of the one that stands behind `key`, where there is one.
pub(super) fn rewrite_integer(reply: &mut Message, key: &[u8], to: impl Fn(u64) -> u64) {
    let found = {
        let bytes = reply.bytes();
        bytes.windows(key.len()).position(|window| window == key).and_then(|at| {
            let start = at.saturating_add(key.len());
            let len = bytes.get(start..)?.iter().position(|byte| *byte == b'\r')?;
            let end = start.saturating_add(len);
            let text = std::str::from_utf8(bytes.get(start..end)?).ok()?;
            Some((start, end, text.parse().ok()?))
        })
    };
    let Some((start, end, is)) = found else { return };
    let bytes = reply.bytes();
    let mut rewritten = BytesMut::with_capacity(bytes.len().saturating_add(20));
    rewritten.extend_from_slice(bytes.get(..start).unwrap_or_default());
    rewritten.extend_from_slice(to(is).to_string().as_bytes());
    rewritten.extend_from_slice(bytes.get(end..).unwrap_or_default());
    *reply = Message::raw(rewritten);
}

/// Tells the client of itself, in the reply to `CLIENT INFO` or `CLIENT ID`.
pub(super) fn rewrite(reply: &mut Message, view: &View<'_>, name: &[u8]) {
    if matches!(reply.value(), Value::Integer(_)) {
        *reply = Message::integer(i64::try_from(view.client).unwrap_or(i64::MAX));
        return;
    }
    let Some((text, version)) = text(reply) else { return };
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
    *reply = Message::verbatim(&(own.join(" ") + end), version);
}

/// The text of a reply for people, and the version that it is written in.
fn text(reply: &Message) -> Option<(String, Version)> {
    match reply.value() {
        Value::Bulk(text) => Some((String::from_utf8_lossy(text).into_owned(), Version::Resp2)),
        Value::Verbatim(_, text) => {
            Some((String::from_utf8_lossy(text).into_owned(), Version::Resp3))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_that_which_is_shown() {
        for (version, sign) in [(Version::Resp2, '$'), (Version::Resp3, '=')] {
            let lines = "# Server\r\nredis_mode:standalone\r\ntcp_port:1\r\n\r\n# Cluster\r\ncluster_enabled:0\r\n";
            let mut reply = Message::verbatim(lines, version);
            rewrite_mode(&mut reply, "cluster");
            let own = String::from_utf8_lossy(reply.bytes()).into_owned();
            assert!(
                own.starts_with(sign)
                    && own.ends_with("\r\n# Cluster\r\ncluster_enabled:1\r\n\r\n")
            );
            assert!(own.contains("\r\nredis_mode:cluster\r\ntcp_port:1\r\n"), "{own}");
            rewrite_mode(&mut reply, "standalone");
            assert_eq!(reply.bytes(), Message::verbatim(lines, version).bytes());
        }
    }

    #[test]
    fn hello_tells_the_clients_number_and_the_mode_that_is_shown() {
        for version in [Version::Resp2, Version::Resp3] {
            let hello = |id, mode: &str| {
                let text = |text: &str| Message::bulk(text.as_bytes());
                let about = [
                    ("server", text("redis")),
                    ("id", Message::integer(id)),
                    ("mode", text(mode)),
                    ("modules", Message::array([])),
                ];
                Message::map(about.map(|(key, value)| (text(key), value)), version)
            };
            let mut reply = hello(3, "standalone");
            rewrite_hello(&mut reply, 77, None);
            assert_eq!(reply.bytes(), hello(77, "standalone").bytes());
            rewrite_hello(&mut reply, 78, Some("cluster"));
            assert_eq!(reply.bytes(), hello(78, "cluster").bytes());
        }
    }
}
