//! The body of a fuzz target: a plain function over bytes.

#![allow(clippy::expect_used, reason = "a panic is how a fuzzer is told")]

use std::{fs, io, path::Path};

use bytes::BytesMut;

use super::{
    Samples, Shape,
    probe::{Facts, Numbers, encode, feed},
};
use crate::{Failure, Frame, HeaderView, Kind, Limits, Peer, Protocol, Reason, Status, WriteBuf};

const LIMITS: Limits =
    Limits { max_frame: 1 << 20, max_header: 1 << 16, max_depth: 32, max_elements: 1 << 12 };

/// Decodes `data`, does with every frame what can be done with one, and panics where a rule of the protocol's is broken.
///
/// The first byte says whose bytes they are and seeds the sizes of the pieces they arrive in; the rest are the bytes.
///
/// # Panics
///
/// When pieces decode to other frames than the whole, an untouched frame encodes to other bytes, an edit or the
/// proxy's own reply does not survive the wire, or the protocol itself panics.
pub fn fuzz_decode<P>(protocol: &P, data: &[u8])
where
    P: Protocol,
    P::Correlation: Shape<P>,
{
    let Some((seed, bytes)) = data.split_first() else { return };
    let from = if seed & 1 == 0 { Peer::Client } else { Peer::Upstream };
    P::detect(bytes);

    let mut numbers = Numbers::new(u64::from(*seed) << 8 | 1);
    let whole = feed(protocol, from, &LIMITS, bytes, || bytes.len());
    let pieces = feed(protocol, from, &LIMITS, bytes, || 1 + numbers.below(16));
    assert_eq!(whole.frames, pieces.frames, "pieces decode to other frames");
    assert_eq!(whole.end.is_ok(), pieces.end.is_ok(), "pieces end otherwise");

    let (mut input, mut state) = (BytesMut::from(bytes), P::State::default());
    loop {
        let before = bytes.len() - input.len();
        let Ok(Some(frame)) = protocol.decode(from, &mut state, &LIMITS, &mut input) else {
            return pass_on(protocol, from, &mut state, &bytes[before..]);
        };
        let taken = &bytes[before..bytes.len() - input.len()];
        assert!(!taken.is_empty(), "a frame of no bytes");
        assert!(taken.len() <= LIMITS.max_frame, "a frame over the limit");
        assert_eq!(frame.wire_len(), taken.len(), "wire_len");
        assert_eq!(encode(protocol, &frame)[..], *taken, "an untouched frame's bytes");
        on_frame(protocol, from, &frame);
    }
}

/// What is passed on in pieces is what came, in order.
fn pass_on<P: Protocol>(protocol: &P, from: Peer, state: &mut P::State, bytes: &[u8]) {
    let mut input = BytesMut::from(bytes);
    let Some(frame) = protocol.begin(from, state, &mut input) else {
        assert_eq!(input[..], *bytes, "what is not begun is changed");
        return;
    };
    let mut passed = encode(protocol, &frame);
    assert_eq!(frame.wire_len(), passed.len(), "wire_len of a beginning");
    while let Ok(piece) = protocol.rest(from, state, &mut input) {
        passed.extend_from_slice(&piece.bytes);
        if piece.last || piece.bytes.is_empty() {
            assert_eq!(passed[..], bytes[..passed.len()], "pieces");
            return assert_eq!(passed.len() + input.len(), bytes.len(), "bytes are lost");
        }
    }
}

