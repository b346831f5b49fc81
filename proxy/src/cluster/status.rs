//! What the admin interface shows of a cluster.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::endpoint::Endpoint;
use super::gauge::Gauge;
use super::occupancy::Occupied;
use super::shared::Shared;
use crate::config::Balance;

/// A cluster at one time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterStatus {
    /// Its name.
    pub name: String,
    /// How endpoints are chosen.
    pub balance: Balance,
    /// Grows whenever endpoints or settings change.
    pub version: u64,
    /// Requests without an answer.
    pub requests: BoundStatus,
    /// Connections to it.
    pub connections: BoundStatus,
    /// Requests that wait for a connection.
    pub pending: BoundStatus,
    /// What the connections are for that clients are lent; none in protocols without such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<Occupied>,
    /// Names that could not be resolved yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unresolved: Vec<String>,
    /// What was learnt of who serves what; none where the topology is static.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology: Option<TopologyStatus>,
    /// Its endpoints, in the order of the configuration, or shard by shard.
    pub endpoints: Vec<EndpointStatus>,
}

/// A learnt topology at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopologyStatus {
    /// Which, as the configuration names it.
    pub kind: String,
    /// How many shards there are.
    pub shards: usize,
    /// Slots that no shard serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unserved_slots: Option<usize>,
    /// How long ago it was learnt, in milliseconds; none before the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// Why it could not be learnt again since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// An endpoint's place in a learnt topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Membership {
    /// Which shard it is of, from 0.
    pub shard: usize,
    /// What it is there.
    pub role: Role,
    /// How many slots the shard serves; none where the data is not divided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots: Option<usize>,
}

/// What an endpoint is in its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It is a copy.
    Replica,
}

/// A bounded number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BoundStatus {
    /// Now.
    pub used: u32,
    /// At most.
    pub max: u32,
    /// How often more were wanted, ever.
    pub refused: u64,
}

/// An endpoint at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointStatus {
    /// Where it is.
    pub address: String,
    /// Its place in the topology, where one was learnt.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub member: Option<Membership>,
    /// Its share, relative to its neighbours'.
    pub weight: u32,
    /// Whether it gets requests.
    pub state: EndpointState,
    /// How long it is still ejected or draining, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// Failures in a row.
    pub failures: u32,
    /// Ejections of late.
    pub ejections: u32,
    /// Requests without an answer, of all workers.
    pub in_flight: u32,
}

/// Whether an endpoint gets requests, or the strongest reason why it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// It does.
    Available,
    /// It said go-away.
    Draining,
    /// It failed too often.
    Ejected,
    /// It fails its health checks.
    Unhealthy,
}

impl Shared {
    /// The cluster as it is now.
    pub fn describe(&self, now: Instant) -> ClusterStatus {
        let set = self.endpoints();
        let topology = set.shards().map(|table| {
            let (learnt, problem) = self.asked();
            TopologyStatus {
                kind: self.config().topology.clone(),
                shards: table.shards().len(),
                unserved_slots: table.is_divided().then(|| table.unserved()),
                age_ms: learnt.map(|at| millis(now.saturating_duration_since(at))),
                problem,
            }
        });
        ClusterStatus {
            name: self.name().to_string(),
            balance: self.config().balance,
            version: set.version(),
            // Not what is taken from the gauge: workers hold some of that spare.
            requests: BoundStatus { used: self.in_flight(), ..self.requests().status() },
            connections: self.connections().status(),
            pending: self.pending().status(),
            sessions: self.occupied(),
            unresolved: self.unresolved(),
            topology,
            endpoints: set
                .endpoints()
                .iter()
                .enumerate()
                .map(|(place, endpoint)| {
                    let member = set.shards().and_then(|table| table.membership(place));
                    EndpointStatus { member, ..endpoint.describe(now) }
                })
                .collect(),
        }
    }
}

impl Gauge {
    /// Its numbers now.
    pub fn status(&self) -> BoundStatus {
        BoundStatus { used: self.used(), max: self.max(), refused: self.refused() }
    }
}

impl Endpoint {
    /// Its state now.
    pub fn state(&self, now: Instant) -> EndpointState {
        if !self.is_healthy() {
            EndpointState::Unhealthy
        } else if self.is_ejected(now) {
            EndpointState::Ejected
        } else if self.is_draining(now) {
            EndpointState::Draining
        } else {
            EndpointState::Available
        }
    }

    fn describe(&self, now: Instant) -> EndpointStatus {
        let left = Some(self.suspension(now)).filter(|left| *left > Duration::ZERO);
        EndpointStatus {
            address: self.label().to_string(),
            member: None,
            weight: self.weight(),
            state: self.state(now),
            left_ms: left.map(millis),
            failures: self.failures(),
            ejections: self.ejections(),
            in_flight: self.in_flight(),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
