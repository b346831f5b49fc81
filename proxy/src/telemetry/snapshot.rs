use std::{collections::BTreeMap, time::Instant};

use wiremesh::{Reason, Status};

use super::{
    Counter, Distribution, EndpointSeries, FirewallSeries, ListenerSeries, MirrorSeries,
    RequestSeries, metrics::RequestLabels,
};

/// All counts at one moment. Two of them, subtracted, are what happened between.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Instant,
    pub(super) requests: BTreeMap<RequestLabels, RequestTotals>,
    pub(super) endpoints: BTreeMap<(String, String), EndpointTotals>,
    pub(super) listeners: BTreeMap<String, ListenerTotals>,
    /// By listener and rule.
    pub(super) firewalls: BTreeMap<[String; 2], FirewallTotals>,
    /// By listener, route and cluster.
    pub(super) mirrors: BTreeMap<[String; 3], MirrorTotals>,
}

/// Requests, errors and latencies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests; for an endpoint every try counts.
    pub requests: u64,
    /// Those among them that failed. What the application itself answers as its error is not one of them.
    pub errors: u64,
    /// How long answers took.
    pub latency: Distribution,
}

impl Totals {
    /// What came since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            latency: self.latency.since(&earlier.latency),
        }
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.latency += &other.latency;
    }
}

/// The totals of one method over all listeners and clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodTotals {
    /// The service's name.
    pub service: String,
    /// The method's name.
    pub method: String,
    /// Its requests.
    pub totals: Totals,
    /// Tries after the first.
    pub retries: u64,
}

/// The counts of one method's requests from one listener to one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestTotals {
    pub(super) statuses: [u64; Status::ALL.len()],
    pub(super) reasons: [u64; Reason::ALL.len()],
    pub(super) latency: Distribution,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) retries: u64,
    pub(super) slow: u64,
    pub(super) errors: BTreeMap<&'static str, u64>,
}

/// The counts of one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointTotals {
    /// The cluster's name.
    pub cluster: String,
    /// The endpoint's address.
    pub endpoint: String,
    /// Requests sent, failures (statuses that are the upstream's fault, and requests the proxy gave up), latencies.
    pub totals: Totals,
    /// Requests that have no outcome yet.
    pub in_flight: u64,
    pub(super) statuses: [u64; Status::ALL.len()],
    pub(super) reasons: [u64; Reason::ALL.len()],
    pub(super) abandoned: u64,
    /// Connections that were established.
    pub connections_opened: u64,
    /// Established connections that are closed again.
    pub connections_closed: u64,
    /// Connections that could not be established.
    pub connect_failures: u64,
    /// Those of them that failed of TLS.
    pub tls_failures: u64,
    /// Times that outlier detection took the endpoint out.
    pub ejections: u64,
    /// Heartbeats sent.
    pub heartbeats_sent: u64,
    /// Heartbeats that were not answered in time.
    pub heartbeats_failed: u64,
    /// Replies to requests that had been given up.
    pub late_replies: u64,
    /// Replies to nothing that was asked.
    pub unknown_replies: u64,
    /// Bytes written.
    pub bytes_sent: u64,
    /// Bytes read.
    pub bytes_received: u64,
}

impl EndpointTotals {
    /// Connections that are open.
    pub fn connections_active(&self) -> u64 {
        self.connections_opened.saturating_sub(self.connections_closed)
    }
}

/// The counts of one mirror; the fields are those of [`MirrorSeries`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct MirrorTotals {
    pub answered: u64,
    pub failed: u64,
    pub dropped: u64,
    pub equal: u64,
    pub different: u64,
    pub failed_to_compare: u64,
    pub not_compared: u64,
}

/// The counts of one rule of a firewall; the fields are those of [`FirewallSeries`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[allow(missing_docs)]
pub struct FirewallTotals {
    pub allowed: u64,
    pub denied: u64,
    pub detected: u64,
    pub limited: u64,
}

