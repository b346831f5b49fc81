use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use wiremesh::{
    correlation::{Expect, Multiplexed},
    engine::{Engine, Mux, Received, Slot},
};

use crate::protocols::{Ids, Message};

/// A request in the model: its id on the wire is the key.
struct Asked {
    slot: Slot,
    original: u64,
    nonce: u64,
    deadline: Option<Instant>,
    given_up: bool,
}

/// An upstream that answers in any order, late, twice, and what it was not asked.
struct Simulation<P> {
    protocol: P,
    mux: Mux<u64>,
    rng: fastrand::Rng,
    capacity: usize,
    now: Instant,
    nonce: u64,
    /// By id on the wire.
    asked: HashMap<u64, Asked>,
    wire_ids: Vec<u64>,
    /// Ids answered lately, for duplicates.
    answered: VecDeque<u64>,
    /// A request that is over.
    past: Option<Slot>,
    deadlines: bool,
}

#[derive(Default, Debug)]
struct Seen {
    answered: usize,
    late: usize,
    unknown: usize,
    expired: usize,
    refused: usize,
    closed: usize,
}

impl<P: Multiplexed<Frame = Message> + Default> Simulation<P> {
    fn new(seed: u64, capacity: usize, effective: usize, deadlines: bool) -> Self {
        Self {
            protocol: P::default(),
            mux: <Mux<u64> as Engine<P, u64>>::with_capacity(capacity),
            rng: fastrand::Rng::with_seed(seed),
            capacity: effective,
            now: Instant::now(),
            nonce: 0,
            asked: HashMap::new(),
            wire_ids: Vec::new(),
            answered: VecDeque::new(),
            past: None,
            deadlines,
        }
    }

    fn engine(&mut self) -> &mut impl Engine<P, u64> {
        &mut self.mux
    }

    fn send(&mut self, seen: &mut Seen) {
        self.nonce += 1;
        let original = self.rng.u64(..);
        let mut request = Message::new(original, self.nonce);
        let deadline = (self.deadlines && self.rng.u32(..4) != 0)
            .then(|| self.now + Duration::from_micros(self.rng.u64(..100_000)));
        let full = Engine::<P, u64>::is_full(&self.mux);
        assert_eq!(full, self.asked.len() == self.capacity);
        match self.mux.send(&self.protocol, &mut request, Expect::One, deadline, self.nonce) {
            Ok(slot) => {
                assert!(!full);
                assert_eq!(request.id & !(u64::MAX >> (64 - P::ID_BITS)), 0, "wider than the wire");
                let asked = Asked { slot, original, nonce: self.nonce, deadline, given_up: false };
                assert!(self.asked.insert(request.id, asked).is_none(), "an id in use");
                self.wire_ids.push(request.id);
            }
            Err(token) => {
                assert!(full);
                assert_eq!((token, request.id), (self.nonce, original), "given back as it was");
                seen.refused += 1;
            }
        }
    }

    fn any_asked(&mut self) -> Option<u64> {
        (!self.wire_ids.is_empty()).then(|| self.wire_ids[self.rng.usize(..self.wire_ids.len())])
    }

    fn answer(&mut self, id: u64, seen: &mut Seen) {
        let mut reply = Message::new(id, 0);
        let asked = self.asked.remove(&id);
        self.past = asked.as_ref().map_or(self.past, |asked| Some(asked.slot));
        match (self.mux.receive(&self.protocol, &mut reply), asked) {
            (Received::Last(token), Some(asked)) => {
                assert!(!asked.given_up);
                assert_eq!((token, reply.id), (asked.nonce, asked.original));
                seen.answered += 1;
            }
            (Received::Late, Some(asked)) => {
                assert!(asked.given_up);
                seen.late += 1;
            }
            (Received::Unknown, None) => seen.unknown += 1,
            (received, asked) => panic!("{received:?}, asked: {}", asked.is_some()),
        }
        if let Some(at) = self.wire_ids.iter().position(|known| *known == id) {
            self.wire_ids.swap_remove(at);
            self.answered.push_back(id);
            if self.answered.len() > 8 {
                self.answered.pop_front();
            }
        }
    }

