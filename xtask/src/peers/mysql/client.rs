//! One client library with one server: direct, then through the proxy, and the same answers.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::process::Command;

use super::install::{built, java, mysql, source};
use super::pooled;
use super::server::{Kind, Server};
use crate::peers::proxy::Proxy;
use crate::peers::said::Said;
use crate::process::command;
use crate::report::Outcome;

/// No client takes half of it.
const LONGEST: Duration = Duration::from_secs(180);

/// Whose library.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Library {
    PyMysql,
    Mysqlclient,
    /// Our own client, for what no library can be made to do.
    Wire,
    Go,
    Mysql2,
    ConnectorJ,
    MariadbJ,
    MysqlAsync,
    Sqlx,
}

impl Library {
    pub(super) const ALL: [Self; 9] = [
        Self::PyMysql,
        Self::Mysqlclient,
        Self::Wire,
        Self::Go,
        Self::Mysql2,
        Self::ConnectorJ,
        Self::MariadbJ,
        Self::MysqlAsync,
        Self::Sqlx,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PyMysql => "pymysql",
            Self::Mysqlclient => "mysqlclient",
            Self::Wire => "wire",
            Self::Go => "go",
            Self::Mysql2 => "mysql2",
            Self::ConnectorJ => "connector-j",
            Self::MariadbJ => "mariadb-j",
            Self::MysqlAsync => "mysql-async",
            Self::Sqlx => "sqlx",
        }
    }

    /// What it is written in.
    pub(super) fn language(self) -> &'static str {
        match self {
            Self::PyMysql | Self::Mysqlclient | Self::Wire => "python",
            Self::Go => "go",
            Self::Mysql2 => "node",
            Self::ConnectorJ | Self::MariadbJ => "java",
            Self::MysqlAsync | Self::Sqlx => "rust",
        }
    }

    pub(super) fn program(self) -> Command {
        match self {
            Self::PyMysql | Self::Mysqlclient | Self::Wire => {
                let mut program = python("client.py");
                program.arg(self.name());
                program
            }
            Self::Go => {
                let mut program = go();
                program.arg("steps");
                program
            }
            Self::Mysql2 => {
                let mut program = command("node");
                program.arg(source("node").join("mysql2.js"));
                program
            }
            Self::ConnectorJ | Self::MariadbJ => {
                let (classes, jars) = (java().join("classes"), java().join("lib/*"));
                let mut program = command("java");
                // Two cores are shared by everything here: no second compiler.
                program.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g", "-cp"]);
                program.arg(format!("{}:{}", classes.display(), jars.display()));
                program.args(["wiremesh.peers.Main", self.name()]);
                program
            }
            Self::MysqlAsync | Self::Sqlx => {
                let mut program = command(built("mysql-rust").join("debug/mysql-client"));
                program.arg(self.name());
                program
            }
        }
    }
}

/// One client and one server.
pub(super) struct Cell {
    library: Library,
    server: Kind,
}

impl Cell {
    /// All, server by server.
    pub(super) fn all() -> Vec<Self> {
        let of = |server| Library::ALL.map(|library| Self { library, server });
        Kind::ALL.into_iter().flat_map(of).collect()
    }

    /// For example `mysql-pymysql-mariadb10`.
    pub(super) fn name(&self) -> String {
        format!("mysql-{}-{}", self.library.name(), self.server.name())
    }

    /// What it is written in.
    pub(super) fn language(&self) -> &'static str {
        self.library.language()
    }

    /// Our own client asks for what the pooled mode does not have.
    fn pooled(&self) -> bool {
        self.library != Library::Wire
    }
}

/// The servers and proxies that cells share, started when first needed.
#[derive(Default)]
pub(super) struct Bench {
    both: Vec<(Server, Option<Proxy>)>,
}

