use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::peer::Peer;
use super::subject::{Request, Subject, Tool};
use super::{built, mysql, redis};
use crate::process::{log, pinned};

/// What is done to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) kind: Kind,
    pub(super) request: Request,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Load { connections: usize, depth: usize },
    Idle { connections: usize },
}

/// One measurement of one peer.
pub(super) struct Cell<'a> {
    pub(super) subject: &'a Subject,
    pub(super) case: Case,
    pub(super) peer: Peer,
    pub(super) seconds: f64,
    /// A server that is there for all measurements.
    pub(super) server: Option<SocketAddr>,
    pub(super) proxy_cpus: &'a str,
    pub(super) load_cpus: &'a str,
}

/// What the load generator printed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    text: String,
    values: BTreeMap<String, f64>,
}

/// How long a program may take to be ready, and an ended load to print its figures.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load { connections, depth } => write!(f, "{connections}x{depth}"),
            Self::Idle { .. } => f.write_str("idle"),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.request)
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Sample {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let parse = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            Some((name.to_owned(), value.parse::<f64>().ok()?))
        };
        let values: Option<BTreeMap<_, _>> = line.split_whitespace().map(parse).collect();
        match values {
            Some(values) if !values.is_empty() => Ok(Self { text: line.trim().into(), values }),
            _ => bail!("no figures: {line:?}"),
        }
    }
}

impl Sample {
    /// A figure by its name; 0 where it is not there.
    pub(super) fn get(&self, name: &str) -> f64 {
        self.values.get(name).copied().unwrap_or_default()
    }

    /// Answers that were wrong or missing.
    pub(super) fn faults(&self) -> u64 {
        (self.get("wrong") + self.get("lost")) as u64
    }
}

impl Case {
    /// Whether it says anything about the peer.
    pub(super) fn suits(self, peer: Peer) -> bool {
        !(matches!(self.kind, Kind::Idle { .. }) && peer == Peer::Direct)
    }
}

impl Cell<'_> {
    /// Starts server and proxy, loads them, and ends them.
    pub(super) async fn measure(&self) -> anyhow::Result<Sample> {
        let server = match self.subject.tool {
            Tool::Load => self.serve().await.map(|(child, at)| (Some(child), at)),
            Tool::Redis => redis::serve(self.load_cpus).await.map(|(child, at)| (Some(child), at)),
            Tool::Sysbench => self.server.map(|at| (None, at)).context("none is there"),
        };
        let (mut server, upstream) = server.context("the server")?;
        let (mut proxy, target) = self.proxy(upstream).await.context("the proxy")?;
        let watch = proxy.as_ref().and_then(Child::id);
        let sample = match self.subject.tool {
            Tool::Load => self.load(target, watch).await,
            Tool::Redis => redis::load(self, upstream, target, watch).await,
            Tool::Sysbench => mysql::load(self, upstream, target, watch).await,
        };
        if let Some(proxy) = &mut proxy {
            if let Some(status) = proxy.try_wait()? {
                bail!("{} ended by itself: {status}", self.peer);
            }
            proxy.kill().await?;
        }
        if let Some(server) = &mut server {
            server.kill().await?;
        }
        sample
    }

    async fn serve(&self) -> anyhow::Result<(Child, SocketAddr)> {
        let (errors, _) = log("bench-server")?;
        let mut serve = pinned(self.load_cpus, built("load"));
        serve.args([self.subject.protocol, "serve"]);
        let mut server = serve.stdout(Stdio::piped()).stderr(errors).spawn()?;
        let mut address = String::new();
        let stdout = server.stdout.take().context("no output")?;
        timeout(PATIENCE, BufReader::new(stdout).read_line(&mut address)).await??;
        let address = address.trim().parse().context("no address")?;
        Ok((server, address))
    }

    async fn proxy(&self, upstream: SocketAddr) -> anyhow::Result<(Option<Child>, SocketAddr)> {
        let listen = free().await?;
        let Some(mut command) =
            self.peer.command(self.subject.protocol, self.proxy_cpus, listen, upstream)?
        else {
            return Ok((None, upstream));
        };
        let (output, path) = log(&format!("bench-{}", self.peer))?;
        let mut proxy = command.stdout(output.try_clone()?).stderr(output).spawn()?;
        listening(&mut proxy, listen, &path).await?;
        Ok((Some(proxy), listen))
    }

    async fn load(&self, target: SocketAddr, watch: Option<u32>) -> anyhow::Result<Sample> {
        let (errors, path) = log("bench-client")?;
        let mut load = pinned(self.load_cpus, built("load"));
        let (command, connections, depth) = match self.case.kind {
            Kind::Load { connections, depth } => ("run", connections, depth),
            Kind::Idle { connections } => ("idle", connections, 1),
        };
        load.args([self.subject.protocol, command, &target.to_string()]);
        let option = |name: &str, value: &dyn ToString| [format!("--{name}"), value.to_string()];
        load.args(option("connections", &connections)).args(option("depth", &depth));
        if let Request::Body(body) = self.case.request {
            load.args(option("body", &body));
        }
        load.args(option("seconds", &self.seconds));
        load.args(option("warm-up", &(self.seconds / 3.0)));
        if let Some(pid) = watch {
            load.args(option("watch", &pid));
        }
        let patience = PATIENCE + Duration::from_secs_f64(2.0 * self.seconds);
        let output = timeout(patience, load.stdout(Stdio::piped()).stderr(errors).output())
            .await
            .with_context(|| format!("no figures within {patience:?}"))??;
        let text = String::from_utf8_lossy(&output.stdout);
        text.parse().with_context(|| format!("{}, see {}", output.status, path.display()))
    }
}

/// Waits until a program that was started listens.
pub(super) async fn listening(
    child: &mut Child,
    listen: SocketAddr,
    log: &Path,
) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(listen).await.is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("{status}, see {}", log.display());
        }
        if Instant::now() > end {
            bail!("it does not listen on {listen}, see {}", log.display());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// A port that nobody uses.
pub(super) async fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read() {
        let sample: Sample = "requests=10 cpu_us=1.25 wrong=1 lost=2\n".parse().unwrap();
        assert_eq!((sample.get("cpu_us"), sample.get("other"), sample.faults()), (1.25, 0.0, 3));
        assert!("".parse::<Sample>().is_err());
        assert!("error: refused".parse::<Sample>().is_err());
    }
}
