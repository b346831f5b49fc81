//! One client against one server, in one version, one way.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use super::peer::{Kind, Server, Version};
use super::proxy::Proxy;
use crate::process::log;
use crate::report::Outcome;

/// No cell takes half of it.
const LONGEST: Duration = Duration::from_secs(180);

/// Which of the client's steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Steps {
    /// Everything that a healthy server answers.
    All,
    /// The server's own requests to the client.
    Push,
    /// The server is killed.
    Gone,
    /// The server is killed under load, and comes back.
    Restart,
}

impl Steps {
    fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Push => "push",
            Self::Gone => "gone",
            Self::Restart => "restart",
        }
    }

    /// Such a cell has a server and a proxy of its own.
    fn breaks_the_server(self) -> bool {
        matches!(self, Self::Gone | Self::Restart)
    }
}

/// How the client reaches the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// Without a proxy.
    Direct,
    /// Through the proxy, all clients on the same few connections.
    Proxy,
    /// Through the proxy, on an upstream connection of its own.
    Dedicated,
}

/// One cell of the matrix.
pub(super) struct Cell {
    client: Kind,
    server: Kind,
    version: Version,
    pub(super) steps: Steps,
    way: Way,
}

impl Cell {
    pub(super) fn new(
        client: Kind,
        server: Kind,
        version: Version,
        steps: Steps,
        way: Way,
    ) -> Self {
        Self { client, server, version, steps, way }
    }

    /// For example `sofarpc-node-v2crc-all`.
    pub(super) fn name(&self) -> String {
        let (client, server) = (self.client.name(), self.server.name());
        let direct = if self.way == Way::Direct { "-direct" } else { "" };
        format!("{client}-{server}-{}-{}{direct}", self.version.name(), self.steps.name())
    }
}

/// The servers and proxies that cells share, started when first needed.
#[derive(Default)]
pub(super) struct Bench {
    servers: Vec<(Kind, Server)>,
    proxies: Vec<((Kind, Way), Proxy)>,
}

impl Bench {
    pub(super) async fn run(&mut self, cell: &Cell) -> anyhow::Result<Outcome> {
        if cell.steps.breaks_the_server() {
            let mut server = Server::start(cell.server).await?;
            let mut proxy = proxy(server.address, cell.way).await?;
            let outcome = drive(cell, proxy.address, Some(&mut server)).await;
            proxy.check()?;
            return outcome;
        }
        let upstream = self.server(cell.server).await?;
        if cell.way == Way::Direct {
            return drive(cell, upstream, None).await;
        }
        let proxy = self.proxy(cell, upstream).await?;
        let outcome = drive(cell, proxy.address, None).await;
        proxy.check()?;
        outcome
    }

    async fn server(&mut self, kind: Kind) -> anyhow::Result<SocketAddr> {
        if let Some((_, server)) = self.servers.iter().find(|(k, _)| *k == kind) {
            return Ok(server.address);
        }
        let server = Server::start(kind).await?;
        let address = server.address;
        self.servers.push((kind, server));
        Ok(address)
    }

    async fn proxy(&mut self, cell: &Cell, upstream: SocketAddr) -> anyhow::Result<&mut Proxy> {
        let key = (cell.server, cell.way);
        let at = match self.proxies.iter().position(|(k, _)| *k == key) {
            Some(at) => at,
            None => {
                let proxy = proxy(upstream, cell.way).await?;
                self.proxies.push((key, proxy));
                self.proxies.len() - 1
            }
        };
        Ok(&mut self.proxies[at].1)
    }
}

/// Runs the client's steps against an address, and does to the server what the client asks for.
async fn drive(
    cell: &Cell,
    address: SocketAddr,
    server: Option<&mut Server>,
) -> anyhow::Result<Outcome> {
    match timeout(LONGEST, converse(cell, address, server)).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("no end after {} s", LONGEST.as_secs()),
    }
}

async fn converse(
    cell: &Cell,
    address: SocketAddr,
    mut server: Option<&mut Server>,
) -> anyhow::Result<Outcome> {
    let (mut file, path) = log(&cell.name())?;
    let mut program = cell.client.program("client");
    program.args([
        cell.steps.name(),
        &address.to_string(),
        cell.version.name(),
        cell.server.name(),
    ]);
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file.try_clone()?);
    let mut client = program.spawn().with_context(|| format!("{program:?}"))?;
    let mut stdin = client.stdin.take().context("its input is piped")?;
    let mut lines = BufReader::new(client.stdout.take().context("its output is piped")?).lines();

    let (mut passed, mut failures, mut verdict) = (0, Vec::new(), String::new());
    while let Some(line) = lines.next_line().await? {
        writeln!(file, "{line}")?;
        if line.starts_with("ok ") {
            passed += 1;
        } else if line.starts_with("FAIL ") {
            failures.push(line);
        } else if line.starts_with("PASS ") || line.starts_with("FAILED ") {
            verdict = line;
        } else if let Some(what) = line.strip_prefix("await ") {
            let server = server.as_deref_mut().context("no server to break")?;
            match what {
                "gone" => server.kill().await?,
                "restart" => server.restart().await?,
                other => bail!("the client asks for {other}"),
            }
            stdin.write_all(b"done\n").await?;
        }
    }
    let status = client.wait().await?;
    // The client's own count guards against a line that got lost on the way here.
    let counted = format!("PASS {passed} ok, 0 failed");
    if failures.is_empty() && (verdict != counted || !status.success()) {
        failures.push(format!("{status}, last said: {verdict:?}, seen: {counted:?}"));
    }
    let detail = if failures.is_empty() {
        format!("{passed} steps")
    } else {
        format!("{}\n(all of it: {})", failures.join("\n"), path.display())
    };
    Ok(Outcome { passed, failed: failures.len(), detail })
}

/// A proxy in front of one server.
async fn proxy(upstream: SocketAddr, way: Way) -> anyhow::Result<Proxy> {
    if way != Way::Dedicated {
        return Proxy::start("bolt", [upstream.to_string()]).await;
    }
    // For servers that send requests to their clients.
    Proxy::run(|address| {
        format!(
            "listeners:\n\
             - name: bolt\n  \
               address: {address}\n  \
               protocols: [bolt]\n  \
               routes: [{{ name: all, cluster: server }}]\n\
             clusters:\n\
             - name: server\n  \
               endpoints: [\"{upstream}\"]\n  \
               dedicated: true\n"
        )
    })
    .await
}
