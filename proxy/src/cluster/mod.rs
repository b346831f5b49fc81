//! Clusters: sets of endpoints that do the same, and the choice of one of them for each request. Nothing here knows a protocol.
//!
//! [`Shared`] is what all threads have in common: settings, the current endpoints, bounds. [`LocalCluster`] is one worker's view
//! of it, and all that a request needs: it notices a change of endpoints or settings by one load, and keeps latencies and the
//! balancer's state to itself, so that workers share nothing per request but a few relaxed atomics.

mod address;
mod balance;
pub mod discover;
mod endpoint;
mod ewma;
mod gauge;
pub mod health;
mod held;
pub mod inquire;
mod local;
mod occupancy;
pub mod resolve;
mod route;
mod shards;
mod shared;
mod status;

#[cfg(test)]
mod tests;

pub use address::Address;
pub use endpoint::Endpoint;
pub use gauge::Gauge;
pub use held::{Held, HeldPermit};
pub use local::{LocalCluster, LocalEndpoint, routes_version};
pub use occupancy::{Occupancy, Occupied};
pub use shards::{Learnt, LearntShard, ShardTable};
pub use shared::{EndpointSet, Shared};
pub use status::{
    BoundStatus, ClusterStatus, EndpointState, EndpointStatus, Membership, Role, TopologyStatus,
};

/// The key of a request for the hashing balancers, from the bytes that it is to depend on.
pub fn hash_key(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}
