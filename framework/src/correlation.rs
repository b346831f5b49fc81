//! The three ways in which a reply finds its request, and what a protocol says about itself for each.
//!
//! A protocol names one of the markers as its [`Protocol::Correlation`] and implements that marker's trait:
//! [`ById`] → [`Multiplexed`], [`InOrder`] → [`Pipelined`], [`Session`] → [`Sessioned`]. What a shape does not need it
//! cannot be asked for.

mod cancel;
mod compare;
mod session;

use std::fmt;

use bytes::BytesMut;

pub use self::cancel::{Cancel, Cancelled, Extent};
pub use self::compare::{AnswerDigest, Digester};
pub use self::session::{
    Arrival, Attachment, Departure, Hold, Legs, Ready, SessionMachine, Sessioned,
};
use crate::{
    DecodeError, Failure, Frame, Kind, Lane, Protocol,
    engine::{Engine, Inbox, Mux, Passthrough, Pipeline, Reorder},
    topology::{Redirect, Topology, TopologyError, TopologyOptions},
};

/// Replies carry their request's id and may come in any order.
#[derive(Clone, Copy, Debug)]
pub struct ById;

/// Replies come in the order of their requests.
#[derive(Clone, Copy, Debug)]
pub struct InOrder;

/// A client is bound to one upstream connection while state demands it.
#[derive(Clone, Copy, Debug)]
pub struct Session;

/// How many replies a request will have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// None at all.
    None,
    /// One.
    One,
    /// This many.
    Many(u32),
    /// Until one for which [`Pipelined::is_last`] is true.
    Stream,
}

impl Expect {
    /// Whether no reply will come.
    pub fn is_none(self) -> bool {
        matches!(self, Self::None | Self::Many(0))
    }
}

/// A protocol whose frames carry request ids.
pub trait Multiplexed: Protocol<Correlation = ById> {
    /// The id's width on the wire, 8 to 64 bits; every value of that width must be allowed.
    const ID_BITS: u32;

    /// The frame's id.
    fn id(&self, frame: &Self::Frame) -> u64;

    /// Replaces the frame's id and nothing else (but a checksum over it).
    fn set_id(&self, frame: &mut Self::Frame, id: u64);
}

/// A protocol whose replies come in the order of the requests.
pub trait Pipelined: Protocol<Correlation = InOrder> {
    /// Follows one client; `()` where nothing has to be remembered from one request to the next.
    type Client: ClientMachine<Self>;

    /// Whether the endpoints of a cluster hold different data, so that none may stand in for another unless a
    /// [`Topology`] says so.
    const STATEFUL: bool = false;

    /// The header by which routes tell apart [what a request is about](Self::each_subject): a key, say. Empty: they cannot.
    const SUBJECT: &'static str = "";

    /// How many replies this request will have.
    fn expects(&self, request: &Self::Frame) -> Expect;

    /// Whether this reply ends an [`Expect::Stream`].
    fn is_last(&self, _reply: &Self::Frame) -> bool {
        true
    }

    /// What becomes of a request, for clients that are not followed (`()`). The default shares it as it is.
    fn step(&self, request: Self::Frame) -> Step<Self> {
        Step::Shared(request, Target::Any)
    }

    /// Shows `visit` the request as a route would have to see it for each of the things that it is about, if routes can
    /// tell them apart by [`SUBJECT`](Self::SUBJECT); the first is what routes see of the request as it is. Where they
    /// lead to several clusters, [`View::portions`] tells, and the request must go out in parts, or be answered: one that
    /// would go out whole is refused.
    fn each_subject(&self, _request: &Self::Frame, _visit: &mut dyn FnMut(&Self::Frame)) {}

    /// Speaks with an upstream before the first request of this lane; `None`: there is nothing to say.
    fn greet(&self, _lane: Lane, _purpose: Purpose) -> Option<Box<dyn Handshake<Self>>> {
        None
    }

    /// Asks a server of the cluster of this name about itself, after [`greet`](Self::greet): what else the protocol has to
    /// know of servers to serve their clients well. The proxy has it done at the start and every so often, over a
    /// connection of its own, by any of the servers; what they answer the protocol keeps itself.
    fn inquire(&self, _cluster: &str) -> Option<Box<dyn Handshake<Self>>> {
        None
    }

