//! A configuration made ready to run: immutable, shared by all workers, replaced as a whole.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use anyhow::{Context, bail};
use wiremesh::Limits;

use crate::{
    cluster::Shared,
    config::{self, Config},
    policy::{Authorize, Filters, RouteTable},
    registry::Registry,
    telemetry::AccessLog,
};

/// A configuration made ready to run.
pub struct Snapshot {
    /// What it was made from.
    pub config: Arc<Config>,
    /// The listeners, in the file's order.
    pub listeners: Vec<Arc<ListenerPlan>>,
    /// The clusters, in the file's order.
    pub clusters: Vec<Arc<Shared>>,
    /// Where requests are logged.
    pub access_log: Option<AccessLog>,
}

/// One listener made ready to run.
pub struct ListenerPlan {
    /// Its name.
    pub name: Arc<str>,
    /// What it was made from.
    pub config: Arc<config::Listener>,
    /// For its decoders.
    pub limits: Limits,
    /// Who may connect; `None`: everybody.
    pub authorize: Option<Authorize>,
    /// Where requests go.
    pub routes: Arc<RouteTable>,
    /// The user's own, in order.
    pub filters: Filters,
}

impl Snapshot {
    /// Compiles a configuration. What `old` has that has not changed is taken over: clusters with their endpoints' state,
    /// limits with their counts. Lines that the access log drops are added to `dropped`.
    pub fn compile(
        config: Config,
        registry: &Registry,
        filters: &BTreeMap<String, Filters>,
        dropped: &Arc<AtomicU64>,
        old: Option<&Self>,
    ) -> anyhow::Result<Self> {
        let config = Arc::new(config);
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            for protocol in &listener.protocols {
                if registry.get(protocol).is_none() {
                    bail!("listener {}: unknown protocol {protocol:?}", listener.name);
                }
            }
            let known = old.and_then(|o| o.listeners.iter().find(|l| *l.name == *listener.name));
            let mut routes = RouteTable::compile(&listener.routes)
                .with_context(|| format!("listener {}", listener.name))?;
            if let Some(known) = known {
                routes.adopt(&known.routes);
            }
            listeners.push(Arc::new(ListenerPlan {
                name: listener.name.as_str().into(),
                limits: listener.limits.to_decoder(),
                authorize: Authorize::compile(&listener.allow, &listener.deny),
                routes: Arc::new(routes),
                filters: filters.get(&listener.name).cloned().unwrap_or_default(),
                config: Arc::new(listener.clone()),
            }));
        }
        let clusters = config.clusters.iter().map(|cluster| {
            let known = old.and_then(|o| o.clusters.iter().find(|c| **c.name() == *cluster.name));
            known.cloned().unwrap_or_else(|| Shared::new(Arc::new(cluster.clone())))
        });
        let clusters = clusters.collect();
        let access_log = match (&config.access_log, old) {
            (None, _) => None,
            (wanted, Some(old)) if *wanted == old.config.access_log => old.access_log.clone(),
            (Some(wanted), _) => {
                Some(AccessLog::open(wanted, dropped.clone()).context("access_log")?)
            }
        };
        Ok(Self { config, listeners, clusters, access_log })
    }
}
