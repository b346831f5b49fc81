//! The running proxy: a control thread, and workers that carry the traffic.

mod accept;
mod admin;
mod clusters;
mod control;
mod drain;
mod events;
mod workers;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use anyhow::{Context, anyhow};
use tokio::sync::mpsc;

use crate::{
    cluster::Address,
    config::Config,
    policy::Filter,
    registry::Registry,
    telemetry::{LogControl, Metrics, log},
};

/// A proxy about to be started.
pub struct Server {
    config: Config,
    registry: Registry,
    filters: BTreeMap<String, Vec<Box<dyn Filter>>>,
    source: Option<PathBuf>,
    signals: bool,
    log: Option<LogControl>,
}

/// A proxy that runs on threads of its own. Dropping it stops it at once; [`Handle::drain`] first lets requests finish.
pub struct Handle {
    started: Started,
    commands: mpsc::UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

/// What is known once the proxy is up.
#[derive(Clone)]
struct Started {
    listeners: BTreeMap<String, Address>,
    admin: Option<SocketAddr>,
    metrics: Arc<Metrics>,
}

/// What the control thread can be told.
enum Command {
    Reload(Box<Config>, SyncSender<Result<(), String>>),
    /// The configuration file has changed; or it has, and has mistakes.
    Changed(Result<Box<Config>, String>),
    /// The access log's file may have been moved.
    Rotated,
    Drain,
    Stop,
}

impl Server {
    /// A proxy with this configuration, which must have been checked, and these protocols.
    pub fn new(config: Config, registry: Registry) -> Self {
        Self { config, registry, filters: BTreeMap::new(), source: None, signals: false, log: None }
    }

    /// Watches the file that the configuration came from, and takes over its changes.
    pub fn watch(mut self, source: PathBuf) -> Self {
        self.source = Some(source);
        self
    }

    /// Obeys SIGTERM and SIGINT (drain) and SIGHUP (reload).
    pub fn with_signals(mut self) -> Self {
        self.signals = true;
        self
    }

    /// Adds a filter of the user's own to a listener.
    pub fn with_filter(mut self, listener: &str, filter: impl Filter + 'static) -> Self {
        self.filters.entry(listener.into()).or_default().push(Box::new(filter));
        self
    }

    /// Starts it, and returns when all listeners are bound.
    pub fn start(self) -> anyhow::Result<Handle> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (started, ready) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || control::run(self, inbox, &started))
            .context("no thread for control")?;
        match ready.recv() {
            Ok(Ok(started)) => Ok(Handle { started, commands, thread: Some(thread) }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(anyhow!("the control thread ended before it was ready")),
        }
    }

    /// Starts it, and returns when it has been told to stop and has drained.
    ///
    /// Its log is the process's from then on, as the configuration says.
    pub fn run(mut self) -> anyhow::Result<()> {
        self.log = Some(log::init(&self.config.log)?);
        self.with_signals().start()?.join();
        Ok(())
    }
}

impl Handle {
    /// Where a listener listens; with the real port where 0 was configured.
    pub fn address(&self, listener: &str) -> Option<&Address> {
        self.started.listeners.get(listener)
    }

    /// Where the admin pages are.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.started.admin
    }

    /// The proxy's metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.started.metrics
    }

    /// Puts another configuration in force; the old one stays when it cannot be.
    pub fn reload(&self, config: Config) -> anyhow::Result<()> {
        let (done, answer) = sync_channel(1);
        self.commands
            .send(Command::Reload(Box::new(config), done))
            .map_err(|_| anyhow!("the proxy has stopped"))?;
        answer.recv().map_err(|_| anyhow!("the proxy has stopped"))?.map_err(|error| anyhow!(error))
    }

    /// Accepts nothing more, lets requests in flight finish, and stops. Returns at once; see [`join`](Self::join).
    pub fn drain(&self) {
        let _ = self.commands.send(Command::Drain);
    }

    /// Waits until it has stopped.
    pub fn join(mut self) {
        self.wait();
    }

    fn wait(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the control thread panicked");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        self.wait();
    }
}
