//! The line of stations, across the running proxy: what a client is told, and what the upstream sees.

mod common;

use std::time::{Duration, Instant};

use wiremesh::{Failure, Frame, HeaderView, Reason, Status};
use wiremesh_bolt::{BoltFrame, ResponseStatus};
use wiremesh_proxy::{
    policy::{Filter, PeerInfo, Verdict},
    server::Server as Proxy,
};

use common::{
    bolt::{
        BoltCaller, BoltServer, connect, flag, mesh, named, outcome, parse, refusing, reply,
        request, routes, silent, text, timed, until,
    },
    peer::{Count, Seen},
    registry,
};

/// One cluster `c` of these servers.
fn cluster(servers: &[&BoltServer]) -> String {
    let addresses: Vec<_> = servers.iter().map(|server| format!("'{}'", server.address)).collect();
    format!(
        "[{{ name: c, endpoints: [{}], balance: round_robin, outlier: off }}]",
        addresses.join(", ")
    )
}

/// A request that every route takes.
fn any() -> BoltFrame {
    request("s", "m", &[])
}

/// Clusters named after their servers: `a`, `b`, `c`.
fn named_clusters(servers: &[BoltServer]) -> String {
    let one = |(server, name): (&BoltServer, &str)| {
        format!("{{ name: {name}, endpoints: ['{}'] }}", server.address)
    };
    let all: Vec<_> = servers.iter().zip(["a", "b", "c", "d", "e"]).map(one).collect();
    format!("[{}]", all.join(", "))
}

#[test]
fn addresses_are_allowed_and_denied_at_the_listener() {
    let proxy = mesh(
        "workers: 1\n\
         listeners:\n\
         - { name: denied, address: '127.0.0.1:0', protocols: [bolt], deny: [127.0.0.0/8], routes: [{ name: r, reply: { status: ok } }] }\n\
         - { name: others, address: '127.0.0.1:0', protocols: [bolt], allow: [10.0.0.0/8], routes: [{ name: r, reply: { status: ok } }] }\n\
         - { name: allowed, address: '127.0.0.1:0', protocols: [bolt], allow: [127.0.0.0/8], deny: [127.0.0.2], routes: [{ name: r, reply: { status: ok, message: in } }] }\n\
         clusters: []\n",
    );
    let address = |name| common::bolt::address_of(&proxy, name);
    for name in ["denied", "others"] {
        let mut caller = BoltCaller::connect(&address(name));
        assert!(caller.receive().is_none(), "{name}");
        let totals = proxy.metrics().snapshot();
        let totals = totals.listener(name).expect("counted");
        assert_eq!((totals.refused_denied, totals.connections_accepted), (1, 0));
    }
    let mut caller = BoltCaller::connect(&address("allowed"));
    assert!(text(&caller.call(any())).contains("in"));
}

#[test]
fn requests_are_routed_by_service_method_and_header() {
    let servers = ["a", "b", "c", "d", "e"].map(named);
    let table = r#"[
        { name: all, match: { service: { exact: com.x.A }, method: { prefix: get }, headers: [{ name: app, regex: "^a[0-9]+$" }] }, cluster: a },
        { name: method, match: { service: { exact: com.x.A }, method: { exact: put } }, cluster: b },
        { name: prefix, match: { service: { prefix: com.y. } }, cluster: c },
        { name: regex, match: { service: { regex: "Z$" } }, cluster: d },
        { name: header, match: { headers: [{ name: color, exact: red }, { name: size, prefix: l }] }, cluster: e },
        { name: late, match: { service: { prefix: com.y.late } }, cluster: a } ]"#;
    let proxy = mesh(&routes(&table.replace('\n', " "), &named_clusters(&servers)));
    let mut caller = connect(&proxy);
    for (service, method, headers, expected) in [
        ("com.x.A", "getName", &[("app", "a12")][..], "a"),
        ("com.x.A", "getName", &[("app", "b12")], "NR"),
        ("com.x.A", "getName", &[], "NR"),
        ("com.x.A", "forget", &[("app", "a12")], "NR"),
        ("com.x.A", "put", &[], "b"),
        ("com.x.A", "puts", &[], "NR"),
        ("com.y.B", "any", &[], "c"),
        ("com.y.late", "first match wins", &[], "c"),
        ("com.Z", "any", &[], "d"),
        ("other", "any", &[("color", "red"), ("size", "large")], "e"),
        ("other", "any", &[("color", "red"), ("size", "small")], "NR"),
        ("other", "any", &[("color", "reddish"), ("size", "large")], "NR"),
    ] {
        let outcome = outcome(&mut caller, request(service, method, headers));
        assert_eq!(outcome, expected, "{service} {method} {headers:?}");
    }
}

