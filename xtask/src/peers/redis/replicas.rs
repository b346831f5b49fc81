//! A primary and its replica: reads from the replica, a promotion by hand, and one by Sentinel.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::sleep;

use super::load::model;
use super::proxy::Proxy;
use super::server::{Server, ask};
use crate::report::Outcome;

/// How many reads, and writes, are counted.
const ASKED: usize = 100;

/// A primary with a replica that is in step.
struct Pair {
    primary: Server,
    replica: Server,
}

impl Pair {
    async fn start() -> anyhow::Result<Self> {
        const SOON: [&str; 4] =
            ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"];
        let primary = Server::start(&SOON).await?;
        let replica = Server::start(&SOON).await?;
        follow(&replica, primary.address).await?;
        Ok(Self { primary, replica })
    }

    fn addresses(&self) -> [SocketAddr; 2] {
        [self.primary.address, self.replica.address]
    }

    /// Until the replica has all that the primary has.
    async fn in_step(&self) -> anyhow::Result<()> {
        let wanted = field(&self.primary, "replication", "master_repl_offset").await?;
        self.replica
            .wait(&["INFO", "replication"], |seen| {
                let offset = value(seen, "slave_repl_offset").and_then(|it| it.parse().ok());
                offset >= wanted.parse::<u64>().ok()
            })
            .await
    }
}

/// Until it is in step with this primary.
async fn follow(replica: &Server, primary: SocketAddr) -> anyhow::Result<()> {
    let port = primary.port().to_string();
    replica.ask(&["REPLICAOF", "127.0.0.1", &port]).await?;
    replica.wait(&["INFO", "replication"], |seen| seen.contains("master_link_status:up")).await
}

fn value(info: &str, name: &str) -> Option<String> {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(|value| value.trim().to_owned())
}

async fn field(server: &Server, section: &str, name: &str) -> anyhow::Result<String> {
    let info = server.ask(&["INFO", section]).await?;
    value(&info, name).with_context(|| format!("{name} of {}", server.address))
}

/// How often a server has executed a command.
async fn calls(server: &Server, command: &str) -> anyhow::Result<usize> {
    let info = server.ask(&["INFO", "commandstats"]).await?;
    let stats = value(&info, &format!("cmdstat_{command}")).unwrap_or_default();
    let calls = stats.strip_prefix("calls=").and_then(|rest| rest.split(',').next());
    Ok(calls.and_then(|calls| calls.parse().ok()).unwrap_or(0))
}

/// Reads are the replica's, writes the primary's; a replica that is promoted by hand takes over, and nothing is lost.
pub(super) async fn pair(direct: bool) -> anyhow::Result<Outcome> {
    if direct {
        return Ok(Outcome { passed: 0, failed: 0, detail: "needs the proxy".into() });
    }
    let pair = Pair::start().await?;
    let settings = ["topology: replicated", "read_from: replica"];
    let mut proxy = Proxy::configured(&pair.addresses(), &settings).await?;
    for n in 0..ASKED {
        let said = ask(proxy.address, &["SET", "k", &n.to_string()]).await?;
        if said != "OK" {
            bail!("SET answers {said}");
        }
    }
    pair.in_step().await?;
    for _ in 0..ASKED {
        let said = ask(proxy.address, &["GET", "k"]).await?;
        if said != (ASKED - 1).to_string() {
            bail!("GET answers {said}");
        }
    }
    let reads = (calls(&pair.primary, "get").await?, calls(&pair.replica, "get").await?);
    if reads != (0, ASKED) {
        bail!("of {ASKED} reads the primary has had {}, the replica {}", reads.0, reads.1);
    }
    let writes = calls(&pair.primary, "set").await?;
    if writes != ASKED {
        bail!("of {ASKED} writes the primary has had {writes}");
    }
    proxy.check()?;
    let promoted = promoted(pair).await?;
    let detail = format!("{ASKED} reads of the replica; promoted by hand: {}", promoted.detail);
    Ok(Outcome { detail, ..promoted })
}

/// As it is done with care: nothing is written while the replica catches up and is promoted.
async fn promoted(pair: Pair) -> anyhow::Result<Outcome> {
    let mut proxy = Proxy::configured(&pair.addresses(), &["topology: replicated"]).await?;
    let promote = async {
        sleep(Duration::from_secs(2)).await;
        pair.primary.ask(&["CLIENT", "PAUSE", "10000", "WRITE"]).await?;
        pair.in_step().await?;
        pair.replica.ask(&["REPLICAOF", "NO", "ONE"]).await?;
        follow(&pair.primary, pair.replica.address).await?;
        pair.primary.ask(&["CLIENT", "UNPAUSE"]).await?;
        anyhow::Ok(())
    };
    let (outcome, done) = tokio::join!(model("promoted", proxy.address, 6, &[]), promote);
    done?;
    let outcome = outcome?;
    model("follows", proxy.address, 2, &["--errors", "0"]).await?;
    proxy.check()?;
    if !pair.primary.ask(&["ROLE"]).await?.starts_with("slave") {
        bail!("the old primary is no replica");
    }
    Ok(outcome)
}

/// The primary is killed, and Sentinel has its replica take over.
pub(super) async fn sentinel(direct: bool) -> anyhow::Result<Outcome> {
    if direct {
        return Ok(Outcome { passed: 0, failed: 0, detail: "needs the proxy".into() });
    }
    let mut pair = Pair::start().await?;
    let port = pair.primary.address.port().to_string();
    let monitor = ["SENTINEL", "MONITOR", "pair", "127.0.0.1", &port, "2"];
    let mut sentinels = Vec::new();
    for _ in 0..3 {
        let sentinel = Server::sentinel().await?;
        sentinel.ask(&monitor).await?;
        for (name, value) in [("down-after-milliseconds", "1000"), ("failover-timeout", "5000")] {
            sentinel.ask(&["SENTINEL", "SET", "pair", name, value]).await?;
        }
        sentinels.push(sentinel);
    }
    for sentinel in &sentinels {
        let known = |seen: &str| {
            let about = |name: &str, count: &str| seen.contains(&format!("{name}\n{count}\n"));
            about("num-slaves", "1") && about("num-other-sentinels", "2")
        };
        sentinel.wait(&["SENTINEL", "MASTER", "pair"], known).await?;
    }
    let addresses: Vec<_> = sentinels.iter().map(|it| it.address).collect();
    let settings = ["topology: sentinel", "topology_options: { master: pair }"];
    let mut proxy = Proxy::configured(&addresses, &settings).await?;
    let trouble = async {
        sleep(Duration::from_secs(2)).await;
        pair.primary.kill().await?;
        pair.replica.wait(&["ROLE"], |seen| seen.starts_with("master")).await?;
        // The one before comes back with nothing, and is told to follow.
        sleep(Duration::from_secs(2)).await;
        pair.primary.restart().await?;
        pair.primary
            .wait(&["INFO", "replication"], |seen| seen.contains("master_link_status:up"))
            .await
    };
    let options = ["--lossy", "--waits", "--errors", "200"];
    let (outcome, done) = tokio::join!(model("sentinel", proxy.address, 15, &options), trouble);
    done?;
    let outcome = outcome?;
    model("watched", proxy.address, 3, &["--waits", "--errors", "0"]).await?;
    proxy.check()?;
    Ok(outcome)
}
