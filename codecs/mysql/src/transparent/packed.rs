//! Sessions that are compressed: bytes pass as they came, and what they hold is unpacked to be looked at.

use std::{fmt, mem};

use bytes::{Buf, BytesMut};
use wiremesh::{DecodeError, Limits};

use super::{Change, Sending, Stage, Transparent};
use crate::{
    MysqlFrame,
    compress::{Algorithm, CompressError, Decompressor, FRAME_HEAD},
    frame::{Statement, What},
    wire::Reader,
};

/// So much is unpacked at once of what the upstream sends.
const STEP: usize = 64 * 1024;

type Taken = Result<Option<MysqlFrame>, DecodeError>;

/// The layer that compresses, as both sides speak it.
pub(super) struct Layer {
    client: Side,
    upstream: Side,
    /// What the client's frames held and was not taken, and how many bytes of the client's these frames are.
    plain: BytesMut,
    seen: usize,
}

/// What one side sends.
struct Side {
    unpack: Decompressor,
    /// How much of the frame in progress is to come.
    left: usize,
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Layer {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        let side = || Side { unpack: Decompressor::new(algorithm), left: 0 };
        Self { client: side(), upstream: side(), plain: BytesMut::new(), seen: 0 }
    }

    /// The number of the layer's next frame to the client; `None` in the middle of one.
    pub(super) fn next_seq(&self, begun: bool) -> Option<u8> {
        let side = if begun { &self.upstream } else { &self.client };
        (self.upstream.left == 0).then(|| side.unpack.next())
    }
}

impl Side {
    /// How many of these bytes are of the frame in progress, or the next; `None` where its head is not all there.
    fn part(&self, bytes: &[u8]) -> Option<usize> {
        let whole = match self.left {
            0 => frame_len(bytes)?,
            left => left,
        };
        Some(whole.min(bytes.len())).filter(|len| *len > 0)
    }

    /// So many bytes of a frame are taken.
    fn pass(&mut self, bytes: &[u8], len: usize) {
        let whole = if self.left == 0 { frame_len(bytes).unwrap_or(len) } else { self.left };
        self.left = whole.saturating_sub(len);
    }
}

/// The length of the frame that these bytes begin with, its head included.
fn frame_len(bytes: &[u8]) -> Option<usize> {
    bytes.get(..FRAME_HEAD)?;
    let len = usize::try_from(Reader::new(bytes).u24().ok()?).ok()?;
    Some(len.saturating_add(FRAME_HEAD))
}

fn malformed(_: CompressError) -> DecodeError {
    DecodeError::Malformed { what: "compressed frame" }
}

impl Transparent {
    /// What a client says, when whole frames of it are there.
    pub(super) fn take_packed_client(&mut self, limits: &Limits, input: &mut BytesMut) -> Taken {
        loop {
            let Some(layer) = &mut self.layer else { return Ok(None) };
            let rest = input.get(layer.seen..).unwrap_or_default();
            let Some(len) = frame_len(rest).filter(|len| *len <= rest.len()) else {
                return Ok(None);
            };
            let mut frame = BytesMut::from(rest.get(..len).unwrap_or_default());
            layer.seen = layer.seen.saturating_add(len);
            let mut plain = mem::take(&mut layer.plain);
            layer.client.unpack.read(&mut frame, &mut plain, usize::MAX).map_err(malformed)?;
            let taken = self.take_plain(limits, &mut plain)?;
            let Some(layer) = &mut self.layer else { return Ok(None) };
            layer.plain = plain;
            if let Some(mut frame) = taken {
                frame.bytes = input.split_to(mem::take(&mut layer.seen).min(input.len()));
                frame.layer_seq = Some(layer.client.unpack.next());
                return Ok(Some(frame));
            }
        }
    }

    /// What follows cannot be told apart.
    fn lose(&mut self) -> Result<(), DecodeError> {
        if self.wanted.all {
            let what =
                "compressed frame: it has more than one command, of which each is to be judged";
            return Err(DecodeError::Malformed { what });
        }
        self.lost = true;
        Ok(())
    }

    /// What is to be passed on at once of what frames held: all, where more than the first of it belongs together.
    fn take_plain(&mut self, limits: &Limits, plain: &mut BytesMut) -> Taken {
        let Some(mut first) = self.take_stage(limits, plain)? else { return Ok(None) };
        if matches!(first.statement, Statement::Text { .. }) {
            let known = self.wanted.digests.then(|| first.statement.known(&first.bytes)).flatten();
            first.statement = known.map_or(Statement::Unknown, Statement::Known);
        }
        while !plain.is_empty() {
            let goes_on = self.sending != Sending::Nothing || first.what == What::Rest;
            if goes_on
                && self.take_stage(limits, plain)?.is_some_and(|more| more.what == What::Rest)
            {
                continue;
            }
            if self.sending == Sending::Nothing && !self.tracker.is_login() {
                // Another command in the same frame: the two cannot be told apart without packing them anew.
                self.lose()?;
            }
            break;
        }
        Ok(Some(first))
    }

    /// What there is of a reply.
    pub(super) fn take_packed_reply(&mut self, input: &mut BytesMut) -> Taken {
        let Some(mut layer) = self.layer.take() else { return Ok(None) };
        let before = self.tracker.outcome().rows;
        let taken = self.unpack_reply(&mut layer, input);
        let between = layer.upstream.left == 0;
        self.layer = Some(layer);
        let len = taken.inspect_err(|_| self.stage = Stage::Over)?;
        if len == 0 {
            return Ok(None);
        }
        if self.tracker.is_done() && between && !self.asks {
            // Nobody has asked for it: the last word of a server.
            self.stage = Stage::Over;
            return Ok(Some(MysqlFrame::new(What::Notice, input.split_to(len))));
        }
        let outcome = *self.tracker.outcome();
        let done = self.lost || self.tracker.is_done() && between;
        self.client_spoke = false;
        self.ask_for_files(outcome.files);
        if done {
            self.asks = false;
            self.conclude();
        }
        if self.lost {
            (self.stage, self.change) = (Stage::Relay, Change::Nothing);
        }
        let rows = outcome.rows.saturating_sub(before);
        let frame = MysqlFrame::new(What::Reply { last: done }, input.split_to(len));
        Ok(Some(MysqlFrame { error: outcome.error.filter(|_| done), rows, ..frame }))
    }

    /// How much of `input` can be passed on: all of the frames that the reply is in.
    fn unpack_reply(&mut self, layer: &mut Layer, input: &[u8]) -> Result<usize, DecodeError> {
        let (mut at, mut plain) = (0_usize, BytesMut::new());
        loop {
            if self.lost {
                return Ok(input.len());
            }
            let rest = input.get(at..).unwrap_or_default();
            let Some(len) = layer.upstream.part(rest) else { return Ok(at) };
            let mut part = BytesMut::from(rest.get(..len).unwrap_or_default());
            layer.upstream.pass(rest, len);
            at = at.saturating_add(len);
            while layer.upstream.unpack.read(&mut part, &mut plain, STEP).map_err(malformed)? {
                let fed = self.tracker.feed(&plain)?;
                plain.advance(fed);
                // What comes behind the reply is the next command's, of two that came as one.
                if !plain.is_empty() && self.asks {
                    self.lose()?;
                }
                plain.clear();
            }
            if self.tracker.is_done() && layer.upstream.left == 0 {
                return Ok(at);
            }
        }
    }
}
