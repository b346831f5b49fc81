//! Replies of an upstream, in the form in which a client of other capabilities would have got them.
//!
//! What may differ between the two legs: how rows and descriptions end (`DEPRECATE_EOF`), whether OK packets tell of the
//! session's state (`SESSION_TRACK`), sequence numbers, and the ids of prepared statements. Everything else has to be agreed on
//! alike; what neither leg may have, since it changes rows, columns or requests, is not among [`OFFERED`](super::OFFERED).

mod ok;
mod renumber;

use std::mem;

use bytes::{Buf, BytesMut};
use wiremesh::DecodeError;

use self::ok::{Said, put_eof};
pub use self::renumber::Renumber;
use crate::{
    Capabilities, StatusFlags,
    reply::{OkPacket, Outcome, Part, Phase, Progress, Shape, Then},
    session::Changes,
    wire::{HEAD, Head, Passed, put_packet},
};

/// Packets that are waited for until they are whole may be so long: all but rows, descriptions and texts.
pub const MAX_WHOLE: usize = 64 << 10;

/// A first row of an execution is waited for together with what follows it if it is no longer than that.
const MAX_HELD: usize = 16 << 10;

/// What servers say before the rows already.
const EARLY: StatusFlags = StatusFlags::LASTING
    .with(StatusFlags::MORE_RESULTS)
    .with(StatusFlags::NO_INDEX)
    .with(StatusFlags::NO_GOOD_INDEX)
    .with(StatusFlags::METADATA_CHANGED)
    .with(StatusFlags::PS_OUT_PARAMS);

/// What a reply says of the session, as it passes.
#[derive(Clone, Debug)]
pub enum Told<'a> {
    /// What one packet tells of the session's state, all of which can be read. Comes before its [`Ok`](Self::Ok).
    State(Changes<'a>),
    /// A result is over.
    Ok(OkPacket),
}

/// An EOF that the upstream does not send and the client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    /// Behind what a prepared statement is described by.
    Now,
    /// Before rows: what it says depends on them.
    BeforeRows,
}

/// Turns replies of one upstream connection into those of a client's. Rows pass as they come, without a copy.
#[derive(Clone, Debug)]
pub struct Transcoder {
    upstream: Capabilities,
    client: Capabilities,
    progress: Progress,
    /// How much of the packet's part that is passing is still to come.
    left: usize,
    /// The next part continues the packet.
    continues: bool,
    upstream_seq: Option<u8>,
    client_seq: u8,
    due: Due,
    /// What was known last.
    known: OkPacket,
    statement: Option<u32>,
    begun: bool,
    /// It follows what was answered last.
    queued: Option<BytesMut>,
    /// The body of a packet that is put together.
    scratch: BytesMut,
    /// Where such packets are made.
    packets: BytesMut,
    /// Variables that the client is told of beside those that all are.
    also: Vec<Box<[u8]>>,
}

impl Transcoder {
    /// From an upstream with which some capabilities were agreed on, to a client with which others were.
    pub fn new(upstream: Capabilities, client: Capabilities) -> Self {
        Self {
            upstream,
            client,
            progress: Progress::new(upstream),
            left: 0,
            continues: false,
            upstream_seq: None,
            client_seq: 0,
            due: Due::Nothing,
            known: OkPacket::default(),
            statement: None,
            begun: false,
            queued: None,
            scratch: BytesMut::new(),
            packets: BytesMut::new(),
            also: Vec::new(),
        }
    }

    /// The client is told of these variables, too; `*`: of all.
    pub fn tell_also(&mut self, names: Vec<Box<[u8]>>) {
        self.also = names;
    }

    /// The same client has another upstream.
    pub fn turn_to(&mut self, upstream: Capabilities) {
        let also = std::mem::take(&mut self.also);
        *self = Self { also, ..Self::new(upstream, self.client) };
    }

    /// A reply of this shape is to come, whose first packet the client awaits under this sequence number: the one after its
    /// request's last. `status` is what is known of the session: where an EOF is put in, nothing newer may be known.
    pub fn begin(&mut self, shape: Shape, seq: u8, status: StatusFlags) {
        self.progress.begin(shape);
        (self.left, self.continues) = (0, false);
        (self.upstream_seq, self.client_seq) = (None, seq);
        self.due = Due::Nothing;
        self.known = OkPacket { status, ..OkPacket::default() };
        (self.statement, self.begun, self.queued) = (None, false, None);
    }

    /// The client is told this id of the statement that is prepared, in place of the upstream's.
    pub fn name_statement(&mut self, id: u32) {
        self.statement = Some(id);
    }

