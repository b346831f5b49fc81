//! Clusters across the running proxy: which endpoint a request gets, the bounds, and how dead endpoints are found.

mod common;

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use wiremesh::{Kind, Status};
use wiremesh_bolt::{BoltFrame, ResponseStatus};
use wiremesh_proxy::server::Handle;

use common::{
    bolt::{
        BoltCaller, BoltServer, address_of, connect, flag, heartbeat, mesh, named, outcome, parse,
        refusing, reply, request, routes, silent, text, until,
    },
    peer::{Count, Seen},
};

const ROUTE: &str = "[{ name: r, cluster: c }]";

/// A cluster `c` of these endpoints and settings, behind one route.
fn one_cluster(endpoints: &[&str], settings: &str) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(|address| format!("'{address}'")).collect();
    routes(ROUTE, &format!("[{{ name: c, endpoints: [{}], {settings} }}]", endpoints.join(", ")))
}

/// The same of servers.
fn of(servers: &[&BoltServer], settings: &str) -> String {
    let addresses: Vec<_> = servers.iter().map(|server| &*server.address).collect();
    one_cluster(&addresses, settings)
}

fn any() -> BoltFrame {
    request("s", "m", &[])
}

/// Asks so many at once, and waits for the answers.
fn ask_all(caller: &mut BoltCaller, count: usize) {
    for _ in 0..count {
        caller.ask(any());
    }
    for _ in 0..count {
        assert_eq!(flag(&caller.receive().expect("answered")), "");
    }
}

fn requests<const N: usize>(servers: &[BoltServer; N]) -> [usize; N] {
    servers.each_ref().map(BoltServer::requests)
}

/// What the proxy has counted of an endpoint of `c`.
fn counted(proxy: &Handle, address: &str) -> wiremesh_proxy::telemetry::EndpointTotals {
    proxy.metrics().snapshot().endpoint("c", address).cloned().unwrap_or_default()
}

#[test]
fn round_robin_takes_one_after_the_other() {
    let servers = ["a", "b", "c"].map(named);
    let proxy = mesh(&of(&servers.each_ref(), "balance: round_robin"));
    ask_all(&mut connect(&proxy), 30);
    assert_eq!(requests(&servers), [10, 10, 10]);
}

#[test]
fn weighted_takes_each_as_often_as_its_weight_says() {
    let servers = ["a", "b", "c"].map(named);
    let [a, b, c] = servers.each_ref().map(|s| &s.address);
    let proxy = mesh(&routes(
        ROUTE,
        &format!(
            "[{{ name: c, balance: weighted, endpoints: [{{ address: '{a}', weight: 1 }}, {{ address: '{b}', weight: 2 }}, {{ address: '{c}', weight: 3 }}] }}]"
        ),
    ));
    ask_all(&mut connect(&proxy), 60);
    assert_eq!(requests(&servers), [10, 20, 30]);
}

#[test]
fn random_is_even_in_the_long_run() {
    let servers = ["a", "b", "c"].map(named);
    let proxy = mesh(&of(&servers.each_ref(), "balance: random"));
    ask_all(&mut connect(&proxy), 900);
    // Five standard deviations are 71.
    assert!(requests(&servers).iter().all(|n| (220..=380).contains(n)), "{:?}", requests(&servers));
}

#[test]
fn least_request_avoids_the_busy() {
    let (stuck, well) = (silent(), named("well"));
    let proxy = mesh(&of(&[&stuck, &well], "balance: least_request"));
    let mut caller = connect(&proxy);
    for sent in 1..=30 {
        let before = stuck.requests();
        caller.ask(any());
        until("it arrives", || stuck.requests() + well.requests() == sent);
        if stuck.requests() == before {
            assert_eq!(text(&caller.receive().expect("answered")), "well");
        }
    }
    assert!(stuck.requests() <= 1, "{}", stuck.requests());
}

#[test]
fn peak_ewma_avoids_the_slow() {
    let slow = BoltServer::start("127.0.0.1:0", |seen: &Seen<BoltFrame>| {
        std::thread::sleep(Duration::from_millis(50));
        vec![reply(&seen.frame, ResponseStatus::Success, b"slow")]
    });
    let quick = named("quick");
    let proxy = mesh(&of(&[&slow, &quick], "balance: peak_ewma"));
    let mut caller = connect(&proxy);
    for _ in 0..100 {
        caller.call(any());
    }
    assert!(slow.requests() <= 20, "{}", slow.requests());
}

