//! A worker's own view of a cluster.

use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::balance::{Balancer, Candidates, Weights};
use super::endpoint::Endpoint;
use super::ewma::PeakEwma;
use super::gauge::Tally;
use super::shared::{EndpointSet, Shared};
use crate::config::ReadFrom;
use crate::telemetry::EndpointSeries;

/// One worker's view of a cluster: what it balances by, and its part of the bounds.
#[derive(Debug)]
pub struct LocalCluster {
    shared: Arc<Shared>,
    version: Cell<u64>,
    pub(super) view: RefCell<View>,
    /// Where slots were seen to have moved since the topology was learnt: places of endpoints.
    pub(super) moved: RefCell<FxHashMap<u16, usize>>,
    in_flight: Arc<Tally>,
    /// Permits taken from the shared bound and not in use.
    spare: Cell<u32>,
}

#[derive(Debug)]
pub(super) struct View {
    pub(super) set: Arc<EndpointSet>,
    pub(super) endpoints: Vec<Rc<LocalEndpoint>>,
    weights: Weights,
    balancer: Balancer,
    pub(super) config: Arc<crate::config::Cluster>,
}

impl LocalCluster {
    /// A worker's view of `shared`.
    pub fn new(shared: Arc<Shared>) -> Rc<Self> {
        let set = shared.endpoints();
        let config = shared.config();
        let view = View {
            endpoints: Vec::new(),
            weights: Weights::default(),
            balancer: Balancer::new(config.balance, fastrand::usize(..1 << 16)),
            set: Arc::clone(&set),
            config,
        };
        let cluster = Self {
            version: Cell::new(set.version()),
            view: RefCell::new(view),
            moved: RefCell::default(),
            in_flight: shared.tally(),
            spare: Cell::new(0),
            shared,
        };
        cluster.take(set);
        Rc::new(cluster)
    }

    /// What all workers share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The same number on every worker, and no other cluster's while this one lasts.
    pub fn number(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }

    /// The cluster's name.
    pub fn name(&self) -> &Arc<str> {
        self.shared.name()
    }

