//! MySQL across the proxy, in one process: in transparent mode, but for [`pooled`].

#[path = "../common/mod.rs"]
mod common;
mod compressed;
mod ends;
mod errors;
mod faults;
mod firewall;
mod kill;
mod limits;
mod mirror;
mod passes;
mod peers;
mod pooled;
mod pooled_attributes;
mod pooled_goodbye;
mod pooled_guards;
mod pooled_limits;
mod pooled_streams;
mod pooled_untold;
mod pooled_watch;
mod roles;
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
