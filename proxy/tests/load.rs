//! Reload, drain and slow readers under load, with every answer checked.

mod common;

use std::{
    cell::Cell,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::io::AsyncWriteExt;
use wiremesh::{Kind, Protocol, Status, WriteBuf};
use wiremesh_proxy::config::{self, Route};
use wiremesh_toys::{Mx, multiplexed::Message};

use common::{
    address, block_on, client::Client, config, eventually, millis, start, upstream::Upstream,
};

/// Clients that call without pause until told to stop; each answer is checked.
struct Load {
    stop: Rc<Cell<bool>>,
    answered: Rc<Cell<u64>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(address: SocketAddr, clients: usize) -> Self {
        let (stop, answered) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
        let tasks = (0..clients).map(|number| {
            let (stop, answered) = (stop.clone(), answered.clone());
            tokio::task::spawn_local(async move {
                let client = Client::connect(address).await.expect("connect");
                while !stop.get() {
                    let nonce = format!("{number}/{}", answered.get());
                    client.check("slow:2", &nonce).await;
                    answered.set(answered.get() + 1);
                }
                assert_eq!(client.strays(), 0);
            })
        });
        let tasks = tasks.collect();
        Self { stop, answered, tasks }
    }

    /// Waits for that many more answers.
    async fn more(&self, count: u64) {
        let target = self.answered.get() + count;
        eventually("answers under load", || self.answered.get() >= target).await;
    }

    async fn stop(self) {
        self.stop.set(true);
        for task in self.tasks {
            task.await.expect("every answer was right");
        }
    }
}

#[test]
fn reload_under_load_loses_nothing() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let original = config(&[first.address]);
    let proxy = Rc::new(start(original.clone()));
    block_on(async {
        let load = Load::start(address(&proxy), 20);
        load.more(200).await;
        for round in 0..10_u64 {
            let mut changed = original.clone();
            // Another endpoint, another route before the old one, other limits; and back.
            if round % 2 == 0 {
                changed.clusters = config(&[second.address]).clusters;
                changed.listeners[0].max_in_flight = 512;
                let mut route = Route::to_cluster("other", common::NAME);
                route.matches.method = Some(config::Matcher::Prefix("slow".into()));
                changed.listeners[0].routes.insert(0, route);
            }
            proxy.reload(changed).expect("a valid configuration");
            load.more(100).await;
        }
        load.stop().await;
    });
    assert!(first.requests() > 100 && second.requests() > 100);
}

#[test]
fn a_cluster_that_is_gone_leaves_no_connection() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let original = config(&[first.address]);
    let proxy = start(original.clone());
    let mut changed = original;
    changed.clusters[0].name = "other".into();
    changed.clusters[0].endpoints = config(&[second.address]).clusters[0].endpoints.clone();
    changed.listeners[0].routes = vec![Route::to_cluster("other", "other")];
    block_on(async {
        let client = Client::connect(address(&proxy)).await.expect("connect");
        client.check("echo", "before").await;
        proxy.reload(changed).expect("a valid configuration");
        eventually("its connection is closed", || {
            let totals = proxy.metrics().snapshot();
            let endpoint = totals.endpoint(common::NAME, &first.address.to_string());
            endpoint.is_some_and(|e| e.connections_active() == 0 && e.connections_opened == 1)
        })
        .await;
        client.check("echo", "after").await;
    });
    assert_eq!((first.requests(), second.requests()), (1, 1));
}

#[test]
fn a_refused_reload_changes_nothing() {
    let upstream = Upstream::start();
    let original = config(&[upstream.address]);
    let proxy = start(original.clone());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut changed = original.clone();
    let mut other = changed.listeners[0].clone();
    other.name = "other".into();
    other.address = taken.local_addr().expect("bound").into();
    changed.listeners.insert(0, other);
    changed.clusters[0].max_in_flight = 1;
    let error = proxy.reload(changed).expect_err("the address is taken");
    assert!(format!("{error:#}").contains("listener other"), "{error:#}");
    block_on(async {
        let client = Rc::new(Client::connect(address(&proxy)).await.expect("connect"));
        let calls: Vec<_> = (0..10)
            .map(|n: u32| {
                let client = client.clone();
                tokio::task::spawn_local(async move {
                    client.check("slow:50", &n.to_string()).await;
                })
            })
            .collect();
        for call in calls {
            call.await.expect("the old limit is in force");
        }
    });
}

