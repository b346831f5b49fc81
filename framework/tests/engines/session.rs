use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use wiremesh::engine::{Acquire, Errand, SessionPool};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Clean,
    /// And whether the client has left it in a state that must be reset.
    Lent(u64, bool),
    Resetting,
}

/// Clients, and the upstream, of one pool.
struct Simulation {
    pool: SessionPool<u64>,
    rng: fastrand::Rng,
    now: Instant,
    client: u64,
    connections: BTreeMap<usize, State>,
    line: VecDeque<(u64, Option<Instant>)>,
}

#[derive(Default, Debug)]
struct Seen {
    at_once: usize,
    lent: usize,
    full: usize,
    opened: usize,
    refused: usize,
    reset: usize,
    claimed: usize,
    lost: usize,
    expired: usize,
    cancelled: usize,
}

const CONNECTIONS: usize = 5;
const WAITERS: usize = 8;

impl Simulation {
    fn new(seed: u64) -> Self {
        Self {
            pool: SessionPool::new(CONNECTIONS, WAITERS),
            rng: fastrand::Rng::with_seed(seed),
            now: Instant::now(),
            client: 0,
            connections: BTreeMap::new(),
            line: VecDeque::new(),
        }
    }

    fn acquire(&mut self, seen: &mut Seen) {
        self.client += 1;
        let client = self.client;
        let deadline =
            self.rng.bool().then(|| self.now + Duration::from_micros(self.rng.u64(..50_000)));
        match self.pool.acquire(client, deadline) {
            Acquire::Ready(connection) => {
                assert!(self.line.is_empty(), "others came first");
                self.lend(client, connection);
                seen.at_once += 1;
            }
            Acquire::Connect(connection) => {
                self.line.push_back((client, deadline));
                self.open(connection, seen);
            }
            Acquire::Wait => self.line.push_back((client, deadline)),
            Acquire::Full => {
                assert_eq!(self.line.len(), WAITERS);
                seen.full += 1;
            }
        }
        assert!(self.line.len() <= WAITERS);
    }

    fn open(&mut self, connection: usize, seen: &mut Seen) {
        assert!(connection < CONNECTIONS);
        let coming = |state: &&State| !matches!(state, State::Lent(..));
        let coming = self.connections.values().filter(coming).count();
        assert!(coming < self.line.len(), "nobody waits for it");
        let before = self.connections.insert(connection, State::Connecting);
        assert_eq!(before, None, "the number of another");
        seen.opened += 1;
    }

    fn lend(&mut self, client: u64, connection: usize) {
        let state = self.connections.get_mut(&connection).expect("a connection that is there");
        assert_eq!(*state, State::Clean);
        *state = State::Lent(client, false);
    }

    /// Carries out what the pool wants; then nobody waits in vain.
    fn settle(&mut self, seen: &mut Seen) {
        while let Some(errand) = self.pool.poll() {
            match errand {
                Errand::Connect(connection) => self.open(connection, seen),
                Errand::Lend { client, connection } => {
                    let first = self.line.pop_front().map(|(client, _)| client);
                    assert_eq!(Some(client), first, "first come, first served");
                    self.lend(client, connection);
                    seen.lent += 1;
                }
            }
        }
        let count = |wanted: fn(&State) -> bool| {
            self.connections.values().filter(|state| wanted(state)).count()
        };
        let clean = count(|state| *state == State::Clean);
        let coming = count(|state| matches!(state, State::Connecting | State::Resetting));
        assert_eq!(self.pool.clean(), clean);
        assert_eq!(self.pool.connections(), self.connections.len());
        assert_eq!(self.pool.waiting(), self.line.len());
        if !self.line.is_empty() {
            assert_eq!(clean, 0, "a client waits beside a connection that is free");
            assert!(coming >= self.line.len() || self.connections.len() == CONNECTIONS);
        }
    }

    /// Something happens to a connection.
    fn happen(&mut self, seen: &mut Seen) {
        if self.connections.is_empty() {
            return;
        }
        let nth = self.rng.usize(..self.connections.len());
        let (&connection, &state) = self.connections.iter().nth(nth).unwrap();
        let mut next = None;
        match (state, self.rng.u32(..10)) {
            (State::Connecting, 0..3) => {
                let failed = self.pool.connect_failed(connection);
                assert_eq!(failed, self.line.pop_front().map(|(client, _)| client));
                seen.refused += 1;
            }
            (State::Connecting, 3..5) => {
                let claimed = self.pool.claim(connection);
                assert_eq!(claimed, self.line.pop_front().map(|(client, _)| client));
                next = Some(claimed.map_or(state, |client| State::Lent(client, false)));
                seen.claimed += usize::from(claimed.is_some());
            }
            (State::Connecting, _) => {
                self.pool.connected(connection);
                next = Some(State::Clean);
            }
            (State::Clean | State::Resetting, 0..2) => {
                assert_eq!(self.pool.lost(connection), None);
                seen.lost += 1;
            }
            (State::Clean, _) => return,
            (State::Lent(client, _), 0) => {
                assert_eq!(self.pool.lost(connection), Some(client));
                seen.lost += 1;
            }
            (State::Lent(client, _), 1..4) => next = Some(State::Lent(client, true)),
            (State::Lent(_, dirty), _) => {
                self.pool.release(connection, dirty);
                next = Some(if dirty { State::Resetting } else { State::Clean });
            }
            (State::Resetting, _) => {
                self.pool.reset_done(connection);
                next = Some(State::Clean);
                seen.reset += 1;
            }
        }
        match next {
            Some(state) => self.connections.insert(connection, state),
            None => self.connections.remove(&connection),
        };
    }

