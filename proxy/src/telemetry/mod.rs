//! What the proxy tells about itself: metrics, the access log, and its own log.
//!
//! Workers never share what they write. Each records into series of its own, which [`Metrics`] adds up when somebody
//! asks; each formats access log lines into a buffer of its own, which one writer thread takes over when it is full.

pub mod access_log;
mod exposition;
pub mod histogram;
pub mod log;
mod metrics;
mod process;
mod series;
mod snapshot;
pub mod watch;

pub(crate) use access_log::rfc3339;
pub use access_log::{AccessLog, Record, WorkerLog};
pub use exposition::Format;
pub use histogram::{Distribution, Histogram, Latency};
pub use log::LogControl;
pub use metrics::{MAX_NAMES, Metrics, OTHER, OwnSeries, Requests, WorkerMetrics};
pub use series::{
    Counter, EndpointSeries, FirewallSeries, ListenerSeries, MirrorSeries, RequestSeries,
};
pub use snapshot::{
    EndpointTotals, FirewallTotals, ListenerTotals, MethodTotals, MirrorTotals, RequestTotals,
    Snapshot, Totals,
};
