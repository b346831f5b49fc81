use std::{cell::Cell, rc::Rc, time::Instant};

use wiremesh::{
    Frame, Protocol,
    correlation::{Exchange, Expect, Target},
    engine::Place,
};

use super::client::Client;
use crate::{cluster::LocalEndpoint, stations::Passage};

/// A request on its way: everything needed to answer, retry, and record it.
pub struct Ticket<P: Protocol>
where
    P::Correlation: Exchange<P>,
{
    pub client: Rc<Client<P>>,
    pub place: Place,
    pub head: P::Head,
    pub expect: Expect,
    pub lane: u8,
    pub target: Target,
    pub passage: Passage,
    /// Bytes of replies so far, where there are several.
    pub bytes_out: usize,
    /// How many times the request was sent, this time included.
    pub attempts: u32,
    /// Kept only where the route retries, and until the first of several replies.
    pub replay: Option<Box<Replay<P>>>,
}

/// What a retry needs.
pub struct Replay<P: Protocol> {
    pub request: P::Frame,
    /// Endpoints that failed this request already.
    pub avoid: Vec<u64>,
    kept: Rc<Cell<usize>>,
}

/// How many bytes of requests a worker keeps for retries; requests beyond it are not tried again.
const KEPT_MAX: usize = 64 << 20;

impl<P: Protocol> Replay<P> {
    /// Keeps a copy of the request, if `kept`, the bytes kept on this worker, allows it.
    pub fn keep(request: &P::Frame, kept: &Rc<Cell<usize>>) -> Option<Box<Self>> {
        let total = kept.get().saturating_add(request.wire_len());
        if total > KEPT_MAX {
            return None;
        }
        kept.set(total);
        Some(Box::new(Self { request: request.clone(), avoid: Vec::new(), kept: kept.clone() }))
    }
}

impl<P: Protocol> Drop for Replay<P> {
    fn drop(&mut self) {
        self.kept.set(self.kept.get().saturating_sub(self.request.wire_len()));
    }
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
