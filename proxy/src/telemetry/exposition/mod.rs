mod scrape;

use std::fmt;

use prometheus_client::{
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, NoLabelSet, text,
    },
    metrics::MetricType,
    registry::{Registry, Unit},
};

use self::scrape::Scrape;
use super::{Distribution, Metrics};
use crate::cluster::ClusterStatus;

/// The two text formats that Prometheus reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The classic one, version 0.0.4: what everything understands.
    Classic,
    /// OpenMetrics 1.0: what Prometheus asks for first.
    OpenMetrics,
}

impl Format {
    /// The better format of those that an `Accept` header names.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Classic
        }
    }

    /// The `Content-Type` of a text in this format.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Metrics {
    /// All metrics as Prometheus reads them, those of the clusters' state among them.
    pub fn encode(&self, format: Format, clusters: &[ClusterStatus]) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape::of(self, clusters)));
        let mut text = String::new();
        // Neither our collector nor a String has a way to fail.
        let _ = text::encode(&mut text, &registry);
        match format {
            Format::OpenMetrics => text,
            Format::Classic => to_classic(&text),
        }
    }
}

/// Writes metric families; those without a value are left out.
struct Families<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Families<'_> {
    fn counter<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        rows: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        let mut family = self.encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
        rows.try_for_each(|(labels, value)| {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
        })
    }

    fn counter_alone(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: Option<impl EncodeCounterValue>,
    ) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        self.encoder
            .encode_descriptor(name, help, unit, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    fn gauge_alone(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: Option<impl EncodeGaugeValue>,
    ) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        self.encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauge<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        rows: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        let mut family = self.encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        rows.try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }

    fn histogram<'d, L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, &'d Distribution)>,
    ) -> fmt::Result {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        let unit = Some(&Unit::Seconds);
        let mut family = self.encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        rows.try_for_each(|(labels, latency)| {
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                latency.sum().as_secs_f64(),
                latency.count(),
                &latency.buckets(),
                None,
            )
        })
    }
}

