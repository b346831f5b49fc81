//! One worker: a thread, a current-thread runtime, and everything that lives on it. Nothing here is shared.

mod buffers;
mod detect;
mod guard;
mod introduce;
mod listener;
mod order;
mod pace;
mod secure;
mod thread;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::BytesMut;
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, mpsc::WeakUnboundedSender};
use wiremesh::User;

pub use self::{
    buffers::{Buffers, Partial},
    guard::{Guard, Judged},
    listener::{ListenerView, LocalMirror, LocalRoute, Watcher},
    order::Order,
    pace::{OWED_HIGH, OWED_LOW, Overdue, Pace},
    thread::{Command, RawStream, WorkerHandle, spawn_all},
};
use crate::{
    cluster::{LocalCluster, LocalEndpoint},
    net::{Addresses, Stream},
    policy::{Action, RouteTable},
    registry::{Driver, Options, Registry},
    snapshot::{ListenerPlan, Snapshot},
    telemetry::{
        AccessLog, EndpointSeries, Latency, ListenerSeries, Metrics, OwnSeries, Record, Requests,
        WorkerLog, WorkerMetrics,
        watch::{Seen, Settings},
    },
};

/// How far a worker is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Normal work.
    Serving,
    /// Nothing new is accepted; what is in flight is finished, quiet connections are closed.
    Draining,
    /// The deadline has passed: requests are answered by an error.
    Refusing,
    /// Connections are closed.
    Closing,
}

/// Which of how many workers one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 0.
    pub index: usize,
    /// How many there are.
    pub count: usize,
}

/// A client's connection, just handed over.
pub struct Accepted {
    pub stream: Stream,
    /// What was read already, to tell the protocol or behind a PROXY header.
    pub prefix: BytesMut,
    /// The client's address, for logs.
    pub peer: String,
    /// The client's addresses, where a PROXY header told them.
    pub told: Option<Addresses>,
    pub listener: Rc<ListenerView>,
    pub series: Arc<ListenerSeries>,
    /// Counts the connection out when it is dropped.
    pub slot: ConnectionSlot,
}

/// One connection's place in the counts of its worker and its listener.
pub struct ConnectionSlot {
    counts: [Arc<AtomicUsize>; 2],
}

