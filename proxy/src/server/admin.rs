//! The admin pages' place on the control thread.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime},
};

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinHandle,
};

use crate::{
    admin::{self, AdminState, ConfigStatus, Phase, Rejected},
    snapshot::Snapshot,
    telemetry::{LogControl, Metrics, log},
};

/// What the admin pages show, kept up to date; and the pages, where they are served.
pub(super) struct Admin {
    phase: watch::Sender<Phase>,
    status: Arc<ArcSwap<ConfigStatus>>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    drain: Arc<Notify>,
    log: LogControl,
    address: Option<SocketAddr>,
    task: Option<JoinHandle<()>>,
}

impl Admin {
    /// Serves the pages if the configuration says where. Without a log of its own the level cannot be changed there.
    pub(super) async fn start(
        snapshot: Arc<Snapshot>,
        source: Option<&Path>,
        metrics: Arc<Metrics>,
        log: Option<LogControl>,
    ) -> anyhow::Result<Self> {
        let log = match log {
            Some(log) => log,
            None => log::build(&snapshot.config.log)?.1,
        };
        let status = ConfigStatus {
            config: snapshot.config.clone(),
            source: source.map_or_else(|| "arguments".into(), |path| path.display().to_string()),
            loaded: SystemTime::now(),
            rejected: None,
        };
        let wanted = snapshot.config.admin;
        let (phase, phases) = watch::channel(Phase::Starting);
        let mut this = Self {
            phase,
            status: Arc::new(ArcSwap::from_pointee(status)),
            snapshot: Arc::new(ArcSwap::new(snapshot)),
            drain: Arc::default(),
            log,
            address: None,
            task: None,
        };
        if let Some(address) = wanted {
            let listener =
                TcpListener::bind(address).await.with_context(|| format!("admin: {address}"))?;
            this.address = Some(listener.local_addr()?);
            let snapshot = this.snapshot.clone();
            let state = AdminState {
                metrics,
                phase: phases,
                drain: this.drain.clone(),
                config: this.status.clone(),
                clusters: Arc::new(move || {
                    let now = Instant::now();
                    snapshot.load().clusters.iter().map(|shared| shared.describe(now)).collect()
                }),
                log: this.log.clone(),
            };
            this.task = Some(tokio::task::spawn_local(async move {
                if let Err(error) = admin::serve(listener, state).await {
                    tracing::error!(%error, "the admin pages are gone");
                }
            }));
        }
        Ok(this)
    }

    /// Where the pages are.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Shows how far the proxy is.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Shows a new configuration, and logs as it says.
    pub(super) fn loaded(&self, snapshot: Arc<Snapshot>) {
        let old = self.status.load_full();
        if snapshot.config.log != old.config.log
            && let Err(error) = self.log.set(&snapshot.config.log)
        {
            tracing::error!(%error, "the log's level stays as it is");
        }
        self.status.store(Arc::new(ConfigStatus {
            config: snapshot.config.clone(),
            source: old.source.clone(),
            loaded: SystemTime::now(),
            rejected: None,
        }));
        self.snapshot.store(snapshot);
    }

    /// Shows why a new configuration was refused.
    pub(super) fn rejected(&self, report: &str) {
        let rejected = Rejected { time: SystemTime::now(), report: report.to_owned() };
        let old = self.status.load_full();
        self.status.store(Arc::new(ConfigStatus { rejected: Some(rejected), ..(*old).clone() }));
    }

    /// Waits until somebody asks there for the proxy to be drained.
    pub(super) async fn drain_asked(&self) {
        self.drain.notified().await;
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
