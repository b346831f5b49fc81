//! Operating the proxy: reload, drain, the admin pages, the access log, workers. Mostly the built binary, under load.

mod common;

use std::{
    fs,
    time::{Duration, Instant},
};

use wiremesh_bolt::BoltFrame;
use wiremesh_proxy::telemetry::{Format, ListenerTotals};

use common::{
    bolt::{BoltServer, address_of, connect, mesh, named, outcome, request, routes, silent, until},
    process::{End, Load, Wiremesh, http, value},
};

fn any() -> BoltFrame {
    request("s", "m", &[])
}

/// A configuration with a listener at the Unix socket `l`, a route to `c`, and the given rest.
fn yaml(server: &BoltServer, rest: &str) -> String {
    format!(
        "admin: ADMIN\nworkers: 2\n{rest}\
         listeners:\n- {{ name: l, address: 'unix:DIR/l', protocols: [bolt], routes: [{{ name: r, cluster: c }}] }}\n\
         clusters:\n- {{ name: c, endpoints: ['{}'] }}\n",
        server.address
    )
}

const APPLIED: &str = "wiremesh_config_reloads_total{result=\"applied\"}";
const REJECTED: &str = "wiremesh_config_reloads_total{result=\"rejected\"}";

#[test]
fn a_changed_file_is_taken_over_under_load() {
    let (first, second) = (named("first"), named("second"));
    let proxy = Wiremesh::start(&yaml(&first, ""));
    let load = Load::start(&proxy.socket("l"), 10, &["first", "second"]);
    load.more(100);
    proxy.configure(&yaml(&second, ""));
    until("it is noticed", || second.requests() > 0);
    load.more(100);
    assert_eq!(proxy.metric(APPLIED), 1.0);
    let (_, config) = proxy.http("GET", "/config");
    assert!(config.contains(&second.address) && !config.contains(&first.address), "{config}");
    let before = first.requests();
    load.more(100);
    load.stop();
    assert_eq!(first.requests(), before, "nothing goes to the old one any more");
}

#[test]
fn sighup_reads_the_file_again_under_load() {
    let (first, second) = (named("first"), named("second"));
    let proxy = Wiremesh::start(&yaml(&first, ""));
    let load = Load::start(&proxy.socket("l"), 10, &["first", "second"]);
    for round in 1..=6 {
        load.more(50);
        // Sooner than the watch on the file could notice, or without any change.
        if round % 2 == 0 {
            proxy.configure(&yaml(if round % 4 == 0 { &first } else { &second }, ""));
        }
        proxy.signal("HUP");
        until("it is read", || proxy.metric(APPLIED) >= f64::from(round));
    }
    load.more(50);
    load.stop();
    assert!(second.requests() > 0);
    assert!(proxy.log().contains("the new configuration is in force"), "{}", proxy.log());
}

#[test]
fn a_rejected_reload_keeps_the_old_configuration_and_says_so() {
    let server = named("a");
    let good = yaml(&server, "");
    let proxy = Wiremesh::start(&good);
    let load = Load::start(&proxy.socket("l"), 4, &["a"]);
    load.more(20);
    proxy.configure(&good.replace("cluster: c", "clutser: c").replace("workers: 2", "workers: no"));
    proxy.signal("HUP");
    until("it is refused", || proxy.metric(REJECTED) == 1.0);
    load.more(20);
    let (_, shown) = proxy.http("GET", "/config");
    assert!(shown.contains("# refused at ") && shown.contains(&server.address), "{shown}");
    for mistake in ["wiremesh.yaml:2:10: ", "unknown field \"clutser\"; did you mean \"cluster\"?"]
    {
        assert!(shown.contains(mistake), "{shown}");
        until("it is logged", || proxy.log().contains(mistake));
    }
    // A file that is fine, but cannot be put in force.
    let taken = good.replace("unix:DIR/l'", "unix:DIR/no/such/directory/l'");
    proxy.configure(&taken);
    proxy.signal("HUP");
    until("it is refused", || proxy.metric(REJECTED) == 2.0);
    load.more(20);
    assert_eq!(proxy.metric(APPLIED), 0.0);
    // Put right, it is no longer shown as refused.
    proxy.configure(&good);
    proxy.signal("HUP");
    until("it is taken over", || proxy.metric(APPLIED) == 1.0);
    assert!(!proxy.http("GET", "/config").1.contains("# refused"));
    load.stop();
}

