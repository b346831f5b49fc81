//! `wiremesh proxy redis` as a process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use super::server::ask;
use crate::peers::peer::free_address;
use crate::process::{command, log};
use crate::target;

const START: Duration = Duration::from_secs(10);

/// A running proxy.
pub(super) struct Proxy {
    child: Child,
    log: PathBuf,
    pub(super) address: SocketAddr,
}

impl Proxy {
    /// In front of these; `options` as they stand on the command line.
    pub(super) async fn start(upstreams: &[SocketAddr], options: &[&str]) -> anyhow::Result<Self> {
        let address = free_address()?;
        let (file, log) = log(&format!("redis-proxy-{}", address.port()))?;
        let mut wiremesh = command(target().join("release/wiremesh"));
        wiremesh.args(["proxy", "redis", &address.to_string()]);
        wiremesh.args(upstreams.iter().map(SocketAddr::to_string));
        wiremesh.args(["--workers", "2"]).args(options);
        let child = wiremesh.stdout(file.try_clone()?).stderr(file).spawn()?;
        let mut proxy = Self { child, log, address };
        let end = Instant::now() + START;
        while ask(address, &["PING"]).await.is_err() {
            proxy.check()?;
            if Instant::now() > end {
                bail!("the proxy does not answer; see {}", proxy.log.display());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(proxy)
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
