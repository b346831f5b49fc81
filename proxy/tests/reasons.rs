//! Why the proxy answered by itself: each reason has a flag of its own, in the reply, the access log and the metrics.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
};

use wiremesh::{Failure, Frame, Reason};
use wiremesh_proxy::{
    policy::{Filter, Verdict},
    server::Server as Proxy,
    telemetry::Format,
};

use common::{
    bolt::{connect, flag, named, outcome, parse, request, silent, until},
    registry,
};

/// Answers whatever comes with these bytes, and closes.
fn rude(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    // Ends with the test's process.
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(bytes);
        }
    });
    address
}

/// Denies the method `dn`.
struct Deny;

impl Filter for Deny {
    fn on_request(&self, request: &mut dyn Frame) -> Verdict {
        match request.method().as_deref() {
            Some("dn") => Verdict::Reply(Failure::new(Reason::Denied, "by a filter")),
            _ => Verdict::Continue,
        }
    }
}

/// Runs into every reason; returns the access log's lines by method, and the metrics.
fn run(format: &str) -> (BTreeMap<String, String>, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("access.log");
    let (stuck, gone) = (silent(), named("gone").address.clone());
    let route = |method: &str, rest: &str| {
        format!("  - {{ name: {method}, match: {{ method: {{ exact: {method} }} }}, {rest} }}\n")
    };
    let long = "x".repeat(200);
    let table: String = [
        route("uh", "cluster: ill"),
        route("wait", "cluster: ill"),
        route("uf", "cluster: gone"),
        route("ut", "cluster: stuck, timeout: 50ms"),
        route("hold", "cluster: full"),
        route("uo", "cluster: full"),
        route("rl", "reply: { status: ok }, limit: { requests_per_second: 0.001, burst: 1 }"),
        route("uc", "cluster: closes"),
        route("upe", "cluster: garbage"),
        route("dn", "cluster: stuck"),
        route("fi", "cluster: stuck, fault: { abort: { percent: 100, status: internal } }"),
        route("di", "reply: { status: unavailable, message: gone fishing }"),
        route("dpe", &format!("cluster: stuck, headers: {{ set: {{ big: {long} }} }}")),
    ]
    .concat();
    let yaml = format!(
        "workers: 1\ndrain_timeout: 50ms\n\
         access_log: {{ path: '{}', format: {format}, fields: [method, flag, status, cluster, endpoint] }}\n\
         listeners:\n- name: l\n  address: '127.0.0.1:0'\n  protocols: [bolt]\n  routes:\n{table}\
         clusters:\n\
         - {{ name: ill, endpoints: ['{gone}'], health: {{ interval: 30ms, timeout: 30ms, unhealthy: 1 }} }}\n\
         - {{ name: gone, endpoints: ['{gone}'] }}\n\
         - {{ name: stuck, endpoints: ['{1}'] }}\n\
         - {{ name: full, endpoints: ['{1}'], max_in_flight: 1 }}\n\
         - {{ name: closes, endpoints: ['{2}'] }}\n\
         - {{ name: garbage, endpoints: ['{3}'] }}\n",
        path.display(),
        stuck.address,
        rude(b""),
        rude(&[0xee; 64]),
    );
    let proxy = Proxy::new(parse(&yaml), registry()).with_filter("l", Deny).start().expect("up");
    let mut caller = connect(&proxy);
    until("it is known to be ill", || outcome(&mut caller, request("s", "wait", &[])) == "UH");
    assert_eq!(flag(&caller.call(request("s", "rl", &[]))), "", "the first is let through");
    let mut holder = connect(&proxy);
    holder.ask(request("s", "hold", &[]));
    until("it is held", || stuck.requests() == 1);
    for method in ["nr", "uh", "uf", "ut", "uo", "rl", "uc", "upe", "dn", "fi", "di"] {
        let told = outcome(&mut caller, request("s", method, &[]));
        assert_eq!(told.to_lowercase(), method);
    }
    let full = "y".repeat(32_600);
    assert_eq!(outcome(&mut caller, request("s", "dpe", &[("full", &full)])), "DPE");
    proxy.drain();
    assert_eq!(flag(&holder.receive().expect("answered")), "DR");
    let metrics = proxy.metrics().clone();
    drop((caller, holder));
    proxy.join();
    let log = fs::read_to_string(&path).expect("written");
    let lines = log.lines().map(|line| {
        let method = match format {
            "json" => {
                let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
                line["method"].as_str().expect("text").to_owned()
            }
            _ => line.split(' ').next().expect("a word").to_owned(),
        };
        (method, line.replace(&gone, "GONE").replace(&stuck.address, "STUCK"))
    });
    (lines.collect(), metrics.encode(Format::Classic, &[]))
}

/// Method, flag, status, cluster, endpoint (or `-`).
const EXPECTED: [[&str; 5]; 13] = [
    ["nr", "NR", "not_found", "-", "-"],
    ["uh", "UH", "unavailable", "ill", "-"],
    ["uf", "UF", "unavailable", "gone", "GONE"],
    ["ut", "UT", "timeout", "stuck", "STUCK"],
    ["uo", "UO", "overloaded", "full", "-"],
    ["rl", "RL", "overloaded", "-", "-"],
    ["uc", "UC", "unavailable", "closes", "*"],
    ["upe", "UPE", "internal", "garbage", "*"],
    ["dn", "DN", "denied", "stuck", "-"],
    ["fi", "FI", "internal", "stuck", "-"],
    ["di", "DI", "unavailable", "-", "-"],
    ["dpe", "DPE", "bad_request", "stuck", "-"],
    ["hold", "DR", "unavailable", "full", "STUCK"],
];

#[test]
fn every_reason_has_its_flag_in_the_log_as_text_and_in_the_metrics() {
    let (lines, metrics) = run("text");
    for expected in EXPECTED {
        let line: Vec<_> = lines[expected[0]].split(' ').collect();
        assert_eq!(line[..4], expected[..4]);
        assert!(expected[4] == "*" || line[4] == expected[4], "{line:?}");
        let flagged = format!("flag=\"{}\"", expected[1]);
        let is_it = |line: &&str| {
            line.starts_with("wiremesh_local_replies_total") && line.contains(&flagged)
        };
        let found = metrics.lines().find(is_it);
        assert!(found.is_some_and(|line| !line.ends_with(" 0")), "{flagged}\n{metrics}");
    }
}

#[test]
fn every_reason_has_its_flag_in_the_log_as_json() {
    let (lines, _) = run("json");
    for expected in EXPECTED {
        let line: serde_json::Value = serde_json::from_str(&lines[expected[0]]).expect("JSON");
        for (field, expected) in
            ["method", "flag", "status", "cluster", "endpoint"].iter().zip(expected)
        {
            let value = line[field].as_str().unwrap_or("-");
            assert!(expected == "*" || value == expected, "{field}: {line}");
        }
    }
}
