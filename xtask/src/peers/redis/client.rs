//! One client library in one version of RESP: direct, then through the proxy, and the same answers.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::bail;
use tokio::process::Command;
use tokio::time::timeout;

use super::install::{python, rust, source};
use super::proxy::Proxy;
use super::server::{Cluster, Server};
use crate::process::{command, finish};
use crate::report::Outcome;

/// No client takes half of it.
const LONGEST: Duration = Duration::from_secs(120);

/// Whose library.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Python,
    Ioredis,
    NodeRedis,
    Rust,
}

/// What the client takes the other end for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Topology {
    Standalone,
    Cluster,
    /// For one server, which is a cluster behind the proxy.
    Hidden,
}

/// One client, one version of RESP, one topology.
pub(super) struct Cell {
    kind: Kind,
    topology: Topology,
    resp: u8,
}

impl Cell {
    /// Clients of a cluster have to be let through to it, which the proxy does not do yet: they are run
    /// only `direct`.
    pub(super) fn all(direct: bool) -> Vec<Self> {
        const KINDS: [Kind; 4] = [Kind::Python, Kind::Ioredis, Kind::NodeRedis, Kind::Rust];
        let mut cells = Vec::new();
        for resp in [2, 3] {
            let cell = |topology, kind| Self { kind, topology, resp };
            cells.extend(KINDS.map(|kind| cell(Topology::Standalone, kind)));
            if direct {
                cells.extend(KINDS.map(|kind| cell(Topology::Cluster, kind)));
            } else {
                cells.push(cell(Topology::Hidden, Kind::Python));
            }
        }
        cells
    }

    /// For example `redis-py-resp3-standalone`.
    pub(super) fn name(&self) -> String {
        let kind = match self.kind {
            Kind::Python => "redis-py",
            Kind::Ioredis => "redis-ioredis",
            Kind::NodeRedis => "redis-node",
            Kind::Rust => "redis-rs",
        };
        format!("{kind}-resp{}-{}", self.resp, self.topology.name())
    }

    fn program(&self, address: SocketAddr) -> Command {
        let mut program = match self.kind {
            Kind::Python => {
                let mut python = command(python().join("bin/python"));
                python.arg(source("python").join("client.py"));
                python
            }
            Kind::Ioredis | Kind::NodeRedis => {
                let name = if self.kind == Kind::Ioredis { "ioredis.js" } else { "redis.js" };
                let mut node = command("node");
                node.arg(source("node").join(name));
                node
            }
            Kind::Rust => command(rust().join("debug/redis-client")),
        };
        program.args([self.topology.name(), &address.to_string(), &self.resp.to_string()]);
        program
    }
}

impl Topology {
    fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Cluster => "cluster",
            Self::Hidden => "hidden",
        }
    }
}

/// The servers and proxies that cells share, started when first needed.
#[derive(Default)]
pub(super) struct Bench {
    server: Option<Server>,
    proxy: Option<Proxy>,
    cluster: Option<Cluster>,
    cluster_proxy: Option<Proxy>,
}

impl Bench {
    /// Every answer has to be right, and the same both ways.
    pub(super) async fn run(&mut self, cell: &Cell, direct: bool) -> anyhow::Result<Outcome> {
        if cell.topology == Topology::Hidden {
            let proxy = self.cluster_proxy().await?;
            let said = drive(cell, proxy.address, "proxied").await?;
            proxy.check()?;
            return Ok(said.outcome("proxied"));
        }
        let address = match cell.topology {
            Topology::Standalone => self.server().await?,
            Topology::Cluster | Topology::Hidden => self.cluster().await?,
        };
        let bare = drive(cell, address, "direct").await?;
        if direct || bare.failed > 0 {
            return Ok(bare.outcome("direct"));
        }
        let proxy = self.proxy().await?;
        let mut proxied = drive(cell, proxy.address, "proxied").await?;
        proxy.check()?;
        for (a, b) in bare.answers.iter().zip(&proxied.answers) {
            if proxied.failed == 0 && a != b {
                proxied.failed += 1;
                proxied.complaints.push(format!("direct:  {a}\nproxied: {b}"));
            }
        }
        Ok(proxied.outcome("proxied as direct"))
    }

    /// One server, and the proxy in front of it, if there is to be one.
    pub(super) async fn addresses(
        &mut self,
        direct: bool,
    ) -> anyhow::Result<(SocketAddr, Option<SocketAddr>)> {
        let server = self.server().await?;
        Ok((server, if direct { None } else { Some(self.proxy().await?.address) }))
    }

    async fn server(&mut self) -> anyhow::Result<SocketAddr> {
        if self.server.is_none() {
            self.server = Some(Server::start(&[]).await?);
        }
        address(self.server.as_ref().map(|server| server.address))
    }

    async fn cluster(&mut self) -> anyhow::Result<SocketAddr> {
        if self.cluster.is_none() {
            self.cluster = Some(Cluster::start().await?);
        }
        address(self.cluster.as_ref().map(|cluster| cluster.nodes[0].address))
    }

    async fn proxy(&mut self) -> anyhow::Result<&mut Proxy> {
        let upstream = self.server().await?;
        if self.proxy.is_none() {
            self.proxy = Some(Proxy::start(&[upstream], &[]).await?);
        }
        self.proxy.as_mut().ok_or_else(|| anyhow::anyhow!("it is there"))
    }

    async fn cluster_proxy(&mut self) -> anyhow::Result<&mut Proxy> {
        let upstream = self.cluster().await?;
        if self.cluster_proxy.is_none() {
            self.cluster_proxy = Some(Proxy::start(&[upstream], &["--cluster"]).await?);
        }
        self.cluster_proxy.as_mut().ok_or_else(|| anyhow::anyhow!("it is there"))
    }
}

fn address(address: Option<SocketAddr>) -> anyhow::Result<SocketAddr> {
    address.ok_or_else(|| anyhow::anyhow!("it is there"))
}

/// What a client said.
struct Said {
    answers: Vec<String>,
    complaints: Vec<String>,
    failed: usize,
}

impl Said {
    fn outcome(self, how: &str) -> Outcome {
        let passed = self.answers.len();
        let detail = if self.failed == 0 {
            format!("{passed} steps, {how}")
        } else {
            format!("{how}\n{}", self.complaints.join("\n"))
        };
        Outcome { passed, failed: self.failed, detail }
    }
}

async fn drive(cell: &Cell, address: SocketAddr, way: &str) -> anyhow::Result<Said> {
    let name = format!("{}-{way}", cell.name());
    let mut program = cell.program(address);
    let Ok(done) = timeout(LONGEST, finish(&name, &mut program)).await else {
        bail!("no end after {} s; see {name}.log", LONGEST.as_secs());
    };
    let done = done?;
    let lines = |start: &str| {
        let lines = done.text.lines().filter(|line| line.starts_with(start));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let (answers, mut complaints) = (lines("ok "), lines("FAIL "));
    let mut failed = complaints.len();
    // The client's own count guards against a line that got lost on the way here.
    let counted = format!("PASS {} ok, 0 failed", answers.len());
    if failed == 0 && (!done.status.success() || lines("PASS ") != [counted.clone()]) {
        failed += 1;
        complaints.push(format!("{}, not seen: {counted:?}", done.status));
    }
    if failed > 0 {
        complaints.push(format!("{:#}", done.error("")));
    }
    Ok(Said { answers, complaints, failed })
}
