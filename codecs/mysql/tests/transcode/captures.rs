//! Replies recorded from real servers, for clients of other capabilities than those that got them.

use bytes::BytesMut;
use wiremesh::{Peer, kit::Recorded};
use wiremesh_mysql::{
    Capabilities, Command, StatusFlags,
    handshake::{Greeting, Login, is_ssl_request},
    pooled::transcode::Transcoder,
    reply::{OkPacket, Outcome, Shape, Tracker},
    session::{Change, Changes},
    wire::{HEAD, Head},
};

use super::{Given, drain, model::Spoken};

const FOLDER: &str = "../../testdata/mysql";

/// What a status says, but for changes that the OK tells.
const MEANT: u16 = !StatusFlags::STATE_CHANGED.0;

/// The replies to the commands of a connection.
struct Conversation {
    name: String,
    capabilities: Capabilities,
    replies: Vec<Reply>,
}

struct Reply {
    request: Vec<u8>,
    shape: Shape,
    seq: u8,
    spoken: Spoken,
    outcome: Outcome,
}

/// Packets, heads included.
fn packets(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    while let Some(head) = Head::read(bytes) {
        let (packet, rest) = bytes.split_at(HEAD + head.len);
        packets.push(packet);
        bytes = rest;
    }
    assert!(bytes.is_empty());
    packets
}

/// Of those that can be read: without compression and TLS, up to what is an exchange or has no end.
fn conversation(recorded: &Recorded, name: &str) -> Option<Conversation> {
    let [said, answered] =
        [Peer::Client, Peer::Upstream].map(|peer| recorded.pieces(name, peer).concat());
    let login = &said[HEAD..HEAD + Head::read(&said).unwrap().len];
    if is_ssl_request(login) {
        return None;
    }
    let greeting = &answered[HEAD..HEAD + Head::read(&answered).unwrap().len];
    let offered = Greeting::parse(greeting).unwrap().capabilities;
    let capabilities = Login::parse(login).unwrap().agreed(offered);
    if capabilities.is_compressed() {
        return None;
    }
    let requests = packets(&said);
    let requests = requests.iter().filter(|packet| packet[3] == 0);
    let mut answers = packets(&answered).into_iter();
    answers.find(|packet| packet[3] > 0 && matches!(packet[HEAD], 0 | 0xff)).unwrap();
    let mut replies = Vec::new();
    let mut tracker = Tracker::new(capabilities);
    for request in requests {
        let shape = Shape::of(Command::of(request[HEAD]));
        match shape {
            Shape::None => continue,
            Shape::Login | Shape::Relay => break,
            _ => tracker.begin(shape, None),
        }
        let mut segments = vec![(BytesMut::new(), 0)];
        while !tracker.is_done() {
            let packet = answers.next().unwrap();
            if tracker.wants_file() {
                segments.last_mut().unwrap().1 = packet[3] - tracker.next_seq().unwrap();
                segments.push((BytesMut::new(), 0));
                tracker.expect(None);
            }
            tracker.feed(packet).unwrap();
            segments.last_mut().unwrap().0.extend_from_slice(packet);
        }
        let (seq, next_seq) = (segments[0].0[3], tracker.next_seq().unwrap());
        let (spoken, outcome) =
            (Spoken { segments, next_seq, oks: Vec::new(), changes: 0 }, *tracker.outcome());
        replies.push(Reply { request: request.to_vec(), shape, seq, spoken, outcome });
    }
    Some(Conversation { name: name.to_owned(), capabilities, replies })
}

fn conversations() -> Vec<Conversation> {
    let recorded = Recorded::in_folder(FOLDER);
    let names = recorded.connections();
    names.iter().filter_map(|name| conversation(&recorded, name)).collect()
}

impl Conversation {
    fn named(name: &str) -> Self {
        conversation(&Recorded::in_folder(FOLDER), name).unwrap()
    }