#[test]
fn drain_finishes_what_is_in_flight_and_says_goodbye() {
    let upstream = Upstream::start();
    let proxy = start(config(&[upstream.address]));
    let address = address(&proxy);
    block_on(async {
        let busy = Rc::new(Client::connect(address).await.expect("connect"));
        let idle = Client::connect(address).await.expect("connect");
        idle.check("echo", "before").await;
        let slow = tokio::task::spawn_local({
            let busy = busy.clone();
            async move { busy.check("slow:1000", "in flight").await }
        });
        eventually("it is in flight", || upstream.requests() == 2).await;
        proxy.drain();
        eventually("the clients are told", || busy.told_to_go() && idle.told_to_go()).await;
        // While connections last, requests on them are served.
        busy.check("echo", "during").await;
        eventually("the idle connection is closed", || idle.is_closed()).await;
        slow.await.expect("finished");
        eventually("the busy one too, when it is quiet", || busy.is_closed()).await;
        assert!(Client::connect(address).await.is_err(), "nothing new is accepted");
    });
    proxy.join();
}

#[test]
fn drain_under_load_answers_every_request() {
    let upstream = Upstream::start();
    let mut config = config(&[upstream.address]);
    config.drain_timeout = millis(300);
    let proxy = start(config);
    let address = address(&proxy);
    let (served, refused, closed) =
        (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    block_on(async {
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (served, refused, closed) = (served.clone(), refused.clone(), closed.clone());
                tokio::task::spawn_local(async move {
                    let client = Client::connect(address).await.expect("connect");
                    // One request stays in flight past the deadline on some of them.
                    loop {
                        let Some(reply) = client.call("slow:20", b"x").await else {
                            closed.set(closed.get() + 1);
                            return;
                        };
                        match reply.status {
                            Status::Ok => served.set(served.get() + 1),
                            Status::Unavailable => {
                                assert!(reply.text().contains("wiremesh DR"), "{}", reply.text());
                                refused.set(refused.get() + 1);
                                return;
                            }
                            other => panic!("{other}: {}", reply.text()),
                        }
                    }
                })
            })
            .collect();
        eventually("answers", || served.get() > 100).await;
        proxy.drain();
        for task in tasks {
            task.await.expect("no lost request");
        }
    });
    assert_eq!(refused.get() + closed.get(), 20);
    assert_eq!(closed.get(), 0, "every client was told before its connection was closed");
    proxy.join();
}

#[test]
fn a_client_that_never_reads_is_closed_and_others_go_on() {
    let upstream = Upstream::start();
    let mut config = config(&[upstream.address]);
    config.workers = Some(1);
    config.listeners[0].stall_timeout = millis(500);
    let proxy = start(config);
    block_on(async {
        let mut lazy = tokio::net::TcpStream::connect(address(&proxy)).await.expect("connect");
        let mut out = WriteBuf::default();
        for id in 0..8 {
            Mx.encode(
                Message::new(Kind::Request, Status::Ok, id, ["s", "big:16000000"], b""),
                &mut out,
            );
        }
        lazy.write_all_buf(&mut out).await.expect("written");
        eventually("all are asked for", || upstream.requests() == 8).await;
        let other = Client::connect(address(&proxy)).await.expect("connect");
        let begun = Instant::now();
        other.check("echo", "behind a slow reader").await;
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        eventually("the lazy one is closed", || {
            proxy.metrics().snapshot().listener(common::NAME).map(|l| l.stall_timeouts) == Some(1)
        })
        .await;
        for round in 0..20 {
            other.check("echo", &round.to_string()).await;
        }
    });
}
