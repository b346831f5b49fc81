//! What is Bolt's own, across the running proxy: versions, detection beside other protocols, requests of the server's.

mod common;

use std::{
    io::{Read, Write},
    time::Duration,
};

use wiremesh::{Frame, Kind, Status};
use wiremesh_bolt::{BoltFrame, Builder, ResponseStatus, Version};
use wiremesh_proxy::server::Handle;
use wiremesh_toys::{Mx, multiplexed::Message};

use common::{
    bolt::{
        BoltCaller, BoltServer, address_of, connect, flag, heartbeat, mesh, named, outcome, reply,
        request, routes, text, until,
    },
    peer::{Caller, Seen, Server, Socket},
};

fn any() -> BoltFrame {
    request("s", "m", &[])
}

fn to(server: &BoltServer, settings: &str) -> String {
    routes(
        "[{ name: r, cluster: c }]",
        &format!("[{{ name: c, endpoints: ['{}'], {settings} }}]", server.address),
    )
}

/// A listener for Bolt and the multiplexed toy, each with an upstream of its own.
fn both(bolt: &BoltServer, mx: &Server<Mx>) -> Handle {
    both_within("300ms", bolt, mx)
}

/// The same; first bytes that are not enough are waited for that long.
fn both_within(frame_timeout: &str, bolt: &BoltServer, mx: &Server<Mx>) -> Handle {
    mesh(&format!(
        "workers: 1\nlisteners: [{{ name: l, address: '127.0.0.1:0', protocols: [bolt, mx], frame_timeout: {frame_timeout}, \
         routes: [{{ name: mx, match: {{ service: {{ exact: toy }} }}, cluster: mx }}, {{ name: bolt, cluster: bolt }}] }}]\n\
         clusters: [{{ name: bolt, endpoints: ['{}'] }}, {{ name: mx, endpoints: ['{}'] }}]\n",
        bolt.address, mx.address,
    ))
}

fn toy() -> Server<Mx> {
    Server::start("127.0.0.1:0", |seen: &Seen<Message>| {
        use wiremesh::correlation::Multiplexed;
        let id = Mx.id(&seen.frame);
        vec![Message::new(Kind::Response, Status::Ok, id, ["", ""], b"toy")]
    })
}

fn undetected(proxy: &Handle) -> u64 {
    proxy.metrics().snapshot().listener("l").map_or(0, |listener| listener.undetected)
}

#[test]
fn two_protocols_share_a_port() {
    let (bolt, mx) = (named("bolt"), toy());
    let proxy = both(&bolt, &mx);
    let address = address_of(&proxy, "l");
    let mut bolts = BoltCaller::connect(&address);
    let mut toys = Caller::<Mx>::connect(&address);
    for _ in 0..3 {
        assert_eq!(outcome(&mut bolts, any()), "bolt");
        let asked = Message::new(Kind::Request, Status::Ok, 0, ["toy", "m"], b"");
        assert_eq!(toys.call(asked).payload(), b"toy");
    }
    assert_eq!((bolt.requests(), mx.requests(), undetected(&proxy)), (3, 3, 0));
}

#[test]
fn a_protocol_is_told_from_its_bytes_however_they_come() {
    let (bolt, mx) = (named("bolt"), toy());
    let proxy = both_within("30s", &bolt, &mx);
    let mut caller = connect(&proxy);
    for byte in any().as_bytes() {
        caller.socket.write_all(&[*byte]).expect("written");
        std::thread::yield_now();
    }
    assert_eq!(text(&caller.receive().expect("answered")), "bolt");
}

#[test]
fn what_no_protocol_begins_with_is_closed_and_counted() {
    let (bolt, mx) = (named("bolt"), toy());
    let proxy = both(&bolt, &mx);
    let address = address_of(&proxy, "l");
    // Something else; half of something known, and then nothing.
    for (bytes, count) in [(&b"GET / HTTP/1.1\r\n\r\n"[..], 1), (b"\x16\x03\x01", 2), (b"m", 3)] {
        let mut socket = Socket::connect(&address).expect("connect");
        socket.set_read_timeout(Duration::from_secs(5));
        socket.write_all(bytes).expect("written");
        let closed = socket.read(&mut [0; 16]);
        let reset = closed.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(reset || matches!(closed, Ok(0)), "{closed:?}");
        until("it is counted", || undetected(&proxy) == count);
    }
    until("all are gone", || {
        let totals = proxy.metrics().snapshot();
        totals
            .listener("l")
            .is_some_and(|l| (l.connections_accepted, l.connections_active()) == (3, 0))
    });
    assert_eq!(outcome(&mut connect(&proxy), any()), "bolt");
}

