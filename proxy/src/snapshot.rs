//! A configuration made ready to run: immutable, shared by all workers, replaced as a whole.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, atomic::AtomicU64},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use wiremesh::{Failure, Limits, Reason, User};

use crate::{
    cluster::Shared,
    config::{self, Config},
    net::tls::{ClientTls, ServerTls},
    policy::{Authorize, Filters, Firewall, PeerInfo, RouteTable, Trusted, Verdict},
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
    /// How TLS is spoken with the clusters, in the same order, by what the files say now.
    pub cluster_tls: Vec<Option<ClientTls>>,
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
    /// How TLS is spoken with its clients.
    pub tls: Option<ServerTls>,
    /// Who may log in, by what the files say now.
    pub users: Arc<[User]>,
    /// Who may say whose a connection is; `None`: nobody is listened to.
    pub trusted: Option<Trusted>,
    /// Who may connect; `None`: everybody.
    pub authorize: Option<Authorize>,
    /// Which requests pass; `None`: all.
    pub firewall: Option<Arc<Firewall>>,
    /// Where requests go.
    pub routes: Arc<RouteTable>,
    /// The user's own, in order.
    pub filters: Filters,
    /// What clients beyond `max_connections` are told, if they can be told.
    pub full: Bytes,
}

/// Who may log in, as the listener's protocols take them.
fn users(listener: &config::Listener, registry: &Registry) -> anyhow::Result<Vec<User>> {
    let users = listener.load_users()?;
    for name in &listener.protocols {
        if let Some(protocol) = registry.get(name)
            && !users.is_empty()
        {
            let options = listener.options.get(name).cloned().unwrap_or_default();
            let check = protocol.info().check_users;
            check(&options, &users).with_context(|| format!("users of {name}"))?;
        }
    }
    Ok(users)
}

/// What clients are told for whom there is no place, in a protocol in which they wait for a word.
fn full(listener: &config::Listener, registry: &Registry) -> Bytes {
    let [name] = &listener.protocols[..] else { return Bytes::new() };
    let Some(protocol) = registry.get(name) else { return Bytes::new() };
    let max = listener.max_connections;
    let why = format!("listener {} has all the {max} connections it may have", listener.name);
    let options = listener.options.get(name).cloned().unwrap_or_default();
    protocol.turn_away(&options, &Failure::new(Reason::Overloaded, why))
}

impl ListenerPlan {
    /// What becomes of a connection from this address.
    pub fn origin(&self, ip: Option<IpAddr>) -> Origin {
        let required = self.config.proxy_protocol.as_ref().is_some_and(|it| it.required);
        match &self.trusted {
            Some(trusted) if trusted.trusts(ip) => Origin::Introduced { required },
            Some(_) if required => Origin::Untrusted,
            _ => Origin::Direct,
        }
    }

    /// Whether a client of this address may connect at all.
    pub fn admit(&self, ip: Option<IpAddr>) -> Result<(), Failure> {
        if let Some(authorize) = &self.authorize {
            authorize.check(ip)?;
        }
        match self.filters.on_connection(&PeerInfo { ip, listener: &self.name }) {
            Verdict::Continue => Ok(()),
            Verdict::Reply(failure) => Err(failure),
        }
    }
}

/// Whose a connection is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// That of whoever has connected.
    Direct,
    /// That of whom its header tells, if it has one, or must have one.
    Introduced {
        /// Whether it must.
        required: bool,
    },
    /// Nobody's: it would have to have a header, and that would not be believed.
    Untrusted,
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
            let trusted = listener.proxy_protocol.as_ref();
            if listener.firewall.as_ref().is_some_and(|firewall| firewall.file.is_some()) {
                bail!("listener {}: the firewall's file was not read", listener.name);
            }
            let protocols = listener.protocols.iter().filter_map(|name| registry.get(name));
            let digest_of: Vec<_> = protocols.map(|protocol| protocol.info().digest_of).collect();
            let mut firewall = Firewall::compile(listener.firewall.as_ref(), &digest_of)
                .with_context(|| format!("listener {}", listener.name))?;
            if let (Some(new), Some(old)) =
                (&mut firewall, known.and_then(|known| known.firewall.as_ref()))
            {
                new.adopt(old);
            }
            let tls = listener.tls.as_ref().map(ServerTls::load).transpose();
            let users =
                users(listener, registry).with_context(|| format!("listener {}", listener.name))?;
            listeners.push(Arc::new(ListenerPlan {
                users: users.into(),
                full: full(listener, registry),
                tls: tls.with_context(|| format!("listener {}", listener.name))?,
                name: listener.name.as_str().into(),
                limits: listener.limits.to_decoder(),
                trusted: trusted.map(|it| Trusted::compile(&it.trusted)),
                authorize: Authorize::compile(&listener.allow, &listener.deny),
                firewall: firewall.map(Arc::new),
                routes: Arc::new(routes),
                filters: filters.get(&listener.name).cloned().unwrap_or_default(),
                config: Arc::new(listener.clone()),
            }));
        }
        let (mut clusters, mut cluster_tls) = (Vec::new(), Vec::new());
        for cluster in &config.clusters {
            let tls = cluster.tls.as_ref().map(ClientTls::load).transpose();
            let tls = tls.with_context(|| format!("cluster {}", cluster.name))?;
            let known = old.and_then(|o| o.clusters.iter().find(|c| **c.name() == *cluster.name));
            // With other TLS it is another cluster: what is connected in the old way must not be used any more.
            let known = known.filter(|known| known.config().tls == cluster.tls);
            clusters.push(known.cloned().unwrap_or_else(|| {
                let shared = Shared::new(Arc::new(cluster.clone()));
                shared.set_tls(tls.clone());
                shared
            }));
            cluster_tls.push(tls);
        }
        let access_log = match (&config.access_log, old) {
            (None, _) => None,
            (wanted, Some(old)) if *wanted == old.config.access_log => old.access_log.clone(),
            (Some(wanted), _) => {
                Some(AccessLog::open(wanted, dropped.clone()).context("access_log")?)
            }
        };
        Ok(Self { config, listeners, clusters, cluster_tls, access_log })
    }
}
