use std::{collections::VecDeque, mem, time::Instant};

use super::wheel::{Timer, Wheel};

/// Lends upstream connections to clients: one client a connection, none but clean ones, first come first served.
///
/// Connections are numbered by the pool, from 0, and the number of one that is gone is used again. `C` is whatever the
/// caller knows a client by. The caller opens, resets and closes the connections and reports here what became of it; a
/// report that does not fit the connection's state changes nothing.
///
/// After every call but [`acquire`](Self::acquire), [`poll`](Self::poll) until it answers `None`.
///
/// ```text
///                  connected             lend                release
///  Connect(n) ─────────────────▶ clean ────────▶ client's ─────────────▶ clean
///      │                           ▲                 │ release, to be reset
///      ▼ connect_failed            └── reset_done ── resetting           lost: gone from any of these
///    gone
/// ```
///
/// One that is being opened may be [claimed](Self::claim): then it is its client's at once.
#[derive(Debug)]
pub struct SessionPool<C> {
    connections: Vec<State<C>>,
    gone: Vec<usize>,
    /// Those that are clean, the one used last at the end: the others may be closed for idleness.
    clean: Vec<usize>,
    /// How many will be clean before long: those being opened or reset.
    coming: usize,
    waiters: VecDeque<Waiter<C>>,
    next_waiter: u64,
    wheel: Wheel,
    max_connections: usize,
    max_waiters: usize,
}

/// What came of asking for an upstream connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquire {
    /// This connection is the client's until it is released.
    Ready(usize),
    /// The client waits; the caller opens one more connection, to be known by this number.
    Connect(usize),
    /// The client waits for a connection to be released, reset or opened.
    Wait,
    /// Too many wait already.
    Full,
}

/// What the caller of a [`SessionPool`] is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand<C> {
    /// This client waits no longer: the connection is its own until it is released.
    Lend {
        /// The client.
        client: C,
        /// Its connection.
        connection: usize,
    },
    /// Open one more connection, to be known by this number.
    Connect(usize),
}

#[derive(Debug)]
enum State<C> {
    Gone,
    Connecting,
    Clean,
    Lent(C),
    Resetting,
}

#[derive(Debug)]
struct Waiter<C> {
    number: u64,
    client: C,
    timer: Timer,
}

impl<C: Clone + PartialEq> SessionPool<C> {
    /// At most `max_connections` at once, those being opened included, and at most `max_waiters` clients that wait,
    /// those included that a connection is being opened for.
    pub fn new(max_connections: usize, max_waiters: usize) -> Self {
        Self {
            connections: Vec::new(),
            gone: Vec::new(),
            clean: Vec::new(),
            coming: 0,
            waiters: VecDeque::new(),
            next_waiter: 0,
            wheel: Wheel::new(),
            max_connections,
            max_waiters,
        }
    }

    /// Changes the bounds. Connections and clients beyond the new ones stay.
    pub fn set_bounds(&mut self, max_connections: usize, max_waiters: usize) {
        self.max_connections = max_connections;
        self.max_waiters = max_waiters;
    }

    /// Asks for a connection for a client that neither has one nor waits for one.
    pub fn acquire(&mut self, client: C, deadline: Option<Instant>) -> Acquire {
        if self.waiters.is_empty()
            && let Some(connection) = self.clean.pop()
        {
            self.put(connection, State::Lent(client));
            return Acquire::Ready(connection);
        }
        if self.waiters.len() >= self.max_waiters {
            return Acquire::Full;
        }
        let number = self.next_waiter;
        self.next_waiter = number.wrapping_add(1);
        let timer = deadline.map_or(Timer::NONE, |at| self.wheel.set(at, number));
        self.waiters.push_back(Waiter { number, client, timer });
        self.connect().map_or(Acquire::Wait, Acquire::Connect)
    }

    /// What to do next.
    pub fn poll(&mut self) -> Option<Errand<C>> {
        if !self.waiters.is_empty()
            && let Some(connection) = self.clean.pop()
        {
            let client = self.next_client()?;
            self.put(connection, State::Lent(client.clone()));
            return Some(Errand::Lend { client, connection });
        }
        self.connect().map(Errand::Connect)
    }

    /// A connection is open and ready for its first client.
    pub fn connected(&mut self, connection: usize) {
        if matches!(self.connections.get(connection), Some(State::Connecting)) {
            self.coming = self.coming.saturating_sub(1);
            self.make_clean(connection);
        }
    }

