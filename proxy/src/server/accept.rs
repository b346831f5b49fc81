//! Accepting, on the control thread.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{io::AsyncWriteExt, sync::Notify, task::JoinHandle};

use super::workers::Workers;
use crate::{
    net::Bound,
    snapshot::{ListenerPlan, Origin},
    telemetry::ListenerSeries,
    worker::RawStream,
};

/// How long accepting pauses when the process has no file descriptors left.
const NO_DESCRIPTORS: Duration = Duration::from_millis(100);

/// So many clients that are told that there is no place for them are waited for at a time; others are closed at once.
const TURNED_AWAY: usize = 64;

/// Within this time they are told.
const WRITTEN: Duration = Duration::from_secs(1);

/// One listening socket and its task.
pub(super) struct Acceptor {
    plan: Arc<ArcSwap<ListenerPlan>>,
    task: JoinHandle<()>,
    stop: Rc<Notify>,
}

impl Acceptor {
    /// Starts to accept.
    pub(super) fn start(
        bound: Bound,
        plan: Arc<ListenerPlan>,
        workers: Rc<Workers>,
        series: Arc<ListenerSeries>,
    ) -> Self {
        let plan = Arc::new(ArcSwap::new(plan));
        let stop = Rc::new(Notify::new());
        let task = accept(bound, plan.clone(), workers, series, stop.clone());
        Self { plan, task: tokio::task::spawn_local(task), stop }
    }

    /// Whether this socket serves that listener's address as well.
    pub(super) fn serves(&self, plan: &ListenerPlan) -> bool {
        let now = self.plan.load();
        now.name == plan.name && now.config.address == plan.config.address
    }

    /// Accepts what has connected already, and ends.
    pub(super) async fn finish(mut self) {
        self.stop.notify_one();
        let _ = (&mut self.task).await;
    }

    /// Takes a changed configuration of the same listener.
    pub(super) fn update(&self, plan: Arc<ListenerPlan>) {
        self.plan.store(plan);
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    bound: Bound,
    plan: Arc<ArcSwap<ListenerPlan>>,
    workers: Rc<Workers>,
    series: Arc<ListenerSeries>,
    stop: Rc<Notify>,
) {
    let active = Arc::new(AtomicUsize::new(0));
    let turned_away = Rc::new(Cell::new(0));
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = bound.accept() => accepted,
            // Only when nobody waits to be accepted.
            () = stop.notified() => return,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(listener = %plan.load().name, %error, "accept failed");
                tokio::time::sleep(NO_DESCRIPTORS).await;
                continue;
            }
        };
        let plan = plan.load();
        if active.load(Ordering::Relaxed) >= plan.config.max_connections {
            tracing::debug!(listener = %plan.name, "at max_connections, closing a new one");
            series.refused_full.inc();
            turn_away(stream, &plan, &turned_away);
        } else if let Err(why) = admit(&plan, &stream, &series) {
            tracing::info!(listener = %plan.name, %why, "connection refused");
        } else {
            series.connections_accepted.inc();
            workers.hand_over(stream, &plan.name, &active);
        }
    }
}

/// Tells a client that there is no place for it, where that can be said, and closes it.
fn turn_away(stream: RawStream, plan: &ListenerPlan, count: &Rc<Cell<usize>>) {
    if plan.full.is_empty() || count.get() >= TURNED_AWAY {
        return;
    }
    let Ok(mut stream) = stream.into_stream() else { return };
    count.set(count.get() + 1);
    let (count, full) = (count.clone(), plan.full.clone());
    tokio::task::spawn_local(async move {
        // It fits where nothing was written yet.
        let written = tokio::time::timeout(WRITTEN, stream.write_all(&full)).await;
        if matches!(written, Ok(Ok(()))) {
            stream.linger(false).await;
        }
        count.set(count.get() - 1);
    });
}

/// Whether the peer may connect at all.
fn admit(plan: &ListenerPlan, stream: &RawStream, series: &ListenerSeries) -> Result<(), String> {
    let ip =
        stream.peer_ip().inspect_err(|_| series.refused_denied.inc()).map_err(|e| e.to_string())?;
    match plan.origin(ip) {
        // Whether the client may is known when it is known who that is.
        Origin::Introduced { .. } => Ok(()),
        Origin::Untrusted => {
            series.refused_untrusted.inc();
            let who = ip.map_or_else(String::new, |ip| ip.to_string());
            Err(format!("{who} is not trusted to say who its clients are"))
        }
        Origin::Direct => plan.admit(ip).map_err(|failure| {
            series.refused_denied.inc();
            failure.to_string()
        }),
    }
}
