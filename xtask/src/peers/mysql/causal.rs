//! A replica that is behind: what is read there, and when it is not.

use std::time::Duration;

use super::judges::check;
use super::server::{Kind, Server};
use crate::peers::proxy::{Proxy, free_address};
use crate::peers::said::Said;
use crate::report::Outcome;

const LONGEST: Duration = Duration::from_secs(120);

/// How long reads wait: not at all; longer than the replica is behind; for less than that; longer, with one connection to each
/// server; and not at all.
const LISTENERS: [(&str, &str, &str); 5] = [
    ("plain", "0", "pair"),
    ("causal", "20s", "pair"),
    ("hasty", "50ms", "pair"),
    ("narrow", "20s", "narrow"),
    ("strict", "0", "strict"),
];

/// How many connections, and how far behind a replica may be.
const CLUSTERS: [(&str, usize, &str); 3] =
    [("pair", 64, "60s"), ("narrow", 2, "60s"), ("strict", 2, "3s")];

/// With a pair of these.
pub(super) struct Cell(Kind);

impl Cell {
    pub(super) fn all() -> Vec<Self> {
        Kind::ALL.into_iter().map(Self).collect()
    }

    /// For example `mysql-causal-mariadb11`.
    pub(super) fn name(&self) -> String {
        format!("mysql-causal-{}", self.0.name())
    }

    /// Where it is asked for, every session reads on the replica what it has written; and not everyone where it is not.
    pub(super) async fn run(&self, direct: bool) -> anyhow::Result<Outcome> {
        if direct {
            return Ok(Outcome { passed: 0, failed: 0, detail: "needs the proxy".into() });
        }
        let source = Server::start(self.0, "").await?;
        let replica = Server::start(self.0, "").await?;
        let mut addresses = Vec::new();
        for _ in LISTENERS {
            addresses.push(free_address()?);
        }
        let mut proxy = Proxy::run(|address| {
            // It is the first that is waited for.
            addresses[0] = address;
            let mut config = "listeners:\n".to_owned();
            for ((name, wait, cluster), address) in LISTENERS.into_iter().zip(&addresses) {
                config += &format!(
                    "- name: {name}\n  \
                       address: {address}\n  \
                       protocols: [mysql]\n  \
                       options: {{ mysql: {{ mode: pooled, causal_reads: {wait} }} }}\n  \
                       users: [{{ name: nopw, password: \"\" }}]\n  \
                       routes: [{{ name: all, cluster: {cluster}, timeout: 30s }}]\n"
                );
            }
            config += "clusters:\n";
            for (name, connections, lag) in CLUSTERS {
                config += &format!(
                    "- name: {name}\n  \
                       endpoints: [\"{}\", \"{}\"]\n  \
                       topology: replicated\n  \
                       topology_options: {{ user: nat, password: natpw, max_lag: {lag} }}\n  \
                       topology_refresh: 500ms\n  \
                       read_from: prefer_replica\n  \
                       max_connections: {connections}\n",
                    source.address, replica.address
                );
            }
            config
        })
        .await?;
        let mut program = check();
        program.arg("causal");
        for address in [source.address, replica.address].iter().chain(&addresses) {
            program.arg(address.to_string());
        }
        let said = Said::by(&self.name(), program, LONGEST).await?;
        proxy.check()?;
        let detail = said.answers.join("; ");
        let outcome = said.outcome("a replica that is behind");
        Ok(if outcome.failed == 0 { Outcome { detail, ..outcome } } else { outcome })
    }
}