    fn step(&mut self, seen: &mut Seen) {
        match self.rng.u32(..100) {
            0..42 => self.send(seen),
            42..80 => {
                if let Some(id) = self.any_asked() {
                    self.answer(id, seen);
                }
            }
            80..85 => {
                if let Some(id) = self.answered.pop_front() {
                    assert!(!self.asked.contains_key(&id), "too soon to use the id again");
                    self.answer(id, seen);
                }
            }
            85..88 => {
                let id = self.rng.u64(..) >> (64 - P::ID_BITS);
                if !self.asked.contains_key(&id) {
                    let mut reply = Message::new(id, 0);
                    let received = self.mux.receive(&self.protocol, &mut reply);
                    assert!(matches!(received, Received::Unknown | Received::Late), "{received:?}");
                }
            }
            88..91 => {
                let mut frame = Message::new(7, 0);
                self.mux.stamp(&self.protocol, &mut frame);
                assert!(!self.asked.contains_key(&frame.id), "the id of a request");
                assert!(matches!(self.mux.receive(&self.protocol, &mut frame), Received::Late));
            }
            91..95 => {
                if let Some(past) = self.past {
                    assert_eq!(self.engine().abandon(past), None, "not the next one in its place");
                }
                if let Some(id) = self.any_asked() {
                    let asked = self.asked.get_mut(&id).unwrap();
                    let token = Engine::<P, u64>::abandon(&mut self.mux, asked.slot);
                    assert_eq!(token, (!asked.given_up).then_some(asked.nonce));
                    asked.given_up = true;
                }
                let which = self.rng.u64(..50);
                let theirs = |nonce: u64| nonce % 50 == which;
                let mut given_up = Engine::<P, u64>::abandon_where(&mut self.mux, |n| theirs(*n));
                let asked = self.asked.values_mut().filter(|a| !a.given_up && theirs(a.nonce));
                let mut expected: Vec<_> = asked
                    .map(|asked| {
                        asked.given_up = true;
                        asked.nonce
                    })
                    .collect();
                given_up.sort_unstable();
                expected.sort_unstable();
                assert_eq!(given_up, expected);
            }
            _ => {
                self.now += Duration::from_micros(self.rng.u64(..10_000));
                self.expire(seen);
            }
        }
        let given_up = self.asked.values().filter(|a| a.given_up).count();
        assert_eq!(Engine::<P, u64>::abandoned(&self.mux), given_up);
        assert_eq!(Engine::<P, u64>::in_flight(&self.mux), self.asked.len() - given_up);
    }

    fn expire(&mut self, seen: &mut Seen) {
        let now = self.now;
        let mut expired = HashSet::new();
        while let Some(token) = self.engine().expire(now) {
            assert!(expired.insert(token));
        }
        for asked in self.asked.values_mut().filter(|a| !a.given_up) {
            let due = asked.deadline.is_some_and(|deadline| deadline <= now);
            assert_eq!(due, expired.remove(&asked.nonce));
            asked.given_up |= due;
            seen.expired += usize::from(due);
        }
        assert!(expired.is_empty(), "expired what was not asked: {expired:?}");
        let next = self.engine().next_deadline();
        let waiting = self.asked.values().filter(|a| !a.given_up);
        match (next, waiting.filter_map(|a| a.deadline).min()) {
            (Some(next), Some(earliest)) => assert!(now < next && next <= earliest),
            (next, earliest) => assert_eq!(next, earliest),
        }
    }

    /// Every reply comes, and so every slot.
    fn drain(&mut self, seen: &mut Seen) {
        while let Some(id) = self.any_asked() {
            self.answer(id, seen);
        }
        assert_eq!(self.engine().in_flight() + self.engine().abandoned(), 0);
        for _ in 0..self.capacity {
            self.send(seen);
        }
        assert!(self.engine().is_full());
    }

