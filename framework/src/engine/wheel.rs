use std::{
    mem,
    time::{Duration, Instant},
};

/// Deadlines in a hashed timer wheel: doubly linked lists over the indices of one slab.
///
/// Setting and clearing are O(1) and allocate nothing once the slab has grown. An entry farther away than a revolution
/// (4.3 s) stays in its bucket and is passed over until its time has come. Deadlines are kept exactly; the tick only
/// decides the bucket.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// Times are nanoseconds from here: the first deadline ever set, since there is no clock to ask.
    base: Option<Instant>,
    nodes: Vec<Node>,
    free: u32,
    /// The first node of each bucket and, last, of the list of entries found due. Empty until a deadline is set.
    heads: Vec<u32>,
    /// A bit for each bucket that has a node.
    occupied: [u64; WORDS],
    /// At or before every deadline that is set; `i64::MAX` when none is.
    earliest: i64,
    len: usize,
}

/// A deadline that was set, or [`Timer::NONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timer(u32);

#[derive(Debug)]
struct Node {
    at: i64,
    key: u64,
    /// The node before, or `HEAD` and the list's number where there is none.
    prev: u32,
    /// The node behind, or `NIL`; of a free node, the next free one.
    next: u32,
}

impl Timer {
    /// No deadline; clearing it does nothing.
    pub(crate) const NONE: Self = Self(NIL);
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self {
            base: None,
            nodes: Vec::new(),
            free: NIL,
            heads: Vec::new(),
            occupied: [0; WORDS],
            earliest: i64::MAX,
            len: 0,
        }
    }

    /// Sets a deadline. `key` is what [`expire`](Self::expire) will answer.
    #[inline]
    pub(crate) fn set(&mut self, deadline: Instant, key: u64) -> Timer {
        let at = offset(*self.base.get_or_insert(deadline), deadline);
        if self.heads.is_empty() {
            self.heads.resize(BUCKETS.saturating_add(1), NIL);
        }
        let index = match self.nodes.get_mut(self.free as usize) {
            Some(node) => {
                node.at = at;
                node.key = key;
                mem::replace(&mut self.free, node.next)
            }
            None => {
                let index = self.nodes.len() as u32;
                self.nodes.push(Node { at, key, prev: NIL, next: NIL });
                index
            }
        };
        self.link(index, bucket(tick(at)));
        self.earliest = self.earliest.min(at);
        self.len = self.len.saturating_add(1);
        Timer(index)
    }

    /// Clears a deadline that is set. Each [`Timer`] may be cleared once, and not after it was expired.
    #[inline]
    pub(crate) fn clear(&mut self, timer: Timer) {
        if timer != Timer::NONE {
            self.unlink(timer.0);
            self.release(timer.0);
        }
    }

    /// Clears one deadline at or before `now` and answers its key.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<u64> {
        let now = offset(self.base?, now);
        if now < self.earliest {
            return None;
        }
        if self.first(DUE) == NIL {
            self.sweep(now);
        }
        let index = self.first(DUE);
        let Some(node) = self.nodes.get(index as usize) else {
            self.earliest = self.find_earliest(now);
            return None;
        };
        let key = node.key;
        self.unlink(index);
        self.release(index);
        Some(key)
    }

    /// A time at or before the earliest deadline, and exactly it unless that one was cleared.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let base = self.base?;
        if self.len == 0 {
            return None;
        }
        let distance = Duration::from_nanos(self.earliest.unsigned_abs());
        let at =
            if self.earliest < 0 { base.checked_sub(distance) } else { base.checked_add(distance) };
        Some(at.unwrap_or(base))
    }

    /// Moves what is due to the list of its own, so that a bucket is walked once however many of it are due.
    fn sweep(&mut self, now: i64) {
        let mut from = tick(self.earliest);
        let until = tick(now).min(from.saturating_add(LAST));
        while let Some(at) = self.next_occupied(from, until) {
            let mut index = self.first(bucket(at));
            while let Some(node) = self.nodes.get(index as usize) {
                let (due, next) = (node.at <= now, node.next);
                if due {
                    self.unlink(index);
                    self.link(index, DUE);
                }
                index = next;
            }
            from = at.saturating_add(1);
        }
    }

    /// The earliest deadline, given that all are after `now`.
    fn find_earliest(&self, now: i64) -> i64 {
        let mut from = tick(now);
        let until = from.saturating_add(LAST);
        let mut later = i64::MAX;
        while let Some(at) = self.next_occupied(from, until) {
            let mut nearest = i64::MAX;
            let mut index = self.first(bucket(at));
            while let Some(node) = self.nodes.get(index as usize) {
                if tick(node.at) == at {
                    nearest = nearest.min(node.at);
                } else {
                    later = later.min(node.at);
                }
                index = node.next;
            }
            if nearest != i64::MAX {
                return nearest;
            }
            from = at.saturating_add(1);
        }
        later
    }

    /// The first tick in `from..=until`, at most a revolution, whose bucket has a node.
    fn next_occupied(&self, from: i64, until: i64) -> Option<i64> {
        let start = bucket(from);
        let from_start = u64::MAX.wrapping_shl(start);
        for step in 0..=WORDS {
            let index = (start as usize / 64).wrapping_add(step) % WORDS;
            let mask = match step {
                0 => from_start,
                WORDS => !from_start,
                _ => u64::MAX,
            };
            let word = self.occupied.get(index).copied().unwrap_or_default() & mask;
            if word != 0 {
                let found = (index as u32).wrapping_mul(64).wrapping_add(word.trailing_zeros());
                let distance = bucket(i64::from(found.wrapping_sub(start)));
                return Some(from.saturating_add(i64::from(distance))).filter(|at| *at <= until);
            }
        }
        None
    }

    fn first(&self, list: u32) -> u32 {
        self.heads.get(list as usize).copied().unwrap_or(NIL)
    }

    #[inline]
    fn link(&mut self, index: u32, list: u32) {
        let Some(head) = self.heads.get_mut(list as usize) else { return };
        let next = mem::replace(head, index);
        if let Some(node) = self.nodes.get_mut(index as usize) {
            node.prev = HEAD | list;
            node.next = next;
        }
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.prev = index;
        }
        if let Some(word) = self.occupied.get_mut(list as usize / 64) {
            *word |= 1u64.wrapping_shl(list);
        }
    }

    #[inline]
    fn unlink(&mut self, index: u32) {
        let Some(&Node { prev, next, .. }) = self.nodes.get(index as usize) else { return };
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.prev = prev;
        }
        if prev & HEAD == 0 {
            if let Some(node) = self.nodes.get_mut(prev as usize) {
                node.next = next;
            }
            return;
        }
        let list = prev & !HEAD;
        if let Some(head) = self.heads.get_mut(list as usize) {
            *head = next;
        }
        if next == NIL
            && let Some(word) = self.occupied.get_mut(list as usize / 64)
        {
            *word &= !1u64.wrapping_shl(list);
        }
    }

    #[inline]
    fn release(&mut self, index: u32) {
        if let Some(node) = self.nodes.get_mut(index as usize) {
            node.next = mem::replace(&mut self.free, index);
        }
        self.len = self.len.saturating_sub(1);
        if self.len == 0 {
            self.earliest = i64::MAX;
        }
    }
}

