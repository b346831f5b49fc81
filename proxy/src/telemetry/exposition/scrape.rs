use std::{fmt, sync::atomic::Ordering::Relaxed, time::UNIX_EPOCH};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Unit};
use wiremesh::{Reason, Status};

use super::Families;
use crate::{
    cluster::{BoundStatus, ClusterStatus, EndpointState, Occupied},
    telemetry::{
        EndpointTotals, ListenerTotals, Metrics, MirrorTotals, RequestTotals, Snapshot,
        metrics::RequestLabels, process::Process,
    },
};

/// All values at one moment.
#[derive(Debug)]
pub(super) struct Scrape {
    snapshot: Snapshot,
    clusters: Vec<ClusterStatus>,
    process: Process,
    workers: u64,
    started_seconds: f64,
    uptime_seconds: f64,
    reloads: [(&'static str, u64); 2],
    dropped_lines: u64,
}

impl Scrape {
    pub(super) fn of(metrics: &Metrics, clusters: &[ClusterStatus]) -> Self {
        let started = metrics.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            snapshot: metrics.snapshot(),
            clusters: clusters.to_vec(),
            process: Process::read(),
            workers: metrics.workers.load(Relaxed) as u64,
            started_seconds: started.as_secs_f64(),
            uptime_seconds: metrics.started.elapsed().as_secs_f64(),
            reloads: [
                ("applied", metrics.reloads_applied.load(Relaxed)),
                ("rejected", metrics.reloads_rejected.load(Relaxed)),
            ],
            dropped_lines: metrics.dropped_lines.load(Relaxed),
        }
    }

    fn requests(&self, out: &mut Families<'_>) -> fmt::Result {
        let rows = &self.snapshot.requests;
        let each = |value: fn(&RequestTotals) -> u64| {
            rows.iter().map(move |(labels, totals)| (request_labels(labels), value(totals)))
        };
        out.counter(
            "wiremesh_requests",
            "Requests that are over, as the client sees them, by status",
            None,
            rows.iter().flat_map(|(labels, totals)| {
                by_status(&totals.statuses).map(|(status, n)| ((request_labels(labels), status), n))
            }),
        )?;
        out.counter(
            "wiremesh_local_replies",
            "Requests that the proxy itself answered or gave up, by response flag",
            None,
            rows.iter().flat_map(|(labels, totals)| {
                by_flag(&totals.reasons).map(|(flag, n)| ((request_labels(labels), flag), n))
            }),
        )?;
        out.counter(
            "wiremesh_request_errors",
            "Requests that were answered by an error, by what the protocol calls it",
            None,
            rows.iter().flat_map(|(labels, totals)| {
                let errors = totals.errors.iter();
                errors.map(|(error, n)| ((request_labels(labels), [("error", *error)]), *n))
            }),
        )?;
        out.counter(
            "wiremesh_slow_requests",
            "Requests that took longer than the slow log of their listener allows",
            None,
            each(|r| r.slow).filter(|(_, n)| *n > 0),
        )?;
        out.counter(
            "wiremesh_request_retries",
            "Tries after the first",
            None,
            each(|r| r.retries),
        )?;
        out.counter(
            "wiremesh_request",
            "Size of requests on the wire",
            Some(&Unit::Bytes),
            each(|r| r.bytes_in),
        )?;
        out.counter(
            "wiremesh_reply",
            "Size of replies on the wire",
            Some(&Unit::Bytes),
            each(|r| r.bytes_out),
        )?;
        out.histogram(
            "wiremesh_request_duration",
            "From a request's last byte read to its reply's hand-over to the client",
            rows.iter().map(|(labels, totals)| (request_labels(labels), &totals.latency)),
        )
    }

    fn endpoints(&self, out: &mut Families<'_>) -> fmt::Result {
        let rows = || self.snapshot.endpoints.values();
        let each = |value: fn(&EndpointTotals) -> u64| {
            rows().map(move |totals| (endpoint_labels(totals), value(totals)))
        };
        let mut counter = |name: &str, help: &str, unit: Option<&Unit>, value| {
            out.counter(name, help, unit, each(value))
        };
        counter(
            "wiremesh_endpoint_requests",
            "Requests sent to the endpoint, retries included",
            None,
            |e| e.totals.requests,
        )?;
        counter(
            "wiremesh_endpoint_connections",
            "Connections established to the endpoint",
            None,
            |e| e.connections_opened,
        )?;
        counter(
            "wiremesh_endpoint_connect_failures",
            "Connections that could not be established",
            None,
            |e| e.connect_failures,
        )?;
        counter(
            "wiremesh_endpoint_tls_failures",
            "Connections that could not be established because of TLS",
            None,
            |e| e.tls_failures,
        )?;
        counter(
            "wiremesh_endpoint_ejections",
            "Times that outlier detection took the endpoint out",
            None,
            |e| e.ejections,
        )?;
        counter("wiremesh_endpoint_heartbeats", "Heartbeats sent to the endpoint", None, |e| {
            e.heartbeats_sent
        })?;
        counter(
            "wiremesh_endpoint_heartbeats_failed",
            "Heartbeats that the endpoint did not answer in time",
            None,
            |e| e.heartbeats_failed,
        )?;
        counter("wiremesh_endpoint_sent", "Written to the endpoint", Some(&Unit::Bytes), |e| {
            e.bytes_sent
        })?;
        counter("wiremesh_endpoint_received", "Read from the endpoint", Some(&Unit::Bytes), |e| {
            e.bytes_received
        })?;
        out.counter(
            "wiremesh_endpoint_replies",
            "Replies of the endpoint by status",
            None,
            rows().flat_map(|totals| {
                by_status(&totals.statuses)
                    .map(|(status, n)| ((endpoint_labels(totals), status), n))
            }),
        )?;
        out.counter(
            "wiremesh_endpoint_failures",
            "Requests sent to the endpoint that the proxy gave up, by response flag",
            None,
            rows().flat_map(|totals| {
                by_flag(&totals.reasons).map(|(flag, n)| ((endpoint_labels(totals), flag), n))
            }),
        )?;
        out.counter(
            "wiremesh_endpoint_stray_replies",
            "Replies that nobody waited for: late, or to nothing that was asked",
            None,
            rows().flat_map(|totals| {
                [("late", totals.late_replies), ("unknown", totals.unknown_replies)]
                    .map(|(kind, n)| ((endpoint_labels(totals), [("kind", kind)]), n))
            }),
        )?;
        out.gauge(
            "wiremesh_endpoint_connections_active",
            "Open connections to the endpoint",
            None,
            each(EndpointTotals::connections_active),
        )?;
        out.gauge(
            "wiremesh_endpoint_requests_active",
            "Requests sent to the endpoint that have no outcome yet",
            None,
            each(|e| e.in_flight),
        )?;
        out.histogram(
            "wiremesh_endpoint_request_duration",
            "From a request's hand-over to the connection to its reply",
            rows().map(|totals| (endpoint_labels(totals), &totals.totals.latency)),
        )
    }

    fn clusters(&self, out: &mut Families<'_>) -> fmt::Result {
        let bounds = |value: fn(&BoundStatus) -> u64| {
            self.clusters.iter().flat_map(move |cluster| {
                [
                    ("requests", &cluster.requests),
                    ("connections", &cluster.connections),
                    ("pending", &cluster.pending),
                ]
                .map(|(bound, it)| ([("cluster", &*cluster.name), ("bound", bound)], value(it)))
            })
        };
        out.gauge(
            "wiremesh_cluster_used",
            "Requests, connections and waiting requests of the cluster",
            None,
            bounds(|bound| u64::from(bound.used)),
        )?;
        out.gauge(
            "wiremesh_cluster_limit",
            "The most requests, connections and waiting requests that the cluster may have",
            None,
            bounds(|bound| u64::from(bound.max)),
        )?;
        out.counter(
            "wiremesh_cluster_refused",
            "Requests that were refused because a limit of the cluster was reached",
            None,
            bounds(|bound| bound.refused),
        )?;
        out.gauge(
            "wiremesh_cluster_session_connections",
            "Connections that clients are lent, by what they are for now",
            None,
            self.clusters.iter().flat_map(|cluster| {
                let each = cluster.sessions.iter().flat_map(Occupied::each);
                each.map(|(state, count)| {
                    ([("cluster", &*cluster.name), ("state", state)], u64::from(count))
                })
            }),
        )?;
        out.gauge(
            "wiremesh_endpoint_available",
            "Whether the endpoint gets requests",
            None,
            self.clusters.iter().flat_map(|cluster| {
                cluster.endpoints.iter().map(|endpoint| {
                    let labels = [("cluster", &*cluster.name), ("endpoint", &*endpoint.address)];
                    (labels, u64::from(endpoint.state == EndpointState::Available))
                })
            }),
        )
    }

    fn listeners(&self, out: &mut Families<'_>) -> fmt::Result {
        let rows = || self.snapshot.listeners.iter();
        let label = |name| [("listener", name)];
        let each = |value: fn(&ListenerTotals) -> u64| {
            rows().map(move |(name, totals)| (label(name.as_str()), value(totals)))
        };
        let kinds = |label_name: &'static str,
                     kinds: fn(&ListenerTotals) -> Vec<(&'static str, u64)>| {
            rows().flat_map(move |(name, totals)| {
                kinds(totals)
                    .into_iter()
                    .map(move |(kind, n)| ((label(name.as_str()), [(label_name, kind)]), n))
            })
        };
        out.counter(
            "wiremesh_listener_connections",
            "Client connections accepted",
            None,
            each(|l| l.connections_accepted),
        )?;
        out.gauge(
            "wiremesh_listener_connections_active",
            "Open client connections",
            None,
            each(ListenerTotals::connections_active),
        )?;
        out.counter(
            "wiremesh_listener_refused",
            "Client connections closed at once, by cause",
            None,
            kinds("cause", |l| {
                vec![
                    ("denied", l.refused_denied),
                    ("full", l.refused_full),
                    ("untrusted", l.refused_untrusted),
                ]
            }),
        )?;
        out.counter(
            "wiremesh_listener_timeouts",
            "Client connections closed by a timeout, by its name",
            None,
            kinds("timeout", |l| {
                vec![
                    ("idle", l.idle_timeouts),
                    ("hold", l.hold_timeouts),
                    ("frame", l.frame_timeouts),
                    ("stall", l.stall_timeouts),
                ]
            }),
        )?;
        out.counter(
            "wiremesh_listener_protocol_errors",
            "Client connections closed because of what the client sent, by cause",
            None,
            kinds("cause", |l| {
                vec![
                    ("undecodable", l.decode_errors),
                    ("undetected", l.undetected),
                    ("proxy_header", l.proxy_header_errors),
                ]
            }),
        )?;
        out.counter(
            "wiremesh_listener_tls_handshakes",
            "TLS handshakes with clients, by result",
            None,
            kinds("result", |l| vec![("ok", l.tls_handshakes), ("failed", l.tls_failures)]),
        )?;
        out.counter(
            "wiremesh_listener_abandoned_requests",
            "Requests whose client left before the reply",
            None,
            each(|l| l.abandoned_requests),
        )?;
        out.counter(
            "wiremesh_listener_heartbeats",
            "Heartbeats of clients, answered on the spot",
            None,
            each(|l| l.heartbeats),
        )?;
        out.counter(
            "wiremesh_listener_received",
            "Read from clients",
            Some(&Unit::Bytes),
            each(|l| l.bytes_received),
        )?;
        out.counter(
            "wiremesh_listener_sent",
            "Written to clients",
            Some(&Unit::Bytes),
            each(|l| l.bytes_sent),
        )
    }

    fn firewalls(&self, out: &mut Families<'_>) -> fmt::Result {
        let rows = self.snapshot.firewalls.iter().flat_map(|([listener, rule], totals)| {
            let labels = [("listener", &**listener), ("rule", &**rule)];
            let kinds = [
                ("allow", totals.allowed),
                ("deny", totals.denied),
                ("detect", totals.detected),
                ("limit", totals.limited),
            ];
            kinds.into_iter().map(move |(kind, n)| ((labels, [("action", kind)]), n))
        });
        out.counter(
            "wiremesh_firewall",
            "Requests that a rule of a firewall was for, by what became of them",
            None,
            rows,
        )
    }

    fn mirrors(&self, out: &mut Families<'_>) -> fmt::Result {
        let rows = |label: &'static str, kinds: fn(&MirrorTotals) -> Vec<(&'static str, u64)>| {
            self.snapshot.mirrors.iter().flat_map(move |([listener, route, cluster], totals)| {
                let labels =
                    [("listener", &**listener), ("route", &**route), ("cluster", &**cluster)];
                kinds(totals).into_iter().map(move |(kind, n)| ((labels, [(label, kind)]), n))
            })
        };
        out.counter(
            "wiremesh_mirror_copies",
            "Copies of requests for another cluster, by what became of them",
            None,
            rows("outcome", |m| {
                vec![("answered", m.answered), ("failed", m.failed), ("dropped", m.dropped)]
            }),
        )?;
        out.counter(
            "wiremesh_mirror_compared",
            "Answers to copies that were compared with those that clients got",
            None,
            rows("result", |m| {
                vec![
                    ("equal", m.equal),
                    ("different", m.different),
                    ("failed", m.failed_to_compare),
                    ("skipped", m.not_compared),
                ]
            }),
        )
    }

