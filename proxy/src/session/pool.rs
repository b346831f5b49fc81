//! The upstream connections of one cluster, lent to one client at a time.
//!
//! The endpoint is chosen when a connection is made, by the cluster's balancer; a request takes whichever connection is
//! clean. Every worker has its share of the cluster's `max_connections`.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use wiremesh::{
    Failure, Reason, Retry,
    correlation::{Access, SessionMachine, Sessioned, Target},
    engine::{Acquire, Errand, SessionPool},
};

use super::{
    Sessions,
    client::Client,
    ticket::{Pending, Ticket},
    upstream::{Role, Upstream},
};
use crate::{
    cluster::{LocalCluster, LocalEndpoint, Occupancy, Occupied},
    worker::{ListenerView, Phase, Worker},
};

/// How often it is tried to connect where a topology has no server for it, or none that can be reached, if nothing is
/// learnt meanwhile.
const AGAIN: Duration = Duration::from_millis(250);

/// The upstream connections of one cluster and lane, for writes or for reads, or for both.
pub struct Pool<P: Sessioned> {
    pub cluster: Rc<LocalCluster>,
    /// The clients' that are lent its connections.
    pub lane: u64,
    /// What for: [`LocalCluster::parts`].
    pub access: Access,
    /// The cluster's version when it was last looked who of it serves that.
    version: Cell<u64>,
    /// That of the last request: its limits apply to the next connection.
    pub listener: RefCell<Rc<ListenerView>>,
    /// Who has which connection and who waits; clients by their ids.
    pub book: RefCell<SessionPool<u64>>,
    /// The connections by their numbers in the book.
    upstreams: RefCell<Vec<Option<Rc<Upstream<P>>>>>,
    /// Endpoints that could not be connected to since one could.
    failed: RefCell<Vec<u64>>,
    /// The cluster is gone from the configuration, or is another one of the same name.
    stale: Cell<bool>,
    /// What its connections were for when it was last looked.
    occupancy: Arc<Occupancy>,
}

impl<P: Sessioned> Pool<P> {
    fn new(
        worker: &Worker,
        cluster: Rc<LocalCluster>,
        listener: Rc<ListenerView>,
        (lane, access): (u64, Access),
    ) -> Self {
        let (connections, waiters) = bounds(worker, &cluster);
        Self {
            version: Cell::new(cluster.shared().version()),
            occupancy: cluster.shared().occupancy(),
            cluster,
            lane,
            access,
            listener: RefCell::new(listener),
            book: RefCell::new(SessionPool::new(connections, waiters)),
            upstreams: RefCell::default(),
            failed: RefCell::default(),
            stale: Cell::new(false),
        }
    }

    pub fn upstream(&self, number: usize) -> Option<Rc<Upstream<P>>> {
        self.upstreams.borrow().get(number).cloned().flatten()
    }

    fn put(&self, number: usize, upstream: Option<Rc<Upstream<P>>>) {
        let mut upstreams = self.upstreams.borrow_mut();
        if upstreams.len() <= number {
            upstreams.resize(number + 1, None);
        }
        upstreams[number] = upstream;
    }

    /// Whether the worker has all the connections that it may have.
    pub fn is_full(&self, worker: &Worker) -> bool {
        self.book.borrow().connections() >= bounds(worker, &self.cluster).0
    }

    /// Takes a connection that could not be made out of the books. Answers the client that is to be told.
    fn not_made(&self, number: usize) -> Option<u64> {
        self.put(number, None);
        let mut book = self.book.borrow_mut();
        // If it was claimed already, it is its client who is told.
        book.connect_failed(number).or_else(|| book.lost(number))
    }

    /// Takes a connection that was open out of the books.
    fn strike(&self, number: usize) {
        self.put(number, None);
        self.book.borrow_mut().lost(number);
    }

