//! Active health checks: a probe of every endpoint, at intervals. Passive ones are [`Shared::on_failure`].

use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::address::Address;
use super::endpoint::Endpoint;
use super::shared::{EndpointSet, Shared};
use crate::config;
use crate::net::{Dial, Stream};

/// Checks the endpoints of a cluster as its settings say, whatever they are at the time; never ends. For the control thread, inside a
/// [`LocalSet`](tokio::task::LocalSet).
///
/// Every check is `probe` of one endpoint; the error is for the log. An endpoint counts as healthy until its checks say otherwise.
pub async fn run<P, F>(shared: Arc<Shared>, probe: P)
where
    P: Fn(Address) -> F + 'static,
    F: Future<Output = Result<(), String>> + 'static,
{
    let probe = Rc::new(probe);
    let mut changes = shared.watch();
    let mut checks = Checks::default();
    loop {
        changes.mark_unchanged();
        let (settings, set) = (shared.config().health, shared.endpoints());
        checks.keep(settings, &set);
        match settings {
            None => set.endpoints().iter().for_each(|endpoint| endpoint.reset_health()),
            Some(settings) => {
                for endpoint in set.endpoints() {
                    let cluster = shared.name();
                    checks.start(endpoint, || {
                        check(Arc::clone(cluster), Arc::clone(endpoint), settings, probe.clone())
                    });
                }
            }
        }
        // The sender is in `shared`, so this is no error.
        let _ = changes.changed().await;
    }
}

/// A probe for where there is no better one: a connection is made, and closed.
pub async fn connect(dial: Dial) -> Result<(), String> {
    Stream::connect(dial).await.map(drop).map_err(|error| format!("cannot connect: {error}"))
}

/// The tasks that check, by endpoint id. They end with this.
#[derive(Default)]
struct Checks {
    settings: Option<config::Health>,
    running: HashMap<u64, AbortHandle>,
    tasks: JoinSet<()>,
}

impl Checks {
    /// Ends the checks of endpoints that are gone, or all if the settings are others.
    fn keep(&mut self, settings: Option<config::Health>, set: &EndpointSet) {
        let same = self.settings == settings;
        self.settings = settings;
        let ids: Vec<_> = set.endpoints().iter().map(|endpoint| endpoint.id()).collect();
        self.running.retain(|id, task| {
            let keep = same && ids.contains(id);
            if !keep {
                task.abort();
            }
            keep
        });
        while self.tasks.try_join_next().is_some() {}
    }

    fn start<F: Future<Output = ()> + 'static>(
        &mut self,
        endpoint: &Endpoint,
        check: impl FnOnce() -> F,
    ) {
        let tasks = &mut self.tasks;
        self.running.entry(endpoint.id()).or_insert_with(|| tasks.spawn_local(check()));
    }
}

async fn check<P, F>(
    cluster: Arc<str>,
    endpoint: Arc<Endpoint>,
    settings: config::Health,
    probe: Rc<P>,
) where
    P: Fn(Address) -> F,
    F: Future<Output = Result<(), String>>,
{
    let interval = settings.interval.0;
    // Soon, but not all endpoints at once.
    let mut next = Instant::now() + jitter(interval / 10, 0.0, 1.0);
    loop {
        tokio::time::sleep_until(next).await;
        next = Instant::now() + jitter(interval, 0.9, 1.1);
        let probe = probe(endpoint.address().clone());
        let result = match tokio::time::timeout(settings.timeout.0, probe).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {:?}", settings.timeout.0)),
        };
        let now = Instant::now().into_std();
        let (healthy, unhealthy) = (settings.healthy, settings.unhealthy);
        if endpoint.on_health(result.is_ok(), healthy, unhealthy, now) {
            let endpoint = endpoint.label();
            match result {
                Ok(()) => tracing::info!(%cluster, %endpoint, "endpoint is healthy again"),
                Err(error) => tracing::warn!(%cluster, %endpoint, error, "endpoint is unhealthy"),
            }
        }
    }
}

fn jitter(interval: Duration, from: f64, to: f64) -> Duration {
    interval.mul_f64(from + (to - from) * fastrand::f64())
}
