use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

/// How many connections of a cluster are held for sessions' state, of all workers. Counted only where that is bounded.
#[derive(Debug, Default)]
pub struct Held(Arc<AtomicU32>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct HeldPermit(Arc<AtomicU32>);

impl Held {
    /// One, if there are less than `max` yet.
    pub fn try_one(&self, max: u32) -> Option<HeldPermit> {
        let more = |held| (held < max).then_some(held + 1);
        self.0.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(HeldPermit(self.0.clone()))
    }

    /// One that is held already, however many there are.
    pub fn one(&self) -> HeldPermit {
        self.0.fetch_add(1, Relaxed);
        HeldPermit(self.0.clone())
    }
}

impl Drop for HeldPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asked_for_counts_too() {
        let held = Held::default();
        let one = held.try_one(2).expect("there are none");
        let other = held.one();
        assert!(held.try_one(2).is_none());
        let third = held.one();
        drop(one);
        assert!(held.try_one(2).is_none());
        drop(third);
        assert!(held.try_one(2).is_some());
        drop(other);
        assert!(held.try_one(0).is_none() && held.try_one(1).is_some());
    }
}
