use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use wiremesh::{Reason, Status};

use super::{Histogram, Latency, OTHER};

/// A count that **one** thread adds to and any thread reads: a plain load and store, no locked instruction. Two writers
/// would lose counts.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One worker's counts of one method's requests, as clients see them.
#[derive(Debug, Default)]
pub struct RequestSeries {
    pub(super) statuses: [Counter; Status::ALL.len()],
    pub(super) reasons: [Counter; Reason::ALL.len()],
    pub(super) latency: Histogram,
    pub(super) bytes_in: Counter,
    pub(super) bytes_out: Counter,
    /// What went wrong, where the protocol has a name for it; there is none until something has.
    pub(super) errors: OnceLock<Box<ErrorSeries>>,
    /// Tries after the first.
    pub retries: Counter,
    /// Those that took longer than the listener's slow log allows.
    pub slow: Counter,
}

impl RequestSeries {
    /// Counts a request that is over: answered, or one-way and sent. `reason` where the proxy itself answered; sizes on
    /// the wire.
    pub fn record(
        &self,
        status: Status,
        reason: Option<Reason>,
        latency: Latency,
        bytes_in: usize,
        bytes_out: usize,
    ) {
        self.statuses[status as usize].inc();
        if let Some(reason) = reason {
            self.reasons[reason as usize].inc();
        }
        self.latency.record(latency);
        self.bytes_in.add(bytes_in as u64);
        self.bytes_out.add(bytes_out as u64);
    }

    /// Counts what a request that is over had for an answer, where that was an error: its
    /// [class](wiremesh::Frame::error_class).
    pub fn count_error(&self, class: &'static str) {
        self.errors.get_or_init(Box::default).add(class, 1);
    }
}

/// How many classes of errors a method has at most; further ones are counted as [`OTHER`].
const CLASSES: usize = 24;

/// Counts by class of error, in the order in which the classes came up.
#[derive(Debug, Default)]
pub(super) struct ErrorSeries {
    classes: [(OnceLock<&'static str>, Counter); CLASSES],
    others: Counter,
}

impl ErrorSeries {
    pub(super) fn add(&self, class: &'static str, n: u64) {
        let known = self.classes.iter().find(|(name, _)| *name.get_or_init(|| class) == class);
        known.map_or(&self.others, |(_, counter)| counter).add(n);
    }

    /// The classes that there were, with their counts.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let named = self.classes.iter().filter_map(|(name, n)| Some((*name.get()?, n.get())));
        named.chain([(OTHER, self.others.get())]).filter(|(_, n)| *n > 0)
    }
}

/// One worker's counts of what it did with one endpoint.
///
/// Every request that was [`sent`](Self::sent) ends in exactly one of [`answered`](Self::answered),
/// [`failed`](Self::failed) and [`abandoned`](Self::abandoned); what has not is in flight.
#[derive(Debug, Default)]
pub struct EndpointSeries {
    pub(super) sent: Counter,
    pub(super) statuses: [Counter; Status::ALL.len()],
    pub(super) reasons: [Counter; Reason::ALL.len()],
    pub(super) abandoned: Counter,
    pub(super) latency: Histogram,
    /// Connections that were established.
    pub connections_opened: Counter,
    /// Established connections that are closed again.
    pub connections_closed: Counter,
    /// Connections that could not be established.
    pub connect_failures: Counter,
    /// Those of them that failed of TLS.
    pub tls_failures: Counter,
    /// Times that outlier detection took the endpoint out.
    pub ejections: Counter,
    /// Heartbeats sent on idle connections.
    pub heartbeats_sent: Counter,
    /// Heartbeats that were not answered in time.
    pub heartbeats_failed: Counter,
    /// Replies to requests that had been given up.
    pub late_replies: Counter,
    /// Replies to nothing that was asked.
    pub unknown_replies: Counter,
    /// Bytes written to the endpoint.
    pub bytes_sent: Counter,
    /// Bytes read from the endpoint.
    pub bytes_received: Counter,
}

impl EndpointSeries {
    /// Counts a request (or a retry) handed to a connection.
    pub fn sent(&self) {
        self.sent.inc();
    }

