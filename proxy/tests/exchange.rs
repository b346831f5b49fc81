//! Requests across the proxy, one process, the multiplexed toy.

mod common;

use std::{rc::Rc, time::Duration};

use wiremesh::Status;
use wiremesh_proxy::config::SlowLog;

use common::{
    address, block_on, client::Client, config, eventually, millis, nobody, start,
    upstream::Upstream,
};

#[test]
fn a_request_is_answered() {
    let upstream = Upstream::start();
    let proxy = start(config(&[upstream.address]));
    block_on(async {
        let client = Client::connect(address(&proxy)).await.expect("connect");
        client.check("echo", "hello").await;
        client.check("echo", "").await;
        assert_eq!(upstream.requests(), 2);
        assert_eq!(client.strays(), 0);
    });
}

#[test]
fn clients_share_one_connection_per_worker_and_keep_their_own_replies() {
    let upstream = Upstream::start();
    let proxy = start(config(&[upstream.address]));
    block_on(async {
        let tasks: Vec<_> = (0..50)
            .map(|number| {
                let address = address(&proxy);
                tokio::task::spawn_local(async move {
                    let client = Rc::new(Client::connect(address).await.expect("connect"));
                    let calls: Vec<_> = (0..40)
                        .map(|call| {
                            let client = client.clone();
                            tokio::task::spawn_local(async move {
                                let method = if call % 3 == 0 { "slow:3" } else { "echo" };
                                client.check(method, &format!("{number}/{call}")).await;
                            })
                        })
                        .collect();
                    for call in calls {
                        call.await.expect("the call is right");
                    }
                    assert_eq!(client.strays(), 0);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("the client is right");
        }
    });
    assert_eq!(upstream.requests(), 2000);
    assert_eq!(upstream.seen.connections.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[test]
fn slow_requests_are_kept_whatever_the_protocol() {
    let upstream = Upstream::start();
    let mut config = config(&[upstream.address]);
    config.listeners[0].slow_log = Some(SlowLog { threshold: millis(30), keep: 5 });
    let proxy = start(config);
    block_on(async {
        let client = Client::connect(address(&proxy)).await.expect("connect");
        client.check("echo", "hello").await;
        client.check("slow:60", "hello").await;
    });
    let slow = proxy.metrics().slow();
    let last = &slow[0].requests[0];
    assert_eq!((&*last.method, last.duration >= millis(60).0), ("slow:60", true));
    assert!(last.request.ends_with("slow:60"), "{last:?}");
    assert_eq!(last.endpoint, upstream.address.to_string());
}

#[test]
fn what_an_endpoint_was_sent_is_counted() {
    let upstream = Upstream::start();
    let proxy = start(config(&[upstream.address]));
    block_on(async {
        let client = Client::connect(address(&proxy)).await.expect("connect");
        for _ in 0..10 {
            client.check("echo", "x").await;
        }
        let counts = proxy.metrics().snapshot();
        let endpoint = counts.endpoint(common::NAME, &upstream.address.to_string()).expect("used");
        assert_eq!((endpoint.totals.requests, endpoint.in_flight), (10, 0));
    });
}

#[test]
fn one_way_requests_arrive_and_are_not_answered() {
    let upstream = Upstream::start();
    let proxy = start(config(&[upstream.address]));
    block_on(async {
        let client = Client::connect(address(&proxy)).await.expect("connect");
        for _ in 0..10 {
            client.one_way("note", b"x").await;
        }
        client.check("echo", "after").await;
        let seen = &upstream.seen.one_way;
        eventually("10 one-way requests", || seen.load(std::sync::atomic::Ordering::Relaxed) == 10)
            .await;
        assert_eq!(client.strays(), 0);
    });
}

#[test]
fn the_callers_own_timeout_is_passed_on_and_enforced() {
    let upstream = Upstream::start();
    let proxy = start(config(&[upstream.address]));
    block_on(async {
        let client = Client::connect(address(&proxy)).await.expect("connect");
        let timeout = Some(Duration::from_millis(200));
        let told = client.call_with("svc", "timeout", b"", timeout).await.expect("connected");
        let told: u64 = told.text().parse().expect("milliseconds");
        assert!((150..=200).contains(&told), "the upstream was told {told} ms");
        let begun = std::time::Instant::now();
        let reply = client.call_with("svc", "never", b"", timeout).await.expect("connected");
        assert_eq!(reply.status, Status::Timeout);
        assert!(reply.text().contains("wiremesh UT"), "{}", reply.text());
        assert!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());
        client.check("echo", "still good").await;
    });
}

#[test]
fn an_upstream_that_is_not_there_is_reported_quickly() {
    let gone = nobody();
    let proxy = start(config(&[gone]));
    block_on(async {
        let client = Client::connect(address(&proxy)).await.expect("connect");
        let reply = client.call("echo", b"x").await.expect("connected");
        assert_eq!(reply.status, Status::Unavailable);
        assert!(reply.text().contains("wiremesh UF"), "{}", reply.text());
    });
}
