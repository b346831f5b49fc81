//! Protocols whose client may occupy an upstream connection.

use bytes::BytesMut;

use super::{Handshake, Session};
use crate::{DecodeError, Failure, Limits, Peer, Protocol};

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
/// follows, and where no upstream is held a new machine takes over ([end to end](Sessioned::end_to_end) none ever does).
/// A machine of its own follows each reset.
pub trait SessionMachine<P: Protocol> {
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

    /// What asks the upstream for TLS, where that must begin before this request is sent: all that follows it is under
    /// TLS. Asked for each request, where [`Legs::upstream`] is set.
    fn start_tls(&mut self, _protocol: &P, _request: &P::Frame) -> Option<P::Frame> {
        None
    }

    /// Whether what the client sends next belongs to what is in progress: the rest of a long request, its part in an
    /// exchange, or anything at all where nobody looks into it any more. It is taken at once then, and is to be
    /// [`Attachment::Continue`]. Asked after every frame, of either side.
    ///
    /// A request that the proxy refuses while this is so ends the session: the rest of it cannot be told from the next.
    fn is_open(&self) -> bool {
        false
    }

    /// The proxy has answered the request in progress by [`Protocol::reply`], and the session goes on: no reply will
    /// come, and the client's next frame is a request.
    fn on_failed(&mut self, _protocol: &P) {}

    /// What the client is told before it is closed, at whatever point the session is: before the upstream has said
    /// anything, between requests, or in place of the answer to the request in progress. `None`: nothing can be said
    /// now, for the upstream is in the middle of a message, say; then the request in progress, if no part of an answer
    /// has reached the client, is answered by [`Protocol::reply`]. Only asked [end to end](Sessioned::end_to_end).
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
    /// The client is leaving: close both, or give a clean upstream back. [End to end](Sessioned::end_to_end) the
    /// upstream gets the frame before it is closed.
    Quit,
}

/// What holds after a frame of the upstream's.
pub enum Hold<P: Protocol> {
    /// The reply is not complete: hold.
    Pending,
    /// The reply is complete, but the session's state is on this connection: hold.
    Held,
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