#[test]
fn weighted_clusters_share_as_their_weights_say() {
    let servers = ["a", "b", "c"].map(named);
    let proxy = mesh(&routes(
        "[{ name: r, clusters: [{ name: a, weight: 70 }, { name: b, weight: 30 }, { name: c, weight: 0 }] }]",
        &named_clusters(&servers),
    ));
    let mut caller = connect(&proxy);
    for _ in 0..1000 {
        caller.ask(any());
    }
    for _ in 0..1000 {
        caller.receive().expect("answered");
    }
    // Five standard deviations are 73.
    assert!((620..=780).contains(&servers[0].requests()), "{}", servers[0].requests());
    assert_eq!(servers[0].requests() + servers[1].requests(), 1000);
    assert_eq!(servers[2].requests(), 0);
}

#[test]
fn header_edits_are_seen_by_the_upstream() {
    let server = named("a");
    let proxy = mesh(&routes(
        "[{ name: r, cluster: c, headers: { set: { tier: gold, fresh: '1' }, add: { app: proxy, region: eu }, remove: [secret, none] } }]",
        &cluster(&[&server]),
    ));
    let headers = [("app", "caller"), ("secret", "x"), ("tier", "silver"), ("kept", "as it was")];
    assert_eq!(text(&connect(&proxy).call(request("s", "m", &headers))), "a");
    let seen = &server.seen()[0].frame;
    let mut got = Vec::new();
    seen.for_each_header(&mut |name, value| got.push(format!("{name}={value}")));
    got.sort();
    assert_eq!(
        got,
        [
            "app=caller",
            "fresh=1",
            "kept=as it was",
            "region=eu",
            "service=s",
            "sofa_head_method_name=m",
            "tier=gold"
        ]
    );
    assert_eq!(seen.content(), b"content");
}

#[test]
fn a_route_answers_by_itself() {
    let proxy = mesh(&routes(
        "[{ name: ok, match: { method: { exact: ping } }, reply: { status: ok, message: pong } }, \
          { name: rest, reply: { status: unavailable, message: gone fishing } }]",
        "[]",
    ));
    let mut caller = connect(&proxy);
    let pong = caller.call(request("s", "ping", &[]));
    assert_eq!(pong.status(), Status::Ok);
    assert!(text(&pong).contains("pong"), "{}", text(&pong));
    let gone = caller.call(any());
    assert_eq!((gone.status(), &*flag(&gone)), (Status::Unavailable, "DI"));
    assert!(text(&gone).contains("gone fishing"), "{}", text(&gone));
}

#[test]
fn faults_are_injected_as_often_as_configured() {
    let server = named("a");
    let proxy = mesh(&routes(
        "[{ name: slow, match: { method: { exact: slow } }, cluster: c, fault: { delay: { percent: 100, duration: 150ms } } }, \
          { name: aborted, match: { method: { exact: aborted } }, cluster: c, fault: { abort: { percent: 100, status: denied } } }, \
          { name: some, cluster: c, fault: { abort: { percent: 30, status: unavailable } } }]",
        &cluster(&[&server]),
    ));
    let mut caller = connect(&proxy);
    let begun = Instant::now();
    assert_eq!(outcome(&mut caller, request("s", "slow", &[])), "a");
    assert!(begun.elapsed() >= Duration::from_millis(150), "{:?}", begun.elapsed());
    let aborted = caller.call(request("s", "aborted", &[]));
    assert_eq!((aborted.status(), &*flag(&aborted)), (Status::Denied, "FI"));
    assert_eq!(server.requests(), 1);
    for _ in 0..1000 {
        caller.ask(any());
    }
    let injected = (0..1000).filter(|_| flag(&caller.receive().expect("answered")) == "FI").count();
    // Five standard deviations are 72.
    assert!((220..=380).contains(&injected), "{injected}");
    assert_eq!(server.requests(), 1 + 1000 - injected);
}