fn on_frame<P>(protocol: &P, from: Peer, frame: &P::Frame)
where
    P: Protocol,
    P::Correlation: Shape<P>,
{
    protocol.lane(frame);
    let facts = Facts::of(frame);
    let survives = |frame: &P::Frame| {
        // Only the first frame of a connection can be told without those before it.
        let mut input = encode(protocol, frame);
        assert_eq!(input.len(), frame.wire_len(), "wire_len of an edited frame");
        let limits = Limits { max_frame: 1 << 24, max_header: 1 << 24, ..LIMITS };
        let mut state = P::State::default();
        protocol
            .decode(from, &mut state, &limits, &mut input)
            .ok()
            .flatten()
            .filter(|_| input.is_empty())
    };
    if survives(frame).is_none() {
        return;
    }
    if <P::Correlation as Shape<P>>::ID_BITS.is_some() {
        let mut renamed = frame.clone();
        P::Correlation::set_id(protocol, &mut renamed, 0x5a);
        let arrived = survives(&renamed).expect("a frame with another id is refused");
        assert_eq!(P::Correlation::id(protocol, &arrived), 0x5a);
        assert_eq!(Facts::of(&arrived), facts, "an id changes more than itself");
    }
    let mut edited = frame.clone();
    if edited.set_header("wiremesh-fuzz", "a value").is_ok() {
        let arrived = survives(&edited).expect("a frame with another header is refused");
        assert_eq!(arrived.header("wiremesh-fuzz").as_deref(), Some("a value"));
        assert_eq!(Facts::of(&arrived).core(), facts.core(), "a header changes more than itself");
        assert_eq!(edited.remove_header("wiremesh-fuzz"), Ok(true));
        assert_eq!(encode(protocol, &edited), encode(protocol, frame), "a header's trace is left");
    }
    if facts.kind == Kind::Request {
        let failure = Failure::new(Reason::UpstreamReset, "the upstream went away");
        if let Some(reply) = protocol.reply(&protocol.head(frame), &failure) {
            let mut input = encode(protocol, &reply);
            let arrived = protocol
                .decode(Peer::Upstream, &mut P::State::default(), &LIMITS, &mut input)
                .expect("a reply is refused")
                .expect("a reply is no frame");
            assert_eq!(arrived.kind(), Kind::Response);
            assert_ne!(arrived.status(), Status::Ok, "a failure reads as a success");
            P::Correlation::answers(protocol, frame, &arrived).expect("a reply");
        }
    }
    if facts.kind == Kind::Heartbeat {
        let mut out = WriteBuf::default();
        let answer = protocol.heartbeat_reply(frame).expect("a heartbeat has an answer");
        assert_eq!(answer.kind(), Kind::HeartbeatReply);
        protocol.encode(answer, &mut out);
    }
}

/// Inputs for [`fuzz_decode`] to begin with, made of samples.
pub fn seeds(samples: &Samples) -> Vec<Vec<u8>> {
    let seed = |from: Peer| if from == Peer::Client { 2 } else { 3 };
    let seed = |sample: &super::Sample| [&[seed(sample.from)], &sample.bytes[..]].concat();
    samples.own().iter().map(seed).collect()
}

/// Runs [`fuzz_decode`] over the samples, over changes to them, and over every file in `corpus`, if there is such a
/// directory. Says how many inputs there were.
///
/// # Errors
///
/// When a file cannot be read.
///
/// # Panics
///
/// As [`fuzz_decode`].
pub fn replay<P>(protocol: &P, samples: &Samples, corpus: &Path) -> io::Result<usize>
where
    P: Protocol,
    P::Correlation: Shape<P>,
{
    let mut inputs = seeds(samples);
    let mut numbers = Numbers::new(1);
    for n in 0..inputs.len() {
        for _ in 0..64 {
            let mut input = inputs[n].clone();
            let at = numbers.below(input.len());
            match numbers.below(4) {
                0 => input[at] ^= 1 << numbers.below(8),
                1 => input[at] = numbers.next() as u8,
                2 => input.truncate(at),
                _ => input.extend_from_within(at..),
            }
            inputs.push(input);
        }
    }
    if corpus.is_dir() {
        for entry in fs::read_dir(corpus)? {
            inputs.push(fs::read(entry?.path())?);
        }
    }
    inputs.iter().for_each(|input| fuzz_decode(protocol, input));
    Ok(inputs.len())
}
