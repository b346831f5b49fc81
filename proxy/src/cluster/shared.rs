//! What all workers share of a cluster.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Notify, watch};

use super::address::Address;
use super::balance::Table;
use super::endpoint::Endpoint;
use super::gauge::{Gauge, Tally};
use super::held::Held;
use super::occupancy::{Occupancy, Occupied};
use super::resolve::{Name, names};
use super::shards::{Learnt, LearntShard, Members, ShardTable};
use crate::config;
use crate::net::{Dial, Introduction, tls::ClientTls};

/// One cluster: its settings, its endpoints, and its bounds.
#[derive(Debug)]
pub struct Shared {
    name: Arc<str>,
    config: ArcSwap<config::Cluster>,
    tls: ArcSwapOption<ClientTls>,
    set: ArcSwap<EndpointSet>,
    /// The version of `set`, for a look without touching it.
    version: AtomicU64,
    changed: watch::Sender<u64>,
    requests: Gauge,
    connections: Gauge,
    pending: Gauge,
    starving: AtomicU32,
    held: Held,
    /// One of their connections is asked for.
    asked_for: AtomicBool,
    in_flight: Mutex<Vec<Weak<Tally>>>,
    occupied: Mutex<Vec<Weak<Occupancy>>>,
    /// Held while an endpoint is ejected, so that two at once don't exceed the share that may be.
    ejecting: Mutex<()>,
    /// Locked while the endpoints change.
    known: Mutex<Known>,
    /// Told when the topology may have changed.
    stale: Notify,
    /// Whether a server of it has ever told of itself.
    inquired: AtomicBool,
}

/// What was found out about where the endpoints are.
#[derive(Debug, Default)]
struct Known {
    answers: Answers,
    /// The topology, and what the configuration called it then.
    learnt: Option<(String, Learnt)>,
    /// When the topology was learnt last, and why it could not be since.
    asked: (Option<Instant>, Option<String>),
}

/// The addresses of each name, last time that it could be resolved.
type Answers = HashMap<Name, Vec<SocketAddr>>;

impl Shared {
    /// A cluster, with those of its endpoints whose addresses need no resolution: [`resolve`](super::resolve) brings the
    /// others. One whose topology is to be learnt has none before it [is](super::discover).
    pub fn new(config: Arc<config::Cluster>) -> Arc<Self> {
        let shared = Self {
            name: config.name.as_str().into(),
            set: ArcSwap::default(),
            version: AtomicU64::new(0),
            changed: watch::Sender::new(0),
            requests: Gauge::new(bound(config.max_in_flight)),
            connections: Gauge::new(bound(config.max_connections)),
            pending: Gauge::new(bound(config.max_pending)),
            starving: AtomicU32::new(0),
            held: Held::default(),
            asked_for: AtomicBool::new(false),
            in_flight: Mutex::default(),
            occupied: Mutex::default(),
            ejecting: Mutex::default(),
            known: Mutex::default(),
            stale: Notify::new(),
            inquired: AtomicBool::new(false),
            config: ArcSwap::new(config),
            tls: ArcSwapOption::empty(),
        };
        shared.rebuild(&mut lock(&shared.known), false, Instant::now());
        Arc::new(shared)
    }

    /// The cluster's name. It never changes.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The settings.
    pub fn config(&self) -> Arc<config::Cluster> {
        self.config.load_full()
    }

    /// Takes new settings for the cluster of the same name. Endpoints whose addresses stay keep their identity and state.
    pub fn update(&self, config: Arc<config::Cluster>) {
        debug_assert_eq!(*self.name, *config.name);
        self.requests.set_max(bound(config.max_in_flight));
        self.connections.set_max(bound(config.max_connections));
        self.pending.set_max(bound(config.max_pending));
        let mut known = lock(&self.known);
        self.config.store(config);
        self.rebuild(&mut known, true, Instant::now());
    }

    /// How TLS is spoken with its endpoints from now on.
    pub fn set_tls(&self, tls: Option<ClientTls>) {
        self.tls.store(tls.map(Arc::new));
    }

    /// Whether TLS is spoken with its endpoints.
    pub fn has_tls(&self) -> bool {
        self.tls.load().is_some()
    }

    /// How to connect to one of its endpoints.
    pub fn dial(&self, address: &Address) -> Dial {
        let tls = self.tls.load();
        let tls = tls.as_ref().map(|tls| tls.to(self.host(address).as_deref(), address));
        Dial { address: address.clone(), tls, introduction: self.introduction() }
    }

