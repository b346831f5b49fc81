//! What the demo's clients saw: written by the thread that carries the traffic, read by the one that shows it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::telemetry::{Counter, Histogram};

/// How many faults are kept to be shown.
const MAX_FAULTS: usize = 5;

/// Counts of requests. Each one sent ends in exactly one of the others.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) sent: Counter,
    /// Answered rightly.
    pub(super) right: Counter,
    /// Answered rightly by an error of the application's.
    pub(super) business_errors: Counter,
    /// Answered by an error of another kind.
    pub(super) failed: Counter,
    /// Answered by what does not belong to the request, or answered twice.
    pub(super) wrong: Counter,
    /// Not answered.
    pub(super) lost: Counter,
    /// How long answers took.
    pub(super) latency: Histogram,
    faults: Mutex<Vec<String>>,
}

impl Tally {
    /// Whether everything up to now went well.
    pub(super) fn is_clean(&self) -> bool {
        self.failed.get() == 0 && self.wrong.get() == 0 && self.lost.get() == 0
    }

    /// How many requests have had an answer, whatever it was.
    pub(super) fn answered(&self) -> u64 {
        self.right.get() + self.business_errors.get() + self.failed.get() + self.wrong.get()
    }

    /// Keeps a fault to be shown, if there are not too many already.
    pub(super) fn fault(&self, fault: impl FnOnce() -> String) {
        let mut faults = self.faults();
        if faults.len() < MAX_FAULTS {
            faults.push(fault());
        }
    }

    /// The first faults.
    pub(super) fn faults(&self) -> MutexGuard<'_, Vec<String>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