#[test]
fn hashed_requests_stay_with_their_endpoint() {
    const KEYS: usize = 100;
    for balance in ["ring_hash", "maglev"] {
        let servers = ["a", "b", "c", "d"].map(named);
        let yaml = |count: usize| {
            let servers: Vec<_> = servers[..count].iter().collect();
            of(&servers, &format!("balance: {balance}"))
                .replace("cluster: c", "cluster: c, hash: { header: user }")
                .replace("workers: 1", "workers: 2")
        };
        let proxy = mesh(&yaml(4));
        // One connection on each worker: both must choose alike.
        let mut callers = [connect(&proxy), connect(&proxy)];
        let homes = |proxy: &mut [BoltCaller]| -> BTreeMap<usize, String> {
            let home = |key: usize, caller: &mut BoltCaller| {
                text(&caller.call(request("s", "m", &[("user", &key.to_string())])))
            };
            let [one, other] = proxy else { panic!("two callers") };
            let first: BTreeMap<_, _> = (0..KEYS).map(|key| (key, home(key, one))).collect();
            (0..KEYS).for_each(|key| assert_eq!(first[&key], home(key, other), "{balance} {key}"));
            first
        };
        let before = homes(&mut callers);
        for name in ["a", "b", "c", "d"] {
            let share = before.values().filter(|home| *home == name).count();
            assert!((8..=50).contains(&share), "{balance}: {name} has {share} of {KEYS}");
        }
        // Without `d` its keys move, and few others.
        proxy.reload(parse(&yaml(3))).expect("valid");
        let after = homes(&mut callers);
        let stayed = |key: &usize| before[key] == after[key];
        let others: Vec<_> = (0..KEYS).filter(|key| before[key] != "d").collect();
        let moved = others.iter().filter(|key| !stayed(key)).count();
        assert!(moved * 5 <= others.len(), "{balance}: {moved} of {} moved", others.len());
        assert!(after.values().all(|home| home != "d"));
    }
}

#[test]
fn an_endpoint_that_is_new_gets_less_at_first() {
    let servers = ["a", "b"].map(named);
    let yaml = |servers: &[&BoltServer]| of(servers, "balance: round_robin, slow_start: 60s");
    let proxy = mesh(&yaml(&[&servers[0]]));
    let mut caller = connect(&proxy);
    ask_all(&mut caller, 10);
    proxy.reload(parse(&yaml(&servers.each_ref()))).expect("valid");
    ask_all(&mut caller, 400);
    // A tenth of an even share of 200, give or take five standard deviations.
    let new = servers[1].requests();
    assert!((1..=70).contains(&new), "{new}");
}

#[test]
fn no_more_connections_than_allowed() {
    let servers = ["a", "b"].map(named);
    let proxy = mesh(&of(&servers.each_ref(), "balance: round_robin, max_connections: 1"));
    let mut caller = connect(&proxy);
    let mut outcomes: Vec<_> = (0..4).map(|_| outcome(&mut caller, any())).collect();
    outcomes.sort();
    assert!(
        outcomes == ["UO", "UO", "a", "a"] || outcomes == ["UO", "UO", "b", "b"],
        "{outcomes:?}"
    );
    assert_eq!(servers[0].connections() + servers[1].connections(), 1);
}

/// A listening socket that connects nobody: its queue is full.
struct Unreachable {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

fn unreachable() -> Unreachable {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&any.into()).expect("bound");
    socket.listen(0).expect("listens");
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().expect("bound");
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queued.push(stream);
        assert!(queued.len() < 100, "the queue has no end");
    }
    Unreachable { address, _listener: listener, _queued: queued }
}

