//! What reaches the control thread from outside: signals, and changes of the configuration file.

use std::path::PathBuf;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Command;
use crate::{config::Watch, registry::Registry};

/// Signals and file changes.
pub(super) struct Events {
    watch: Option<Watch>,
    /// SIGHUP, where there is no file to read again: it must not end the proxy.
    hangup: Option<Signal>,
    signals: Option<[Signal; 2]>,
}

impl Events {
    pub(super) fn new(
        source: Option<PathBuf>,
        signals: bool,
        registry: &Registry,
    ) -> anyhow::Result<Self> {
        let watch = source.map(|path| Watch::new(path, registry.protocols())).transpose();
        let watch = watch.context("cannot watch the configuration file")?;
        let on = |kind| signal(kind).context("no signal handler");
        let signals = match signals {
            true => Some([on(SignalKind::terminate())?, on(SignalKind::interrupt())?]),
            false => None,
        };
        let hangup =
            (signals.is_some() && watch.is_none()).then(|| on(SignalKind::hangup())).transpose()?;
        Ok(Self { watch, hangup, signals })
    }

    /// The next of them.
    pub(super) async fn next(&mut self) -> Command {
        let Self { watch, hangup, signals } = self;
        let changed = async {
            match watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        let rotated = async {
            match hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        let told = async {
            match signals {
                Some([terminate, interrupt]) => tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = changed => {
                Command::Changed(changed.map(Box::new).map_err(|report| report.to_string()))
            }
            _ = rotated => Command::Rotated,
            () = told => Command::Drain,
        }
    }
}
