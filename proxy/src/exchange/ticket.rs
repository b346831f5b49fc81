use std::{rc::Rc, sync::Arc, time::Instant};

use wiremesh::{
    Protocol,
    correlation::{Exchange, Expect, Target},
    engine::Place,
};

use super::client::Client;
use crate::{
    cluster::{LocalCluster, LocalEndpoint},
    policy::{Permit, Route},
    telemetry::RequestSeries,
    worker::ListenerView,
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
    pub lane: u8,
    pub listener: Rc<ListenerView>,
    /// `None` where none matched.
    pub route: Option<Arc<Route>>,
    /// `None` where the route has none.
    pub cluster: Option<Rc<LocalCluster>>,
    pub target: Target,
    pub series: Arc<RequestSeries>,
    pub started: Instant,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    pub hash: Option<u64>,
    pub bytes_in: usize,
    /// How many times the request was sent, this time included.
    pub attempts: u32,
    pub permit: Option<Permit>,
    /// Kept only where the route retries.
    pub replay: Option<Box<Replay<P>>>,
    /// Kept only where an access log is written.
    pub log: Option<Box<LogFields>>,
}

/// What a retry needs.
pub struct Replay<P: Protocol> {
    pub request: P::Frame,
    /// Endpoints that failed this request already.
    pub avoid: Vec<u64>,
}

/// What the access log says of the request itself; the frame is gone by the time it is written.
#[derive(Default)]
pub struct LogFields {
    pub service: String,
    pub method: String,
    pub trace_id: String,
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
