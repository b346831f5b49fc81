//! What goes wrong upstream: each client is told, in its own protocol, and nobody else notices.

mod common;

use std::{
    rc::Rc,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use wiremesh::Status;
use wiremesh_proxy::{
    config::{self, Backoff, Budget, Config, Retry, RetryOn},
    telemetry::ListenerTotals,
};

use common::{
    address, block_on,
    client::{Client, Reply},
    config, eventually, millis, nobody, secs, start,
    upstream::Upstream,
};

fn assert_failed(reply: &Reply, status: Status, flag: &str) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert!(reply.text().contains(&format!("wiremesh {flag}:")), "{}", reply.text());
}

fn one_worker(upstreams: &[std::net::SocketAddr]) -> Config {
    Config { workers: Some(1), ..config(upstreams) }
}

#[test]
fn a_reset_fails_what_was_in_flight_and_nothing_after() {
    let upstream = Upstream::start();
    let proxy = start(one_worker(&[upstream.address]));
    block_on(async {
        let client = Rc::new(Client::connect(address(&proxy)).await.expect("connect"));
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                let client = client.clone();
                tokio::task::spawn_local(async move { client.call("never", b"x").await })
            })
            .collect();
        eventually("5 requests", || upstream.requests() == 5).await;
        let reply = client.call("reset", b"x").await.expect("connected");
        assert_failed(&reply, Status::Unavailable, "UC");
        for call in waiting {
            let reply = call.await.expect("no panic").expect("connected");
            assert_failed(&reply, Status::Unavailable, "UC");
        }
        client.check("echo", "a new connection").await;
        assert_eq!(upstream.seen.connections.load(Relaxed), 2);
    });
}

#[test]
fn half_a_reply_and_garbage_are_errors_not_replies() {
    let upstream = Upstream::start();
    let proxy = start(one_worker(&[upstream.address]));
    block_on(async {
        let client = Client::connect(address(&proxy)).await.expect("connect");
        let reply = client.call("half", &[b'x'; 100]).await.expect("connected");
        assert_failed(&reply, Status::Unavailable, "UC");
        let reply = client.call("garbage", b"x").await.expect("connected");
        assert_failed(&reply, Status::Internal, "UPE");
        client.check("echo", "still good").await;
        assert_eq!(client.strays(), 0);
    });
}

#[test]
fn replies_that_answer_nothing_reach_nobody() {
    let upstream = Upstream::start();
    let proxy = start(one_worker(&[upstream.address]));
    block_on(async {
        let client = Client::connect(address(&proxy)).await.expect("connect");
        for round in 0..20 {
            client.check("twice", &format!("twice {round}")).await;
            client.check("unknown", &format!("unknown {round}")).await;
        }
        client.check("echo", "last").await;
        assert_eq!(client.strays(), 0);
        let totals = proxy.metrics().snapshot();
        let endpoint = totals.endpoint(common::NAME, &upstream.address.to_string());
        let endpoint = endpoint.expect("counted");
        assert_eq!((endpoint.late_replies + endpoint.unknown_replies), 40);
    });
}

#[test]
fn a_late_reply_is_dropped() {
    let upstream = Upstream::start();
    let proxy = start(one_worker(&[upstream.address]));
    block_on(async {
        let client = Client::connect(address(&proxy)).await.expect("connect");
        let timeout = Some(Duration::from_millis(50));
        let reply = client.call_with("svc", "slow:300", b"late", timeout).await;
        assert_failed(&reply.expect("connected"), Status::Timeout, "UT");
        for round in 0..40 {
            client.check("slow:10", &round.to_string()).await;
        }
        assert_eq!(client.strays(), 0);
        let totals = proxy.metrics().snapshot();
        let endpoint = totals.endpoint(common::NAME, &upstream.address.to_string());
        assert_eq!(endpoint.expect("counted").late_replies, 1);
    });
}

#[test]
fn a_client_that_leaves_leaves_nothing_behind() {
    let upstream = Upstream::start();
    let proxy = start(one_worker(&[upstream.address]));
    block_on(async {
        let leaving = Rc::new(Client::connect(address(&proxy)).await.expect("connect"));
        for _ in 0..10 {
            let client = leaving.clone();
            tokio::task::spawn_local(async move { client.call("slow:100", b"nobody's").await });
        }
        eventually("10 requests", || upstream.requests() == 10).await;
        let staying = Client::connect(address(&proxy)).await.expect("connect");
        // Closing the socket needs every handle on it gone.
        leaving.abandon();
        for round in 0..30 {
            staying.check("slow:10", &round.to_string()).await;
        }
        assert_eq!(staying.strays(), 0);
        assert_eq!(upstream.seen.connections.load(Relaxed), 1, "the shared connection lives on");
        eventually("the client is counted out", || {
            proxy
                .metrics()
                .snapshot()
                .listener(common::NAME)
                .map(ListenerTotals::connections_active)
                == Some(1)
        })
        .await;
    });
}

#[test]
fn an_undecodable_request_ends_its_own_connection_only() {
    let upstream = Upstream::start();
    let proxy = start(one_worker(&[upstream.address]));
    block_on(async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let good = Client::connect(address(&proxy)).await.expect("connect");
        good.check("echo", "before").await;
        let mut bad = tokio::net::TcpStream::connect(address(&proxy)).await.expect("connect");
        bad.write_all(&[0xEE; 32]).await.expect("written");
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(secs(5).into(), bad.read_to_end(&mut rest)).await;
        closed.expect("closed within 5 s").expect("orderly");
        assert_eq!(rest, b"");
        good.check("echo", "after").await;
    });
}

