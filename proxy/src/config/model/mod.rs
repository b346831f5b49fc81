//! The configuration file's structure. Field docs are what editors show: they become the JSON Schema.

mod cluster;
mod firewall;
mod listener;
mod proxy_protocol;
mod route;
mod tls;
mod user;
mod watch;

use std::net::SocketAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub use cluster::{Balance, Cluster, Endpoint, Health, Keepalive, Outlier, ReadFrom};
pub use firewall::{Firewall, FirewallFile, FirewallRule, Judgement};
pub use listener::{Limits, Listener};
pub use proxy_protocol::{ListenerProxyProtocol, ProxyVersion};
pub use route::{
    Abort, Backoff, Budget, Delay, Fault, Hash, HeaderEdits, HeaderMatch, Limit, Match, Mirror,
    MirrorOnly, Reply, Retry, RetryOn, Route, Target, WeightedCluster,
};
pub use tls::{ClientCertificate, ClusterTls, ListenerTls};
pub use user::{UpstreamUser, User};
pub use watch::{Digests, Sample, SlowLog};

use super::value::{Duration, LogPath};

/// A wiremesh configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How many worker threads carry traffic. Default: the cores that this process may use (a CPU quota counts).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "usize", range(min = 1, max = 1024))]
    pub workers: Option<usize>,
    /// Where the admin pages are served (`/ready`, `/metrics`, `/config`, `/clusters`, ...), such as `127.0.0.1:9901`.
    /// Nobody is authenticated there: keep it on loopback. Default: not served.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "socket_schema")]
    pub admin: Option<SocketAddr>,
    /// What the proxy logs of itself: `error`, `warn`, `info`, `debug`, `trace`, or per module such as
    /// `info,wiremesh_proxy::cluster=debug`.
    pub log: String,
    /// How long requests in flight may take to finish when the proxy is told to stop.
    pub drain_timeout: Duration,
    /// One line per request. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AccessLog")]
    pub access_log: Option<AccessLog>,
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// Where requests go.
    pub clusters: Vec<Cluster>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: None,
            admin: None,
            log: "info".into(),
            drain_timeout: Duration::from_secs(10),
            access_log: None,
            listeners: Vec::new(),
            clusters: Vec::new(),
        }
    }
}

/// The access log: one line per request, written off the data path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLog {
    /// `stdout`, `stderr`, or a file's path.
    pub path: LogPath,
    /// `text` or `json`.
    pub format: LogFormat,
    /// What a line tells, in this order. Default: everything.
    #[schemars(length(min = 1))]
    pub fields: Vec<LogField>,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { path: LogPath::Stdout, format: LogFormat::Text, fields: LogField::ALL.to_vec() }
    }
}

/// How an access log's line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Values separated by spaces.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// One column of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogField {
    /// When the request had been answered, RFC 3339 in UTC.
    Time,
    /// The listener's name.
    Listener,
    /// The route's name.
    Route,
    /// The cluster's name.
    Cluster,
    /// The address of the endpoint that answered.
    Endpoint,
    /// The service asked for.
    Service,
    /// The method asked for.
    Method,
    /// The status of the answer, in the neutral vocabulary.
    Status,
    /// The short flag of the reason, where the proxy itself answered.
    Flag,
    /// From the request's last byte read to the reply's hand-over to the client, in microseconds.
    DurationUs,
    /// The request's size on the wire, in bytes.
    BytesIn,
    /// The reply's size on the wire, in bytes.
    BytesOut,
    /// The id of the trace that the request belongs to.
    TraceId,
    /// The client's address.
    Client,
}

impl LogField {
    /// Every field, in the order of the default line.
    pub const ALL: [Self; 14] = [
        Self::Time,
        Self::Listener,
        Self::Route,
        Self::Cluster,
        Self::Endpoint,
        Self::Service,
        Self::Method,
        Self::Status,
        Self::Flag,
        Self::DurationUs,
        Self::BytesIn,
        Self::BytesOut,
        Self::TraceId,
        Self::Client,
    ];

    /// The name used in configuration and as the JSON key.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Listener => "listener",
            Self::Route => "route",
            Self::Cluster => "cluster",
            Self::Endpoint => "endpoint",
            Self::Service => "service",
            Self::Method => "method",
            Self::Status => "status",
            Self::Flag => "flag",
            Self::DurationUs => "duration_us",
            Self::BytesIn => "bytes_in",
            Self::BytesOut => "bytes_out",
            Self::TraceId => "trace_id",
            Self::Client => "client",
        }
    }
}

fn socket_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "wiremesh-socket" })
}
