//! Which endpoints hold which part of a cluster's data, and the choice of one of them.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::address::Address;
use super::endpoint::Endpoint;
use super::local::LocalEndpoint;
use super::status::{Membership, Role};
use crate::config::ReadFrom;

/// A topology as it was learnt, with every address known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learnt {
    /// The shards, in an order that does not depend on who was asked.
    pub shards: Vec<LearntShard>,
    /// The shard of each slot; empty where the data is not divided.
    pub slots: Vec<Option<u16>>,
    /// The addresses of endpoints that were told by name.
    pub names: HashMap<String, Address>,
}

/// Servers that hold the same data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LearntShard {
    /// The one that takes writes.
    pub primary: Option<Address>,
    /// Copies.
    pub replicas: Vec<Address>,
}

impl Learnt {
    /// All addresses, shard by shard and the primary first.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.shards.iter().flat_map(|shard| shard.primary.iter().chain(&shard.replicas))
    }
}

/// No shard.
const NONE: u16 = u16::MAX;

/// A topology, by the places of the endpoints in their [`EndpointSet`](super::EndpointSet).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ShardTable {
    shards: Vec<Members>,
    /// The shard of each slot, [`NONE`] where it has none.
    slots: Vec<u16>,
    /// Endpoints by their addresses as text, and by the names that they were told by.
    places: HashMap<String, usize>,
}

/// The endpoints of a shard.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Members {
    /// The primary, if there is one, is the first.
    nodes: Vec<usize>,
    has_primary: bool,
    /// How many slots it serves.
    slots: usize,
}

impl ShardTable {
    /// The table of `learnt` over these endpoints.
    pub(super) fn new(learnt: &Learnt, endpoints: &[Arc<Endpoint>]) -> Self {
        let by_address: HashMap<&Address, usize> =
            endpoints.iter().enumerate().map(|(place, it)| (it.address(), place)).collect();
        let place = |address: &Address| by_address.get(address).copied();
        let mut shards: Vec<Members> = learnt
            .shards
            .iter()
            .map(|shard| {
                let primary = shard.primary.as_ref().and_then(place);
                let replicas = shard.replicas.iter().filter_map(place);
                Members {
                    has_primary: primary.is_some(),
                    nodes: primary.into_iter().chain(replicas).collect(),
                    slots: 0,
                }
            })
            .collect();
        let slots = learnt.slots.iter().map(|shard| {
            let members = shard.and_then(|shard| shards.get_mut(usize::from(shard)));
            members.zip(*shard).map_or(NONE, |(members, shard)| {
                members.slots += 1;
                shard
            })
        });
        let slots = slots.collect();
        let labels = endpoints.iter().enumerate().map(|(at, it)| (it.label().to_string(), at));
        let names = learnt.names.iter();
        let names = names.filter_map(|(name, address)| Some((name.clone(), place(address)?)));
        Self { shards, slots, places: labels.chain(names).collect() }
    }

    /// Whether the data is divided over the shards.
    pub(super) fn is_divided(&self) -> bool {
        !self.slots.is_empty()
    }

    pub(super) fn shards(&self) -> &[Members] {
        &self.shards
    }

    /// How many slots no shard serves.
    pub(super) fn unserved(&self) -> usize {
        self.slots.iter().filter(|shard| **shard == NONE).count()
    }

    /// What the endpoint at this place is.
    pub(super) fn membership(&self, place: usize) -> Option<Membership> {
        let mut all = self.shards.iter().enumerate();
        let (shard, members) = all.find(|(_, members)| members.nodes.contains(&place))?;
        let role = if members.primary() == Some(place) { Role::Primary } else { Role::Replica };
        Some(Membership { shard, role, slots: self.is_divided().then_some(members.slots) })
    }

    /// Whether the data is divided, and the endpoint at this place has a copy of a part.
    pub(super) fn is_copy(&self, place: usize) -> bool {
        self.is_divided() && self.shards.iter().any(|shard| shard.replicas().contains(&place))
    }

    /// The shard that a slot belongs to. Where data is not divided, that is the only one.
    pub(super) fn by_slot(&self, slot: u16) -> Option<&Members> {
        if !self.is_divided() {
            return self.shards.first();
        }
        self.shards.get(usize::from(*self.slots.get(usize::from(slot))?))
    }

    /// The n-th shard, modulo their number.
    pub(super) fn nth(&self, n: usize) -> Option<&Members> {
        self.shards.get(n.checked_rem(self.shards.len())?)
    }

    /// The place of the endpoint of that address or name.
    pub(super) fn place(&self, address: &str) -> Option<usize> {
        self.places.get(address).copied()
    }
}

impl Members {
    /// Where the primary is.
    pub(super) fn primary(&self) -> Option<usize> {
        self.nodes.first().copied().filter(|_| self.has_primary)
    }

    /// Where the copies are.
    pub(super) fn replicas(&self) -> &[usize] {
        self.nodes.get(usize::from(self.has_primary)..).unwrap_or_default()
    }

    /// How many slots it serves.
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// Chooses one of the shard's endpoints by `from`; those in `avoid` only where no other is available, and those that
    /// are suspended only where none else is left. One that fails its health checks is never taken.
    pub(super) fn pick(
        &self,
        from: ReadFrom,
        endpoints: &[Rc<LocalEndpoint>],
        avoid: &[u64],
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Option<usize> {
        let healthy = |place: &usize| endpoints.get(*place).filter(|it| it.endpoint().is_healthy());
        let replicas = self.replicas();
        let primary = self.nodes.get(..usize::from(self.has_primary)).unwrap_or_default();
        let (first, second) = match from {
            // Nothing to choose: avoided or ejected, it is the one that is taken in the end.
            ReadFrom::Primary => return self.primary().filter(|place| healthy(place).is_some()),
            ReadFrom::Replica => (replicas, &[][..]),
            ReadFrom::PreferReplica => (replicas, primary),
            ReadFrom::Any => (&self.nodes[..], &[][..]),
        };
        let mut available = |places: &[usize], avoid: &[u64]| {
            // Of the two that come first after a place by chance, the one with less to do.
            let (before, after) = places.split_at_checked(rng.usize(..places.len().max(1)))?;
            let mut usable = after.iter().chain(before).filter_map(|place| {
                let local = endpoints.get(*place)?;
                let usable = !avoid.contains(&local.id()) && local.endpoint().is_available(now);
                usable.then(|| (*place, local.in_flight()))
            });
            let one = usable.next()?;
            let two = usable.next().unwrap_or(one);
            Some(if two.1 < one.1 { two.0 } else { one.0 })
        };
        let picked = available(first, avoid)
            .or_else(|| available(second, avoid))
            .or_else(|| available(first, &[]))
            .or_else(|| available(second, &[]));
        picked.or_else(|| {
            let left = first.iter().chain(second).filter_map(|place| {
                let local = healthy(place)?;
                let order = (avoid.contains(&local.id()), local.endpoint().suspension(now));
                Some((order, *place))
            });
            left.min().map(|(_, place)| place)
        })
    }
}