/// The counts of one listener; the fields are those of [`ListenerSeries`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ListenerTotals {
    pub connections_accepted: u64,
    pub connections_closed: u64,
    pub refused_denied: u64,
    pub refused_untrusted: u64,
    pub refused_full: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub decode_errors: u64,
    pub undetected: u64,
    pub proxy_header_errors: u64,
    pub tls_handshakes: u64,
    pub tls_failures: u64,
    pub idle_timeouts: u64,
    pub hold_timeouts: u64,
    pub frame_timeouts: u64,
    pub stall_timeouts: u64,
    pub abandoned_requests: u64,
    pub heartbeats: u64,
}

impl ListenerTotals {
    /// Connections that are open.
    pub fn connections_active(&self) -> u64 {
        self.connections_accepted.saturating_sub(self.connections_closed)
    }
}

impl Snapshot {
    pub(super) fn new(at: Instant) -> Self {
        Self {
            at,
            requests: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            listeners: BTreeMap::new(),
            firewalls: BTreeMap::new(),
            mirrors: BTreeMap::new(),
        }
    }

    /// Per method, sorted by name.
    pub fn methods(&self) -> Vec<MethodTotals> {
        let mut methods: BTreeMap<(&str, &str), (Totals, u64)> = BTreeMap::new();
        for (labels, requests) in &self.requests {
            let (totals, retries) = methods.entry((&labels.service, &labels.method)).or_default();
            totals.add(&requests.totals());
            *retries += requests.retries;
        }
        methods
            .into_iter()
            .map(|((service, method), (totals, retries))| MethodTotals {
                service: service.to_owned(),
                method: method.to_owned(),
                totals,
                retries,
            })
            .collect()
    }

    /// Per endpoint, sorted by cluster and address.
    pub fn endpoints(&self) -> Vec<EndpointTotals> {
        self.endpoints.values().cloned().collect()
    }

    /// One endpoint.
    pub fn endpoint(&self, cluster: &str, endpoint: &str) -> Option<&EndpointTotals> {
        self.endpoints.get(&(cluster.to_owned(), endpoint.to_owned()))
    }

    /// What the rule of this name of a listener's firewall has decided.
    pub fn firewall(&self, listener: &str, rule: &str) -> FirewallTotals {
        let key = [listener, rule].map(str::to_owned);
        self.firewalls.get(&key).copied().unwrap_or_default()
    }

    /// One listener.
    pub fn listener(&self, listener: &str) -> Option<&ListenerTotals> {
        self.listeners.get(listener)
    }

    /// The copies of one route's requests.
    pub fn mirror(&self, listener: &str, route: &str) -> Option<&MirrorTotals> {
        let mut mirrors = self.mirrors.iter();
        mirrors.find(|([l, r, _], _)| l == listener && r == route).map(|(_, totals)| totals)
    }

    /// All requests, as clients see them.
    pub fn total(&self) -> Totals {
        let mut total = Totals::default();
        self.requests.values().for_each(|requests| total.add(&requests.totals()));
        total
    }

    /// Tries after the first, of all requests.
    pub fn retries(&self) -> u64 {
        self.requests.values().map(|requests| requests.retries).sum()
    }

    /// How many requests ended for this reason, as clients see them.
    pub fn reason(&self, reason: Reason) -> u64 {
        self.requests.values().map(|requests| requests.reasons[reason as usize]).sum()
    }

    /// How many requests ended with this status, as clients see them.
    pub fn status(&self, status: Status) -> u64 {
        self.requests.values().map(|requests| requests.statuses[status as usize]).sum()
    }

    pub(super) fn add_requests(&mut self, labels: &RequestLabels, series: &RequestSeries) {
        let totals = match self.requests.get_mut(labels) {
            Some(totals) => totals,
            None => self.requests.entry(labels.clone()).or_default(),
        };
        add_all(&mut totals.statuses, &series.statuses);
        add_all(&mut totals.reasons, &series.reasons);
        totals.latency += &series.latency;
        totals.bytes_in += series.bytes_in.get();
        totals.bytes_out += series.bytes_out.get();
        totals.retries += series.retries.get();
        totals.slow += series.slow.get();
        for (class, n) in series.errors.get().into_iter().flat_map(|errors| errors.counts()) {
            *totals.errors.entry(class).or_default() += n;
        }
    }