    /// Learns the topology of this kind, as the configuration names it. (`static` is the proxy's own.)
    ///
    /// # Errors
    /// There is no such kind, or it does not take these options.
    fn topology(
        &self,
        _kind: &str,
        _options: &TopologyOptions,
    ) -> Result<Box<dyn Topology<Self>>, TopologyError> {
        Err(TopologyError::Kind(&[]))
    }

    /// Whether this reply says to ask elsewhere.
    fn redirect(&self, _reply: &Self::Frame) -> Option<Redirect<Self>> {
        None
    }

    /// What the upstream lacks to carry out this request, as its reply says; with that, it would. Sent just before the request is
    /// sent again, to the same place; nobody is told what is answered. The reply must be certain to mean that nothing was
    /// executed. Where requests are not kept, or something else of the client's was executed meanwhile, the client has the
    /// reply.
    fn lacks(&self, _request: &Self::Frame, _reply: &Self::Frame) -> Option<Self::Frame> {
        None
    }

    /// Edits a reply that says to ask elsewhere, before the client is given it: it was followed too often, or cannot be.
    /// `learnt`: the proxy knows who serves what. The default leaves it as it is.
    fn unfollowed(&self, _reply: &mut Self::Frame, _learnt: bool) {}

    /// What becomes of a copy of a request in another cluster, of which `view` tells; in its own the request goes to
    /// `target`. It may be the part of one that was split. Only [`Step::Shared`] and [`Step::Parts`] are sent, and
    /// [`Step::Nothing`] is fine; any other says that it cannot be had there.
    fn replan(&self, _view: &View<'_>, request: Self::Frame, target: Target) -> Step<Self> {
        Step::Shared(request, target)
    }
}

/// Follows one client of a [`Pipelined`] protocol: says for every request which kind of upstream connection it needs.
///
/// A client that is *attached* has an upstream connection for itself, from the first [`Step::Private`] until
/// [`release`](Self::release) gives it back. It may have several, told apart by [`Own`]. Time, sockets and pools are the
/// proxy's.
pub trait ClientMachine<P: Pipelined>: Default + 'static {
    /// What becomes of this request. Called in the order in which the client sent them.
    fn on_request(&mut self, protocol: &P, view: &View<'_>, request: P::Frame) -> Step<P>;

    /// Sees the reply of a [`Step::Alone`], and everything that comes from the client's own connection, before it is
    /// passed on. It may edit the frame, and mark it as a push or as one that more will follow.
    fn on_reply(&mut self, _protocol: &P, _view: &View<'_>, _reply: &mut P::Frame) {}

    /// The client has a connection of its own from now on, which the upstream knows by this number, if the handshake has
    /// found one out ([`Handshake::number`]).
    fn on_attached(&mut self, _protocol: &P, _view: &View<'_>, _number: Option<u64>) {}

    /// Notes that the [`Step::Alone`] in progress, or a request that was to go to this connection of the client's own,
    /// was answered by the proxy, with an error.
    fn on_failed(&mut self, _protocol: &P, _own: Option<Own>) {}

    /// What may become of a connection of the client's own. Asked when nothing is owed on it, after something came on one
    /// of them, or the client was [answered](Step::Answer). `gone`: the client has left.
    fn release(&mut self, _protocol: &P, _own: Own, _gone: bool) -> Release<P> {
        Release::Clean(0)
    }
}

impl<P: Pipelined> ClientMachine<P> for () {
    fn on_request(&mut self, protocol: &P, _view: &View<'_>, request: P::Frame) -> Step<P> {
        protocol.step(request)
    }
}

/// What a [`ClientMachine`] is told of its client and of the cluster that the request at hand goes to.
#[derive(Clone, Copy, Default)]
pub struct View<'a> {
    /// The client's number, never used again in this process.
    pub client: u64,
    /// The client's address.
    pub peer: &'a str,
    /// The address that the client connected to, `IP:PORT`; `unix` where it has none.
    pub local: &'a str,
    /// How many shards the cluster has; 0 where it is not sharded.
    pub shards: usize,
    /// How many endpoints it has.
    pub nodes: usize,
    /// Where what is written goes, where that is known.
    pub homes: Option<&'a dyn Homes>,
    /// The connection that what is shown comes from, if it is the client's own.
    pub own: Option<Own>,
    /// Which cluster it is: a number that no other has, the same on all workers.
    pub cluster: usize,
    /// Routes lead to several clusters, by [what a request is about](Pipelined::SUBJECT).
    pub divided: bool,
    /// Where routes lead to several: the clusters of a request that is about things of several, or of none. Of those
    /// that may have to be looked at for all that there is, the first is the one that the request itself is routed to.
    pub portions: &'a [Portion],
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut view = f.debug_struct("View");
        view.field("client", &self.client)
            .field("shards", &self.shards)
            .field("nodes", &self.nodes);
        view.field("own", &self.own).finish_non_exhaustive()
    }
}

