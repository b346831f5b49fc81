//! What connections are for that clients are lent.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use serde::Serialize;

/// How many connections of a cluster are for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Occupied {
    /// Something of a client's session is on them: a transaction, say.
    pub held: u32,
    /// A client may still ask about its last request.
    pub lingering: u32,
    /// A request is in progress, or they are being made or reset.
    pub busy: u32,
    /// Nobody has them.
    pub idle: u32,
}

impl Occupied {
    /// Each with its name.
    pub fn each(&self) -> [(&'static str, u32); 4] {
        let Self { held, lingering, busy, idle } = *self;
        [("held", held), ("lingering", lingering), ("busy", busy), ("idle", idle)]
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            held: self.held + other.held,
            lingering: self.lingering + other.lingering,
            busy: self.busy + other.busy,
            idle: self.idle + other.idle,
        }
    }
}

/// The count of one pool, which its worker keeps up to date.
#[derive(Debug, Default)]
pub struct Occupancy([AtomicU32; 4]);

impl Occupancy {
    /// It is this now.
    pub fn set(&self, count: Occupied) {
        for (to, (_, count)) in self.0.iter().zip(count.each()) {
            to.store(count, Relaxed);
        }
    }

    pub(super) fn get(&self) -> Occupied {
        let [held, lingering, busy, idle] = &self.0;
        let [held, lingering, busy, idle] =
            [held, lingering, busy, idle].map(|count| count.load(Relaxed));
        Occupied { held, lingering, busy, idle }
    }
}
