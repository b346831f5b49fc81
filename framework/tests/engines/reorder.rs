use std::collections::{HashMap, VecDeque};

use bytes::Buf;
use wiremesh::{
    Failure, Protocol, Reason, WriteBuf,
    correlation::{Expect, Gather},
    engine::{Inbox, Place, Reorder},
};

use crate::protocols::{FAILED, Message, Ordered};

/// Answers with the sum of its parts, or that one of them failed.
#[derive(Default)]
struct Sum {
    sum: u64,
    failed: bool,
    heard: Vec<usize>,
}

impl Gather<Ordered> for Sum {
    fn reply(&mut self, _: &Ordered, part: usize, reply: Message) {
        self.heard.push(part);
        self.sum += reply.nonce;
    }

    fn failed(&mut self, _: &Ordered, part: usize, _: &Failure) {
        self.heard.push(part);
        self.failed = true;
    }

    fn finish(&mut self, _: &Ordered) -> Message {
        self.heard.sort_unstable();
        assert!(self.heard.iter().copied().eq(0..self.heard.len()), "each part once");
        Message::new(0, if self.failed { FAILED } else { self.sum })
    }
}

/// A request in the model: what its client is to read, as far as it is known.
#[derive(Default)]
struct Turn {
    said: VecDeque<u64>,
    done: bool,
    held: usize,
}

/// What may still be said to one request, or to one part of it.
struct Open {
    place: Place,
    left: u32,
    started: bool,
}

struct Simulation {
    inbox: Reorder<Ordered>,
    rng: fastrand::Rng,
    nonce: u64,
    turns: VecDeque<Turn>,
    head: u64,
    open: Vec<Open>,
    sums: HashMap<u64, (u64, bool, u32)>,
    past: Vec<Place>,
    out: WriteBuf,
}

#[derive(Default, Debug)]
struct Seen {
    told: usize,
    failed: usize,
    speechless: usize,
    gathered: usize,
    passed: usize,
    most_held: usize,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        Self {
            inbox: Reorder::default(),
            rng: fastrand::Rng::with_seed(seed),
            nonce: 0,
            turns: VecDeque::new(),
            head: 0,
            open: Vec::new(),
            sums: HashMap::new(),
            past: Vec::new(),
            out: WriteBuf::default(),
        }
    }

    fn admit(&mut self) {
        let count = self.rng.u32(1..5);
        match self.rng.u32(..8) {
            0 => {
                let place = self.inbox.admit(Expect::None);
                self.inbox.reply(&Ordered, place, Message::new(0, 0), true, &mut self.out);
                let failure = Failure::new(Reason::Timeout, "");
                assert!(self.inbox.fail(&Ordered, place, &0, &failure, &mut self.out));
                return;
            }
            1 => {
                let place = self.inbox.admit_split(count, Box::<Sum>::default());
                for part in 0..count {
                    let place = Place { part, ..place };
                    self.open.push(Open { place, left: 1, started: false });
                }
                self.sums.insert(place.turn, (0, false, count));
            }
            kind => {
                let (expect, left) = match kind {
                    2 => (Expect::Many(count), count),
                    3 => (Expect::Stream, count),
                    _ => (Expect::One, 1),
                };
                let place = self.inbox.admit(expect);
                self.open.push(Open { place, left, started: false });
            }
        }
        self.turns.push_back(<_>::default());
    }

    fn turn(&mut self, place: Place) -> &mut Turn {
        &mut self.turns[(place.turn - self.head) as usize]
    }

    /// The next reply to any request that awaits one, or the proxy's failure in its place.
    fn say(&mut self, seen: &mut Seen) {
        if self.open.is_empty() {
            return;
        }
        let nth = self.rng.usize(..self.open.len());
        self.nonce += 1;
        let nonce = self.nonce;
        let fail = self.rng.u32(..6) == 0;
        let open = &mut self.open[nth];
        let (place, started) = (open.place, open.started);
        if fail {
            let failure = Failure::new(Reason::Timeout, "");
            let said = self.inbox.fail(&Ordered, place, &nonce, &failure, &mut self.out);
            let split = self.sums.contains_key(&place.turn);
            assert_eq!(said, split || (!started && nonce.is_multiple_of(2)));
            if !said {
                // The connection would be closed; here, the request is answered after all.
                seen.speechless += 1;
                return;
            }
            seen.failed += 1;
            self.open.swap_remove(nth);
            self.close(place, nonce | FAILED, true, seen);
        } else {
            open.left -= 1;
            open.started = true;
            let last = open.left == 0;
            let reply = Message::new(0, nonce);
            let split = self.sums.contains_key(&place.turn);
            let whole = !self.inbox.is_turn(place);
            assert_eq!(whole, split || place.turn != self.head);
            if whole || !last || self.rng.bool() {
                self.inbox.reply(&Ordered, place, reply, last, &mut self.out);
                assert!(!last || !self.inbox.is_turn(place));
            } else {
                // Its beginning, and later its end: nobody else is heard in between.
                self.inbox.reply(&Ordered, place, reply, false, &mut self.out);
                self.inbox.finish(&Ordered, Place { turn: place.turn + 1, ..place }, &mut self.out);
                assert!(self.inbox.is_turn(place));
                self.inbox.finish(&Ordered, place, &mut self.out);
                seen.passed += 1;
            }
            if last {
                self.open.swap_remove(nth);
            }
            self.close(place, nonce, last, seen);
        }
    }

    fn close(&mut self, place: Place, nonce: u64, last: bool, seen: &mut Seen) {
        if last {
            self.past.push(place);
        }
        let Some((sum, failed, missing)) = self.sums.get_mut(&place.turn) else {
            let turn = self.turn(place);
            turn.said.push_back(nonce);
            turn.done = last;
            return;
        };
        *missing -= 1;
        if nonce & FAILED == 0 {
            *sum += nonce;
        } else {
            *failed = true;
        }
        let (answer, done) = (if *failed { FAILED } else { *sum }, *missing == 0);
        let failed = nonce & FAILED != 0;
        let turn = self.turn(place);
        turn.held += if failed { 0 } else { 8 };
        if done {
            turn.held = 0;
            turn.said.push_back(answer);
            turn.done = true;
            self.sums.remove(&place.turn);
            seen.gathered += 1;
        }
    }

    /// All that may be told is told, in order, and nothing else.
    fn check(&mut self, seen: &mut Seen) {
        while let Some(turn) = self.turns.front_mut() {
            for nonce in turn.said.drain(..) {
                assert!(self.out.remaining() >= 8, "a reply is missing");
                assert_eq!(self.out.get_u64(), nonce);
                seen.told += 1;
            }
            if !turn.done {
                break;
            }
            self.turns.pop_front();
            self.head += 1;
        }
        assert!(self.out.is_empty(), "told too much");
        let held = self.turns.iter().map(|turn| turn.held + 8 * turn.said.len()).sum();
        assert_eq!(self.inbox.held_bytes(), held);
        seen.most_held = seen.most_held.max(held);
    }

    fn step(&mut self, seen: &mut Seen) {
        match self.rng.u32(..100) {
            0..38 if self.turns.len() < 32 => self.admit(),
            0..95 => self.say(seen),
            _ => {
                if let Some(place) = self.past.pop() {
                    let reply = Message::new(0, u64::MAX);
                    self.inbox.reply(&Ordered, place, reply, true, &mut self.out);
                    let failure = Failure::new(Reason::Timeout, "");
                    assert!(self.inbox.fail(&Ordered, place, &0, &failure, &mut self.out));
                }
            }
        }
        self.check(seen);
    }
}

