use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    EndpointSeries, FirewallSeries, ListenerSeries, MirrorSeries, RequestSeries, Snapshot,
    watch::{self, ListenerDigests, ListenerKeys, ListenerSlow, Settings, Watch},
};

/// How many different (service, method) pairs are told apart by default.
pub const MAX_NAMES: usize = 2_000;

/// The service and method under which all further pairs are counted.
pub const OTHER: &str = "other";

/// Names longer than this are counted under [`OTHER`].
const MAX_NAME_LEN: usize = 200;

/// Past this number of endpoints, those that nobody has used for [`STALE`] are dropped when a new one appears.
const MANY_ENDPOINTS: usize = 256;
const STALE: Duration = Duration::from_secs(600);

/// All metrics of a process: shared by its threads, each of which records through a [`WorkerMetrics`] of its own.
#[derive(Debug)]
pub struct Metrics {
    threads: Mutex<Vec<Arc<Table>>>,
    names: Names,
    pub(super) started: Instant,
    pub(super) started_at: SystemTime,
    pub(super) workers: AtomicUsize,
    pub(super) reloads_applied: AtomicU64,
    pub(super) reloads_rejected: AtomicU64,
    pub(super) dropped_lines: Arc<AtomicU64>,
}

impl Metrics {
    /// Metrics that tell `max_names` pairs of service and method apart.
    pub fn new(max_names: usize) -> Arc<Self> {
        Arc::new(Self {
            threads: Mutex::default(),
            names: Names::new(max_names),
            started: Instant::now(),
            started_at: SystemTime::now(),
            workers: AtomicUsize::new(0),
            reloads_applied: AtomicU64::new(0),
            reloads_rejected: AtomicU64::new(0),
            dropped_lines: Arc::default(),
        })
    }

    /// What a thread records into: call it once on each thread, the control thread included.
    pub fn worker(self: &Arc<Self>) -> WorkerMetrics {
        let table = Arc::<Table>::default();
        lock(&self.threads).push(table.clone());
        WorkerMetrics { metrics: self.clone(), table, requests: Rc::default() }
    }

    /// Tells how many worker threads there are.
    pub fn set_workers(&self, workers: usize) {
        self.workers.store(workers, Relaxed);
    }

    /// Counts a reload of the configuration that was put in force.
    pub fn reload_applied(&self) {
        self.reloads_applied.fetch_add(1, Relaxed);
    }

    /// Counts a reload of the configuration that was refused.
    pub fn reload_rejected(&self) {
        self.reloads_rejected.fetch_add(1, Relaxed);
    }

    /// The count of access log lines that were dropped, for the access log to add to.
    pub fn dropped_lines(&self) -> Arc<AtomicU64> {
        self.dropped_lines.clone()
    }

    /// The slow requests of each listener that keeps them.
    pub fn slow(&self) -> Vec<ListenerSlow> {
        self.watched(|listener, watches| watch::slow_of(listener, watches.iter().map(|it| &**it)))
    }

    /// What the requests of each listener that has them looked at are about.
    pub fn keys(&self, now: Instant) -> Vec<ListenerKeys> {
        self.watched(|listener, watches| {
            watch::keys_of(listener, watches.iter().map(|it| &**it), now)
        })
    }

    /// The statistics by digest of each listener that keeps them.
    pub fn digests(&self) -> Vec<ListenerDigests> {
        self.watched(|listener, watches| {
            watch::digests_of(listener, watches.iter().map(|it| &**it))
        })
    }

    fn watched<T>(&self, of: impl Fn(&str, &[Arc<Watch>]) -> Option<T>) -> Vec<T> {
        let mut listeners: BTreeMap<String, Vec<Arc<Watch>>> = BTreeMap::new();
        for table in lock(&self.threads).iter() {
            for (listener, watch) in &lock(&table.rows).watches {
                listeners.entry(listener.clone()).or_default().push(watch.clone());
            }
        }
        listeners.iter().filter_map(|(listener, watches)| of(listener, watches)).collect()
    }

    /// Everything that was counted up to now, added up over the threads.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::new(Instant::now());
        for table in lock(&self.threads).iter() {
            let rows = lock(&table.rows);
            rows.requests.iter().for_each(|row| snapshot.add_requests(&row.labels, &row.series));
            rows.endpoints.iter().for_each(|(key, row)| snapshot.add_endpoint(key, &row.series));
            rows.listeners.iter().for_each(|(name, series)| snapshot.add_listener(name, series));
            rows.firewalls.iter().for_each(|(key, series)| snapshot.add_firewall(key, series));
            rows.mirrors.iter().for_each(|(key, series)| snapshot.add_mirror(key, series));
        }
        snapshot
    }
}

