use std::{borrow::Cow, time::Duration};

use bytes::BytesMut;

use crate::{HeaderView, Status};

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Wants one or more replies.
    Request,
    /// Wants no reply.
    OneWay,
    /// Answers a request.
    Response,
    /// Asks whether the peer is alive. Answered on the spot, never forwarded.
    Heartbeat,
    /// Answers a heartbeat.
    HeartbeatReply,
    /// Asks the peer to start nothing new on this connection.
    GoAway,
    /// Sent without having been asked for, and not a request.
    Push,
}

impl Kind {
    /// Every kind, in order.
    pub const ALL: [Self; 7] = [
        Self::Request,
        Self::OneWay,
        Self::Response,
        Self::Heartbeat,
        Self::HeartbeatReply,
        Self::GoAway,
        Self::Push,
    ];
}

/// One message: its bytes as they were received, a small parsed head, and lazy views.
///
/// A frame nobody edited encodes to the bytes it was decoded from.
pub trait Frame: HeaderView + 'static {
    /// What the frame is for.
    fn kind(&self) -> Kind;

    /// Its length on the wire, in bytes, checksum and delimiters included.
    fn wire_len(&self) -> usize;

    /// What a response says of its request. Other kinds are [`Status::Ok`].
    fn status(&self) -> Status {
        Status::Ok
    }

    /// Whether a response whose [status](Status::is_upstream_fault) would be held against the upstream is not to be: it
    /// refuses requests of one kind, and serves the others well.
    fn is_partial_fault(&self) -> bool {
        false
    }

    /// What a response that is an error is called in the protocol's own words. One of a fixed set: it becomes a label of
    /// metrics.
    fn error_class(&self) -> Option<&'static str> {
        None
    }

    /// The service that a request is for.
    fn service(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// The method, command or operation that a request asks for.
    fn method(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// How many things a response brings: rows of a result, messages of a batch. Of a response in several frames each says
    /// what is its own.
    fn items(&self) -> u64 {
        0
    }

    /// How long the caller waits for the reply; `None` where it does not say.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// Tells the receiver to spend no more than `timeout` on this request. Without a place for it, does nothing.
    fn set_timeout(&mut self, _timeout: Duration) {}
}

/// What came of the rest of a frame that is passed on as it comes; see [`Protocol::begin`](crate::Protocol::begin).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The next bytes of it; none where nothing of it is there.
    pub bytes: BytesMut,
    /// The frame ends with them.
    pub last: bool,
}
