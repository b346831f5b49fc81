//! The sans-IO machines that match replies to requests and watch over a connection's life.
//!
//! Time enters as an argument; nothing here waits. A driver calls [`Engine::expire`] when
//! [`Engine::next_deadline`] has passed.

mod inbox;
mod keepalive;
mod mux;
mod pipeline;
mod reorder;
mod session;
mod wheel;

use std::time::Instant;

pub use inbox::{Inbox, Passthrough, Place};
pub use keepalive::{Action, Keepalive, KeepaliveConfig};
pub use mux::Mux;
pub use pipeline::Pipeline;
pub use reorder::Reorder;
pub use session::{Acquire, Errand, SessionPool};

use crate::{Protocol, correlation::Expect};

/// Names a request that awaits its reply, on one connection, for good: a later request in the same place differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub(crate) u64);

/// What a reply turned out to be.
#[derive(Debug)]
pub enum Received<'a, T> {
    /// The last or only reply to the request that this token was given with.
    Last(T),
    /// One reply of several.
    More(&'a mut T),
    /// The reply of a request that was given up. To be dropped.
    Late,
    /// Answers nothing that was asked on this connection. To be dropped, and counted.
    Unknown,
}

/// Matches replies to requests on one upstream connection.
pub trait Engine<P: Protocol, T>: Sized {
    /// At most `capacity` requests at once, those included that were given up and whose replies are still owed.
    fn with_capacity(capacity: usize) -> Self;

    /// Takes a request about to be written: gives it the id it has on this connection, and keeps `token` until the reply.
    /// Gives the token back when full, and when no reply is expected: such requests are [`stamp`](Self::stamp)ed.
    fn send(
        &mut self,
        protocol: &P,
        request: &mut P::Frame,
        expect: Expect,
        deadline: Option<Instant>,
        token: T,
    ) -> Result<Slot, T>;

    /// Gives an id to a frame whose reply, should one come, is to be dropped: one-way requests, heartbeats, go-away.
    fn stamp(&mut self, protocol: &P, frame: &mut P::Frame);

    /// Finds the request that `reply` answers, and restores the id that the request came with.
    fn receive<'a>(&'a mut self, protocol: &P, reply: &mut P::Frame) -> Received<'a, T>;

    /// Whether the next reply is one that nobody is told: to a frame of the proxy's own, or to a request that was given
    /// up. Engines that find requests by id do not know.
    fn is_own_next(&self) -> bool {
        false
    }

    /// The request whose only or last reply is the next, where that is known: its token, or none where nobody is told
    /// the reply.
    fn sole_next(&self) -> Option<Option<&T>> {
        None
    }

    /// Gives up on a request: its reply will be [`Received::Late`]. `None` when it is answered or given up already.
    fn abandon(&mut self, slot: Slot) -> Option<T>;

    /// Gives up on every request whose token `which` says yes to, for when a client leaves. Looks at all of them.
    fn abandon_where(&mut self, which: impl FnMut(&T) -> bool) -> Vec<T>;

    /// Gives up on one request whose deadline is at or before `now`. Call until `None`.
    fn expire(&mut self, now: Instant) -> Option<T>;

    /// A time at or before the earliest deadline; `None` when no request has one.
    fn next_deadline(&self) -> Option<Instant>;

    /// Takes back one token of a connection that is dead, in the order the requests were sent where the engine knows it.
    /// Call until `None`.
    fn close(&mut self) -> Option<T>;

    /// How many requests await a reply.
    fn in_flight(&self) -> usize;

    /// How many requests were given up and have not been answered yet.
    fn abandoned(&self) -> usize;

    /// Whether [`send`](Self::send) would refuse.
    fn is_full(&self) -> bool;
}
