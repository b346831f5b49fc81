//! The three ways in which a reply finds its request, and what a protocol says about itself for each.
//!
//! A protocol names one of the markers as its [`Protocol::Correlation`] and implements that marker's trait:
//! [`ById`] → [`Multiplexed`], [`InOrder`] → [`Pipelined`], [`Session`] → [`Sessioned`]. What a shape does not need it
//! cannot be asked for.

use crate::{
    Failure, Frame, Kind, Protocol,
    engine::{Engine, Inbox, Mux, Passthrough, Pipeline, Reorder},
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
    /// How many replies this request will have.
    fn expects(&self, request: &Self::Frame) -> Expect;

    /// Whether this reply ends an [`Expect::Stream`].
    fn is_last(&self, _reply: &Self::Frame) -> bool {
        true
    }

    /// Takes a request apart into several where it must be. The default leaves it whole.
    fn split(&self, request: Self::Frame) -> Split<Self> {
        Split::Whole(request)
    }
}

/// A request, or the several that stand for it.
pub enum Split<P: Protocol> {
    /// Goes out as it came.
    Whole(P::Frame),
    /// Goes out in parts; the one answer is built from theirs.
    Parts(Vec<Part<P>>, Box<dyn Gather<P>>),
}

/// One part of a request that was split.
pub struct Part<P: Protocol> {
    /// The request that is sent.
    pub request: P::Frame,
    /// Where it goes.
    pub target: Target,
}

/// Where a part of a split request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any endpoint of the cluster.
    Any,
    /// The endpoint that this hash falls on.
    Hash(u64),
    /// The n-th endpoint, modulo their number.
    Index(usize),
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
    /// Takes the answer of part `part`, as numbered in [`Split::Parts`].
    fn reply(&mut self, protocol: &P, part: usize, reply: P::Frame);

    /// Notes that a part failed.
    fn failed(&mut self, protocol: &P, part: usize, failure: &Failure);

    /// The answer, when every part has answered or failed. Never a partial one: an error where any part failed.
    fn finish(&mut self, protocol: &P) -> P::Frame;
}

/// A protocol whose client may occupy an upstream connection.
pub trait Sessioned: Protocol<Correlation = Session> {
    /// Follows one client, and says when it must hold an upstream and when it need not.
    type Machine: SessionMachine<Self>;
    /// Speaks with a client before its first request.
    type ClientHandshake: Handshake<Self>;
    /// Speaks with an upstream before its first request.
    type UpstreamHandshake: Handshake<Self>;

    /// A machine for a client that has just connected.
    fn machine(&self) -> Self::Machine;
    /// The proxy's part of the handshake with a client.
    fn client_handshake(&self) -> Self::ClientHandshake;
    /// The proxy's part of the handshake with an upstream.
    fn upstream_handshake(&self) -> Self::UpstreamHandshake;
}

/// One side of a handshake: frames in, frames out, until it is done or refused.
pub trait Handshake<P: Protocol> {
    /// What to say before the peer has said anything.
    fn start(&mut self, protocol: &P) -> Progress<P>;
    /// What to say to this.
    fn on_frame(&mut self, protocol: &P, frame: P::Frame) -> Progress<P>;
}

/// Where a handshake stands.
pub enum Progress<P: Protocol> {
    /// Send this, if anything, and wait for the peer.
    Continue(Option<P::Frame>),
    /// Send this, if anything; the connection is ready.
    Done(Option<P::Frame>),
    /// Send this, if anything, and close; the text is for the log.
    Refused(Option<P::Frame>, &'static str),
}

/// Follows a client's session.
///
/// One request at a time: the next comes when the last is answered. The proxy may answer a request itself; then no reply
/// follows, and where no upstream is held a new machine takes over. A machine of its own follows each reset.
pub trait SessionMachine<P: Protocol> {
    /// What this request of the client's means for its upstream.
    fn on_request(&mut self, protocol: &P, request: &P::Frame) -> Attachment;
    /// What this frame of the upstream's means.
    fn on_reply(&mut self, protocol: &P, reply: &P::Frame) -> Hold<P>;
}

/// What a client's request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// An upstream: the one that is held, or any clean one.
    Upstream,
    /// An upstream, and no reply will come. It is held until a later reply says otherwise.
    UpstreamNoReply,
    /// The client is leaving: close both, or give a clean upstream back.
    Quit,
}

/// What holds after a frame of the upstream's.
pub enum Hold<P: Protocol> {
    /// The reply is not complete: hold.
    Pending,
    /// The reply is complete, but the session's state is on this connection: hold.
    Held,
    /// The reply is complete and the connection may serve another client, after `reset`, if any, was answered.
    Release {
        /// What to send, and have answered, before anybody else uses the connection.
        reset: Option<P::Frame>,
    },
    /// The connection cannot be used again.
    Close,
}

/// The shapes in which requests of many clients share upstream connections: [`ById`] and [`InOrder`].
///
/// It names the engine for the upstream's side and the one for the client's, so that one driver serves both shapes.
pub trait Exchange<P: Protocol>: 'static {
    /// Matches replies to requests on an upstream connection; `T` is what the caller wants back with the reply.
    type Engine<T>: Engine<P, T>;
    /// Puts replies into the order that the client expects.
    type Inbox: Inbox<P>;

    /// How many replies the request will have.
    fn expects(protocol: &P, request: &P::Frame) -> Expect;

    /// The request, or its parts.
    fn split(protocol: &P, request: P::Frame) -> Split<P>;
}

impl<P: Multiplexed> Exchange<P> for ById {
    type Engine<T> = Mux<T>;
    type Inbox = Passthrough;

    fn expects(_protocol: &P, request: &P::Frame) -> Expect {
        if request.kind() == Kind::Request { Expect::One } else { Expect::None }
    }

    fn split(_protocol: &P, request: P::Frame) -> Split<P> {
        Split::Whole(request)
    }
}

impl<P: Pipelined> Exchange<P> for InOrder {
    type Engine<T> = Pipeline<T>;
    type Inbox = Reorder<P>;

    fn expects(protocol: &P, request: &P::Frame) -> Expect {
        protocol.expects(request)
    }

    fn split(protocol: &P, request: P::Frame) -> Split<P> {
        protocol.split(request)
    }
}