impl Bench {
    /// Every answer has to be right, and the same in both modes of the proxy as of the server itself, but for what is said in
    /// [`pooled`].
    pub(super) async fn run(&mut self, cell: &Cell, direct: bool) -> anyhow::Result<Outcome> {
        let (server, proxy) = self.at(cell.server, direct).await?;
        let mut bare = drive(cell, server, server.address, "direct", &[]).await?;
        let Some(proxy) = proxy else {
            return Ok(bare.outcome("direct"));
        };
        if bare.failed > 0 {
            return Ok(bare.outcome("direct"));
        }
        let mut proxied = drive(cell, server, proxy.address, "proxied", &[]).await?;
        proxy.check()?;
        proxied.compare(&bare, |_| false);
        if proxied.failed > 0 || !cell.pooled() {
            return Ok(proxied.outcome("proxied as direct"));
        }
        let passed = proxied.answers.len();
        let (client, kind) = (cell.library.name(), cell.server);
        let mut left_out = Vec::new();
        bare.answers.retain(|answer| {
            let step = answer.strip_prefix("ok ").and_then(|rest| rest.split_once(": "));
            let step = step.map_or("", |(step, _)| step);
            let out = pooled::left_out(client, kind, step);
            left_out.extend(out.then(|| step.to_owned()));
            !out
        });
        let mut proxy = pooled::through(server).await?;
        let mut proxied = drive(cell, server, proxy.address, "pooled", &left_out).await?;
        proxy.check()?;
        proxied.compare_steps(&bare, pooled::plain, |step| pooled::differs(client, kind, step));
        let mut outcome = proxied.outcome("pooled as direct, but for what is excepted");
        outcome.passed += passed;
        Ok(outcome)
    }

    /// A server, and the proxy in front of it, if there is to be one.
    pub(super) async fn at(
        &mut self,
        kind: Kind,
        direct: bool,
    ) -> anyhow::Result<(&Server, Option<&mut Proxy>)> {
        if !self.both.iter().any(|(server, _)| server.kind == kind) {
            let server = Server::start(kind, "").await?;
            let proxy = if direct { None } else { Some(through(server.address).await?) };
            self.both.push((server, proxy));
        }
        let found = self.both.iter_mut().find(|(server, _)| server.kind == kind);
        let (server, proxy) = found.context("it is there")?;
        Ok((server, proxy.as_mut()))
    }
}

/// A proxy in front of a server.
pub(super) async fn through(server: SocketAddr) -> anyhow::Result<Proxy> {
    Proxy::start("mysql", [server.to_string()]).await
}

async fn drive(
    cell: &Cell,
    server: &Server,
    address: SocketAddr,
    way: &str,
    left_out: &[String],
) -> anyhow::Result<Said> {
    let mut program = cell.library.program();
    program.env("SKIP_STEPS", left_out.join(";"));
    program.args([&address.to_string(), cell.server.name()]).arg(server.ca());
    Said::by(&format!("{}-{way}", cell.name()), program, LONGEST).await
}

/// Whose command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flavour {
    Mysql,
    Mariadb,
}

impl Flavour {
    /// That of the server's own project.
    pub(super) fn of(kind: Kind) -> Self {
        if kind == Kind::Mysql { Self::Mysql } else { Self::Mariadb }
    }
}

/// A command line, without TLS.
pub(crate) fn cli(flavour: Flavour, address: SocketAddr) -> Command {
    let mut program = match flavour {
        Flavour::Mysql => {
            let mut mysql = command(mysql().join("bin/mysql"));
            mysql.args(["--no-defaults", "--ssl-mode=DISABLED", "--local-infile=1"]);
            mysql
        }
        Flavour::Mariadb => {
            let mut mariadb = command("mariadb");
            mariadb.args(["--no-defaults", "--skip-ssl", "--local-infile=1"]);
            mariadb
        }
    };
    program.args(["--protocol=tcp", "-h", "127.0.0.1", "-P", &address.port().to_string()]);
    program
}

/// A program of the Python folder.
pub(super) fn python(name: &str) -> Command {
    let mut python = command(built("mysql-python").join("bin/python"));
    // What it compiles does not belong beside the source.
    python.arg("-B").arg(source("python").join(name));
    python
}

/// The program of the Go folder.
pub(super) fn go() -> Command {
    command(built("mysql-go").join("client"))
}
