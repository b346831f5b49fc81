//! The largest of very many things, in memory for a few.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::Name;

/// What was seen is forgotten after this long at the least, and after twice as long at the most.
pub(super) const KEPT: Duration = Duration::from_secs(300);

/// The names whose sizes were the largest lately.
#[derive(Debug)]
pub(super) struct Largest {
    capacity: usize,
    /// Since when `current` is filled.
    since: Instant,
    current: FxHashMap<Name, Size>,
    previous: FxHashMap<Name, Size>,
    /// Nothing up to this size finds room in `current`; 0 while it has room.
    least: usize,
}

/// How large something was, and of which method the request was that showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub bytes: usize,
    pub method: Box<str>,
}

impl Largest {
    pub(super) fn new(capacity: usize, now: Instant) -> Self {
        Self {
            capacity,
            since: now,
            current: FxHashMap::default(),
            previous: FxHashMap::default(),
            least: 0,
        }
    }

    /// Takes note of a size.
    pub(super) fn see(&mut self, name: &Name, bytes: usize, method: &str, now: Instant) {
        self.turn(now);
        if bytes <= self.least {
            return;
        }
        if let Some(size) = self.current.get_mut(name) {
            if bytes > size.bytes {
                *size = Size { bytes, method: method.into() };
            }
        } else {
            if self.current.len() >= self.capacity {
                let least = self.current.iter().min_by_key(|(_, size)| size.bytes);
                if let Some(name) = least.map(|(name, _)| name.clone()) {
                    self.current.remove(&name);
                }
            }
            self.current.insert(name.clone(), Size { bytes, method: method.into() });
        }
        if self.current.len() >= self.capacity {
            self.least = self.current.values().map(|size| size.bytes).min().unwrap_or(0);
        }
    }

    /// The names and their largest sizes.
    pub(super) fn rows(&mut self, now: Instant) -> Vec<(Name, Size)> {
        self.turn(now);
        let mut rows = self.previous.clone();
        for (name, size) in &self.current {
            let known = rows.entry(name.clone()).or_insert_with(|| size.clone());
            if size.bytes > known.bytes {
                *known = size.clone();
            }
        }
        rows.into_iter().collect()
    }

    /// Forgets what is old.
    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age < KEPT {
            return;
        }
        self.previous = std::mem::take(&mut self.current);
        if age >= 2 * KEPT {
            self.previous.clear();
        }
        (self.since, self.least) = (now, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u64) -> Name {
        Name::of(format!("key:{n}").as_bytes())
    }

    fn sizes(largest: &mut Largest, now: Instant) -> Vec<usize> {
        let mut sizes: Vec<_> = largest.rows(now).into_iter().map(|(_, it)| it.bytes).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes
    }

    #[test]
    fn the_largest_are_found_exactly() {
        for seed in 0..20 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let now = Instant::now();
            let capacity = rng.usize(1..40);
            let mut largest = Largest::new(capacity, now);
            let mut exact: FxHashMap<Name, usize> = FxHashMap::default();
            for _ in 0..2_000 {
                let (name, bytes) = (name(rng.u64(..300)), rng.usize(1..1_000_000));
                largest.see(&name, bytes, "GET", now);
                let known = exact.entry(name).or_default();
                *known = bytes.max(*known);
            }
            let mut want: Vec<_> = exact.into_values().collect();
            want.sort_unstable_by(|a, b| b.cmp(a));
            want.truncate(capacity);
            assert_eq!(sizes(&mut largest, now), want, "seed {seed}");
        }
    }

    #[test]
    fn what_is_not_seen_any_more_is_forgotten() {
        let start = Instant::now();
        let mut largest = Largest::new(2, start);
        largest.see(&name(1), 100, "SET", start);
        largest.see(&name(2), 200, "SET", start);
        largest.see(&name(3), 300, "SET", start);
        assert_eq!(sizes(&mut largest, start), [300, 200]);
        let later = start + KEPT;
        largest.see(&name(2), 50, "GET", later);
        assert_eq!(sizes(&mut largest, later), [300, 200]);
        assert_eq!(sizes(&mut largest, later + KEPT), [50]);
        assert_eq!(sizes(&mut largest, later + 2 * KEPT), [0usize; 0]);
        largest.see(&name(4), 10, "GET", later + 10 * KEPT);
        assert_eq!(
            largest.rows(later + 10 * KEPT),
            [(name(4), Size { bytes: 10, method: "GET".into() })]
        );
    }
}