/// One thread's way into the metrics. Handles are looked up when configuration arrives and kept; recording through them
/// takes no lock.
#[derive(Clone, Debug)]
pub struct WorkerMetrics {
    metrics: Arc<Metrics>,
    table: Arc<Table>,
    requests: Rc<RefCell<FxHashMap<(String, String), Requests>>>,
}

impl WorkerMetrics {
    /// The requests that `listener` sends to `cluster`; those that no route took have the cluster `""`.
    pub fn requests(&self, listener: &str, cluster: &str) -> Requests {
        let key = (listener.to_owned(), cluster.to_owned());
        let new = || Requests {
            shared: Rc::new(RequestsShared {
                metrics: self.metrics.clone(),
                table: self.table.clone(),
                listener: listener.into(),
                cluster: cluster.into(),
                series: RefCell::default(),
            }),
        };
        self.requests.borrow_mut().entry(key).or_insert_with(new).clone()
    }

    /// The counts of an endpoint, named by its cluster and address. Keep the handle as long as the endpoint is in use.
    pub fn endpoint_series(&self, cluster: &str, endpoint: &str) -> Arc<EndpointSeries> {
        let key = (cluster.to_owned(), endpoint.to_owned());
        let mut rows = lock(&self.table.rows);
        if rows.endpoints.len() >= MANY_ENDPOINTS && !rows.endpoints.contains_key(&key) {
            rows.drop_stale(Instant::now());
        }
        rows.endpoints.entry(key).or_default().series.clone()
    }

    /// The counts of a listener.
    pub fn listener_series(&self, listener: &str) -> Arc<ListenerSeries> {
        lock(&self.table.rows).listeners.entry(listener.to_owned()).or_default().clone()
    }

    /// The counts of copies that a route sends to a cluster.
    pub fn mirror_series(&self, listener: &str, route: &str, cluster: &str) -> Arc<MirrorSeries> {
        let key = [listener, route, cluster].map(str::to_owned);
        lock(&self.table.rows).mirrors.entry(key).or_default().clone()
    }

    /// The counts of a rule of a listener's firewall.
    pub fn firewall_series(&self, listener: &str, rule: &str) -> Arc<FirewallSeries> {
        let key = [listener, rule].map(str::to_owned);
        lock(&self.table.rows).firewalls.entry(key).or_default().clone()
    }

    /// What is to be kept of the traffic of a listener; what was kept so far where the settings are the same. `None`:
    /// nothing.
    pub fn watch(&self, listener: &str, settings: Settings, now: Instant) -> Option<Arc<Watch>> {
        let mut rows = lock(&self.table.rows);
        if let Some(known) = rows.watches.get(listener).filter(|it| it.is_for(settings)) {
            return Some(known.clone());
        }
        rows.watches.remove(listener);
        let watch = Watch::new(settings, now)?;
        rows.watches.insert(listener.to_owned(), watch.clone());
        Some(watch)
    }

    /// Keeps nothing of the traffic of listeners but these any more.
    pub fn watch_only(&self, is_there: impl Fn(&str) -> bool) {
        lock(&self.table.rows).watches.retain(|listener, _| is_there(listener));
    }

    /// The metrics that this is a part of.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}

/// The counts of a method on the thread that adds to them: every request holds them, and it takes no atomic instruction
/// to do so.
pub type OwnSeries = Rc<Arc<RequestSeries>>;

/// The requests of one listener to one cluster, on one thread.
#[derive(Clone, Debug)]
pub struct Requests {
    shared: Rc<RequestsShared>,
}

#[derive(Debug)]
struct RequestsShared {
    metrics: Arc<Metrics>,
    table: Arc<Table>,
    listener: Arc<str>,
    cluster: Arc<str>,
    series: RefCell<FxHashMap<Box<str>, Methods>>,
}

impl Requests {
    /// The counts of a method. Two hash lookups without lock or allocation, but for a method's first request.
    ///
    /// Pairs past the bound, names of more than 200 bytes, and all requests that no route took (a scanner could use the
    /// bound up) are counted under [`OTHER`].
    pub fn series(&self, service: &str, method: &str) -> OwnSeries {
        let shared = &*self.shared;
        if let Some(series) = shared.find(service, method) {
            return series;
        }
        let named = !shared.cluster.is_empty() && shared.metrics.names.admit(service, method);
        let (service, method) = if named { (service, method) } else { (OTHER, OTHER) };
        shared.find(service, method).unwrap_or_else(|| shared.create(service, method))
    }
}

impl RequestsShared {
    fn find(&self, service: &str, method: &str) -> Option<OwnSeries> {
        self.series.borrow().get(service)?.get(method).cloned()
    }

