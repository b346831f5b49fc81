use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ClusterTls, ProxyVersion};
use crate::config::value::{Address, Duration, Percent};

/// The topology of a cluster whose endpoints are those of the configuration.
const STATIC: &str = "static";

/// A set of endpoints that do the same, or together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Its name in routes, logs and metrics; unique among clusters.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The endpoints: `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`, or `{ address: ..., weight: ... }`. A host name stands
    /// for all addresses that it resolves to. With a `topology` other than `static`, those that are asked for it.
    #[schemars(length(min = 1))]
    pub endpoints: Vec<Endpoint>,
    /// TLS with the endpoints; `{}` verifies them by whom the system trusts. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ClusterTls")]
    pub tls: Option<ClusterTls>,
    /// The header of the PROXY protocol that connections begin with, before TLS. It has the client's address where a
    /// connection is one client's from its beginning to its end; others, and health checks, are nobody's in particular.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ProxyVersion")]
    pub proxy_protocol: Option<ProxyVersion>,
    /// How it is known who serves what. `static`: every endpoint that is written here serves everything. Else one that
    /// the protocol can learn by asking the endpoints, such as `cluster`, `replicated` or `sentinel`.
    #[serde(default = "default_topology")]
    #[schemars(length(min = 1))]
    pub topology: String,
    /// What the protocol must know to learn the topology: option name, then value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub topology_options: BTreeMap<String, String>,
    /// How often the topology is learnt again. It is at once when an answer or a failure shows that it has changed.
    #[serde(default = "default_topology_refresh")]
    pub topology_refresh: Duration,
    /// Which endpoints of a topology requests that change nothing go to.
    #[serde(default)]
    pub read_from: ReadFrom,
    /// How often host names are resolved again.
    #[serde(default = "default_dns_refresh")]
    pub dns_refresh: Duration,
    /// How an endpoint is picked for a request.
    #[serde(default)]
    pub balance: Balance,
    /// Upstream connections per endpoint, lane and worker.
    #[serde(default = "default_connections")]
    #[schemars(range(min = 1, max = 1024))]
    pub connections: usize,
    /// Each client connection has upstream connections of its own: for servers that send requests to their clients.
    #[serde(default)]
    pub dedicated: bool,
    /// The most connections to the cluster at a time.
    #[serde(default = "default_max_connections")]
    #[schemars(range(min = 1))]
    pub max_connections: usize,
    /// The most requests that wait for a connection. More are answered as overloaded at once.
    #[serde(default = "default_max_pending")]
    #[schemars(range(min = 1))]
    pub max_pending: usize,
    /// How long a request waits for a connection that others have, in protocols whose clients have upstream connections
    /// for themselves. Then it is answered as overloaded.
    #[serde(default = "default_pending_timeout")]
    pub pending_timeout: Duration,
    /// The most connections that clients hold for their sessions' state (an open transaction, say), so that others are left for
    /// requests that leave nothing behind. A request that will certainly hold one waits for `pending_timeout` until fewer are
    /// held; what is only known to hold when it is answered counts, and is not kept from it. Unless given, any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 1))]
    pub max_held: Option<u32>,
    /// A client that holds an upstream connection for its session's state (an open transaction, say) and asks nothing is
    /// closed after this, and the connection reset for others.
    #[serde(default = "default_hold_idle_timeout")]
    pub hold_idle_timeout: Duration,
    /// A client that has held an upstream connection for longer than this without a break is closed with its next request, or
    /// before, however much it asks; what it had is rolled back. Unless given, it may hold it for as long as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration")]
    pub hold_timeout: Option<Duration>,
    /// How long a client keeps an upstream connection for what only that knows of its last request. What it asks about
    /// that later is refused. `0s`: not at all.
    #[serde(default = "default_linger_timeout")]
    pub linger_timeout: Duration,
    /// The most requests without an answer. More are answered as overloaded at once.
    #[serde(default = "default_max_in_flight")]
    #[schemars(range(min = 1))]
    pub max_in_flight: usize,
    /// A connection must be made within this, TLS included.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: Duration,
    /// A connection without pending requests is closed after this.
    #[serde(default = "default_idle_timeout")]
    pub idle_timeout: Duration,
    /// How long an endpoint that is new or was ejected gets less than its share. `0s`: not at all.
    #[serde(default)]
    pub slow_start: Duration,
    /// Probes of connections on which nothing is received, in the protocol's own heartbeat; `off` for none.
    #[serde(default = "Keepalive::on", with = "or_off")]
    #[schemars(with = "OrOff<Keepalive>")]
    pub keepalive: Option<Keepalive>,
    /// When an endpoint is left out for a while because requests to it fail; `off` for never.
    #[serde(default = "Outlier::on", with = "or_off")]
    #[schemars(with = "OrOff<Outlier>")]
    pub outlier: Option<Outlier>,
    /// Checks of every endpoint by the protocol's own heartbeat, on a connection of their own. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Health")]
    pub health: Option<Health>,
}

