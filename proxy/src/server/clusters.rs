//! What the control thread does for clusters: resolves names, learns topologies, checks health, asks servers about themselves.

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::task::AbortHandle;
use wiremesh::User;

use crate::{
    cluster::{
        Address, Shared,
        discover::{self, Learner},
        health, inquire, resolve,
    },
    config,
    registry::{Entry, Options, Probe, Registry},
    snapshot::Snapshot,
};

/// How long a start waits for names to be resolved and topologies to be learnt; what is late is used when it comes.
const FIRST_ANSWERS: Duration = Duration::from_secs(2);

/// The tasks of the clusters in force; dropping it ends them.
#[derive(Default)]
pub(super) struct ClusterTasks(Vec<AbortHandle>);

impl ClusterTasks {
    /// Starts the tasks of a snapshot's clusters.
    pub(super) fn start(snapshot: &Snapshot, registry: &Registry) -> Self {
        let tasks = snapshot.clusters.iter().flat_map(|shared| {
            let resolving = tokio::task::spawn_local(resolve::run(shared.clone(), resolve::lookup));
            let asked = asked(snapshot, registry, shared);
            let probe = prober(asked.clone(), shared.clone());
            let checking = tokio::task::spawn_local(health::run(shared.clone(), probe));
            let learning = discover::run(shared.clone(), learner(asked.clone()), resolve::lookup);
            let learning = tokio::task::spawn_local(learning);
            let inquiring = inquire::run(shared.clone(), inquirer(asked, shared));
            let inquiring = tokio::task::spawn_local(inquiring);
            [resolving, checking, learning, inquiring].map(|task| task.abort_handle())
        });
        Self(tasks.collect())
    }
}

impl Drop for ClusterTasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Finds the endpoints of the clusters that `old` does not have, so that their first requests do; and has them asked about
/// themselves.
pub(super) async fn find_endpoints(
    snapshot: &Snapshot,
    old: Option<&Snapshot>,
    registry: &Registry,
) {
    let known = |shared: &&Arc<Shared>| {
        old.is_some_and(|old| old.clusters.iter().any(|known| Arc::ptr_eq(known, shared)))
    };
    let new = snapshot.clusters.iter().filter(|shared| !known(shared));
    let all = new.map(|shared| {
        let (shared, asked) = (shared.clone(), asked(snapshot, registry, shared));
        tokio::task::spawn_local(async move {
            resolve::once(&shared, resolve::lookup).await;
            discover::once(&shared, learner(asked.clone()), resolve::lookup).await;
            let _ = inquire::once(&shared, &inquirer(asked, &shared)).await;
        })
    });
    let all: Vec<_> = all.collect();
    let late: Vec<_> = all.iter().map(tokio::task::JoinHandle::abort_handle).collect();
    let answers = async {
        for answer in all {
            let _ = answer.await;
        }
    };
    let _ = tokio::time::timeout(FIRST_ANSWERS, answers).await;
    // The tasks of the clusters go on with it.
    late.iter().for_each(AbortHandle::abort);
}

/// How the endpoints of a cluster are talked to: in the protocol of the first listener that sends to it.
type Asked = Option<Rc<(Arc<dyn Entry>, Options, Arc<[User]>)>>;

fn asked(snapshot: &Snapshot, registry: &Registry, shared: &Shared) -> Asked {
    let plan = snapshot.listeners.iter().find(|plan| {
        plan.routes.routes().any(|route| route.clusters().any(|c| c == shared.name()))
    })?;
    let name = plan.config.protocols.first()?;
    let options = plan.config.options.get(name).cloned().unwrap_or_default();
    Some(Rc::new((registry.get(name)?.clone(), options, plan.users.clone())))
}

/// How to ask an endpoint whether it is well.
fn prober(asked: Asked, shared: Arc<Shared>) -> impl Fn(Address) -> Probe + 'static {
    move |address| match &asked {
        Some(asked) => asked.0.probe(&asked.1, &asked.2, shared.dial(&address)),
        None => Box::pin(health::connect(shared.dial(&address))),
    }
}

/// How to ask an endpoint about itself.
fn inquirer(asked: Asked, shared: &Arc<Shared>) -> impl Fn(Address) -> Option<Probe> + 'static {
    let shared = shared.clone();
    move |address| {
        let (entry, options, _) = asked.as_deref()?;
        entry.inquiry(options, shared.name(), shared.dial(&address))
    }
}

/// How to learn the topology.
fn learner(
    asked: Asked,
) -> impl Fn(&config::Cluster) -> Result<Box<dyn Learner>, String> + 'static {
    move |config| {
        let (entry, options, _) = asked.as_deref().ok_or("no listener sends to this cluster")?;
        let learner = entry.learner(options, &config.topology, &config.topology_options);
        learner.map_err(|error| error.to_string())
    }
}
