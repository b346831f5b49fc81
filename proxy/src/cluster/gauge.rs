//! Counters that all workers share.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// A bounded number of permits. A permit is only a count: who takes one gives it back by [`Gauge::release`].
#[derive(Debug)]
pub struct Gauge {
    used: AtomicU32,
    max: AtomicU32,
    refused: AtomicU64,
}

impl Gauge {
    /// A gauge that gives out at most `max` permits at a time.
    pub fn new(max: u32) -> Self {
        Self { used: AtomicU32::new(0), max: AtomicU32::new(max), refused: AtomicU64::new(0) }
    }

    /// Takes one permit, or counts a refusal.
    pub fn try_acquire(&self) -> bool {
        self.take(1) == 1
    }

    /// Gives one permit back.
    pub fn release(&self) {
        self.put(1);
    }

    /// Takes up to `wanted` permits; 0 is a refusal, and counted.
    pub(super) fn take(&self, wanted: u32) -> u32 {
        let max = self.max.load(Relaxed);
        let mut used = self.used.load(Relaxed);
        loop {
            let got = wanted.min(max.saturating_sub(used));
            if got == 0 {
                self.refused.fetch_add(1, Relaxed);
                return 0;
            }
            match self.used.compare_exchange_weak(used, used + got, Relaxed, Relaxed) {
                Ok(_) => return got,
                Err(actual) => used = actual,
            }
        }
    }

    /// Gives `count` permits back.
    pub(super) fn put(&self, count: u32) {
        let before = self.used.fetch_sub(count, Relaxed);
        debug_assert!(before >= count, "more permits released than taken");
    }

    /// Permits out now.
    pub fn used(&self) -> u32 {
        self.used.load(Relaxed)
    }

    /// The bound.
    pub fn max(&self) -> u32 {
        self.max.load(Relaxed)
    }

    /// How often a permit was refused, ever.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Changes the bound. Permits that are out stay valid, even above the new bound.
    pub fn set_max(&self, max: u32) {
        self.max.store(max, Relaxed);
    }
}

/// A count with one writer and any number of readers: plain loads and stores, no read-modify-write.
///
/// On a cache line of its own, so that workers do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Tally(AtomicU32);

impl Tally {
    /// Only the owning worker calls this.
    pub(super) fn add(&self) {
        self.0.store(self.get() + 1, Relaxed);
    }

    /// Only the owning worker calls this.
    pub(super) fn subtract(&self) {
        debug_assert!(self.get() > 0, "finished more than was started");
        self.0.store(self.get().saturating_sub(1), Relaxed);
    }

    pub(super) fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_is_exact() {
        let gauge = Gauge::new(3);
        assert!(gauge.try_acquire());
        assert_eq!(gauge.take(5), 2);
        assert!(!gauge.try_acquire());
        assert_eq!(gauge.refused(), 1);
        gauge.release();
        assert!(gauge.try_acquire());
        assert_eq!(gauge.used(), 3);
    }

    #[test]
    fn a_lowered_bound_refuses_until_permits_come_back() {
        let gauge = Gauge::new(3);
        assert_eq!(gauge.take(3), 3);
        gauge.set_max(1);
        gauge.put(2);
        assert!(!gauge.try_acquire());
        gauge.release();
        assert!(gauge.try_acquire());
    }

    #[test]
    fn threads_never_exceed_the_bound() {
        let gauge = Gauge::new(7);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if gauge.try_acquire() {
                            assert!(gauge.used() <= 7);
                            gauge.release();
                        }
                    }
                });
            }
        });
        assert_eq!(gauge.used(), 0);
    }
}