    /// The settings, as of the last pick or refresh.
    pub fn config(&self) -> Ref<'_, crate::config::Cluster> {
        Ref::map(self.view.borrow(), |view| &*view.config)
    }

    /// The n-th endpoint, modulo their number, whether it is available or not.
    pub fn nth(&self, index: usize) -> Option<Rc<LocalEndpoint>> {
        self.refresh();
        let view = self.view.borrow();
        view.endpoints.get(index.checked_rem(view.endpoints.len())?).cloned()
    }

    /// Chooses an endpoint for a request; `None` when there is none that may be used.
    ///
    /// `hash` is the request's key for the hashing balancers ([`hash_key`](super::hash_key)); without it they choose at
    /// random. Endpoints whose ids are in `avoid` (those already tried) are chosen only where no other is available.
    /// If no endpoint is available, one that is ejected or draining is taken, the one that is to come back soonest:
    /// failing in many ways is no proof of being dead. An endpoint that fails its health checks is never taken.
    pub fn pick(
        &self,
        hash: Option<u64>,
        avoid: &[u64],
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Option<Rc<LocalEndpoint>> {
        self.refresh();
        let view = &mut *self.view.borrow_mut();
        if let [only] = &view.endpoints[..] {
            // Nothing to choose: avoided, ejected or draining, it is the one that is taken in the end.
            return only.endpoint.is_healthy().then(|| only.clone());
        }
        let candidates = Candidates {
            endpoints: &view.endpoints,
            weights: &view.weights,
            table: view.set.table(),
            avoid,
            now,
            slow_start: view.config.slow_start.0,
        };
        let mut picked = view.balancer.pick(&candidates, hash, rng);
        if picked.is_none() && !avoid.is_empty() {
            picked = view.balancer.pick(&Candidates { avoid: &[], ..candidates }, hash, rng);
        }
        match picked {
            Some(index) => view.endpoints.get(index).cloned(),
            None => soonest_back(&view.endpoints, avoid, now),
        }
    }

    /// Takes note of changed endpoints or settings; true if there were any. [`LocalCluster::pick`] does it too; call it
    /// after a reload (an idle worker may hold permits that a lower bound has not), and to learn of retired endpoints.
    #[inline]
    pub fn refresh(&self) -> bool {
        if self.shared.version() == self.version.get() {
            return false;
        }
        self.take(self.shared.endpoints());
        true
    }

    /// The cluster is gone: all its endpoints are retired.
    pub fn dissolve(&self) {
        self.view.borrow().endpoints.iter().for_each(|endpoint| endpoint.retired.set(true));
    }

    /// The endpoints, as of the last pick or refresh.
    pub fn endpoints(&self) -> Vec<Rc<LocalEndpoint>> {
        self.view.borrow().endpoints.clone()
    }

    /// Permission for one more request without an answer in the cluster; false if it is full. Each one that was admitted
    /// is to be given back by [`LocalCluster::release_request`].
    ///
    /// Bounds of 512 and more are kept to within 1 % per worker: permits are taken from the shared count by the dozen.
    pub fn try_admit_request(&self) -> bool {
        let spare = match self.spare.get() {
            0 => self.shared.requests().take(self.chunk()),
            spare => spare,
        };
        let Some(left) = spare.checked_sub(1) else { return false };
        self.spare.set(left);
        self.in_flight.add();
        true
    }

    /// Gives back what [`LocalCluster::try_admit_request`] admitted.
    pub fn release_request(&self) {
        self.in_flight.subtract();
        let spare = self.spare.get() + 1;
        let chunk = self.chunk();
        let keep = if chunk == 1 { 0 } else { chunk };
        if spare > 2 * keep {
            self.shared.requests().put(spare - keep);
            self.spare.set(keep);
        } else {
            self.spare.set(spare);
        }
    }

    /// Requests of this worker without an answer.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    fn chunk(&self) -> u32 {
        (self.shared.requests().max() / 256).clamp(1, 64)
    }

    #[cold]
    fn take(&self, set: Arc<EndpointSet>) {
        bump();
        let config = self.shared.config();
        let view = &mut *self.view.borrow_mut();
        let mut old: FxHashMap<u64, _> =
            view.endpoints.drain(..).map(|local| (local.id(), local)).collect();
        for endpoint in set.endpoints() {
            let known = old.remove(&endpoint.id());
            view.endpoints
                .push(known.unwrap_or_else(|| Rc::new(LocalEndpoint::new(Arc::clone(endpoint)))));
        }
        for gone in old.values() {
            gone.retired.set(true);
        }
        // Where reads are not meant for copies, a server that has become one must not answer them.
        let reads = config.read_from != ReadFrom::Primary;
        for (place, local) in view.endpoints.iter().enumerate() {
            local.copy.set(reads && set.shards().is_some_and(|table| table.is_copy(place)));
        }
        view.weights = Weights::new(set.endpoints().iter().map(|endpoint| endpoint.weight()));
        if !view.balancer.is(config.balance) {
            view.balancer = Balancer::new(config.balance, fastrand::usize(..1 << 16));
        }
        view.config = config;
        self.version.set(set.version());
        view.set = set;
        self.moved.borrow_mut().clear();
        // The bound may be lower now than what is held.
        self.shared.requests().put(self.spare.take());
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        self.shared.requests().put(self.spare.get() + self.in_flight.get());
    }
}

/// Of the endpoints that are merely suspended, the one with the least left to wait; if possible none to be avoided.
fn soonest_back(
    endpoints: &[Rc<LocalEndpoint>],
    avoid: &[u64],
    now: Instant,
) -> Option<Rc<LocalEndpoint>> {
    let healthy = endpoints.iter().filter(|local| local.endpoint.is_healthy());
    let order =
        |local: &&Rc<LocalEndpoint>| (avoid.contains(&local.id()), local.endpoint.suspension(now));
    healthy.min_by_key(order).cloned()
}

