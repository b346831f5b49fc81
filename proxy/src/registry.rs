//! The protocols that a proxy speaks, each registered in one line.

use std::{collections::BTreeMap, future::Future, pin::Pin, rc::Rc, sync::Arc, time::Instant};

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use wiremesh::{
    Detection, Frame, HeaderSupport, Kind, Limits, OptionError, Peer, Protocol, WriteBuf,
    correlation::{ById, InOrder, Multiplexed, Pipelined},
};

use crate::{
    cluster::Address,
    exchange::Mesh,
    net::Stream,
    worker::{Accepted, Worker},
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
        Self::new().with(wiremesh_bolt::Bolt::default())
    }

    /// Adds a protocol, replacing one of the same name.
    pub fn with<P>(mut self, protocol: P) -> Self
    where
        P: Protocol + Send + Sync,
        P::Correlation: Drive<P>,
    {
        self.entries.retain(|entry| entry.info().name != P::NAME);
        self.entries.push(Arc::new(Registered(protocol)));
        self
    }

    /// The protocol of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Entry>> {
        self.entries.iter().find(|entry| entry.info().name == name)
    }

    /// All of them, in the order they were added.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<dyn Entry>> {
        self.entries.iter()
    }
}

/// What there is to know about a registered protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolInfo {
    /// [`Protocol::NAME`].
    pub name: &'static str,
    /// How a reply finds its request: `by id`, `in order` or `session`.
    pub correlation: &'static str,
    /// [`Protocol::HEADERS`].
    pub headers: HeaderSupport,
    /// [`Protocol::SERVER_FIRST`].
    pub server_first: bool,
    /// Whether it has a heartbeat, for keepalive and health checks.
    pub heartbeat: bool,
}

/// One registered protocol, its type erased. Called once per connection at most.
pub trait Entry: Send + Sync {
    /// What there is to know about it.
    fn info(&self) -> ProtocolInfo;

    /// [`Protocol::detect`].
    fn detect(&self, prefix: &[u8]) -> Detection;

    /// Whether the protocol takes this option and value.
    fn check_option(&self, name: &str, value: &str) -> Result<(), OptionError>;

    /// Its connections on one worker. Options must have been checked; those that fail are left out.
    fn driver(&self, worker: Rc<Worker>, options: &Options) -> Rc<dyn Driver>;

    /// Connects, and waits for the answer to a heartbeat where the protocol has one.
    fn probe(&self, options: &Options, address: Address) -> Probe;
}

/// A health check under way.
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
    /// How many clients are connected.
    fn clients(&self) -> usize;
}

/// How the proxy drives a correlation: implemented for each of the framework's markers.
pub trait Drive<P: Protocol> {
    /// Its name in listings.
    const SHAPE: &'static str;
    /// A driver for one worker.
    fn driver(worker: Rc<Worker>, protocol: P) -> Rc<dyn Driver>;
}

impl<P: Multiplexed> Drive<P> for ById {
    const SHAPE: &'static str = "by id";

    fn driver(worker: Rc<Worker>, protocol: P) -> Rc<dyn Driver> {
        Rc::new(Mesh::new(worker, protocol))
    }
}

impl<P: Pipelined> Drive<P> for InOrder {
    const SHAPE: &'static str = "in order";

    fn driver(worker: Rc<Worker>, protocol: P) -> Rc<dyn Driver> {
        Rc::new(Mesh::new(worker, protocol))
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
}

impl<P> Entry for Registered<P>
where
    P: Protocol + Send + Sync,
    P::Correlation: Drive<P>,
{
    fn info(&self) -> ProtocolInfo {
        ProtocolInfo {
            name: P::NAME,
            correlation: <P::Correlation as Drive<P>>::SHAPE,
            headers: P::HEADERS,
            server_first: P::SERVER_FIRST,
            heartbeat: self.0.heartbeat(0).is_some(),
        }
    }

    fn detect(&self, prefix: &[u8]) -> Detection {
        P::detect(prefix)
    }

    fn check_option(&self, name: &str, value: &str) -> Result<(), OptionError> {
        self.0.clone().set_option(name, value)
    }

    fn driver(&self, worker: Rc<Worker>, options: &Options) -> Rc<dyn Driver> {
        <P::Correlation as Drive<P>>::driver(worker, self.with_options(options))
    }

    fn probe(&self, options: &Options, address: Address) -> Probe {
        let protocol = self.with_options(options);
        Box::pin(async move {
            let mut stream = Stream::connect(&address).await.map_err(|e| e.to_string())?;
            match protocol.heartbeat(0) {
                Some(heartbeat) => ask(&protocol, heartbeat, &mut stream).await,
                None => Ok(()),
            }
        })
    }
}

/// Sends a heartbeat and reads until it is answered.
async fn ask<P: Protocol>(
    protocol: &P,
    heartbeat: P::Frame,
    stream: &mut Stream,
) -> Result<(), String> {
    let mut out = WriteBuf::default();
    protocol.encode(heartbeat, &mut out);
    stream.write_all_buf(&mut out).await.map_err(|e| e.to_string())?;
    let (mut input, mut decoder) = (BytesMut::new(), P::State::default());
    loop {
        while let Some(frame) = protocol
            .decode(Peer::Upstream, &mut decoder, &Limits::default(), &mut input)
            .map_err(|e| e.to_string())?
        {
            if matches!(frame.kind(), Kind::HeartbeatReply | Kind::Response) {
                return Ok(());
            }
        }
        let read = tokio_util::io::read_buf(stream, &mut input).await;
        if read.map_err(|e| e.to_string())? == 0 {
            return Err("closed without answering the heartbeat".into());
        }
    }
}