#[test]
fn requests_per_second_are_limited() {
    let server = named("a");
    let proxy = mesh(&routes(
        "[{ name: r, cluster: c, limit: { requests_per_second: 10, burst: 3 } }]",
        &cluster(&[&server]),
    ));
    let mut caller = connect(&proxy);
    let outcomes: Vec<_> = (0..6).map(|_| outcome(&mut caller, any())).collect();
    assert_eq!(outcomes, ["a", "a", "a", "RL", "RL", "RL"]);
    until("the bucket fills again", || outcome(&mut caller, any()) == "a");
}

#[test]
fn each_value_of_a_header_has_a_limit_of_its_own() {
    let server = named("a");
    let proxy = mesh(&routes(
        "[{ name: r, cluster: c, limit: { requests_per_second: 0.1, burst: 2, by_header: app } }]",
        &cluster(&[&server]),
    ));
    let mut caller = connect(&proxy);
    for app in ["one", "two"] {
        let outcomes: Vec<_> =
            (0..3).map(|_| outcome(&mut caller, request("s", "m", &[("app", app)]))).collect();
        assert_eq!(outcomes, ["a", "a", "RL"], "{app}");
    }
}

#[test]
fn requests_at_a_time_are_limited() {
    let server = silent();
    let yaml = routes("[{ name: r, cluster: c, limit: { concurrency: 2 } }]", &cluster(&[&server]));
    let proxy = mesh(&yaml.replace("protocols:", "stall_timeout: 100ms, protocols:"));
    let mut caller = connect(&proxy);
    let held = [caller.ask(any()), caller.ask(any())];
    assert_eq!(outcome(&mut caller, any()), "RL");
    // One is answered, so there is room for one more.
    until("both are there", || server.requests() == 2);
    let first = server.seen()[0].clone();
    server.send(first.connection, reply(&first.frame, ResponseStatus::Success, b"done"));
    assert_eq!(u64::from(caller.receive().expect("answered").id()), held[0]);
    caller.ask(any());
    until("the next is let through", || server.requests() == 3);
    assert_eq!(outcome(&mut caller, any()), "RL");
    // A client that leaves gives its places back. It may have closed its sending half only, so it is given some time.
    drop(caller);
    let mut caller = connect(&proxy);
    until("there is room again", || {
        caller.ask(any());
        server.requests() >= 4
    });
}

#[test]
fn a_client_with_enough_in_flight_is_not_read() {
    let server = silent();
    let yaml = routes("[{ name: r, cluster: c }]", &cluster(&[&server]));
    let proxy = mesh(&yaml.replace("protocols:", "max_in_flight: 2, protocols:"));
    let (mut busy, mut other) = (connect(&proxy), connect(&proxy));
    for _ in 0..4 {
        busy.ask(any());
    }
    until("two are there", || server.requests() == 2);
    // What another client asks later overtakes the third.
    other.ask(request("s", "other", &[]));
    until("the other's is there", || server.requests() == 3);
    assert_eq!(server.seen()[2].frame.method().as_deref(), Some("other"));
    for answered in 0..2 {
        let seen = server.seen()[answered].clone();
        server.send(seen.connection, reply(&seen.frame, ResponseStatus::Success, b"done"));
        assert_eq!(text(&busy.receive().expect("answered")), "done");
        until("one more is read", || server.requests() == 4 + answered);
    }
}