#[test]
fn connecting_takes_no_longer_than_allowed_and_few_wait_for_it() {
    let nowhere = unreachable();
    let address = nowhere.address.to_string();
    let proxy = mesh(&one_cluster(&[&address], "connect_timeout: 400ms, max_pending: 2"));
    let mut caller = connect(&proxy);
    let begun = Instant::now();
    let waiting = [caller.ask(any()), caller.ask(any())];
    let third = caller.ask(any());
    let refused = caller.receive().expect("answered");
    assert_eq!((u64::from(refused.id()), &*flag(&refused)), (third, "UO"));
    let failed = waiting.map(|_| caller.receive().expect("answered"));
    let took = begun.elapsed();
    assert!((Duration::from_millis(400)..Duration::from_secs(3)).contains(&took), "{took:?}");
    for reply in &failed {
        assert_eq!((wiremesh::Frame::status(reply), &*flag(reply)), (Status::Unavailable, "UF"));
    }
    assert_eq!(counted(&proxy, &address).connect_failures, 1);
}

#[test]
fn the_time_of_one_try_includes_the_connecting() {
    let (nowhere, well) = (unreachable(), named("well"));
    let proxy = mesh(
        &one_cluster(
            &[&nowhere.address.to_string(), &well.address],
            "connect_timeout: 9s, balance: round_robin, outlier: off",
        )
        .replace(
            "cluster: c",
            "cluster: c, timeout: 8s, try_timeout: 100ms, retry: { attempts: 1, on: [timeout], idempotent: true, budget: { percent: 100 } }",
        ),
    );
    let mut caller = connect(&proxy);
    for _ in 0..2 {
        assert_eq!(outcome(&mut caller, any()), "well", "not executed, so tried elsewhere");
    }
}

#[test]
fn idle_clients_are_closed_but_not_while_they_wait() {
    let server = silent();
    let yaml = of(&[&server], "idle_timeout: 10m")
        .replace("protocols:", "idle_timeout: 150ms, protocols:");
    let proxy = mesh(&yaml);
    let (mut busy, mut idle) = (connect(&proxy), connect(&proxy));
    busy.ask(any());
    idle.send(heartbeat());
    assert_eq!(wiremesh::Frame::kind(&idle.receive().expect("a reply")), Kind::HeartbeatReply);
    assert!(idle.receive().is_none(), "closed for being idle");
    // The other one has been as idle, but waits for a reply.
    let seen = server.seen().pop().expect("it is there");
    server.send(seen.connection, reply(&seen.frame, ResponseStatus::Success, b"late"));
    assert_eq!(text(&busy.receive().expect("not closed")), "late");
    assert!(busy.receive().is_none(), "closed when it was idle");
    assert_eq!(proxy.metrics().snapshot().listener("l").map(|l| l.idle_timeouts), Some(2));
}

#[test]
fn idle_upstream_connections_are_closed_although_they_are_probed() {
    let server = named("a");
    let proxy = mesh(&of(
        &[&server],
        "idle_timeout: 400ms, keepalive: { interval: 40ms, timeout: 40ms, failures: 99 }",
    ));
    let mut caller = connect(&proxy);
    assert_eq!(outcome(&mut caller, any()), "a");
    until("it is probed", || server.of_kind(Kind::Heartbeat) >= 2);
    until("it is closed", || server.open() == 0);
    assert_eq!(outcome(&mut caller, any()), "a", "a new one is made");
    assert_eq!(server.connections(), 2);
}

#[test]
fn upstream_connections_stay_while_a_request_waits() {
    let server = silent();
    let proxy = mesh(&of(&[&server], "idle_timeout: 100ms, keepalive: off"));
    let mut caller = connect(&proxy);
    caller.ask(any());
    until("it is there", || server.requests() == 1);
    // Longer than a connection without requests may be idle.
    std::thread::sleep(Duration::from_millis(400));
    let seen = server.seen().pop().expect("it is there");
    server.send(seen.connection, reply(&seen.frame, ResponseStatus::Success, b"late"));
    assert_eq!(text(&caller.receive().expect("answered")), "late");
    until("it is closed", || server.open() == 0);
}