#[test]
fn listeners_come_and_go_with_a_reload() {
    let (server, stuck) = (named("a"), silent());
    let one = yaml(&server, "");
    let two = one.replace(
        "clusters:\n",
        &format!(
            "- {{ name: m, address: 'unix:DIR/m', protocols: [bolt], routes: [{{ name: r, cluster: d }}] }}\nclusters:\n- {{ name: d, endpoints: ['{}'] }}\n",
            stuck.address
        ),
    );
    let proxy = Wiremesh::start(&one);
    let mut old = proxy.connect("l");
    assert_eq!(outcome(&mut old, any()), "a");
    proxy.configure(&two);
    proxy.signal("HUP");
    // Its file is there before it listens.
    until("it listens", || std::os::unix::net::UnixStream::connect(proxy.path("m")).is_ok());
    let mut new = proxy.connect("m");
    new.ask(any());
    until("it is served", || stuck.requests() == 1);
    proxy.configure(&one);
    proxy.signal("HUP");
    until("it listens no more", || !proxy.path("m").exists());
    // What is in flight is finished, and then the connection is closed.
    let seen = stuck.seen().pop().expect("it waits");
    let answer = common::bolt::reply(&seen.frame, wiremesh_bolt::ResponseStatus::Success, b"late");
    stuck.send(seen.connection, answer);
    assert_eq!(common::bolt::text(&new.receive().expect("answered")), "late");
    assert!(new.receive().is_none(), "closed");
    assert_eq!(outcome(&mut old, any()), "a", "the other listener never noticed");
}

#[test]
fn sigterm_drains_under_load() {
    let server = named("a");
    for signal in ["TERM", "INT"] {
        let proxy = Wiremesh::start(&yaml(&server, "drain_timeout: 300ms\n"));
        let load = Load::start(&proxy.socket("l"), 10, &["a"]);
        load.more(100);
        proxy.signal(signal);
        until("it is not ready", || {
            proxy.try_http("GET", "/ready").is_none_or(|(code, _)| code == 503)
        });
        let ends = load.ends();
        assert_eq!(ends, vec![End::Refused; 10], "each was told before it was closed");
        let (code, log) = proxy.wait();
        assert_eq!(code, Some(0), "{log}");
    }
}

