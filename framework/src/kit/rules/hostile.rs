use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;

use crate::{
    Failure, Frame, HeaderView, Limits, Peer, Protocol, Reason, TraceContext,
    kit::{
        Report, Rule, Shape,
        probe::{Facts, Numbers, Parsed, encode},
        rules::ALL_SAMPLES,
    },
};

/// So many bytes at either end of a sample have every bit flipped.
const EDGE: usize = 128;
/// So many inputs of random bytes, and so many random changes to each sample.
const RANDOM: usize = 500;
const SEED: u64 = 0x05ee_d0fa;

pub(super) fn check<P>(protocol: &P, all: &[Parsed<'_, P>], report: &mut Report)
where
    P: Protocol,
    P::Correlation: Shape<P>,
{
    let mut numbers = Numbers::new(SEED);
    for parsed in all {
        let (name, whole) = (&parsed.sample.name, &parsed.sample.bytes);
        // Long samples differ from short ones in nothing that a flipped bit could show.
        let bytes = &whole[..whole.len().min(8 * 1024)];
        let len = bytes.len();
        for at in (0..len).filter(|at| *at < EDGE || *at + EDGE >= len) {
            for bit in 0..8 {
                let mut bytes = bytes.to_vec();
                bytes[at] ^= 1 << bit;
                survive(protocol, &bytes, name, at, report);
            }
        }
        for _ in 0..RANDOM {
            let mut bytes = bytes.to_vec();
            let at = numbers.below(len);
            for _ in 0..=numbers.below(8) {
                let at = numbers.below(len);
                bytes[at] = numbers.next() as u8;
            }
            survive(protocol, &bytes, name, at, report);
        }
    }
    for _ in 0..RANDOM {
        let bytes: Vec<u8> = (0..numbers.below(300)).map(|_| numbers.next() as u8).collect();
        survive(protocol, &bytes, ALL_SAMPLES, 0, report);
    }
}

/// Lets a protocol loose on hostile bytes, from either side.
fn survive<P>(protocol: &P, bytes: &[u8], name: &str, at: usize, report: &mut Report)
where
    P: Protocol,
    P::Correlation: Shape<P>,
{
    for from in [Peer::Client, Peer::Upstream] {
        let outcome = catch_unwind(AssertUnwindSafe(|| use_all(protocol, from, bytes)));
        let hex = || -> String { bytes.iter().take(64).map(|b| format!("{b:02x}")).collect() };
        let progress = outcome.as_ref().map_or(Ok(()), |progress| {
            progress.map_err(|taken| format!("after {taken} bytes of {}", hex()))
        });
        report.note(Rule::Progress, name, at, progress);
        let panic = outcome.map(|_| ()).map_err(|_| format!("from {from:?}: {}", hex()));
        report.note(Rule::Panic, name, at, panic);
    }
}

/// Does with every frame what can be done with a frame. Fails with the offset of one that took no bytes.
fn use_all<P>(protocol: &P, from: Peer, bytes: &[u8]) -> Result<(), usize>
where
    P: Protocol,
    P::Correlation: Shape<P>,
{
    let limits = Limits { max_frame: 1 << 20, ..Limits::default() };
    let (mut input, mut state) = (BytesMut::from(bytes), P::State::default());
    P::detect(bytes);
    loop {
        let before = input.len();
        let Ok(Some(mut frame)) = protocol.decode(from, &mut state, &limits, &mut input) else {
            return Ok(());
        };
        if input.len() >= before {
            return Err(bytes.len() - before);
        }
        Facts::of(&frame);
        frame.header("x");
        protocol.lane(&frame);
        protocol.heartbeat_reply(&frame);
        let failure = Failure::new(Reason::Timeout, "too late");
        let reply = protocol.reply(&protocol.head(&frame), &failure);
        if let Some(reply) = reply {
            drop(P::Correlation::answers(protocol, &frame, &reply));
        }
        encode(protocol, &frame);
        P::Correlation::set_id(protocol, &mut frame, 1);
        frame.set_timeout(std::time::Duration::from_millis(7));
        // Refused or not, they must leave something that can be encoded.
        drop(frame.set_header("x", "y"));
        drop(frame.set_trace(&TraceContext::default()));
        drop(frame.remove_header("x"));
        encode(protocol, &frame);
    }
}
