//! Debian's redis-server as processes on loopback: one, or a cluster.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use crate::peers::proxy::free_address;
use crate::process::{command, log};
use crate::target;

const SENTINEL: &str = "--sentinel";

const START: Duration = Duration::from_secs(20);

/// A running redis-server. It keeps nothing on disk.
pub(super) struct Server {
    child: Child,
    extra: Vec<String>,
    pub(super) address: SocketAddr,
}

impl Server {
    /// With options as they stand on the command line, for example `--databases 4`.
    pub(super) async fn start(extra: &[&str]) -> anyhow::Result<Self> {
        Self::start_at(free_address()?, extra).await
    }

    /// A sentinel, which watches nothing yet.
    pub(super) async fn sentinel() -> anyhow::Result<Self> {
        Self::start(&[SENTINEL]).await
    }

    async fn start_at(address: SocketAddr, extra: &[&str]) -> anyhow::Result<Self> {
        let extra: Vec<_> = extra.iter().map(|arg| (*arg).to_owned()).collect();
        let folder = folder(address);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let child = spawn(address, &extra)?;
        let server = Self { child, extra, address };
        server.ready().await?;
        Ok(server)
    }

    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// The same server on the same port, empty but for what it knows of its cluster.
    pub(super) async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        self.child = spawn(self.address, &self.extra)?;
        self.ready().await
    }

    /// It keeps its connections and says nothing.
    pub(super) async fn pause(&self) -> anyhow::Result<()> {
        self.signal("-STOP").await
    }

    pub(super) async fn resume(&self) -> anyhow::Result<()> {
        self.signal("-CONT").await
    }

    /// What redis-cli gets for an answer.
    pub(super) async fn ask(&self, args: &[&str]) -> anyhow::Result<String> {
        ask(self.address, args).await
    }

    /// Asks until the answer is as wanted.
    pub(super) async fn wait(
        &self,
        args: &[&str],
        wanted: impl Fn(&str) -> bool,
    ) -> anyhow::Result<()> {
        let end = Instant::now() + START;
        loop {
            let seen = self.ask(args).await.unwrap_or_else(|e| format!("{e:#}"));
            if wanted(&seen) {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("{} {args:?} still says {seen}", self.address);
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ready(&self) -> anyhow::Result<()> {
        self.wait(&["PING"], |seen| seen == "PONG").await
    }

    async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let id = self.child.id().context("it has ended")?.to_string();
        let status = command("kill").args([signal, &id]).status().await?;
        if status.success() { Ok(()) } else { bail!("kill {signal} {id}: {status}") }
    }
}

/// Three primaries with a replica each.
pub(super) struct Cluster {
    pub(super) nodes: Vec<Server>,
}

impl Cluster {
    pub(super) async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    /// With options as they stand on the command line.
    pub(super) async fn start_with(extra: &[&str]) -> anyhow::Result<Self> {
        const OPTIONS: [&str; 10] = [
            "--cluster-enabled",
            "yes",
            "--cluster-announce-ip",
            "127.0.0.1",
            "--cluster-node-timeout",
            "1000",
            "--repl-diskless-sync-delay",
            "0",
            "--cluster-config-file",
            "nodes.conf",
        ];
        let mut nodes = Vec::new();
        while nodes.len() < 6 {
            let address = free_address()?;
            // The nodes' own port is 10,000 higher.
            if address.port() < 55_000 {
                nodes.push(Server::start_at(address, &[&OPTIONS, extra].concat()).await?);
            }
        }
        let mut create = command("redis-cli");
        create.args(["--cluster", "create"]);
        create.args(nodes.iter().map(|node| node.address.to_string()));
        create.args(["--cluster-replicas", "1", "--cluster-yes"]);
        let output = create.output().await?;
        if !output.status.success() {
            bail!("redis-cli --cluster create: {}", String::from_utf8_lossy(&output.stdout));
        }
        let cluster = Self { nodes };
        cluster.settled().await?;
        Ok(cluster)
    }

    /// Until every node finds that all slots are served, and every primary has its replica.
    pub(super) async fn settled(&self) -> anyhow::Result<()> {
        for node in &self.nodes {
            node.wait(&["CLUSTER", "INFO"], |seen| {
                seen.contains("cluster_state:ok") && seen.contains("cluster_slots_ok:16384")
            })
            .await?;
            node.wait(&["INFO", "replication"], |seen| {
                seen.contains("master_link_status:up") || seen.contains("connected_slaves:1")
            })
            .await?;
        }
        Ok(())
    }

    /// From now on whoever connects to a node needs this password.
    pub(super) async fn lock(&self, password: &str) -> anyhow::Result<()> {
        for node in &self.nodes {
            let set = ["CONFIG", "SET", "masterauth", password, "requirepass", password];
            if node.ask(&set).await? != "OK" {
                bail!("{} takes no password", node.address);
            }
        }
        let refused = self.nodes[0].ask(&["DBSIZE"]).await?;
        if refused.starts_with("NOAUTH") { Ok(()) } else { bail!("it says {refused}") }
    }

    /// Nobody needs a password any more.
    pub(super) async fn unlock(&self, password: &str) -> anyhow::Result<()> {
        for node in &self.nodes {
            let free = ["-a", password, "CONFIG", "SET", "requirepass", "", "masterauth", ""];
            if node.ask(&free).await? != "OK" {
                bail!("{} keeps its password", node.address);
            }
        }
        Ok(())
    }

    /// The addresses of all.
    pub(super) fn seeds(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    /// A replica takes over from its primary, which agrees: nothing is lost. The replica's number.
    pub(super) async fn fail_over(&self) -> anyhow::Result<usize> {
        for (n, node) in self.nodes.iter().enumerate() {
            let role = node.ask(&["ROLE"]).await?;
            if !role.starts_with("slave") {
                continue;
            }
            node.ask(&["CLUSTER", "FAILOVER"]).await?;
            node.wait(&["ROLE"], |seen| seen.starts_with("master")).await?;
            // The one before becomes its replica when it hears of it.
            let end = Instant::now() + START;
            while self.primaries().await?.len() > 3 {
                if Instant::now() > end {
                    bail!("more than three primaries");
                }
                sleep(Duration::from_millis(20)).await;
            }
            return Ok(n);
        }
        bail!("no replica left")
    }

    /// The numbers of those that serve slots.
    pub(super) async fn primaries(&self) -> anyhow::Result<Vec<usize>> {
        let mut primaries = Vec::new();
        for (n, node) in self.nodes.iter().enumerate() {
            if node.ask(&["ROLE"]).await?.starts_with("master") {
                primaries.push(n);
            }
        }
        Ok(primaries)
    }

    /// Moves so many slots, with their keys, from one primary to another.
    pub(super) async fn reshard(&self, from: usize, to: usize, slots: u32) -> anyhow::Result<()> {
        self.agree().await?;
        let (from, to) = (self.id(from).await?, self.id(to).await?);
        let mut reshard = command("redis-cli");
        reshard.args(["--cluster", "reshard", &self.nodes[0].address.to_string()]);
        reshard.args(["--cluster-from", &from, "--cluster-to", &to, "--cluster-yes"]);
        let output = reshard.args(["--cluster-slots", &slots.to_string()]).output().await?;
        if !output.status.success() {
            bail!("reshard: {}", String::from_utf8_lossy(&output.stdout));
        }
        Ok(())
    }

    /// Waits until all nodes know the same of the slots: redis-cli does not move any before.
    async fn agree(&self) -> anyhow::Result<()> {
        let end = Instant::now() + START;
        loop {
            let mut check = command("redis-cli");
            check.args(["--cluster", "check", &self.nodes[0].address.to_string()]);
            let output = check.output().await?;
            if output.status.success() {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("the nodes do not agree: {}", String::from_utf8_lossy(&output.stdout));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn id(&self, node: usize) -> anyhow::Result<String> {
        self.nodes[node].ask(&["CLUSTER", "MYID"]).await
    }
}

/// Where a server keeps what it knows of its cluster.
fn folder(address: SocketAddr) -> PathBuf {
    target().join("xtask").join(format!("redis-{}", address.port()))
}

/// What redis-cli gets for an answer, without the end of the last line.
pub(super) async fn ask(address: SocketAddr, args: &[&str]) -> anyhow::Result<String> {
    let port = address.port().to_string();
    let mut cli = command("redis-cli");
    let output = cli.args(["-h", "127.0.0.1", "-p", &port]).args(args).output().await?;
    let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    if !output.status.success() {
        bail!("redis-cli {args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

fn spawn(address: SocketAddr, extra: &[String]) -> anyhow::Result<Child> {
    let port = address.port().to_string();
    let folder = folder(address);
    let (file, _) = log(&format!("redis-server-{port}"))?;
    let mut server = command("redis-server");
    if extra.iter().any(|arg| arg == SENTINEL) {
        // It writes down what it learns.
        let config = folder.join("sentinel.conf");
        std::fs::write(&config, "sentinel resolve-hostnames no\n")?;
        server.arg(config);
    }
    server.args(["--port", &port, "--bind", "127.0.0.1", "--dir"]).arg(&folder);
    // Timeouts of blocked commands are as exact as this.
    server.args(["--hz", "500", "--dynamic-hz", "no"]);
    server.args(["--save", "", "--appendonly", "no"]).args(extra);
    server.stdout(file.try_clone()?).stderr(file).spawn().context("redis-server")
}
