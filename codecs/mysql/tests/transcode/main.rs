//! Replies of upstreams, given to clients of other capabilities.

mod model;

use bytes::BytesMut;
use proptest::prelude::*;
use wiremesh::DecodeError;
use wiremesh_mysql::{
    StatusFlags,
    pooled::transcode::{Told, Transcoder},
    reply::OkPacket,
};

use self::model::{Leg, Reply, Spoken, leg, reply};

/// What follows a reply, none of which is its: it begins like a row, an end and an error.
const AFTER: &[u8] = b"\x05\0\0\x07\xfe\0\0\0\0\xff\xff";

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
        Told::Change(_) => *changes += 1,
    };
    while let Some(bytes) = transcoder.take(input, &mut told)? {
        assert!(!bytes.is_empty());
        segments.last_mut().unwrap().extend_from_slice(&bytes);
    }
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
    let given = give(&mut transcoder, &reply.by_server(upstream), pieces).unwrap();
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
}
