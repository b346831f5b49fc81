//! `wiremesh` as a process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use crate::process::{command, log};
use crate::target;

const START: Duration = Duration::from_secs(60);

/// A running `wiremesh`.
pub(super) struct Proxy {
    child: Child,
    log: PathBuf,
    pub(super) address: SocketAddr,
}

impl Proxy {
    /// `wiremesh proxy`; `behind` is what stands on its command line behind protocol and address.
    pub(super) async fn start(
        protocol: &str,
        behind: impl IntoIterator<Item = String>,
    ) -> anyhow::Result<Self> {
        let address = free_address()?;
        let mut args = vec!["proxy".to_owned(), protocol.to_owned(), address.to_string()];
        args.extend(behind);
        args.extend(["--workers", "2"].map(str::to_owned));
        Self::spawn(address, &args).await
    }

    /// `wiremesh run` with the configuration made for its address.
    pub(super) async fn run(config: impl FnOnce(SocketAddr) -> String) -> anyhow::Result<Self> {
        let address = free_address()?;
        let path = target().join("xtask").join(format!("proxy-{}.yaml", address.port()));
        std::fs::create_dir_all(target().join("xtask"))?;
        std::fs::write(&path, config(address))?;
        Self::spawn(address, &["run".into(), "-c".into(), path.display().to_string()]).await
    }

    async fn spawn(address: SocketAddr, args: &[String]) -> anyhow::Result<Self> {
        let (file, log) = log(&format!("proxy-{}", address.port()))?;
        let mut wiremesh = command(target().join("release/wiremesh"));
        let child = wiremesh.args(args).stdout(file.try_clone()?).stderr(file).spawn()?;
        let mut proxy = Self { child, log, address };
        let end = Instant::now() + START;
        while TcpStream::connect(address).await.is_err() {
            proxy.check()?;
            if Instant::now() > end {
                bail!("the proxy does not listen; see {}", proxy.log.display());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(proxy)
    }

    /// Its process.
    pub(super) fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("it has ended")
    }

    /// Its resident memory, in MiB.
    pub(super) fn memory(&self) -> anyhow::Result<usize> {
        let id = self.id()?;
        let statm = std::fs::read_to_string(format!("/proc/{id}/statm"))?;
        let pages: usize = statm.split(' ').nth(1).context("no second number")?.parse()?;
        Ok((pages * 4096) >> 20)
    }

    /// An error if it is not running any more, or has said that it panicked.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the proxy ended: {status}; see {}", self.log.display());
        }
        let text = std::fs::read(&self.log)?;
        if String::from_utf8_lossy(&text).contains("panicked at") {
            bail!("the proxy panicked; see {}", self.log.display());
        }
        Ok(())
    }
}

/// A loopback address that nothing listens on.
pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A page of the proxy's.
pub(super) async fn page(admin: SocketAddr, path: &str) -> anyhow::Result<String> {
    let asked = async {
        let mut socket = TcpStream::connect(admin).await?;
        let head = format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
        socket.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(START, asked).await.context("the page does not come")??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer of HTTP")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
    Ok(body.to_owned())
}
