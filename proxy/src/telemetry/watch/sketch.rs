//! Which of very many things are counted most, in memory for a few.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;

use super::Name;

/// After so long a count weighs half.
pub(super) const HALF_LIFE: Duration = Duration::from_secs(60);

/// After so many half-lives the weights begin anew, before they get too large.
const RESCALE: f64 = 100.0;

/// Counts names by [Space-Saving](https://doi.org/10.1007/978-3-540-30570-5_27), each count losing half of its weight
/// every [`HALF_LIFE`].
///
/// Of `capacity` counters, those that were counted least are taken over by new names, with their counts. So a count is
/// never too small, and too large by its `error` at most, which is at most the sum of all counts / `capacity`; a name that
/// has none was counted no more than the least of the counters.
///
/// What fades is not the counts: newer ones weigh more, by as much as the older ones have faded meanwhile.
#[derive(Debug)]
pub(super) struct Sketch {
    capacity: usize,
    /// The moment at which a count weighs one.
    origin: Instant,
    /// Since when names are counted.
    since: Instant,
    slots: Vec<Slot>,
    places: FxHashMap<Name, usize>,
    /// Slots by their counts, the least first. Counts are positive, and so are ordered as their bits.
    order: BTreeSet<(u64, usize)>,
}

#[derive(Debug)]
struct Slot {
    name: Name,
    count: f64,
    error: f64,
    writes: f64,
}

/// What is known of a name: at the moment when it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Counted {
    pub name: Name,
    /// How often it was counted, faded; not less.
    pub count: f64,
    /// By how much that may be too much.
    pub error: f64,
    /// How many of `count - error` were writes.
    pub writes: f64,
}

/// All that a sketch knows at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub rows: Vec<Counted>,
    /// A name that is not there was counted no more than this.
    pub rest: f64,
    /// How much a steady count of one per second would have come to.
    pub per_second: f64,
}

impl Sketch {
    pub(super) fn new(capacity: usize, now: Instant) -> Self {
        Self {
            capacity,
            origin: now,
            since: now,
            slots: Vec::new(),
            places: FxHashMap::default(),
            order: BTreeSet::new(),
        }
    }

    /// Counts a name once.
    pub(super) fn count(&mut self, name: Name, write: bool, now: Instant) {
        let mut weight = self.weight(now);
        if weight > RESCALE.exp2() {
            self.rescale(now);
            weight = 1.0;
        }
        let writes = if write { weight } else { 0.0 };
        if let Some(&place) = self.places.get(&name) {
            let slot = &mut self.slots[place];
            self.order.remove(&(slot.count.to_bits(), place));
            slot.count += weight;
            slot.writes += writes;
            self.order.insert((slot.count.to_bits(), place));
            return;
        }
        let place = if self.slots.len() < self.capacity {
            self.slots.push(Slot { name: name.clone(), count: weight, error: 0.0, writes });
            self.slots.len() - 1
        } else {
            let Some((_, place)) = self.order.pop_first() else { return };
            let slot = &mut self.slots[place];
            self.places.remove(&slot.name);
            let error = slot.count;
            *slot = Slot { name: name.clone(), count: error + weight, error, writes };
            place
        };
        self.order.insert((self.slots[place].count.to_bits(), place));
        self.places.insert(name, place);
    }

    /// All that is known now.
    pub(super) fn counts(&self, now: Instant) -> Counts {
        let weight = self.weight(now);
        let row = |slot: &Slot| Counted {
            name: slot.name.clone(),
            count: slot.count / weight,
            error: slot.error / weight,
            writes: slot.writes / weight,
        };
        let least = self.order.first().filter(|_| self.slots.len() >= self.capacity);
        let half_lives = now.saturating_duration_since(self.since).div_duration_f64(HALF_LIFE);
        Counts {
            rows: self.slots.iter().map(row).collect(),
            rest: least.map_or(0.0, |(bits, _)| f64::from_bits(*bits) / weight),
            per_second: HALF_LIFE.as_secs_f64() / std::f64::consts::LN_2
                * (1.0 - (-half_lives).exp2()),
        }
    }

