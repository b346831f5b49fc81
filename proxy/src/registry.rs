//! The protocols that a proxy speaks, each registered in one line.

use std::{collections::BTreeMap, future::Future, pin::Pin, rc::Rc, sync::Arc, time::Instant};

use bytes::Bytes;
use wiremesh::{
    Detection, Failure, Protocol, User, WriteBuf,
    correlation::{ById, InOrder, Multiplexed, Pipelined, Purpose, Session, Sessioned},
    topology::{TopologyError, TopologyOptions},
};

use crate::{
    cluster::discover::Learner,
    config::{Copies, ProtocolInfo},
    exchange::Mesh,
    net::Dial,
    session::{self, Sessions},
    talk::{Asker, Talk},
    worker::{Accepted, Order, Worker},
};

/// Options of one protocol, from the configuration.
pub type Options = BTreeMap<String, String>;

/// The protocols that a proxy speaks.
#[derive(Clone, Default)]
pub struct Registry {
    entries: Vec<Arc<dyn Entry>>,
}

impl Registry {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those that come with wiremesh.
    pub fn bundled() -> Self {
        Self::new()
            .with(wiremesh_bolt::Bolt::default())
            .with(wiremesh_mysql::Mysql::default())
            .with(wiremesh_redis::Redis::default())
    }

    /// Adds a protocol, replacing one of the same name.
    pub fn with<P>(mut self, protocol: P) -> Self
    where
        P: Protocol + Send + Sync,
        P::Correlation: Drive<P>,
    {
        self.entries.retain(|entry| entry.name() != P::NAME);
        self.entries.push(Arc::new(Registered(protocol)));
        self
    }

    /// The protocol of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Entry>> {
        self.entries.iter().find(|entry| entry.name() == name)
    }

    /// What there is to know about each, in the order they were added.
    pub fn protocols(&self) -> Vec<ProtocolInfo> {
        self.entries.iter().map(|entry| entry.info()).collect()
    }
}

/// One registered protocol, its type erased. Called once per connection at most.
pub trait Entry: Send + Sync {
    /// [`Protocol::NAME`].
    fn name(&self) -> &'static str;

    /// What there is to know about it.
    fn info(&self) -> ProtocolInfo;

    /// [`Protocol::detect`].
    fn detect(&self, prefix: &[u8]) -> Detection;

    /// [`Protocol::turn_away`], as bytes; empty where nothing can be said.
    fn turn_away(&self, options: &Options, failure: &Failure) -> Bytes;

    /// Its connections on one worker. Options must have been checked, and users; those that fail are left out.
    fn driver(&self, worker: Rc<Worker>, options: &Options, users: &[User]) -> Rc<dyn Driver>;

    /// Connects, and finds out whether the endpoint is well: by a handshake, or a heartbeat, where the protocol has one.
    fn probe(&self, options: &Options, users: &[User], dial: Dial) -> Probe;

    /// Has the protocol ask the endpoint of this cluster about itself; `None`: it has nothing to ask.
    fn inquiry(&self, options: &Options, cluster: &str, dial: Dial) -> Option<Probe>;

    /// Learns the topology of this kind.
    fn learner(
        &self,
        options: &Options,
        kind: &str,
        topology_options: &TopologyOptions,
    ) -> Result<Box<dyn Learner>, TopologyError>;
}

/// An endpoint being asked; the error is for the log.
pub type Probe = Pin<Box<dyn Future<Output = Result<(), String>>>>;

/// Runs the connections of one protocol on one worker.
pub trait Driver {
    /// Serves a client's connection, in a task of its own.
    fn serve(self: Rc<Self>, accepted: Accepted);
    /// Looks after what is due: clients that are too slow or idle, endpoints that are gone.
    fn sweep(&self, now: Instant);
    /// Takes note of a new configuration.
    fn reload(&self);
    /// Tells clients to start nothing new, where the protocol can say it.
    fn drain(&self);
    /// Answers what is still in flight by the protocol's own error.
    fn refuse(self: Rc<Self>);
    /// Says what is to be said at once: all connections are dropped after this.
    fn stop(&self) {}
    /// A client of any worker's wants what another does ended, who may be one of these.
    fn cancel(self: Rc<Self>, _order: &Order) {}
    /// Whether the protocol says when TLS begins with a client.
    fn starts_tls(&self) -> bool {
        false
    }
    /// How many clients are connected.
    fn clients(&self) -> usize;
}

/// How the proxy drives a correlation: implemented for each of the framework's markers.
pub trait Drive<P: Protocol> {
    /// A driver for one worker.
    fn driver(worker: Rc<Worker>, protocol: P) -> Rc<dyn Driver>;

    /// Connects, and waits for the answer to a heartbeat where the protocol has one.
    fn probe(protocol: P, dial: Dial) -> Probe {
        Box::pin(async move {
            let mut talk = Talk::connect(&protocol, dial).await?;
            let Some(heartbeat) = protocol.heartbeat(0) else { return Ok(()) };
            talk.say([heartbeat]).await?;
            talk.answer().await.map(drop)
        })
    }

    /// Has the protocol ask the endpoint of this cluster about itself, where it has something to ask.
    fn inquiry(_protocol: P, _cluster: &str, _dial: Dial) -> Option<Probe> {
        None
    }

    /// Learns the topology of this kind, in protocols that can.
    fn learner(
        _protocol: P,
        _kind: &str,
        _options: &TopologyOptions,
    ) -> Result<Box<dyn Learner>, TopologyError> {
        Err(TopologyError::Kind(&[]))
    }

