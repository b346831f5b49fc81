use std::{fmt::Write, time::Duration};

use serde_json::{Value, json};

use super::text::{short, table};
use crate::{
    cluster::{BoundStatus, ClusterStatus, EndpointStatus, Membership, Role, TopologyStatus},
    telemetry::{EndpointTotals, Snapshot},
};

/// The clusters with, for every endpoint, what was counted since the start.
pub(super) fn to_json(clusters: &[ClusterStatus], counts: &Snapshot) -> Value {
    clusters.iter().map(|cluster| cluster_json(cluster, counts)).collect()
}

fn cluster_json(cluster: &ClusterStatus, counts: &Snapshot) -> Value {
    let mut value = json!(cluster);
    let endpoints = value["endpoints"].as_array_mut().into_iter().flatten();
    for (value, endpoint) in endpoints.zip(&cluster.endpoints) {
        let counted =
            counts.endpoint(&cluster.name, &endpoint.address).cloned().unwrap_or_default();
        value["requests"] = json!(counted.totals.requests);
        value["errors"] = json!(counted.totals.errors);
        value["connections"] = json!(counted.connections_active());
        value["connect_failures"] = json!(counted.connect_failures);
        value["p50_us"] = json!(quantile(&counted, 0.5).map(micros));
        value["p99_us"] = json!(quantile(&counted, 0.99).map(micros));
    }
    value
}

/// The same for people.
pub(super) fn to_text(clusters: &[ClusterStatus], counts: &Snapshot) -> String {
    let mut text = String::new();
    for cluster in clusters {
        let balance = json!(cluster.balance);
        let balance = balance.as_str().unwrap_or_default();
        // A String takes every write, here and below.
        let _ = writeln!(text, "{}  {balance}", cluster.name);
        let bounds = [
            ("requests", cluster.requests),
            ("connections", cluster.connections),
            ("waiting", cluster.pending),
        ];
        for (name, BoundStatus { used, max, refused }) in bounds {
            let _ = writeln!(text, "  {name:<12} {used} of {max}, {refused} refused");
        }
        if let Some(sessions) = &cluster.sessions {
            let each = sessions.each().map(|(what, count)| format!("{count} {what}"));
            let _ = writeln!(text, "  sessions     {}", each.join(", "));
        }
        if !cluster.unresolved.is_empty() {
            let _ = writeln!(text, "  unresolved   {}", cluster.unresolved.join(", "));
        }
        if let Some(topology) = &cluster.topology {
            let _ = writeln!(text, "  topology     {}", describe(topology));
        }
        let rows: Vec<_> = cluster.endpoints.iter().map(|it| row(cluster, it, counts)).collect();
        table(HEAD, 2..9, &rows, &mut text);
        text.push('\n');
    }
    text
}

const HEAD: [&str; 9] =
    ["endpoint", "state", "weight", "in flight", "connections", "requests", "errors", "p50", "p99"];

fn row(cluster: &ClusterStatus, endpoint: &EndpointStatus, counts: &Snapshot) -> [String; 9] {
    let counted = counts.endpoint(&cluster.name, &endpoint.address).cloned().unwrap_or_default();
    let state = json!(endpoint.state);
    let state = state.as_str().unwrap_or_default();
    let left = endpoint.left_ms.map(Duration::from_millis);
    let at = |q| quantile(&counted, q).map_or_else(|| "-".to_owned(), short);
    let place = endpoint.member.map(|Membership { shard, role, .. }| match role {
        Role::Primary => format!(" (primary of {shard})"),
        Role::Replica => format!(" (replica of {shard})"),
    });
    [
        format!("{}{}", endpoint.address, place.unwrap_or_default()),
        left.map_or_else(|| state.to_owned(), |left| format!("{state} for {}", short(left))),
        endpoint.weight.to_string(),
        endpoint.in_flight.to_string(),
        counted.connections_active().to_string(),
        counted.totals.requests.to_string(),
        counted.totals.errors.to_string(),
        at(0.5),
        at(0.99),
    ]
}

