//! The way of a request in a cluster whose endpoints do not all serve the same.

use std::cell::Ref;
use std::rc::Rc;
use std::time::Instant;

use wiremesh::correlation::{Access, Homes, Own, Target};

use super::local::{LocalCluster, LocalEndpoint, View, bump};
use super::shards::{Members, ShardTable};
use crate::config::ReadFrom;

impl LocalCluster {
    /// How many shards the data is divided over; 0 where it is not.
    pub fn shards(&self) -> usize {
        let view = self.fresh();
        view.set.shards().filter(|table| table.is_divided()).map_or(0, |table| table.shards().len())
    }

    /// Whether it was learnt who serves what: redirections are to be followed. Otherwise they are the client's.
    pub fn is_learnt(&self) -> bool {
        self.fresh().set.shards().is_some()
    }

    /// How many endpoints there are.
    pub fn nodes(&self) -> usize {
        self.fresh().endpoints.len()
    }

    /// The endpoint for a request that wants to go to `target`; `None` when there is none that may be used.
    ///
    /// Where the topology is learnt it is that of the last [`refresh`](LocalCluster::refresh): the way must not change
    /// after [`routes_version`](super::routes_version) was looked at.
    ///
    /// Where the topology is static, slots and shards say nothing and the balancer chooses ([`LocalCluster::pick`], with
    /// `hash`). Where it was learnt but the data is not divided, every slot and shard is the only one there is.
    /// [`Target::Any`] is the primary of any shard; so is [`Target::Hash`], always of the same.
    /// `avoid`: as in [`LocalCluster::pick`].
    pub fn route(
        &self,
        target: Target,
        hash: Option<u64>,
        avoid: &[u64],
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Option<Rc<LocalEndpoint>> {
        let view = self.view.borrow();
        let Some(table) = view.set.shards() else {
            drop(view);
            return match target {
                Target::Index(index) => self.nth(index),
                Target::Hash(hash) => self.pick(Some(hash), avoid, now, rng),
                Target::Any | Target::Slot(..) | Target::Shard(..) => {
                    self.pick(hash, avoid, now, rng)
                }
            };
        };
        let (members, access) = match target {
            Target::Index(index) => {
                return view.endpoints.get(index.checked_rem(view.endpoints.len())?).cloned();
            }
            Target::Slot(slot, access) => {
                if let Some(local) = self.moved_to(&view, slot) {
                    return Some(local);
                }
                (table.by_slot(slot), access)
            }
            Target::Shard(n, access) => (table.nth(n), access),
            Target::Hash(hash) => (table.nth(hash as usize), Access::Write),
            Target::Any => (any(table, &view, now, rng), Access::Write),
        };
        let from = match access {
            Access::Write => ReadFrom::Primary,
            Access::Read => view.config.read_from,
        };
        let place = members?.pick(from, &view.endpoints, avoid, now, rng)?;
        view.endpoints.get(place).cloned()
    }

    /// What a session's request is lent a connection for: writes and reads have connections of their own only where they
    /// may go to different endpoints of the same data.
    pub fn parts(&self, access: impl FnOnce() -> Access) -> Access {
        let view = self.fresh();
        let apart = view.set.shards().is_some_and(|table| !table.is_divided())
            && view.config.read_from != ReadFrom::Primary
            && !view.config.dedicated;
        drop(view);
        if apart { access() } else { Access::Write }
    }

    /// Whether this is an endpoint for such requests by what was learnt last, where the data is not divided.
    pub fn serves(&self, local: &LocalEndpoint, access: Access, now: Instant) -> bool {
        let view = self.fresh();
        let Some(table) = view.set.shards().filter(|table| !table.is_divided()) else {
            return true;
        };
        let place = view.endpoints.iter().position(|it| it.id() == local.id());
        let (Some(members), Some(place)) = (table.shards().first(), place) else { return false };
        let primary = members.primary() == Some(place);
        let copy = members.replicas().contains(&place);
        let from = match access {
            Access::Write => ReadFrom::Primary,
            Access::Read => view.config.read_from,
        };
        match from {
            ReadFrom::Primary => primary,
            ReadFrom::Replica => copy,
            ReadFrom::Any => primary || copy,
            ReadFrom::PreferReplica => {
                let copies = || members.replicas().iter().filter_map(|at| view.endpoints.get(*at));
                copy || primary && !copies().any(|it| it.endpoint().is_available(now))
            }
        }
    }

    /// The endpoint of this address (`host:port`, or as the topology told it); `None` when it is not of the cluster.
    pub fn at(&self, address: &str) -> Option<Rc<LocalEndpoint>> {
        let view = self.fresh();
        view.endpoints.get(view.place(address)?).cloned()
    }

    /// An endpoint said that this slot is served by the one at `address`: requests go there until the topology is learnt
    /// again, which is asked for. False when that address is not of the cluster.
    pub fn note_moved(&self, slot: u16, address: &str) -> bool {
        let place = self.fresh().place(address);
        if let Some(place) = place {
            self.moved.borrow_mut().insert(slot, place);
            bump();
        }
        self.shared().stale();
        place.is_some()
    }

    fn moved_to(&self, view: &View, slot: u16) -> Option<Rc<LocalEndpoint>> {
        let moved = self.moved.borrow();
        if moved.is_empty() {
            return None;
        }
        view.endpoints.get(*moved.get(&slot)?).cloned()
    }

    fn fresh(&self) -> Ref<'_, View> {
        self.refresh();
        self.view.borrow()
    }
}

impl Homes for LocalCluster {
    fn home(&self, slot: u16) -> Option<Own> {
        // As in `route`.
        let view = self.view.borrow();
        if let Some(local) = self.moved_to(&view, slot) {
            return Some(local.id());
        }
        let place = view.set.shards()?.by_slot(slot)?.primary()?;
        view.endpoints.get(place).map(|local| local.id())
    }
}

impl View {
    fn place(&self, address: &str) -> Option<usize> {
        match self.set.shards() {
            Some(table) => table.place(address),
            None => self.endpoints.iter().position(|local| **local.label() == *address),
        }
    }
}

/// A shard by chance; if possible one that serves slots and whose primary is available.
fn any<'a>(
    table: &'a ShardTable,
    view: &View,
    now: Instant,
    rng: &mut fastrand::Rng,
) -> Option<&'a Members> {
    let start = rng.usize(..table.shards().len().max(1));
    let (before, after) = table.shards().split_at_checked(start)?;
    let shards = || after.iter().chain(before);
    let available = |shard: &&Members| {
        if table.is_divided() && shard.slots() == 0 {
            return false;
        }
        let primary = shard.primary().and_then(|place| view.endpoints.get(place));
        primary.is_some_and(|local| local.endpoint().is_available(now))
    };
    shards().find(available).or_else(|| shards().next())
}
