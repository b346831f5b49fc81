//! Recorded connections of real peers.

use wiremesh::{Frame, Kind, Peer, Status};
use wiremesh_redis::{
    Message,
    resp::{Shape, Version},
};

use crate::common::{capture, connections, encoded, pieces};

#[test]
fn every_message_encodes_to_its_own_bytes() {
    let connections = connections();
    assert_eq!(connections.len(), 9);
    for connection in connections {
        for from in [Peer::Client, Peer::Upstream] {
            let messages = capture(&connection, from);
            assert!(!messages.is_empty(), "{connection}, {from:?}");
            for message in &messages {
                assert_eq!(encoded(message).len(), message.wire_len());
            }
            let again: Vec<u8> = messages.iter().flat_map(encoded).collect();
            assert!(again == pieces(&connection, from).concat(), "{connection}, {from:?}");
        }
    }
}

/// Requests of both connections and the replies to each, from where they say the same.
fn both() -> Vec<(Message, Message, Message)> {
    let requests = capture("cli-resp2", Peer::Client);
    let mut requests3 = capture("cli-resp3", Peer::Client);
    let mut replies3 = capture("cli-resp3", Peer::Upstream);
    // HELLO 3
    requests3.remove(0);
    replies3.remove(0);
    let same = requests.iter().map(encoded).eq(requests3.iter().map(encoded));
    assert!(same, "both connections say the same");
    let replies = capture("cli-resp2", Peer::Upstream);
    assert_eq!((requests.len(), replies.len()), (replies.len(), replies3.len()));
    requests.into_iter().zip(replies).zip(replies3).map(|((a, b), c)| (a, b, c)).collect()
}

/// Answers that no two servers give alike: random, or about themselves.
const OWN: [&str; 13] = [
    "COMMAND DOCS",
    "COMMAND LIST",
    "RANDOMKEY",
    "CONFIG GET",
    "CLIENT LIST",
    "CLIENT INFO",
    "INFO",
    "MEMORY STATS",
    "ACL CAT",
    "ACL GENPASS",
    "TIME",
    "LASTSAVE",
    "HELLO",
];

#[test]
fn what_a_server_says_in_resp3_translates_to_what_it_says_in_resp2() {
    let (mut queued, mut changed, mut own) = (Vec::new(), 0, 0);
    let mut in_multi = false;
    for (request, resp2, resp3) in both() {
        let method = request.method().unwrap().into_owned();
        let mut shape = request.reply_shape();
        match &*method {
            "MULTI" => (in_multi, queued) = (true, Vec::new()),
            "EXEC" => (in_multi, shape) = (false, Shape::Each(std::mem::take(&mut queued))),
            "DISCARD" => in_multi = false,
            _ if in_multi => queued.push(std::mem::take(&mut shape)),
            _ => {}
        }
        let mut translated = resp3.clone();
        translated.translate(Version::Resp2, &shape);
        changed += usize::from(encoded(&translated) != encoded(&resp3));
        if OWN.contains(&&*method) {
            // What there is of it, in whatever order: its length is about the same.
            let (a, b) = (encoded(&translated).len(), encoded(&resp2).len());
            assert!(a.abs_diff(b) < 64, "{method}: {a} bytes, {b}");
            own += 1;
            continue;
        }
        let text = |message: &Message| String::from_utf8_lossy(&encoded(message)).into_owned();
        assert_eq!(text(&translated), text(&resp2), "{}", text(&request));
        // And back, as far as that goes.
        let mut back = resp2.clone();
        back.translate(Version::Resp3, &Shape::Plain);
        assert!(!text(&back).contains("$-1\r\n") && !text(&back).contains("*-1\r\n"));
    }
    assert!(changed > 100 && own > 10, "{changed} differ, {own} are a server's own");
}

#[test]
fn every_command_is_known_but_those_that_are_none() {
    let unknown = |name: &str| {
        let requests = capture(name, Peer::Client);
        let unknown = requests.iter().filter(|request| request.command().is_none());
        unknown.map(|r| String::from_utf8_lossy(r.command_name()).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(unknown("cli-resp2"), ["NOSUCH", "NOSUCH"]);
    assert_eq!(unknown("py-resp3"), ["NOSUCH"]);
}

#[test]
fn statuses_of_a_servers_errors() {
    let status = |method: &str, n: usize| {
        let mut of =
            both().into_iter().filter(|(request, ..)| request.method() == Some(method.into()));
        let (_, reply, resp3) = of.nth(n).unwrap();
        assert_eq!(reply.status(), resp3.status());
        reply.status()
    };
    assert_eq!(status("other", 0), Status::BadRequest);
    assert_eq!(status("AUTH", 1), Status::Unauthenticated);
    assert_eq!(status("SELECT", 0), Status::AppError);
    assert_eq!(status("SELECT", 1), Status::Ok);
    assert_eq!(status("EXEC", 0), Status::Ok);
    assert_eq!(status("EXEC", 1), Status::AppError);
}

#[test]
fn pushes_are_told_from_replies() {
    let kinds = |name: &str| -> Vec<Kind> {
        capture(name, Peer::Upstream).iter().map(Frame::kind).collect()
    };
    let pushes = |name: &str| kinds(name).iter().filter(|kind| **kind == Kind::Push).count();
    assert_eq!(["py-resp2", "py-resp3", "py-resp3.2", "lines"].map(pushes), [0, 10, 3, 1]);
}
