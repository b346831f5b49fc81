//! One client library in one version of RESP: direct, then through the proxy, and the same answers.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::process::Command;

use super::install::{python, rust, source};
use super::proxy::Proxy;
use super::server::{Cluster, Server};
use crate::peers::said::Said;
use crate::process::command;
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
    /// For a cluster; through the proxy it is shown one node.
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
    pub(super) fn all(direct: bool) -> Vec<Self> {
        const KINDS: [Kind; 4] = [Kind::Python, Kind::Ioredis, Kind::NodeRedis, Kind::Rust];
        let mut cells = Vec::new();
        for resp in [2, 3] {
            let cell = |topology, kind| Self { kind, topology, resp };
            cells.extend(KINDS.map(|kind| cell(Topology::Standalone, kind)));
            cells.extend(KINDS.map(|kind| cell(Topology::Cluster, kind)));
            if !direct {
                let plain = [Kind::Python, Kind::Ioredis, Kind::NodeRedis];
                cells.extend(plain.map(|kind| cell(Topology::Hidden, kind)));
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
        // It is asked what no single server could answer so.
        if (cell.kind, cell.topology) == (Kind::Python, Topology::Hidden) {
            let said = drive_proxied(cell, self.cluster_proxy().await?).await?;
            return Ok(said.outcome("proxied"));
        }
        let address = match cell.topology {
            Topology::Standalone | Topology::Hidden => self.server().await?,
            Topology::Cluster => self.cluster().await?.nodes[0].address,
        };
        let bare = drive(cell, address, "direct").await?;
        if direct || bare.failed > 0 {
            return Ok(bare.outcome("direct"));
        }
        let mut proxied = match cell.topology {
            Topology::Standalone => drive_proxied(cell, self.proxy().await?).await?,
            Topology::Hidden => drive_proxied(cell, self.cluster_proxy().await?).await?,
            Topology::Cluster => self.through_node(cell).await?,
        };
        // How many nodes there are is what must differ.
        let topology = cell.topology == Topology::Cluster;
        proxied.compare(&bare, |line| topology && line.starts_with("ok topology: "));
        Ok(proxied.outcome("proxied as direct"))
    }

    /// Through the proxy as the only node of the cluster. The nodes behind it want a password that the client does not
    /// have, so it gets nowhere past the proxy.
    async fn through_node(&mut self, cell: &Cell) -> anyhow::Result<Said> {
        const OPTIONS: [&str; 5] =
            ["--cluster", "--option", "face=transparent", "--option", "password=of the nodes"];
        let cluster = self.cluster().await?;
        let upstreams = cluster.seeds();
        cluster.lock("of the nodes").await?;
        let said = async {
            let mut proxy = Proxy::start(&upstreams[..1], &OPTIONS).await?;
            drive_proxied(cell, &mut proxy).await
        };
        let said = said.await;
        cluster.unlock("of the nodes").await?;
        said
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

    async fn cluster(&mut self) -> anyhow::Result<&Cluster> {
        if self.cluster.is_none() {
            self.cluster = Some(Cluster::start().await?);
        }
        self.cluster.as_ref().ok_or_else(|| anyhow::anyhow!("it is there"))
    }

    async fn proxy(&mut self) -> anyhow::Result<&mut Proxy> {
        let upstream = self.server().await?;
        if self.proxy.is_none() {
            self.proxy = Some(Proxy::start(&[upstream], &[]).await?);
        }
        self.proxy.as_mut().ok_or_else(|| anyhow::anyhow!("it is there"))
    }

    async fn cluster_proxy(&mut self) -> anyhow::Result<&mut Proxy> {
        let upstream = self.cluster().await?.nodes[0].address;
        if self.cluster_proxy.is_none() {
            self.cluster_proxy = Some(Proxy::start(&[upstream], &["--cluster"]).await?);
        }
        self.cluster_proxy.as_mut().ok_or_else(|| anyhow::anyhow!("it is there"))
    }
}

fn address(address: Option<SocketAddr>) -> anyhow::Result<SocketAddr> {
    address.ok_or_else(|| anyhow::anyhow!("it is there"))
}

async fn drive_proxied(cell: &Cell, proxy: &mut Proxy) -> anyhow::Result<Said> {
    let said = drive(cell, proxy.address, "proxied").await?;
    proxy.check()?;
    Ok(said)
}

async fn drive(cell: &Cell, address: SocketAddr, way: &str) -> anyhow::Result<Said> {
    let name = format!("{}-{way}", cell.name());
    Said::by(&name, cell.program(address), LONGEST).await
}