/// Which endpoint takes what is written.
pub trait Homes {
    /// The one for this slot, by a number of its own that is not 0.
    fn home(&self, slot: u16) -> Option<Own>;
}

/// Which of the connections that a client has for itself: 0 where one is all it needs; else a number of the machine's, such
/// as one that [`Homes`] tell.
pub type Own = u64;

/// One of the clusters that a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Portion {
    /// Which of its [subjects](Pipelined::each_subject) are there, by number; none where it has none.
    pub subjects: Vec<usize>,
    /// How many shards the cluster has; 0 where it is not sharded.
    pub shards: usize,
    /// How many endpoints it has.
    pub nodes: usize,
}

/// What a new upstream connection is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purpose {
    /// Of data that is divided over shards the endpoint has a copy, and reads may be meant for it all the same.
    pub copy: bool,
    /// One client at a time has it for itself.
    pub own: bool,
}

/// What becomes of a request. One that goes out whole goes by the route of the request that the machine was asked about.
pub enum Step<P: Protocol> {
    /// It goes to an upstream connection that others use too.
    Shared(P::Frame, Target),
    /// As [`Shared`](Self::Shared), and it is the client's only one: it waits until all before it are answered, and the
    /// next is not looked at before this one is.
    Alone(P::Frame, Target),
    /// It goes out in parts, to shared connections; the one answer is built from theirs.
    Parts(Vec<Part<P>>, Box<dyn Gather<P>>),
    /// It goes to the connection that is the client's own. One is taken if there is none, as soon as everything before
    /// it is answered; `target` is looked at only then.
    Private {
        /// Requests to send before it, whose replies nobody is told.
        before: Vec<P::Frame>,
        /// The request.
        request: P::Frame,
        /// Where to.
        target: Target,
        /// Which one.
        own: Own,
        /// No deadline applies: the request waits for something to happen.
        patient: bool,
    },
    /// It is several, each to be answered by itself, one after the other.
    Each(Vec<Self>),
    /// The machine is asked again when everything before it is answered.
    Wait(P::Frame),
    /// It is answered by this, in its turn.
    Answer(P::Frame),
    /// It is answered by this, if by anything, in its turn, and the connection is closed after it.
    Bye(Option<P::Frame>),
    /// It has no answer, and goes nowhere.
    Nothing,
}

/// What may become of a connection that a client had for itself.
pub enum Release<P: Protocol> {
    /// The client's state is on it.
    Hold,
    /// It is as good as new, and of this lane.
    Clean(Lane),
    /// It is as good as new, and of this lane, once these requests are answered.
    Reset(Vec<P::Frame>, Lane),
    /// It cannot be used again.
    Close,
}

/// One part of a request that was split.
pub struct Part<P: Protocol> {
    /// The request that is sent.
    pub request: P::Frame,
    /// Where it goes.
    pub target: Target,
    /// In which of the [`View::portions`]; `None`: by the route of the request.
    pub portion: Option<usize>,
}

impl<P: Protocol> Part<P> {
    /// A part that goes by the route of the request.
    pub fn new(request: P::Frame, target: Target) -> Self {
        Self { request, target, portion: None }
    }
}

/// Where a request, or a part of one, goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any endpoint of the cluster, as its balancer says.
    Any,
    /// The endpoint that this hash falls on.
    Hash(u64),
    /// The n-th endpoint, modulo their number.
    Index(usize),
    /// The shard that this slot belongs to.
    Slot(u16, Access),
    /// The n-th shard, modulo their number.
    Shard(usize, Access),
}

impl Target {
    /// Whether the request is known to change nothing.
    pub fn is_read(self) -> bool {
        matches!(self, Self::Slot(_, Access::Read) | Self::Shard(_, Access::Read))
    }
}

/// What a request wants of its shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Access {
    /// Only the primary will do.
    #[default]
    Write,
    /// A replica will do, if the cluster's configuration says so.
    Read,
}

