//! The control thread: binds, accepts, reloads, drains.

use std::{
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, mpsc::SyncSender},
    time::Duration,
};

use anyhow::Context;
use tokio::{sync::mpsc, task::LocalSet};

use super::{
    Command, Server, Started,
    accept::Acceptor,
    admin::Admin,
    clusters::{ClusterTasks, find_endpoints},
    drain::drain,
    events::Events,
    workers,
};
use crate::{
    admin::Phase,
    config::Config,
    net::{Bound, bind},
    policy::Filters,
    registry::Registry,
    server::workers::Workers,
    snapshot::{ListenerPlan, Snapshot},
    telemetry::{MAX_NAMES, Metrics, WorkerMetrics},
    worker,
};

/// How long the end waits for the access log's last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Runs the proxy until it has stopped; tells `started` how the start went.
pub(super) fn run(
    server: Server,
    inbox: mpsc::UnboundedReceiver<Command>,
    started: &SyncSender<anyhow::Result<Started>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime.context("no runtime for the control thread") {
        Ok(runtime) => runtime,
        Err(error) => return drop(started.send(Err(error))),
    };
    LocalSet::new().block_on(&runtime, async {
        match Control::start(server).await {
            Ok((control, up)) => {
                let _ = started.send(Ok(up));
                control.serve(inbox).await;
            }
            Err(error) => drop(started.send(Err(error))),
        }
    });
}

struct Control {
    registry: Registry,
    filters: BTreeMap<String, Filters>,
    metrics: Arc<Metrics>,
    /// What this thread counts itself: connections accepted and refused.
    own_metrics: WorkerMetrics,
    workers: Rc<Workers>,
    snapshot: Arc<Snapshot>,
    acceptors: Vec<Acceptor>,
    cluster_tasks: ClusterTasks,
    events: Events,
    admin: Admin,
}

impl Control {
    async fn start(server: Server) -> anyhow::Result<(Self, Started)> {
        let Server { config, registry, filters, source, signals, log } = server;
        let filters =
            filters.into_iter().map(|(name, chain)| (name, Filters::new(chain))).collect();
        let metrics = Metrics::new(MAX_NAMES);
        let count = config.workers.unwrap_or_else(workers::default_count);
        let snapshot = Arc::new(Snapshot::compile(
            config,
            &registry,
            &filters,
            &metrics.dropped_lines(),
            None,
        )?);
        let bound = bind_all(snapshot.listeners.iter())?;
        let admin = Admin::start(snapshot.clone(), source.as_deref(), metrics.clone(), log).await?;
        let events = Events::new(source, signals, &registry)?;
        find_endpoints(&snapshot, None, &registry).await;
        let mut listeners = BTreeMap::new();
        for (plan, socket) in &bound {
            listeners.insert(plan.name.to_string(), socket.address()?);
        }
        let workers = Workers::start(count, &registry, &metrics).context("no worker threads")?;
        let mut control = Self {
            filters,
            own_metrics: metrics.worker(),
            metrics: metrics.clone(),
            workers: Rc::new(workers),
            snapshot: snapshot.clone(),
            acceptors: Vec::new(),
            cluster_tasks: ClusterTasks::start(&snapshot, &registry),
            registry,
            events,
            admin,
        };
        control.workers.tell(|| worker::Command::Apply(snapshot.clone()));
        control.accept(bound);
        control.metrics.set_workers(count);
        control.admin.enter(Phase::Serving);
        let admin = control.admin.address();
        Ok((control, Started { listeners, admin, metrics }))
    }

    fn accept(&mut self, bound: Vec<(Arc<ListenerPlan>, Bound)>) {
        for (plan, socket) in bound {
            let series = self.own_metrics.listener_series(&plan.name);
            self.acceptors.push(Acceptor::start(socket, plan, self.workers.clone(), series));
        }
    }

    /// SIGHUP is also how log rotation says that it has moved the file.
    fn reopen_log(&self) {
        if let Some(log) = &self.snapshot.access_log {
            log.reopen();
        }
    }

