use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::{Duration, Matcher, Percent, Status};

/// What becomes of the requests that match. Exactly one of `cluster`, `clusters` and `reply` says where they go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["cluster"] }, { "required": ["clusters"] }, { "required": ["reply"] }]))]
pub struct Route {
    /// Its name in logs and metrics; unique within the listener.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Which requests it is for. Empty or absent: all.
    #[serde(default, rename = "match", skip_serializing_if = "Match::is_empty")]
    pub matches: Match,
    /// The cluster that requests go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub cluster: Option<String>,
    /// Several clusters, each with its share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub clusters: Vec<WeightedCluster>,
    /// The proxy answers by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reply")]
    pub reply: Option<Reply>,
    /// How long a request may take, tries and pauses included. A shorter timeout of the request's own counts. Default:
    /// the request's own only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration")]
    pub timeout: Option<Duration>,
    /// How long one try may take. Default: what is left of `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration")]
    pub try_timeout: Option<Duration>,
    /// When and how a failed request is tried again. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Retry")]
    pub retry: Option<Retry>,
    /// Changes to the request's headers.
    #[serde(default, skip_serializing_if = "HeaderEdits::is_empty")]
    pub headers: HeaderEdits,
    /// Failures made on purpose, to see how callers take them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Fault")]
    pub fault: Option<Fault>,
    /// How much traffic the route lets through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Limit")]
    pub limit: Option<Limit>,
    /// What decides the endpoint in clusters that balance by `ring_hash` or `maglev`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Hash")]
    pub hash: Option<Hash>,
    /// Another cluster that gets copies of requests. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mirror")]
    pub mirror: Option<Mirror>,
}

impl Route {
    /// A route for every request, to one cluster.
    pub fn to_cluster(name: impl Into<String>, cluster: impl Into<String>) -> Self {
        Self { name: name.into(), cluster: Some(cluster.into()), ..Self::default() }
    }

    /// Where requests go; `None` only in a configuration that was not checked.
    pub fn target(&self) -> Option<Target<'_>> {
        match (&self.cluster, self.clusters.as_slice(), &self.reply) {
            (Some(name), [], None) => Some(Target::Cluster(name)),
            (None, [], Some(reply)) => Some(Target::Reply(reply)),
            (None, clusters @ [_, ..], None) => Some(Target::Weighted(clusters)),
            _ => None,
        }
    }

    /// The names of the clusters that this route may use.
    pub fn cluster_names(&self) -> impl Iterator<Item = &str> {
        self.cluster.as_deref().into_iter().chain(self.clusters.iter().map(|c| c.name.as_str()))
    }

    /// The cluster that gets copies of its requests.
    pub fn mirror_name(&self) -> Option<&str> {
        self.mirror.as_ref().map(|mirror| mirror.cluster.as_str())
    }
}

/// Where a route's requests go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target<'a> {
    /// To one cluster.
    Cluster(&'a str),
    /// To one of several, by weight.
    Weighted(&'a [WeightedCluster]),
    /// Nowhere: the proxy answers.
    Reply(&'a Reply),
}

/// Which requests a route is for: those that meet all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// The service asked for. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Matcher")]
    pub service: Option<Matcher>,
    /// The method asked for. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Matcher")]
    pub method: Option<Matcher>,
    /// Headers that must be there and match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderMatch>,
}

impl Match {
    /// Whether it is met by every request.
    pub fn is_empty(&self) -> bool {
        self.service.is_none() && self.method.is_none() && self.headers.is_empty()
    }
}

/// A header that must be there, and what it must be: one of `exact`, `prefix` and `regex`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "HeaderMatchFile", into = "HeaderMatchFile")]
pub struct HeaderMatch {
    /// The header's name.
    pub name: String,
    /// What its value must be.
    pub value: Matcher,
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["exact"] }, { "required": ["prefix"] }, { "required": ["regex"] }]))]
struct HeaderMatchFile {
    /// The header's name.
    #[schemars(length(min = 1))]
    name: String,
    /// The whole value is this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    exact: Option<String>,
    /// The value begins with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    prefix: Option<String>,
    /// This regular expression is found in the value; anchor it with `^` and `$` to match the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "regex"))]
    regex: Option<String>,
}

impl TryFrom<HeaderMatchFile> for HeaderMatch {
    type Error = &'static str;

    fn try_from(file: HeaderMatchFile) -> Result<Self, Self::Error> {
        let value = match (file.exact, file.prefix, file.regex) {
            (Some(text), None, None) => Matcher::Exact(text),
            (None, Some(text), None) => Matcher::Prefix(text),
            (None, None, Some(text)) => Matcher::Regex(text),
            _ => return Err("write one of `exact`, `prefix` and `regex`"),
        };
        Ok(Self { name: file.name, value })
    }
}