/// Makes the classic format of OpenMetrics: there a counter's `_total` belongs to its name, and units and the end have no
/// line.
fn to_classic(open_metrics: &str) -> String {
    let mut classic = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' '))
        {
            let total = if kind == "counter" { "_total" } else { "" };
            classic += &format!("# HELP {name}{total} {help}\n# TYPE {name}{total} {kind}\n");
        } else if !line.starts_with('#') {
            classic += line;
            classic.push('\n');
        }
    }
    classic
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use wiremesh::{Reason, Status};

    use super::*;
    use crate::{
        cluster::{BoundStatus, EndpointState, EndpointStatus},
        config::Balance,
        telemetry::Latency,
    };

    const NASTY: &str = "a\"b\\c\nd,{}= \u{fc} # EOF";

    fn recorded() -> String {
        encode(Format::Classic)
    }

    fn encode(format: Format) -> String {
        let metrics = Metrics::new(100);
        metrics.set_workers(2);
        metrics.reload_rejected();
        for _ in 0..2 {
            let worker = metrics.worker();
            let requests = worker.requests("bolt", "hello");
            let ms = Latency::new(Duration::from_millis(1));
            let minute = Latency::new(Duration::from_secs(90));
            requests.series("s", "m").record(Status::Ok, None, ms, 10, 100);
            let failed = requests.series(NASTY, "m");
            failed.record(Status::Timeout, Some(Reason::Timeout), minute, 10, 50);
            failed.retries.inc();
            let endpoint = worker.endpoint_series("hello", "[::1]:1");
            endpoint.sent();
            endpoint.answered(Status::Ok, ms);
            endpoint.sent();
            endpoint.failed(Reason::Timeout);
            endpoint.late_replies.inc();
            endpoint.connections_opened.add(3);
            endpoint.connections_closed.inc();
            worker.listener_series("bolt").bytes_received.add(1 << 40);
            worker.listener_series("bolt").refused_full.inc();
        }
        let bound = BoundStatus { used: 1, max: 2, refused: 3 };
        let endpoint = EndpointStatus {
            member: None,
            address: "[::1]:1".into(),
            weight: 1,
            state: EndpointState::Ejected,
            left_ms: None,
            failures: 0,
            ejections: 0,
            in_flight: 0,
        };
        let cluster = ClusterStatus {
            topology: None,
            name: "hello".into(),
            balance: Balance::default(),
            version: 0,
            requests: bound,
            connections: bound,
            pending: bound,
            sessions: Some(crate::cluster::Occupied { held: 1, ..Default::default() }),
            unresolved: Vec::new(),
            endpoints: vec![endpoint],
        };
        metrics.encode(format, &[cluster])
    }

    #[derive(Debug, Default)]
    struct Family {
        help: String,
        kind: String,
        samples: Vec<(String, BTreeMap<String, String>, f64)>,
    }

    /// Reads the classic format, and insists on what it demands: every family once, its help and type before its
    /// samples, no sample twice.
    fn parse(text: &str) -> BTreeMap<String, Family> {
        let mut families = BTreeMap::<String, Family>::new();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                current = name.to_owned();
                let family = Family { help: help.into(), ..Family::default() };
                assert!(families.insert(current.clone(), family).is_none(), "twice: {line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(name, current);
                families.get_mut(name).unwrap().kind = kind.to_owned();
            } else {
                let sample = sample(line);
                let family = families.get_mut(&current).unwrap();
                let base = sample.0.strip_prefix(&current).unwrap_or_else(|| panic!("{line}"));
                let suffixes: &[&str] = match &*family.kind {
                    "histogram" => &["_bucket", "_sum", "_count"],
                    _ => &[""],
                };
                assert!(suffixes.contains(&base), "{line}");
                let same = |s: &&(String, _, f64)| s.0 == sample.0 && s.1 == sample.1;
                assert!(family.samples.iter().find(same).is_none(), "twice: {line}");
                family.samples.push(sample);
            }
        }
        families
    }

    fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
        let end = line.find(['{', ' ']).unwrap();
        let (name, mut rest) = line.split_at(end);
        let mut labels = BTreeMap::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            while !rest.starts_with('}') {
                let (label, value) = rest.split_once("=\"").unwrap();
                let (mut text, mut chars) = (String::new(), value.chars());
                loop {
                    match chars.next().unwrap() {
                        '"' => break,
                        '\\' => text.push(match chars.next().unwrap() {
                            'n' => '\n',
                            c @ ('"' | '\\') => c,
                            c => panic!("no such escape: {c}"),
                        }),
                        c => text.push(c),
                    }
                }
                assert!(labels.insert(label.to_owned(), text).is_none());
                rest = chars.as_str();
                rest = rest.strip_prefix(',').unwrap_or(rest);
            }
            rest = &rest[1..];
        }
        (name.to_owned(), labels, rest.trim().parse().unwrap())
    }

    #[test]
    fn families_keep_the_naming_conventions() {
        let families = parse(&recorded());
        for (name, family) in &families {
            assert!(!family.help.is_empty(), "{name}");
            assert!(!family.samples.is_empty(), "{name}");
            assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name}");
            assert!(name.starts_with("wiremesh_") || name.starts_with("process_"), "{name}");
            assert!(name.chars().all(|c| matches!(c, 'a'..='z' | '_')), "{name}");
            for unit in ["seconds", "bytes"] {
                let at_end = name.trim_end_matches("_total").ends_with(unit);
                assert_eq!(name.contains(unit), at_end, "{name}");
            }
            if family.kind == "histogram" {
                assert!(name.ends_with("_seconds"), "{name}");
            }
        }
        assert!(families.len() > 35, "{}", families.len());
    }

    #[test]
    fn histograms_are_cumulative_and_complete() {
        let families = parse(&recorded());
        let family = &families["wiremesh_request_duration_seconds"];
        let of = |name: &str, service: &str| -> Vec<_> {
            let here = family
                .samples
                .iter()
                .filter(move |(n, labels, _)| n.ends_with(name) && labels["service"] == service);
            here.map(|(_, labels, value)| (labels.get("le").cloned(), *value)).collect()
        };
        for (service, sum, below) in [("s", 0.002, 2.0), (NASTY, 180.0, 0.0)] {
            let buckets = of("_bucket", service);
            assert!(buckets.is_sorted_by(|a, b| {
                let le = |b: &(Option<String>, f64)| b.0.as_ref().unwrap().parse::<f64>().unwrap();
                le(a) < le(b) && a.1 <= b.1
            }));
            assert_eq!(buckets.last().unwrap(), &(Some("+Inf".into()), 2.0));
            assert!(buckets.contains(&(Some("0.001".into()), below)), "{buckets:?}");
            assert!(buckets.contains(&(Some("0.0005".into()), 0.0)), "{buckets:?}");
            assert_eq!(of("_count", service), [(None, 2.0)]);
            assert!((of("_sum", service)[0].1 - sum).abs() < 1e-9);
        }
    }

    #[test]
    fn values_are_added_up_over_workers() {
        let families = parse(&recorded());
        let value = |family: &str, labels: &[(&str, &str)]| {
            let found: Vec<f64> = families[family]
                .samples
                .iter()
                .filter(|(_, all, _)| labels.iter().all(|(k, v)| all[*k] == *v))
                .map(|(_, _, value)| *value)
                .collect();
            assert_eq!(found.len(), 1, "{family} {labels:?}");
            found[0]
        };
        for (family, labels, want) in [
            ("wiremesh_requests_total", &[("service", "s"), ("status", "ok")][..], 2.0),
            ("wiremesh_requests_total", &[("service", NASTY), ("status", "timeout")], 2.0),
            ("wiremesh_local_replies_total", &[("service", NASTY), ("flag", "UT")], 2.0),
            ("wiremesh_request_retries_total", &[("service", NASTY)], 2.0),
            ("wiremesh_request_bytes_total", &[("service", "s")], 20.0),
            ("wiremesh_reply_bytes_total", &[("service", "s")], 200.0),
            ("wiremesh_endpoint_requests_total", &[("endpoint", "[::1]:1")], 4.0),
            ("wiremesh_endpoint_requests_active", &[], 0.0),
            ("wiremesh_endpoint_failures_total", &[("flag", "UT")], 2.0),
            ("wiremesh_endpoint_connections_active", &[("cluster", "hello")], 4.0),
            ("wiremesh_endpoint_stray_replies_total", &[("kind", "late")], 2.0),
            ("wiremesh_endpoint_available", &[], 0.0),
            ("wiremesh_cluster_refused_total", &[("bound", "pending")], 3.0),
            ("wiremesh_listener_received_bytes_total", &[], (1_u64 << 41) as f64),
            ("wiremesh_listener_refused_total", &[("cause", "full")], 2.0),
            ("wiremesh_config_reloads_total", &[("result", "rejected")], 1.0),
            ("wiremesh_workers", &[], 2.0),
        ] {
            assert_eq!(value(family, labels), want, "{family} {labels:?}");
        }
    }

    #[test]
    fn both_formats_tell_the_same() {
        let open_metrics = encode(Format::OpenMetrics);
        assert!(open_metrics.ends_with("\n# EOF\n"));
        assert!(open_metrics.contains("# TYPE wiremesh_requests counter\n"));
        assert!(open_metrics.contains("# UNIT wiremesh_request_duration_seconds seconds\n"));
        let samples = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            // Those that change by themselves.
            let lines = lines.filter(|l| !l.starts_with("process_") && !l.contains("uptime"));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(samples(&open_metrics), samples(&recorded()));
    }

    #[test]
    fn the_format_is_the_one_asked_for() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::accepted("*/*"), Format::Classic);
        assert_eq!(Format::accepted(""), Format::Classic);
    }
}
