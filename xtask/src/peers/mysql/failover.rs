//! A primary and its replica change places under load, as it is done with care; then the primary is killed.

use std::time::Duration;

use super::judges::check;
use super::server::{Kind, Server};
use crate::peers::proxy::Proxy;
use crate::peers::said::Said;
use crate::report::Outcome;

const LONGEST: Duration = Duration::from_secs(120);

/// So that a replica that has become the primary can tell another what it has got from the one before.
const SETTINGS: &str = "log_slave_updates=1\n";

/// With a pair of these.
pub(super) struct Cell(Kind);

impl Cell {
    pub(super) fn all() -> Vec<Self> {
        Kind::ALL.map(Self).into()
    }

    /// For example `mysql-failover-mariadb10`.
    pub(super) fn name(&self) -> String {
        format!("mysql-failover-{}", self.0.name())
    }

    /// No write that was acknowledged is lost, none is done twice, and every client is served by the new primary.
    pub(super) async fn run(&self, direct: bool) -> anyhow::Result<Outcome> {
        if direct {
            return Ok(Outcome { passed: 0, failed: 0, detail: "needs the proxy".into() });
        }
        let source = Server::start_with(self.0, "", SETTINGS).await?;
        let replica = Server::start_with(self.0, "", SETTINGS).await?;
        let (one, other) = (source.address, replica.address);
        let mut proxy = Proxy::run(|address| {
            format!(
                "listeners:\n\
                 - name: mysql\n  \
                   address: {address}\n  \
                   protocols: [mysql]\n  \
                   options: {{ mysql: {{ mode: pooled }} }}\n  \
                   users: [{{ name: nopw, password: \"\" }}]\n  \
                   routes: [{{ name: all, cluster: pair, timeout: 20s }}]\n\
                 clusters:\n\
                 - name: pair\n  \
                   endpoints: [\"{one}\", \"{other}\"]\n  \
                   topology: replicated\n  \
                   topology_options: {{ user: nat, password: natpw }}\n  \
                   max_connections: 16\n"
            )
        })
        .await?;
        let mut program = check();
        let servers = [proxy.address, one, other].map(|address| address.to_string());
        program.arg("failover").args(servers).arg(source.id()?.to_string());
        let said = Said::by(&self.name(), program, LONGEST).await?;
        proxy.check()?;
        let detail = said.answers.join("; ");
        let outcome = said.outcome("a pair that changes places, and is left with one");
        Ok(if outcome.failed == 0 { Outcome { detail, ..outcome } } else { outcome })
    }
}
