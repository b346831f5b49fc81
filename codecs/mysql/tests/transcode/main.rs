//! Replies of upstreams, given to clients of other capabilities.

mod captures;
mod model;

use bytes::BytesMut;
use proptest::prelude::*;
use wiremesh::DecodeError;
use wiremesh_mysql::{
    Capabilities, StatusFlags,
    pooled::transcode::{MAX_WHOLE, Renumber, Told, Transcoder},
    reply::{OkPacket, Shape},
    wire::{MAX_BODY, put_packet},
};

use self::model::{Leg, Reply, Spoken, leg, reply};

/// What follows a reply, none of which is its: it begins like a row, an end and an error.
const AFTER: &[u8] = b"\x05\0\0\x07\xfe\0\0\0\0\xff\xff";

/// No more than that waits for what follows it.
const MAX_WAITING: usize = MAX_WHOLE + (17 << 10);

/// What a client was given, with a mark where it sent its file.
#[derive(Debug, Default, PartialEq)]
struct Given {
    segments: Vec<Vec<u8>>,
    oks: Vec<OkPacket>,
    changes: usize,
}

/// Takes all that there is.
fn drain(
    transcoder: &mut Transcoder,
    input: &mut BytesMut,
    given: &mut Given,
) -> Result<(), DecodeError> {
    let Given { segments, oks, changes } = given;
    let mut told = |told: Told<'_>| match told {
        Told::Ok(ok) => oks.push(ok),
        Told::State(told) => *changes += told.map(Result::unwrap).count(),
    };
    let mut was_done = transcoder.is_done();
    while let Some(bytes) = transcoder.take(input, &mut told)? {
        assert!(!bytes.is_empty() && !was_done);
        segments.last_mut().unwrap().extend_from_slice(&bytes);
        was_done = transcoder.is_done();
    }
    assert_eq!(transcoder.is_done(), was_done, "the reply is done with its last bytes");
    Ok(())
}

/// Gives a reply, in pieces of these lengths in turn.
fn give(
    transcoder: &mut Transcoder,
    spoken: &Spoken,
    pieces: &[usize],
) -> Result<Given, DecodeError> {
    let (mut given, mut input) = (Given::default(), BytesMut::new());
    let mut pieces = pieces.iter().cycle();
    for (n, (bytes, file)) in spoken.segments.iter().enumerate() {
        given.segments.push(Vec::new());
        let mut rest = bytes.to_vec();
        if n + 1 == spoken.segments.len() {
            rest.extend_from_slice(AFTER);
        }
        let mut rest = &rest[..];
        while !rest.is_empty() {
            assert!(n + 1 == spoken.segments.len() || !transcoder.is_done());
            let (piece, after) = rest.split_at(rest.len().min(*pieces.next().unwrap()));
            input.extend_from_slice(piece);
            drain(transcoder, &mut input, &mut given)?;
            rest = after;
        }
        if n + 1 < spoken.segments.len() {
            assert!(transcoder.wants_file() && input.is_empty());
            transcoder.resume(transcoder.next_seq().wrapping_add(*file));
        }
    }
    assert!(input == AFTER, "what is left is not the reply's: {input:?}");
    Ok(given)
}

fn begin(reply: &Reply, upstream: Leg, client: Leg) -> Transcoder {
    let mut transcoder = Transcoder::new(upstream.capabilities, client.capabilities);
    transcoder.begin(reply.shape, reply.seq, StatusFlags(reply.status));
    transcoder.name_statement(client.statement);
    transcoder
}