impl Target {
    /// The endpoint that this key falls on, by 64-bit FNV-1a: the same on every machine and in every version.
    pub fn of(key: impl AsRef<[u8]>) -> Self {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self::Hash(key.as_ref().iter().fold(0xcbf2_9ce4_8422_2325, step))
    }
}

/// Builds the one answer of a split request.
pub trait Gather<P: Protocol> {
    /// Takes the answer of part `part`, as numbered in [`Step::Parts`].
    fn reply(&mut self, protocol: &P, part: usize, reply: P::Frame);

    /// Notes that a part failed.
    fn failed(&mut self, protocol: &P, part: usize, failure: &Failure);

    /// The answer, when every part has answered or failed. Never a partial one: an error where any part failed.
    fn finish(&mut self, protocol: &P) -> P::Frame;
}

/// One side of a handshake: frames in, frames out, until it is done or refused.
pub trait Handshake<P: Protocol> {
    /// What to say before the peer has said anything.
    fn start(&mut self, protocol: &P) -> Progress<P>;
    /// What to say to this.
    fn on_frame(&mut self, protocol: &P, frame: P::Frame) -> Progress<P>;
    /// What to say now that TLS has begun.
    fn on_secured(&mut self, _protocol: &P) -> Progress<P> {
        Progress::Refused(None, "TLS that nobody asked for")
    }
    /// The number by which the peer knows the connection, if it was told, once the handshake is done.
    fn number(&self) -> Option<u64> {
        None
    }
    /// What all that follows the handshake is within, on both ways, once it is done: compression, say.
    fn layer(&self) -> Option<Box<dyn Layer>> {
        None
    }
}

/// Lies between the frames of a protocol and the connection: bytes are packed when they are sent, and unpacked when they come.
///
/// One of these has one connection. What it is not asked for it costs nothing.
pub trait Layer: fmt::Debug {
    /// Takes bytes off `received` and appends to `out` what they hold, until `out` has `room` bytes or more are needed. Answers
    /// whether anything was appended: whoever makes room asks again until it was not.
    ///
    /// # Errors
    /// What was received is not of this layer: nothing that follows can be read.
    fn unpack(
        &mut self,
        received: &mut BytesMut,
        out: &mut BytesMut,
        room: usize,
    ) -> Result<bool, DecodeError>;

    /// Appends to `out` what the peer is to be sent for these bytes, all of it.
    fn pack(&mut self, plain: &[u8], out: &mut BytesMut);
}

/// Where a handshake stands.
pub enum Progress<P: Protocol> {
    /// Send this, if anything, and wait for the peer.
    Continue(Option<P::Frame>),
    /// Send this, if anything, and begin TLS: [`Handshake::on_secured`]. What the peer has sent already is of TLS.
    StartTls(Option<P::Frame>),
    /// Send this, if anything; the connection is ready.
    Done(Option<P::Frame>),
    /// Send this, if anything, and close; the text is for the log.
    Refused(Option<P::Frame>, &'static str),
}

/// The shapes in which requests of many clients share upstream connections: [`ById`] and [`InOrder`].
///
/// It names the engine for the upstream's side and the one for the client's, so that one driver serves both shapes.
pub trait Exchange<P: Protocol>: 'static {
    /// Matches replies to requests on an upstream connection; `T` is what the caller wants back with the reply.
    type Engine<T>: Engine<P, T>;
    /// Puts replies into the order that the client expects.
    type Inbox: Inbox<P>;
    /// Follows one client.
    type Client: Default + 'static;
    /// A client's requests are executed in the order it sent them, and every frame of an upstream's but a push has its
    /// place in the line.
    const ORDERED: bool;
    /// [`Pipelined::STATEFUL`].
    const STATEFUL: bool;
    /// [`Pipelined::SUBJECT`].
    const SUBJECT: &'static str = "";

    /// How many replies the request will have.
    fn expects(protocol: &P, request: &P::Frame) -> Expect;

    /// [`Pipelined::each_subject`].
    fn each_subject(_: &P, _request: &P::Frame, _visit: &mut dyn FnMut(&P::Frame)) {}

