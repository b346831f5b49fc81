use std::time::{Duration, Instant};

/// When a connection is probed and when it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepaliveConfig {
    /// How long nothing is received before a probe is sent. Default 15 s.
    pub interval: Duration,
    /// How long a probe's answer, or any other traffic, may take. Default 1 s.
    pub timeout: Duration,
    /// After how many probes in a row without any traffic the connection is dead. Default 3.
    pub failures: u32,
}

impl Default for KeepaliveConfig {
    fn default() -> Self {
        Self { interval: Duration::from_secs(15), timeout: Duration::from_secs(1), failures: 3 }
    }
}

/// What a connection needs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing before this time.
    Wait(Instant),
    /// A probe, now.
    Probe,
    /// To be closed: its peer is gone.
    Dead,
}

/// Watches over one connection: probes it when it is idle, and finds it dead when nothing comes back.
///
/// A probe that is not answered in time is followed by the next at once, so that a peer that is gone is found so
/// `interval + failures * timeout` after its last sign of life.
#[derive(Debug)]
pub struct Keepalive {
    config: KeepaliveConfig,
    heard: Instant,
    probed: Option<Instant>,
    /// Probes without an answer, the one under way not counted.
    failed: u32,
}

impl Keepalive {
    /// A connection that was alive at `now`.
    pub fn new(config: KeepaliveConfig, now: Instant) -> Self {
        Self { config, heard: now, probed: None, failed: 0 }
    }

    /// Notes that something was received; any traffic is life.
    #[inline]
    pub fn on_traffic(&mut self, now: Instant) {
        self.heard = now;
        self.probed = None;
        self.failed = 0;
    }

    /// What to do at `now`. After [`Action::Probe`] the probe counts as sent.
    pub fn poll(&mut self, now: Instant) -> Action {
        let KeepaliveConfig { interval, timeout, failures } = self.config;
        let due = match self.probed {
            Some(probed) => probed.checked_add(timeout),
            None => self.heard.checked_add(interval),
        };
        match due {
            // So long that it never comes; asked again in a day.
            None => return Action::Wait(now.checked_add(DAY).unwrap_or(now)),
            Some(due) if now < due => return Action::Wait(due),
            Some(_) => {}
        }
        if self.probed.is_some() {
            if self.failed.saturating_add(1) >= failures {
                return Action::Dead;
            }
            self.failed = self.failed.saturating_add(1);
        }
        self.probed = Some(now);
        Action::Probe
    }
}

const DAY: Duration = Duration::from_secs(86_400);