impl ConnectionSlot {
    /// Counts a connection in.
    pub fn new(worker: &Arc<AtomicUsize>, listener: &Arc<AtomicUsize>) -> Self {
        let counts = [worker.clone(), listener.clone()];
        for count in &counts {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Self { counts }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        for count in &self.counts {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The requests of a listener to a cluster, and the names that keep their key's addresses taken.
type KnownRequests = (Requests, [Arc<str>; 2]);

struct LastSeries {
    key: [usize; 2],
    service: String,
    method: String,
    series: OwnSeries,
}

/// What is spoken at a listener, and by whom.
#[derive(PartialEq)]
struct Spoken {
    protocol: String,
    options: Options,
    users: Arc<[User]>,
}

/// Everything that lives on one worker.
pub struct Worker {
    pub buffers: Buffers,
    place: Place,
    /// All of them, this one included.
    workers: Arc<[WeakUnboundedSender<Command>]>,
    metrics: WorkerMetrics,
    no_cluster: Arc<str>,
    pub rng: RefCell<fastrand::Rng>,
    registry: Registry,
    clock: Cell<Instant>,
    /// What was measured last, from when to when: requests that came and are answered together have the same latency.
    latency: Cell<(Instant, Instant, Latency)>,
    phase: Cell<Phase>,
    /// Told when the phase changes.
    leaving: Notify,
    access_log: RefCell<Option<WorkerLog>>,
    clusters: RefCell<FxHashMap<Arc<str>, Rc<LocalCluster>>>,
    listeners: RefCell<FxHashMap<Arc<str>, Rc<ListenerView>>>,
    drivers: RefCell<Vec<(Spoken, Rc<dyn Driver>)>>,
    /// By the addresses of listener's and cluster's names.
    requests: RefCell<FxHashMap<[usize; 2], KnownRequests>>,
    /// The series asked for last: the next request is often of the same method.
    last_series: RefCell<Option<LastSeries>>,
    /// What was remembered of requests that are over, to be used again.
    #[allow(clippy::vec_box)] // The boxes are what is used again.
    pub spare_seen: RefCell<Vec<Box<Seen>>>,
    /// Where digests are written before they are looked for.
    pub digest: RefCell<Vec<u8>>,
}

impl Worker {
    fn new(
        place: Place,
        workers: Arc<[WeakUnboundedSender<Command>]>,
        registry: Registry,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let now = Instant::now();
        Self {
            buffers: Buffers::default(),
            place,
            workers,
            metrics: metrics.worker(),
            no_cluster: "".into(),
            rng: RefCell::new(fastrand::Rng::new()),
            registry,
            clock: Cell::new(now),
            latency: Cell::new((now, now, Latency::new(Duration::ZERO))),
            phase: Cell::new(Phase::Serving),
            leaving: Notify::new(),
            access_log: RefCell::new(None),
            clusters: RefCell::default(),
            listeners: RefCell::default(),
            drivers: RefCell::default(),
            requests: RefCell::default(),
            last_series: RefCell::default(),
            spare_seen: RefCell::default(),
            digest: RefCell::default(),
        }
    }

    /// The time when the task now running was woken: one reading of the clock serves all its frames.
    pub fn now(&self) -> Instant {
        self.clock.get()
    }

    /// Reads the clock; every task does so when it is woken.
    pub fn tick(&self) -> Instant {
        let now = Instant::now();
        self.clock.set(now);
        now
    }

    /// The time since `start`, with the place of its bucket.
    pub fn latency_since(&self, start: Instant) -> Latency {
        let now = self.now();
        let (from, to, latency) = self.latency.get();
        if (from, to) == (start, now) {
            return latency;
        }
        let latency = Latency::new(now.saturating_duration_since(start));
        self.latency.set((start, now, latency));
        latency
    }

    /// This worker's share of a bound for all of them.
    pub fn share(&self, bound: usize) -> usize {
        let Place { index, count } = self.place;
        bound / count + usize::from(index < bound % count)
    }

    /// How far the worker is on its way out.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// The cluster of that name.
    pub fn cluster(&self, name: &str) -> Option<Rc<LocalCluster>> {
        self.clusters.borrow().get(name).cloned()
    }

    /// The listener of that name.
    pub fn listener(&self, name: &str) -> Option<Rc<ListenerView>> {
        self.listeners.borrow().get(name).cloned()
    }

    /// Whether requests are logged.
    pub fn logs(&self) -> bool {
        self.access_log.borrow().is_some()
    }

    /// Logs one request.
    pub fn log(&self, record: &Record<'_>) {
        if let Some(log) = &mut *self.access_log.borrow_mut() {
            log.record(record);
        }
    }

    /// The series that a request is counted in; no allocation once it is known.
    pub fn request_series(
        &self,
        listener: &ListenerView,
        cluster: Option<&LocalCluster>,
        service: &str,
        method: &str,
    ) -> OwnSeries {
        let names = [&listener.name, cluster.map_or(&self.no_cluster, |c| c.name())];
        let key = names.map(|name| name.as_ptr().addr());
        let mut last = self.last_series.borrow_mut();
        if let Some(last) = &*last
            && last.key == key
            && same(&last.method, method)
            && same(&last.service, service)
        {
            return last.series.clone();
        }
        let mut known = self.requests.borrow_mut();
        let (requests, _) = known
            .entry(key)
            .or_insert_with(|| (self.metrics.requests(names[0], names[1]), names.map(Arc::clone)));
        let series = requests.series(service, method);
        // The texts' storage is used again: methods that alternate must not cost an allocation each.
        let (mut last_service, mut last_method) =
            last.take().map(|last| (last.service, last.method)).unwrap_or_default();
        service.clone_into(&mut last_service);
        method.clone_into(&mut last_method);
        *last = Some(LastSeries {
            key,
            service: last_service,
            method: last_method,
            series: series.clone(),
        });
        series
    }

    /// The series that an endpoint of `cluster` is counted in.
    pub fn endpoint_series<'a>(
        &self,
        cluster: &str,
        endpoint: &'a LocalEndpoint,
    ) -> &'a Arc<EndpointSeries> {
        endpoint.series(|| self.metrics.endpoint_series(cluster, endpoint.label()))
    }

    /// Puts a configuration in force.
    fn apply(self: &Rc<Self>, snapshot: &Snapshot) {
        let mut clusters = self.clusters.borrow_mut();
        clusters.retain(|name, cluster| {
            let kept = snapshot.clusters.iter().any(|c| c.name() == name);
            if !kept {
                cluster.dissolve();
            }
            kept
        });
        for shared in &snapshot.clusters {
            match clusters.get(shared.name()).filter(|c| Arc::ptr_eq(c.shared(), shared)) {
                // A worker without requests would not notice otherwise.
                Some(known) => drop(known.refresh()),
                None => {
                    let old =
                        clusters.insert(shared.name().clone(), LocalCluster::new(shared.clone()));
                    if let Some(old) = old {
                        old.dissolve();
                    }
                }
            }
        }
        drop(clusters);
        self.requests.borrow_mut().clear();
        self.last_series.borrow_mut().take();
        self.metrics.watch_only(|name| snapshot.listeners.iter().any(|it| *it.name == *name));
        let views = snapshot.listeners.iter().map(|plan| (plan.name.clone(), self.view(plan)));
        *self.listeners.borrow_mut() = views.collect();
        *self.access_log.borrow_mut() = snapshot.access_log.as_ref().map(AccessLog::worker);
        self.drivers().iter().for_each(|driver| driver.reload());
    }

    pub(super) fn drivers(&self) -> Vec<Rc<dyn Driver>> {
        self.drivers.borrow().iter().map(|(_, driver)| driver.clone()).collect()
    }

    fn view(self: &Rc<Self>, plan: &Arc<ListenerPlan>) -> Rc<ListenerView> {
        let drivers = plan.config.protocols.iter().filter_map(|name| {
            let options = plan.config.options.get(name).cloned().unwrap_or_default();
            let mut drivers = self.drivers.borrow_mut();
            let spoken = Spoken { protocol: name.clone(), options, users: plan.users.clone() };
            if let Some((_, driver)) = drivers.iter().find(|(known, _)| *known == spoken) {
                return Some(driver.clone());
            }
            let protocol = self.registry.get(name)?;
            let driver = protocol.driver(self.clone(), &spoken.options, &spoken.users);
            drivers.push((spoken, driver.clone()));
            Some(driver)
        });
        let routes = self.routes(&plan.name, &plan.routes);
        let watch = self.metrics.watch(&plan.name, Settings::of(&plan.config), self.now());
        Rc::new(ListenerView {
            watch: watch.map(Watcher::new),
            plan: plan.clone(),
            guard: plan.firewall.as_ref().map(|firewall| {
                Guard::new(firewall, |rule| self.metrics.firewall_series(&plan.name, rule))
            }),
            name: plan.name.clone(),
            config: plan.config.clone(),
            limits: plan.limits.clone(),
            tls: plan.tls.clone(),
            divided_by: listener::divided_by(&routes),
            routes,
            table: plan.routes.clone(),
            filters: plan.filters.clone(),
            series: self.metrics.listener_series(&plan.name),
            drivers: drivers.collect(),
        })
    }

    fn routes(&self, listener: &str, table: &RouteTable) -> Box<[Rc<LocalRoute>]> {
        let local = table.routes().map(|route| {
            let cluster = match &route.action {
                Action::Cluster(name) => self.cluster(name),
                Action::Weighted(_) | Action::Reply(_) => None,
            };
            let mirror = route.mirror.as_ref().map(|mirror| LocalMirror {
                cluster: self.cluster(&mirror.cluster),
                series: self.metrics.mirror_series(listener, &route.name, &mirror.cluster),
            });
            Rc::new(LocalRoute { route: route.clone(), cluster, mirror })
        });
        local.collect()
    }
}

/// Equality of short texts, for which a call of `memcmp` takes longer than comparing.
fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let ((a_words, a_rest), (b_words, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    a.len() == b.len()
        && a_words.iter().zip(b_words).all(|(a, b)| word(a) == word(b))
        && a_rest.iter().zip(b_rest).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn texts_are_the_same_or_not() {
        let text = "com.example.Service";
        for len in 0..=text.len() {
            assert!(same(&text[..len], &text.to_owned()[..len]));
            assert_eq!(same(text, &text[..len]), len == text.len());
            for at in 0..len {
                let mut other = text.as_bytes()[..len].to_vec();
                other[at] ^= 1;
                assert!(!same(&text[..len], str::from_utf8(&other).unwrap()), "{len} {at}");
            }
        }
    }
}