    /// The same for one that may not be among them yet: `told` is what it is called.
    pub(super) fn dial_as(&self, told: &str, address: &Address) -> Dial {
        let host = host_of(told).filter(|_| address.to_string() != *told);
        let Some(host) = host else { return self.dial(address) };
        let tls = self.tls.load();
        let tls = tls.as_ref().map(|tls| tls.to(Some(host), address));
        Dial { address: address.clone(), tls, introduction: self.introduction() }
    }

    /// What is said first on connections that are nobody's in particular.
    fn introduction(&self) -> Option<Introduction> {
        let version = self.config.load().proxy_protocol?;
        Some(Introduction { version, client: None })
    }

    /// The host name that the configuration, or else the topology, has for an address.
    fn host(&self, address: &Address) -> Option<String> {
        let known = lock(&self.known);
        let answers = |name: &Name| known.answers.get(name).into_iter().flatten();
        let is_it = |name: &Name| answers(name).any(|answer| Address::Tcp(*answer) == *address);
        if let Some((host, _)) = names(&self.config()).find(is_it) {
            return Some(host);
        }
        let (_, learnt) = known.learnt.as_ref()?;
        let (told, _) = learnt.names.iter().find(|(_, told)| *told == address)?;
        host_of(told).map(str::to_owned)
    }

    /// The endpoints now.
    pub fn endpoints(&self) -> Arc<EndpointSet> {
        self.set.load_full()
    }

    /// Grows whenever endpoints or settings change.
    pub fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    /// Tells of changes of endpoints or settings, for the control thread.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Requests without an answer. Workers go through [`LocalCluster`](super::LocalCluster), which may hold some spare.
    pub(super) fn requests(&self) -> &Gauge {
        &self.requests
    }

    /// The bound on connections, of all workers.
    pub fn connections(&self) -> &Gauge {
        &self.connections
    }

    /// The bound on requests that wait for a connection, of all workers.
    pub fn pending(&self) -> &Gauge {
        &self.pending
    }

    /// The bound on connections that are held.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// How many are waiting for one of the connections to be closed, so that they can make theirs.
    pub fn starving(&self) -> &AtomicU32 {
        &self.starving
    }

    /// Somebody who is starving asks others for one connection.
    pub fn ask_for_one(&self) {
        self.asked_for.store(true, Relaxed);
    }

    /// Whether the connection that is free now is to be given up for those who are starving: one for each time that they have
    /// [asked](Self::ask_for_one), since it is made anew for somebody else. With all that become free before the first is made
    /// there would be more logins than requests.
    pub fn gives_way(&self) -> bool {
        self.starving().load(Relaxed) > 0 && self.asked_for.swap(false, Relaxed)
    }

    /// Requests without an answer, of all workers.
    pub fn in_flight(&self) -> u32 {
        lock(&self.in_flight).iter().filter_map(Weak::upgrade).map(|tally| tally.get()).sum()
    }

    /// How often a request was refused because the cluster was full.
    pub fn refused(&self) -> u64 {
        self.requests.refused()
    }

    /// An endpoint failed: a request to it was lost or timed out, or a connection could not be made. True when it is ejected for that.
    ///
    /// Not ejected: the last available endpoint; more than the configured share, though one always may be.
    pub fn on_failure(&self, endpoint: &Endpoint, now: Instant) -> bool {
        let config = self.config.load();
        if !config.is_static() {
            // It may have lost its role.
            self.stale();
        }
        let Some(outlier) = &config.outlier else { return false };
        // What was sent before the ejection still fails; it was punished already.
        if endpoint.is_ejected(now) {
            return false;
        }
        if !endpoint.count_failure(outlier.consecutive_failures) {
            return false;
        }
        let _one_at_a_time = lock(&self.ejecting);
        if endpoint.is_ejected(now) {
            return false;
        }
        let set = self.set.load();
        let others = || set.endpoints.iter().filter(|other| other.id() != endpoint.id());
        let ejected = others().filter(|other| other.is_ejected(now)).count();
        let share = outlier.max_ejected_percent.fraction() * set.endpoints.len() as f64;
        let allowed = if share > 0.0 { (share as usize).max(1) } else { 0 };
        if ejected >= allowed || !others().any(|other| other.is_available(now)) {
            return false;
        }
        let failures = endpoint.failures();
        let time = endpoint.eject(now, outlier.ejection.0);
        tracing::warn!(cluster = %self.name, endpoint = %endpoint.label(), failures, ?time, "endpoint ejected");
        true
    }

