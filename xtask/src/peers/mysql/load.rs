//! Load that is compared with a model, and a reader that is slower than its result.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::{sleep, timeout};

use super::client::{Bench, Flavour, cli, go};
use super::pooled;
use super::server::{Kind, Server};
use crate::peers::proxy::Proxy;
use crate::process::{finish, log};
use crate::report::Outcome;

pub(super) const NAMES: [&str; 8] = [
    "mysql-load-mysql8",
    "mysql-load-mysql8-pooled",
    "mysql-load-mariadb10",
    "mysql-load-mariadb10-pooled",
    "mysql-load-mariadb11",
    "mysql-load-mariadb11-pooled",
    "mysql-slow-reader",
    "mysql-slow-reader-pooled",
];

/// What its programs are written in.
pub(super) const LANGUAGE: &str = "go";

const LONGEST: Duration = Duration::from_secs(120);

/// In pooled mode, for 24 clients.
const CONNECTIONS: usize = 8;

/// A result of so much, of which the reader takes three rows of 1 MiB.
const RESULT_MIB: usize = 1024;

/// How much memory the proxy may need for it, beside what it had before, in MiB.
const MEMORY_MIB: usize = 48;

pub(super) async fn run(name: &str, bench: &mut Bench, direct: bool) -> anyhow::Result<Outcome> {
    let pooled = name.ends_with("-pooled");
    if direct && (pooled || name == "mysql-slow-reader") {
        return Ok(Outcome { passed: 0, failed: 0, detail: "needs the proxy".into() });
    }
    let kind = Kind::ALL.into_iter().find(|kind| name.contains(kind.name()));
    let (server, proxy) = bench.at(kind.unwrap_or(Kind::Mysql), direct).await?;
    let mut own = match pooled {
        true => Some(pooled::over(CONNECTIONS, server).await?),
        false => None,
    };
    let proxy = own.as_mut().or(proxy);
    match (kind, proxy) {
        (None, Some(proxy)) => slow(name, proxy).await,
        (_, proxy) => load(name, server, proxy).await,
    }
}

/// Clients move money between accounts: what was acknowledged is there once, and nobody gets another's answer.
async fn load(name: &str, server: &Server, proxy: Option<&mut Proxy>) -> anyhow::Result<Outcome> {
    let address = proxy.as_ref().map_or(server.address, |proxy| proxy.address);
    let mut program = go();
    program.args(["load", &address.to_string(), "-clients", "24", "-seconds", "8"]);
    let done = timeout(LONGEST, finish(name, &mut program)).await.context("no end")??;
    if let Some(proxy) = proxy {
        proxy.check()?;
    }
    let verdict = done.text.lines().find_map(|line| line.strip_prefix("PASS "));
    let Some(verdict) = verdict.filter(|_| done.status.success()) else {
        bail!("{:#}", done.error(&done.text));
    };
    Ok(Outcome::pass(verdict))
}

/// The proxy holds as little of a large result as its buffers do, and others are answered meanwhile.
async fn slow(name: &str, proxy: &mut Proxy) -> anyhow::Result<Outcome> {
    let before = proxy.memory()?;
    let (errors, path) = log(name)?;
    let mut program = go();
    program.args(["slow", &proxy.address.to_string(), "-mib", &RESULT_MIB.to_string()]);
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
    let mut reader = program.spawn()?;
    let mut stdin = reader.stdin.take().context("its input is piped")?;
    let mut lines = BufReader::new(reader.stdout.take().context("its output is piped")?).lines();
    let said = async {
        let (mut most, mut verdict) = (0, String::new());
        while let Some(line) = lines.next_line().await? {
            if line == "await" {
                answered(proxy).await?;
                // Long enough for everything that has room to flow.
                for _ in 0..20 {
                    sleep(Duration::from_millis(100)).await;
                    most = most.max(proxy.memory()?);
                }
                stdin.write_all(b"go on\n").await?;
            } else {
                verdict = line;
            }
        }
        anyhow::Ok((most.max(proxy.memory()?), verdict))
    };
    let (most, verdict) = timeout(LONGEST, said).await.context("no end")??;
    let status = reader.wait().await?;
    proxy.check()?;
    let right = format!("PASS {RESULT_MIB} rows");
    ensure!(status.success() && verdict == right, "{status}: {verdict}; see {}", path.display());
    let needed = most.saturating_sub(before);
    ensure!(
        needed <= MEMORY_MIB,
        "{needed} MiB of memory for a slow reader ({before}, then {most})"
    );
    Ok(Outcome::pass(format!("{RESULT_MIB} MiB through {needed} MiB of memory ({most} in all)")))
}

/// Somebody else has an answer.
async fn answered(proxy: &Proxy) -> anyhow::Result<()> {
    let mut client = cli(Flavour::Mariadb, proxy.address);
    client.args(["-unat", "-pnatpw", "--batch", "--skip-column-names", "-e", "select 17 * 3"]);
    let output = timeout(LONGEST, client.output()).await.context("nobody else is answered")??;
    ensure!(output.stdout == b"51\n", "{}: {output:?}", output.status);
    Ok(())
}
