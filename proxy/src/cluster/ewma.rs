use std::cell::Cell;
use std::time::{Duration, Instant};

/// The latency of late: it rises at once to every peak, and decays from there.
#[derive(Debug, Default)]
pub(super) struct PeakEwma {
    /// Seconds; 0 before the first sample.
    value: Cell<f64>,
    at: Cell<Option<Instant>>,
}

/// The value falls to 1/e in this many seconds.
const DECAY: f64 = 10.0;

/// Seconds. A failure counts as a latency of at least the first, and never raises the value above the second by itself.
const FAILURE: (f64, f64) = (0.01, 10.0);

impl PeakEwma {
    /// A failure may be quick, which is no merit: it counts as slower than what came before.
    pub(super) fn record(&self, now: Instant, latency: Duration, ok: bool) {
        let value = self.value.get() * self.fade(now);
        let mut sample = latency.as_secs_f64();
        if !ok {
            sample = sample.max((2.0 * value).clamp(FAILURE.0, FAILURE.1));
        }
        // 0 is "unknown".
        self.value.set(value.max(sample).max(f64::MIN_POSITIVE));
        self.at.set(Some(now));
    }

    /// The value; `idle`: nothing is in flight, so that it may fade, and an endpoint that once was slow gets another try.
    pub(super) fn get(&self, now: Instant, idle: bool) -> f64 {
        let value = self.value.get();
        if idle && value > 0.0 { value * self.fade(now) } else { value }
    }

    fn fade(&self, now: Instant) -> f64 {
        // As for all but the first of the replies that one read brings.
        let Some(at) = self.at.get().filter(|at| *at != now) else { return 1.0 };
        let age = now.saturating_duration_since(at);
        (-age.as_secs_f64() / DECAY).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn rises_at_once_and_falls_slowly() {
        let (ewma, start) = (PeakEwma::default(), Instant::now());
        ewma.record(start, 10 * MS, true);
        ewma.record(start, 100 * MS, true);
        assert_eq!(ewma.get(start, false), 0.1);
        ewma.record(start + Duration::from_secs(1), 10 * MS, true);
        let value = ewma.get(start, false);
        assert!((0.09..0.092).contains(&value), "{value}");
        ewma.record(start + Duration::from_secs(60), 10 * MS, true);
        let value = ewma.get(start, false);
        assert!((0.01..0.011).contains(&value), "{value}");
    }

    #[test]
    fn fades_only_while_idle() {
        let (ewma, start) = (PeakEwma::default(), Instant::now());
        ewma.record(start, 100 * MS, true);
        let later = start + Duration::from_secs(10);
        assert_eq!(ewma.get(later, false), 0.1);
        let faded = ewma.get(later, true);
        assert!((0.036..0.037).contains(&faded), "{faded}");
    }

    #[test]
    fn a_quick_failure_raises_it() {
        let (ewma, start) = (PeakEwma::default(), Instant::now());
        ewma.record(start, MS, false);
        assert_eq!(ewma.get(start, false), 0.01);
        ewma.record(start, MS, false);
        assert_eq!(ewma.get(start, false), 0.02);
        for _ in 0..20 {
            ewma.record(start, MS, false);
        }
        assert_eq!(ewma.get(start, false), 10.0);
    }
}