    /// Whether a connection to `endpoint` may be given to another client.
    pub fn wants(&self, endpoint: &LocalEndpoint, now: Instant) -> bool {
        self.cluster.refresh();
        let available = |endpoint: &LocalEndpoint| endpoint.endpoint().is_available(now);
        let other = |it: &Rc<LocalEndpoint>| available(it) && self.serves(it, now);
        !self.stale.get()
            && !endpoint.is_retired()
            && self.serves(endpoint, now)
            && (available(endpoint) || !self.cluster.endpoints().iter().any(other))
    }

    /// Whether this is an endpoint for what the pool's connections are for.
    fn serves(&self, endpoint: &LocalEndpoint, now: Instant) -> bool {
        self.cluster.serves(endpoint, self.access, now)
    }

    /// Closes the clean connections that are not to be used, and one where another worker has none at all.
    fn sweep(&self, sessions: &Sessions<P>, now: Instant) {
        self.version.set(self.cluster.shared().version());
        let clean: Vec<_> = self.upstreams.borrow().iter().flatten().cloned().collect();
        for upstream in clean.iter().filter(|upstream| upstream.is_clean()) {
            if !self.wants(&upstream.endpoint, now)
                || self.cluster.shared().starving().load(Relaxed) > 0
            {
                upstream.say_goodbye(sessions);
                self.strike(upstream.number);
            }
        }
    }

    /// Closes those that nobody has.
    fn close_clean(&self, sessions: &Sessions<P>) {
        let all: Vec<_> = self.upstreams.borrow().iter().flatten().cloned().collect();
        for upstream in all.iter().filter(|upstream| upstream.is_clean()) {
            upstream.say_goodbye(sessions);
            self.strike(upstream.number);
        }
    }

    /// Whether it could not be connected to since one could.
    pub fn has_failed(&self, endpoint: &LocalEndpoint) -> bool {
        self.failed.borrow().contains(&endpoint.id())
    }

    /// Counts what its connections are for now.
    fn survey(&self) {
        let mut count = Occupied::default();
        for upstream in self.upstreams.borrow().iter().flatten() {
            match &*upstream.role.borrow() {
                Role::Clean => count.idle += 1,
                Role::Lent(client) => {
                    let session = client.session.borrow();
                    match session.lingers {
                        _ if session.holds.is_some() => count.held += 1,
                        Some(_) => count.lingering += 1,
                        None => count.busy += 1,
                    }
                }
                Role::Opening | Role::Resetting(_) => count.busy += 1,
                Role::Gone => {}
            }
        }
        self.occupancy.set(count);
    }

    /// Whether who serves what is being learnt: where there is nobody there may be somebody soon.
    fn may_hope(&self) -> bool {
        !self.stale.get() && !self.cluster.shared().config().is_static()
    }
}

/// How many connections a worker may have to the cluster, and how many of its clients may wait for one.
fn bounds(worker: &Worker, cluster: &LocalCluster) -> (usize, usize) {
    let config = cluster.shared().config();
    (worker.share(config.max_connections).max(1), config.max_pending)
}

impl<P: Sessioned> Sessions<P> {
    pub(super) fn pool(
        &self,
        cluster: &Rc<LocalCluster>,
        listener: &Rc<ListenerView>,
        lane: u64,
        access: Access,
    ) -> Rc<Pool<P>> {
        let key = (Rc::as_ptr(cluster).addr(), lane, access);
        let mut pools = self.pools.borrow_mut();
        let new = || {
            let (cluster, listener) = (cluster.clone(), listener.clone());
            Rc::new(Pool::new(&self.worker, cluster, listener, (lane, access)))
        };
        let pool = pools.entry(key).or_insert_with(new);
        *pool.listener.borrow_mut() = listener.clone();
        pool.clone()
    }

    /// That which the client's request is to be lent a connection of.
    fn pool_of(
        &self,
        client: &Client<P>,
        cluster: &Rc<LocalCluster>,
        listener: &Rc<ListenerView>,
    ) -> Rc<Pool<P>> {
        let session = client.session.borrow();
        self.pool(cluster, listener, session.machine.lane(), session.access)
    }

