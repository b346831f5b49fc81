//! The toys and their servers understand each other.

use bytes::BytesMut;
use wiremesh::correlation::{
    Arrival, Attachment, Departure, Expect, Handshake, Hold, Pipelined, Progress, SessionMachine,
    Sessioned, Step, Target,
};
use wiremesh::{Failure, Frame, Kind, Limits, Peer, Protocol, Reason, Status, WriteBuf};
use wiremesh_toys::inorder::Line;
use wiremesh_toys::session::{packet, text};
use wiremesh_toys::{Desk, Kv, Mx, multiplexed::Message, server};

/// What is at the other end after the frame went over the wire.
fn over_the_wire<P: Protocol>(protocol: &P, from: Peer, frame: P::Frame) -> P::Frame {
    let mut out = WriteBuf::default();
    protocol.encode(frame, &mut out);
    let mut input: BytesMut = out.to_bytes();
    let limits = Limits::default();
    let got = protocol.decode(from, &mut P::State::default(), &limits, &mut input).unwrap();
    assert!(input.is_empty());
    got.unwrap()
}

#[test]
fn multiplexed_requests_are_echoed() {
    let request = Message::new(Kind::Request, Status::Ok, 9, ["s", "m"], b"hi");
    let request = over_the_wire(&Mx, Peer::Client, request);
    assert_eq!(request.service().as_deref(), Some("s"));
    assert_eq!(request.method().as_deref(), Some("m"));
    let reply = server::multiplexed(&request).unwrap();
    let reply = over_the_wire(&Mx, Peer::Upstream, reply);
    assert_eq!(
        (reply.kind(), reply.status(), reply.payload()),
        (Kind::Response, Status::Ok, &b"hi"[..])
    );
    let failing = Message::new(Kind::Request, Status::Ok, 9, ["s", "fail"], b"");
    assert_eq!(server::multiplexed(&failing).unwrap().status(), Status::AppError);
    let one_way = Message::new(Kind::OneWay, Status::Ok, 9, ["s", "m"], b"hi");
    assert!(server::multiplexed(&one_way).is_none());
}

fn ask(store: &mut server::Store, text: &str) -> Vec<String> {
    let line = over_the_wire(&Kv, Peer::Client, Line::new(Kind::Request, text));
    let answer = store.answer(&line).into_iter();
    let words = |line: Line| line.words().collect::<Vec<_>>().join(" ");
    answer.map(|line| words(over_the_wire(&Kv, Peer::Upstream, line))).collect()
}

#[test]
fn lines_are_answered_as_their_table_says() {
    let mut store = server::Store::default();
    assert_eq!(ask(&mut store, "SET a 1"), ["OK"]);
    assert_eq!(ask(&mut store, "SET b 2"), ["OK"]);
    assert_eq!(ask(&mut store, "GET a c b"), ["VALUES 1 - 2"]);
    assert_eq!(ask(&mut store, "SCAN"), ["ITEM a 1", "ITEM b 2", "END"]);
    assert_eq!(ask(&mut store, "PING"), ["PONG"]);
    assert!(ask(&mut store, "LOG one two").is_empty());
    assert_eq!(store.log, ["one two"]);
    assert_eq!(ask(&mut store, "NONSENSE"), ["ERR bad_request no such command"]);
}

#[test]
fn lines_say_how_many_replies_they_expect() {
    for (text, expect) in [
        ("GET a", Expect::One),
        ("SCAN", Expect::Stream),
        ("LOG x", Expect::None),
        ("PING", Expect::One),
    ] {
        let line = over_the_wire(&Kv, Peer::Client, Line::new(Kind::Request, text));
        assert_eq!(Kv.expects(&line), expect, "{text}");
    }
    for (text, last) in [("ITEM a 1", false), ("END", true), ("ERR timeout x", true)] {
        assert_eq!(Kv.is_last(&Line::new(Kind::Response, text)), last, "{text}");
    }
}

#[test]
fn a_get_of_several_keys_is_split_and_gathered() {
    let mut store = server::Store::default();
    ask(&mut store, "SET a 1");
    let Step::Parts(parts, mut gather) = Kv.step(Line::new(Kind::Request, "GET a b a")) else {
        panic!("not split");
    };
    let targets: Vec<_> = parts.iter().map(|part| part.target).collect();
    assert_eq!(targets, ["a", "b", "a"].map(Target::of));
    for (n, part) in parts.iter().enumerate().rev() {
        let reply = store.answer(&part.request).remove(0);
        gather.reply(&Kv, n, reply);
    }
    assert_eq!(gather.finish(&Kv).words().collect::<Vec<_>>(), ["VALUES", "1", "-", "1"]);

    for whole in ["GET a", "SET a b", "SCAN"] {
        assert!(
            matches!(Kv.step(Line::new(Kind::Request, whole)), Step::Shared(_, Target::Any)),
            "{whole}"
        );
    }
}

