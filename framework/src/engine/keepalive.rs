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
#[derive(Debug)]
pub struct Keepalive;

impl Keepalive {
    /// A connection that was alive at `now`.
    pub fn new(_config: KeepaliveConfig, _now: Instant) -> Self {
        Self
    }

    /// Notes that something was received; any traffic is life.
    pub fn on_traffic(&mut self, _now: Instant) {}

    /// What to do at `now`. After [`Action::Probe`] the probe counts as sent.
    pub fn poll(&mut self, now: Instant) -> Action {
        Action::Wait(now)
    }
}
