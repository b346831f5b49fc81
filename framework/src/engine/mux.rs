use std::{mem, time::Instant};

use super::{
    Engine, Received, Slot,
    wheel::{Timer, Wheel},
};
use crate::correlation::{Expect, Multiplexed};

/// Matches replies to requests by id.
///
/// The id on the wire is the request's place in a slab and, above it, how often the place was used before, as far as
/// [`Multiplexed::ID_BITS`] reaches. At most half of these bits name places, so an 8-bit id allows 15 requests at once,
/// a 16-bit one 255 and a 32-bit one 65,535. The last place is never used: frames that await no reply have their ids
/// from there.
///
/// A place whose request was given up stays taken until the reply has come, however late, so that the reply cannot be
/// taken for another request's.
#[derive(Debug)]
pub struct Mux<T> {
    entries: Vec<Entry<T>>,
    free: FreeList,
    wheel: Wheel,
    capacity: usize,
    index_bits: u32,
    id_mask: u64,
    stamped: u64,
    in_flight: usize,
    abandoned: usize,
}

#[derive(Debug)]
struct Entry<T> {
    /// Uses of this place so far, and its index in the low bits. The id on the wire is as much of it as fits.
    name: u64,
    /// The id that the request came with.
    original: u64,
    timer: Timer,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    /// And the next free place.
    Free(u32),
    Waiting(T),
    Abandoned,
}

/// The free places, in the order in which they are used again.
#[derive(Debug)]
struct FreeList {
    first: u32,
    last: u32,
    /// Few uses tell an id from its predecessors, so the place that was free for the longest time comes first. Else the
    /// most recent one, which is still in the cache.
    oldest_first: bool,
}

impl<T> Mux<T> {
    fn index_mask(&self) -> u64 {
        !u64::MAX.wrapping_shl(self.index_bits)
    }

    #[inline]
    fn occupy(&mut self) -> Option<usize> {
        // Ids of few bits come back soon enough without the same few places being used over and over.
        let grow = self.free.oldest_first && self.entries.len() < self.capacity;
        let index = self.free.first as usize;
        match self.entries.get(index) {
            Some(Entry { state: State::Free(next), .. }) if !grow => {
                self.free.first = *next;
                Some(index)
            }
            _ if self.entries.len() < self.capacity => {
                let index = self.entries.len();
                self.entries.push(Entry {
                    name: index as u64,
                    original: 0,
                    timer: Timer::NONE,
                    state: State::Abandoned,
                });
                Some(index)
            }
            _ => None,
        }
    }

    /// Frees a place, under its next name.
    #[inline]
    fn vacate(&mut self, index: usize) -> Option<State<T>> {
        let (first, last) = (self.free.first, self.free.last);
        let (name, next) = (1u64.wrapping_shl(self.index_bits), index as u32);
        let append = self.free.oldest_first && first != NIL;
        let entry = self.entries.get_mut(index)?;
        entry.name = entry.name.wrapping_add(name);
        let state = mem::replace(&mut entry.state, State::Free(if append { NIL } else { first }));
        self.wheel.clear(mem::replace(&mut entry.timer, Timer::NONE));
        if append {
            if let Some(Entry { state: State::Free(behind), .. }) =
                self.entries.get_mut(last as usize)
            {
                *behind = next;
            }
        } else {
            self.free.first = next;
        }
        self.free.last = next;
        Some(state)
    }

    fn give_up(&mut self, index: usize) -> Option<T> {
        let entry = self.entries.get_mut(index)?;
        let State::Waiting(token) = mem::replace(&mut entry.state, State::Abandoned) else {
            return None;
        };
        entry.timer = Timer::NONE;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.abandoned = self.abandoned.saturating_add(1);
        Some(token)
    }
}