    /// Says for whom a connection is that is still being opened, where that has to be told to the other side: it is this
    /// client's, the one that waited for the longest time, until it is [lost](Self::lost). `None`: nobody waits.
    pub fn claim(&mut self, connection: usize) -> Option<C> {
        if !matches!(self.connections.get(connection), Some(State::Connecting)) {
            return None;
        }
        let client = self.next_client()?;
        self.coming = self.coming.saturating_sub(1);
        self.put(connection, State::Lent(client.clone()));
        Some(client)
    }

    /// A connection could not be opened. The client that waited for the longest time, if any, waits no longer: it is to
    /// be told, or to try elsewhere.
    pub fn connect_failed(&mut self, connection: usize) -> Option<C> {
        if !matches!(self.connections.get(connection), Some(State::Connecting)) {
            return None;
        }
        self.coming = self.coming.saturating_sub(1);
        self.remove(connection);
        self.next_client()
    }

    /// A client is done with its connection. Where `needs_reset`, nobody gets it before
    /// [`reset_done`](Self::reset_done).
    pub fn release(&mut self, connection: usize, needs_reset: bool) {
        if !matches!(self.connections.get(connection), Some(State::Lent(_))) {
            return;
        }
        if needs_reset {
            self.coming = self.coming.saturating_add(1);
            self.put(connection, State::Resetting);
        } else {
            self.make_clean(connection);
        }
    }

    /// A connection that was released is as good as new.
    pub fn reset_done(&mut self, connection: usize) {
        if matches!(self.connections.get(connection), Some(State::Resetting)) {
            self.coming = self.coming.saturating_sub(1);
            self.make_clean(connection);
        }
    }

    /// An open connection is gone, or is to be used no more. Answers the client that had it.
    pub fn lost(&mut self, connection: usize) -> Option<C> {
        match self.connections.get(connection)? {
            State::Gone | State::Connecting => return None,
            State::Clean => self.clean.retain(|clean| *clean != connection),
            State::Lent(_) => {}
            State::Resetting => self.coming = self.coming.saturating_sub(1),
        }
        match self.remove(connection) {
            Some(State::Lent(client)) => Some(client),
            _ => None,
        }
    }

    /// Takes a client that has left out of the line, and says whether it was there.
    pub fn cancel(&mut self, client: &C) -> bool {
        let found = self.waiters.iter().position(|waiter| waiter.client == *client);
        let Some(waiter) = found.and_then(|index| self.waiters.remove(index)) else {
            return false;
        };
        self.wheel.clear(waiter.timer);
        true
    }

    /// Takes one client out of the line whose deadline is at or before `now`. Call until `None`.
    pub fn expire(&mut self, now: Instant) -> Option<C> {
        let number = self.wheel.expire(now)?;
        let index = self.waiters.binary_search_by_key(&number, |w| w.number).ok()?;
        Some(self.waiters.remove(index)?.client)
    }

    /// A time at or before the earliest deadline of a client that waits.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.wheel.next_deadline()
    }

    /// Takes the client that waited for the longest time out of the line, for a pool that is given up. Call until
    /// `None`.
    pub fn close(&mut self) -> Option<C> {
        self.next_client()
    }

    /// How many connections there are, those being opened included.
    pub fn connections(&self) -> usize {
        self.connections.len().saturating_sub(self.gone.len())
    }

    /// How many connections could be lent at once.
    pub fn clean(&self) -> usize {
        self.clean.len()
    }

    /// How many clients wait.
    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// A number for one more connection, where the clients that wait outnumber the connections to come.
    fn connect(&mut self) -> Option<usize> {
        let expected = self.coming.saturating_add(self.clean.len());
        if self.waiters.len() <= expected || self.connections() >= self.max_connections {
            return None;
        }
        self.coming = self.coming.saturating_add(1);
        let connection = self.gone.pop().unwrap_or_else(|| {
            self.connections.push(State::Gone);
            self.connections.len().saturating_sub(1)
        });
        self.put(connection, State::Connecting);
        Some(connection)
    }

    fn next_client(&mut self) -> Option<C> {
        let waiter = self.waiters.pop_front()?;
        self.wheel.clear(waiter.timer);
        Some(waiter.client)
    }

    fn make_clean(&mut self, connection: usize) {
        self.put(connection, State::Clean);
        self.clean.push(connection);
    }

    fn remove(&mut self, connection: usize) -> Option<State<C>> {
        self.gone.push(connection);
        self.put(connection, State::Gone)
    }

    fn put(&mut self, connection: usize, state: State<C>) -> Option<State<C>> {
        Some(mem::replace(self.connections.get_mut(connection)?, state))
    }
}