#[test]
fn the_route_and_the_caller_bound_the_time() {
    let server = silent();
    let proxy = mesh(&routes("[{ name: r, cluster: c, timeout: 150ms }]", &cluster(&[&server])));
    let mut caller = connect(&proxy);
    for (own, least) in [(-1, 150), (5000, 150), (60, 60)] {
        let begun = Instant::now();
        let reply = caller.call(timed("s", "m", &[], own));
        assert_eq!((reply.status(), &*flag(&reply)), (Status::Timeout, "UT"));
        let took = begun.elapsed().as_millis();
        assert!((least..2000).contains(&took), "{own}: {took} ms");
    }
    // What is left is what the upstream is told.
    let told: Vec<_> = server.seen().iter().map(|s| s.frame.timeout_ms().expect("told")).collect();
    assert!(told[..2].iter().all(|ms| (140..=150).contains(ms)), "{told:?}");
    assert!((50..=60).contains(&told[2]), "{told:?}");
}

#[test]
fn the_time_passed_on_is_what_is_left() {
    let server = named("a");
    let proxy = mesh(&routes(
        "[{ name: r, cluster: c, fault: { delay: { percent: 100, duration: 100ms } } }]",
        &cluster(&[&server]),
    ));
    let deadline = ("sofa_head_deadline_remain_time", "1000");
    assert_eq!(outcome(&mut connect(&proxy), timed("s", "m", &[deadline], 1000)), "a");
    let seen = &server.seen()[0].frame;
    let told = seen.timeout_ms().expect("told");
    assert!((700..=900).contains(&told), "{told}");
    assert_eq!(seen.header(deadline.0).as_deref(), Some(&*told.to_string()));
}

const RETRY: &str =
    "backoff: { base: 1ms, max: 5ms }, budget: { percent: 100, min_per_second: 100 }";

#[test]
fn a_try_that_takes_too_long_is_followed_by_another_elsewhere() {
    let (stuck, well) = (silent(), named("well"));
    let proxy = mesh(&routes(
        &format!(
            "[{{ name: r, cluster: c, timeout: 5s, try_timeout: 60ms, retry: {{ attempts: 1, on: [timeout], idempotent: true, {RETRY} }} }}]"
        ),
        &cluster(&[&stuck, &well]),
    ));
    let mut caller = connect(&proxy);
    for _ in 0..4 {
        assert_eq!(outcome(&mut caller, any()), "well");
    }
    assert_eq!(well.requests(), 4);
    assert!((2..=4).contains(&stuck.requests()), "{}", stuck.requests());
    let told = stuck.seen()[0].frame.timeout_ms().expect("told");
    assert!((50..=60).contains(&told), "the upstream is told the time of one try: {told}");
}

#[test]
fn what_is_tried_again_and_what_is_not() {
    for (status, on, idempotent, tries) in [
        (ResponseStatus::ServerThreadPoolBusy, "overloaded", false, 3),
        (ResponseStatus::ServerThreadPoolBusy, "unavailable", true, 1),
        (ResponseStatus::ErrorComm, "unavailable", true, 3),
        (ResponseStatus::Timeout, "timeout", true, 3),
        (
            ResponseStatus::ServerException,
            "unavailable, overloaded, timeout, reset, connect",
            true,
            1,
        ),
    ] {
        let servers = [refusing(status), refusing(status), refusing(status), refusing(status)];
        let proxy = mesh(&routes(
            &format!(
                "[{{ name: r, cluster: c, try_timeout: 5s, retry: {{ attempts: 2, on: [{on}], idempotent: {idempotent}, {RETRY} }} }}]"
            ),
            &cluster(&servers.iter().collect::<Vec<_>>()),
        ));
        let reply = connect(&proxy).call(any());
        assert_eq!(reply.response_status(), Some(status), "the last answer is the caller's");
        let seen = servers.each_ref().map(BoltServer::requests);
        assert_eq!(seen.iter().sum::<usize>(), tries, "{status:?} on {on}: {seen:?}");
        assert!(seen.iter().all(|n| *n <= 1), "each try elsewhere: {seen:?}");
    }
}