#[test]
fn a_client_that_has_said_nothing_yet_is_idle_not_unknown() {
    let (bolt, mx) = (named("bolt"), toy());
    let proxy = both(&bolt, &mx);
    // One that looks whether the port is open.
    drop(connect(&proxy));
    // One that connects long before its first request, as pools do.
    let mut early = connect(&proxy);
    until("longer than half a frame may take", || {
        let mut half = Socket::connect(&address_of(&proxy, "l")).expect("connect");
        half.write_all(b"m").expect("written");
        half.set_read_timeout(Duration::from_secs(5));
        half.read(&mut [0; 1]).is_ok_and(|n| n == 0)
    });
    assert_eq!(outcome(&mut early, any()), "bolt");
    assert_eq!(undetected(&proxy), 1, "only the half frame");
}

#[test]
fn a_drain_does_not_wait_for_clients_that_have_said_nothing() {
    let (bolt, mx) = (named("bolt"), toy());
    let proxy = both(&bolt, &mx);
    let mut early = connect(&proxy);
    until("it is accepted", || {
        proxy.metrics().snapshot().listener("l").is_some_and(|l| l.connections_accepted == 1)
    });
    let begun = std::time::Instant::now();
    proxy.drain();
    proxy.join();
    assert!(early.receive().is_none());
    // The default drain_timeout is 10 s.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn versions_keep_connections_of_their_own_and_are_answered_in_kind() {
    let server = named("a");
    let proxy = mesh(&to(&server, "connections: 1"));
    let mut caller = connect(&proxy);
    for round in 0..2 {
        for version in Version::ALL {
            let asked = Builder { version, switch: 1, content: b"x", ..Builder::default() };
            let reply = caller.call(asked.build().expect("short"));
            assert_eq!((reply.version(), &*text(&reply)), (version, "a"), "{round}");
        }
    }
    let seen = server.seen();
    for version in Version::ALL {
        let of_it = seen.iter().filter(|seen| seen.frame.version() == version);
        let connections: Vec<_> = of_it.clone().map(|seen| seen.connection).collect();
        assert_eq!(connections.len(), 2);
        assert_eq!(connections[0], connections[1], "{version:?}");
        assert!(of_it.clone().all(|s| s.frame.has_crc() == (version == Version::V2Crc)));
    }
    assert_eq!(server.connections(), 3);
}

#[test]
fn heartbeats_of_clients_are_answered_on_the_spot() {
    let server = named("a");
    let proxy = mesh(&to(&server, "keepalive: off"));
    let mut caller = connect(&proxy);
    for id in [7, 0xffff_fff0] {
        let mut probe = heartbeat();
        probe.set_id(id);
        caller.send(probe);
        let reply = caller.receive().expect("answered");
        assert_eq!((reply.kind(), reply.id()), (Kind::HeartbeatReply, id));
    }
    assert_eq!(server.connections(), 0);
    let totals = proxy.metrics().snapshot();
    assert_eq!(totals.listener("l").map(|l| l.heartbeats), Some(2));
    assert_eq!(totals.total().requests, 0);
}

#[test]
fn one_way_requests_are_passed_on_and_a_stray_reply_is_dropped() {
    let server = BoltServer::start("127.0.0.1:0", |seen: &Seen<BoltFrame>| {
        vec![reply(&seen.frame, ResponseStatus::Success, b"a")]
    });
    let proxy = mesh(&to(&server, ""));
    let mut caller = connect(&proxy);
    let one_way = Builder { kind: Kind::OneWay, id: 5, content: b"x", ..Builder::default() };
    caller.send(one_way.build().expect("short"));
    // The next frame is this one's reply: the stray one, sent before it, never comes.
    assert_eq!(outcome(&mut caller, any()), "a");
    assert_eq!(server.of_kind(Kind::OneWay), 1);
    assert_eq!(proxy.metrics().snapshot().total().requests, 2);
}

/// A server that calls its client back before it answers, and answers with what the client said.
fn calling_back() -> BoltServer {
    BoltServer::start("127.0.0.1:0", |seen: &Seen<BoltFrame>| match seen.frame.kind() {
        Kind::Request => {
            let mut question = request("client", "callback", &[]);
            question.set_id(seen.frame.id() ^ 0x4000_0000);
            vec![question]
        }
        Kind::Response => {
            let id = seen.frame.id() ^ 0x4000_0000;
            let mut answer = reply(&seen.frame, ResponseStatus::Success, seen.frame.content());
            answer.set_id(id);
            vec![answer]
        }
        _ => vec![],
    })
}

