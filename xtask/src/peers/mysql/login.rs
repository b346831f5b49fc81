//! The codec's own logins: at real servers, and of real clients; and what it makes of sessions' state.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::client::{Bench, Flavour, cli, python};
use super::server::{Kind, certificates};
use crate::peers::said::Said;
use crate::process::{command, finish, log};
use crate::report::Outcome;
use crate::target;

/// Its clients are written in this, beside the command lines.
pub(super) const LANGUAGE: &str = "python";

const LONGEST: Duration = Duration::from_secs(180);

/// One side of the codec's.
pub(super) enum Cell {
    /// Logs in at this server.
    Client(Kind),
    /// Lets clients log in.
    Server,
    /// Makes sessions of this server like others.
    State(Kind),
}

impl Cell {
    pub(super) fn all() -> Vec<Self> {
        let clients = Kind::ALL.into_iter().map(Self::Client);
        let states = Kind::ALL.into_iter().map(Self::State);
        clients.chain([Self::Server]).chain(states).collect()
    }

    /// For example `mysql-login-mysql8`.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Client(kind) => format!("mysql-login-{}", kind.name()),
            Self::Server => "mysql-login-server".into(),
            Self::State(kind) => format!("mysql-state-{}", kind.name()),
        }
    }

    pub(super) async fn run(&self, bench: &mut Bench, direct: bool) -> anyhow::Result<Outcome> {
        match self {
            Self::Client(kind) => log_in(&self.name(), bench, *kind, direct).await,
            Self::Server => have_log_in(&self.name()).await,
            Self::State(kind) => make_alike(&self.name(), bench, *kind, direct).await,
        }
    }
}

fn check() -> Command {
    command(target().join("debug/mysql-check"))
}

/// Directly, and then through the proxy, if there is to be one.
async fn log_in(
    name: &str,
    bench: &mut Bench,
    kind: Kind,
    direct: bool,
) -> anyhow::Result<Outcome> {
    let (server, proxy) = bench.at(kind, direct).await?;
    let at = |address: SocketAddr| {
        let mut check = check();
        check.args(["client", &address.to_string(), kind.name()]);
        check
    };
    let bare = Said::by(&format!("{name}-direct"), at(server.address), LONGEST).await?;
    let Some(proxy) = proxy else {
        return Ok(bare.outcome("direct"));
    };
    if bare.failed > 0 {
        return Ok(bare.outcome("direct"));
    }
    let mut proxied = Said::by(&format!("{name}-proxied"), at(proxy.address), LONGEST).await?;
    proxy.check()?;
    proxied.compare(&bare, |_| false);
    Ok(proxied.outcome("proxied as direct"))
}

/// What the pooled mode holds of the server's sessions.
async fn make_alike(
    name: &str,
    bench: &mut Bench,
    kind: Kind,
    direct: bool,
) -> anyhow::Result<Outcome> {
    let (server, _) = bench.at(kind, direct).await?;
    let mut check = check();
    check.args(["state", &server.address.to_string(), kind.name()]);
    Ok(Said::by(name, check, LONGEST).await?.outcome("direct"))
}

/// By both command lines and Python's libraries, with TLS and without, passwords right and wrong.
async fn have_log_in(name: &str) -> anyhow::Result<Outcome> {
    let folder = target().join("xtask").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    certificates(&folder).await?;
    let mut passed = 0;
    for greeted in ["caching_sha2_password", "mysql_native_password"] {
        let (_server, address) = listen(name, &folder, greeted).await?;
        passed += command_lines(name, address, true).await.context(greeted)?;
        let mut program = python("login.py");
        program.arg(address.to_string()).arg(folder.join("ca.pem"));
        let said = Said::by(&format!("{name}-python"), program, LONGEST).await?;
        if said.failed > 0 {
            return Ok(said.outcome(greeted));
        }
        passed += said.answers.len();
    }
    let (_server, address) = listen(name, &folder, "pooled").await?;
    passed += command_lines(name, address, false).await.context("pooled")?;
    Ok(Outcome { passed, failed: 0, detail: format!("{passed} logins") })
}

async fn listen(name: &str, folder: &Path, plugin: &str) -> anyhow::Result<(Child, SocketAddr)> {
    let (stderr, path) = log(&format!("{name}-{plugin}"))?;
    let mut server = check();
    server.arg("server").args([folder.join("server.pem"), folder.join("server.key")]);
    server.args(["--plugin", plugin]);
    let mut child = server.stdout(Stdio::piped()).stderr(stderr).spawn()?;
    let stdout = child.stdout.take().context("its output is piped")?;
    let mut lines = BufReader::new(stdout).lines();
    let first = timeout(LONGEST, lines.next_line()).await.context("it does not listen")??;
    let Some(address) = first.as_deref().and_then(|line| line.strip_prefix("ready ")) else {
        bail!("it ended; see {}", path.display());
    };
    let address = address.parse()?;
    // It would stop at a full pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, address))
}

async fn command_lines(
    name: &str,
    address: SocketAddr,
    compression: bool,
) -> anyhow::Result<usize> {
    let mut passed = 0;
    for flavour in [Flavour::Mysql, Flavour::Mariadb] {
        let mut accounts = vec![("nat", "natpw"), ("sha2", "sha2pw"), ("digest", "digestpw")];
        // That its password is learnt makes the next login of the same account a fast one.
        accounts.extend([("sha2", "sha2pw"), ("nopw", "")]);
        let ways: &[&[&str]] = match flavour {
            Flavour::Mysql => &[
                &["--get-server-public-key"],
                &["--ssl-mode=REQUIRED"],
                &["--get-server-public-key", "--compression-algorithms=zlib"],
                &["--ssl-mode=REQUIRED", "--compression-algorithms=zstd"],
            ],
            Flavour::Mariadb => {
                accounts.push(("ed", "edpw"));
                &[&[], &["--ssl"], &["--compress"]]
            }
        };
        for (user, password) in accounts {
            let is_compressed = |way: &[&str]| way.iter().any(|word| word.contains("compress"));
            for way in ways.iter().filter(|way| compression || !is_compressed(way)) {
                for wrong in ["", "x"] {
                    let mut program = cli(flavour, address);
                    program.arg(format!("-u{user}")).args(*way);
                    program.arg(format!("--password={password}{wrong}"));
                    program.args(["--execute", "do 1; do 2"]);
                    let log = format!("{name}-{flavour:?}").to_lowercase();
                    let done = timeout(LONGEST, finish(&log, &mut program)).await;
                    let done = done.context("no end")??;
                    let denied = done.text.contains("ERROR 1045 (28000)");
                    if done.status.success() != wrong.is_empty() || denied == wrong.is_empty() {
                        bail!("{user} {way:?} {password}{wrong}: {}", done.error(&done.text));
                    }
                    passed += 1;
                }
            }
        }
    }
    Ok(passed)
}
