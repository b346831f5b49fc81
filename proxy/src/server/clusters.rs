//! What the control thread does for clusters: resolves names, checks health.

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::task::AbortHandle;

use crate::{
    cluster::{Address, Shared, health, resolve},
    registry::{Options, Probe, Registry},
    snapshot::Snapshot,
};

/// How long a start waits for names to be resolved; what is late is used when it comes.
const FIRST_ANSWERS: Duration = Duration::from_secs(2);

/// The tasks of the clusters in force; dropping it ends them.
#[derive(Default)]
pub(super) struct ClusterTasks(Vec<AbortHandle>);

impl ClusterTasks {
    /// Starts the tasks of a snapshot's clusters.
    pub(super) fn start(snapshot: &Snapshot, registry: &Registry) -> Self {
        let tasks = snapshot.clusters.iter().flat_map(|shared| {
            let resolving = tokio::task::spawn_local(resolve::run(shared.clone(), resolve::lookup));
            let probe = prober(snapshot, registry, shared);
            let checking = tokio::task::spawn_local(health::run(shared.clone(), probe));
            [resolving.abort_handle(), checking.abort_handle()]
        });
        Self(tasks.collect())
    }
}

impl Drop for ClusterTasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Resolves the names of all clusters once, so that the first requests find endpoints.
pub(super) async fn resolve_all(snapshot: &Snapshot) {
    let all = snapshot.clusters.iter().map(|shared| {
        let shared = shared.clone();
        tokio::task::spawn_local(async move { resolve::once(&shared, resolve::lookup).await })
    });
    let all: Vec<_> = all.collect();
    let answers = async {
        for answer in all {
            let _ = answer.await;
        }
    };
    let _ = tokio::time::timeout(FIRST_ANSWERS, answers).await;
}

/// How to ask an endpoint of the cluster whether it is well: in the protocol of the first listener that sends to it.
fn prober(
    snapshot: &Snapshot,
    registry: &Registry,
    shared: &Arc<Shared>,
) -> impl Fn(Address) -> Probe + 'static {
    let plan = snapshot.listeners.iter().find(|plan| {
        plan.routes.routes().any(|route| route.action.clusters().any(|c| c == shared.name()))
    });
    let asked = plan.and_then(|plan| {
        let name = plan.config.protocols.first()?;
        let options = plan.config.options.get(name).cloned().unwrap_or_default();
        Some((registry.get(name)?.clone(), options))
    });
    let asked: Option<Rc<(_, Options)>> = asked.map(Rc::new);
    move |address| match &asked {
        Some(asked) => asked.0.probe(&asked.1, address),
        None => Box::pin(health::connect(address)),
    }
}