impl Cluster {
    /// A cluster with the defaults of the file format.
    pub fn new(name: impl Into<String>, endpoints: Vec<Endpoint>) -> Self {
        Self {
            name: name.into(),
            endpoints,
            tls: None,
            proxy_protocol: None,
            topology: default_topology(),
            topology_options: BTreeMap::new(),
            topology_refresh: default_topology_refresh(),
            read_from: ReadFrom::default(),
            dns_refresh: default_dns_refresh(),
            balance: Balance::default(),
            connections: default_connections(),
            dedicated: false,
            max_connections: default_max_connections(),
            max_pending: default_max_pending(),
            pending_timeout: default_pending_timeout(),
            max_held: None,
            hold_idle_timeout: default_hold_idle_timeout(),
            hold_timeout: None,
            linger_timeout: default_linger_timeout(),
            max_in_flight: default_max_in_flight(),
            connect_timeout: default_connect_timeout(),
            idle_timeout: default_idle_timeout(),
            slow_start: Duration::default(),
            keepalive: Keepalive::on(),
            outlier: Outlier::on(),
            health: None,
        }
    }

    /// Whether the endpoints are those of the configuration.
    pub fn is_static(&self) -> bool {
        self.topology == STATIC
    }
}

/// One address of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "EndpointFile", into = "EndpointFile")]
pub struct Endpoint {
    /// Where it is.
    pub address: Address,
    /// Its share of the requests, relative to its neighbours'.
    pub weight: u32,
}

impl From<Address> for Endpoint {
    fn from(address: Address) -> Self {
        Self { address, weight: default_weight() }
    }
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum EndpointFile {
    /// An address, with weight 1.
    Plain(Address),
    /// An address and its weight.
    Weighted(WeightedEndpoint),
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WeightedEndpoint {
    /// `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`.
    address: Address,
    /// Its share of the requests, relative to its neighbours'.
    #[serde(default = "default_weight")]
    #[schemars(range(min = 0, max = 1_000_000))]
    weight: u32,
}

impl From<EndpointFile> for Endpoint {
    fn from(file: EndpointFile) -> Self {
        match file {
            EndpointFile::Plain(address) => address.into(),
            EndpointFile::Weighted(WeightedEndpoint { address, weight }) => {
                Self { address, weight }
            }
        }
    }
}

impl From<Endpoint> for EndpointFile {
    fn from(Endpoint { address, weight }: Endpoint) -> Self {
        if weight == default_weight() {
            Self::Plain(address)
        } else {
            Self::Weighted(WeightedEndpoint { address, weight })
        }
    }
}

/// Which endpoints of a topology requests that change nothing go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadFrom {
    /// The primary.
    #[default]
    Primary,
    /// A copy, or the primary where no copy is available. Copies may lag behind.
    PreferReplica,
    /// A copy, and nothing else.
    Replica,
    /// The primary or a copy.
    Any,
}

/// How an endpoint is picked for a request.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// One after the other, each as often as its weight says.
    Weighted,
    /// Any, by chance.
    Random,
    /// Of two picked by chance, the one with fewer requests in flight; for sessions, with fewer connections of them.
    #[default]
    LeastRequest,
    /// Of two picked by chance, the one that answers sooner under its present load.
    PeakEwma,
    /// By the hash of a header, on a ring: few keys move when endpoints change.
    RingHash,
    /// By the hash of a header, in a Maglev table: even shares, few keys move.
    Maglev,
}

