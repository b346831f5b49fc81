//! A request that anybody can send to the demo with what is on every machine.

use std::{fmt::Write as _, net::SocketAddr};

use wiremesh::{Frame, Kind};
use wiremesh_bolt::{BoltFrame, Builder, Version, codec};

use super::service::{self, METHODS, Method};

/// A shell command that sends one request to the proxy and prints what is readable in the answer; `None` if it cannot be
/// built.
pub(super) fn command(proxy: SocketAddr) -> Option<String> {
    let method = &METHODS[0];
    let question = Method::question("hello-from-outside", "");
    let answer = service::response(Version::V1, 1, &method.answer(&question)?)?;
    let (host, port) = (proxy.ip(), proxy.port());
    let request = octal(&request(method, &question)?);
    let length = answer.wire_len();
    Some(format!(
        "bash -c 'exec 3<>/dev/tcp/{host}/{port}; printf \"{request}\" >&3; head -c {length} <&3' | tr -cd '[:print:]'; echo"
    ))
}

/// The shortest request that finds its way.
fn request(method: &Method, content: &[u8]) -> Option<BoltFrame> {
    Builder {
        kind: Kind::Request,
        id: 1,
        codec: codec::JSON,
        timeout: 3_000,
        headers: &[("service", method.service().name), ("sofa_head_method_name", method.name)],
        content,
        ..Builder::default()
    }
    .build()
    .ok()
}

/// As `printf` takes it, in double quotes in single quotes.
fn octal(frame: &BoltFrame) -> String {
    let mut text = String::new();
    for &byte in frame.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-.:_{},".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(text, "\\{byte:03o}");
        }
    }
    text
}
