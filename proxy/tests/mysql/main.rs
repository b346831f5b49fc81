//! MySQL across the proxy, in transparent mode, in one process.

#[path = "../common/mod.rs"]
mod common;
mod ends;
mod firewall;
mod passes;
mod peers;
mod watch;

use std::net::SocketAddr;

use wiremesh_proxy::config::Config;

/// A proxy's configuration for MySQL, on one worker.
fn mysql(upstreams: &[SocketAddr]) -> Config {
    let mut config = common::config(upstreams);
    config.workers = Some(1);
    config.listeners[0].protocols = vec!["mysql".into()];
    config
}