    pub(super) fn add_endpoint(&mut self, key: &(String, String), series: &EndpointSeries) {
        let totals = self.endpoints.entry(key.clone()).or_insert_with(|| EndpointTotals {
            cluster: key.0.clone(),
            endpoint: key.1.clone(),
            ..EndpointTotals::default()
        });
        add_all(&mut totals.statuses, &series.statuses);
        add_all(&mut totals.reasons, &series.reasons);
        totals.abandoned += series.abandoned.get();
        totals.totals.requests += series.sent.get();
        totals.totals.latency += &series.latency;
        totals.connections_opened += series.connections_opened.get();
        totals.connections_closed += series.connections_closed.get();
        totals.connect_failures += series.connect_failures.get();
        totals.tls_failures += series.tls_failures.get();
        totals.ejections += series.ejections.get();
        totals.heartbeats_sent += series.heartbeats_sent.get();
        totals.heartbeats_failed += series.heartbeats_failed.get();
        totals.late_replies += series.late_replies.get();
        totals.unknown_replies += series.unknown_replies.get();
        totals.bytes_sent += series.bytes_sent.get();
        totals.bytes_received += series.bytes_received.get();

        let given_up: u64 = totals.reasons.iter().sum();
        let answered: u64 = totals.statuses.iter().sum();
        let faults = Status::ALL.into_iter().filter(|status| status.is_upstream_fault());
        let faults: u64 = faults.map(|status| totals.statuses[status as usize]).sum();
        totals.totals.errors = given_up + faults;
        let ended = given_up + answered + totals.abandoned;
        totals.in_flight = totals.totals.requests.saturating_sub(ended);
    }

    pub(super) fn add_firewall(&mut self, key: &[String; 2], series: &FirewallSeries) {
        let totals = self.firewalls.entry(key.clone()).or_default();
        totals.allowed += series.allowed.get();
        totals.denied += series.denied.get();
        totals.detected += series.detected.get();
        totals.limited += series.limited.get();
    }

    pub(super) fn add_mirror(&mut self, key: &[String; 3], series: &MirrorSeries) {
        let totals = self.mirrors.entry(key.clone()).or_default();
        totals.answered += series.answered.get();
        totals.failed += series.failed.get();
        totals.dropped += series.dropped.get();
        totals.equal += series.equal.get();
        totals.different += series.different.get();
        totals.failed_to_compare += series.failed_to_compare.get();
        totals.not_compared += series.not_compared.get();
    }

    pub(super) fn add_listener(&mut self, name: &str, series: &ListenerSeries) {
        let totals = self.listeners.entry(name.to_owned()).or_default();
        totals.connections_accepted += series.connections_accepted.get();
        totals.connections_closed += series.connections_closed.get();
        totals.refused_denied += series.refused_denied.get();
        totals.refused_untrusted += series.refused_untrusted.get();
        totals.refused_full += series.refused_full.get();
        totals.bytes_received += series.bytes_received.get();
        totals.bytes_sent += series.bytes_sent.get();
        totals.decode_errors += series.decode_errors.get();
        totals.undetected += series.undetected.get();
        totals.proxy_header_errors += series.proxy_header_errors.get();
        totals.tls_handshakes += series.tls_handshakes.get();
        totals.tls_failures += series.tls_failures.get();
        totals.idle_timeouts += series.idle_timeouts.get();
        totals.hold_timeouts += series.hold_timeouts.get();
        totals.frame_timeouts += series.frame_timeouts.get();
        totals.stall_timeouts += series.stall_timeouts.get();
        totals.abandoned_requests += series.abandoned_requests.get();
        totals.heartbeats += series.heartbeats.get();
    }
}

impl RequestTotals {
    fn totals(&self) -> Totals {
        let requests = self.statuses.iter().sum();
        let fine = self.statuses[Status::Ok as usize] + self.statuses[Status::AppError as usize];
        Totals { requests, errors: requests - fine, latency: self.latency.clone() }
    }
}

fn add_all(sums: &mut [u64], counters: &[Counter]) {
    sums.iter_mut().zip(counters).for_each(|(sum, counter)| *sum += counter.get());
}
