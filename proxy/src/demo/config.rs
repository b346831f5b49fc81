//! The demo's configuration: a file like any other.

use std::{
    fmt::Write as _,
    fs::File,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};

use super::service::SERVICES;
use crate::{config::Config, registry::Registry};

/// The name of the listener for Bolt.
pub(super) const BOLT: &str = "mesh";

/// The name of the listener for Redis.
pub(super) const REDIS: &str = "redis";

/// The name of the cluster behind it.
pub(super) const CACHE: &str = "cache";

/// Writes the file for these endpoints to the directory for temporary files.
pub(super) fn write(endpoints: &[(&'static str, SocketAddr)]) -> anyhow::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("wiremesh-demo-{}.yaml", std::process::id()));
    let written = File::create_new(&path).and_then(|mut f| f.write_all(yaml(endpoints).as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Reads it the ordinary way.
pub(super) fn load(path: &Path) -> anyhow::Result<Config> {
    let protocols = Registry::bundled().protocols();
    Config::load(path, &protocols).map_err(|report| anyhow!("{report}"))
}

fn yaml(endpoints: &[(&'static str, SocketAddr)]) -> String {
    let mut text = format!(
        "\
# The configuration that a run of `wiremesh demo` had. Port 0 stands for a free port, which the demo tells.
workers: 2
admin: 127.0.0.1:0
log: error
drain_timeout: 2s

listeners:
  - name: {BOLT}
    address: 127.0.0.1:0
    protocols: [bolt]
    allow: [127.0.0.0/8]
    routes:
"
    );
    // Writing to a string does not fail.
    for service in &SERVICES {
        let (name, cluster) = (service.name, service.cluster);
        let _ = write!(
            text,
            "      - name: {cluster}
        match: {{ service: {{ exact: \"{name}\" }} }}
        cluster: {cluster}
        timeout: 3s
        # What an endpoint was doing when it died is done again elsewhere, which only a service that bears it may say.
        retry:
          attempts: 3
          on: [connect, reset, unavailable]
          idempotent: true
          backoff: {{ base: 2ms, max: 50ms }}
          budget: {{ percent: 50, min_per_second: 50 }}
"
        );
    }
    let _ = write!(
        text,
        "
  - name: {REDIS}
    address: 127.0.0.1:0
    protocols: [redis]
    allow: [127.0.0.0/8]
    routes:
      # BLPOP and what else waits does so for as long as its client says.
      - {{ name: {CACHE}, cluster: {CACHE}, timeout: 3s }}
"
    );
    text.push_str("\nclusters:\n");
    for service in &SERVICES {
        let cluster = service.cluster;
        let here = endpoints.iter().filter(|(name, _)| *name == cluster);
        let addresses: Vec<String> = here.map(|(_, address)| format!("\"{address}\"")).collect();
        let _ = write!(
            text,
            "  - name: {cluster}
    endpoints: [{}]
    balance: least_request
    outlier: {{ consecutive_failures: 3, ejection: 1s, max_ejected_percent: 50 }}
    # Patient: a dead endpoint refuses at once, and a machine that is busy is no reason to call them all dead.
    health: {{ interval: 1s, timeout: 1s, healthy: 1, unhealthy: 3 }}
    keepalive: {{ interval: 5s, timeout: 2s, failures: 3 }}
",
            addresses.join(", ")
        );
    }
    let cache = endpoints.iter().filter(|(name, _)| *name == CACHE);
    for (name, address) in cache {
        let _ = writeln!(text, "  - {{ name: {name}, endpoints: [\"{address}\"] }}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_without_mistakes() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let services = SERVICES.iter().map(|s| (s.cluster, address));
        let endpoints: Vec<_> = services.chain([(CACHE, address)]).collect();
        let protocols = Registry::bundled().protocols();
        let config = Config::parse("demo.yaml", &yaml(&endpoints), &|_| None, &protocols);
        let config = config.unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(config.clusters.len(), SERVICES.len() + 1);
        assert_eq!(config.listeners[0].routes.len(), SERVICES.len());
    }
}