    /// What one more count weighs.
    fn weight(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.origin).div_duration_f64(HALF_LIFE).exp2()
    }

    /// Has counts weigh one again. Those that weigh nothing any more are forgotten.
    fn rescale(&mut self, now: Instant) {
        let weight = self.weight(now);
        self.origin = now;
        self.slots.retain_mut(|slot| {
            slot.count /= weight;
            slot.error /= weight;
            slot.writes /= weight;
            slot.count > 1e-9
        });
        let all = || self.slots.iter().enumerate();
        self.order = all().map(|(place, slot)| (slot.count.to_bits(), place)).collect();
        self.places = all().map(|(place, slot)| (slot.name.clone(), place)).collect();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn name(n: u64) -> Name {
        Name::of(format!("key:{n}").as_bytes())
    }

    /// A number from 0 up, small ones more often: as in 1/n.
    fn zipf(rng: &mut fastrand::Rng, max: f64) -> u64 {
        (max.powf(rng.f64()) - 1.0) as u64
    }

    /// Whatever is counted: no count is too small, none too large by more than its error, and no name is missing that
    /// was counted more than the least.
    #[test]
    fn what_it_guarantees_holds() {
        for seed in 0..60 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let start = Instant::now();
            let capacity = rng.usize(1..80);
            let keys = rng.u64(1..2_000);
            let total = rng.usize(1..4_000);
            // Up to thousands of half-lives between two counts.
            let pause = [0, 1, 100_000, 500_000_000][rng.usize(..4)];
            let (mut sketch, mut now) = (Sketch::new(capacity, start), start);
            let mut exact: HashMap<Name, (f64, f64, Instant)> = HashMap::new();
            let fade =
                |from: Instant, to: Instant| (-(to - from).div_duration_f64(HALF_LIFE)).exp2();
            for _ in 0..total {
                now += Duration::from_micros(rng.u64(0..=pause));
                let flat = rng.bool();
                let key = if flat { rng.u64(..keys) } else { zipf(&mut rng, keys as f64) };
                let write = rng.u8(..3) == 0;
                sketch.count(name(key), write, now);
                let (count, writes, at) = exact.entry(name(key)).or_insert((0.0, 0.0, now));
                let faded = fade(*at, now);
                *count = *count * faded + 1.0;
                *writes = *writes * faded + f64::from(u8::from(write));
                *at = now;
            }
            let counts = sketch.counts(now);
            assert!(counts.rows.len() <= capacity && sketch.places.len() == sketch.slots.len());
            let known = |name: &Name| {
                exact.get(name).map_or((0.0, 0.0), |(count, writes, at)| {
                    (count * fade(*at, now), writes * fade(*at, now))
                })
            };
            let close = |a: f64| a * 1e-6 + 1e-6;
            for row in &counts.rows {
                let (count, writes) = known(&row.name);
                let what = format!("seed {seed}: {row:?}, exactly {count} and {writes}");
                assert!(row.count >= count - close(count), "{what}");
                assert!(row.count - row.error <= count + close(count), "{what}");
                assert!(row.writes <= writes + close(writes), "{what}");
            }
            let sum: f64 = exact.keys().map(|name| known(name).0).sum();
            assert!(counts.rest <= sum / capacity as f64 + close(sum), "seed {seed}");
            for name in exact.keys().filter(|name| !counts.rows.iter().any(|it| it.name == **name))
            {
                assert!(known(name).0 <= counts.rest + close(sum), "seed {seed}: {name:?}");
            }
        }
    }

    #[test]
    fn a_steady_rate_is_told_from_the_start_and_fades_when_it_ends() {
        let start = Instant::now();
        let mut sketch = Sketch::new(8, start);
        let mut now = start;
        let rate = |sketch: &Sketch, now| {
            let counts = sketch.counts(now);
            counts.rows[0].count / counts.per_second
        };
        for second in 1..=600 {
            for _ in 0..100 {
                now += Duration::from_millis(10);
                sketch.count(name(1), false, now);
            }
            let rate = rate(&sketch, now);
            assert!((95.0..=105.0).contains(&rate), "{rate} after {second} s");
        }
        let faded = rate(&sketch, now + 5 * HALF_LIFE);
        assert!((3.0..3.3).contains(&faded), "{faded}");
        assert!(rate(&sketch, now + 200 * HALF_LIFE) < 1e-9);
        // What was counted long ago takes no place from what is counted now.
        let now = now + 200 * HALF_LIFE;
        sketch.count(name(2), true, now);
        let counts = sketch.counts(now);
        assert_eq!(counts.rows.len(), 1);
        assert_eq!((&counts.rows[0].name, counts.rows[0].writes), (&name(2), 1.0));
    }
}
