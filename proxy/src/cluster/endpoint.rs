use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::address::Address;
use super::gauge::Tally;

/// One address of a cluster, and what all workers know about it.
///
/// It keeps its identity (and so its state) for as long as the address stays in the cluster, across resolutions and
/// reloads. Reading is a few relaxed loads; writing happens on changes only.
#[derive(Debug)]
pub struct Endpoint {
    id: u64,
    address: Address,
    label: Arc<str>,
    weight: AtomicU32,
    /// The zero of the moments below. They are in milliseconds after it, plus one; 0 is "never".
    born: Instant,
    unhealthy: AtomicBool,
    failures: AtomicU32,
    ejected_until: AtomicU64,
    draining_until: AtomicU64,
    warming_since: AtomicU64,
    ejections: AtomicU32,
    /// Health check results in a row that speak against the present state.
    contrary: AtomicU32,
    in_flight: Mutex<Vec<Weak<Tally>>>,
}

/// The longest ejection, unless the configured one is longer.
const MAX_EJECTION: Duration = Duration::from_secs(300);

impl Endpoint {
    /// A new identity. `warm`: takes its full share at once, without a slow start.
    pub(super) fn new(address: Address, weight: u32, warm: bool, now: Instant) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Relaxed),
            label: address.to_string().into(),
            address,
            weight: AtomicU32::new(weight),
            born: now,
            unhealthy: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            draining_until: AtomicU64::new(0),
            warming_since: AtomicU64::new(u64::from(!warm)),
            ejections: AtomicU32::new(0),
            contrary: AtomicU32::new(0),
            in_flight: Mutex::default(),
        }
    }

    /// Unique in the process, never reused.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where to connect.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The address as text, for metrics and logs.
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// The configured weight, at least 1.
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    /// True when new requests may go here: not failed by health checks, not ejected, not draining.
    pub fn is_available(&self, now: Instant) -> bool {
        self.is_healthy() && self.suspension(now).is_zero()
    }

    /// What the active health checks say. True where there are none.
    pub fn is_healthy(&self) -> bool {
        !self.unhealthy.load(Relaxed)
    }

    /// True while the endpoint is ejected for its failures.
    pub fn is_ejected(&self, now: Instant) -> bool {
        !self.left(&self.ejected_until, now).is_zero()
    }

    /// True for a while after the endpoint said go-away.
    pub fn is_draining(&self, now: Instant) -> bool {
        !self.left(&self.draining_until, now).is_zero()
    }

    /// How long the endpoint is still to be left alone, because of ejection or draining.
    pub(super) fn suspension(&self, now: Instant) -> Duration {
        self.left(&self.ejected_until, now).max(self.left(&self.draining_until, now))
    }

    /// How long the ejection still lasts.
    pub fn ejected_for(&self, now: Instant) -> Duration {
        self.left(&self.ejected_until, now)
    }

    /// Failures in a row, up to now.
    pub fn failures(&self) -> u32 {
        self.failures.load(Relaxed)
    }

    /// Ejections of late; quiet time after the last one reduces it.
    pub fn ejections(&self) -> u32 {
        self.ejections.load(Relaxed)
    }

    /// Requests in flight, of all workers.
    pub fn in_flight(&self) -> u32 {
        self.tallies().iter().filter_map(Weak::upgrade).map(|tally| tally.get()).sum()
    }

    /// A request succeeded (or failed in a way that the endpoint is not to blame for).
    pub fn on_success(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// The endpoint said go-away: new requests go elsewhere for `time`, if there is an elsewhere.
    ///
    /// It ends by itself, because an endpoint that gets no requests gets no connections either, and could never tell that
    /// it is back.
    pub fn drain(&self, now: Instant, time: Duration) {
        self.draining_until.store(self.moment(now + time), Relaxed);
    }

    /// One result of an active health check, with the number of results in a row that change the state. Returns true when
    /// it changed. Called by one thread only.
    pub fn on_health(&self, ok: bool, healthy: u32, unhealthy: u32, now: Instant) -> bool {
        if ok == self.is_healthy() {
            self.contrary.store(0, Relaxed);
            return false;
        }
        let contrary = self.contrary.load(Relaxed) + 1;
        if contrary < if ok { healthy } else { unhealthy } {
            self.contrary.store(contrary, Relaxed);
            return false;
        }
        self.contrary.store(0, Relaxed);
        if ok {
            self.warming_since.store(self.moment(now), Relaxed);
        }
        self.unhealthy.store(!ok, Relaxed);
        true
    }

    /// Forgets what health checks said, when they are switched off.
    pub(super) fn reset_health(&self) {
        self.contrary.store(0, Relaxed);
        self.unhealthy.store(false, Relaxed);
    }

    /// Counts a failure; true when it makes `threshold` of them in a row.
    pub(super) fn count_failure(&self, threshold: u32) -> bool {
        // Every further failure asks again: an ejection that was refused may be possible by now.
        self.failures.fetch_add(1, Relaxed).saturating_add(1) >= threshold
    }

    /// Ejects: for `base` the first time, twice as long each further time. The caller holds the cluster's ejection lock.
    pub(super) fn eject(&self, now: Instant, base: Duration) -> Duration {
        let quiet = self.moment(now).saturating_sub(self.ejected_until.load(Relaxed));
        let forgiven = quiet / millis(base).max(1);
        let before = u64::from(self.ejections.load(Relaxed)).saturating_sub(forgiven);
        let factor = 1u32 << before.min(16);
        let time = base.saturating_mul(factor).min(MAX_EJECTION.max(base));
        self.ejections.store(u32::try_from(before + 1).unwrap_or(u32::MAX), Relaxed);
        self.failures.store(0, Relaxed);
        let until = self.moment(now + time);
        self.ejected_until.store(until, Relaxed);
        self.warming_since.store(until, Relaxed);
        time
    }

    /// The share of its weight that the endpoint takes, from 0.1 to 1: it grows with time, over `window`.
    pub(super) fn ramp(&self, now: Instant, window: Duration) -> f64 {
        let since = self.warming_since.load(Relaxed);
        if since == 0 || window.is_zero() {
            return 1.0;
        }
        let warm = self.moment(now).saturating_sub(since) as f64 / millis(window).max(1) as f64;
        warm.clamp(0.1, 1.0)
    }

    pub(super) fn set_weight(&self, weight: u32) {
        self.weight.store(weight, Relaxed);
    }

    /// A worker's own count of requests in flight, included in [`Endpoint::in_flight`] until it is dropped.
    pub(super) fn tally(&self) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        let mut tallies = self.tallies();
        tallies.retain(|other| other.strong_count() > 0);
        tallies.push(Arc::downgrade(&tally));
        tally
    }

    fn tallies(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Tally>>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self, until: &AtomicU64, now: Instant) -> Duration {
        match until.load(Relaxed) {
            0 => Duration::ZERO,
            until => Duration::from_millis(until.saturating_sub(self.moment(now))),
        }
    }

    fn moment(&self, at: Instant) -> u64 {
        millis(at.saturating_duration_since(self.born)).saturating_add(1)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
