//! Tests of several parts together.

mod balance;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::{LocalCluster, Shared};
use crate::config::{self, Address, Balance, Cluster};

/// A cluster of `127.0.0.1:1`, `127.0.0.1:2` and so on, with these weights.
fn config(balance: Balance, weights: &[u32]) -> Cluster {
    let endpoint = |(port, weight): (u16, &u32)| config::Endpoint {
        address: Address::Tcp { host: "127.0.0.1".into(), port },
        weight: *weight,
    };
    Cluster { balance, ..Cluster::new("test", (1..).zip(weights).map(endpoint).collect()) }
}

fn shared(balance: Balance, weights: &[u32]) -> Arc<Shared> {
    Shared::new(Arc::new(config(balance, weights)))
}

fn local(balance: Balance, weights: &[u32]) -> Rc<LocalCluster> {
    LocalCluster::new(shared(balance, weights))
}

/// The port of what is picked.
fn pick(cluster: &LocalCluster, hash: Option<u64>, rng: &mut fastrand::Rng) -> Option<usize> {
    let picked = cluster.pick(hash, &[], Instant::now(), rng)?;
    Some(port(picked.endpoint()))
}

fn port(endpoint: &super::Endpoint) -> usize {
    match endpoint.address() {
        super::Address::Tcp(address) => usize::from(address.port()),
        super::Address::Unix(path) => panic!("{path:?} has no port"),
    }
}