impl Balance {
    /// Whether a request's hash decides.
    pub fn is_by_hash(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev)
    }

    /// The name used in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Weighted => "weighted",
            Self::Random => "random",
            Self::LeastRequest => "least_request",
            Self::PeakEwma => "peak_ewma",
            Self::RingHash => "ring_hash",
            Self::Maglev => "maglev",
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Probes of a connection on which nothing is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Keepalive {
    /// A probe is sent after this long without traffic.
    pub interval: Duration,
    /// A probe without an answer has failed after this.
    pub timeout: Duration,
    /// The connection is given up after this many failures in a row.
    #[schemars(range(min = 1))]
    pub failures: u32,
}

impl Keepalive {
    fn on() -> Option<Self> {
        Some(Self::default())
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { interval: Duration::from_secs(15), timeout: Duration::from_secs(1), failures: 3 }
    }
}

/// When an endpoint is left out for a while because requests to it fail.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Outlier {
    /// After this many failures in a row.
    #[schemars(range(min = 1))]
    pub consecutive_failures: u32,
    /// For this long the first time; longer every further time.
    pub ejection: Duration,
    /// The share of the cluster's endpoints that may be left out at a time.
    pub max_ejected_percent: Percent,
}

impl Outlier {
    fn on() -> Option<Self> {
        Some(Self::default())
    }
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            ejection: Duration::from_secs(30),
            max_ejected_percent: Percent(50.0),
        }
    }
}

/// Checks of every endpoint by the protocol's own heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// How often.
    pub interval: Duration,
    /// A check without an answer has failed after this.
    pub timeout: Duration,
    /// This many successes in a row bring an endpoint back.
    #[schemars(range(min = 1))]
    pub healthy: u32,
    /// This many failures in a row take an endpoint out.
    #[schemars(range(min = 1))]
    pub unhealthy: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            healthy: 2,
            unhealthy: 3,
        }
    }
}

/// How a setting that can be switched off is written: its fields, or `off`.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum OrOff<T> {
    /// Not at all.
    Off(Off),
    /// As set here.
    On(T),
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Off {
    Off,
}

mod or_off {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Off, OrOff};

    pub(super) fn serialize<T, S>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Serialize,
        S: Serializer,
    {
        match value {
            Some(value) => OrOff::On(value).serialize(serializer),
            None => OrOff::<T>::Off(Off::Off).serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(match OrOff::deserialize(deserializer)? {
            OrOff::On(value) => Some(value),
            OrOff::Off(_) => None,
        })
    }
}

fn default_weight() -> u32 {
    1
}

fn default_topology() -> String {
    STATIC.into()
}

fn default_topology_refresh() -> Duration {
    Duration::from_secs(10)
}

fn default_dns_refresh() -> Duration {
    Duration::from_secs(5)
}

fn default_connections() -> usize {
    1
}

fn default_max_connections() -> usize {
    1024
}

fn default_max_pending() -> usize {
    1024
}

fn default_pending_timeout() -> Duration {
    Duration::from_secs(10)
}

fn default_hold_idle_timeout() -> Duration {
    Duration::from_secs(300)
}

fn default_linger_timeout() -> Duration {
    Duration::from_secs(1)
}

fn default_max_in_flight() -> usize {
    65_536
}

fn default_connect_timeout() -> Duration {
    Duration::from_secs(1)
}

fn default_idle_timeout() -> Duration {
    Duration::from_secs(600)
}
