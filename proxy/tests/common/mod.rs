//! What the tests across the proxy share: an upstream with every bad habit, a client that checks every answer, and a
//! proxy between them.

#![allow(dead_code)] // each test binary uses its own part

pub mod bolt;
pub mod call;
pub mod client;
pub mod desk;
pub mod kv;
pub mod peer;
pub mod process;
pub mod proxied;
pub mod redis;
pub mod resp;
pub mod thread;
pub mod tls;
pub mod upstream;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use wiremesh_proxy::{
    cluster::Address,
    config::{self, Cluster, Config, Listener, Route},
    registry::Registry,
    server::{Handle, Server},
};

/// The name of the tests' listener, route and cluster.
pub const NAME: &str = "t";

/// One listener for the multiplexed toy, one route, one cluster.
pub fn config(upstreams: &[SocketAddr]) -> Config {
    let endpoints =
        upstreams.iter().map(|a| config::Endpoint::from(config::Address::from(*a))).collect();
    let any = "127.0.0.1:0".parse().expect("an address");
    let route = Route { timeout: Some(secs(10)), ..Route::to_cluster(NAME, NAME) };
    Config {
        workers: Some(2),
        listeners: vec![Listener::new(NAME, any, vec!["mx".into()], vec![route])],
        clusters: vec![Cluster::new(NAME, endpoints)],
        drain_timeout: secs(5),
        ..Config::default()
    }
}

/// The bundled protocols and the toys.
pub fn registry() -> Registry {
    Registry::bundled()
        .with(wiremesh_toys::Mx)
        .with(wiremesh_toys::Kv)
        .with(wiremesh_toys::Desk::default())
        .with(wiremesh_toys::Call)
}

/// What random numbers begin with: `SEED` of the environment, for who looks for what was not met yet; else the same each
/// time. It is printed.
pub fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("seed {seed}");
    seed
}

/// A running proxy with this configuration.
pub fn start(config: Config) -> Handle {
    Server::new(config, registry()).start().expect("the proxy starts")
}

/// Where the tests' listener is.
pub fn address(proxy: &Handle) -> SocketAddr {
    match proxy.address(NAME) {
        Some(Address::Tcp(address)) => *address,
        other => panic!("no TCP listener {NAME}: {other:?}"),
    }
}

/// An address where nobody listens, which nobody else is given while the tests run.
pub fn nobody() -> SocketAddr {
    let nobody = Nobody::new();
    let address = nobody.address();
    std::mem::forget(nobody);
    address
}

/// A port that is taken, where nobody listens: bound without a backlog, it refuses.
pub struct Nobody(tokio::net::TcpSocket);

impl Nobody {
    pub fn new() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("bound")
    }
}

/// A configured duration.
pub fn secs(secs: u64) -> config::Duration {
    config::Duration::from_secs(secs)
}

/// A configured duration.
pub fn millis(millis: u64) -> config::Duration {
    config::Duration::from_millis(millis)
}

/// Waits until `true`, and fails the test when that takes more than 10 s.
pub async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !check() {
        assert!(Instant::now() < end, "not within 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs a test on a runtime of its own.
pub fn block_on<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(tokio::task::LocalSet::new().run_until(test))
}

/// This process's resident memory, in bytes.
pub fn rss() -> usize {
    rss_of(std::process::id())
}

/// A process's resident memory, in bytes.
pub fn rss_of(pid: u32) -> usize {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("it runs");
    let pages: usize = statm.split(' ').nth(1).and_then(|p| p.parse().ok()).expect("a number");
    pages * 4096
}
