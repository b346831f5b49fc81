//! Requests and replies of many clients over few upstream connections.
//!
//! One driver per socket reads, decodes everything that has come, dispatches it, and writes once per wake. A request
//! goes through the stations ([`request`]), is given to an [`upstream::Upstream`], whose engine finds it again when its
//! reply comes, and is concluded ([`conclude`]): classified, tried again or answered, recorded.

mod apart;
mod client;
mod conclude;
mod mirror;
mod private;
mod redirect;
mod request;
mod reverse;
mod split;
mod ticket;
mod upstream;
mod way;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use wiremesh::{Failure, Lane, Protocol, Reason, correlation::Exchange};

use self::{
    client::{Client, ClientTask},
    ticket::Tickets,
    upstream::Upstream,
    way::Way,
};
use crate::{
    cluster::{LocalCluster, LocalEndpoint},
    registry::Driver,
    worker::{Accepted, Phase, Worker},
};

/// While draining, a client that has been quiet for this long is closed.
const QUIET: Duration = Duration::from_millis(500);

/// Clients are numbered over all workers, since some protocols tell them their number.
static NEXT_CLIENT: AtomicU64 = AtomicU64::new(1);

/// All connections of one protocol on one worker.
pub struct Mesh<P: Protocol>
where
    P::Correlation: Exchange<P>,
{
    pub worker: Rc<Worker>,
    pub protocol: P,
    clients: RefCell<FxHashMap<u64, Rc<Client<P>>>>,
    pools: RefCell<FxHashMap<PoolKey, Vec<Rc<Upstream<P>>>>>,
    tickets: Tickets<P>,
    /// Bytes of requests that are kept for retries.
    kept: Rc<Cell<usize>>,
    /// The storage of the way that was found last.
    way: Cell<Option<Box<Way>>>,
    /// What slow readers may be owed beyond the usual.
    slack: Cell<usize>,
}

/// Which requests may share an upstream connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// [`LocalEndpoint::id`].
    endpoint: u64,
    /// [`Protocol::lane`].
    pub lane: Lane,
    /// The client that has the connection for itself; 0 when it is shared.
    client: u64,
}

impl<P: Protocol> Mesh<P>
where
    P::Correlation: Exchange<P>,
{
    /// A mesh without connections.
    pub fn new(worker: Rc<Worker>, protocol: P) -> Self {
        Self {
            worker,
            protocol,
            clients: RefCell::default(),
            pools: RefCell::default(),
            tickets: Tickets::default(),
            kept: Rc::default(),
            way: Cell::default(),
            slack: Cell::new(0),
        }
    }

    /// A connection for a request of `client`'s to `endpoint`: one that is there, or one that is being made.
    fn upstream(
        self: &Rc<Self>,
        cluster: &Rc<LocalCluster>,
        endpoint: &Rc<LocalEndpoint>,
        lane: Lane,
        client: &Rc<Client<P>>,
    ) -> Result<Rc<Upstream<P>>, Failure> {
        let (dedicated, connections) = {
            let config = cluster.config();
            (config.dedicated, config.connections)
        };
        let owner = (dedicated || client.apart.get()).then(|| client.clone());
        let key =
            PoolKey { endpoint: endpoint.id(), lane, client: owner.as_ref().map_or(0, |c| c.id) };
        if <P::Correlation as Exchange<P>>::ORDERED
            && let Some(upstream) = client.line(key)?
        {
            return Ok(upstream);
        }
        let mut pools = self.pools.borrow_mut();
        let pool = pools.entry(key).or_default();
        let (mut usable, mut best) = (0, None::<(usize, &Rc<Upstream<P>>)>);
        for upstream in pool.iter().filter(|u| u.is_usable()) {
            usable += 1;
            let load = upstream.load();
            if best.is_none_or(|(least, _)| load < least) {
                best = Some((load, upstream));
            }
        }
        let wanted = if owner.is_some() { 1 } else { connections };
        let upstream = match best {
            Some((load, upstream)) if load == 0 || usable >= wanted => upstream.clone(),
            best => {
                let best = best.map(|(_, upstream)| upstream.clone());
                drop(pools);
                match (self.connect(key, cluster, endpoint, owner, client), best) {
                    (Ok(upstream), _) | (Err(_), Some(upstream)) => upstream,
                    (Err(failure), None) => return Err(failure),
                }
            }
        };
        if <P::Correlation as Exchange<P>>::ORDERED {
            client.lines.borrow_mut().push(upstream.clone());
        }
        Ok(upstream)
    }

    /// Opens one more connection.
    fn connect(
        self: &Rc<Self>,
        key: PoolKey,
        cluster: &Rc<LocalCluster>,
        endpoint: &Rc<LocalEndpoint>,
        owner: Option<Rc<Client<P>>>,
        client: &Rc<Client<P>>,
    ) -> Result<Rc<Upstream<P>>, Failure> {
        if !cluster.shared().connections().try_acquire() {
            return Err(Failure::new(
                Reason::Overloaded,
                format!("cluster {} has all its connections", cluster.name()),
            ));
        }
        let series = self.worker.endpoint_series(cluster.name(), endpoint);
        let upstream =
            Rc::new(Upstream::new(key, cluster.clone(), endpoint.clone(), series.clone(), owner));
        self.pools.borrow_mut().entry(key).or_default().push(upstream.clone());
        let listener = client.listener.borrow().clone();
        tokio::task::spawn_local(upstream.clone().run(self.clone(), listener));
        Ok(upstream)
    }

    /// A connection is over, and all its requests are failed.
    fn upstream_closed(&self, upstream: &Rc<Upstream<P>>) {
        upstream.cluster.shared().connections().release();
        self.private_lost(upstream);
        let key = upstream.key.get();
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.get_mut(&key) {
            pool.retain(|u| !Rc::ptr_eq(u, upstream));
            if pool.is_empty() {
                pools.remove(&key);
            }
        }
    }

    /// A client's connection is over.
    fn client_closed(&self, client: &Rc<Client<P>>) {
        self.clients.borrow_mut().remove(&client.id);
        self.take_slack(client);
        self.release(client, true);
        client.private.take();
        client.lines.take();
        if let Some(shadow) = client.shadow.take() {
            shadow.lines.take();
        }
        for waiting in client.elsewhere.take() {
            self.conclude_gone(waiting.ticket);
        }
        for (key, pool) in &*self.pools.borrow() {
            if client.in_flight() > 0 {
                pool.iter().for_each(|upstream| upstream.forget(self, client));
            }
            if key.client == client.id {
                pool.iter().for_each(|upstream| upstream.retire());
            }
        }
    }
}