#[test]
fn a_server_may_call_the_client_that_has_its_connection_for_itself() {
    let server = calling_back();
    let proxy = mesh(&to(&server, "dedicated: true"));
    let mut callers = [connect(&proxy), connect(&proxy)];
    let asked = callers.each_mut().map(|caller| caller.ask(any()));
    for (number, caller) in callers.iter_mut().enumerate() {
        let question = caller.receive().expect("called back");
        assert_eq!(
            (question.kind(), question.method().as_deref()),
            (Kind::Request, Some("callback"))
        );
        let said = format!("client {number}");
        caller.send(reply(&question, ResponseStatus::Success, said.as_bytes()));
        let answer = caller.receive().expect("answered");
        assert_eq!((u64::from(answer.id()), text(&answer)), (asked[number], said));
    }
    assert_eq!(server.connections(), 2, "one for each client");
    drop(callers);
    until("they go with their clients", || server.open() == 0);
}

#[test]
fn a_server_that_calls_on_a_shared_connection_is_told_why_not() {
    let server =
        BoltServer::start("127.0.0.1:0", |seen: &Seen<BoltFrame>| match seen.frame.kind() {
            Kind::Request => {
                let mut question = request("client", "callback", &[]);
                question.set_id(77);
                vec![question, reply(&seen.frame, ResponseStatus::Success, b"a")]
            }
            _ => vec![],
        });
    let proxy = mesh(&to(&server, ""));
    assert_eq!(outcome(&mut connect(&proxy), any()), "a");
    until("it is refused", || server.of_kind(Kind::Response) == 1);
    let seen = server.seen();
    let refusal = &seen.iter().find(|s| s.frame.kind() == Kind::Response).expect("one").frame;
    assert_eq!((refusal.id(), &*flag(refusal)), (77, "NR"));
    assert!(text(refusal).contains("dedicated: true"), "{}", text(refusal));
}

#[test]
fn neither_side_is_idle_while_the_client_owes_an_answer() {
    let server = calling_back();
    let yaml = to(&server, "dedicated: true, idle_timeout: 150ms, keepalive: off")
        .replace("protocols:", "idle_timeout: 150ms, protocols:");
    let proxy = mesh(&yaml);
    let mut caller = connect(&proxy);
    caller.ask(any());
    let question = caller.receive().expect("called back");
    // The request itself is answered: what is left is the server's question.
    let seen = server.seen().pop().expect("it is there");
    server.send(seen.connection, reply(&seen.frame, ResponseStatus::Success, b"meanwhile"));
    assert_eq!(text(&caller.receive().expect("answered")), "meanwhile");
    // Both sides' idle timers would have fired long ago.
    std::thread::sleep(Duration::from_millis(500));
    caller.send(reply(&question, ResponseStatus::Success, b"at last"));
    until("the answer arrives", || server.of_kind(Kind::Response) == 1);
    assert!(caller.receive().is_none_or(|late| text(&late) == "at last"));
    until("then both are closed", || server.open() == 0);
}

#[test]
fn go_away_is_said_only_where_it_was_asked_for() {
    let server = named("a");
    for said in [true, false] {
        let yaml = to(&server, "").replace(
            "protocols:",
            &format!("options: {{ bolt: {{ go_away: '{said}' }} }}, protocols:"),
        );
        let proxy = mesh(&yaml);
        let mut caller = connect(&proxy);
        assert_eq!(outcome(&mut caller, any()), "a");
        proxy.drain();
        if said {
            assert_eq!(caller.receive().map(|frame| frame.kind()), Some(Kind::GoAway));
        }
        assert!(caller.receive().is_none(), "closed when it is quiet");
        proxy.join();
    }
}

#[test]
fn a_frame_over_the_limit_is_refused_before_it_is_there() {
    let server = named("a");
    let yaml = to(&server, "")
        .replace("protocols:", "limits: { max_frame: 64KiB, max_header: 32KiB }, protocols:");
    let proxy = mesh(&yaml);
    let mut caller = connect(&proxy);
    assert_eq!(outcome(&mut caller, any()), "a");
    let content = vec![0; 128 << 10];
    let huge = Builder { content: &content, ..Builder::default() }.build().expect("short");
    // The head alone says too much.
    caller.socket.write_all(&huge.as_bytes()[..64]).expect("written");
    assert!(caller.receive().is_none());
    assert_eq!(proxy.metrics().snapshot().listener("l").map(|l| l.decode_errors), Some(1));
    assert_eq!(server.requests(), 1);
}

#[test]
fn a_request_that_cannot_be_read_ends_its_own_connection_only() {
    let server = named("a");
    let proxy = mesh(&to(&server, ""));
    let mut well = connect(&proxy);
    assert_eq!(outcome(&mut well, any()), "a");
    let mut ill = connect(&proxy);
    ill.socket.write_all(&[0xee; 64]).expect("written");
    assert!(ill.receive().is_none());
    assert_eq!(outcome(&mut well, any()), "a");
    assert_eq!(proxy.metrics().snapshot().listener("l").map(|l| l.decode_errors), Some(1));
}