/// No node.
const NIL: u32 = u32::MAX;
/// Marks, in `prev`, the first node of a list.
const HEAD: u32 = 1 << 31;
/// A tick is 2^22 ns, 4.2 ms.
const TICK_BITS: u32 = 22;
const BUCKETS: usize = 1024;
const WORDS: usize = BUCKETS / 64;
/// The list of entries found due.
const DUE: u32 = BUCKETS as u32;
/// From a revolution's first tick to its last.
const LAST: i64 = BUCKETS as i64 - 1;
/// Farther deadlines (146 years) are taken as this far.
const FARTHEST: i64 = i64::MAX / 2;

#[inline]
fn tick(at: i64) -> i64 {
    at >> TICK_BITS
}

#[inline]
fn bucket(tick: i64) -> u32 {
    (tick & LAST) as u32
}

/// Nanoseconds from `base` to `at`.
#[inline]
fn offset(base: Instant, at: Instant) -> i64 {
    let nanos = |d: Duration| {
        let whole = d.as_secs().saturating_mul(1_000_000_000);
        i64::try_from(whole).map_or(FARTHEST, |whole| {
            whole.saturating_add(i64::from(d.subsec_nanos())).min(FARTHEST)
        })
    };
    match at.checked_duration_since(base) {
        Some(after) => nanos(after),
        None => nanos(base.saturating_duration_since(at)).saturating_neg(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn agrees_with_a_sorted_map() {
        for seed in 0..20 {
            println!("seed {seed}");
            let mut rng = fastrand::Rng::with_seed(seed);
            let start = Instant::now();
            let (mut wheel, mut model, mut now) = (Wheel::new(), BTreeMap::new(), start);
            let mut high = 0;
            for key in 0..20_000u64 {
                match rng.u32(..10) {
                    0..4 => {
                        // Mostly within a revolution, some far beyond it, some in the past.
                        let ahead = match rng.u32(..8) {
                            0 => rng.u64(..60_000_000_000),
                            1 => 0,
                            _ => rng.u64(..3_000_000_000),
                        };
                        let deadline = if rng.u32(..20) == 0 {
                            now - Duration::from_nanos(ahead)
                        } else {
                            now + Duration::from_nanos(ahead)
                        };
                        model.insert((deadline, key), wheel.set(deadline, key));
                        high = high.max(model.len());
                    }
                    4..8 => {
                        let nth = rng.usize(..model.len().clamp(1, 50));
                        if let Some((&entry, &timer)) = model.iter().nth(nth) {
                            wheel.clear(timer);
                            model.remove(&entry);
                        }
                    }
                    _ => {
                        now += Duration::from_nanos(match rng.u32(..50) {
                            0 => rng.u64(..20_000_000_000),
                            _ => rng.u64(..30_000_000),
                        });
                        let mut expired = Vec::new();
                        while let Some(key) = wheel.expire(now) {
                            expired.push(key);
                        }
                        expired.sort_unstable();
                        let mut due: Vec<_> =
                            model.extract_if(..=(now, u64::MAX), |_, _| true).collect();
                        due.sort_unstable_by_key(|((_, key), _)| *key);
                        assert_eq!(expired, due.iter().map(|((_, k), _)| *k).collect::<Vec<_>>());
                        let next = model.keys().next().map(|(deadline, _)| *deadline);
                        assert!(wheel.next_deadline().is_none_or(|at| at > now));
                        if !due.is_empty() {
                            assert_eq!(wheel.next_deadline(), next, "a timer would fire in vain");
                        }
                    }
                }
                match (wheel.next_deadline(), model.keys().next()) {
                    (None, None) => {}
                    (Some(at), Some((deadline, _))) => assert!(at <= *deadline),
                    (at, deadline) => panic!("{at:?} for {deadline:?}"),
                }
                assert_eq!(wheel.len, model.len());
            }
            assert_eq!(wheel.nodes.len(), high, "the slab grows to the peak and no farther");
        }
    }

    #[test]
    fn a_deadline_of_centuries_is_kept() {
        let now = Instant::now();
        let mut wheel = Wheel::new();
        wheel.set(now, 1);
        wheel.set(now + Duration::from_secs(u64::from(u32::MAX) * 4), 2);
        assert_eq!(wheel.expire(now), Some(1));
        assert_eq!(wheel.expire(now + Duration::from_secs(1 << 30)), None);
        assert!(wheel.next_deadline().is_some_and(|at| at > now));
    }
}