    /// What a client of these capabilities is given.
    fn give(&self, client: Capabilities) -> Vec<Given> {
        let mut transcoder = Transcoder::new(self.capabilities, client);
        let give = |reply: &Reply| {
            transcoder.begin(reply.shape, reply.seq, StatusFlags::AUTOCOMMIT);
            let (mut given, mut input) = (Given::default(), BytesMut::new());
            for (n, (bytes, file)) in reply.spoken.segments.iter().enumerate() {
                given.segments.push(Vec::new());
                input.extend_from_slice(bytes);
                drain(&mut transcoder, &mut input, &mut given).unwrap();
                if n + 1 < reply.spoken.segments.len() {
                    transcoder.resume(transcoder.next_seq().wrapping_add(*file));
                }
            }
            assert!(transcoder.is_done() && input.is_empty(), "{}", self.name);
            given
        };
        self.replies.iter().map(give).collect()
    }
}

/// The changes of a body that clients are told of.
fn told(body: &[u8], capabilities: Capabilities) -> Vec<Change<'_>> {
    let changes = Changes::of_ok(body, capabilities).unwrap().map(Result::unwrap);
    changes
        .filter(|change| match change {
            Change::Schema(_) => true,
            Change::Variable { name, .. } => {
                name.starts_with(b"character_set_")
                    || [&b"autocommit"[..], b"time_zone"].contains(name)
            }
            _ => false,
        })
        .collect()
}

fn is_ok(body: &[u8]) -> bool {
    matches!(body[0], 0 | 0xfe) && body.len() >= 7
}

#[test]
fn for_a_client_like_the_one_that_got_them_they_are_the_same() {
    let (mut replies, mut stripped) = (0, 0);
    for conversation in conversations() {
        let capabilities = conversation.capabilities;
        let given = conversation.give(capabilities);
        for (reply, given) in conversation.replies.iter().zip(&given) {
            let was = reply.spoken.segments.iter().flat_map(|(bytes, _)| packets(bytes));
            let is = given.segments.iter().flat_map(|bytes| packets(bytes));
            assert_eq!(was.clone().count(), is.clone().count());
            for (was, is) in was.zip(is).filter(|(was, is)| was != is) {
                // But for what only those are told who ask for it.
                let (was, is) = (&was[HEAD..], &is[HEAD..]);
                assert!(
                    is_ok(was) && capabilities.has(Capabilities::SESSION_TRACK),
                    "{} {} {was:?} {is:?}",
                    conversation.name,
                    reply.request.escape_ascii()
                );
                let status = OkPacket::parse(was).unwrap().status;
                assert!(status.has(StatusFlags::STATE_CHANGED), "{}", conversation.name);
                let left: Vec<_> =
                    Changes::of_ok(is, capabilities).unwrap().map(Result::unwrap).collect();
                assert_eq!(left, told(was, capabilities));
                stripped += 1;
            }
            replies += 1;
        }
    }
    println!("{replies} replies, {stripped} OKs with less");
    assert!(replies > 1200 && stripped > 150, "{replies} {stripped}");
}

#[test]
fn for_other_clients_they_say_the_same() {
    let mut replies = 0;
    let columns_are_told = |conversation: &Conversation| {
        let but_for =
            [Capabilities::OPTIONAL_RESULTSET_METADATA, Capabilities::MARIADB_CACHE_METADATA];
        !but_for.iter().any(|flag| conversation.capabilities.has(*flag))
    };
    for conversation in conversations().into_iter().filter(columns_are_told) {
        let upstream = conversation.capabilities;
        for eof in [Capabilities(0), Capabilities::DEPRECATE_EOF] {
            for track in [Capabilities(0), Capabilities::SESSION_TRACK] {
                let both = Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK;
                let client = upstream.without(both) | eof | track;
                let mut tracker = Tracker::new(client);
                for (reply, given) in conversation.replies.iter().zip(conversation.give(client)) {
                    tracker.begin(reply.shape, Some(reply.seq));
                    for (n, bytes) in given.segments.iter().enumerate() {
                        if n > 0 {
                            tracker.expect(None);
                        }
                        assert!(!tracker.is_done());
                        assert_eq!(
                            tracker.feed(bytes),
                            Ok(bytes.len()),
                            "{} {} {client:?} {bytes:?}",
                            conversation.name,
                            reply.request.escape_ascii()
                        );
                    }
                    assert!(tracker.is_done());
                    same(&reply.outcome, tracker.outcome());
                    replies += 1;
                }
            }
        }
    }
    assert!(replies > 3100, "{replies}");
}

