//! Very many clients in pooled mode, of which few have something to say.

use std::time::Duration;

use anyhow::{Context, ensure};

use super::client::Bench;
use super::judges::check;
use super::pooled;
use super::server::Kind;
use crate::peers::said::Said;
use crate::report::Outcome;

pub(super) const NAME: &str = "mysql-idle-pooled";

const LONGEST: Duration = Duration::from_secs(120);

const CLIENTS: usize = 10_000;

/// Connections for all of them.
const CONNECTIONS: usize = 16;

/// The most memory that the proxy may need for a client, in KiB.
const MEMORY_KIB: usize = 24;

/// Of the proxy and of the clients' process, with some to spare.
const FILES: usize = CLIENTS + 500;

/// Each is answered, and has the session that it has made, over a few connections.
pub(super) async fn run(bench: &mut Bench, direct: bool) -> anyhow::Result<Outcome> {
    if direct {
        return Ok(Outcome { passed: 0, failed: 0, detail: "needs the proxy".into() });
    }
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let files =
        files.and_then(|rest| rest.split_whitespace().next()).context("no limit of files")?;
    let enough = files == "unlimited" || files.parse::<usize>()? >= FILES;
    ensure!(
        enough,
        "a process may have {files} files open, {FILES} are needed: `ulimit -n {FILES}`"
    );
    let server = bench.at(Kind::Mysql, direct).await?.0;
    let (mut proxy, server) = (pooled::over(CONNECTIONS, server).await?, server.address);
    let mut program = check();
    program.args(["idle", &proxy.address.to_string(), "--server", &server.to_string(), "--state"]);
    program.args(["--clients", &CLIENTS.to_string(), "--most", &CONNECTIONS.to_string()]);
    program.args(["--process", &proxy.id()?.to_string(), "--most-memory", &MEMORY_KIB.to_string()]);
    let said = Said::by(NAME, program, LONGEST).await?;
    proxy.check()?;
    let detail = said.answers.join("; ");
    let outcome = said.outcome("very many clients over few connections");
    Ok(if outcome.failed == 0 { Outcome { detail, ..outcome } } else { outcome })
}