    /// Sends the request on a clean connection, now or as soon as there is one. The request was admitted to the cluster.
    pub(super) fn lend(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        cluster: &Rc<LocalCluster>,
        ticket: Ticket<P>,
        request: P::Frame,
    ) {
        let pool = self.pool_of(client, cluster, &ticket.passage.listener);
        if pool.version.get() != cluster.shared().version() {
            // Who has lost its role gets nothing more.
            pool.sweep(self, self.worker.now());
        }
        let acquired = pool.book.borrow_mut().acquire(client.id, None);
        let waits = match acquired {
            Acquire::Ready(number) => {
                if let Some(upstream) = pool.upstream(number) {
                    upstream.lend(client, self.worker.now());
                    return self.send(client, &upstream, ticket, request);
                }
                false
            }
            Acquire::Connect(_) | Acquire::Wait => cluster.shared().pending().try_acquire(),
            Acquire::Full => false,
        };
        if waits {
            let patience = cluster.config().pending_timeout.0;
            let mut session = client.session.borrow_mut();
            if session.waits_until.is_none() {
                session.waits_until = self.worker.now().checked_add(patience);
            }
            session.pending = Pending::Waiting(Box::new((ticket, request)));
        } else {
            pool.book.borrow_mut().cancel(&client.id);
            cluster.release_request();
            let message = format!(
                "cluster {} has too many requests waiting for a connection",
                cluster.name()
            );
            self.refuse(client, ticket, None, &Failure::new(Reason::Overloaded, message));
        }
        if let Acquire::Connect(number) = acquired {
            self.connect(&pool, number);
        }
        self.errands(&pool);
    }

    /// Does what the book says is to be done.
    pub(super) fn errands(self: &Rc<Self>, pool: &Rc<Pool<P>>) {
        loop {
            let errand = pool.book.borrow_mut().poll();
            match errand {
                None => return,
                Some(Errand::Connect(number)) => self.connect(pool, number),
                Some(Errand::Lend { client, connection }) => {
                    let lent = match (self.client(client), pool.upstream(connection)) {
                        (Some(client), Some(upstream)) => self.lend_to(&client, &upstream),
                        _ => false,
                    };
                    if !lent {
                        pool.book.borrow_mut().release(connection, false);
                    }
                }
            }
        }
    }

    /// Gives a client the connection that it waits for; says whether it still did.
    pub(super) fn lend_to(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        upstream: &Rc<Upstream<P>>,
    ) -> bool {
        if self.attaching(client).is_some() {
            self.attached(client, upstream);
        } else if let Some((ticket, request)) = self.waiting(client) {
            upstream.lend(client, self.worker.now());
            self.send(client, upstream, ticket, request);
        } else {
            return false;
        }
        client.wake();
        true
    }

    /// Takes a client's request that waits for a connection out of the cluster's count of those.
    fn waiting(&self, client: &Client<P>) -> Option<(Ticket<P>, P::Frame)> {
        let mut session = client.session.borrow_mut();
        match std::mem::replace(&mut session.pending, Pending::Paused) {
            Pending::Waiting(waiting) => {
                if let Some(cluster) = &waiting.0.passage.cluster {
                    cluster.shared().pending().release();
                }
                Some(*waiting)
            }
            other => {
                session.pending = other;
                None
            }
        }
    }

    /// Takes a client's request out of the line for a connection, and out of the cluster.
    pub(super) fn stop_waiting(&self, client: &Client<P>) -> Option<Ticket<P>> {
        let (ticket, _) = self.waiting(client)?;
        if let Some(cluster) = &ticket.passage.cluster {
            cluster.release_request();
            let pool = self.pool_of(client, cluster, &ticket.passage.listener);
            pool.book.borrow_mut().cancel(&client.id);
        }
        Some(ticket)
    }