fn check(reply: &Reply, upstream: Leg, client: Leg, pieces: &[usize]) {
    let mut transcoder = begin(reply, upstream, client);
    let spoken = reply.by_server(upstream);
    let given = give(&mut transcoder, &spoken, pieces).unwrap();
    assert_eq!((&given.oks, given.changes), (&spoken.oks, spoken.changes));
    let expected = reply.to_client(client, upstream);
    let bytes: Vec<_> = expected.segments.iter().map(|(bytes, _)| bytes.to_vec()).collect();
    assert_eq!(given.segments, bytes);
    assert!(transcoder.is_done() && transcoder.is_between_packets() && transcoder.has_begun());
    assert_eq!(transcoder.next_seq(), expected.next_seq);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn clients_get_what_their_own_server_would_say(
        reply in reply(),
        upstream in leg(),
        client in leg(),
        pieces in prop::collection::vec(1..200usize, 1..12),
    ) {
        check(&reply, upstream, client, &pieces);
        check(&reply, upstream, client, &[usize::MAX]);
        check(&reply, upstream, client, &[1]);
    }

    #[test]
    fn anything_else_is_an_error_or_wants_more(
        reply in reply(),
        upstream in leg(),
        client in leg(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        pieces in prop::collection::vec(1..200usize, 1..12),
    ) {
        let mut bytes: Vec<_> =
            reply.by_server(upstream).segments.iter().flat_map(|(bytes, _)| bytes.to_vec()).collect();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let outcomes = [&pieces[..], &[usize::MAX]].map(|pieces| {
            let mut transcoder = begin(&reply, upstream, client);
            let result = hear(&mut transcoder, &bytes, pieces);
            result.map(|given| (given, transcoder.is_done(), *transcoder.outcome()))
        });
        prop_assert_eq!(&outcomes[0], &outcomes[1]);
    }

    #[test]
    fn hostile_upstreams_are_survived(
        reply in reply(),
        upstream in leg(),
        client in leg(),
        packets in prop::collection::vec(prop::collection::vec(telling(), 0..14), 0..16),
        noise in prop::collection::vec(telling(), 0..30),
    ) {
        let (mut bytes, mut seq) = (BytesMut::new(), reply.seq);
        for body in &packets {
            seq = put_packet(&mut bytes, seq, body);
        }
        bytes.extend_from_slice(&noise);
        let outcomes = [&[usize::MAX][..], &[1]].map(|pieces| {
            let mut transcoder = begin(&reply, upstream, client);
            hear(&mut transcoder, &bytes, pieces)
        });
        prop_assert_eq!(&outcomes[0], &outcomes[1]);
    }
}

/// Bytes that mean something more often than others do.
fn telling() -> impl Strategy<Value = u8> {
    prop_oneof![
        4 => 0..6_u8,
        2 => prop::sample::select(vec![0xfa, 0xfb, 0xfc, 0xfe, 0xff]),
        1 => any::<u8>(),
    ]
}

/// What a client is given of bytes that may be anything; of a reply that fails nothing.
fn hear(
    transcoder: &mut Transcoder,
    mut bytes: &[u8],
    pieces: &[usize],
) -> Result<Given, DecodeError> {
    let (mut given, mut input) = (Given::default(), BytesMut::new());
    given.segments.push(Vec::new());
    let mut pieces = pieces.iter().cycle();
    while !bytes.is_empty() && !transcoder.is_done() {
        let (piece, after) = bytes.split_at(bytes.len().min(*pieces.next().unwrap()));
        input.extend_from_slice(piece);
        drain(transcoder, &mut input, &mut given)?;
        assert!(transcoder.is_done() || input.len() < MAX_WAITING, "{}", input.len());
        bytes = after;
    }
    Ok(given)
}

/// Numbered packets in one buffer.
fn packets(seq: u8, bodies: &[&[u8]]) -> BytesMut {
    let mut bytes = BytesMut::new();
    bodies.iter().fold(seq, |seq, body| put_packet(&mut bytes, seq, body));
    bytes
}

/// From a server of today to a client of old.
fn to_eof(shape: Shape) -> Transcoder {
    let modern = Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK;
    let mut transcoder = Transcoder::new(modern, Capabilities(0));
    transcoder.begin(shape, 1, StatusFlags::AUTOCOMMIT);
    transcoder
}

#[test]
fn rows_of_16_mib_are_renumbered_and_never_waited_for() {
    let huge = [&b"\xfe\x00\x00\x00\x01\x00\x00\x00\x00"[..], &vec![0xfe; 1 << 24]].concat();
    let exact = vec![0xfe; MAX_BODY];
    let mut modern: Vec<&[u8]> = vec![b"\x01", b"\x03def"];
    let rows = [&huge[..], b"\x01a", &exact];
    modern.extend(rows);
    modern.push(b"\xfe\0\0\x02\0\0\0");
    let modern = packets(1, &modern);
    let mut old: Vec<&[u8]> = vec![b"\x01", b"\x03def", b"\xfe\0\0\x02\0"];
    old.extend(rows);
    old.push(b"\xfe\0\0\x02\0");
    let old = packets(1, &old);
    for size in [usize::MAX, 1_000_003, MAX_BODY + 5] {
        let mut transcoder = to_eof(Shape::Results);
        let (mut input, mut out, mut most) = (BytesMut::new(), BytesMut::new(), 0);
        for piece in modern.chunks(size) {
            input.extend_from_slice(piece);
            while let Some(bytes) = transcoder.take(&mut input, &mut |_| ()).unwrap() {
                out.extend_from_slice(&bytes);
            }
            most = most.max(input.len());
        }
        assert!(transcoder.is_done() && input.is_empty());
        assert!(out == old);
        assert!(most <= 16, "{most}");
    }
}

#[test]
fn what_is_waited_for_is_bounded() {
    let mut transcoder = to_eof(Shape::Results);
    let mut input = packets(1, &[&[&[0; 7], &vec![b'i'; MAX_WHOLE][..]].concat()]);
    input.truncate(10);
    let error = transcoder.take(&mut input, &mut |_| ());
    let seen = MAX_WHOLE as u64 + 7;
    let (limit, max) = ("reply packet", MAX_WHOLE as u64);
    assert_eq!(error, Err(DecodeError::Limit { limit, max, seen }));
    // A first row of an execution is not waited for when it is long.
    let mut transcoder = to_eof(Shape::Execution);
    let mut input = packets(1, &[b"\x01", b"\x03def", &vec![1; 20_000]]);
    input.truncate(100);
    let mut given = Given { segments: vec![Vec::new()], ..Given::default() };
    drain(&mut transcoder, &mut input, &mut given).unwrap();
    assert_eq!((given.segments[0].len(), input.len()), (109, 0));
}

#[test]
fn gaps_are_malformed() {
    let what = "sequence number";
    let bodies: [&[u8]; 3] = [b"\x01", b"\x03def", b"\xfe\0\0\x02\0\0\0"];
    for at in [1, 2] {
        let mut input = BytesMut::new();
        for (n, body) in bodies.iter().enumerate() {
            put_packet(&mut input, 7 + u8::try_from(n).unwrap() + u8::from(n >= at), body);
        }
        let mut transcoder = to_eof(Shape::Results);
        let mut given = Given { segments: vec![Vec::new()], ..Given::default() };
        let error = drain(&mut transcoder, &mut input, &mut given);
        assert_eq!(error, Err(DecodeError::Malformed { what }));
    }
}

#[test]
fn numbers_of_a_file_are_the_upstreams() {
    let mut transcoder = to_eof(Shape::Results);
    let mut input = packets(1, &[b"\x01", b"\x03def", b"\xfe\0\0\x0a\0\0\0", b"\xfb/tmp/file"]);
    let mut given = Given { segments: vec![Vec::new()], ..Given::default() };
    drain(&mut transcoder, &mut input, &mut given).unwrap();
    assert!(transcoder.wants_file());
    assert_eq!((transcoder.next_seq(), transcoder.ahead()), (6, 1));
    let mut file = packets(6, &[b"row", b""]);
    Renumber::new(transcoder.ahead()).apply(&mut file);
    assert_eq!(file, packets(5, &[b"row", b""]));
    transcoder.resume(8);
    let mut input = packets(7, &[b"\0\x01\0\x02\0\0\0"]);
    drain(&mut transcoder, &mut input, &mut given).unwrap();
    assert!(transcoder.is_done() && given.segments[0].ends_with(b"\x07\0\0\x08\0\x01\0\x02\0\0\0"));
}

#[test]
fn a_text_without_its_length_is_understood() {
    let mut transcoder = Transcoder::new(Capabilities(0), Capabilities::SESSION_TRACK);
    transcoder.begin(Shape::Single, 1, StatusFlags::AUTOCOMMIT);
    let mut input = packets(1, &[b"\0\0\0\x02\0\0\0fine"]);
    let out = transcoder.take(&mut input, &mut |_| ()).unwrap().unwrap();
    assert_eq!(out, packets(1, &[b"\0\0\0\x02\0\0\0\x04fine"]));
}

/// What is asked for again and again is given without a copy, and with no memory of its own but for EOFs.
#[test]
fn rows_are_the_upstreams_bytes() {
    let rows = [&b"\x05row 1"[..]; 200];
    let end: &[u8] = b"\xfe\0\0\x02\x40\0\0\0\x12\0\x10\x0cstatement_id\x0236";
    let reply = packets(1, &[&[&b"\x01"[..], b"\x03def"], &rows[..], &[end]].concat());
    let both = Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK;
    for client in [both, Capabilities::DEPRECATE_EOF, Capabilities(0)] {
        let mut transcoder = Transcoder::new(both, client);
        let mut round = |mut input: BytesMut| {
            transcoder.begin(Shape::Results, 1, StatusFlags::AUTOCOMMIT);
            let mut len = 0;
            while let Some(bytes) = transcoder.take(&mut input, &mut |_| ()).unwrap() {
                len += bytes.len();
            }
            assert!(transcoder.is_done());
            len
        };
        // Shared, as what is left of a socket's buffer is.
        let inputs: Vec<_> = (0..50)
            .map(|_| {
                let mut input = reply.clone();
                drop(input.split_off(reply.len()));
                input
            })
            .collect();
        let mut inputs = inputs.into_iter();
        let len = round(inputs.next().unwrap());
        assert!(len < reply.len());
        let allocated = allocation_counter::measure(|| {
            for input in inputs {
                assert_eq!(round(input), len);
            }
        });
        assert_eq!(allocated.count_total, 0, "{client:?}");
    }
}