fn same(was: &Outcome, is: &Outcome) {
    let Outcome { error, rows, results, files, statement, .. } = *is;
    let alike = Outcome { ok: was.ok, affected: was.affected, ..*is };
    assert_eq!(*was, alike, "{error:?} {rows} {results} {files} {statement:?}");
    if was.error.is_none() && was.statement.is_none() {
        let meaning = |outcome: &Outcome| {
            outcome.ok.map(|ok| (ok.status.0 & MEANT, ok.warnings, ok.insert_id))
        };
        assert_eq!(meaning(was), meaning(is), "{was:?} {is:?}");
        assert_eq!(was.affected, is.affected);
    }
}

/// What an OK or EOF says, without its texts.
fn end(body: &[u8], capabilities: Capabilities) -> Option<OkPacket> {
    match body {
        [0xfe, ..] if body.len() == 5 => OkPacket::parse_eof(body).ok(),
        [0xfe, ..] if !capabilities.has(Capabilities::DEPRECATE_EOF) => None,
        [0 | 0xfe, ..] => OkPacket::parse(body).ok(),
        _ => None,
    }
}

/// The same statements were recorded from clients of both kinds: what the one got is what the other should be given.
#[test]
fn servers_say_it_so() {
    // What is not known before the rows, what MySQL says in one form only, and what is told of the session.
    let unlike = StatusFlags::MORE_RESULTS
        | StatusFlags::NO_INDEX
        | StatusFlags::PS_OUT_PARAMS
        | StatusFlags::STATE_CHANGED;
    let (mut all, mut others) = (0, 0);
    for (from, to) in [("modern", "eof"), ("eof", "modern")] {
        for what in ["text", "prepared"] {
            let from = Conversation::named(&format!("mysql8-{what}-{from}"));
            let to = Conversation::named(&format!("mysql8-{what}-{to}"));
            let capabilities = to.capabilities;
            assert_eq!(from.replies.len(), to.replies.len());
            for (given, wanted) in from.give(capabilities).iter().zip(&to.replies) {
                // Those of uptime and threads are never the same.
                if matches!(wanted.request[HEAD], 0x09 | 0x0a) {
                    continue;
                }
                let is = given.segments.iter().flat_map(|bytes| packets(bytes));
                let should = wanted.spoken.segments.iter().flat_map(|(bytes, _)| packets(bytes));
                assert_eq!(is.clone().count(), should.clone().count());
                for (is, should) in is.zip(should) {
                    all += 1;
                    if is == should {
                        continue;
                    }
                    others += 1;
                    assert_eq!(is[3], should[3], "the numbers are the same");
                    let (a, b) = (&is[HEAD..], &should[HEAD..]);
                    let (Some(a), Some(b)) = (end(a, capabilities), end(b, capabilities)) else {
                        panic!("{} {}", is.escape_ascii(), should.escape_ascii());
                    };
                    let alike =
                        |ok: OkPacket| (ok.status.without(unlike), ok.affected, ok.insert_id);
                    assert_eq!(alike(a), alike(b), "{}", wanted.request.escape_ascii());
                }
            }
        }
    }
    println!("{all} packets, {others} differ in a flag");
    assert!(all > 400 && others < 30, "{all} {others}");
}