impl<P: Protocol> Driver for Mesh<P>
where
    P::Correlation: Exchange<P>,
{
    fn serve(self: Rc<Self>, accepted: Accepted) {
        let id = NEXT_CLIENT.fetch_add(1, Relaxed);
        let now = self.worker.tick();
        let client = Rc::new(Client::new(id, &accepted, now));
        self.clients.borrow_mut().insert(id, client.clone());
        if self.worker.phase() == Phase::Closing {
            client.close();
        }
        tokio::task::spawn_local(ClientTask::new(self.clone(), client, accepted).run());
    }

    fn sweep(&self, now: Instant) {
        let clients: Vec<_> = self.clients.borrow().values().cloned().collect();
        let phase = self.worker.phase();
        for client in clients {
            if let Some(why) = client.overdue(now) {
                tracing::info!(client = %client.peer, ?why, "closing");
                why.count(&client.listener.borrow().series);
                client.kill();
            }
            match phase {
                Phase::Serving => {}
                Phase::Draining => {
                    if now.checked_sub(QUIET).is_some_and(|since| client.is_quiet_since(since)) {
                        client.close();
                    }
                }
                Phase::Refusing => {}
                Phase::Closing => client.close(),
            }
        }
        for pool in self.pools.borrow().values() {
            for upstream in pool.iter().filter(|u| u.is_outdated()) {
                upstream.retire();
            }
        }
    }

    fn reload(&self) {
        for client in self.clients.borrow().values() {
            let name = client.listener.borrow().name.clone();
            match self.worker.listener(&name) {
                Some(listener) => *client.listener.borrow_mut() = listener,
                // The listener is gone from the configuration: what is in progress is finished.
                None => client.close(),
            }
        }
    }

    fn drain(&self) {
        for client in self.clients.borrow().values() {
            if let Some(bye) = self.protocol.go_away(client.lane.get()) {
                client.tell(self, bye);
            }
        }
    }

    fn refuse(self: Rc<Self>) {
        let upstreams: Vec<_> = self.pools.borrow().values().flatten().cloned().collect();
        for upstream in upstreams {
            upstream.give_up(&self, &Failure::new(Reason::Draining, "the proxy is shutting down"));
        }
    }

    fn clients(&self) -> usize {
        self.clients.borrow().len()
    }
}