    fn create(&self, service: &str, method: &str) -> OwnSeries {
        let series = OwnSeries::default();
        let mut known = self.series.borrow_mut();
        known.entry(service.into()).or_default().insert(method.into(), series.clone());
        lock(&self.table.rows).requests.push(RequestRow {
            labels: RequestLabels {
                listener: self.listener.clone(),
                cluster: self.cluster.clone(),
                service: service.into(),
                method: method.into(),
            },
            series: (*series).clone(),
        });
        series
    }
}

/// The labels of a method's requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestLabels {
    pub(super) listener: Arc<str>,
    pub(super) cluster: Arc<str>,
    pub(super) service: Arc<str>,
    pub(super) method: Arc<str>,
}

/// One thread's series. The lock is taken to add a series and to list them, never to record.
#[derive(Debug, Default)]
struct Table {
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    requests: Vec<RequestRow>,
    endpoints: BTreeMap<(String, String), EndpointRow>,
    listeners: BTreeMap<String, Arc<ListenerSeries>>,
    watches: BTreeMap<String, Arc<Watch>>,
    /// By listener and rule.
    firewalls: BTreeMap<[String; 2], Arc<FirewallSeries>>,
    /// By listener, route and cluster.
    mirrors: BTreeMap<[String; 3], Arc<MirrorSeries>>,
}

impl Rows {
    /// Addresses come and go with name resolution. A reload of the configuration gives all handles up for a moment, so
    /// that alone is no reason to forget what was counted.
    fn drop_stale(&mut self, now: Instant) {
        self.endpoints.retain(|_, row| {
            if Arc::strong_count(&row.series) > 1 {
                row.unused_since = None;
                return true;
            }
            now.saturating_duration_since(*row.unused_since.get_or_insert(now)) < STALE
        });
    }
}

#[derive(Debug, Default)]
struct EndpointRow {
    series: Arc<EndpointSeries>,
    unused_since: Option<Instant>,
}

#[derive(Debug)]
struct RequestRow {
    labels: RequestLabels,
    series: Arc<RequestSeries>,
}

type Methods = FxHashMap<Box<str>, OwnSeries>;
type Pairs = FxHashMap<Box<str>, FxHashSet<Box<str>>>;

/// The pairs of service and method that are told apart, the same on all threads. Once the set is full it never changes,
/// and asking takes no lock.
struct Names {
    max: usize,
    growing: Mutex<(usize, Pairs)>,
    full: OnceLock<Pairs>,
}

impl Names {
    fn new(max: usize) -> Self {
        Self { max, growing: Mutex::default(), full: OnceLock::new() }
    }

    /// Whether the pair may have a series of its own.
    fn admit(&self, service: &str, method: &str) -> bool {
        if service.len() > MAX_NAME_LEN || method.len() > MAX_NAME_LEN {
            return false;
        }
        if let Some(full) = self.full.get() {
            return has(full, service, method);
        }
        let mut growing = lock(&self.growing);
        let (len, pairs) = &mut *growing;
        if has(pairs, service, method) {
            return true;
        }
        if *len < self.max {
            *len += 1;
            return pairs.entry(service.into()).or_default().insert(method.into());
        }
        has(self.full.get_or_init(|| std::mem::take(pairs)), service, method)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("max", &self.max).finish_non_exhaustive()
    }
}

fn has(pairs: &Pairs, service: &str, method: &str) -> bool {
    pairs.get(service).is_some_and(|methods| methods.contains(method))
}