#[test]
fn replies_in_the_order_of_their_requests() {
    let mut seen = Seen::default();
    for seed in 0..20 {
        println!("seed {seed}");
        let mut simulation = Simulation::new(seed);
        for _ in 0..50_000 {
            simulation.step(&mut seen);
        }
        while !simulation.open.is_empty() {
            simulation.say(&mut seen);
            simulation.check(&mut seen);
        }
        assert!(simulation.turns.is_empty());
        assert_eq!(simulation.inbox.held_bytes(), 0);
    }
    println!("{seen:?}");
    let Seen { told, failed, speechless, gathered, passed, most_held } = seen;
    assert!([told, failed, speechless, gathered, passed, most_held].iter().all(|n| *n > 0));
}

#[test]
fn a_stream_at_the_head_goes_out_as_it_comes() {
    let (mut inbox, mut out) = (Reorder::<Ordered>::default(), WriteBuf::default());
    let (first, second) = (inbox.admit(Expect::One), inbox.admit(Expect::Stream));
    inbox.reply(&Ordered, second, Message::new(0, 2), false, &mut out);
    assert_eq!((out.len(), inbox.held_bytes()), (0, 8));
    inbox.reply(&Ordered, first, Message::new(0, 1), true, &mut out);
    assert_eq!((out.get_u64(), out.get_u64(), inbox.held_bytes()), (1, 2, 0));
    inbox.reply(&Ordered, second, Message::new(0, 3), false, &mut out);
    assert_eq!((out.get_u64(), inbox.held_bytes()), (3, 0));
    // What was begun cannot be turned into a failure.
    let failure = Failure::new(Reason::UpstreamReset, "");
    assert!(Ordered.reply(&0, &failure).is_some());
    assert!(!inbox.fail(&Ordered, second, &0, &failure, &mut out));
}
