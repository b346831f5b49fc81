//! The rules that every protocol keeps.

#[path = "sessions/packets.rs"]
mod packets;

use packets::{CAPS, JOE, greeting, login, ok, packet};
use wiremesh::kit::{Samples, conformance};
use wiremesh_mysql::{Capabilities, Mysql};

#[test]
fn mysql() {
    let session = [
        login(1, CAPS, JOE),
        packet(0, b"\x03select 1"),
        packet(0, b"\x17\x01\0\0\0\0\x01\0\0\0"),
        packet(0, b"\x0e"),
        packet(0, b"\x01"),
    ];
    let answers = [
        greeting(CAPS),
        ok(2, 2),
        packet(1, b"\x01"),
        packet(2, b"\x03def"),
        packet(1, b"\xff\x28\x04#42000You have an error"),
    ];
    let samples = Samples::new()
        .client("session", session.concat())
        .client("tls", login(1, CAPS | Capabilities::SSL.0, b""))
        .upstream("answers", answers.concat())
        .reads_as(wiremesh::Status::Unknown, wiremesh::Status::AppError)
        .foreign("http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .foreign("tls", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03");
    conformance(Mysql::default(), &samples);
}
