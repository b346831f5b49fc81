//! The programs under `peers/bolt` as processes.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::install;
pub(super) use super::proxy::free_address;
use crate::process::{command, log};
use crate::{root, target};

/// A JVM on a busy machine takes its time.
const START: Duration = Duration::from_secs(60);

/// Whose libraries a peer is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    SofaRpc,
    SofaBolt,
    Node,
    Python,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::SofaRpc, Self::SofaBolt, Self::Node, Self::Python];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SofaRpc => "sofarpc",
            Self::SofaBolt => "sofabolt",
            Self::Node => "node",
            Self::Python => "python",
        }
    }

    /// anthunder knows Bolt v1 alone.
    pub(super) fn speaks(self, version: Version) -> bool {
        self != Self::Python || version == Version::V1
    }

    /// The program for one end, `server` or `client`.
    pub(super) fn program(self, end: &str) -> Command {
        let peers = root().join("peers/bolt");
        match self {
            Self::SofaRpc | Self::SofaBolt => {
                let built = install::java();
                let jars = built.join("lib/*").display().to_string();
                let mut java = command("java");
                // SOFARPC's hessian sets the fields of the JDK's own classes.
                for package in ["lang", "util", "math", "time"] {
                    java.arg("--add-opens").arg(format!("java.base/java.{package}=ALL-UNNAMED"));
                }
                // Two cores are shared by everything here: no second compiler, one heap for each.
                java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g"])
                    .arg(format!("-Dlogging.path={}", target().join("xtask/java").display()))
                    .arg("-cp")
                    .arg(format!("{}:{jars}", built.join("classes").display()))
                    .args(["wiremesh.peers.Main", &format!("{}-{end}", self.name())]);
                java
            }
            Self::Node => {
                let mut node = command("node");
                node.arg(peers.join("node").join(format!("{end}.js")));
                node
            }
            Self::Python => {
                let mut python = command(install::python().join("bin/python"));
                python.arg(peers.join("python").join(format!("{end}.py")));
                python
            }
        }
    }
}

/// A version of Bolt, as the peers' command lines name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Version {
    V1,
    V2,
    V2Crc,
}

impl Version {
    pub(super) const ALL: [Self; 3] = [Self::V1, Self::V2, Self::V2Crc];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V2Crc => "v2crc",
        }
    }
}

/// A running server.
pub(super) struct Server {
    kind: Kind,
    child: Child,
    pub(super) address: SocketAddr,
}

impl Server {
    pub(super) async fn start(kind: Kind) -> anyhow::Result<Self> {
        let address = free_address()?;
        let child = Self::spawn(kind, address).await?;
        Ok(Self { kind, child, address })
    }

    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// The same server, on the same port.
    pub(super) async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        self.child = Self::spawn(self.kind, self.address).await?;
        Ok(())
    }

    async fn spawn(kind: Kind, address: SocketAddr) -> anyhow::Result<Child> {
        let (stderr, path) = log(&format!("server-{}-{}", kind.name(), address.port()))?;
        let mut program = kind.program("server");
        program.arg(address.port().to_string()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = program.spawn().with_context(|| format!("{program:?}"))?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if line.starts_with("ready ") {
                    return Ok(());
                }
            }
            bail!("the {} server ended; see {}", kind.name(), path.display())
        };
        timeout(START, ready).await.with_context(|| format!("{} server", kind.name()))??;
        // It would stop at a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(child)
    }
}