#[test]
fn a_failed_part_fails_the_whole() {
    for by_reply in [true, false] {
        let Step::Parts(_, mut gather) = Kv.step(Line::new(Kind::Request, "GET a b")) else {
            panic!("not split");
        };
        gather.reply(&Kv, 0, Line::new(Kind::Response, "VALUES 1"));
        if by_reply {
            gather.reply(&Kv, 1, Line::new(Kind::Response, "ERR timeout too slow"));
        } else {
            gather.failed(&Kv, 1, &Failure::new(Reason::Timeout, "too slow"));
        }
        assert_eq!(gather.finish(&Kv).status(), Status::Timeout);
    }
}

/// Plays a whole handshake between a client's proxy-side machine and what the client says.
#[test]
fn both_handshakes_succeed_with_the_password_and_only_with_it() {
    let mut desk = Desk::default();
    desk.set_option("password", "sesame").unwrap();
    assert!(desk.set_option("passwort", "sesame").is_err());

    let mut client = desk.client_handshake(Arrival {
        number: 1,
        random: [0; 64],
        peer: "somewhere".into(),
        tls: false,
        tls_required: false,
        private: false,
    });
    let Progress::Continue(Some(greeting)) = client.start(&desk) else { panic!("no greeting") };
    assert_eq!(greeting.kind(), Kind::Push);
    let login = |password| packet(b'L', Status::Ok, password);
    assert!(matches!(client.on_frame(&desk, login("sesame")), Progress::Done(Some(_))));
    assert!(matches!(client.on_frame(&desk, login("x")), Progress::Refused(Some(_), _)));

    for (password, welcome) in [("sesame", true), ("other", false)] {
        let (mut server, greeting) = server::Desk::accept(password);
        let departure = Departure { random: [0; 64], tls: false, private: false };
        let mut upstream = desk.upstream_handshake(0, departure);
        assert!(matches!(upstream.start(&desk), Progress::Continue(None)));
        let Progress::Continue(Some(login)) = upstream.on_frame(&desk, greeting) else {
            panic!("no login")
        };
        let answer = server.answer(&login).unwrap().remove(0);
        let progress = upstream.on_frame(&desk, answer);
        assert_eq!(matches!(progress, Progress::Done(None)), welcome);
        assert_eq!(matches!(progress, Progress::Refused(None, _)), !welcome);
    }
}

#[test]
fn a_transaction_holds_its_upstream_and_leaves_it_clean() {
    let desk = Desk::default();
    let (mut server, _) = server::Desk::accept("");
    server.answer(&packet(b'L', Status::Ok, "")).unwrap();
    let mut machine = desk.machine();
    for (query, holds) in [
        ("GET k", "release"),
        ("BEGIN", "held"),
        ("SET k v", "held"),
        ("ROWS 2", "pending pending held"),
        ("NONSENSE", "held"),
        ("COMMIT", "reset"),
        ("ROWS 1", "pending release"),
    ] {
        let request = packet(b'Q', Status::Ok, query);
        assert_eq!(machine.on_request(&desk, &request), Attachment::Upstream);
        let seen: Vec<_> = server
            .answer(&request)
            .unwrap()
            .iter()
            .map(|reply| match machine.on_reply(&desk, reply) {
                Hold::Pending => "pending",
                Hold::Answer(_) => "answer",
                Hold::Held => "held",
                Hold::Release { reset: None } => "release",
                Hold::Release { reset: Some(reset) } => {
                    assert_eq!(text(&reset), "RESET");
                    "reset"
                }
                Hold::Close => "close",
                Hold::Linger | Hold::Prepared => "never",
            })
            .collect();
        assert_eq!(seen.join(" "), holds, "{query}");
    }
    assert_eq!(text(&server.answer(&packet(b'Q', Status::Ok, "GET k")).unwrap()[0]), "v");
    server.answer(&packet(b'Q', Status::Ok, "RESET")).unwrap();
    assert_eq!(text(&server.answer(&packet(b'Q', Status::Ok, "GET k")).unwrap()[0]), "");
    let leave = packet(b'X', Status::Ok, "");
    assert_eq!(machine.on_request(&desk, &leave), Attachment::Quit);
    assert!(server.answer(&leave).is_none());
}