#[test]
fn probes_are_no_requests() {
    let server = named("a");
    let proxy = mesh(&of(&[&server], "keepalive: { interval: 20ms, timeout: 20ms, failures: 99 }"));
    let mut caller = connect(&proxy);
    assert_eq!(outcome(&mut caller, any()), "a");
    until("it is probed", || server.of_kind(Kind::Heartbeat) >= 3);
    assert_eq!(server.connections(), 1);
    let totals = counted(&proxy, &server.address);
    assert!(totals.heartbeats_sent >= 3);
    assert_eq!(
        (totals.totals.requests, totals.heartbeats_failed, totals.unknown_replies),
        (1, 0, 0)
    );
    assert_eq!(proxy.metrics().snapshot().total().requests, 1);
}

#[test]
fn an_upstream_that_is_silent_is_found_dead() {
    // Accepts, by the kernel, and never reads nor answers: a host that is gone looks like this.
    let hole = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = hole.local_addr().expect("bound").to_string();
    let settings = "keepalive: { interval: 100ms, timeout: 50ms, failures: 2 }";
    let proxy = mesh(&one_cluster(&[&address], settings));
    let mut caller = connect(&proxy);
    let begun = Instant::now();
    let reply = caller.call(any());
    assert_eq!(flag(&reply), "UC");
    assert!(text(&reply).contains("heartbeat"), "{}", text(&reply));
    let took = begun.elapsed();
    assert!((Duration::from_millis(200)..Duration::from_secs(3)).contains(&took), "{took:?}");
    assert_eq!(counted(&proxy, &address).heartbeats_failed, 1);
}

#[test]
fn health_checks_take_an_endpoint_out_and_bring_it_back() {
    let (one, other) = (named("one"), named("other"));
    let address = other.address.clone();
    let settings = "balance: round_robin, outlier: off, health: { interval: 50ms, timeout: 50ms, healthy: 2, unhealthy: 2 }";
    let proxy = mesh(&of(&[&one, &other], settings));
    let mut caller = connect(&proxy);
    until("both are probed", || {
        one.of_kind(Kind::Heartbeat) >= 2 && other.of_kind(Kind::Heartbeat) >= 2
    });
    ask_all(&mut caller, 10);
    assert_eq!((one.requests(), other.requests()), (5, 5), "probes are no requests");
    drop(other);
    // Without requests: the checks alone find out.
    until("the dead one is left out", || (0..4).all(|_| outcome(&mut caller, any()) == "one"));
    let other = BoltServer::start(&address, |seen: &Seen<BoltFrame>| {
        vec![reply(&seen.frame, ResponseStatus::Success, b"back")]
    });
    until("it is back", || outcome(&mut caller, any()) == "back");
    assert!(other.of_kind(Kind::Heartbeat) >= 2, "healthy twice first");
}

#[test]
fn without_a_healthy_endpoint_requests_are_answered_at_once() {
    let address = { named("gone").address.clone() };
    let proxy =
        mesh(&one_cluster(&[&address], "health: { interval: 30ms, timeout: 30ms, unhealthy: 1 }"));
    let mut caller = connect(&proxy);
    until("it is known to be down", || outcome(&mut caller, any()) == "UH");
}

#[test]
fn an_endpoint_that_fails_is_ejected_and_comes_back() {
    let well = named("well");
    let ill = Count::default();
    let state = ill.clone();
    let flaky = BoltServer::start("127.0.0.1:0", move |seen: &Seen<BoltFrame>| {
        let status = match state.get() {
            0 => ResponseStatus::Error,
            _ => ResponseStatus::Success,
        };
        vec![reply(&seen.frame, status, b"flaky")]
    });
    let proxy = mesh(&of(
        &[&well, &flaky],
        "balance: round_robin, outlier: { consecutive_failures: 3, ejection: 400ms }",
    ));
    let mut caller = connect(&proxy);
    until("it is ejected", || {
        outcome(&mut caller, any());
        counted(&proxy, &flaky.address).ejections == 1
    });
    assert_eq!(flaky.requests(), 3);
    let before = well.requests();
    for _ in 0..6 {
        assert_eq!(outcome(&mut caller, any()), "well");
    }
    assert_eq!((well.requests() - before, flaky.requests()), (6, 3));
    ill.set(1);
    until("it is back", || outcome(&mut caller, any()) == "flaky");
}

