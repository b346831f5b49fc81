use std::borrow::Cow;

use bytes::BytesMut;

use crate::{
    Bearing, DecodeError, Detection, Digested, Failure, Frame, HeaderSupport, Limits, OptionError,
    Peer, Piece, Subject, Summary, User, WriteBuf,
};

/// Names what frames must have in common to share an upstream connection, in a protocol's own way.
pub type Lane = u32;

/// One wire protocol.
///
/// The value itself holds the protocol's options and is shared by all connections of a listener or cluster.
pub trait Protocol: Clone + Sized + 'static {
    /// One message.
    type Frame: Frame + Clone;
    /// What one direction of a connection remembers between frames; `()` for most.
    type State: Default + 'static;
    /// What must be remembered of a request so that it can be answered without it.
    type Head: Clone + 'static;
    /// How a reply finds its request: [`ById`](crate::correlation::ById), [`InOrder`](crate::correlation::InOrder) or
    /// [`Session`](crate::correlation::Session).
    type Correlation: 'static;

    /// The name used in configuration.
    const NAME: &'static str;
    /// What its headers allow.
    const HEADERS: HeaderSupport = HeaderSupport::None;
    /// Whether an accepting side speaks first, so that detection can never wait for the client.
    const SERVER_FIRST: bool = false;

    /// Whether TLS begins within the protocol, when the client asks for it, and not with the connection's first byte. Only
    /// sessions can do that: [`SessionMachine::secure`](crate::correlation::SessionMachine::secure).
    const STARTS_TLS: bool = false;

    /// What the first bytes of a client's connection say. Every prefix of a valid first frame is a match or needs more.
    fn detect(prefix: &[u8]) -> Detection;

    /// Takes one frame off `input`, or answers `None` and leaves `input` for when more bytes are there.
    ///
    /// Called again with the same bytes and more; `state` is where progress over a half-received frame is kept.
    fn decode(
        &self,
        from: Peer,
        state: &mut Self::State,
        limits: &Limits,
        input: &mut BytesMut,
    ) -> Result<Option<Self::Frame>, DecodeError>;

    /// Takes the beginning of a frame that is too long to be held, so that it can be passed on as it comes; `None`, and
    /// `input` as it is, where it has to be held.
    ///
    /// Asked only where [`decode`](Self::decode) wants more of a frame of which much is there, or refuses it by
    /// [`Limits::max_frame`]: frames of the usual size never come here. What is returned tells all that the proxy asks
    /// frames of this kind, but for its length: it is as long as what was taken. It encodes to just that, and must not be
    /// edited. What follows is taken by [`rest`](Self::rest), before `decode` is called again.
    fn begin(
        &self,
        _from: Peer,
        _state: &mut Self::State,
        _input: &mut BytesMut,
    ) -> Option<Self::Frame> {
        None
    }

    /// Takes what is there of the rest of a frame that was [begun](Self::begin), up to its end.
    fn rest(
        &self,
        _from: Peer,
        _state: &mut Self::State,
        _input: &mut BytesMut,
    ) -> Result<Piece, DecodeError> {
        Ok(Piece { bytes: BytesMut::new(), last: true })
    }

    /// Appends the frame's bytes, with whatever depends on its content (checksum, lengths) brought up to date.
    fn encode(&self, frame: Self::Frame, out: &mut WriteBuf);

    /// What [`reply`](Self::reply) will need to answer `request`.
    fn head(&self, request: &Self::Frame) -> Self::Head;

    /// The response by which the proxy answers `request` itself; `None` where the protocol has no way to say it.
    fn reply(&self, request: &Self::Head, failure: &Failure) -> Option<Self::Frame>;

    /// What a client is told that has just connected, has said nothing, and is closed: there is no place for one more.
    /// `None`: it is closed without a word.
    fn turn_away(&self, _failure: &Failure) -> Option<Self::Frame> {
        None
    }

    /// The [method](Frame::method) of the request that this was remembered of. Needed where the protocol itself answers
    /// requests, for these to be counted by their method.
    fn method_of<'a>(&self, _request: &'a Self::Head) -> Option<Cow<'a, str>> {
        None
    }

    /// Calls `visit` with each of the things that a request is about, where some may be asked for more than others: keys,
    /// tables, queues. Only a sample of the requests is looked at.
    fn subjects(&self, _request: &Self::Frame, _visit: &mut dyn FnMut(Subject<'_>)) {}

    /// Appends what a request has in common with those that differ from it in values only (SQL without its literals), and
    /// answers what that tells of it. The proxy keeps statistics and judges requests by it, and shows it to people, so no
    /// value may be in it: values may be secrets. It is bounded by the protocol.
    fn digest(&self, _request: &Self::Frame, _out: &mut Vec<u8>) -> Digested {
        Digested::None
    }

    /// The [digest](Self::digest) that requests have which say this; `None` where requests have none.
    fn digest_of(_text: &str) -> Option<(Vec<u8>, Digested)> {
        None
    }

    /// What a request does, to those who judge it.
    fn bearing(&self, _request: &Self::Frame) -> Bearing {
        Bearing::Execution
    }

    /// Shortens a request for people who look for slow ones. Nothing secret may be in it: neither passwords nor what
    /// could be one. The default names service and method. Not asked for requests that have a [digest](Self::digest), which
    /// is shown instead.
    fn summarize(&self, request: &Self::Frame, summary: &mut Summary) {
        for word in [request.service(), request.method()].into_iter().flatten() {
            summary.word(word.as_bytes());
        }
    }

    /// What a client is told whose bytes cannot be decoded, before its connection is closed.
    fn refuse(&self, _error: &DecodeError) -> Option<Self::Frame> {
        None
    }

    /// Which frames may share an upstream connection: only those of one lane. For protocols whose peer fixes something
    /// for the whole connection (a version) by the first frame it sees.
    fn lane(&self, _request: &Self::Frame) -> Lane {
        0
    }

    /// A probe for a connection of this lane.
    fn heartbeat(&self, _lane: Lane) -> Option<Self::Frame> {
        None
    }

    /// The answer to a probe.
    fn heartbeat_reply(&self, _probe: &Self::Frame) -> Option<Self::Frame> {
        None
    }

    /// Asks the peer to start nothing new on a connection of this lane.
    fn go_away(&self, _lane: Lane) -> Option<Self::Frame> {
        None
    }

    /// Sets an option of this protocol from the configuration.
    fn set_option(&mut self, _name: &str, _value: &str) -> Result<(), OptionError> {
        Err(OptionError::Unknown("this protocol has none"))
    }

    /// Who may log in, from the configuration, in protocols in which the proxy asks for that. Set after the options.
    fn set_users(&mut self, _users: &[User]) -> Result<(), OptionError> {
        Err(OptionError::Unknown("this protocol knows no users"))
    }
}
