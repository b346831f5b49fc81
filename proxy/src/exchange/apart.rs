//! Readers that hold others up: the connection that waits for one is left to it, and it has its own from then on.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use wiremesh::{
    Protocol,
    correlation::{Exchange, Step},
};

use super::{Mesh, client::Client, upstream::Upstream};

/// A shared connection that has waited for its readers, or passed on one reply, for so long is left to them.
pub const APART_AFTER: Duration = Duration::from_millis(100);

/// What a worker's slow readers may be owed beyond the usual, so that those behind them in the line need not wait.
const SLACK_MAX: usize = 64 << 20;

/// What of it one may be owed.
const SLACK_EACH: usize = 32 << 20;

/// Since when an upstream connection has been waiting for those who read from it.
#[derive(Default)]
pub struct Waiting(Option<Instant>);

impl Waiting {
    /// Whether it is waiting. Says whether that is new.
    pub fn note(&mut self, waits: bool, now: Instant) -> bool {
        let new = waits && self.0.is_none();
        self.0 = waits.then(|| self.0.unwrap_or(now));
        new
    }

    /// Since when it has been waiting.
    pub fn since(&self) -> Option<Instant> {
        self.0
    }
}

impl<P: Protocol> Mesh<P>
where
    P::Correlation: Exchange<P>,
{
    /// Leaves a shared connection to these, who read too slowly or too much: it takes no new requests.
    pub(super) fn set_apart(&self, upstream: &Rc<Upstream<P>>, readers: &[Rc<Client<P>>]) {
        let connections = upstream.cluster.shared().connections();
        if connections.used() >= connections.max() {
            // There is no other for the rest of them.
            return;
        }
        upstream.retire();
        for reader in readers {
            reader.apart.set(true);
            let others = upstream.load() > reader.in_flight() as usize;
            if reader.slack.get() == 0 && others {
                let slack = SLACK_EACH.min(SLACK_MAX.saturating_sub(self.slack.get()));
                reader.slack.set(slack);
                self.slack.set(self.slack.get() + slack);
            }
        }
        if !<P::Correlation as Exchange<P>>::ORDERED {
            return;
        }
        for client in self.clients.borrow().values() {
            let there = client.lines.borrow().iter().any(|line| Rc::ptr_eq(line, upstream));
            if there && client.in_flight() > 0 && !client.is_parked() {
                // What it asks next, it asks elsewhere: not before it has its answers from here.
                client.park(Step::Nothing);
            }
        }
    }

    /// A reader has caught up, or is gone.
    pub(super) fn take_slack(&self, client: &Client<P>) {
        self.slack.set(self.slack.get().saturating_sub(client.slack.take()));
    }
}