#[test]
fn a_go_away_sends_new_requests_elsewhere_and_lets_the_old_finish() {
    let (leaving, other) = (silent(), named("other"));
    let proxy = mesh(&of(&[&leaving, &other], "balance: round_robin"));
    let mut caller = connect(&proxy);
    // In turn, so that each has one of two; the one that is silent never answers by itself.
    caller.ask(any());
    caller.ask(any());
    until("each has one", || leaving.requests() == 1 && other.requests() == 1);
    let waiting = leaving.seen().pop().expect("it waits");
    let bye = wiremesh_bolt::Builder { kind: Kind::GoAway, timeout: 0, ..Default::default() };
    leaving.send(waiting.connection, bye.build().expect("short"));
    let mut callers = connect(&proxy);
    until("it is left alone", || (0..4).all(|_| outcome(&mut callers, any()) == "other"));
    leaving.send(waiting.connection, reply(&waiting.frame, ResponseStatus::Success, b"finished"));
    loop {
        match &*text(&caller.receive().expect("answered")) {
            "finished" => break,
            other => assert_eq!(other, "other"),
        }
    }
    until("its connection is closed", || leaving.open() == 0);
}

#[test]
fn addresses_of_every_kind() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| format!("unix:{}", dir.path().join(name).display());
    let named_server = |address: &str, name: &'static str| {
        BoltServer::start(address, move |seen: &Seen<BoltFrame>| {
            vec![reply(&seen.frame, ResponseStatus::Success, name.as_bytes())]
        })
    };
    let unix = named_server(&path("upstream"), "unix");
    let v6 = named_server("[::1]:0", "v6");
    let v4 = named_server("127.0.0.1:0", "dns");
    let port = v4.address.rsplit_once(':').expect("a port").1;
    let route = |name: &str| {
        format!(
            "{{ name: {name}, match: {{ method: {{ exact: {name} }} }}, cluster: {name}, retry: {{ attempts: 3, on: [connect] }} }}"
        )
    };
    let table = format!("[{}, {}, {}]", route("unix"), route("v6"), route("dns"));
    let listener = |name: &str, address: &str| {
        format!("- {{ name: {name}, address: '{address}', protocols: [bolt], routes: {table} }}\n")
    };
    let proxy = mesh(&format!(
        "workers: 1\nlisteners:\n{}{}{}clusters:\n- {{ name: unix, endpoints: ['{}'] }}\n- {{ name: v6, endpoints: ['{}'] }}\n- {{ name: dns, endpoints: ['localhost:{port}'] }}\n",
        listener("u", &path("listener")),
        listener("l4", "127.0.0.1:0"),
        listener("l6", "[::1]:0"),
        unix.address,
        v6.address,
    ));
    for name in ["u", "l4", "l6"] {
        let mut caller = BoltCaller::connect(&address_of(&proxy, name));
        for upstream in ["unix", "v6", "dns"] {
            let outcome = outcome(&mut caller, request("s", upstream, &[]));
            assert_eq!(outcome, upstream, "{name} at {}", address_of(&proxy, name));
        }
    }
    drop(proxy);
    assert!(!dir.path().join("listener").exists(), "the listener's file is removed");
}

#[test]
fn statuses_that_are_no_fault_of_the_endpoint_eject_nobody() {
    let servers =
        [refusing(ResponseStatus::ServerException), refusing(ResponseStatus::NoProcessor)];
    let proxy = mesh(&of(
        &servers.each_ref(),
        "balance: round_robin, outlier: { consecutive_failures: 1 }",
    ));
    ask_all(&mut connect(&proxy), 20);
    assert_eq!(requests(&servers), [10, 10]);
}

#[test]
fn a_name_that_comes_with_a_reload_is_resolved_by_the_running_proxy() {
    let servers = ["old", "new"].map(named);
    let proxy = mesh(&of(&[&servers[0]], ""));
    let mut caller = connect(&proxy);
    assert_eq!(outcome(&mut caller, any()), "old");
    let port = servers[1].address.rsplit_once(':').expect("a port").1;
    let changed = one_cluster(&[&format!("localhost:{port}")], "dns_refresh: 1s");
    proxy.reload(parse(&changed)).expect("valid");
    // Until the answer comes there is nobody; where the name is IPv6 first, nobody listens there.
    until("it is resolved", || outcome(&mut caller, any()) == "new");
}
