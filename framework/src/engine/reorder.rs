use std::{collections::VecDeque, fmt, mem};

use super::{Inbox, Place};
use crate::{
    Failure, Frame, Protocol, WriteBuf,
    correlation::{Expect, Gather},
};

/// The inbox of protocols whose replies come in order.
///
/// What belongs to the oldest request goes out at once, what belongs to a later one is held back until its turn.
pub struct Reorder<P: Protocol> {
    turns: VecDeque<Turn<P>>,
    /// The number of the oldest turn; the others follow without a gap.
    head: u64,
    held: usize,
}

/// What is known of the answer to one request.
struct Turn<P: Protocol> {
    parts: Option<Box<Parts<P>>>,
    /// The first reply that is held back. A place of its own, since most requests have but one.
    first: Option<P::Frame>,
    /// Those behind it.
    rest: Vec<P::Frame>,
    /// Bytes of replies held here, those that were given to a gather included.
    held: usize,
    /// Something was answered already.
    started: bool,
    /// No further reply will come.
    done: bool,
}

struct Parts<P: Protocol> {
    gather: Box<dyn Gather<P>>,
    /// Which parts are not answered yet.
    open: Vec<bool>,
    missing: u32,
}

impl<P: Protocol> Reorder<P> {
    fn push(&mut self, expect: Expect, parts: Option<Box<Parts<P>>>) -> Place {
        if expect.is_none() {
            return Place { turn: NO_TURN, part: 0 };
        }
        let turn = self.head.wrapping_add(self.turns.len() as u64);
        self.turns.push_back(Turn::NEW);
        if let (Some(turn), Some(parts)) = (self.turns.back_mut(), parts) {
            turn.parts = Some(parts);
        }
        Place { turn, part: 0 }
    }

    fn turn(&mut self, turn: u64) -> Option<(usize, &mut Turn<P>)> {
        if turn == NO_TURN {
            return None;
        }
        let index = usize::try_from(turn.wrapping_sub(self.head)).ok()?;
        let turn = self.turns.get_mut(index).filter(|turn| !turn.done)?;
        Some((index, turn))
    }

    /// Takes a reply that is complete in itself.
    fn take(&mut self, protocol: &P, turn: u64, reply: P::Frame, last: bool, out: &mut WriteBuf) {
        let Some((index, turn)) = self.turn(turn) else { return };
        turn.started = true;
        turn.done = last;
        if index > 0 {
            let len = reply.wire_len();
            turn.hold(reply);
            turn.held = turn.held.saturating_add(len);
            self.held = self.held.saturating_add(len);
            return;
        }
        protocol.encode(reply, out);
        if last {
            self.turns.pop_front();
            self.head = self.head.wrapping_add(1);
            self.flush(protocol, out);
        }
    }

    /// Lets out what waited for the head of the line to be done.
    fn flush(&mut self, protocol: &P, out: &mut WriteBuf) {
        while let Some(turn) = self.turns.front_mut() {
            if let Some(reply) = turn.first.take() {
                self.held = self.held.saturating_sub(mem::take(&mut turn.held));
                protocol.encode(reply, out);
                turn.rest.drain(..).for_each(|reply| protocol.encode(reply, out));
            }
            if !turn.done {
                return;
            }
            self.turns.pop_front();
            self.head = self.head.wrapping_add(1);
        }
    }

    /// Notes the last that is heard of a part, and builds the answer when it was the last part.
    fn close_part(&mut self, protocol: &P, place: Place, out: &mut WriteBuf) {
        let Some((_, turn)) = self.turn(place.turn) else { return };
        let Some(parts) = &mut turn.parts else { return };
        if !parts.close(place.part) {
            return;
        }
        let answer = parts.gather.finish(protocol);
        turn.parts = None;
        let held = mem::take(&mut turn.held);
        self.held = self.held.saturating_sub(held);
        self.take(protocol, place.turn, answer, true, out);
    }
}

impl<P: Protocol> Inbox<P> for Reorder<P> {
    fn admit(&mut self, expect: Expect) -> Place {
        self.push(expect, None)
    }

    fn admit_split(&mut self, parts: u32, gather: Box<dyn Gather<P>>) -> Place {
        let open = vec![true; parts as usize];
        self.push(Expect::One, Some(Box::new(Parts { gather, open, missing: parts })))
    }

    #[inline]
    fn reply(
        &mut self,
        protocol: &P,
        place: Place,
        reply: P::Frame,
        last: bool,
        out: &mut WriteBuf,
    ) {
        match self.turn(place.turn) {
            Some((_, Turn { parts: Some(parts), held, .. })) => {
                if !parts.is_open(place.part) {
                    return;
                }
                let len = reply.wire_len();
                parts.gather.reply(protocol, place.part as usize, reply);
                *held = held.saturating_add(len);
                self.held = self.held.saturating_add(len);
                if last {
                    self.close_part(protocol, place, out);
                }
            }
            Some(_) => self.take(protocol, place.turn, reply, last, out),
            None => {}
        }
    }

    fn fail(
        &mut self,
        protocol: &P,
        place: Place,
        head: &P::Head,
        failure: &Failure,
        out: &mut WriteBuf,
    ) -> bool {
        match self.turn(place.turn) {
            Some((_, Turn { parts: Some(parts), .. })) => {
                if parts.is_open(place.part) {
                    parts.gather.failed(protocol, place.part as usize, failure);
                    self.close_part(protocol, place, out);
                }
                true
            }
            // Half of an answer cannot be taken back.
            Some((_, Turn { started: true, .. })) => false,
            Some(_) => match protocol.reply(head, failure) {
                Some(reply) => {
                    self.take(protocol, place.turn, reply, true, out);
                    true
                }
                None => false,
            },
            None => true,
        }
    }

    fn is_turn(&self, place: Place) -> bool {
        let front = self.turns.front().is_some_and(|turn| turn.parts.is_none() && !turn.done);
        front && place.turn == self.head
    }

    fn finish(&mut self, protocol: &P, place: Place, out: &mut WriteBuf) {
        if self.is_turn(place)
            && let Some(turn) = self.turns.front_mut()
        {
            turn.done = true;
            self.flush(protocol, out);
        }
    }

    fn held_bytes(&self) -> usize {
        self.held
    }
}

impl<P: Protocol> Default for Reorder<P> {
    fn default() -> Self {
        Self { turns: VecDeque::new(), head: 0, held: 0 }
    }
}

impl<P: Protocol> fmt::Debug for Reorder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reorder")
            .field("head", &self.head)
            .field("turns", &self.turns.len())
            .field("held", &self.held)
            .finish()
    }
}

impl<P: Protocol> Turn<P> {
    const NEW: Self =
        Self { parts: None, first: None, rest: Vec::new(), held: 0, started: false, done: false };

    fn hold(&mut self, reply: P::Frame) {
        if self.first.is_none() {
            self.first = Some(reply);
        } else {
            self.rest.push(reply);
        }
    }
}

impl<P: Protocol> Parts<P> {
    fn is_open(&self, part: u32) -> bool {
        self.open.get(part as usize).copied().unwrap_or(false)
    }

    /// Closes an open part, and says whether it was the last.
    fn close(&mut self, part: u32) -> bool {
        if let Some(open) = self.open.get_mut(part as usize).filter(|open| **open) {
            *open = false;
            self.missing = self.missing.saturating_sub(1);
        }
        self.missing == 0
    }
}

/// The turn of requests that have none.
const NO_TURN: u64 = u64::MAX;
