//! Tests of several parts together.

mod balance;
mod bounds;
mod control;
mod discover;
mod endpoints;
mod shards;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Endpoint, LocalCluster, Shared};
use crate::config::{self, Address, Balance, Cluster};

const ALL: [Balance; 7] = [
    Balance::RoundRobin,
    Balance::Weighted,
    Balance::Random,
    Balance::LeastRequest,
    Balance::PeakEwma,
    Balance::RingHash,
    Balance::Maglev,
];

const SECOND: Duration = Duration::from_secs(1);

/// A cluster of `127.0.0.1:1`, `127.0.0.1:2` and so on, with these weights.
fn config(balance: Balance, weights: &[u32]) -> Cluster {
    let endpoints = (1..).zip(weights).map(|(port, weight)| at("127.0.0.1", port, *weight));
    Cluster { balance, ..Cluster::new("test", endpoints.collect()) }
}

fn at(host: &str, port: u16, weight: u32) -> config::Endpoint {
    config::Endpoint { address: Address::Tcp { host: host.into(), port }, weight }
}

fn shared(balance: Balance, weights: &[u32]) -> Arc<Shared> {
    Shared::new(Arc::new(config(balance, weights)))
}

fn local(balance: Balance, weights: &[u32]) -> Rc<LocalCluster> {
    LocalCluster::new(shared(balance, weights))
}

/// Makes the health checks of an endpoint fail.
fn fail_health(endpoint: &Endpoint) {
    assert!(endpoint.on_health(false, 1, 1, Instant::now()));
}

fn port(endpoint: &Endpoint) -> usize {
    match endpoint.address() {
        super::Address::Tcp(address) => usize::from(address.port()),
        super::Address::Unix(path) => panic!("{path:?} has no port"),
    }
}

/// The addresses of all endpoints.
fn addresses(shared: &Shared) -> Vec<String> {
    shared.endpoints().endpoints().iter().map(|endpoint| endpoint.label().to_string()).collect()
}
