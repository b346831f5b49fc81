use std::{rc::Rc, time::Instant};

use wiremesh::{Protocol, Status};

use super::mirror::Mirrored;
use crate::{
    cluster::{LocalCluster, LocalEndpoint},
    stations::{Passage, Replay},
};

/// A request on its way: everything needed to answer, retry, and record it.
pub struct Ticket<P: Protocol> {
    pub passage: Passage,
    pub head: P::Head,
    /// Whether there will be a reply.
    pub replies: bool,
    /// How many times the request was sent, this time included.
    pub attempts: u32,
    /// Another client has had it ended: it is not to be sent.
    pub cancelled: bool,
    /// Kept only where the route retries, and until a part of the reply has come.
    pub replay: Option<Box<Replay<P>>>,
    /// Whether the client has a part of the reply.
    pub begun: bool,
    pub bytes_out: usize,
    /// How many things (rows) the reply has brought so far.
    pub items: u64,
    /// The first bad one of the reply's frames, if any.
    pub status: Status,
    /// See [`Frame::is_partial_fault`](wiremesh::Frame::is_partial_fault).
    pub partial: bool,
    /// What the protocol calls it.
    pub error: Option<&'static str>,
    /// It has a copy, or is one.
    pub mirrored: Option<Box<Mirrored<P>>>,
}

impl<P: Protocol> Ticket<P> {
    /// Of a request that was not sent yet. `replies`: there will be a reply.
    pub fn new(passage: Passage, head: P::Head, replies: bool) -> Self {
        Self {
            passage,
            head,
            replies,
            attempts: 0,
            cancelled: false,
            replay: None,
            begun: false,
            bytes_out: 0,
            items: 0,
            status: Status::Ok,
            partial: false,
            error: None,
            mirrored: None,
        }
    }
}

/// A ticket that was sent.
pub struct Sent<P: Protocol> {
    pub ticket: Ticket<P>,
    pub endpoint: Rc<LocalEndpoint>,
    /// When this attempt was sent, and when it is given up.
    pub at: Instant,
    pub deadline: Option<Instant>,
    /// The connection's count of bytes at the end of this request: until that many are written, the upstream cannot
    /// have executed it.
    pub end: u64,
}

/// A client that has just connected, and waits for an upstream connection of its own.
pub struct Attaching {
    pub cluster: Rc<LocalCluster>,
    pub since: Instant,
    /// When it waits no longer.
    pub deadline: Instant,
    /// How many endpoints could not be connected to.
    pub failures: usize,
}

/// Where a client's request is.
#[expect(clippy::large_enum_variant)] // A box would be one for each request that is sent.
pub enum Pending<P: Protocol> {
    /// There is none.
    None,
    /// It is held back for a while: a fault's delay, the pause before another try.
    Paused,
    /// The same, and another client has had it ended: that is its answer then.
    Cancelled,
    /// There is none, and may be none before the client has an upstream connection of its own.
    Attaching(Attaching),
    /// It waits for an upstream connection.
    Waiting(Box<(Ticket<P>, P::Frame)>),
    /// It has one, on which something else is done first.
    Preparing(Box<(Ticket<P>, P::Frame)>),
    /// It is with the upstream.
    Sent(Sent<P>),
}
