//! Whether a client sends and takes what it should, in time.

use std::{cell::Cell, time::Instant};

use crate::{config, telemetry::ListenerSeries};

/// A client that is owed more than this is not read from, nor are the upstreams that have replies for it.
pub const OWED_HIGH: usize = 1 << 20;

/// Reading goes on when no more than this is owed.
pub const OWED_LOW: usize = 256 << 10;

/// Since when a client has done, or not done, what it should.
pub struct Pace {
    pub last_activity: Cell<Instant>,
    /// Since when half a frame has been waiting for its rest.
    pub partial_since: Cell<Option<Instant>>,
    /// Since when too much has been owed.
    pub stalled_since: Cell<Option<Instant>>,
    /// How much it has taken since then.
    taken: Cell<usize>,
    /// How much of the message has come since then.
    sent: Cell<usize>,
    /// Since when it has sent its last byte. It may still read, or be gone for good.
    pub ended_since: Cell<Option<Instant>>,
}

/// Why a client is closed by the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// It does not take its replies.
    Stalled,
    /// It began a frame and does not finish it.
    Frame,
    /// It sends nothing more, and what it asked for does not come.
    Gone,
    /// It does nothing.
    Idle,
    /// It does nothing, and has an upstream connection that others could use.
    Holding,
}

impl Pace {
    /// That of a client that has just connected.
    pub fn new(now: Instant) -> Self {
        Self {
            last_activity: Cell::new(now),
            partial_since: Cell::new(None),
            stalled_since: Cell::new(None),
            taken: Cell::new(0),
            sent: Cell::new(0),
            ended_since: Cell::new(None),
        }
    }

    /// Notes that the client has taken so many bytes. Who is owed much more than it may be, but takes it at the pace of
    /// those who are owed just that much, is no worse than they are.
    pub fn on_taken(&self, bytes: usize, now: Instant) {
        self.last_activity.set(now);
        go_on(&self.stalled_since, &self.taken, bytes, now);
    }

    /// Notes that so many bytes have come from the client. A long message takes its time.
    pub fn on_sent(&self, bytes: usize, now: Instant) {
        self.last_activity.set(now);
        go_on(&self.partial_since, &self.sent, bytes, now);
    }

    /// Whether too much is owed.
    pub fn is_stalled(&self) -> bool {
        self.stalled_since.get().is_some()
    }

    /// Whether half a frame has been waiting for its rest.
    pub fn is_partial(&self) -> bool {
        self.partial_since.get().is_some()
    }

    /// What is wrong with the client's pace, if anything. One that is `busy` is not idle.
    pub fn overdue(&self, config: &config::Listener, busy: bool, now: Instant) -> Option<Overdue> {
        let over = |since: Option<Instant>, limit: config::Duration| {
            since.is_some_and(|since| now.saturating_duration_since(since) > limit.into())
        };
        // Replies that still reach it are a sign that somebody reads them.
        let ended = self.ended_since.get().map(|at| at.max(self.last_activity.get()));
        if over(self.stalled_since.get(), config.stall_timeout) {
            Some(Overdue::Stalled)
        } else if over(self.partial_since.get(), config.frame_timeout) {
            Some(Overdue::Frame)
        } else if over(ended, config.stall_timeout) {
            Some(Overdue::Gone)
        } else if !busy && over(Some(self.last_activity.get()), config.idle_timeout) {
            Some(Overdue::Idle)
        } else {
            None
        }
    }
}

/// Whoever moves so much begins anew.
const MUCH: usize = OWED_HIGH - OWED_LOW;

/// Counts what has been moved since a clock was started, and starts it again when that is much.
fn go_on(since: &Cell<Option<Instant>>, moved: &Cell<usize>, bytes: usize, now: Instant) {
    if since.get().is_none() {
        return moved.set(0);
    }
    moved.set(moved.get() + bytes);
    if moved.get() >= MUCH {
        moved.set(0);
        since.set(Some(now));
    }
}

impl Overdue {
    /// Counts a client that is closed for this.
    pub fn count(self, series: &ListenerSeries) {
        match self {
            Self::Stalled => series.stall_timeouts.inc(),
            Self::Frame => series.frame_timeouts.inc(),
            Self::Gone => {}
            Self::Idle => series.idle_timeouts.inc(),
            Self::Holding => series.hold_timeouts.inc(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_moves_much_at_a_time_is_not_overdue() {
        let start = Instant::now();
        let config = config::Listener::new("l", "127.0.0.1:0".parse().unwrap(), vec![], vec![]);
        let at = |secs: u64| start + Duration::from_secs(secs);
        for much in [true, false] {
            let pace = Pace::new(start);
            pace.stalled_since.set(Some(start));
            pace.partial_since.set(Some(start));
            for secs in 1..=30 {
                let bytes = if much { MUCH / 4 } else { MUCH / 16 };
                pace.on_taken(bytes, at(secs));
                pace.on_sent(bytes, at(secs));
            }
            let (stalled, partial) = (pace.stalled_since.get(), pace.partial_since.get());
            assert_eq!(stalled, Some(at(if much { 28 } else { 16 })));
            assert_eq!(stalled, partial);
            let late = pace.overdue(&config, false, at(31));
            assert_eq!(late, (!much).then_some(Overdue::Stalled));
        }
    }
}