fn describe(topology: &TopologyStatus) -> String {
    let TopologyStatus { kind, shards, unserved_slots, age_ms, problem } = topology;
    let age = age_ms.map(|age| format!(", learnt {} ago", short(Duration::from_millis(age))));
    let unserved = unserved_slots.filter(|slots| *slots > 0);
    let unserved = unserved.map(|slots| format!(", {slots} slots not served"));
    let problem = problem.as_ref().map(|problem| format!("; since then: {problem}"));
    let [age, unserved, problem] = [age, unserved, problem].map(Option::unwrap_or_default);
    format!("{kind}, {shards} shards{age}{unserved}{problem}")
}

fn quantile(endpoint: &EndpointTotals, q: f64) -> Option<Duration> {
    endpoint.totals.latency.quantile(q)
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use wiremesh::{Reason, Status};

    use super::*;
    use crate::{
        cluster::EndpointState,
        config::Balance,
        telemetry::{MAX_NAMES, Metrics},
    };

    fn sample() -> (Vec<ClusterStatus>, Snapshot) {
        let bound = BoundStatus { used: 1, max: 1024, refused: 7 };
        let endpoint = |address: &str, state, left_ms| EndpointStatus {
            member: None,
            address: address.into(),
            weight: 1,
            state,
            left_ms,
            failures: 0,
            ejections: 0,
            in_flight: 2,
        };
        let cluster = ClusterStatus {
            topology: None,
            name: "hello".into(),
            balance: Balance::LeastRequest,
            version: 1,
            requests: bound,
            connections: bound,
            pending: bound,
            sessions: None,
            unresolved: vec!["hello.svc.local:1".into()],
            endpoints: vec![
                endpoint("127.0.0.1:12200", EndpointState::Available, None),
                endpoint("[::1]:1", EndpointState::Ejected, Some(1500)),
            ],
        };
        let metrics = Metrics::new(MAX_NAMES);
        let worker = metrics.worker();
        let series = worker.endpoint_series("hello", "127.0.0.1:12200");
        series.connections_opened.inc();
        for _ in 0..100 {
            series.sent();
            series.answered(Status::Ok, Duration::from_micros(25).into());
        }
        series.sent();
        series.failed(Reason::Timeout);
        // Of another cluster: not to be mixed in.
        worker.endpoint_series("other", "[::1]:1").sent();
        (vec![cluster], metrics.snapshot())
    }

    #[test]
    fn json_has_state_and_counts() {
        let (clusters, counts) = sample();
        let value = to_json(&clusters, &counts);
        assert_eq!(value[0]["name"], "hello");
        assert_eq!(value[0]["requests"]["refused"], 7);
        let endpoints = &value[0]["endpoints"];
        assert_eq!(endpoints[0]["address"], "127.0.0.1:12200");
        assert_eq!(endpoints[0]["state"], "available");
        assert_eq!(endpoints[0]["requests"], 101);
        assert_eq!(endpoints[0]["errors"], 1);
        assert_eq!(endpoints[0]["connections"], 1);
        assert!((24.0..=25.0).contains(&endpoints[0]["p99_us"].as_f64().unwrap()));
        assert_eq!(endpoints[1]["state"], "ejected");
        assert_eq!(endpoints[1]["requests"], 0);
        assert_eq!(endpoints[1]["p50_us"], Value::Null);
    }

    #[test]
    fn text_is_aligned() {
        let (clusters, counts) = sample();
        let text = to_text(&clusters, &counts);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "hello  least_request");
        assert_eq!(lines[1], "  requests     1 of 1024, 7 refused");
        assert_eq!(lines[4], "  unresolved   hello.svc.local:1");
        assert!(lines[6].starts_with("  127.0.0.1:12200  available"), "{text}");
        assert!(lines[7].starts_with("  [::1]:1          ejected for 1.50s"), "{text}");
        assert_eq!(lines[7].split_whitespace().rev().take(2).collect::<Vec<_>>(), ["-", "-"]);
        assert_eq!(lines[5].len(), lines[6].len());
        assert_eq!(lines[5].len(), lines[7].len());
    }
}