    /// The client has its turn, or has sent its file; the next packet it awaits has this number.
    pub fn resume(&mut self, seq: u8) {
        (self.upstream_seq, self.client_seq) = (None, seq);
    }

    /// Whether the upstream's next packet is the first behind what the client has sent: its number is not known here.
    pub fn is_turn(&self) -> bool {
        self.upstream_seq.is_none()
    }

    /// By how much the client's numbers are ahead of the upstream's; what the client sends within a reply has to be
    /// [renumbered](Renumber) by it. Nothing is known before the first packet.
    pub fn ahead(&self) -> u8 {
        self.upstream_seq.map_or(0, |seq| self.client_seq.wrapping_sub(seq))
    }

    /// The number of the packet that the client awaits next.
    pub fn next_seq(&self) -> u8 {
        self.client_seq
    }

    /// The capabilities of the upstream's leg.
    pub fn upstream(&self) -> Capabilities {
        self.upstream
    }

    /// Whether the reply is complete, or none is due.
    pub fn is_done(&self) -> bool {
        self.progress.phase == Phase::Done
            && self.is_between_packets()
            && self.due == Due::Nothing
            && self.queued.is_none()
    }

    /// Whether anything of the reply has come.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the client is not in the middle of a packet.
    pub fn is_between_packets(&self) -> bool {
        self.left == 0 && !self.continues
    }

    /// Whether the client is to send a file.
    pub fn wants_file(&self) -> bool {
        self.progress.phase == Phase::Upload
    }

    /// What the reply has said so far. A cursor is open if its last status says so.
    pub fn outcome(&self) -> &Outcome {
        &self.progress.outcome
    }

