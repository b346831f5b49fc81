//! Protocols whose client may occupy an upstream connection.

use bytes::BytesMut;

use super::{Access, Cancel, Cancelled, Digester, Handshake, Session};
use crate::{
    DecodeError, Failure, Limits, Peer, Protocol, Wanted,
    topology::{Topology, TopologyError, TopologyOptions},
};

/// What is known of a client that has just connected.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The number of its connection, by which clients can [name](Cancel::number) it: another one for each that the process
    /// has. From 2^30 up to 2^31, so that it fits where protocols have room for it, and is none of those that upstreams count
    /// from 1.
    pub number: u64,
    /// Random bytes that nobody can guess, for challenges.
    pub random: [u8; 64],
    /// From where it comes, as logs have it.
    pub peer: String,
    /// It may ask for TLS within the handshake.
    pub tls: bool,
    /// It must.
    pub tls_required: bool,
    /// Nobody can listen: TLS began with the connection, or it is of this machine alone.
    pub private: bool,
}

/// What is known of an upstream that has just been connected to.
#[derive(Clone, Debug)]
pub struct Departure {
    /// Random bytes that nobody can guess.
    pub random: [u8; 64],
    /// TLS is to begin within the handshake.
    pub tls: bool,
    /// Nobody can listen: TLS began with the connection, or it is of this machine alone.
    pub private: bool,
}

/// A protocol whose client may occupy an upstream connection.
pub trait Sessioned: Protocol<Correlation = Session> {
    /// Follows one client, and says when it must hold an upstream and when it need not.
    type Machine: SessionMachine<Self>;
    /// Speaks with a client before its first request.
    type ClientHandshake: Handshake<Self>;
    /// Speaks with an upstream before its first request.
    type UpstreamHandshake: Handshake<Self>;
    /// What is known of one upstream connection, whoever has it: what was agreed on, what of a session's state is on it.
    type Place: Default + 'static;

    /// Whether its machines have [shadows](SessionMachine::shadow), but for those of sessions [end to end](Self::end_to_end).
    const COPIES: bool = false;
    /// Whether upstreams may say something on a connection that nobody has: heartbeats, pushes. Where not, the first byte ends
    /// the connection, and not the first frame: the rest might come when somebody has it.
    const SPEAKS_UNASKED: bool = true;

    /// A machine for a client that has just connected, or for a reset.
    fn machine(&self) -> Self::Machine;
    /// The proxy's part of the handshake with a client.
    fn client_handshake(&self, arrival: Arrival) -> Self::ClientHandshake;
    /// The proxy's part of the handshake with an upstream, for clients of this [lane](SessionMachine::lane).
    fn upstream_handshake(&self, lane: u64, departure: Departure) -> Self::UpstreamHandshake;

    /// The machine for a client whose handshake is done.
    fn admit(&self, _handshake: Self::ClientHandshake) -> Self::Machine {
        self.machine()
    }

    /// What is known of an upstream connection whose handshake is done.
    fn place(&self, _handshake: Self::UpstreamHandshake) -> Self::Place {
        Self::Place::default()
    }

    /// What has an upstream end what goes on on another of the proxy's connections to it, of the same
    /// [lane](SessionMachine::lane): the one that the upstream knows by this [number](Handshake::number). It is sent on a
    /// connection of its own, of which `place` is known, once the handshake is done, and has one answer, of one frame. `None`:
    /// it cannot be had.
    fn interrupt(
        &self,
        _place: &Self::Place,
        _number: u64,
        _cancel: &Cancel,
    ) -> Option<Self::Frame> {
        None
    }

    /// What is spoken with an upstream to see whether it is well.
    fn probe_handshake(&self, departure: Departure) -> Self::UpstreamHandshake {
        self.upstream_handshake(0, departure)
    }

    /// What an upstream is asked then, and has to answer in one frame that is no error. `None`: the handshake is enough.
    fn probe_question(&self) -> Option<Self::Frame> {
        None
    }

