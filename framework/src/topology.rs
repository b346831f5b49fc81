//! What a protocol can tell of the servers behind it: which holds what, which is the primary, where to ask instead.
//!
//! The protocol's crate knows what to ask and what the answer means; the proxy asks, over its own connections, keeps the
//! endpoints of the cluster as learnt, and asks again when a reply says that something has changed.

use std::fmt;

use crate::Protocol;

/// Learns who serves what, by asking the servers.
pub trait Topology<P: Protocol> {
    /// What to ask one endpoint, each request to be answered by one reply.
    fn questions(&self) -> Vec<P::Frame>;

    /// What the endpoint at `asked` (`host:port`) answered, in the order of the questions.
    ///
    /// # Errors
    /// In words for the log; the proxy asks the next endpoint.
    fn learn(&mut self, asked: &str, replies: &[P::Frame]) -> Result<Found, String>;
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// This is the topology.
    Shards(Shards),
    /// These endpoints (`host:port`) are to be asked instead.
    Ask(Vec<String>),
}

/// Who serves what.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Shards {
    /// The shards, in an order that does not depend on who was asked.
    pub shards: Vec<Shard>,
    /// The shard of each slot, as an index of `shards`; empty where the data is not divided.
    pub slots: Vec<Option<u16>>,
}

/// Servers that hold the same data.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Shard {
    /// The one that takes writes, as `host:port`; `None` while there is none.
    pub primary: Option<String>,
    /// Copies, as `host:port`.
    pub replicas: Vec<String>,
}

impl fmt::Debug for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let assigned = self.slots.iter().filter(|slot| slot.is_some()).count();
        f.debug_struct("Shards").field("shards", &self.shards).field("assigned", &assigned).finish()
    }
}

/// A reply that says to ask elsewhere. Where the proxy cannot, the client is given the reply as it is.
pub enum Redirect<P: Protocol> {
    /// This slot is served by `to` (`host:port`; without a host, the host that said so) from now on.
    Moved {
        /// The slot.
        slot: u16,
        /// Where to.
        to: String,
    },
    /// This request, and no other, is served by `to`, after `before`, whose reply nobody is told.
    Ask {
        /// Where to.
        to: String,
        /// What is sent just before the request.
        before: P::Frame,
    },
    /// The same request, in the same place, may succeed in a moment.
    Later,
    /// The endpoint is not what it was taken for; the topology is to be learnt again before the request is repeated.
    Stale,
}