    /// Takes what has come of the reply, and answers what the client is to be given next; `None`: more has to come, or the
    /// reply is done. To be called until then. What is left of `input` is not the reply's, or waits for more. The reply is
    /// [done](Self::is_done) with the last bytes that are answered, and never without any.
    ///
    /// # Errors
    /// It is not a reply of the shape that is due, its packets are not in sequence, or one that is to be kept is longer than
    /// [`MAX_WHOLE`].
    pub fn take(
        &mut self,
        input: &mut BytesMut,
        told: &mut impl FnMut(Told<'_>),
    ) -> Result<Option<BytesMut>, DecodeError> {
        if let Some(queued) = self.queued.take() {
            return Ok(Some(queued));
        }
        if self.progress.phase == Phase::Relay {
            return Ok((!input.is_empty()).then(|| input.split()));
        }
        let mut at = 0;
        while !self.is_done() {
            if self.left > 0 {
                let passed = self.left.min(input.len().saturating_sub(at));
                (self.left, at) = (self.left.saturating_sub(passed), at.saturating_add(passed));
                if self.left > 0 {
                    break;
                }
                continue;
            }
            let rest = input.get_mut(at..).unwrap_or_default();
            if self.continues {
                let Some(head) = Head::read(rest) else { break };
                self.begin_part(head, rest)?;
                at = at.saturating_add(HEAD);
                continue;
            }
            match self.early(rest)? {
                Early::Waits => break,
                Early::None => self.due = Due::Nothing,
                Early::Eof(_) if at > 0 => break,
                Early::Eof(ok) => return Ok(Some(self.eof(ok))),
            }
            let Some((head, first)) = peek(rest) else { break };
            match self.progress.part(first, head.len) {
                Part::Plain if self.is_last(head, rest)? == Some(false) => break,
                Part::Plain => {
                    self.begin_part(head, rest)?;
                    self.on_plain(head, rest)?;
                    at = at.saturating_add(HEAD);
                }
                part => match self.on_whole(part, head, rest, told)? {
                    Whole::Waits => break,
                    Whole::Passes => at = at.saturating_add(HEAD).saturating_add(head.len),
                    Whole::Dropped => {
                        let before = input.split_to(at);
                        input.advance(HEAD.saturating_add(head.len));
                        if at > 0 {
                            return Ok(Some(before));
                        }
                    }
                    Whole::Shrunk(len) => {
                        let out = input.split_to(at.saturating_add(len));
                        input.advance(HEAD.saturating_add(head.len).saturating_sub(len));
                        return Ok(Some(out));
                    }
                    Whole::Grown(packet) => {
                        let before = input.split_to(at);
                        input.advance(HEAD.saturating_add(head.len));
                        if at == 0 {
                            return Ok(Some(packet));
                        }
                        self.queued = Some(packet);
                        return Ok(Some(before));
                    }
                },
            }
        }
        Ok((at > 0).then(|| input.split_to(at)))
    }

    /// Which EOF is due before what comes next.
    fn early(&self, rest: &[u8]) -> Result<Early, DecodeError> {
        let status = self.known.status.lasting();
        match self.due {
            Due::Nothing => return Ok(Early::None),
            Due::Now => return Ok(Early::Eof(OkPacket { status, ..self.known })),
            Due::BeforeRows => {}
        }
        let lasting = OkPacket { status, ..OkPacket::default() };
        let Some((head, first)) = peek(rest) else { return Ok(Early::Waits) };
        let executes = self.progress.shape == Shape::Execution;
        let end = match self.progress.part(first, head.len) {
            Part::End => rest,
            // With OUT parameters, of which there is one row, clients want to know of it before.
            Part::Plain if executes && head.len <= MAX_HELD => {
                let next = rest.get(HEAD.saturating_add(head.len)..).unwrap_or_default();
                let Some((head, first)) = peek(next) else { return Ok(Early::Waits) };
                match self.progress.part(first, head.len) {
                    Part::End => next,
                    _ => return Ok(Early::Eof(lasting)),
                }
            }
            _ => return Ok(Early::Eof(lasting)),
        };
        let Some(body) = whole(end)? else { return Ok(Early::Waits) };
        let ok = Said::parse(body, true, self.upstream)?.ok;
        // Of rows that wait at a cursor there is one EOF only.
        if executes && ok.status.has(StatusFlags::CURSOR_EXISTS) {
            return Ok(Early::None);
        }
        Ok(Early::Eof(OkPacket { status: ok.status & EARLY, ..ok }))
    }

    /// The EOF that is due.
    fn eof(&mut self, ok: OkPacket) -> BytesMut {
        self.due = Due::Nothing;
        self.scratch.clear();
        put_eof(ok, &mut self.scratch);
        let seq = self.number();
        self.packet(seq)
    }

    /// A packet of what was put together.
    fn packet(&mut self, seq: u8) -> BytesMut {
        put_packet(&mut self.packets, seq, &self.scratch);
        self.packets.split()
    }

    /// The number of the next packet for the client, which is given now.
    fn number(&mut self) -> u8 {
        self.begun = true;
        let next = self.client_seq.wrapping_add(1);
        mem::replace(&mut self.client_seq, next)
    }

    fn check(&mut self, seq: u8) -> Result<(), DecodeError> {
        // On compressed connections servers take some from the layer below.
        let strict = !self.upstream.is_compressed();
        if strict && self.upstream_seq.is_some_and(|due| due != seq) {
            return Err(DecodeError::Malformed { what: "sequence number" });
        }
        self.upstream_seq = Some(seq.wrapping_add(1));
        Ok(())
    }

    /// The part of a packet that begins with `head` passes, whatever there is of it.
    fn begin_part(&mut self, head: Head, rest: &mut [u8]) -> Result<(), DecodeError> {
        self.check(head.seq)?;
        let seq = self.number();
        if seq != head.seq {
            put_head(Head { seq, ..head }, rest);
        }
        (self.left, self.continues) = (head.len, head.is_continued());
        Ok(())
    }

    /// Of the last description for a client that is given no EOF behind it: whether that is there, which ends the reply. So
    /// the client's last bytes go together with the reply's end.
    fn is_last(&self, head: Head, rest: &[u8]) -> Result<Option<bool>, DecodeError> {
        let Phase::Definitions(1, Then::Columns(0, _) | Then::Done) = self.progress.phase else {
            return Ok(None);
        };
        let drops = !self.upstream.has(Capabilities::DEPRECATE_EOF)
            && self.client.has(Capabilities::DEPRECATE_EOF);
        if !drops {
            return Ok(None);
        }
        let next = whole(rest)?.and_then(|_| rest.get(HEAD.saturating_add(head.len)..));
        Ok(Some(match next {
            Some(next) => whole(next)?.is_some(),
            None => false,
        }))
    }

    /// What a packet that passes means for what follows.
    fn on_plain(&mut self, head: Head, rest: &[u8]) -> Result<(), DecodeError> {
        let before = self.progress.phase;
        let body = rest.get(HEAD..).unwrap_or_default();
        let start = body.get(..head.len).unwrap_or(body);
        self.progress.on_packet(Passed { start, len: head.len })?;
        let inserts = self.upstream.has(Capabilities::DEPRECATE_EOF)
            && !self.client.has(Capabilities::DEPRECATE_EOF);
        if inserts && let Phase::Definitions(1, then) = before {
            self.due = if then == Then::Rows { Due::BeforeRows } else { Due::Now };
        }
        Ok(())
    }

    fn on_whole(
        &mut self,
        part: Part,
        head: Head,
        rest: &mut [u8],
        told: &mut impl FnMut(Told<'_>),
    ) -> Result<Whole, DecodeError> {
        let Some(body) = whole(rest)? else { return Ok(Whole::Waits) };
        self.check(head.seq)?;
        let (before, out_parameters) = (self.progress.phase, self.progress.out_parameters);
        self.progress.on_packet(Passed { start: body, len: head.len })?;
        let ends_result = match part {
            Part::Ok | Part::End => true,
            Part::DefinitionsEnd => {
                before == Phase::DefinitionsEnd(Then::Rows) && self.progress.phase != Phase::Rows
            }
            Part::Plain | Part::Head | Part::Prepared | Part::Error => false,
        };
        if part == Part::DefinitionsEnd && !ends_result {
            self.known = OkPacket::parse_eof(body).unwrap_or(self.known);
            if self.client.has(Capabilities::DEPRECATE_EOF) {
                return Ok(Whole::Dropped);
            }
        }
        let mut is_other = false;
        if ends_result {
            let mut said = Said::parse(body, part != Part::Ok, self.upstream)?;
            if out_parameters {
                // MySQL says so before the rows only, where it does not end them with an OK.
                let more = StatusFlags::MORE_RESULTS | StatusFlags::PS_OUT_PARAMS;
                said.ok.status = said.ok.status | more;
            }
            is_other = self.tell(&said, told)?;
        }
        let seq = self.number();
        if is_other && self.scratch.len() > head.len {
            return Ok(Whole::Grown(self.packet(seq)));
        }
        let len = if is_other { self.scratch.len() } else { head.len };
        put_head(Head { len, seq }, rest);
        let body = rest.get_mut(HEAD..HEAD.saturating_add(len)).unwrap_or_default();
        if is_other {
            body.copy_from_slice(&self.scratch);
        }
        if part == Part::Prepared {
            self.on_prepared(body);
        }
        Ok(if len == head.len { Whole::Passes } else { Whole::Shrunk(HEAD.saturating_add(len)) })
    }

    /// Tells what an OK or EOF says, and puts together what the client is given in its place, if that is another.
    fn tell(
        &mut self,
        said: &Said<'_>,
        told: &mut impl FnMut(Told<'_>),
    ) -> Result<bool, DecodeError> {
        const MALFORMED: DecodeError = DecodeError::Malformed { what: "session state" };
        if said.changes().any(|change| change.is_err()) {
            return Err(MALFORMED);
        }
        told(Told::State(said.changes()));
        told(Told::Ok(said.ok));
        self.known = said.ok;
        self.scratch.clear();
        said.put(self.client, &self.also, &mut self.scratch).map_err(|_| MALFORMED)
    }

    fn on_prepared(&mut self, body: &mut [u8]) {
        if let Some(id) = self.statement
            && let Some(place) = body.get_mut(1..5)
        {
            place.copy_from_slice(&id.to_le_bytes());
        }
        // Behind the numbers of columns and parameters, and a byte of no meaning.
        if let Some(&[low, high]) = body.get(10..12) {
            self.known.warnings = u16::from_le_bytes([low, high]);
        }
    }
}

/// What comes before a packet.
enum Early {
    Waits,
    None,
    Eof(OkPacket),
}

/// What becomes of a packet that was looked into.
enum Whole {
    Waits,
    Passes,
    Dropped,
    /// It is so long now, with its head.
    Shrunk(usize),
    /// Another comes in its place.
    Grown(BytesMut),
}

/// The next packet's head, and the first byte of its body if it has one.
fn peek(rest: &[u8]) -> Option<(Head, Option<u8>)> {
    let head = Head::read(rest)?;
    match rest.get(HEAD) {
        _ if head.len == 0 => Some((head, None)),
        Some(first) => Some((head, Some(*first))),
        None => None,
    }
}

/// The next packet's body, when it is all there.
fn whole(rest: &[u8]) -> Result<Option<&[u8]>, DecodeError> {
    let Some(head) = Head::read(rest) else { return Ok(None) };
    if head.len > MAX_WHOLE {
        let (max, seen) = (MAX_WHOLE as u64, head.len as u64);
        return Err(DecodeError::Limit { limit: "reply packet", max, seen });
    }
    Ok(rest.get(HEAD..HEAD.saturating_add(head.len)))
}

fn put_head(head: Head, rest: &mut [u8]) {
    for (place, byte) in rest.iter_mut().zip(head.bytes()) {
        *place = byte;
    }
}
