//! Protocols whose client may occupy an upstream connection.

use super::{Handshake, Session};
use crate::Protocol;

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