    /// What an upstream whose handshake is done is told before its connection is closed, with nothing in progress.
    fn goodbye(&self) -> Option<Self::Frame> {
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

    /// Whether this reply, a bad one, says that the upstream is not what it was taken for: the topology is learnt again. Only
    /// asked where it is learnt at all.
    fn is_stale(&self, _reply: &Self::Frame) -> bool {
        false
    }

    /// Whether each client has an upstream connection for itself alone, from when it connects until it leaves, and the
    /// two speak with each other: an option of the protocol's, asked once per connection.
    ///
    /// The connection is fresh, of the cluster that the listener's first route without a condition leads to, and nobody
    /// gets it after the client. Neither handshake of the proxy's is spoken (health checks do that still): the upstream
    /// may speak first, and what it says before any request is passed on. One [machine](Self::machine) follows the
    /// client to its end. All frames are passed on as they came, heartbeats included. Requests pass the stations as
    /// ever, but for what would be tried again: nothing is sent twice. A request whose route leads to another cluster is
    /// refused. Where either side is gone the other is closed, after it was given what the first has sent.
    fn end_to_end(&self) -> bool {
        false
    }
}

/// Follows a client's session.
///
/// One request at a time: the next comes when the last is answered. The proxy may answer a request itself; then no reply
/// follows, and [`on_failed`](Self::on_failed) says so. A machine of its own follows each reset.
pub trait SessionMachine<P: Sessioned> {
    /// What this frame of the client's means for its upstream.
    fn on_request(&mut self, protocol: &P, request: &P::Frame) -> Attachment;

    /// What this frame of the upstream's means. With no request in progress (a greeting, a last word) the answer says
    /// what holds from then on; [`Hold::Pending`]: what held before.
    fn on_reply(&mut self, protocol: &P, reply: &P::Frame) -> Hold<P>;

    /// Takes one frame off `input`, which is the client's or that of the upstream that the client has; `None`, and
    /// `input` as it is, where more bytes are needed. The default is [`Protocol::decode`].
    ///
    /// For protocols in which what is in progress, or was agreed on, says how bytes are cut. A frame is what can be
    /// passed on at once, and need not be a whole message: of a reply it may be all that is there, up to the reply's
    /// end, split off without a copy; of a long request the beginning that tells what it is, the rest being
    /// [`Attachment::Continue`]. It is never empty, and it [encodes](Protocol::encode) to the bytes taken, but
    /// for what TLS on [one of the legs](Self::secure) makes different.
    ///
    /// Each frame is shown to [`on_request`](Self::on_request) or [`on_reply`](Self::on_reply) before the next is taken,
    /// whosever it is. While a request is in progress none of the client's is taken, unless the session
    /// [is open](Self::is_open), and none before the request that came last has been sent. `state` is that of the
    /// direction, as with [`decode`](Protocol::decode).
    fn take(
        &mut self,
        protocol: &P,
        from: Peer,
        state: &mut P::State,
        limits: &Limits,
        input: &mut BytesMut,
    ) -> Result<Option<P::Frame>, DecodeError> {
        protocol.decode(from, state, limits, input)
    }

    /// Tells what of TLS the proxy speaks in this session, before anything is taken. Only called where the protocol
    /// [begins it itself](Protocol::STARTS_TLS), and [end to end](Sessioned::end_to_end).
    fn secure(&mut self, _legs: Legs) {}

    /// Tells what the proxy wants to know of the session's requests, and answers whether it can be told: where it cannot, the
    /// session ends. Before anything is taken, and when it is something else from then on. Only called [end to
    /// end](Sessioned::end_to_end).
    fn watch(&mut self, _wanted: Wanted) -> bool {
        true
    }

    /// What asks the upstream for TLS, where that must begin before this request is sent: all that follows it is under
    /// TLS. Asked for each request, where [`Legs::upstream`] is set.
    fn start_tls(&mut self, _protocol: &P, _request: &P::Frame) -> Option<P::Frame> {
        None
    }

    /// Whether what the client sends next belongs to what is in progress: the rest of a long request, its part in an
    /// exchange, or anything at all where nobody looks into it any more. It is taken at once then, and is to be
    /// [`Attachment::Continue`]. Asked after every frame, of either side.
    ///
    /// A request that the proxy refuses while this is so ends the session [end to end](Sessioned::end_to_end): the rest of it
    /// cannot be told from the next. Else the rest, [`Attachment::Continue`], is dropped.
    fn is_open(&self) -> bool {
        false
    }

