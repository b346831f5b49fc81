//! Counting over time in single atomics, for any number of threads.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Turns instants into the time since the first one that was seen, since an [`Instant`] does not fit an atomic.
#[derive(Debug, Default)]
pub(super) struct Epoch(OnceLock<Instant>);

impl Epoch {
    /// The time since the first instant seen; zero for earlier ones.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.0.get_or_init(|| now))
    }

    /// The same in nanoseconds, which last for 584 years.
    pub(super) fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(self.elapsed(now).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A rate with bursts, by the generic cell rate algorithm: in any span of `t` seconds at most `per_second * t + burst`
/// are admitted.
///
/// What it remembers is one number, the theoretical arrival time of the next request, kept by the caller. A number that
/// is not in the future means the same as zero.
#[derive(Debug, PartialEq)]
pub(super) struct Rate {
    /// Nanoseconds from one request to the next at the full rate.
    interval: u64,
    /// How far the arrival time may be ahead.
    tolerance: u64,
}

impl Rate {
    pub(super) fn new(per_second: f64, burst: u32) -> Self {
        // Rounded up, so that no more than the rate is admitted. Float to integer casts saturate.
        let interval = ((1e9 / per_second).ceil() as u64).max(1);
        let tolerance = interval.saturating_mul(u64::from(burst.max(1) - 1));
        Self { interval, tolerance }
    }

    /// Whether one more may pass at `now`, in nanoseconds.
    pub(super) fn admit(&self, arrival: &AtomicU64, now: u64) -> bool {
        let next = |arrival: u64| {
            let start = arrival.max(now);
            if start - now > self.tolerance { None } else { start.checked_add(self.interval) }
        };
        arrival.fetch_update(Relaxed, Relaxed, next).is_ok()
    }
}

/// How many seconds a [`Window`] looks back, the present one included.
pub(super) const WINDOW_SECONDS: usize = 10;

/// A count of what happened in the last [`WINDOW_SECONDS`]: a ring with a second in each slot, the second's number in
/// the upper half and its count in the lower.
#[derive(Debug, Default)]
pub(super) struct Window([AtomicU64; WINDOW_SECONDS]);

impl Window {
    pub(super) fn add(&self, second: u32) {
        let next = |seen: u64| {
            // A thread with an older time counts into the newer second.
            if (seen >> 32) < u64::from(second) {
                Some(u64::from(second) << 32 | 1)
            } else {
                Some(seen + 1)
            }
        };
        let _ = self.slot(second).fetch_update(Relaxed, Relaxed, next);
    }

    /// Undoes one [`add`](Self::add).
    pub(super) fn take_back(&self, second: u32) {
        let next = |seen: u64| (seen as u32 > 0).then(|| seen - 1);
        let _ = self.slot(second).fetch_update(Relaxed, Relaxed, next);
    }

    pub(super) fn total(&self, second: u32) -> u64 {
        let counted = self.0.iter().map(|slot| slot.load(Relaxed));
        let recent =
            counted.filter(|s| u64::from(second).saturating_sub(s >> 32) < WINDOW_SECONDS as u64);
        recent.map(|slot| slot & u64::from(u32::MAX)).sum()
    }

    fn slot(&self, second: u32) -> &AtomicU64 {
        &self.0[second as usize % WINDOW_SECONDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn burst_then_rate() {
        let rate = Rate::new(10.0, 3);
        let arrival = AtomicU64::new(0);
        let at = |now| rate.admit(&arrival, now);
        assert_eq!([at(0), at(0), at(0), at(0)], [true, true, true, false]);
        assert!(!at(SECOND / 10 - 1));
        assert_eq!([at(SECOND / 10), at(SECOND / 10)], [true, false]);
        assert_eq!([at(SECOND), at(SECOND), at(SECOND), at(SECOND)], [true, true, true, false]);
    }

    #[test]
    fn never_more_than_the_rate_and_a_burst_in_any_span() {
        for seed in 0..50 {
            println!("seed {seed}");
            let mut rng = fastrand::Rng::with_seed(seed);
            let per_second = 0.5 + rng.f64() * 500.0;
            let burst = rng.u32(1..50);
            let rate = Rate::new(per_second, burst);
            let arrival = AtomicU64::new(0);
            let (mut now, mut admitted) = (0, Vec::new());
            for _ in 0..2000 {
                now += rng.u64(0..(2.0 * 1e9 / per_second) as u64) * u64::from(rng.bool());
                if rate.admit(&arrival, now) {
                    admitted.push(now);
                }
            }
            for first in 0..admitted.len() {
                for last in first..admitted.len() {
                    let seconds = (admitted[last] - admitted[first]) as f64 / 1e9;
                    let most = per_second * seconds + f64::from(burst);
                    assert!((last - first + 1) as f64 <= most + 1e-6, "{first} {last}");
                }
            }
        }
    }

    #[test]
    fn no_less_than_the_rate_when_more_is_asked_for() {
        for per_second in [0.3, 1.0, 7.0, 999.0, 300_000.0] {
            let rate = Rate::new(per_second, 1);
            let arrival = AtomicU64::new(0);
            let step = (1e9 / per_second / 100.0) as u64;
            let admitted = (0..100_000).filter(|n| rate.admit(&arrival, n * step)).count();
            assert!((980..=1000).contains(&admitted), "{admitted} at {per_second} per second");
        }
    }

    #[test]
    fn extreme_rates_saturate() {
        let slow = Rate::new(1e-12, u32::MAX);
        let arrival = AtomicU64::new(0);
        assert!(slow.admit(&arrival, 0));
        assert!(!slow.admit(&arrival, u64::MAX - 1), "its interval is past the end of time");
        let fast = Rate::new(1e12, 1);
        let arrival = AtomicU64::new(0);
        assert!(fast.admit(&arrival, 0) && !fast.admit(&arrival, 0) && fast.admit(&arrival, 1));
    }

    #[test]
    fn threads_share_a_rate() {
        let rate = Rate::new(1.0, 1000);
        let arrival = AtomicU64::new(0);
        let admitted: usize = std::thread::scope(|scope| {
            let count = || (0..1000).filter(|_| rate.admit(&arrival, 5)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(admitted, 1000);
    }

    #[test]
    fn window_forgets() {
        let window = Window::default();
        window.add(0);
        window.add(0);
        window.add(3);
        assert_eq!([0, 3, 9, 10, 12, 13].map(|s| window.total(s)), [3, 3, 3, 1, 1, 0]);
        window.add(10);
        assert_eq!(window.total(10), 2);
        window.add(0);
        assert_eq!(window.total(10), 3, "an older time counts into the newer second");
        window.take_back(3);
        window.take_back(3);
        assert_eq!(window.total(10), 2);
    }

    #[test]
    fn time_before_the_epoch_is_zero() {
        let epoch = Epoch::default();
        let start = Instant::now() + Duration::from_secs(5);
        assert_eq!(epoch.nanos(start), 0);
        assert_eq!(epoch.nanos(start + Duration::from_nanos(7)), 7);
        assert_eq!(epoch.nanos(start - Duration::from_secs(1)), 0);
    }
}