    /// Stores what a name resolved to, and changes the endpoints accordingly.
    pub(super) fn resolved(&self, name: Name, addresses: Vec<SocketAddr>, now: Instant) {
        let mut known = lock(&self.known);
        known.answers.insert(name, addresses);
        self.rebuild(&mut known, false, now);
    }

    /// The topology may have changed: it is learnt again soon. Cheap, from any thread, as often as one likes.
    pub fn stale(&self) {
        self.stale.notify_one();
    }

    /// Resolves when [`Shared::stale`] was called since the last time.
    pub(super) async fn on_stale(&self) {
        self.stale.notified().await;
    }

    /// A server has told of itself: see [`inquire`](super::inquire).
    pub(super) fn note_inquired(&self) {
        self.inquired.store(true, Release);
    }

    /// Whether one ever has.
    pub(super) fn is_inquired(&self) -> bool {
        self.inquired.load(Acquire)
    }

    /// Where the configured endpoints are, as far as it is known: whom to ask for the topology.
    pub(super) fn seeds(&self) -> Vec<Address> {
        let known = lock(&self.known);
        wanted(&self.config(), &known.answers).into_iter().map(|(address, _)| address).collect()
    }

    /// Puts a topology of this kind in force, unless the settings ask for another by now. True if it changes anything.
    pub(super) fn learnt(&self, kind: &str, learnt: Learnt, now: Instant) -> bool {
        let mut known = lock(&self.known);
        if self.config.load().topology != kind {
            return false;
        }
        known.asked = (Some(now), None);
        let before = self.version();
        known.learnt = Some((kind.to_owned(), learnt));
        self.rebuild(&mut known, false, now);
        self.version() != before
    }

    /// The shards as they were learnt last.
    pub(super) fn members(&self) -> Vec<LearntShard> {
        let known = lock(&self.known);
        known.learnt.as_ref().map(|(_, learnt)| learnt.shards.clone()).unwrap_or_default()
    }

    /// The topology could not be learnt; true when that is news.
    pub(super) fn not_learnt(&self, why: &str) -> bool {
        let mut known = lock(&self.known);
        let news = known.asked.1.as_deref() != Some(why);
        known.asked.1 = Some(why.to_owned());
        news
    }

    /// When the topology was learnt last, and why it could not be since.
    pub(super) fn asked(&self) -> (Option<Instant>, Option<String>) {
        lock(&self.known).asked.clone()
    }

    /// Names that have no addresses, not even old ones.
    pub(super) fn unresolved(&self) -> Vec<String> {
        let known = lock(&self.known);
        let unknown = |name: &Name| !known.answers.contains_key(name);
        names(&self.config()).filter(unknown).map(|(host, port)| format!("{host}:{port}")).collect()
    }