    /// The proxy has answered the request in progress by [`Protocol::reply`], or will send it again, and the session goes
    /// on: no reply will come, and the client's next frame is a request.
    fn on_failed(&mut self, _protocol: &P) {}

    /// Which upstream connections the client may be lent: those made for its own lane alone. Asked when one is wanted.
    fn lane(&self) -> u64 {
        0
    }

    /// Whether this request needs the server that takes writes, or a copy will do. Asked in clusters with a topology, after
    /// [`on_request`](Self::on_request), when the client has no connection or one that only [lingers](Hold::Linger).
    ///
    /// [`Access::Write`] is for the primary, and a connection that lingers elsewhere is given up for it: the request is shown
    /// to [`on_request`](Self::on_request) again then, after [`on_failed`](Self::on_failed). [`Access::Read`] goes where the
    /// cluster's `read_from` says, and stays on the connection that lingers, whosever that is: what asks for something that
    /// only this connection knows is one. A connection that is held is kept for either.
    fn access(&mut self, _protocol: &P, _request: &P::Frame) -> Access {
        Access::Write
    }

    /// A machine for a copy of this request, which another cluster is to get: in a session like this one, with no connection,
    /// of which nothing is left when that request is answered. Asked after [`on_request`](Self::on_request), which the copy is
    /// then shown to, and before [`prepare`](Self::prepare). `None`: the request may change something, or is about what
    /// only this session has. Not [end to end](Sessioned::end_to_end).
    fn shadow(&mut self, _protocol: &P, _request: &P::Frame) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// What sums up the answer to a request that has a [shadow](Self::shadow), and the answer to that one.
    fn digester(&self, _request: &P::Frame) -> Option<Box<dyn Digester<P>>> {
        None
    }

    /// Whether the request that was just taken asks for what only the connection that [lingers](Hold::Linger) knows. Where it does
    /// not, and others have been waiting for long enough, they go first: the request is shown to
    /// [`on_request`](Self::on_request) again, after [`on_failed`](Self::on_failed).
    fn needs_same(&self) -> bool {
        true
    }

    /// Whether the request that was just taken will certainly leave its connection [held](Hold::Held): it opens a transaction,
    /// say. Not [end to end](Sessioned::end_to_end).
    fn begins_to_hold(&self) -> bool {
        false
    }

    /// The client is lent a connection. Not [end to end](Sessioned::end_to_end).
    fn attach(&mut self, _place: P::Place) {}

    /// The client has the connection no more, for whatever reason: what is known of it goes on with it.
    fn detach(&mut self) -> P::Place {
        P::Place::default()
    }

    /// What is to be done before this request can go to the connection that the client has now: asked when the client
    /// has one, and again after each [`Hold::Prepared`]. The request may be changed.
    fn prepare(&mut self, _protocol: &P, _request: &mut P::Frame) -> Ready<P> {
        Ready::Send
    }

    /// What becomes of the connection that the client has, with no request in progress and none to come for now: asked
    /// when it has [lingered](Hold::Linger) for long enough, when a request was [answered](Ready::Answer), and at
    /// [`Attachment::Reset`]. Never [`Hold::Pending`], and [`Hold::Linger`] is as good as [`Hold::Held`].
    fn let_go(&mut self, _protocol: &P) -> Hold<P> {
        Hold::Release { reset: None }
    }

    /// The client has left, with no request in progress: what becomes of the connection that it had.
    /// [`Hold::Release`], with what makes it as good as new, or [`Hold::Close`]. Not [end to
    /// end](Sessioned::end_to_end).
    fn leave(&mut self, _protocol: &P) -> Hold<P> {
        Hold::Close
    }

    /// The answer to what was [`Attachment::Answered`], where one is due. Asked when the request has passed the stations,
    /// and what it changes is changed then; else there is [`on_failed`](Self::on_failed).
    fn answer(&mut self) -> Option<P::Frame> {
        None
    }

    /// On whose behalf the session is: a client can have [cancelled](Attachment::Cancel) only what has the same owner.
    fn owner(&self) -> &[u8] {
        &[]
    }

