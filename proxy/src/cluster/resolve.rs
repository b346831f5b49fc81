//! Keeps the endpoints of a cluster in step with what its host names resolve to.

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::shared::Shared;
use crate::config;

/// A host name and a port.
pub type Name = (String, u16);

/// All addresses of a name, v4 and v6, from the system's resolver.
pub async fn lookup((host, port): Name) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

/// Resolves the names of a cluster, again every `dns_refresh` and whenever its settings change; never ends. For the control thread.
///
/// A name that cannot be resolved, or resolves to nothing, keeps the addresses that it had.
pub async fn run<R, F>(shared: Arc<Shared>, resolver: R)
where
    R: Fn(Name) -> F,
    F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    let mut failing = HashSet::new();
    let mut changes = shared.watch();
    loop {
        changes.mark_unchanged();
        let config = shared.config();
        resolve(&shared, &config, &resolver, &mut failing).await;
        let refresh = tokio::time::sleep(config.dns_refresh.0);
        tokio::pin!(refresh);
        let static_only = names(&config).next().is_none();
        loop {
            tokio::select! {
                () = &mut refresh, if !static_only => break,
                // The sender is in `shared`.
                _ = changes.changed() => {
                    if !Arc::ptr_eq(&config, &shared.config()) {
                        break;
                    }
                }
            }
        }
    }
}

/// Resolves the names of a cluster once, all at a time: for a start with endpoints.
pub async fn once<R, F>(shared: &Shared, resolver: R)
where
    R: Fn(Name) -> F,
    F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    resolve(shared, &shared.config(), &resolver, &mut HashSet::new()).await;
}

async fn resolve<R, F>(
    shared: &Shared,
    config: &config::Cluster,
    resolver: &R,
    failing: &mut HashSet<Name>,
) where
    R: Fn(Name) -> F,
    F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    let mut lookups = JoinSet::new();
    for name in names(config).collect::<HashSet<_>>() {
        let answer = resolver(name.clone());
        lookups.spawn(async { (name, answer.await) });
    }
    // Each answer counts as it comes: a name that takes long holds nobody up.
    while let Some(Ok((name, answer))) = lookups.join_next().await {
        let problem = match answer {
            Ok(addresses) if addresses.is_empty() => "no addresses".to_owned(),
            Ok(mut addresses) => {
                // Resolvers rotate their answers, which changes nothing.
                addresses.sort_unstable();
                failing.remove(&name);
                shared.resolved(name, addresses, Instant::now().into_std());
                continue;
            }
            Err(error) => error.to_string(),
        };
        let (host, port) = &name;
        if !failing.contains(&name) {
            tracing::warn!(cluster = %shared.name(), "cannot resolve {host}:{port}: {problem}");
            failing.insert(name);
        }
    }
}

/// The names among the endpoints.
pub(super) fn names(config: &config::Cluster) -> impl Iterator<Item = Name> + '_ {
    config.endpoints.iter().filter_map(|endpoint| match &endpoint.address {
        config::Address::Unix(_) => None,
        tcp @ config::Address::Tcp { host, port } => {
            tcp.socket_addr().is_none().then(|| (host.clone(), *port))
        }
    })
}
