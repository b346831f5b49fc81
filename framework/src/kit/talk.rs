//! Whether a session's machine cuts what two peers say to one another in the same way in whatever pieces it comes.

#![allow(clippy::expect_used, reason = "a panic is how a fuzzer is told")]

use bytes::BytesMut;

use super::probe::{Numbers, encode};
use crate::{
    DecodeError, Frame, Limits, Peer,
    correlation::{Attachment, Hold, SessionMachine, Sessioned},
};

const LIMITS: Limits =
    Limits { max_frame: 1 << 26, max_header: 1 << 16, max_depth: 32, max_elements: 1 << 12 };

/// Has a machine follow a conversation, whole turns and then in pieces of many sizes, and checks that it makes the same of
/// it: all bytes are passed on as they came, and after each turn the same requests were seen and the same holds.
///
/// A client may have sent more than its turn has use for: that waits, as it does in the proxy.
///
/// # Panics
///
/// When a rule of [`SessionMachine::take`] is broken, bytes are refused, or any are left at the end.
pub fn talk<P: Sessioned>(protocol: &P, turns: &[(Peer, &[u8])]) {
    let whole = follow(protocol, turns, usize::MAX);
    for size in [1, 2, 3, 5, 7, 16, 61, 1024] {
        let pieces = follow(protocol, turns, size);
        for (turn, (whole, pieces)) in whole.iter().zip(&pieces).enumerate() {
            assert_eq!(whole, pieces, "turn {turn} is another thing in pieces of {size}");
        }
    }
}

/// Has a machine follow any bytes: nothing of them is lost or changed, and it does not panic.
///
/// Each turn begins with a byte that says whose it is and how long.
///
/// # Panics
///
/// When a rule of [`SessionMachine::take`] is broken, or the protocol itself panics.
pub fn fuzz_talk<P: Sessioned>(protocol: &P, data: &[u8]) {
    let mut listener = Listener::new(protocol);
    let mut rest = data;
    while let Some((head, bytes)) = rest.split_first() {
        let from = if head & 1 == 0 { Peer::Client } else { Peer::Upstream };
        let (turn, later) = bytes.split_at(bytes.len().min(usize::from(head >> 1)));
        rest = later;
        if listener.hear(from, turn).is_err() {
            return;
        }
    }
}

/// Runs [`fuzz_talk`] over conversations and over changes to them. Says how many inputs there were.
///
/// # Panics
///
/// As [`fuzz_talk`].
pub fn replay_talks<P: Sessioned>(protocol: &P, talks: &[&[(Peer, &[u8])]]) -> usize {
    let mut numbers = Numbers::new(1);
    let mut inputs = 0;
    for talk in talks {
        let mut script = Vec::new();
        for (from, bytes) in *talk {
            for piece in bytes.chunks(127) {
                script.push(u8::from(*from == Peer::Upstream) | (piece.len() as u8) << 1);
                script.extend_from_slice(piece);
            }
        }
        fuzz_talk(protocol, &script);
        for _ in 0..256 {
            let mut changed = script.clone();
            let at = numbers.below(changed.len());
            match numbers.below(4) {
                0 => changed[at] ^= 1 << numbers.below(8),
                1 => changed[at] = numbers.next() as u8,
                2 => changed.truncate(at),
                _ => changed.extend_from_within(at..),
            }
            fuzz_talk(protocol, &changed);
        }
        inputs += 257;
    }
    inputs
}

/// What is known after a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Heard {
    requests: usize,
    /// Of those, how many have no answer.
    mute: usize,
    /// How many are answered.
    answers: usize,
    holds: bool,
    open: bool,
    quit: bool,
    closed: bool,
    /// How many bytes of the client's and of the upstream's were passed on.
    passed: [usize; 2],
}

fn follow<P: Sessioned>(protocol: &P, turns: &[(Peer, &[u8])], size: usize) -> Vec<Heard> {
    let mut listener = Listener::new(protocol);
    let mut all = Vec::new();
    for (from, bytes) in turns {
        for piece in bytes.chunks(size) {
            listener.hear(*from, piece).expect("bytes are refused");
        }
        all.push(listener.heard);
    }
    let left = listener.input.map(|input| input.len());
    assert_eq!(left, [0, 0], "bytes of the client's and the upstream's that are left");
    all
}

/// What the proxy would do with a session, without the stations.
struct Listener<'a, P: Sessioned> {
    protocol: &'a P,
    machine: P::Machine,
    states: [P::State; 2],
    input: [BytesMut; 2],
    busy: bool,
    heard: Heard,
}

impl<'a, P: Sessioned> Listener<'a, P> {
    fn new(protocol: &'a P) -> Self {
        Self {
            protocol,
            machine: protocol.machine(),
            states: Default::default(),
            input: Default::default(),
            busy: false,
            heard: Heard::default(),
        }
    }

    fn hear(&mut self, from: Peer, bytes: &[u8]) -> Result<(), DecodeError> {
        self.input[side(from)].extend_from_slice(bytes);
        loop {
            let more = match from {
                Peer::Upstream => self.take(Peer::Upstream)?,
                Peer::Client => false,
            };
            let turn = !self.busy || self.machine.is_open();
            let asked = turn && self.take(Peer::Client)?;
            if !more && !asked {
                return Ok(());
            }
        }
    }

    /// Takes one frame; says whether there was one.
    fn take(&mut self, from: Peer) -> Result<bool, DecodeError> {
        let at = side(from);
        let before = self.input[at].clone();
        if before.is_empty() || self.heard.closed {
            return Ok(false);
        }
        let (state, input) = (&mut self.states[at], &mut self.input[at]);
        let Some(frame) = self.machine.take(self.protocol, from, state, &LIMITS, input)? else {
            assert_eq!(*input, before, "asked for more, and changed the bytes that are there");
            return Ok(false);
        };
        let len = before.len() - input.len();
        assert!(len > 0, "a frame of no bytes");
        assert_eq!(input[..], before[len..], "what follows a frame is changed");
        assert_eq!(frame.wire_len(), len, "wire_len");
        assert_eq!(encode(self.protocol, &frame)[..], before[..len], "a frame's bytes");
        self.heard.passed[at] += len;
        match from {
            Peer::Client => self.on_request(&frame)?,
            Peer::Upstream => self.on_reply(&frame),
        }
        self.heard.open = self.machine.is_open();
        Ok(true)
    }

    fn on_request(&mut self, frame: &P::Frame) -> Result<(), DecodeError> {
        let attachment = self.machine.on_request(self.protocol, frame);
        let request = matches!(attachment, Attachment::Upstream | Attachment::UpstreamNoReply);
        if request && self.busy {
            return Err(DecodeError::Malformed {
                what: "turn: a request while one is in progress",
            });
        }
        if request {
            self.heard.requests += 1;
            self.heard.mute += usize::from(attachment == Attachment::UpstreamNoReply);
            self.busy = attachment == Attachment::Upstream;
        }
        self.heard.quit |= attachment == Attachment::Quit;
        Ok(())
    }

    fn on_reply(&mut self, frame: &P::Frame) {
        match self.machine.on_reply(self.protocol, frame) {
            Hold::Pending | Hold::Prepared | Hold::Answer(_) => return,
            Hold::Held => self.heard.holds = true,
            Hold::Linger | Hold::Release { .. } => self.heard.holds = false,
            Hold::Close => self.heard.closed = true,
        }
        self.heard.answers += usize::from(std::mem::take(&mut self.busy));
    }
}

fn side(from: Peer) -> usize {
    usize::from(from == Peer::Upstream)
}
