use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use wiremesh::{
    correlation::Expect,
    engine::{Engine, Pipeline, Received, Slot},
};

use crate::protocols::{Message, Ordered};

struct Asked {
    slot: Slot,
    nonce: u64,
    /// Replies to come, the number of a stream decided beforehand.
    owed: u32,
    stream: bool,
    deadline: Option<Instant>,
    given_up: bool,
}

#[derive(Default, Debug)]
struct Seen {
    last: usize,
    more: usize,
    late: usize,
    unknown: usize,
    expired: usize,
    refused: usize,
    closed: usize,
}

struct Simulation {
    pipeline: Pipeline<u64>,
    rng: fastrand::Rng,
    now: Instant,
    nonce: u64,
    line: VecDeque<Asked>,
    past: Vec<Slot>,
}

const CAPACITY: usize = 24;

impl Simulation {
    fn new(seed: u64) -> Self {
        Self {
            pipeline: Engine::<Ordered, u64>::with_capacity(CAPACITY),
            rng: fastrand::Rng::with_seed(seed),
            now: Instant::now(),
            nonce: 0,
            line: VecDeque::new(),
            past: Vec::new(),
        }
    }

    fn engine(&mut self) -> &mut impl Engine<Ordered, u64> {
        &mut self.pipeline
    }

    fn send(&mut self, seen: &mut Seen) {
        self.nonce += 1;
        let nonce = self.nonce;
        let count = self.rng.u32(1..5);
        let (expect, owed) = match self.rng.u32(..8) {
            0 => (Expect::None, 0),
            1 => (Expect::Many(0), 0),
            2 => (Expect::Many(count), count),
            3 => (Expect::Stream, count),
            _ => (Expect::One, 1),
        };
        let deadline = (self.rng.u32(..4) != 0)
            .then(|| self.now + Duration::from_micros(self.rng.u64(..100_000)));
        let mut request = Message::new(0, nonce);
        let full = self.engine().is_full();
        assert_eq!(full, self.line.len() == CAPACITY);
        match self.pipeline.send(&Ordered, &mut request, expect, deadline, nonce) {
            Ok(slot) => {
                assert!(!full && owed > 0);
                let stream = expect == Expect::Stream;
                let given_up = false;
                self.line.push_back(Asked { slot, nonce, owed, stream, deadline, given_up });
            }
            Err(token) => {
                assert!(full || owed == 0);
                assert_eq!(token, nonce);
                seen.refused += usize::from(full);
            }
        }
    }

    fn answer(&mut self, seen: &mut Seen) {
        let mut reply = Message::new(0, 0);
        let Some(head) = self.line.front_mut() else {
            let received = self.pipeline.receive(&Ordered, &mut reply);
            assert!(matches!(received, Received::Unknown), "{received:?}");
            seen.unknown += 1;
            return;
        };
        head.owed -= 1;
        // Where the number was announced, what a reply says of itself does not count.
        reply.last = if head.stream { head.owed == 0 } else { self.rng.bool() };
        match self.pipeline.receive(&Ordered, &mut reply) {
            Received::Last(token) => {
                assert!(!head.given_up && head.owed == 0);
                assert_eq!(token, head.nonce);
                seen.last += 1;
            }
            Received::More(token) => {
                assert!(!head.given_up && head.owed > 0);
                assert_eq!(*token, head.nonce);
                seen.more += 1;
            }
            Received::Late => {
                assert!(head.given_up);
                seen.late += 1;
            }
            Received::Unknown => panic!("it was asked"),
        }
        if head.owed == 0 {
            self.past.extend(self.line.pop_front().map(|asked| asked.slot));
        }
    }