    /// A worker's own count of requests without an answer.
    pub(super) fn tally(&self) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        let mut tallies = lock(&self.in_flight);
        tallies.retain(|other| other.strong_count() > 0);
        tallies.push(Arc::downgrade(&tally));
        tally
    }

    /// For the count of one pool of connections that clients are lent.
    pub fn occupancy(&self) -> Arc<Occupancy> {
        let own = Arc::new(Occupancy::default());
        let mut all = lock(&self.occupied);
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&own));
        own
    }

    /// What the connections are for that clients are lent, of all workers; `None`: there are no such.
    pub fn occupied(&self) -> Option<Occupied> {
        let all = lock(&self.occupied);
        let counts = all.iter().filter_map(Weak::upgrade).map(|own| own.get());
        counts.reduce(Occupied::plus)
    }

    /// Computes the endpoints from settings, answers and topology. Workers hear of it if it changes anything, or if
    /// `announce`.
    fn rebuild(&self, known: &mut Known, announce: bool, now: Instant) {
        let config = self.config.load();
        let names: HashSet<Name> = names(&config).collect();
        known.answers.retain(|name, _| names.contains(name));
        if known.learnt.as_ref().is_some_and(|(kind, _)| *kind != config.topology) {
            (known.learnt, known.asked) = Default::default();
        }
        let wanted = wanted(&config, &known.answers);
        let learnt = known.learnt.as_ref().map(|(_, learnt)| learnt);
        let wanted = match learnt {
            _ if config.is_static() => wanted,
            Some(learnt) => learnt_endpoints(learnt, &wanted),
            None => Vec::new(),
        };
        let old = self.set.load();
        let unchanged = old.endpoints.len() == wanted.len()
            && old.endpoints.iter().zip(&wanted).all(|(endpoint, (address, weight))| {
                endpoint.address() == address && endpoint.weight() == *weight
            });
        let mut kept: HashMap<&Address, &Arc<Endpoint>> =
            old.endpoints.iter().map(|endpoint| (endpoint.address(), endpoint)).collect();
        // A slow start is for who joins others that are warm.
        let first = old.endpoints.is_empty();
        let endpoints: Vec<_> = wanted
            .into_iter()
            .map(|(address, weight)| match kept.remove(&address) {
                Some(endpoint) => {
                    endpoint.set_weight(weight);
                    Arc::clone(endpoint)
                }
                None => Arc::new(Endpoint::new(address, weight, first, now)),
            })
            .collect();
        let shards = match learnt {
            _ if config.is_static() => None,
            Some(learnt) => Some(ShardTable::new(learnt, &endpoints)),
            None => Some(ShardTable::default()),
        };
        if unchanged && shards == old.shards && !announce {
            return;
        }
        let labels: Vec<_> =
            endpoints.iter().map(|endpoint| (&**endpoint.label(), endpoint.weight())).collect();
        let table = Table::new(config.balance, &labels);
        let version = old.version + 1;
        self.set.store(Arc::new(EndpointSet { version, endpoints, table, shards }));
        self.version.store(version, Release);
        self.changed.send_replace(version);
    }
}

/// The addresses and weights that settings and answers stand for, each address once.
fn wanted(config: &config::Cluster, answers: &Answers) -> Vec<(Address, u32)> {
    let mut wanted: Vec<(Address, u32)> = Vec::new();
    let mut seen = HashSet::new();
    // A weight of 0 takes an endpoint out.
    for endpoint in config.endpoints.iter().filter(|endpoint| endpoint.weight > 0) {
        let addresses = match &endpoint.address {
            config::Address::Unix(path) => vec![Address::from(path.clone())],
            tcp @ config::Address::Tcp { host, port } => match tcp.socket_addr() {
                Some(address) => vec![address.into()],
                None => answers
                    .get(&(host.clone(), *port))
                    .into_iter()
                    .flatten()
                    .map(|address| Address::from(*address))
                    .collect(),
            },
        };
        for address in addresses {
            if seen.insert(address.clone()) {
                wanted.push((address, endpoint.weight));
            }
        }
    }
    wanted
}

/// The addresses of a topology, each once, with the weight that the configuration gives them, or 1.
fn learnt_endpoints(learnt: &Learnt, configured: &[(Address, u32)]) -> Vec<(Address, u32)> {
    let weights: HashMap<_, _> =
        configured.iter().map(|(address, weight)| (address, *weight)).collect();
    let mut seen = HashSet::new();
    let once = learnt.addresses().filter(|address| seen.insert(*address));
    once.map(|address| (address.clone(), weights.get(address).copied().unwrap_or(1))).collect()
}

/// The host of `HOST:PORT`.
fn host_of(told: &str) -> Option<&str> {
    told.rsplit_once(':').map(|(host, _)| host)
}

fn bound(max: usize) -> u32 {
    u32::try_from(max).unwrap_or(u32::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The endpoints of a cluster at one time.
#[derive(Debug, Default)]
pub struct EndpointSet {
    version: u64,
    endpoints: Vec<Arc<Endpoint>>,
    table: Table,
    /// Who of them serves what; `None` where each serves everything.
    shards: Option<ShardTable>,
}

impl EndpointSet {
    /// See [`Shared::version`].
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The endpoints, in the order of the configuration, or shard by shard.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// Who of the endpoints serves what; `None` where each serves everything.
    pub(super) fn shards(&self) -> Option<&ShardTable> {
        self.shards.as_ref()
    }

    /// Whether a shard has no primary, or no part of data that is divided.
    pub(super) fn is_unsettled(&self) -> bool {
        let Some(table) = self.shards() else { return false };
        let idle = |shard: &Members| table.is_divided() && shard.slots() == 0;
        table.shards().iter().any(|shard| shard.primary().is_none() || idle(shard))
    }
}