    /// Makes a connection of this number.
    pub(super) fn connect(self: &Rc<Self>, pool: &Rc<Pool<P>>, number: usize) {
        let now = self.worker.now();
        if self.worker.phase() == Phase::Closing {
            let told = pool.book.borrow_mut().connect_failed(number);
            let failure = Failure::new(Reason::Draining, "the proxy is shutting down");
            return self.not_connected(told, None, &failure);
        }
        let Some(endpoint) = self.pick(pool, now) else {
            if pool.may_hope() {
                return self.connect_later(pool, number);
            }
            let told = pool.book.borrow_mut().connect_failed(number);
            let message = format!("cluster {} has no healthy endpoint", pool.cluster.name());
            return self.not_connected(told, None, &Failure::new(Reason::NoEndpoint, message));
        };
        let series = self.worker.endpoint_series(pool.cluster.name(), &endpoint).clone();
        let upstream = Rc::new(Upstream::new(pool.clone(), number, endpoint, series, now));
        pool.put(number, Some(upstream.clone()));
        tokio::task::spawn_local(upstream.run(self.clone()));
    }

    fn pick(&self, pool: &Pool<P>, now: Instant) -> Option<Rc<LocalEndpoint>> {
        pool.cluster.refresh();
        let (target, failed) = (Target::Shard(0, pool.access), pool.failed.borrow());
        pool.cluster.route(target, None, &failed, now, &mut self.worker.rng.borrow_mut())
    }

    /// Makes a connection of this number when more is known of the topology, or after a while, if anybody waits for it
    /// then.
    fn connect_later(self: &Rc<Self>, pool: &Rc<Pool<P>>, number: usize) {
        let shared = pool.cluster.shared();
        let mut changed = shared.watch();
        shared.stale();
        let (sessions, pool) = (self.clone(), pool.clone());
        tokio::task::spawn_local(async move {
            let _ = tokio::time::timeout(AGAIN, changed.changed()).await;
            sessions.worker.tick();
            if pool.book.borrow().waiting() == 0 {
                pool.not_made(number);
            } else {
                sessions.connect(&pool, number);
            }
        });
    }

    /// A connection is open, and its handshake done.
    pub(super) fn connected(self: &Rc<Self>, upstream: &Rc<Upstream<P>>) {
        upstream.pool.failed.borrow_mut().clear();
        upstream.clean(self.worker.now());
        if let Some(id) = upstream.claimed.get() {
            if !self.client(id).is_some_and(|client| self.lend_to(&client, upstream)) {
                self.discard(upstream);
            }
            return;
        }
        upstream.pool.book.borrow_mut().connected(upstream.number);
        if !upstream.pool.serves(&upstream.endpoint, self.worker.now()) {
            return self.part_with(upstream);
        }
        self.errands(&upstream.pool);
        if self.end_to_end && upstream.is_clean() {
            // Nobody waits for it any more, and what it says is for nobody else.
            self.discard(upstream);
        }
    }

    /// A connection could not be made: one client is told, or tries again.
    pub(super) fn connect_failed(self: &Rc<Self>, upstream: &Upstream<P>, failure: &Failure) {
        let pool = &upstream.pool;
        let endpoint = &upstream.endpoint;
        upstream.series.connect_failures.inc();
        if pool.cluster.shared().on_failure(endpoint.endpoint(), self.worker.now()) {
            upstream.series.ejections.inc();
        }
        let mut failed = pool.failed.borrow_mut();
        if !failed.contains(&endpoint.id()) {
            failed.push(endpoint.id());
        }
        drop(failed);
        if !upstream.was_opened() && pool.may_hope() && !self.end_to_end {
            pool.put(upstream.number, None);
            let untried = |it: Rc<LocalEndpoint>| !pool.failed.borrow().contains(&it.id());
            return match self.pick(pool, self.worker.now()).is_some_and(untried) {
                true => self.connect(pool, upstream.number),
                false => self.connect_later(pool, upstream.number),
            };
        }
        let told = pool.not_made(upstream.number);
        self.not_connected(told, Some(endpoint), failure);
        self.errands(pool);
    }

    /// No connection was made, and it is not the endpoint's fault: one client is told.
    pub(super) fn not_opened(self: &Rc<Self>, upstream: &Upstream<P>, failure: &Failure) {
        let pool = &upstream.pool;
        let told = pool.not_made(upstream.number);
        self.not_connected(told, None, failure);
        self.errands(pool);
    }