    /// The answer to what was [`Attachment::Cancel`], of which this came.
    fn cancelled(&mut self, _cancel: &Cancel, _outcome: Cancelled) -> Option<P::Frame> {
        None
    }

    /// What the client is told before it is closed, at whatever point the session is: before the upstream has said
    /// anything, between requests, or in place of the answer to the request in progress. `None`: nothing can be said
    /// now, for the upstream is in the middle of a message, say; then the request in progress, if no part of an answer
    /// has reached the client, is answered by [`Protocol::reply`]. Asked with a request in progress only [end to
    /// end](Sessioned::end_to_end).
    fn farewell(&mut self, _protocol: &P, _failure: &Failure) -> Option<P::Frame> {
        None
    }
}

/// On which legs of a session the proxy speaks TLS, where the protocol begins it itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Legs {
    /// With the client, if it asks for it: it is to be offered.
    pub client: bool,
    /// The client must ask for it before it says anything that matters.
    pub required: bool,
    /// With the upstream, in any case.
    pub upstream: bool,
}

/// What a client's frame needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// It is a request for an upstream: the one that is held, or any clean one.
    Upstream,
    /// As [`Upstream`](Self::Upstream), and no reply will come. It is held until a later reply says otherwise; [end to
    /// end](Sessioned::end_to_end), while the session [is open](SessionMachine::is_open).
    UpstreamNoReply,
    /// It belongs to what is in progress, and goes to the upstream that the client has, past all stations: only its
    /// length is added to the request's.
    Continue,
    /// It asks for TLS, which the proxy [speaks](SessionMachine::secure) with this client: it goes nowhere, and what
    /// follows it is the beginning of TLS.
    StartTls,
    /// It is a request to the proxy, which is to end what another client of the listener's does. It is
    /// [answered](SessionMachine::cancelled) when that has been done. Not [end to end](Sessioned::end_to_end).
    Cancel(Cancel),
    /// The machine has the [answer](SessionMachine::answer): it goes nowhere. Where the session [is
    /// open](SessionMachine::is_open) then, what comes next is a part of it.
    Answered,
    /// As [`Answered`](Self::Answered), and the upstream that is held, if one is, is to be [let
    /// go](SessionMachine::let_go).
    Reset,
    /// As [`Answered`](Self::Answered), and the session ends with that.
    Refused,
    /// The client is leaving: close both, or give a clean upstream back. [End to end](Sessioned::end_to_end) the
    /// upstream gets the frame before it is closed.
    Quit,
}

/// Whether a request can be sent.
pub enum Ready<P: Protocol> {
    /// It can.
    Send,
    /// This goes first, and has to be answered: [`Hold::Prepared`].
    First(P::Frame),
    /// It is not to be sent: this is the client's answer, where it gets one.
    Answer(Option<P::Frame>),
    /// Not on this connection, which is [let go](SessionMachine::let_go), but on one to the primary, for which it is
    /// [prepared](SessionMachine::prepare) as the request came. Where this one is for writes already, or must be held, the
    /// request fails.
    Elsewhere,
}

/// What holds after a frame of the upstream's.
pub enum Hold<P: Protocol> {
    /// The reply is not complete: hold.
    Pending,
    /// The reply is complete, but the session's state is on this connection: hold.
    Held,
    /// The reply is complete, and what the client may still ask about it only this connection knows: hold for a while,
    /// unless the next reply says otherwise.
    Linger,
    /// What [went first](Ready::First) was answered: the request is to be [prepared](SessionMachine::prepare) again.
    Prepared,
    /// The reply is complete and the connection may serve another client, after `reset`, if any, was answered.
    /// [End to end](Sessioned::end_to_end) it says that nothing would be lost if the session ended now, as it does when
    /// the proxy drains.
    Release {
        /// What to send, and have answered, before anybody else uses the connection.
        reset: Option<P::Frame>,
    },
    /// The frame goes nowhere: the machine has this answer to it for the upstream.
    Answer(P::Frame),
    /// The connection cannot be used again. [End to end](Sessioned::end_to_end) the client is closed, too, when it has
    /// what it is owed.
    Close,
}
