//! Load on a cluster that fails over and moves its slots, every answer compared with a model.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::bail;
use tokio::time::sleep;

use super::install::{python, source};
use super::proxy::Proxy;
use super::server::Cluster;
use crate::process::{Finished, command, finish};
use crate::report::Outcome;
use crate::target;

/// Planned failovers and resharding lose nothing: nor may the proxy.
pub(super) async fn planned(direct: bool) -> anyhow::Result<Outcome> {
    if direct {
        return Ok(Outcome { passed: 0, failed: 0, detail: "needs the proxy".into() });
    }
    let cluster = Cluster::start().await?;
    let mut proxy = Proxy::start(&cluster.seeds()[..2], &["--cluster"]).await?;
    let trouble = async {
        for _ in 0..3 {
            sleep(Duration::from_secs(2)).await;
            cluster.fail_over().await?;
        }
        let primaries = cluster.primaries().await?;
        let [a, b, c] = primaries.as_slice() else { bail!("{} primaries", primaries.len()) };
        // Too short for anybody to take over.
        cluster.nodes[*a].pause().await?;
        sleep(Duration::from_millis(300)).await;
        cluster.nodes[*a].resume().await?;
        cluster.reshard(*a, *b, 300).await?;
        cluster.reshard(*b, *c, 300).await
    };
    let (outcome, done) = tokio::join!(model("planned", proxy.address, 15, &[]), trouble);
    done?;
    proxy.check()?;
    outcome
}

/// A primary that is killed takes its last writes with it; all else stays right, and all goes on.
pub(super) async fn killed(direct: bool) -> anyhow::Result<Outcome> {
    if direct {
        return Ok(Outcome { passed: 0, failed: 0, detail: "needs the proxy".into() });
    }
    let mut cluster = Cluster::start().await?;
    let mut proxy = Proxy::start(&cluster.seeds()[..2], &["--cluster"]).await?;
    let load = model("killed", proxy.address, 12, &LOSSY);
    let (outcome, done) = tokio::join!(load, kill_one(&mut cluster));
    done?;
    // And then there are none any more.
    model("recovered", proxy.address, 3, &["--errors", "0"]).await?;
    proxy.check()?;
    outcome
}

/// The same with clients of a cluster, which see the proxy as its only node, and have to stay with it.
pub(super) async fn transparent(direct: bool) -> anyhow::Result<Outcome> {
    if direct {
        return Ok(Outcome { passed: 0, failed: 0, detail: "needs the proxy".into() });
    }
    let mut cluster = Cluster::start().await?;
    let options = ["--cluster", "--option", "face=transparent"];
    let mut proxy = Proxy::start(&cluster.seeds()[..2], &options).await?;
    let load = library("killed", proxy.address, 12, &LOSSY);
    let (outcome, done) = tokio::join!(load, kill_one(&mut cluster));
    done?;
    library("recovered", proxy.address, 3, &["--errors", "0"]).await?;
    proxy.check()?;
    outcome
}

const LOSSY: [&str; 3] = ["--lossy", "--errors", "200"];

/// Kills a primary, and has it come back when another stands in.
async fn kill_one(cluster: &mut Cluster) -> anyhow::Result<()> {
    sleep(Duration::from_secs(2)).await;
    let Some(first) = cluster.primaries().await?.first().copied() else { bail!("none") };
    cluster.nodes[first].kill().await?;
    // While nobody serves its slots, what is asked of them waits; what was in flight is lost.
    sleep(Duration::from_secs(5)).await;
    cluster.nodes[first].restart().await?;
    cluster.settled().await
}

/// Load by redis-py's cluster clients.
async fn library(
    name: &str,
    address: SocketAddr,
    seconds: u32,
    options: &[&str],
) -> anyhow::Result<Outcome> {
    let mut load = command(python().join("bin/python"));
    load.arg(source("python").join("load.py"));
    load.args([&address.to_string(), &seconds.to_string()]).args(options);
    verdict(finish(&format!("redis-load-transparent-{name}"), &mut load).await?)
}

pub(super) async fn model(
    name: &str,
    address: SocketAddr,
    seconds: u32,
    options: &[&str],
) -> anyhow::Result<Outcome> {
    let mut check = command(target().join("debug/redis-check"));
    check.args(["model", &address.to_string(), "--seconds", &seconds.to_string()]).args(options);
    verdict(finish(&format!("redis-model-{name}"), &mut check).await?)
}

/// What a load says in the end, if it is content.
fn verdict(done: Finished) -> anyhow::Result<Outcome> {
    let verdict = done.text.lines().find_map(|line| line.strip_prefix("PASS "));
    let Some(verdict) = verdict.filter(|_| done.status.success()) else {
        bail!("{:#}", done.error(&done.text));
    };
    Ok(Outcome::pass(verdict))
}
