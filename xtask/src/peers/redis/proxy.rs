//! `wiremesh` in front of Redis.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};

use super::server::ask;
use crate::peers::proxy;

const START: Duration = Duration::from_secs(10);

/// A running proxy.
pub(super) struct Proxy {
    process: proxy::Proxy,
    pub(super) address: SocketAddr,
}

impl Proxy {
    /// In front of these; `options` as they stand on the command line.
    pub(super) async fn start(upstreams: &[SocketAddr], options: &[&str]) -> anyhow::Result<Self> {
        let options = options.iter().map(|option| (*option).to_owned());
        let behind = upstreams.iter().map(SocketAddr::to_string).chain(options);
        Self::ready(proxy::Proxy::start("redis", behind).await?).await
    }

    /// With the configuration made for its address.
    pub(super) async fn run(config: impl FnOnce(SocketAddr) -> String) -> anyhow::Result<Self> {
        Self::ready(proxy::Proxy::run(config).await?).await
    }

    /// In front of a cluster whose settings, but its name and endpoints, are these lines of a configuration.
    pub(super) async fn configured(
        upstreams: &[SocketAddr],
        settings: &[&str],
    ) -> anyhow::Result<Self> {
        let endpoints: Vec<_> = upstreams.iter().map(|it| format!("\"{it}\"")).collect();
        let endpoints = endpoints.join(", ");
        let settings: String = settings.iter().map(|line| format!("    {line}\n")).collect();
        let config = move |address| {
            format!(
                "workers: 2\nlisteners:\n  - name: all\n    address: {address}\n    protocols: [redis]\n    \
                 routes: [{{ name: all, cluster: all }}]\nclusters:\n  - name: all\n    \
                 endpoints: [{endpoints}]\n{settings}"
            )
        };
        Self::run(config).await
    }

    async fn ready(process: proxy::Proxy) -> anyhow::Result<Self> {
        let mut proxy = Self { address: process.address, process };
        let end = Instant::now() + START;
        while let Err(error) = ask(proxy.address, &["PING"]).await {
            proxy.check()?;
            if Instant::now() > end {
                bail!("the proxy does not answer: {error:#}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(proxy)
    }

    /// Its resident memory, in MiB.
    pub(super) fn memory(&self) -> anyhow::Result<usize> {
        self.process.memory()
    }

    /// An error if it is not running any more, or has said that it panicked.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        self.process.check()
    }
}
