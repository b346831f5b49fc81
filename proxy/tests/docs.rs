//! What `docs/operating.md` says is there is there, and what is there it says.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use wiremesh::{Reason, Status};
use wiremesh_proxy::{
    cluster,
    config::{Address, Cluster, Config, LogField},
    registry::Registry,
    telemetry::{Format, Metrics},
};

const OPERATING: &str = include_str!("../../docs/operating.md");

/// The fenced blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    OPERATING.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// Texts between backticks.
fn code() -> BTreeSet<&'static str> {
    let prose = OPERATING.lines().filter(|line| !line.starts_with("```"));
    prose.flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn configurations_are_right() {
    let blocks = blocks("yaml");
    assert_eq!(blocks.len(), 7);
    for yaml in blocks {
        let parsed =
            Config::parse("operating.md", yaml, &|_| None, &Registry::bundled().protocols());
        assert!(parsed.is_ok(), "{}\n{yaml}", parsed.unwrap_err());
    }
}

#[test]
fn every_metric_is_described_and_no_other() {
    let metrics = Metrics::new(10);
    let worker = metrics.worker();
    let latency = Duration::from_millis(1);
    let request = worker.requests("l", "c").series("s", "m");
    request.record(Status::Timeout, Some(Reason::Timeout), latency.into(), 1, 1);
    request.count_error("E");
    request.slow.inc();
    let endpoint = worker.endpoint_series("c", "e");
    endpoint.answered(Status::Ok, latency.into());
    endpoint.failed(Reason::Timeout);
    worker.listener_series("l");
    worker.mirror_series("l", "r", "c");
    worker.firewall_series("l", "r");
    let endpoint: Address = "127.0.0.1:1".parse().unwrap();
    let config = Cluster::new("c", vec![endpoint.into()]);
    let cluster = cluster::Shared::new(Arc::new(config));
    let _occupancy = cluster.occupancy();
    let status = cluster.describe(Instant::now());
    let text = metrics.encode(Format::Classic, &[status]);
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let there: BTreeSet<&str> = families.collect();
    let named = code();
    let named = named.iter().filter_map(|it| it.split(['{', ' ']).next());
    let described: BTreeSet<&str> = named
        .filter(|it| it.starts_with("wiremesh_") || it.starts_with("process_"))
        .filter(|it| !it.contains("::"))
        .collect();
    assert_eq!(described, there);
}

#[test]
fn every_flag_status_and_field_is_described() {
    let code = code();
    for reason in Reason::ALL {
        let row = format!("\n| `{}` | ", reason.flag());
        let rest = OPERATING.split(&row).nth(1).unwrap_or_else(|| panic!("no {row}"));
        let status = rest.split(" |").next().unwrap();
        let configured = matches!(reason, Reason::Fault | Reason::Direct);
        assert_eq!(status, if configured { "as configured" } else { reason.status().as_str() });
    }
    for status in Status::ALL {
        assert!(code.contains(status.as_str()), "{status}");
    }
    for field in LogField::ALL {
        assert!(code.contains(field.as_str()), "{}", field.as_str());
    }
}
