//! Random commands to a bare server and through the proxy.

use std::net::SocketAddr;

use anyhow::bail;

use super::proxy::Proxy;
use super::server::{Cluster, Server};
use crate::process::{command, finish};
use crate::report::Outcome;
use crate::target;

pub(super) const NAME: &str = "redis-differ";

/// The cell with a cluster behind the proxy.
pub(super) const CLUSTER: &str = "redis-differ-cluster";

/// First two bare servers, which shows that the comparison is sound.
pub(super) async fn run(direct: bool) -> anyhow::Result<Outcome> {
    let (control, behind) = (Server::start(&[]).await?, Server::start(&[]).await?);
    let address = behind.address;
    let mut outcome = differ("bare", control.address, address, &[address], &["60"]).await?;
    if direct {
        return Ok(outcome);
    }
    let mut proxy = Proxy::start(&[behind.address], &[]).await?;
    let proxied = differ("proxied", control.address, proxy.address, &[address], &["400"]).await?;
    proxy.check()?;
    outcome.passed += proxied.passed;
    outcome.detail = format!("bare: {}; proxied: {}", outcome.detail, proxied.detail);
    Ok(outcome)
}

/// A cluster that looks like one server, and keys of one slot: what one server answers.
pub(super) async fn run_cluster(direct: bool) -> anyhow::Result<Outcome> {
    if direct {
        return Ok(Outcome { passed: 0, failed: 0, detail: "needs the proxy".into() });
    }
    let control = Server::start(&[]).await?;
    // No failovers, however busy the machine is: what they lose would be missed.
    let cluster = Cluster::start_with(&["--cluster-node-timeout", "60000"]).await?;
    let mut primaries = Vec::new();
    for n in cluster.primaries().await? {
        primaries.push(cluster.nodes[n].address);
    }
    let mut proxy = Proxy::start(&cluster.seeds()[..2], &["--cluster"]).await?;
    let options = ["300", "--one-slot"];
    let outcome = differ("cluster", control.address, proxy.address, &primaries, &options).await?;
    proxy.check()?;
    Ok(outcome)
}

/// `count`: how many sequences; further options.
async fn differ(
    name: &str,
    control: SocketAddr,
    subject: SocketAddr,
    behind: &[SocketAddr],
    count: &[&str],
) -> anyhow::Result<Outcome> {
    let mut check = command(target().join("debug/redis-check"));
    check.args(["differ", &control.to_string(), &subject.to_string()]);
    for server in behind {
        check.args(["--behind", &server.to_string()]);
    }
    check.args(["--seconds", "120"]);
    // The same each time, so that a failure is somebody's doing; who looks for new differences gives redis-check other
    // seeds and more time.
    check.args(["--seed", "1", "--count"]).args(count);
    let done = finish(&format!("{NAME}-{name}"), &mut check).await?;
    let verdict = done.text.lines().find_map(|line| line.strip_prefix("PASS "));
    let Some(verdict) = verdict.filter(|_| done.status.success()) else {
        bail!("{:#}", done.error(&done.text));
    };
    let passed = verdict.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    if passed == 0 {
        bail!("nothing was compared");
    }
    Ok(Outcome { passed, failed: 0, detail: verdict.to_owned() })
}
