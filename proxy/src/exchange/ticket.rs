use std::{rc::Rc, time::Instant};

use wiremesh::{
    Protocol,
    correlation::{Exchange, Expect, Target},
    engine::Place,
};

use super::client::Client;
use crate::{
    cluster::LocalEndpoint,
    stations::{Passage, Replay},
};

/// A request on its way: everything needed to answer, retry, and record it.
pub struct Ticket<P: Protocol>
where
    P::Correlation: Exchange<P>,
{
    pub client: Rc<Client<P>>,
    pub place: Place,
    pub head: P::Head,
    pub expect: Expect,
    pub lane: u32,
    pub target: Target,
    /// Nothing else of the client's is looked at before it is answered.
    pub alone: Alone,
    /// Sent just before it, and nobody is told what is answered.
    pub before: Vec<P::Frame>,
    /// No deadline applies: it waits for something to happen.
    pub patient: bool,
    /// Not a part of a request that was split.
    pub whole: bool,
    pub passage: Passage,
    /// Bytes of replies so far, where there are several.
    pub bytes_out: usize,
    /// When this attempt is given up.
    pub try_deadline: Option<Instant>,
    /// How many replies said to ask elsewhere.
    pub redirects: u32,
    /// How many times the request was sent, this time included.
    pub attempts: u32,
    /// Kept only where the route retries or replies may say to ask elsewhere, and until the first of several replies.
    pub replay: Option<Box<Replay<P>>>,
}

/// Whether a request is its client's only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// It need not be.
    No,
    /// It must not be overtaken.
    Yes,
    /// And the client's machine is to see what is answered.
    Watched,
    /// It goes to the client's own connection.
    Private,
}

/// A ticket that was sent, and where.
pub struct Sent<P: Protocol>
where
    P::Correlation: Exchange<P>,
{
    pub ticket: Ticket<P>,
    pub endpoint: Rc<LocalEndpoint>,
    /// When this attempt was sent.
    pub at: Instant,
    /// The connection's count of bytes at the end of this request: until that many are written, the upstream cannot
    /// have executed it.
    pub end: u64,
}