#[test]
fn a_message_that_is_never_finished_is_given_up() {
    let upstream = Upstream::start();
    let mut config = one_worker(&[upstream.address]);
    config.listeners[0].frame_timeout = millis(300);
    let proxy = start(config);
    block_on(async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut slow = tokio::net::TcpStream::connect(address(&proxy)).await.expect("connect");
        let begun = Instant::now();
        let mut closed = false;
        // A byte at a time of a well-formed message's head.
        for byte in b"mx\0\0\0\0\0\x01\0\0\0\0\0\0\0\0" {
            if slow.write_all(&[*byte]).await.is_err() {
                closed = true;
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(5), slow.read_to_end(&mut rest)).await;
        closed |= end.is_ok();
        assert!(closed && begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_paused_upstream_costs_its_own_requests_until_it_is_ejected() {
    // Connections to it are made, by the kernel; nobody ever reads them.
    let paused = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let well = Upstream::start();
    let mut config = one_worker(&[paused.local_addr().expect("bound"), well.address]);
    config.clusters[0].balance = config::Balance::RoundRobin;
    config.clusters[0].outlier =
        Some(config::Outlier { consecutive_failures: 3, ..config::Outlier::default() });
    config.listeners[0].routes[0].timeout = Some(millis(100));
    let proxy = start(config);
    block_on(async {
        let client = Rc::new(Client::connect(address(&proxy)).await.expect("connect"));
        let mut timeouts = 0;
        for round in 0..40 {
            let reply = client.call("echo", b"x").await.expect("connected");
            match reply.status {
                Status::Ok => {}
                Status::Timeout => timeouts += 1,
                other => panic!("round {round}: {other}"),
            }
        }
        assert_eq!((timeouts, well.requests()), (3, 37));
    });
}

/// Retries that a test can rely on.
fn retry(on: &[RetryOn], idempotent: bool) -> Retry {
    Retry {
        attempts: 3,
        on: on.to_vec(),
        idempotent,
        backoff: Backoff { base: millis(1), max: millis(5) },
        budget: Budget { percent: config::Percent(100.0), min_per_second: 100 },
    }
}

#[test]
fn a_dead_endpoint_is_retried_around_and_ejected() {
    let well = Upstream::start();
    let dead = nobody();
    let mut config = one_worker(&[dead, well.address]);
    config.listeners[0].routes[0].retry = Some(retry(&[RetryOn::Connect], false));
    let proxy = start(config);
    block_on(async {
        let client = Client::connect(address(&proxy)).await.expect("connect");
        for round in 0..200 {
            client.check("echo", &round.to_string()).await;
        }
        assert_eq!(well.requests(), 200);
        let totals = proxy.metrics().snapshot();
        let endpoint = totals.endpoint(common::NAME, &dead.to_string()).expect("counted");
        assert_eq!(endpoint.ejections, 1);
    });
}

#[test]
fn what_may_have_been_executed_is_not_tried_again_unless_idempotent() {
    for idempotent in [false, true] {
        let (one, other) = (Upstream::start(), Upstream::start());
        let mut config = one_worker(&[one.address, other.address]);
        config.listeners[0].routes[0].retry =
            Some(retry(&[RetryOn::Connect, RetryOn::Reset, RetryOn::Timeout], idempotent));
        let proxy = start(config);
        block_on(async {
            let client = Client::connect(address(&proxy)).await.expect("connect");
            let reply = client.call("reset", b"x").await.expect("connected");
            assert_failed(&reply, Status::Unavailable, "UC");
            let seen = one.requests() + other.requests();
            // The first try and three more, or the first alone.
            assert_eq!(seen, if idempotent { 4 } else { 1 });
        });
    }
}

#[test]
fn an_upstream_that_goes_away_gets_no_more_requests_and_finishes_those_it_has() {
    let (one, other) = (Upstream::start(), Upstream::start());
    let mut config = one_worker(&[one.address, other.address]);
    config.clusters[0].balance = config::Balance::RoundRobin;
    let proxy = start(config);
    block_on(async {
        let client = Rc::new(Client::connect(address(&proxy)).await.expect("connect"));
        let slow: Vec<_> = (0..2)
            .map(|n: u32| {
                let client = client.clone();
                tokio::task::spawn_local(async move {
                    client.check("slow:400", &n.to_string()).await;
                })
            })
            .collect();
        eventually("both have one", || one.requests() == 1 && other.requests() == 1).await;
        client.check("goaway", "to either").await;
        let before = [one.requests(), other.requests()];
        for round in 0..20 {
            client.check("echo", &format!("after {round}")).await;
        }
        let after = [one.requests() - before[0], other.requests() - before[1]];
        assert!(after == [20, 0] || after == [0, 20], "went to {after:?}");
        for call in slow {
            call.await.expect("finished although its upstream goes away");
        }
    });
}

#[test]
fn full_means_busy_at_once() {
    let upstream = Upstream::start();
    let mut config = one_worker(&[upstream.address]);
    config.clusters[0].max_in_flight = 3;
    let proxy = start(config);
    block_on(async {
        let client = Rc::new(Client::connect(address(&proxy)).await.expect("connect"));
        let waiting: Vec<_> = (0..3)
            .map(|n: u32| {
                let client = client.clone();
                tokio::task::spawn_local(async move {
                    client.check("slow:500", &n.to_string()).await;
                })
            })
            .collect();
        eventually("3 requests", || upstream.requests() == 3).await;
        let begun = Instant::now();
        let reply = client.call("echo", b"one too many").await.expect("connected");
        assert_failed(&reply, Status::Overloaded, "UO");
        assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
        for call in waiting {
            call.await.expect("answered");
        }
        client.check("echo", "room again").await;
    });
}
