//! The judges of sharing: whether a session sees a stranger's state.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::client::Bench;
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
}

impl Mode {
    /// Those that are judged.
    const ALL: [Self; 1] = [Self::Transparent];

    fn name(self) -> &'static str {
        match self {
            Self::Transparent => "transparent",
        }
    }

    /// Answers that it may refuse, since it cannot tell any more.
    fn refuses(self) -> bool {
        match self {
            Self::Transparent => false,
        }
    }

    async fn proxy(self, server: SocketAddr) -> anyhow::Result<Proxy> {
        match self {
            Self::Transparent => super::client::through(server).await,
        }
    }
}

/// One judge with one server.
pub(super) enum Cell {
    Leak(Kind),
    /// A pool that shares without care has to be found out.
    Naive(Kind),
}

impl Cell {
    pub(super) fn all() -> Vec<Self> {
        let leaks = Kind::ALL.into_iter().map(Self::Leak);
        leaks.chain([Self::Naive(Kind::Mysql)]).collect()
    }

    /// For example `mysql-leak-mariadb10`.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Leak(kind) => format!("mysql-leak-{}", kind.name()),
            Self::Naive(kind) => format!("mysql-leak-naive-{}", kind.name()),
        }
    }

    /// On the bare server, then through the proxy in every mode.
    pub(super) async fn run(
        &self,
        bench: &mut Bench,
        direct: bool,
        times: usize,
    ) -> anyhow::Result<Outcome> {
        let (Self::Leak(kind) | Self::Naive(kind)) = *self;
        let server = bench.at(kind, direct).await?.0.address;
        let name = self.name();
        if let Self::Naive(_) = self {
            return naive(&name, server).await;
        }
        let bare = format!("{name}-direct");
        let bare = leak(&bare, server, server, 1000 * times, &["--strict"]).await?;
        let mut outcome = bare.outcome("direct");
        for mode in Mode::ALL {
            if direct || outcome.failed > 0 {
                break;
            }
            let mut proxy = mode.proxy(server).await?;
            let strict: &[&str] = if mode.refuses() { &[] } else { &["--strict"] };
            let (name, count) = (format!("{name}-{}", mode.name()), 2000 * times);
            let said = leak(&name, proxy.address, server, count, strict).await?;
            proxy.check()?;
            let passed = outcome.passed;
            outcome = said.outcome(mode.name());
            outcome.passed += passed;
        }
        Ok(outcome)
    }
}

fn check() -> Command {
    command(target().join("debug/mysql-check"))
}

async fn leak(
    name: &str,
    address: SocketAddr,
    server: SocketAddr,
    sessions: usize,
    more: &[&str],
) -> anyhow::Result<Said> {
    let mut check = check();
    check.args(["leak", &address.to_string(), "--server", &server.to_string()]);
    check.args(["--clients", "64", "--sessions", &sessions.to_string()]).args(more);
    Said::by(name, check, LONGEST).await
}

/// Every kind of state by itself: the judge has to see it leak.
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
    Ok(Outcome { passed: seen, failed: 0, detail: format!("{seen} kinds of leaks seen") })
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
