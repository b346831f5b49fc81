//! What the rules look through.

use std::{borrow::Cow, ops::Range, time::Duration};

use bytes::BytesMut;

use crate::{DecodeError, Frame, Kind, Limits, Peer, Protocol, Status, WriteBuf, kit::Sample};

/// Everything a frame says of itself to those who know no protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) kind: Kind,
    pub(super) status: Status,
    pub(super) service: Option<String>,
    pub(super) method: Option<String>,
    pub(super) timeout: Option<Duration>,
    pub(super) caller: Option<String>,
    pub(super) trace: Option<(String, String, Option<bool>)>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) wire_len: usize,
}

impl Facts {
    pub(super) fn of<F: Frame>(frame: &F) -> Self {
        let mut headers = Vec::new();
        frame.for_each_header(&mut |name, value| headers.push((name.to_owned(), value.to_owned())));
        let trace = frame
            .trace()
            .map(|trace| (trace.trace_id.into_owned(), trace.span_id.into_owned(), trace.sampled));
        Self {
            kind: frame.kind(),
            status: frame.status(),
            service: frame.service().map(Cow::into_owned),
            method: frame.method().map(Cow::into_owned),
            timeout: frame.timeout(),
            caller: frame.caller().map(Cow::into_owned),
            trace,
            headers,
            wire_len: frame.wire_len(),
        }
    }

    /// What an edit of headers, trace or timeout must leave alone.
    pub(super) fn core(&self) -> (Kind, Status, Option<&str>, Option<&str>) {
        (self.kind, self.status, self.service.as_deref(), self.method.as_deref())
    }
}

/// The frame's bytes.
pub(super) fn encode<P: Protocol>(protocol: &P, frame: &P::Frame) -> BytesMut {
    let mut out = WriteBuf::default();
    protocol.encode(frame.clone(), &mut out);
    out.to_bytes()
}

/// The one frame that these bytes are, by a decoder that has seen nothing before.
pub(super) fn decode_one<P: Protocol>(
    protocol: &P,
    from: Peer,
    bytes: &[u8],
) -> Result<P::Frame, String> {
    decode_after(protocol, from, &mut P::State::default(), bytes)
}

/// The one frame that these bytes are.
pub(super) fn decode_after<P: Protocol>(
    protocol: &P,
    from: Peer,
    state: &mut P::State,
    bytes: &[u8],
) -> Result<P::Frame, String> {
    let mut input = BytesMut::from(bytes);
    match protocol.decode(from, state, &roomy(), &mut input) {
        Ok(Some(frame)) if input.is_empty() => Ok(frame),
        Ok(Some(_)) => Err(format!("is a frame and {} bytes that are none", input.len())),
        Ok(None) => Err(format!("is {} bytes and no frame yet", bytes.len())),
        Err(error) => Err(format!("is refused: {error}")),
    }
}

/// Limits that no sample meets.
pub(super) fn roomy() -> Limits {
    Limits { max_frame: 1 << 30, max_header: 1 << 30, ..Limits::default() }
}

/// A sample, taken apart.
pub(super) struct Parsed<'a, P: Protocol> {
    pub(super) sample: &'a Sample,
    pub(super) pieces: Vec<Piece<P>>,
}

/// One frame of a sample.
pub(super) struct Piece<P: Protocol> {
    pub(super) frame: P::Frame,
    pub(super) facts: Facts,
    pub(super) at: Range<usize>,
}

impl<'a, P: Protocol> Parsed<'a, P> {
    /// Fails with the offset and cause.
    pub(super) fn new(protocol: &P, sample: &'a Sample) -> Result<Self, (usize, String)> {
        let mut pieces = Vec::new();
        let mut input = BytesMut::from(&sample.bytes[..]);
        let mut state = P::State::default();
        let mut start = 0;
        while !input.is_empty() {
            let frame = match protocol.decode(sample.from, &mut state, &roomy(), &mut input) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Err((start, format!("{} bytes are no frame", input.len()))),
                Err(error) => return Err((start, format!("refused: {error}"))),
            };
            let end = sample.bytes.len() - input.len();
            if end == start {
                return Err((start, "a frame of no bytes".to_owned()));
            }
            pieces.push(Piece { facts: Facts::of(&frame), frame, at: start..end });
            start = end;
        }
        if pieces.is_empty() { Err((0, "empty".to_owned())) } else { Ok(Self { sample, pieces }) }
    }

    /// A decoder's state before the n-th frame.
    pub(super) fn state_before(&self, protocol: &P, n: usize) -> P::State {
        let mut state = P::State::default();
        let mut input = BytesMut::from(&self.sample.bytes[..self.pieces[n].at.start]);
        for _ in 0..n {
            // It was decoded before, from the same bytes.
            drop(protocol.decode(self.sample.from, &mut state, &roomy(), &mut input));
        }
        state
    }

    /// What the other end makes of the n-th frame after an edit.
    pub(super) fn over_the_wire(
        &self,
        protocol: &P,
        n: usize,
        frame: &P::Frame,
    ) -> Result<P::Frame, String> {
        let bytes = encode(protocol, frame);
        let honest = self.pieces[n].facts.wire_len == self.pieces[n].at.len();
        if honest && bytes.len() != frame.wire_len() {
            return Err(format!("says {} bytes, is {}", frame.wire_len(), bytes.len()));
        }
        decode_after(protocol, self.sample.from, &mut self.state_before(protocol, n), &bytes)
    }

    pub(super) fn bytes_of(&self, n: usize) -> &'a [u8] {
        &self.sample.bytes[self.pieces[n].at.clone()]
    }
}

/// What a decoder made of bytes that came in pieces.
pub(super) struct Fed {
    pub(super) frames: Vec<(Facts, BytesMut)>,
    /// How many bytes are left over.
    pub(super) end: Result<usize, DecodeError>,
}

/// Feeds `bytes` to a decoder in pieces as long as `sizes` says, round and round.
pub(super) fn feed<P: Protocol>(
    protocol: &P,
    from: Peer,
    limits: &Limits,
    bytes: &[u8],
    mut sizes: impl FnMut() -> usize,
) -> Fed {
    let (mut input, mut state) = (BytesMut::new(), P::State::default());
    let (mut frames, mut rest) = (Vec::new(), bytes);
    loop {
        let (piece, later) = rest.split_at(sizes().clamp(1, rest.len().max(1)).min(rest.len()));
        input.extend_from_slice(piece);
        rest = later;
        loop {
            let before = input.len();
            match protocol.decode(from, &mut state, limits, &mut input) {
                Ok(Some(_)) if input.len() == before => {
                    // Reported by a rule of its own; here it must only end.
                    return Fed { frames, end: Ok(before) };
                }
                Ok(Some(frame)) => frames.push((Facts::of(&frame), encode(protocol, &frame))),
                Ok(None) => break,
                Err(error) => {
                    return Fed { frames, end: Err(error) };
                }
            }
        }
        if rest.is_empty() {
            return Fed { frames, end: Ok(input.len()) };
        }
    }
}

/// Numbers that look random and are the same every time: xorshift64*.
#[derive(Clone, Debug)]
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
