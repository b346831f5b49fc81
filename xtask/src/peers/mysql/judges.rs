//! The judges of the proxy: whether a session sees a stranger's state, and whether anything differs from the server's own
//! answers.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::client::Bench;
use super::pooled::version;
use super::server::Kind;
use crate::peers::proxy::Proxy;
use crate::peers::said::Said;
use crate::process::{command, finish, log};
use crate::report::Outcome;
use crate::target;

const LONGEST: Duration = Duration::from_secs(180);

/// How the proxy gets at the server, where it is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Transparent,
    /// Over four connections.
    Pooled,
}

impl Mode {
    const ALL: [Self; 2] = [Self::Transparent, Self::Pooled];

    fn name(self) -> &'static str {
        match self {
            Self::Transparent => "transparent",
            Self::Pooled => "pooled",
        }
    }

    /// Answers that it may refuse, since it cannot tell any more.
    fn refuses(self) -> bool {
        match self {
            Self::Transparent => false,
            Self::Pooled => true,
        }
    }

    async fn proxy(self, server: SocketAddr, kind: Kind, many: usize) -> anyhow::Result<Proxy> {
        match self {
            Self::Transparent => super::client::through(server).await,
            Self::Pooled => Proxy::run(|address| pooled(address, server, kind, many)).await,
        }
    }
}

/// With so many connections, for 64 clients four; whoever waits does so for as long as the judges do.
fn pooled(address: SocketAddr, server: SocketAddr, kind: Kind, many: usize) -> String {
    let version = version(kind);
    format!(
        "listeners:\n\
         - name: mysql\n  \
           address: {address}\n  \
           protocols: [mysql]\n  \
           options: {{ mysql: {{ mode: pooled, version: {version} }} }}\n  \
           users: [{{ name: nat, password: natpw }}]\n  \
           routes: [{{ name: all, cluster: server, timeout: 20s }}]\n\
         clusters:\n\
         - name: server\n  \
           endpoints: [\"{server}\"]\n  \
           connect_timeout: 20s\n  \
           max_connections: {many}\n"
    )
}

/// One judge with one server.
pub(super) enum Cell {
    Leak(Kind),
    /// The same statements at the server and through the proxy.
    Differ(Kind),
    /// A pool that shares without care has to be found out.
    Naive(Kind),
}

impl Cell {
    pub(super) fn all() -> Vec<Self> {
        let both = Kind::ALL.into_iter().flat_map(|kind| [Self::Leak(kind), Self::Differ(kind)]);
        both.chain([Self::Naive(Kind::Mysql)]).collect()
    }

    /// For example `mysql-leak-mariadb10`.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Leak(kind) => format!("mysql-leak-{}", kind.name()),
            Self::Differ(kind) => format!("mysql-differ-{}", kind.name()),
            Self::Naive(kind) => format!("mysql-naive-{}", kind.name()),
        }
    }

    /// On the bare server, then through the proxy in every mode.
    pub(super) async fn run(
        &self,
        bench: &mut Bench,
        direct: bool,
        times: usize,
    ) -> anyhow::Result<Outcome> {
        let (Self::Leak(kind) | Self::Differ(kind) | Self::Naive(kind)) = *self;
        let server = bench.at(kind, direct).await?.0.address;
        let name = self.name();
        if let Self::Naive(_) = self {
            return naive(&name, server).await;
        }
        let differs = matches!(self, Self::Differ(_));
        // The server is its own measure, and that measure has to hold.
        let bare = format!("{name}-direct");
        let bare = match differs {
            true => differ(&bare, server, server, 35 * times, Mode::Transparent).await?,
            false => leak(&bare, server, server, 1000 * times, false).await?,
        };
        let mut outcome = bare.outcome("direct");
        for mode in Mode::ALL {
            if direct || outcome.failed > 0 {
                break;
            }
            // Most of what is compared holds its connection, and each client has another lane.
            let many = if differs { 16 } else { 4 };
            let mut proxy = mode.proxy(server, kind, many).await?;
            let (name, address) = (format!("{name}-{}", mode.name()), proxy.address);
            let said = match differs {
                true => differ(&name, server, address, 105 * times, mode).await?,
                false => leak(&name, address, server, 2000 * times, mode.refuses()).await?,
            };
            proxy.check()?;
            let passed = outcome.passed;
            outcome = said.outcome(mode.name());
            outcome.passed += passed;
        }
        Ok(outcome)
    }
}