/// The tables stay usable if a thread panicked while it held a lock: nothing in them is ever half-written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use wiremesh::{Reason, Status};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn methods(metrics: &Metrics) -> Vec<(String, String, u64)> {
        let of = metrics.snapshot().methods();
        of.into_iter().map(|m| (m.service, m.method, m.totals.requests)).collect()
    }

    #[test]
    fn the_same_names_find_the_same_series() {
        let metrics = Metrics::new(MAX_NAMES);
        let worker = metrics.worker();
        let series = worker.requests("l", "c").series("s", "m");
        assert!(Arc::ptr_eq(&series, &worker.requests("l", "c").series("s", "m")));
        assert!(!Arc::ptr_eq(&series, &worker.requests("l", "d").series("s", "m")));
        assert!(!Arc::ptr_eq(&series, &metrics.worker().requests("l", "c").series("s", "m")));
        let endpoint = worker.endpoint_series("c", "a:1");
        assert!(Arc::ptr_eq(&endpoint, &worker.endpoint_series("c", "a:1")));
        assert!(!Arc::ptr_eq(&endpoint, &worker.endpoint_series("d", "a:1")));
        let listener = worker.listener_series("l");
        assert!(Arc::ptr_eq(&listener, &worker.listener_series("l")));
    }

    #[test]
    fn threads_record_apart_and_are_added_up() {
        let metrics = Metrics::new(MAX_NAMES);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let worker = metrics.worker();
                    let requests = worker.requests("l", "c");
                    let endpoint = worker.endpoint_series("c", "a:1");
                    for _ in 0..10_000 {
                        requests.series("s", "m").record(Status::Ok, None, MS.into(), 10, 20);
                        endpoint.sent();
                        endpoint.answered(Status::Ok, MS.into());
                    }
                    endpoint.sent();
                    endpoint.failed(Reason::Timeout);
                    endpoint.sent();
                });
            }
        });
        assert_eq!(methods(&metrics), [("s".into(), "m".into(), 40_000)]);
        let endpoints = metrics.snapshot().endpoints();
        assert_eq!(endpoints[0].totals.requests, 40_008);
        assert_eq!(endpoints[0].totals.errors, 4);
        assert_eq!(endpoints[0].in_flight, 4);
    }

    #[test]
    fn the_number_of_names_is_bounded_over_all_threads() {
        let metrics = Metrics::new(3);
        let (one, two) = (metrics.worker(), metrics.worker());
        let count = |worker: &WorkerMetrics, service: &str, method: &str| {
            let series = worker.requests("l", "c").series(service, method);
            series.record(Status::Ok, None, MS.into(), 0, 0);
        };
        for i in 0..3 {
            count(&one, "s", &format!("m{i}"));
        }
        for i in 0..1000 {
            count(&two, "s", &format!("m{i}"));
            count(&two, &format!("s{i}"), "m0");
        }
        count(&one, "s", "m2");
        let want = [("other", "other", 1997), ("s", "m0", 2), ("s", "m1", 2), ("s", "m2", 3)];
        assert_eq!(methods(&metrics), want.map(|(s, m, n)| (s.into(), m.into(), n)));
        assert_eq!(lock(&two.table.rows).requests.len(), 4);
    }

    #[test]
    fn unrouted_and_overlong_names_use_no_place_up() {
        let metrics = Metrics::new(1);
        let worker = metrics.worker();
        let long = "x".repeat(MAX_NAME_LEN + 1);
        let other = worker.requests("l", "c").series(&long, "m");
        assert!(Arc::ptr_eq(&other, &worker.requests("l", "c").series("s", &long)));
        let unrouted = worker.requests("l", "").series("s", "m");
        assert!(Arc::ptr_eq(&unrouted, &worker.requests("l", "").series(OTHER, OTHER)));
        let named = worker.requests("l", "c").series("s", "m");
        assert!(!Arc::ptr_eq(&other, &named));
    }

    #[test]
    fn endpoints_that_nobody_uses_are_forgotten_after_a_while() {
        let worker = Metrics::new(1).worker();
        let kept = worker.endpoint_series("c", "kept");
        for i in 0..MANY_ENDPOINTS {
            worker.endpoint_series("c", &format!("gone {i}"));
        }
        let len = || lock(&worker.table.rows).endpoints.len();
        assert_eq!(len(), MANY_ENDPOINTS + 1);
        let start = Instant::now();
        lock(&worker.table.rows).drop_stale(start);
        let back = worker.endpoint_series("c", "gone 7");
        lock(&worker.table.rows).drop_stale(start + STALE / 2);
        assert_eq!(len(), MANY_ENDPOINTS + 1);
        lock(&worker.table.rows).drop_stale(start + 2 * STALE);
        assert_eq!(len(), 2);
        assert!(Arc::ptr_eq(&kept, &worker.endpoint_series("c", "kept")));
        assert!(Arc::ptr_eq(&back, &worker.endpoint_series("c", "gone 7")));
    }
}
