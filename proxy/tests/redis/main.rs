//! Redis across the proxy, in one process, before the server that the demo has too.

#[path = "../common/mod.rs"]
mod common;

mod bulk;
mod cluster;
mod face;
mod faults;
mod limits;
mod modules;
mod private;
mod pubsub;
mod routes;
mod settings;
mod shared;
mod watch;
