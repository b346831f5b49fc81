use std::{borrow::Cow, fmt};

use crate::{Blame, Retry, Scope, Side};

/// What became of a request, in one vocabulary for all protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// It was done.
    Ok,
    /// It was executed, and its answer is an error of the application's own.
    AppError,
    /// The request was not understood.
    BadRequest,
    /// Who the caller is could not be established.
    Unauthenticated,
    /// The caller may not do this.
    Denied,
    /// No such service, method or object.
    NotFound,
    /// Not answered in time.
    Timeout,
    /// Refused for lack of capacity.
    Overloaded,
    /// Nobody is there to do it.
    Unavailable,
    /// The answering side failed.
    Internal,
    /// Something else.
    Unknown,
}

impl Status {
    /// Every status, in order.
    pub const ALL: [Self; 11] = [
        Self::Ok,
        Self::AppError,
        Self::BadRequest,
        Self::Unauthenticated,
        Self::Denied,
        Self::NotFound,
        Self::Timeout,
        Self::Overloaded,
        Self::Unavailable,
        Self::Internal,
        Self::Unknown,
    ];

    /// The name used in configuration, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::AppError => "app_error",
            Self::BadRequest => "bad_request",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
            Self::Unknown => "unknown",
        }
    }

    /// The status of this name, the inverse of [`as_str`](Self::as_str).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether the upstream, rather than the request, is to be held responsible: what outlier detection counts.
    pub fn is_upstream_fault(self) -> bool {
        matches!(
            self,
            Self::Timeout | Self::Overloaded | Self::Unavailable | Self::Internal | Self::Unknown
        )
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why the proxy answered in the upstream's place, or gave a request up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No route matched.
    NoRoute,
    /// The route's cluster has no endpoint that may be used.
    NoEndpoint,
    /// No connection to the endpoint could be made.
    ConnectFailed,
    /// The deadline passed.
    Timeout,
    /// A bound on connections, pending or in-flight requests is reached.
    Overloaded,
    /// A rate or concurrency limit of the route is reached.
    RateLimited,
    /// The upstream connection was lost while the reply was awaited.
    UpstreamReset,
    /// The upstream's reply could not be decoded.
    BadReply,
    /// The proxy is shutting down.
    Draining,
    /// The caller may not use the listener or route.
    Denied,
    /// A configured fault was injected.
    Fault,
    /// Another client has had it ended.
    Cancelled,
    /// The proxy answers by itself, as its route or the protocol says.
    Direct,
    /// The request itself cannot be served by this protocol's proxy.
    BadRequest,
}

impl Reason {
    /// Every reason, in order.
    pub const ALL: [Self; 14] = [
        Self::NoRoute,
        Self::NoEndpoint,
        Self::ConnectFailed,
        Self::Timeout,
        Self::Overloaded,
        Self::RateLimited,
        Self::UpstreamReset,
        Self::BadReply,
        Self::Draining,
        Self::Denied,
        Self::Fault,
        Self::Cancelled,
        Self::Direct,
        Self::BadRequest,
    ];

    /// The short flag in logs and metrics. Where Envoy has a flag for the same event, it is Envoy's.
    pub fn flag(self) -> &'static str {
        match self {
            Self::NoRoute => "NR",
            Self::NoEndpoint => "UH",
            Self::ConnectFailed => "UF",
            Self::Timeout => "UT",
            Self::Overloaded => "UO",
            Self::RateLimited => "RL",
            Self::UpstreamReset => "UC",
            Self::BadReply => "UPE",
            Self::Draining => "DR",
            Self::Denied => "DN",
            Self::Fault => "FI",
            Self::Cancelled => "CA",
            Self::Direct => "DI",
            Self::BadRequest => "DPE",
        }
    }

    /// The status that the client is told.
    pub fn status(self) -> Status {
        match self {
            Self::NoRoute => Status::NotFound,
            Self::NoEndpoint
            | Self::ConnectFailed
            | Self::UpstreamReset
            | Self::Draining
            | Self::Fault => Status::Unavailable,
            Self::Timeout => Status::Timeout,
            Self::Overloaded | Self::RateLimited => Status::Overloaded,
            Self::BadReply => Status::Internal,
            Self::Denied => Status::Denied,
            Self::Cancelled => Status::AppError,
            Self::Direct => Status::Ok,
            Self::BadRequest => Status::BadRequest,
        }
    }

    /// Side, scope and retry of this reason.
    pub fn blame(self) -> Blame {
        let (side, scope, retry) = match self {
            Self::NoRoute | Self::Denied | Self::Cancelled | Self::BadRequest => {
                (Side::Client, Scope::Request, Retry::Never)
            }
            Self::RateLimited | Self::Fault | Self::Direct => {
                (Side::Proxy, Scope::Request, Retry::Never)
            }
            Self::Draining => (Side::Proxy, Scope::Request, Retry::IfUnsent),
            Self::NoEndpoint => (Side::Upstream, Scope::Request, Retry::IfUnsent),
            Self::ConnectFailed => (Side::Upstream, Scope::Endpoint, Retry::IfUnsent),
            Self::Overloaded => (Side::Proxy, Scope::Endpoint, Retry::IfUnsent),
            Self::Timeout => (Side::Upstream, Scope::Request, Retry::IfIdempotent),
            Self::UpstreamReset | Self::BadReply => {
                (Side::Upstream, Scope::Connection, Retry::IfIdempotent)
            }
        };
        Blame { side, scope, retry }
    }
}

/// What the proxy has to say on its own behalf: made into a frame by [`Protocol::reply`](crate::Protocol::reply).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub reason: Reason,
    /// What the client is told; usually the reason's own.
    pub status: Status,
    /// One sentence for the person who reads the client's log.
    pub message: Cow<'static, str>,
}

impl Failure {
    /// A failure with the reason's own status.
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, status: reason.status(), message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wiremesh {}: {}", self.reason.flag(), self.message)
    }
}