    fn die(&mut self, seen: &mut Seen) {
        while let Some(token) = self.engine().close() {
            let asked = self.asked.values_mut().find(|a| a.nonce == token && !a.given_up);
            asked.expect("closed what was not asked").given_up = true;
            seen.closed += 1;
        }
        assert!(self.asked.values().all(|a| a.given_up), "lost with its connection");
        assert_eq!(self.engine().in_flight() + self.engine().abandoned(), 0);
        assert_eq!(self.engine().next_deadline(), None);
    }
}

fn simulate<P: Multiplexed<Frame = Message> + Default>(capacity: usize, effective: usize) {
    let mut seen = Seen::default();
    for seed in 0..10 {
        println!("{} bits, capacity {capacity}, seed {seed}", P::ID_BITS);
        let mut simulation = Simulation::<P>::new(seed, capacity, effective, seed % 2 == 0);
        for _ in 0..STEPS {
            simulation.step(&mut seen);
        }
        simulation.drain(&mut seen);
        simulation.die(&mut seen);
    }
    println!("{seen:?}");
    let Seen { answered, late, unknown, expired, refused, closed } = seen;
    assert!([answered, late, unknown, expired, refused, closed].iter().all(|n| *n > 0));
}

const STEPS: usize = 40_000;

#[test]
fn ids_of_8_bits() {
    simulate::<Ids<8>>(1000, 15);
    simulate::<Ids<8>>(3, 3);
}

#[test]
fn ids_of_16_bits() {
    simulate::<Ids<16>>(32, 32);
}

#[test]
fn ids_of_32_bits() {
    simulate::<Ids<32>>(16, 16);
}

#[test]
fn ids_of_64_bits() {
    simulate::<Ids<64>>(16, 16);
}

/// One request at a time in the same place, until its 16 bits of generation have wrapped thrice, while another place
/// keeps owing its reply.
#[test]
fn ids_of_32_bits_wrap() {
    type P = Ids<32>;
    let mut mux: Mux<u64> = Engine::<P, u64>::with_capacity(usize::MAX);
    let mut owed = Message::new(1, 1);
    let slot = mux.send(&Ids::<32>, &mut owed, Expect::One, None, 1).unwrap();
    assert_eq!(Engine::<P, u64>::abandon(&mut mux, slot), Some(1));
    let mut first = None;
    let mut repeated = 0;
    for nonce in 2..200_000 {
        let mut request = Message::new(nonce, nonce);
        mux.send(&Ids::<32>, &mut request, Expect::One, None, nonce).unwrap();
        assert_ne!(request.id, owed.id);
        repeated += usize::from(*first.get_or_insert(request.id) == request.id);
        let wire_id = request.id;
        let Received::Last(token) = mux.receive(&Ids::<32>, &mut request) else { panic!() };
        assert_eq!((token, request.id), (nonce, nonce));
        request.id = wire_id;
        assert!(matches!(mux.receive(&Ids::<32>, &mut request), Received::Unknown), "twice");
        assert_eq!(Engine::<P, u64>::abandon(&mut mux, slot), None);
    }
    assert_eq!(repeated, 4, "first used, and again after each wrap");
    assert!(matches!(mux.receive(&Ids::<32>, &mut owed), Received::Late));
    assert_eq!(Engine::<P, u64>::abandoned(&mux), 0);
}

/// Narrow ids are spread over the whole id space, so that one comes again as late as can be.
#[test]
fn an_id_of_8_bits_comes_again_after_all_others() {
    let mut mux: Mux<()> = Engine::<Ids<8>, ()>::with_capacity(100);
    let mut ids = Vec::new();
    for _ in 0..15 * 16 {
        let mut request = Message::new(0, 0);
        mux.send(&Ids::<8>, &mut request, Expect::One, None, ()).unwrap();
        ids.push(request.id);
        assert!(matches!(mux.receive(&Ids::<8>, &mut request), Received::Last(())));
    }
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
}