    fn process(&self, out: &mut Families<'_>) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        out.gauge("wiremesh_build_info", "The running build", None, [(version, 1)])?;
        out.gauge_alone("wiremesh_workers", "Worker threads", None, Some(self.workers))?;
        out.gauge_alone(
            "wiremesh_uptime",
            "Time since the process started",
            Some(&Unit::Seconds),
            Some(self.uptime_seconds),
        )?;
        out.counter(
            "wiremesh_config_reloads",
            "Reloads of the configuration by result",
            None,
            self.reloads.map(|(result, n)| ([("result", result)], n)),
        )?;
        out.counter_alone(
            "wiremesh_access_log_dropped_lines",
            "Access log lines that were lost because the writer was behind or failed",
            None,
            Some(self.dropped_lines),
        )?;
        out.gauge_alone(
            "process_start_time",
            "Start of the process since the Unix epoch",
            Some(&Unit::Seconds),
            Some(self.started_seconds),
        )?;
        out.gauge_alone(
            "process_resident_memory",
            "Resident memory",
            Some(&Unit::Bytes),
            self.process.resident_bytes,
        )?;
        out.counter_alone(
            "process_cpu",
            "User and system CPU time spent",
            Some(&Unit::Seconds),
            self.process.cpu_seconds,
        )?;
        out.gauge_alone("process_open_fds", "Open file descriptors", None, self.process.open_fds)?;
        out.gauge_alone(
            "process_max_fds",
            "File descriptors that may be open",
            None,
            self.process.max_fds,
        )
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Families { encoder };
        self.requests(&mut out)?;
        self.endpoints(&mut out)?;
        self.clusters(&mut out)?;
        self.listeners(&mut out)?;
        self.firewalls(&mut out)?;
        self.mirrors(&mut out)?;
        self.process(&mut out)
    }
}

fn request_labels(labels: &RequestLabels) -> [(&'static str, &str); 4] {
    [
        ("listener", &*labels.listener),
        ("cluster", &*labels.cluster),
        ("service", &*labels.service),
        ("method", &*labels.method),
    ]
}

fn endpoint_labels(totals: &EndpointTotals) -> [(&'static str, &str); 2] {
    [("cluster", &*totals.cluster), ("endpoint", &*totals.endpoint)]
}

/// The counts that are not zero, with their label.
fn by_status(counts: &[u64]) -> impl Iterator<Item = ([(&'static str, &'static str); 1], u64)> {
    let all = Status::ALL.into_iter().zip(counts);
    all.filter(|(_, n)| **n > 0).map(|(status, n)| ([("status", status.as_str())], *n))
}

/// The counts that are not zero, with their label.
fn by_flag(counts: &[u64]) -> impl Iterator<Item = ([(&'static str, &'static str); 1], u64)> {
    let all = Reason::ALL.into_iter().zip(counts);
    all.filter(|(_, n)| **n > 0).map(|(reason, n)| ([("flag", reason.flag())], *n))
}
