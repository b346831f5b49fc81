//! The way out: accept nothing, finish, refuse, close.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::workers::Workers;
use crate::worker::{Command, Phase};

/// After the deadline, requests are still answered by an error for this long, so that no client is left without a word.
const REFUSE: Duration = Duration::from_millis(500);

/// How long connections have to take what they are owed when they are closed.
const CLOSE: Duration = Duration::from_secs(1);

const TICK: Duration = Duration::from_millis(10);

/// Leads the workers through the phases; returns when no connection is left or time is up.
pub(super) async fn drain(workers: &Workers, timeout: Duration) {
    for (phase, time) in
        [(Phase::Draining, timeout), (Phase::Refusing, REFUSE), (Phase::Closing, CLOSE)]
    {
        tracing::info!(?phase, connections = workers.connections(), "draining");
        workers.tell(|| Command::Phase(phase));
        let end = Instant::now() + time;
        while workers.connections() > 0 && Instant::now() < end {
            sleep(TICK).await;
        }
        if workers.connections() == 0 {
            return;
        }
    }
    tracing::warn!(connections = workers.connections(), "closing connections that are still busy");
}