    /// Counts a reply.
    pub fn answered(&self, status: Status, latency: Latency) {
        self.statuses[status as usize].inc();
        self.latency.record(latency);
    }

    /// Counts a request that the proxy gave up.
    pub fn failed(&self, reason: Reason) {
        self.reasons[reason as usize].inc();
    }

    /// Counts a request whose outcome nobody waits for: one-way, or the client has gone.
    pub fn abandoned(&self) {
        self.abandoned.inc();
    }
}

/// One thread's counts of the copies of one route's requests.
#[derive(Debug, Default)]
pub struct MirrorSeries {
    /// Copies that were answered, or sent where there is no answer.
    pub answered: Counter,
    /// Copies that were sent and not answered.
    pub failed: Counter,
    /// Copies that were not sent.
    pub dropped: Counter,
    /// Answers that were those of the route's own cluster.
    pub equal: Counter,
    /// Answers that were others.
    pub different: Counter,
    /// Copies that were sent to be compared, and had an error for an answer where the original had none, or no answer at all.
    /// In protocols with sessions, like the next.
    pub failed_to_compare: Counter,
    /// Those that were not sent, or whose original had no whole answer.
    pub not_compared: Counter,
}

/// One thread's counts of the requests that one rule of a listener's firewall was for.
#[derive(Debug, Default)]
pub struct FirewallSeries {
    /// Requests that passed.
    pub allowed: Counter,
    /// Requests that were answered by an error.
    pub denied: Counter,
    /// Requests that passed, and were noticed.
    pub detected: Counter,
    /// Requests beyond the rule's limit.
    pub limited: Counter,
}

/// One thread's counts of one listener's connections.
#[derive(Debug, Default)]
pub struct ListenerSeries {
    /// Connections accepted and kept.
    pub connections_accepted: Counter,
    /// Accepted connections that are closed again.
    pub connections_closed: Counter,
    /// Connections closed at once because the client's address is not allowed.
    pub refused_denied: Counter,
    /// Connections closed at once because a PROXY header would be needed, and not be believed.
    pub refused_untrusted: Counter,
    /// Connections closed at once because there are `max_connections` already.
    pub refused_full: Counter,
    /// Bytes read from clients.
    pub bytes_received: Counter,
    /// Bytes written to clients.
    pub bytes_sent: Counter,
    /// Connections closed because what the client sent is not the protocol.
    pub decode_errors: Counter,
    /// Connections closed because their first bytes are none of the listener's protocols.
    pub undetected: Counter,
    /// Connections closed because they do not begin with a PROXY header that can be used.
    pub proxy_header_errors: Counter,
    /// TLS handshakes that succeeded.
    pub tls_handshakes: Counter,
    /// TLS handshakes that failed, or took too long.
    pub tls_failures: Counter,
    /// Connections closed by `idle_timeout`.
    pub idle_timeouts: Counter,
    /// Connections closed by `hold_idle_timeout`.
    pub hold_timeouts: Counter,
    /// Connections closed by `frame_timeout`.
    pub frame_timeouts: Counter,
    /// Connections closed by `stall_timeout`.
    pub stall_timeouts: Counter,
    /// Requests whose client left before the reply.
    pub abandoned_requests: Counter,
    /// Clients' heartbeats, answered on the spot.
    pub heartbeats: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arrays over statuses and reasons are indexed by discriminant.
    #[test]
    fn all_lists_every_variant_at_its_discriminant() {
        Status::ALL.into_iter().enumerate().for_each(|(i, s)| assert_eq!(s as usize, i));
        Reason::ALL.into_iter().enumerate().for_each(|(i, r)| assert_eq!(r as usize, i));
    }
}