thread_local! {
    /// How often anything in a worker's views has changed that requests are routed by.
    static ROUTES: Cell<u64> = const { Cell::new(0) };
}

/// Changes whenever requests of this worker may be routed differently from before.
pub fn routes_version() -> u64 {
    ROUTES.get()
}

pub(super) fn bump() {
    ROUTES.set(ROUTES.get().wrapping_add(1));
}

/// One worker's view of an endpoint.
#[derive(Debug)]
pub struct LocalEndpoint {
    endpoint: Arc<Endpoint>,
    series: OnceCell<Arc<EndpointSeries>>,
    in_flight: Arc<Tally>,
    sessions: Cell<u32>,
    latency: PeakEwma,
    retired: Cell<bool>,
    copy: Cell<bool>,
}

impl LocalEndpoint {
    fn new(endpoint: Arc<Endpoint>) -> Self {
        Self {
            in_flight: endpoint.tally(),
            endpoint,
            sessions: Cell::new(0),
            series: OnceCell::new(),
            latency: PeakEwma::default(),
            retired: Cell::new(false),
            copy: Cell::new(false),
        }
    }

    /// What all workers share.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Where to connect.
    pub fn address(&self) -> &super::Address {
        self.endpoint.address()
    }

    /// The address as text, for metrics and logs.
    pub fn label(&self) -> &Arc<str> {
        self.endpoint.label()
    }

    /// The endpoint's id.
    pub fn id(&self) -> u64 {
        self.endpoint.id()
    }

    /// What it is counted in, found by `find` the first time.
    pub fn series(&self, find: impl FnOnce() -> Arc<EndpointSeries>) -> &Arc<EndpointSeries> {
        self.series.get_or_init(find)
    }

    /// True when the endpoint is no longer of the cluster: finish what is in flight, then close its connections.
    pub fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// True when the data is divided over shards, and the endpoint has a copy of one.
    pub fn is_copy(&self) -> bool {
        self.copy.get()
    }

    /// A request goes to this endpoint. Exactly one of [`finished`](Self::finished) and [`abandoned`](Self::abandoned) is
    /// to follow.
    pub fn started(&self) {
        self.in_flight.add();
    }

    /// The request's answer came, or it failed, `latency` after its start. `ok` means that the endpoint is not to blame;
    /// if it is, tell [`Shared::on_failure`] too.
    pub fn finished(&self, now: Instant, latency: Duration, ok: bool) {
        self.in_flight.subtract();
        self.latency.record(now, latency, ok);
        if ok {
            self.endpoint.on_success();
        }
    }

    /// Nobody waits for the request any more, and it says nothing about the endpoint.
    pub fn abandoned(&self) {
        self.in_flight.subtract();
    }

    /// This worker makes a connection for sessions to the endpoint, and picks no endpoint for what is asked on it.
    /// [`session_ended`](Self::session_ended) is to follow.
    pub fn session_started(&self) {
        self.sessions.set(self.sessions.get().saturating_add(1));
    }

    /// Such a connection is over.
    pub fn session_ended(&self) {
        self.sessions.set(self.sessions.get().saturating_sub(1));
    }

    /// What balancers go by: requests of this worker in flight to the endpoint, and connections for sessions, which may
    /// ask for something at any time.
    pub fn load(&self) -> u32 {
        self.in_flight().saturating_add(self.sessions.get())
    }

    /// Requests of this worker in flight to the endpoint.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// The latency of late, in seconds, quick to rise and slow to fall; 0 before the first answer.
    pub fn latency(&self, now: Instant) -> f64 {
        self.latency.get(now, self.in_flight() == 0)
    }

    /// What one more request is expected to take, in seconds.
    pub(super) fn cost(&self, now: Instant) -> f64 {
        let load = self.load();
        let latency = self.latency(now);
        // Nothing is known yet: let one request find out.
        let latency = if latency == 0.0 && load > 0 { UNKNOWN } else { latency };
        latency * (f64::from(load) + 1.0)
    }
}

/// Seconds. The expected latency of an endpoint that has not answered its first request yet.
const UNKNOWN: f64 = 1.0;