    fn not_connected(
        self: &Rc<Self>,
        client: Option<u64>,
        endpoint: Option<&Rc<LocalEndpoint>>,
        failure: &Failure,
    ) {
        let Some(client) = client.and_then(|id| self.client(id)) else { return };
        if let Some(attaching) = self.attaching(&client) {
            self.not_attached(&client, attaching, failure);
        } else if let Some((ticket, _)) = self.waiting(&client) {
            if let Some(cluster) = &ticket.passage.cluster {
                cluster.release_request();
            }
            self.failed(&client, ticket, endpoint, failure, Retry::IfUnsent);
        }
    }

    /// Closes a connection whose client has left, when the upstream was given all that the client has sent.
    pub(super) fn leave(self: &Rc<Self>, upstream: &Upstream<P>) {
        if upstream.client().is_some() {
            upstream.end_written(self.worker.now());
            self.lost(upstream);
        }
    }

    /// Closes a connection on which nothing is in progress.
    pub(super) fn part_with(self: &Rc<Self>, upstream: &Upstream<P>) {
        if upstream.say_goodbye(self).is_some() {
            self.lost(upstream);
        }
    }

    /// Closes a connection that its client has done with, in whatever state it is.
    pub(super) fn discard(self: &Rc<Self>, upstream: &Upstream<P>) {
        if upstream.end().is_some() {
            self.lost(upstream);
        }
    }

    /// A connection that was open has ended.
    pub(super) fn lost(self: &Rc<Self>, upstream: &Upstream<P>) {
        upstream.pool.strike(upstream.number);
        self.errands(&upstream.pool);
    }

    /// A client is done with its connection: it goes on to the next, after `reset` was answered.
    pub(super) fn release(self: &Rc<Self>, upstream: &Rc<Upstream<P>>, reset: Option<P::Frame>) {
        let (pool, now) = (&upstream.pool, self.worker.now());
        let (share, _) = bounds(&self.worker, &pool.cluster);
        let wanted = !upstream.is_retiring()
            && pool.wants(&upstream.endpoint, now)
            && pool.book.borrow().connections() <= share
            && !pool.cluster.shared().gives_way();
        if !wanted {
            return self.part_with(upstream);
        }
        pool.book.borrow_mut().release(upstream.number, reset.is_some());
        match reset {
            Some(reset) => upstream.reset(self, reset, now),
            None => upstream.clean(now),
        }
        self.errands(pool);
    }

    /// A reset was answered.
    pub(super) fn reset_done(self: &Rc<Self>, upstream: &Upstream<P>) {
        upstream.clean(self.worker.now());
        upstream.pool.book.borrow_mut().reset_done(upstream.number);
        if !upstream.pool.serves(&upstream.endpoint, self.worker.now()) {
            return self.part_with(upstream);
        }
        self.errands(&upstream.pool);
    }

    /// Closes the connections that nobody is to use any more.
    pub(super) fn sweep_pools(&self, now: Instant) {
        let pools: Vec<_> = self.pools.borrow().values().cloned().collect();
        for pool in pools {
            pool.sweep(self, now);
            if !self.end_to_end {
                pool.survey();
            }
        }
        self.pools.borrow_mut().retain(|_, pool| {
            let book = pool.book.borrow();
            !pool.stale.get() || book.connections() > 0 || book.waiting() > 0
        });
    }

    /// Closes all connections that nobody has: the worker stops.
    pub(super) fn close_pools(&self) {
        let pools: Vec<_> = self.pools.borrow().values().cloned().collect();
        pools.iter().for_each(|pool| pool.close_clean(self));
    }

    pub(super) fn reload_pools(&self) {
        for pool in self.pools.borrow().values() {
            let now = self.worker.cluster(pool.cluster.name());
            pool.stale.set(!now.is_some_and(|now| Rc::ptr_eq(&now, &pool.cluster)));
            let (connections, waiters) = bounds(&self.worker, &pool.cluster);
            pool.book.borrow_mut().set_bounds(connections, waiters);
        }
        self.sweep_pools(self.worker.now());
    }
}
