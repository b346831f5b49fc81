use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Digests, Firewall, ListenerProxyProtocol, ListenerTls, Route, Sample, SlowLog, User};
use crate::config::value::{Address, ByteSize, Cidr, Duration};

/// A place where clients connect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Its name in logs and metrics; unique among listeners.
    #[schemars(length(min = 1))]
    pub name: String,
    /// `IP:PORT`, `[IPV6]:PORT` or `unix:PATH`.
    pub address: Address,
    /// What is spoken here; `wiremesh protocols` lists the names. Several are told apart by a connection's first bytes,
    /// in this order.
    #[schemars(length(min = 1))]
    pub protocols: Vec<String>,
    /// Options of the protocols: protocol name, then option name, then value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, BTreeMap<String, String>>,
    /// Headers of the PROXY protocol, in which a load balancer tells whose a connection is. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ListenerProxyProtocol")]
    pub proxy_protocol: Option<ListenerProxyProtocol>,
    /// TLS with its clients. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ListenerTls")]
    pub tls: Option<ListenerTls>,
    /// Who may log in, with protocols whose clients the proxy itself asks who they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<User>,
    /// How large a message may be.
    #[serde(default)]
    pub limits: Limits,
    /// The address blocks from which clients may connect; where a PROXY header tells who they are, that is what counts.
    /// Empty: everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Cidr>,
    /// The address blocks from which clients may not connect, even if allowed above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Cidr>,
    /// The most client connections at a time. More are closed at once.
    #[serde(default = "default_max_connections")]
    #[schemars(range(min = 1))]
    pub max_connections: usize,
    /// The most unanswered requests of one client connection. Past that it is not read from until a reply has left.
    #[serde(default = "default_max_in_flight")]
    #[schemars(range(min = 1))]
    pub max_in_flight: usize,
    /// A client connection without traffic and without pending requests is closed after this.
    #[serde(default = "default_idle_timeout")]
    pub idle_timeout: Duration,
    /// A message that has begun must be complete after this, and TLS must have begun. So must a PROXY header that is
    /// required have come.
    #[serde(default = "default_frame_timeout")]
    pub frame_timeout: Duration,
    /// A client that takes none of its replies for this long is disconnected.
    #[serde(default = "default_stall_timeout")]
    pub stall_timeout: Duration,
    /// Keeps the requests that took long for the admin page `/slow`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SlowLog")]
    pub slow_log: Option<SlowLog>,
    /// Looks at some of the requests for the admin page `/keys`: what is asked for most, and what is largest. Default:
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Sample")]
    pub sample: Option<Sample>,
    /// Keeps statistics by digest (SQL without its values, say) for the admin page `/digests`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Digests")]
    pub digests: Option<Digests>,
    /// Which requests pass, by who sends them and what they have executed. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Firewall")]
    pub firewall: Option<Firewall>,
    /// Where requests go: the first route that matches.
    #[schemars(length(min = 1))]
    pub routes: Vec<Route>,
}

impl Listener {
    /// A listener with the defaults of the file format.
    pub fn new(
        name: impl Into<String>,
        address: Address,
        protocols: Vec<String>,
        routes: Vec<Route>,
    ) -> Self {
        Self {
            name: name.into(),
            address,
            protocols,
            options: BTreeMap::new(),
            proxy_protocol: None,
            tls: None,
            users: Vec::new(),
            limits: Limits::default(),
            allow: Vec::new(),
            deny: Vec::new(),
            max_connections: default_max_connections(),
            max_in_flight: default_max_in_flight(),
            idle_timeout: default_idle_timeout(),
            frame_timeout: default_frame_timeout(),
            stall_timeout: default_stall_timeout(),
            slow_log: None,
            sample: None,
            digests: None,
            firewall: None,
            routes,
        }
    }
}

/// How large a message may be, in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The longest message, all parts included.
    pub max_frame: ByteSize,
    /// The longest header block.
    pub max_header: ByteSize,
}

impl Limits {
    /// The limits that decoders are given.
    pub fn to_decoder(self) -> wiremesh::Limits {
        wiremesh::Limits {
            max_frame: self.max_frame.bytes(),
            max_header: self.max_header.bytes(),
            ..wiremesh::Limits::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_frame: ByteSize::mib(32), max_header: ByteSize::kib(64) }
    }
}

fn default_max_connections() -> usize {
    10_000
}

fn default_max_in_flight() -> usize {
    1024
}

fn default_idle_timeout() -> Duration {
    Duration::from_secs(300)
}

fn default_frame_timeout() -> Duration {
    Duration::from_secs(10)
}

fn default_stall_timeout() -> Duration {
    Duration::from_secs(10)
}