impl<P: Multiplexed, T> Engine<P, T> for Mux<T> {
    fn with_capacity(capacity: usize) -> Self {
        let id_bits = P::ID_BITS.clamp(8, 64);
        // One place more than the capacity: the one that is never used.
        let index_bits =
            usize::BITS.saturating_sub(capacity.leading_zeros()).min(id_bits / 2).min(31);
        let capacity =
            u64::try_from(capacity).map_or(u64::MAX, |c| c.min(!u64::MAX.wrapping_shl(index_bits)));
        Self {
            entries: Vec::new(),
            free: FreeList {
                first: NIL,
                last: NIL,
                oldest_first: id_bits.saturating_sub(index_bits) < 16,
            },
            wheel: Wheel::new(),
            capacity: capacity as usize,
            index_bits,
            id_mask: u64::MAX.wrapping_shr(64u32.saturating_sub(id_bits)),
            stamped: 0,
            in_flight: 0,
            abandoned: 0,
        }
    }

    #[inline]
    fn send(
        &mut self,
        protocol: &P,
        request: &mut P::Frame,
        expect: Expect,
        deadline: Option<Instant>,
        token: T,
    ) -> Result<Slot, T> {
        if expect.is_none() {
            return Err(token);
        }
        let Some(index) = self.occupy() else { return Err(token) };
        let Some(entry) = self.entries.get_mut(index) else { return Err(token) };
        entry.original = protocol.id(request);
        entry.state = State::Waiting(token);
        if let Some(deadline) = deadline {
            entry.timer = self.wheel.set(deadline, index as u64);
        }
        self.in_flight = self.in_flight.saturating_add(1);
        protocol.set_id(request, entry.name & self.id_mask);
        Ok(Slot(entry.name))
    }

    fn stamp(&mut self, protocol: &P, frame: &mut P::Frame) {
        let name = self.stamped.wrapping_shl(self.index_bits) | self.index_mask();
        self.stamped = self.stamped.wrapping_add(1);
        protocol.set_id(frame, name & self.id_mask);
    }

    #[inline]
    fn receive<'a>(&'a mut self, protocol: &P, reply: &mut P::Frame) -> Received<'a, T> {
        let id = protocol.id(reply) & self.id_mask;
        let place = id & self.index_mask();
        if place == self.index_mask() {
            let known = id.wrapping_shr(self.index_bits) < self.stamped;
            return if known { Received::Late } else { Received::Unknown };
        }
        let index = place as usize;
        let original = match self.entries.get(index) {
            Some(Entry { state: State::Free(_), .. }) | None => return Received::Unknown,
            Some(entry) if entry.name & self.id_mask != id => return Received::Unknown,
            Some(entry) => entry.original,
        };
        match self.vacate(index) {
            Some(State::Waiting(token)) => {
                self.in_flight = self.in_flight.saturating_sub(1);
                protocol.set_id(reply, original);
                Received::Last(token)
            }
            Some(State::Abandoned) => {
                self.abandoned = self.abandoned.saturating_sub(1);
                Received::Late
            }
            Some(State::Free(_)) | None => Received::Unknown,
        }
    }

    fn abandon(&mut self, slot: Slot) -> Option<T> {
        let index = (slot.0 & self.index_mask()) as usize;
        let entry = self.entries.get_mut(index).filter(|e| e.name == slot.0)?;
        if !matches!(entry.state, State::Waiting(_)) {
            return None;
        }
        self.wheel.clear(entry.timer);
        self.give_up(index)
    }

    fn abandon_where(&mut self, mut which: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut given_up = Vec::new();
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries.get(index) else { break };
            if matches!(&entry.state, State::Waiting(token) if which(token)) {
                self.wheel.clear(entry.timer);
                given_up.extend(self.give_up(index));
            }
        }
        given_up
    }

    fn expire(&mut self, now: Instant) -> Option<T> {
        let index = self.wheel.expire(now)?;
        self.give_up(index as usize)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.wheel.next_deadline()
    }

    fn close(&mut self) -> Option<T> {
        (self.free.first, self.free.last) = (NIL, NIL);
        while let Some(entry) = self.entries.pop() {
            if let State::Waiting(token) = entry.state {
                self.wheel.clear(entry.timer);
                self.in_flight = self.in_flight.saturating_sub(1);
                return Some(token);
            }
        }
        self.abandoned = 0;
        None
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn abandoned(&self) -> usize {
        self.abandoned
    }

    fn is_full(&self) -> bool {
        self.in_flight.saturating_add(self.abandoned) >= self.capacity
    }
}

/// No place.
const NIL: u32 = u32::MAX;