impl From<HeaderMatch> for HeaderMatchFile {
    fn from(header: HeaderMatch) -> Self {
        let mut file = Self { name: header.name, exact: None, prefix: None, regex: None };
        match header.value {
            Matcher::Exact(text) => file.exact = Some(text),
            Matcher::Prefix(text) => file.prefix = Some(text),
            Matcher::Regex(text) => file.regex = Some(text),
        }
        file
    }
}

/// One of several clusters of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedCluster {
    /// The cluster's name.
    pub name: String,
    /// Its share of the requests, relative to the sum of the weights.
    pub weight: u32,
}

/// An answer that the proxy gives by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The answer's status.
    pub status: Status,
    /// The answer's text.
    #[serde(default)]
    pub message: String,
}

/// When and how a failed request is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// How often a request is tried again at most, after its first try.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
    /// After which failures.
    #[schemars(length(min = 1))]
    pub on: Vec<RetryOn>,
    /// Whether executing a request twice does no harm. Only then may `reset`, `timeout` and `unavailable` be retried on.
    pub idempotent: bool,
    /// How long to wait before the next try.
    pub backoff: Backoff,
    /// How much traffic retries may add.
    pub budget: Budget,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            on: vec![RetryOn::Connect],
            idempotent: false,
            backoff: Backoff::default(),
            budget: Budget::default(),
        }
    }
}

/// A failure after which a request may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// The request was certainly not sent: no connection could be made, or it was lost before.
    Connect,
    /// The connection was lost while the reply was awaited.
    Reset,
    /// A try took longer than `try_timeout`.
    Timeout,
    /// The upstream answered that it has no capacity.
    Overloaded,
    /// The upstream answered that nobody is there to do it.
    Unavailable,
}

/// How long to wait before the next try: between zero and a bound that doubles with every try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Backoff {
    /// The bound before the first retry.
    pub base: Duration,
    /// The highest bound.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(25), max: Duration::from_millis(250) }
    }
}

/// How much traffic retries may add.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Retries as a share of requests.
    pub percent: Percent,
    /// Retries that are always allowed, however little traffic there is.
    pub min_per_second: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { percent: Percent(20.0), min_per_second: 3 }
    }
}

/// Changes to a request's headers, made in the order `remove`, `set`, `add`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderEdits {
    /// Headers to set, whether they are there or not.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Headers to set if absent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, String>,
    /// Headers to remove.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

impl HeaderEdits {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// Failures made on purpose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fault {
    /// Requests that are held back for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Delay")]
    pub delay: Option<Delay>,
    /// Requests that are answered with an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Abort")]
    pub abort: Option<Abort>,
}

/// Holds requests back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// Which share of the requests.
    pub percent: Percent,
    /// For how long.
    pub duration: Duration,
}

/// Answers requests with an error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Abort {
    /// Which share of the requests.
    pub percent: Percent,
    /// The error's status.
    pub status: Status,
}

/// How much traffic a route lets through. What is over it is answered as overloaded at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limit {
    /// Requests per second on average, over all workers. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "f64", range(min = 0.001))]
    pub requests_per_second: Option<f64>,
    /// How many requests may come at once within that rate. Default: one second's worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 1))]
    pub burst: Option<u32>,
    /// How many requests may be in flight at a time. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 1))]
    pub concurrency: Option<u32>,
    /// Count separately for every value of this header. Default: one count for the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    pub by_header: Option<String>,
}

/// Another cluster that gets copies of requests. Clients hear nothing of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The cluster's name.
    #[schemars(length(min = 1))]
    pub cluster: String,
    /// Which share of the requests is copied. Default: all.
    #[serde(default = "all")]
    pub percent: Percent,
    /// Which requests are copied, where the protocol tells them apart. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "MirrorOnly")]
    pub only: Option<MirrorOnly>,
    /// Whether the answers of both clusters are compared, byte by byte or as the protocol says, and counted as equal or
    /// different.
    #[serde(default)]
    pub compare: bool,
}

/// Which requests are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MirrorOnly {
    /// Those that are known to change nothing.
    Reads,
    /// All others.
    Writes,
}

fn all() -> Percent {
    Percent::ALL
}

/// What decides the endpoint in clusters that balance by hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hash {
    /// The header whose value is hashed.
    #[schemars(length(min = 1))]
    pub header: String,
}