    fn step(&mut self, seen: &mut Seen) {
        match self.rng.u32(..100) {
            0..40 => self.send(seen),
            40..88 => self.answer(seen),
            88..94 => {
                if !self.line.is_empty() {
                    let nth = self.rng.usize(..self.line.len());
                    let asked = &mut self.line[nth];
                    let token = Engine::<Ordered, u64>::abandon(&mut self.pipeline, asked.slot);
                    assert_eq!(token, (!asked.given_up).then_some(asked.nonce));
                    asked.given_up = true;
                }
                let which = self.rng.u64(..50);
                let theirs = |nonce: u64| nonce % 50 == which;
                let given_up = Engine::<Ordered, u64>::abandon_where(&mut self.pipeline, |nonce| {
                    theirs(*nonce)
                });
                let asked = self.line.iter_mut().filter(|a| !a.given_up && theirs(a.nonce));
                let expected: Vec<_> = asked
                    .map(|asked| {
                        asked.given_up = true;
                        asked.nonce
                    })
                    .collect();
                assert_eq!(given_up, expected);
                if let Some(slot) = self.past.pop() {
                    assert_eq!(self.engine().abandon(slot), None, "answered already");
                }
            }
            _ => {
                self.now += Duration::from_micros(self.rng.u64(..20_000));
                self.expire(seen);
            }
        }
        // (A stream is never known to be at its end.)
        let sole = self.line.front().filter(|asked| asked.owed == 1 && !asked.stream);
        let sole = sole.map(|asked| (!asked.given_up).then_some(asked.nonce));
        assert_eq!(self.engine().sole_next().map(Option::<&u64>::copied), sole);
        let given_up = self.line.iter().filter(|a| a.given_up).count();
        let waiting = self.line.len() - given_up;
        assert_eq!(self.engine().abandoned(), given_up);
        assert_eq!(self.engine().in_flight(), waiting);
    }

    fn expire(&mut self, seen: &mut Seen) {
        let now = self.now;
        let mut expired = HashSet::new();
        while let Some(token) = self.engine().expire(now) {
            assert!(expired.insert(token));
        }
        for asked in self.line.iter_mut().filter(|a| !a.given_up) {
            let due = asked.deadline.is_some_and(|deadline| deadline <= now);
            assert_eq!(due, expired.remove(&asked.nonce));
            asked.given_up |= due;
            seen.expired += usize::from(due);
        }
        assert!(expired.is_empty(), "expired what was not asked: {expired:?}");
        let next = self.engine().next_deadline();
        let waiting = self.line.iter().filter(|a| !a.given_up);
        match (next, waiting.filter_map(|a| a.deadline).min()) {
            (Some(next), Some(earliest)) => assert!(now < next && next <= earliest),
            (next, earliest) => assert_eq!(next, earliest),
        }
    }

    fn die(&mut self, seen: &mut Seen) {
        for asked in self.line.drain(..).filter(|a| !a.given_up) {
            let token = Engine::<Ordered, u64>::close(&mut self.pipeline);
            assert_eq!(token, Some(asked.nonce), "in the order of sending");
            seen.closed += 1;
        }
        assert_eq!(self.engine().close(), None);
        assert_eq!(self.engine().in_flight() + self.engine().abandoned(), 0);
        assert_eq!(self.engine().next_deadline(), None);
    }
}

#[test]
fn replies_in_order() {
    let mut seen = Seen::default();
    for seed in 0..20 {
        println!("seed {seed}");
        let mut simulation = Simulation::new(seed);
        for _ in 0..50_000 {
            simulation.step(&mut seen);
        }
        simulation.die(&mut seen);
    }
    println!("{seen:?}");
    let Seen { last, more, late, unknown, expired, refused, closed } = seen;
    assert!([last, more, late, unknown, expired, refused, closed].iter().all(|n| *n > 0));
}

#[test]
fn the_reply_to_a_probe_is_nobody_elses() {
    let mut pipeline: Pipeline<u64> = Engine::<Ordered, u64>::with_capacity(4);
    pipeline.stamp(&Ordered, &mut Message::new(0, 0));
    pipeline.stamp(&Ordered, &mut Message::new(0, crate::protocols::ONE_WAY));
    pipeline.send(&Ordered, &mut Message::new(0, 7), Expect::One, None, 7).expect("room");
    assert_eq!(counts(&pipeline), (1, 1));
    assert!(matches!(pipeline.receive(&Ordered, &mut Message::new(0, 0)), Received::Late));
    assert!(matches!(pipeline.receive(&Ordered, &mut Message::new(0, 7)), Received::Last(7)));
    assert_eq!(counts(&pipeline), (0, 0));
}

/// Requests in flight, and replies to be dropped.
fn counts(engine: &impl Engine<Ordered, u64>) -> (usize, usize) {
    (engine.in_flight(), engine.abandoned())
}