#[test]
fn retries_stay_within_their_budget() {
    let server = refusing(ResponseStatus::ServerThreadPoolBusy);
    let proxy = mesh(&routes(
        "[{ name: r, cluster: c, retry: { attempts: 5, on: [overloaded], backoff: { base: 1ms, max: 1ms }, budget: { percent: 20, min_per_second: 0 } } }]",
        &cluster(&[&server]),
    ));
    let mut caller = connect(&proxy);
    for _ in 0..100 {
        assert_eq!(caller.call(any()).status(), Status::Overloaded);
    }
    assert_eq!(server.requests(), 120);
}

#[test]
fn tries_are_spaced_by_a_growing_pause() {
    let tries = Count::default();
    let counted = tries.clone();
    let server = BoltServer::start("127.0.0.1:0", move |seen: &Seen<BoltFrame>| {
        let status = match counted.next() {
            ..4 => ResponseStatus::ServerThreadPoolBusy,
            _ => ResponseStatus::Success,
        };
        vec![reply(&seen.frame, status, b"")]
    });
    // Each pause is anything between nothing and a bound that doubles up to `max`: all of them together rarely less than
    // a tenth of the sum, never more than all of it.
    let proxy = mesh(&routes(
        "[{ name: r, cluster: c, retry: { attempts: 4, on: [overloaded], backoff: { base: 100ms, max: 200ms }, budget: { percent: 100, min_per_second: 100 } } }]",
        &cluster(&[&server]),
    ));
    let mut caller = connect(&proxy);
    let begun = Instant::now();
    assert_eq!(caller.call(any()).status(), Status::Ok);
    let took = begun.elapsed();
    assert_eq!(tries.get(), 5);
    assert!((Duration::from_millis(10)..Duration::from_secs(2)).contains(&took), "{took:?}");
}

/// Refuses the service `closed`, marks what passes, and turns connections away when told to.
struct Own {
    turn_away: Count,
    responses: Count,
}

impl Filter for Own {
    fn on_connection(&self, peer: &PeerInfo<'_>) -> Verdict {
        assert_eq!((peer.listener, peer.ip.map(|ip| ip.is_loopback())), ("l", Some(true)));
        match self.turn_away.get() {
            0 => Verdict::Continue,
            _ => Verdict::Reply(Failure::new(Reason::Denied, "turned away")),
        }
    }

    fn on_request(&self, request: &mut dyn Frame) -> Verdict {
        if request.service().as_deref() == Some("closed") {
            return Verdict::Reply(Failure::new(Reason::Denied, "closed by a filter"));
        }
        request.set_header("seen-by", "filter").expect("room for it");
        Verdict::Continue
    }

    fn on_response(&self, response: &mut dyn Frame) {
        self.responses.next();
        response.set_header("seen-by", "filter too").expect("room for it");
    }
}

#[test]
fn filters_of_the_users_own_see_connections_requests_and_responses() {
    let server = named("a");
    let yaml = routes(
        // The filter comes before routing: its mark is what the route asks for.
        "[{ name: r, match: { headers: [{ name: seen-by, exact: filter }] }, cluster: c }]",
        &cluster(&[&server]),
    );
    let (turn_away, responses) = (Count::default(), Count::default());
    let own = Own { turn_away: turn_away.clone(), responses: responses.clone() };
    let proxy = Proxy::new(parse(&yaml), registry()).with_filter("l", own).start().expect("up");
    let mut caller = connect(&proxy);
    let answered = caller.call(any());
    assert_eq!(text(&answered), "a");
    assert_eq!(answered.header("seen-by").as_deref(), Some("filter too"));
    assert_eq!(server.seen()[0].frame.header("seen-by").as_deref(), Some("filter"));
    let refused = caller.call(request("closed", "m", &[]));
    assert_eq!((refused.status(), &*flag(&refused)), (Status::Denied, "DN"));
    assert_eq!(refused.header("seen-by").as_deref(), Some("filter too"), "the proxy's own too");
    assert_eq!((server.requests(), responses.get()), (1, 2));
    turn_away.set(1);
    assert!(connect(&proxy).receive().is_none(), "turned away");
}