#[test]
fn a_drain_can_be_asked_for_and_is_shown() {
    let server = silent();
    let proxy = Wiremesh::start(&yaml(&server, "drain_timeout: 10s\n"));
    let mut busy = proxy.connect("l");
    busy.ask(any());
    until("it is in flight", || server.requests() == 1);
    assert_eq!(proxy.http("GET", "/ready"), (200, "serving\n".into()));
    assert_eq!(proxy.http("GET", "/drain").0, 405, "only a POST changes anything");
    assert_eq!(proxy.http("POST", "/drain").0, 202);
    until("it is draining", || proxy.http("GET", "/ready").0 == 503);
    assert!(proxy.http("GET", "/ready").1.starts_with("draining"));
    until("nobody is let in", || !proxy.path("l").exists());
    // What is in flight is waited for; the pages stay until then.
    let seen = server.seen().pop().expect("it is there");
    let answer = common::bolt::reply(&seen.frame, wiremesh_bolt::ResponseStatus::Success, b"last");
    server.send(seen.connection, answer);
    assert_eq!(common::bolt::text(&busy.receive().expect("answered")), "last");
    assert!(busy.receive().is_none(), "closed when it is quiet");
    let (code, log) = proxy.wait();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn the_access_log_is_rotated_without_losing_a_line() {
    let server = named("a");
    let log = "access_log: { path: DIR/access.log, format: json, fields: [route, flag] }\n";
    let proxy = Wiremesh::start(&yaml(&server, log));
    let load = Load::start(&proxy.socket("l"), 4, &["a"]);
    load.more(100);
    let (file, moved) = (proxy.path("access.log"), proxy.path("access.log.1"));
    until("lines are written", || fs::metadata(&file).is_ok_and(|meta| meta.len() > 0));
    fs::rename(&file, &moved).expect("moved");
    proxy.signal("HUP");
    until("a new file is begun", || fs::metadata(&file).is_ok_and(|meta| meta.len() > 0));
    load.more(100);
    load.stop();
    proxy.signal("TERM");
    let (first, second) = (file, moved);
    // The directory goes with the process, so what is in it is looked at before.
    let requests = server.requests();
    let lines = || -> usize {
        let text = [&first, &second].map(|path| fs::read_to_string(path).unwrap_or_default());
        text.iter()
            .flat_map(|text| text.lines())
            .filter(|l| *l == "{\"route\":\"r\",\"flag\":null}")
            .count()
    };
    until("every request has its line", || lines() == requests);
    assert_eq!(proxy.wait().0, Some(0));
}

#[test]
fn variables_are_filled_in_from_the_environment() {
    let (one, other) = (named("one"), named("other"));
    let text = "admin: ADMIN\nworkers: ${WORKERS:-1}\n\
        listeners:\n- { name: l, address: 'unix:DIR/l', protocols: [bolt], routes: [{ name: r, cluster: c }] }\n\
        clusters:\n- { name: c, endpoints: ['${UPSTREAM}'] }\n";
    let proxy = Wiremesh::start_in(text, &[("UPSTREAM", &one.address)]);
    assert_eq!(outcome(&mut proxy.connect("l"), any()), "one");
    assert_eq!(proxy.metric("wiremesh_workers"), 1.0);
    let proxy = Wiremesh::start_in(text, &[("UPSTREAM", &other.address), ("WORKERS", "3")]);
    assert_eq!(outcome(&mut proxy.connect("l"), any()), "other");
    assert_eq!(proxy.metric("wiremesh_workers"), 3.0);
}

#[test]
fn the_log_level_is_changed_while_it_runs() {
    let server = named("a");
    let proxy = Wiremesh::start(&yaml(&server, "log: warn\n"));
    let refused = || {
        use std::io::Write;
        let mut caller = proxy.connect("l");
        caller.socket.write_all(&[0xee; 32]).expect("written");
        assert!(caller.receive().is_none());
    };
    refused();
    assert_eq!(proxy.http("GET", "/log"), (200, "warn\n".into()));
    assert_eq!(proxy.http("POST", "/log?level=info"), (200, "info\n".into()));
    assert!(!proxy.log().contains("undecodable request"), "{}", proxy.log());
    refused();
    until("it is logged now", || proxy.log().contains("undecodable request"));
    assert_eq!(proxy.http("POST", "/log?level=loud").0, 400);
}

#[test]
fn the_admin_pages_show_what_goes_on() {
    let (a, b) = (named("a"), named("b"));
    let clusters = format!(
        "[{{ name: c, balance: round_robin, endpoints: ['{}', '{}'] }}]",
        a.address, b.address
    );
    let proxy =
        mesh(&format!("admin: '127.0.0.1:0'\n{}", routes("[{ name: r, cluster: c }]", &clusters)));
    let mut caller = connect(&proxy);
    for _ in 0..10 {
        caller.call(request("com.x.Hello", "plus", &[]));
    }
    let admin = proxy.admin().expect("it has pages");
    let (code, clusters) = http(admin, "GET", "/clusters").expect("there");
    let clusters: serde_json::Value = serde_json::from_str(&clusters).expect("JSON");
    assert_eq!((code, &clusters[0]["name"]), (200, &"c".into()));
    for (endpoint, server) in
        clusters[0]["endpoints"].as_array().expect("a list").iter().zip([&a, &b])
    {
        assert_eq!(endpoint["address"], server.address);
        assert_eq!(endpoint["state"], "available");
        assert_eq!((&endpoint["requests"], &endpoint["connections"]), (&5.into(), &1.into()));
    }
    let (_, config) = http(admin, "GET", "/config").expect("there");
    assert!(config.contains("idle_timeout: 5m"), "defaults are spelt out: {config}");
    let (_, metrics) = http(admin, "GET", "/metrics").expect("there");
    let labels = "listener=\"l\",cluster=\"c\",service=\"com.x.Hello\",method=\"plus\"";
    for (line, expected) in [
        (format!("wiremesh_requests_total{{{labels},status=\"ok\"}}"), 10.0),
        (format!("wiremesh_request_duration_seconds_count{{{labels}}}"), 10.0),
        (format!("wiremesh_request_duration_seconds_bucket{{le=\"+Inf\",{labels}}}"), 10.0),
        (
            format!("wiremesh_endpoint_requests_total{{cluster=\"c\",endpoint=\"{}\"}}", a.address),
            5.0,
        ),
        (
            format!(
                "wiremesh_endpoint_request_duration_seconds_count{{cluster=\"c\",endpoint=\"{}\"}}",
                a.address
            ),
            5.0,
        ),
        ("wiremesh_listener_connections_active{listener=\"l\"}".into(), 1.0),
        ("wiremesh_cluster_used{cluster=\"c\",bound=\"connections\"}".into(), 2.0),
        ("wiremesh_workers".into(), 1.0),
    ] {
        assert_eq!(value(&metrics, &line), expected, "{line}\n{metrics}");
    }
}

#[test]
fn names_that_clients_make_up_share_one_series_in_the_end() {
    let server = named("a");
    let clusters = format!("[{{ name: c, endpoints: ['{}'] }}]", server.address);
    let proxy = mesh(&routes("[{ name: r, cluster: c }]", &clusters));
    let mut caller = connect(&proxy);
    const NAMES: usize = 2100;
    for number in 0..NAMES {
        caller.ask(request("s", &format!("method{number}"), &[]));
    }
    for _ in 0..NAMES {
        caller.receive().expect("answered");
    }
    let metrics = proxy.metrics().encode(Format::Classic, &[]);
    let other = "wiremesh_requests_total{listener=\"l\",cluster=\"c\",service=\"other\",method=\"other\",status=\"ok\"}";
    assert_eq!(value(&metrics, other), 100.0);
}

#[test]
fn connections_are_spread_evenly_over_the_workers() {
    const WORKERS: usize = 4;
    let server = named("a");
    let clusters = format!("[{{ name: c, endpoints: ['{}'] }}]", server.address);
    let yaml = routes("[{ name: r, cluster: c }]", &clusters).replace("workers: 1", "workers: 4");
    let proxy = mesh(&yaml);
    // Each worker has one upstream connection: which one a request comes by tells the worker of its client.
    let mut callers: Vec<_> = (0..10 * WORKERS).map(|_| connect(&proxy)).collect();
    let spread = |from: usize| {
        let mut counts = vec![0; WORKERS];
        server.seen()[from..].iter().for_each(|seen| counts[seen.connection] += 1);
        counts
    };
    callers.iter_mut().for_each(|caller| drop(caller.call(any())));
    assert_eq!(server.connections(), WORKERS);
    assert_eq!(spread(0), [10; WORKERS]);
    // Half of them leave, all of them those of two workers; those that come take their places.
    let seen = server.seen();
    let mut numbered = seen.iter().map(|seen| seen.connection);
    callers.retain(|_| numbered.next().expect("one each") < WORKERS / 2);
    until("they are gone", || {
        let totals = proxy.metrics().snapshot();
        totals.listener("l").map(ListenerTotals::connections_active)
            == Some(10 * WORKERS as u64 / 2)
    });
    // The slot of a connection is given back just after it is counted out.
    let even = || {
        let mut fresh: Vec<_> = (0..10 * WORKERS / 2).map(|_| connect(&proxy)).collect();
        let from = server.seen().len();
        fresh.iter_mut().for_each(|caller| drop(caller.call(any())));
        spread(from)
    };
    let counts = even();
    assert!(
        counts[..2].iter().all(|n| *n <= 2) && counts[2..].iter().all(|n| *n >= 8),
        "{counts:?}"
    );
}

#[test]
fn a_listener_takes_no_more_connections_than_it_may() {
    let server = named("a");
    let clusters = format!("[{{ name: c, endpoints: ['{}'] }}]", server.address);
    let yaml = routes("[{ name: r, cluster: c }]", &clusters)
        .replace("protocols:", "max_connections: 2, protocols:");
    let proxy = mesh(&yaml);
    let mut callers = [connect(&proxy), connect(&proxy)];
    for caller in &mut callers {
        assert_eq!(outcome(caller, any()), "a");
    }
    assert!(connect(&proxy).receive().is_none(), "one too many");
    let metrics = proxy.metrics().encode(Format::Classic, &[]);
    let full = "wiremesh_listener_refused_total{listener=\"l\",cause=\"full\"}";
    assert_eq!(value(&metrics, full), 1.0);
    drop(callers);
    let begun = Instant::now();
    until("there is room again", || {
        let mut caller = common::bolt::BoltCaller::connect(&address_of(&proxy, "l"));
        caller.ask(any());
        caller.receive().is_some()
    });
    assert!(begun.elapsed() < Duration::from_secs(5));
}