    /// What is reported of a connection that is in another state, or not there, changes nothing.
    fn misreport(&mut self) {
        let connection = self.rng.usize(..CONNECTIONS + 2);
        let state = self.connections.get(&connection).copied();
        if state != Some(State::Connecting) {
            self.pool.connected(connection);
            assert_eq!(self.pool.connect_failed(connection), None);
            assert_eq!(self.pool.claim(connection), None);
        } else {
            assert_eq!(self.pool.lost(connection), None);
        }
        if state != Some(State::Resetting) {
            self.pool.reset_done(connection);
        }
        if !matches!(state, Some(State::Lent(..))) {
            self.pool.release(connection, self.rng.bool());
        }
    }

    fn step(&mut self, seen: &mut Seen) {
        match self.rng.u32(..100) {
            0..30 => self.acquire(seen),
            30..85 => self.happen(seen),
            85..90 => self.misreport(),
            90..94 => {
                let gone = self.rng.u64(self.client.saturating_sub(20)..=self.client);
                let at = self.line.iter().position(|(client, _)| *client == gone);
                assert_eq!(self.pool.cancel(&gone), at.is_some());
                seen.cancelled += usize::from(at.and_then(|at| self.line.remove(at)).is_some());
            }
            _ => {
                self.now += Duration::from_micros(self.rng.u64(..10_000));
                let mut expired = HashSet::new();
                while let Some(client) = self.pool.expire(self.now) {
                    assert!(expired.insert(client));
                }
                seen.expired += expired.len();
                self.line.retain(|(client, deadline)| {
                    let due = deadline.is_some_and(|deadline| deadline <= self.now);
                    assert_eq!(expired.remove(client), due);
                    !due
                });
                assert!(expired.is_empty());
                let earliest = self.line.iter().filter_map(|(_, deadline)| *deadline).min();
                match (self.pool.next_deadline(), earliest) {
                    (Some(next), Some(earliest)) => assert!(self.now < next && next <= earliest),
                    (next, earliest) => assert_eq!(next, earliest),
                }
            }
        }
        self.settle(seen);
    }
}

#[test]
fn connections_are_lent_to_one_client_each() {
    let mut seen = Seen::default();
    for seed in 0..20 {
        println!("seed {seed}");
        let mut simulation = Simulation::new(seed);
        for _ in 0..50_000 {
            simulation.step(&mut seen);
        }
        // All who wait are served once the upstream is well.
        for _ in 0..20 {
            let state = simulation.connections.iter().map(|(&c, &s)| (c, s)).collect::<Vec<_>>();
            for (connection, state) in state {
                match state {
                    State::Connecting => simulation.pool.connected(connection),
                    State::Lent(..) => simulation.pool.release(connection, false),
                    State::Resetting => simulation.pool.reset_done(connection),
                    State::Clean => {}
                }
                simulation.connections.insert(connection, State::Clean);
            }
            simulation.settle(&mut seen);
        }
        assert!(simulation.line.is_empty());
    }
    println!("{seen:?}");
    let Seen { at_once, lent, full, opened, refused, reset, claimed, lost, expired, cancelled } =
        seen;
    let seen = [at_once, lent, full, opened, refused, reset, claimed, lost, expired, cancelled];
    assert!(seen.iter().all(|n| *n > 0));
}

#[test]
fn a_pool_that_is_given_up_hands_its_line_back() {
    let mut pool = SessionPool::new(1, 3);
    assert_eq!(pool.acquire('a', None), Acquire::Connect(0));
    assert_eq!(pool.acquire('b', Some(Instant::now())), Acquire::Wait);
    assert_eq!((pool.close(), pool.close(), pool.close()), (Some('a'), Some('b'), None));
    assert_eq!(pool.next_deadline(), None);
}

#[test]
fn a_newcomer_does_not_overtake() {
    let mut pool = SessionPool::new(1, 3);
    assert_eq!(pool.acquire('a', None), Acquire::Connect(0));
    pool.connected(0);
    assert_eq!(pool.acquire('b', None), Acquire::Wait);
    assert_eq!(pool.poll(), Some(Errand::Lend { client: 'a', connection: 0 }));
}

#[test]
fn a_connection_that_fails_costs_one_client_and_the_rest_get_another() {
    let mut pool = SessionPool::new(1, 3);
    assert_eq!(pool.acquire('a', None), Acquire::Connect(0));
    assert_eq!(pool.acquire('b', None), Acquire::Wait);
    assert_eq!(pool.connect_failed(0), Some('a'));
    assert_eq!((pool.poll(), pool.poll()), (Some(Errand::Connect(0)), None));
    pool.connected(0);
    assert_eq!(pool.poll(), Some(Errand::Lend { client: 'b', connection: 0 }));
}