    /// [`Pipelined::STATEFUL`].
    fn stateful() -> bool {
        false
    }

    /// [`Sessioned::end_to_end`].
    fn end_to_end(_protocol: &P) -> bool {
        false
    }

    /// Of which requests there can be copies for another cluster.
    fn copies() -> Copies {
        Copies::All
    }
}

impl<P: Multiplexed> Drive<P> for ById {
    fn driver(worker: Rc<Worker>, protocol: P) -> Rc<dyn Driver> {
        Rc::new(Mesh::new(worker, protocol))
    }
}

impl<P: Pipelined> Drive<P> for InOrder {
    fn driver(worker: Rc<Worker>, protocol: P) -> Rc<dyn Driver> {
        Rc::new(Mesh::new(worker, protocol))
    }

    fn inquiry(protocol: P, cluster: &str, dial: Dial) -> Option<Probe> {
        let mut inquiry = protocol.inquire(cluster)?;
        Some(Box::pin(async move {
            let mut talk = Talk::connect(&protocol, dial).await?;
            if let Some(mut handshake) = protocol.greet(0, Purpose::default()) {
                talk = talk.greet(&mut *handshake).await?;
            }
            talk.greet(&mut *inquiry).await.map(drop)
        }))
    }

    fn learner(
        protocol: P,
        kind: &str,
        options: &TopologyOptions,
    ) -> Result<Box<dyn Learner>, TopologyError> {
        let topology = protocol.topology(kind, options)?;
        Ok(Box::new(Asker::new(protocol, topology)))
    }

    fn stateful() -> bool {
        P::STATEFUL
    }
}

impl<P: Sessioned> Drive<P> for Session {
    fn driver(worker: Rc<Worker>, protocol: P) -> Rc<dyn Driver> {
        Rc::new(Sessions::new(worker, protocol))
    }

    fn end_to_end(protocol: &P) -> bool {
        protocol.end_to_end()
    }

    fn copies() -> Copies {
        if P::COPIES { Copies::Reads } else { Copies::None }
    }

    fn probe(protocol: P, dial: Dial) -> Probe {
        Box::pin(session::probe(protocol, dial))
    }

    fn learner(
        protocol: P,
        kind: &str,
        options: &TopologyOptions,
    ) -> Result<Box<dyn Learner>, TopologyError> {
        let topology = protocol.topology(kind, options)?;
        Ok(Box::new(Asker::new(protocol, topology)))
    }
}

struct Registered<P>(P);

impl<P: Protocol> Registered<P> {
    fn with_options(&self, options: &Options) -> P {
        let mut protocol = self.0.clone();
        for (name, value) in options {
            if let Err(error) = protocol.set_option(name, value) {
                tracing::error!(protocol = P::NAME, name, value, %error, "option left out");
            }
        }
        protocol
    }

    fn with_users(&self, options: &Options, users: &[User]) -> P {
        let mut protocol = self.with_options(options);
        if !users.is_empty()
            && let Err(error) = protocol.set_users(users)
        {
            tracing::error!(protocol = P::NAME, %error, "users left out");
        }
        protocol
    }
}

impl<P> Entry for Registered<P>
where
    P: Protocol + Send + Sync,
    P::Correlation: Drive<P>,
{
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn info(&self) -> ProtocolInfo {
        let (protocol, plain) = (self.0.clone(), self.0.clone());
        ProtocolInfo {
            end_to_end: Arc::new(move |options| {
                let mut protocol = plain.clone();
                // Those that are wrong are told of elsewhere.
                options.iter().for_each(|(name, value)| drop(protocol.set_option(name, value)));
                <P::Correlation as Drive<P>>::end_to_end(&protocol)
            }),
            copies: <P::Correlation as Drive<P>>::copies(),
            stateful: <P::Correlation as Drive<P>>::stateful(),
            check_topology: Arc::new(move |kind, options| {
                <P::Correlation as Drive<P>>::learner(protocol.clone(), kind, options).map(drop)
            }),
            ..ProtocolInfo::of(self.0.clone())
        }
    }

    fn detect(&self, prefix: &[u8]) -> Detection {
        P::detect(prefix)
    }

    fn turn_away(&self, options: &Options, failure: &Failure) -> Bytes {
        let (protocol, mut out) = (self.with_options(options), WriteBuf::default());
        if let Some(frame) = protocol.turn_away(failure) {
            protocol.encode(frame, &mut out);
        }
        out.to_bytes().freeze()
    }

    fn driver(&self, worker: Rc<Worker>, options: &Options, users: &[User]) -> Rc<dyn Driver> {
        <P::Correlation as Drive<P>>::driver(worker, self.with_users(options, users))
    }

    fn probe(&self, options: &Options, users: &[User], dial: Dial) -> Probe {
        <P::Correlation as Drive<P>>::probe(self.with_users(options, users), dial)
    }

    fn inquiry(&self, options: &Options, cluster: &str, dial: Dial) -> Option<Probe> {
        <P::Correlation as Drive<P>>::inquiry(self.with_options(options), cluster, dial)
    }

    fn learner(
        &self,
        options: &Options,
        kind: &str,
        topology_options: &TopologyOptions,
    ) -> Result<Box<dyn Learner>, TopologyError> {
        let protocol = self.with_options(options);
        <P::Correlation as Drive<P>>::learner(protocol, kind, topology_options)
    }
}