pub(super) fn check() -> Command {
    command(target().join("debug/mysql-check"))
}

async fn leak(
    name: &str,
    address: SocketAddr,
    server: SocketAddr,
    sessions: usize,
    refuses: bool,
) -> anyhow::Result<Said> {
    let mut check = check();
    check.args(["leak", &address.to_string(), "--server", &server.to_string()]);
    check.args(["--clients", "64", "--sessions", &sessions.to_string()]);
    if !refuses {
        check.arg("--strict");
    }
    Said::by(name, check, LONGEST).await
}

async fn differ(
    name: &str,
    server: SocketAddr,
    through: SocketAddr,
    sequences: usize,
    mode: Mode,
) -> anyhow::Result<Said> {
    let mut check = check();
    check.args(["differ", &server.to_string(), &through.to_string(), "--mode", mode.name()]);
    check.args(["--sequences", &sequences.to_string()]);
    if mode == Mode::Pooled {
        check.args(["--workers", "4"]);
    }
    Said::by(name, check, LONGEST).await
}

/// Every kind of state by itself: the one judge has to see it leak, and the other that answers differ.
async fn naive(name: &str, server: SocketAddr) -> anyhow::Result<Outcome> {
    let list = finish(name, check().arg("kinds")).await?;
    let kinds: Vec<_> = list.text.lines().map(str::to_owned).collect();
    ensure!(kinds.len() > 10, "{kinds:?}");
    let mut seen = 0;
    for kind in &kinds {
        // What is locked stays locked with it: each kind has one of its own.
        let (_pool, address) = pool(name, server).await?;
        let mut check = check();
        check.args(["leak", &address.to_string(), "--server", &server.to_string()]);
        check.args(["--only", kind, "--enough", "1", "--sessions", "400", "--clients", "16"]);
        let log = format!("{name}-{kind}");
        let done = timeout(LONGEST, finish(&log, &mut check)).await.context("no end")??;
        let found = done.text.lines().any(|line| line.starts_with("FAIL seed "));
        if done.status.success() || !found {
            bail!("{:#}", done.error(&format!("{kind}: it does not see that it is shared")));
        }
        seen += 1;
    }
    let (_pool, address) = pool(name, server).await?;
    let mut check = check();
    check.args(["differ", &server.to_string(), &address.to_string(), "--sequences", "35"]);
    let log = format!("{name}-differ");
    let done = timeout(LONGEST, finish(&log, &mut check)).await.context("no end")??;
    if done.status.success() || !done.text.lines().any(|line| line.starts_with("FAIL seed ")) {
        bail!("{:#}", done.error("it does not see that answers differ"));
    }
    let detail = format!("{seen} kinds of leaks seen, and answers that differ");
    Ok(Outcome { passed: seen + 1, failed: 0, detail })
}

async fn pool(name: &str, server: SocketAddr) -> anyhow::Result<(Child, SocketAddr)> {
    let (stderr, path) = log(&format!("{name}-pool"))?;
    let mut pool = check();
    pool.args(["naive", &server.to_string()]).stdout(Stdio::piped()).stderr(stderr);
    let mut child = pool.spawn()?;
    let stdout = child.stdout.take().context("its output is piped")?;
    let mut lines = BufReader::new(stdout).lines();
    let first = timeout(LONGEST, lines.next_line()).await.context("it does not listen")??;
    let Some(address) = first.as_deref().and_then(|line| line.strip_prefix("ready ")) else {
        bail!("it ended; see {}", path.display());
    };
    Ok((child, address.parse()?))
}
