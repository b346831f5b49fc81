//! What a protocol can tell of the servers behind it: which holds what, which is the primary, where to ask instead.
//!
//! The protocol's crate knows what to ask and what the answer means; the proxy asks, over its own connections, keeps the
//! endpoints of the cluster as learnt, and asks again when a reply says that something has changed.

use std::{collections::BTreeMap, fmt};

use crate::{
    OptionError, Protocol,
    correlation::{Departure, Handshake},
};

/// Learns who serves what, by asking the servers one after the other. A new one is made each time.
pub trait Topology<P: Protocol> {
    /// What to ask the endpoint at `asked` (`host:port`).
    fn questions(&self, asked: &str) -> Vec<P::Frame>;

    /// Whether these frames are all of the answer to one question: asked when one more has come. The default is that one is.
    /// Only in protocols with [sessions](crate::correlation::Sessioned), which are asked one question after the other.
    fn is_answered(&self, _frames: &[P::Frame]) -> bool {
        true
    }

    /// What is spoken with an endpoint before it is asked, in protocols with
    /// [sessions](crate::correlation::Sessioned); `None`: what health checks speak.
    fn hail(&self, _departure: &Departure) -> Option<Box<dyn Handshake<P>>> {
        None
    }

    /// The endpoint at `asked` could not be asked, or what it answered made no sense.
    fn unanswered(&mut self, _asked: &str) {}

    /// What the endpoint at `asked` answered, in the order of the questions: the frames of all answers.
    ///
    /// # Errors
    /// In words for the log; the proxy asks the next endpoint.
    fn learn(&mut self, asked: &str, replies: &[P::Frame]) -> Result<Found, String>;

    /// What follows from all that was learnt, when nobody is left to be asked; `None`: nothing.
    fn conclude(&mut self) -> Option<Result<Shards, String>> {
        None
    }

    /// Whether the endpoint at `asked` is greeted like any other upstream before it is asked.
    fn greets(&self, _asked: &str) -> bool {
        true
    }

    /// Whether only the configured endpoints can answer, not those that were learnt before.
    fn configured_only(&self) -> bool {
        false
    }
}

/// The options of a topology, as the configuration has them.
pub type TopologyOptions = BTreeMap<String, String>;

/// A topology that a protocol does not have, or not with these options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// There is none of this name; there are these.
    #[error("no such topology")]
    Kind(&'static [&'static str]),
    /// One of its options is wrong.
    #[error("{0}: {1}")]
    Option(String, OptionError),
    /// An option is missing: its name, and what it is for.
    #[error("{0} is missing: {1}")]
    Missing(&'static str, &'static str),
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// This is the topology.
    Shards(Shards),
    /// Not enough yet: these endpoints (`host:port`) are to be asked next, then the others.
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

impl Shard {
    /// Whether nobody is of it.
    pub fn is_empty(&self) -> bool {
        self.primary.is_none() && self.replicas.is_empty()
    }
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
