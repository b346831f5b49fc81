//! The proxy's own log: to stderr, with a level that can be changed while it runs.

use std::{
    io::{self, IsTerminal},
    sync::{Arc, Mutex, PoisonError},
};

use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Registry, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Why the log could not be set up or changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogError {
    /// The filter cannot be understood.
    #[error(
        "`{0}` is not a log level: error, warn, info, debug, trace, off, or MODULE=LEVEL, separated by commas"
    )]
    Filter(String),
    /// This process logs elsewhere already.
    #[error("a log is set up already")]
    Taken,
    /// The log is gone.
    #[error("the log is closed")]
    Closed,
}

/// Starts logging to stderr what `filter` lets through, for the whole process.
pub fn init(filter: &str) -> Result<LogControl, LogError> {
    let (subscriber, control) = build(filter)?;
    subscriber.try_init().map_err(|_| LogError::Taken)?;
    Ok(control)
}

/// Checks a filter such as `info` or `info,wiremesh_proxy::cluster=debug`.
pub fn check(filter: &str) -> Result<(), LogError> {
    parse(filter).map(drop)
}

/// Changes and tells what is logged.
#[derive(Clone, Debug)]
pub struct LogControl {
    handle: reload::Handle<EnvFilter, Registry>,
    filter: Arc<Mutex<String>>,
}

impl LogControl {
    /// Logs what `filter` lets through from now on.
    pub fn set(&self, filter: &str) -> Result<(), LogError> {
        let parsed = parse(filter)?;
        let mut current = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        self.handle.reload(parsed).map_err(|_| LogError::Closed)?;
        filter.clone_into(&mut current);
        Ok(())
    }

    /// The filter in force.
    pub fn filter(&self) -> String {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A log that is not the process's, until it is installed.
pub(crate) fn build(
    filter: &str,
) -> Result<(impl Subscriber + Send + Sync + 'static, LogControl), LogError> {
    let (layer, handle) = reload::Layer::new(parse(filter)?);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let subscriber = tracing_subscriber::registry().with(layer).with(lines);
    Ok((subscriber, LogControl { handle, filter: Arc::new(Mutex::new(filter.to_owned())) }))
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    let error = || LogError::Filter(filter.to_owned());
    // EnvFilter takes a word that is no level for a module's name, which would silence all the rest.
    let is_level = |text: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(text));
    if !filter.split(',').all(|part| is_level(part.rsplit_once('=').map_or(part, |(_, it)| it))) {
        return Err(error());
    }
    EnvFilter::try_new(filter).map_err(|_| error())
}

#[cfg(test)]
mod tests {
    use tracing::{Level, subscriber::with_default};

    use super::*;

    #[test]
    fn the_level_can_be_changed_while_it_runs() {
        let (subscriber, control) = build("warn").unwrap();
        with_default(subscriber, || {
            assert!(!tracing::enabled!(Level::INFO));
            control.set("debug").unwrap();
            assert!(tracing::enabled!(Level::DEBUG));
            assert_eq!(control.filter(), "debug");
            control.set("error,wiremesh_proxy=trace").unwrap();
            assert!(tracing::enabled!(Level::TRACE));
            assert!(!tracing::enabled!(target: "elsewhere", Level::WARN));
        });
        assert_eq!(control.set("info"), Err(LogError::Closed));
    }

    #[test]
    fn what_is_no_level_is_refused_and_changes_nothing() {
        let (_subscriber, control) = build("info").unwrap();
        for bad in
            ["", "debgu", "info,", "wiremesh_proxy", "wiremesh_proxy=loud", "=", "a=b=c", "3"]
        {
            assert_eq!(control.set(bad), Err(LogError::Filter(bad.to_owned())), "{bad}");
        }
        assert_eq!(control.filter(), "info");
        for good in ["off", "INFO", "info,wiremesh_proxy::cluster=debug", "a=warn,b=error"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }
}