    async fn serve(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let drained = loop {
            let event = tokio::select! {
                command = inbox.recv() => command.unwrap_or(Command::Stop),
                command = self.events.next() => command,
                () = self.admin.drain_asked() => Command::Drain,
            };
            match event {
                Command::Reload(config, done) => {
                    let result = self.reload(*config).await;
                    let result = result.map_err(|error| format!("{error:#}"));
                    self.note_reload(result.as_ref().err());
                    let _ = done.send(result);
                }
                Command::Changed(changed) => {
                    self.reopen_log();
                    self.changed(changed).await;
                }
                Command::Rotated => self.reopen_log(),
                Command::Drain => break true,
                Command::Stop => break false,
            }
        };
        self.admin.enter(Phase::Draining);
        // Connections that the kernel has taken already are served, not reset.
        for acceptor in self.acceptors.drain(..) {
            acceptor.finish().await;
        }
        if drained {
            let timeout = self.snapshot.config.drain_timeout.into();
            let stop = async { while !matches!(inbox.recv().await, Some(Command::Stop) | None) {} };
            tokio::select! {
                () = drain(&self.workers, timeout) => {}
                () = stop => {}
            }
        }
        // The acceptors' tasks, aborted just now, still hold the workers until they have been polled.
        tokio::task::yield_now().await;
        match Rc::try_unwrap(self.workers) {
            Ok(workers) => workers.stop(),
            Err(workers) => workers.tell(|| worker::Command::Stop),
        }
        if let Some(log) = &self.snapshot.access_log {
            log.sync(LAST_LINES);
        }
    }

    /// Puts a configuration in force, or leaves everything as it is.
    async fn reload(&mut self, config: Config) -> anyhow::Result<()> {
        let old = &self.snapshot;
        let new = Snapshot::compile(
            config,
            &self.registry,
            &self.filters,
            &self.metrics.dropped_lines(),
            Some(old),
        )?;
        let fresh =
            new.listeners.iter().filter(|plan| !self.acceptors.iter().any(|a| a.serves(plan)));
        let bound = bind_all(fresh)?;
        find_endpoints(&new, Some(old), &self.registry).await;
        // From here on nothing fails.
        if (new.config.workers, new.config.admin) != (old.config.workers, old.config.admin) {
            tracing::warn!("a change of workers or admin takes effect at the next start only");
        }
        for (shared, tls) in new.clusters.iter().zip(&new.cluster_tls) {
            shared.set_tls(tls.clone());
            let wanted = new.config.clusters.iter().find(|c| *c.name == **shared.name());
            if let Some(config) = wanted.filter(|config| **config != *shared.config()) {
                shared.update(Arc::new(config.clone()));
            }
        }
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.acceptors)
            .into_iter()
            .partition(|acceptor| new.listeners.iter().any(|plan| acceptor.serves(plan)));
        self.acceptors = kept;
        for acceptor in gone {
            tokio::task::spawn_local(acceptor.finish());
        }
        for plan in &new.listeners {
            if let Some(acceptor) = self.acceptors.iter().find(|a| a.serves(plan)) {
                acceptor.update(plan.clone());
            }
        }
        self.snapshot = Arc::new(new);
        self.workers.tell(|| worker::Command::Apply(self.snapshot.clone()));
        self.accept(bound);
        self.cluster_tasks = ClusterTasks::start(&self.snapshot, &self.registry);
        Ok(())
    }

    /// Takes over what the configuration file says now, if it can be.
    async fn changed(&mut self, changed: Result<Box<Config>, String>) {
        let result = match changed {
            Ok(config) => self.reload(*config).await.map_err(|error| format!("{error:#}")),
            Err(mistakes) => Err(mistakes),
        };
        self.note_reload(result.as_ref().err());
    }

    fn note_reload(&self, rejected: Option<&String>) {
        match rejected {
            None => {
                self.metrics.reload_applied();
                self.admin.loaded(self.snapshot.clone());
                tracing::info!("the new configuration is in force");
            }
            Some(why) => {
                self.metrics.reload_rejected();
                self.admin.rejected(why);
                tracing::error!("the new configuration is refused, the old one stays: {why}");
            }
        }
    }
}

fn bind_all<'a>(
    plans: impl Iterator<Item = &'a Arc<ListenerPlan>>,
) -> anyhow::Result<Vec<(Arc<ListenerPlan>, Bound)>> {
    plans
        .map(|plan| {
            let bound = bind(&plan.config.address)
                .with_context(|| format!("listener {}: {}", plan.name, plan.config.address))?;
            Ok((plan.clone(), bound))
        })
        .collect()
}
