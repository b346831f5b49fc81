use std::{collections::VecDeque, mem, time::Instant};

use super::{
    Engine, Received, Slot,
    wheel::{Timer, Wheel},
};
use crate::correlation::{Expect, Pipelined};

/// Matches replies to requests by their order.
///
/// A request that was given up keeps its place in the line until all of its replies have come.
/// Frames that the upstream sends unasked ([`Kind::Push`](crate::Kind::Push)) must not be handed to
/// [`receive`](Engine::receive).
#[derive(Debug)]
pub struct Pipeline<T> {
    line: VecDeque<Entry<T>>,
    /// The number of the request at the head of the line; the others follow without a gap.
    head: u64,
    wheel: Wheel,
    capacity: usize,
    abandoned: usize,
}

#[derive(Debug)]
struct Entry<T> {
    /// `None` when given up.
    token: Option<T>,
    owed: Owed,
    timer: Timer,
}

#[derive(Debug)]
enum Owed {
    Replies(u32),
    UntilLast,
}

impl<T> Pipeline<T> {
    /// Filled in where it is: moving what has just been put together makes the processor wait for it.
    #[inline]
    fn push(&mut self, token: Option<T>, owed: Owed, timer: Timer) {
        self.line.push_back(Entry { token: None, owed: Owed::UntilLast, timer: Timer::NONE });
        if let Some(entry) = self.line.back_mut() {
            (entry.token, entry.owed, entry.timer) = (token, owed, timer);
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<T> {
        let entry = self.line.front_mut()?;
        // Taken out in place: the rest of the entry need not be moved.
        let token = entry.token.take();
        self.wheel.clear(entry.timer);
        self.line.pop_front();
        self.head = self.head.wrapping_add(1);
        if token.is_none() {
            self.abandoned = self.abandoned.saturating_sub(1);
        }
        token
    }

    fn give_up(&mut self, number: u64) -> Option<T> {
        let index = usize::try_from(number.wrapping_sub(self.head)).ok()?;
        let entry = self.line.get_mut(index)?;
        let token = entry.token.take()?;
        self.wheel.clear(mem::replace(&mut entry.timer, Timer::NONE));
        self.abandoned = self.abandoned.saturating_add(1);
        Some(token)
    }
}

impl<P: Pipelined, T> Engine<P, T> for Pipeline<T> {
    fn with_capacity(capacity: usize) -> Self {
        Self { line: VecDeque::new(), head: 0, wheel: Wheel::new(), capacity, abandoned: 0 }
    }

    #[inline]
    fn send(
        &mut self,
        _protocol: &P,
        _request: &mut P::Frame,
        expect: Expect,
        deadline: Option<Instant>,
        token: T,
    ) -> Result<Slot, T> {
        let owed = match expect {
            Expect::None | Expect::Many(0) => return Err(token),
            Expect::One => Owed::Replies(1),
            Expect::Many(count) => Owed::Replies(count),
            Expect::Stream => Owed::UntilLast,
        };
        if self.line.len() >= self.capacity {
            return Err(token);
        }
        let number = self.head.wrapping_add(self.line.len() as u64);
        let timer = deadline.map_or(Timer::NONE, |at| self.wheel.set(at, number));
        self.push(Some(token), owed, timer);
        Ok(Slot(number))
    }

    /// A frame of the proxy's own that has replies (a probe) takes its place in the line, for them to be dropped.
    fn stamp(&mut self, protocol: &P, frame: &mut P::Frame) {
        let owed = match protocol.expects(frame) {
            Expect::None | Expect::Many(0) => return,
            Expect::One => Owed::Replies(1),
            Expect::Many(count) => Owed::Replies(count),
            Expect::Stream => Owed::UntilLast,
        };
        self.push(None, owed, Timer::NONE);
        self.abandoned = self.abandoned.saturating_add(1);
    }

    #[inline]
    fn receive<'a>(&'a mut self, protocol: &P, reply: &mut P::Frame) -> Received<'a, T> {
        let Some(entry) = self.line.front_mut() else { return Received::Unknown };
        let last = match &mut entry.owed {
            Owed::UntilLast => protocol.is_last(reply),
            Owed::Replies(count) => {
                *count = count.saturating_sub(1);
                *count == 0
            }
        };
        if last {
            return self.pop().map_or(Received::Late, Received::Last);
        }
        match self.line.front_mut().and_then(|entry| entry.token.as_mut()) {
            Some(token) => Received::More(token),
            None => Received::Late,
        }
    }

    fn is_own_next(&self) -> bool {
        self.line.front().is_some_and(|entry| entry.token.is_none())
    }

    fn sole_next(&self) -> Option<Option<&T>> {
        let entry = self.line.front()?;
        matches!(entry.owed, Owed::Replies(1)).then_some(entry.token.as_ref())
    }

    fn abandon(&mut self, slot: Slot) -> Option<T> {
        self.give_up(slot.0)
    }

    fn abandon_where(&mut self, mut which: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut given_up = Vec::new();
        for entry in &mut self.line {
            if let Some(token) = entry.token.take_if(|token| which(token)) {
                self.wheel.clear(mem::replace(&mut entry.timer, Timer::NONE));
                self.abandoned = self.abandoned.saturating_add(1);
                given_up.push(token);
            }
        }
        given_up
    }

    fn expire(&mut self, now: Instant) -> Option<T> {
        let number = self.wheel.expire(now)?;
        let index = usize::try_from(number.wrapping_sub(self.head)).ok()?;
        self.line.get_mut(index)?.timer = Timer::NONE;
        self.give_up(number)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.wheel.next_deadline()
    }

    fn close(&mut self) -> Option<T> {
        while !self.line.is_empty() {
            let token = self.pop();
            if token.is_some() {
                return token;
            }
        }
        None
    }

    fn in_flight(&self) -> usize {
        self.line.len().saturating_sub(self.abandoned)
    }

    fn abandoned(&self) -> usize {
        self.abandoned
    }

    fn is_full(&self) -> bool {
        self.line.len() >= self.capacity
    }
}