    /// [`ClientMachine::on_request`].
    fn step(protocol: &P, client: &mut Self::Client, view: &View<'_>, request: P::Frame)
    -> Step<P>;

    /// [`ClientMachine::on_reply`].
    fn on_reply(_: &P, _client: &mut Self::Client, _: &View<'_>, _reply: &mut P::Frame) {}

    /// [`ClientMachine::on_attached`].
    fn on_attached(_: &P, _client: &mut Self::Client, _: &View<'_>, _number: Option<u64>) {}

    /// [`ClientMachine::on_failed`].
    fn on_failed(_: &P, _client: &mut Self::Client, _own: Option<Own>) {}

    /// [`ClientMachine::release`].
    fn release(_: &P, _client: &mut Self::Client, _own: Own, _gone: bool) -> Release<P> {
        Release::Close
    }

    /// [`Pipelined::greet`].
    fn greet(_: &P, _lane: Lane, _: Purpose) -> Option<Box<dyn Handshake<P>>> {
        None
    }

    /// [`Pipelined::topology`].
    fn topology(
        _: &P,
        _kind: &str,
        _: &TopologyOptions,
    ) -> Result<Box<dyn Topology<P>>, TopologyError> {
        Err(TopologyError::Kind(&[]))
    }

    /// [`Pipelined::redirect`].
    fn redirect(_: &P, _reply: &P::Frame) -> Option<Redirect<P>> {
        None
    }

    /// [`Pipelined::lacks`].
    fn lacks(_: &P, _request: &P::Frame, _reply: &P::Frame) -> Option<P::Frame> {
        None
    }

    /// [`Pipelined::unfollowed`].
    fn unfollowed(_: &P, _reply: &mut P::Frame, _learnt: bool) {}

    /// [`Pipelined::replan`].
    fn replan(_: &P, _: &View<'_>, request: P::Frame, target: Target) -> Step<P> {
        Step::Shared(request, target)
    }
}

impl<P: Multiplexed> Exchange<P> for ById {
    type Engine<T> = Mux<T>;
    type Inbox = Passthrough;
    type Client = ();
    const ORDERED: bool = false;
    const STATEFUL: bool = false;

    fn expects(_protocol: &P, request: &P::Frame) -> Expect {
        if request.kind() == Kind::Request { Expect::One } else { Expect::None }
    }

    fn step(_: &P, _client: &mut (), _: &View<'_>, request: P::Frame) -> Step<P> {
        Step::Shared(request, Target::Any)
    }
}

impl<P: Pipelined> Exchange<P> for InOrder {
    type Engine<T> = Pipeline<T>;
    type Inbox = Reorder<P>;
    type Client = P::Client;
    const ORDERED: bool = true;
    const STATEFUL: bool = P::STATEFUL;
    const SUBJECT: &'static str = P::SUBJECT;

    fn expects(protocol: &P, request: &P::Frame) -> Expect {
        protocol.expects(request)
    }

    fn each_subject(protocol: &P, request: &P::Frame, visit: &mut dyn FnMut(&P::Frame)) {
        protocol.each_subject(request, visit);
    }

    fn step(protocol: &P, client: &mut P::Client, view: &View<'_>, request: P::Frame) -> Step<P> {
        client.on_request(protocol, view, request)
    }

    fn on_reply(protocol: &P, client: &mut P::Client, view: &View<'_>, reply: &mut P::Frame) {
        client.on_reply(protocol, view, reply);
    }

    fn on_attached(protocol: &P, client: &mut P::Client, view: &View<'_>, number: Option<u64>) {
        client.on_attached(protocol, view, number);
    }

    fn on_failed(protocol: &P, client: &mut P::Client, own: Option<Own>) {
        client.on_failed(protocol, own);
    }

    fn release(protocol: &P, client: &mut P::Client, own: Own, gone: bool) -> Release<P> {
        client.release(protocol, own, gone)
    }

    fn greet(protocol: &P, lane: Lane, purpose: Purpose) -> Option<Box<dyn Handshake<P>>> {
        protocol.greet(lane, purpose)
    }

    fn topology(
        protocol: &P,
        kind: &str,
        options: &TopologyOptions,
    ) -> Result<Box<dyn Topology<P>>, TopologyError> {
        protocol.topology(kind, options)
    }

    fn redirect(protocol: &P, reply: &P::Frame) -> Option<Redirect<P>> {
        protocol.redirect(reply)
    }

    fn lacks(protocol: &P, request: &P::Frame, reply: &P::Frame) -> Option<P::Frame> {
        protocol.lacks(request, reply)
    }

    fn unfollowed(protocol: &P, reply: &mut P::Frame, learnt: bool) {
        protocol.unfollowed(reply, learnt);
    }

    fn replan(protocol: &P, view: &View<'_>, request: P::Frame, target: Target) -> Step<P> {
        protocol.replan(view, request, target)
    }
}
