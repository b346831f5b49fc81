//! Sessions across the proxy, one process, the session toy.

mod common;

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use wiremesh::Status;
use wiremesh_proxy::config::{self, RetryOn};

use common::{
    address, block_on,
    desk::{DeskClient, DeskServer, desk_config},
    eventually, millis, seed, start,
};

#[test]
fn clients_log_in_at_the_proxy_and_the_proxy_at_the_upstream() {
    let server = DeskServer::start("sesame");
    let mut config = desk_config(&[server.address]);
    let options = [("password".to_owned(), "sesame".to_owned())];
    config.listeners[0].options.insert("desk".into(), options.into());
    let proxy = start(config);
    block_on(async {
        let (mut client, status) = DeskClient::log_in(address(&proxy), "sesame").await;
        assert_eq!(status, Status::Ok);
        client.check("GET k", "").await;
        client.quit().await;
        let (mut other, status) = DeskClient::log_in(address(&proxy), "guess").await;
        assert_eq!(status, Status::Unauthenticated);
        assert_eq!(other.ask("GET k").await, None);
    });
    assert_eq!(server.seen.queries(), ["GET k"]);
}

#[test]
fn an_upstream_that_refuses_the_login_is_not_connected() {
    let server = DeskServer::start("sesame");
    let proxy = start(desk_config(&[server.address]));
    block_on(async {
        let mut client = DeskClient::connect(address(&proxy)).await;
        let answer = client.ask("GET k").await.expect("connected");
        assert_eq!(answer.status, Status::Unavailable);
        assert!(answer.text.contains("wiremesh UF"), "{}", answer.text);
        eventually("the connection is closed", || server.seen.open() == 0).await;
    });
}

#[test]
fn many_clients_share_few_connections_and_see_nothing_of_each_other() {
    let server = DeskServer::start("");
    let mut config = desk_config(&[server.address]);
    config.workers = Some(2);
    config.clusters[0].max_connections = 4;
    let proxy = start(config);
    let seed = seed();
    block_on(async {
        let clients: Vec<_> = (0..40)
            .map(|number| {
                let address = address(&proxy);
                let mut rng = fastrand::Rng::with_seed(seed ^ number);
                tokio::task::spawn_local(async move {
                    let mut client = DeskClient::connect(address).await;
                    for turn in 0..20 {
                        client.check("GET k", "").await;
                        client.check("BEGIN", "").await;
                        let mine = format!("{number}/{turn}");
                        client.check(&format!("SET k {mine}"), "").await;
                        if rng.bool() {
                            client.check(&format!("SLEEP {}", rng.u32(..5)), "slept").await;
                        }
                        client.check("GET k", &mine).await;
                        let rows = rng.usize(..20);
                        let answer = client.ask(&format!("ROWS {rows}")).await.expect("connected");
                        assert_eq!((answer.rows, answer.open), (rows, true));
                        client.check("COMMIT", "").await;
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.expect("the client saw what it should");
        }
        assert!(server.seen.accepted() <= 4, "{} connections", server.seen.accepted());
        eventually("every transaction was reset", || server.seen.count("RESET") == 800).await;
    });
}

#[test]
fn a_transaction_holds_its_connection_until_it_is_reset() {
    let server = DeskServer::start("");
    let mut config = desk_config(&[server.address]);
    config.clusters[0].max_connections = 1;
    let proxy = start(config);
    block_on(async {
        let mut first = DeskClient::connect(address(&proxy)).await;
        let mut second = DeskClient::connect(address(&proxy)).await;
        first.check("BEGIN", "").await;
        first.check("SET k secret", "").await;
        second.start("GET k").await;
        for _ in 0..20 {
            first.check("GET k", "secret").await;
        }
        first.check("COMMIT", "").await;
        assert_eq!(second.answer().await.expect("connected").text, "");
        first.check("GET other", "").await;
    });
    let queries = server.seen.queries();
    let at = |query: &str| queries.iter().rposition(|q| q == query).expect(query);
    assert_eq!(queries[at("COMMIT")..], ["COMMIT", "RESET", "GET k", "GET other"]);
    assert_eq!(server.seen.accepted(), 1);
}

#[test]
fn nobody_gets_a_connection_whose_reset_is_not_answered() {
    let server = DeskServer::start("");
    server.seen.mute_reset.store(true, Relaxed);
    let mut config = desk_config(&[server.address]);
    config.clusters[0].max_connections = 1;
    config.clusters[0].connect_timeout = millis(200);
    let proxy = start(config);
    block_on(async {
        let mut client = DeskClient::connect(address(&proxy)).await;
        for turn in 1..=3 {
            client.check("BEGIN", "").await;
            client.check("SET k v", "").await;
            client.check("COMMIT", "").await;
            client.check("GET k", "").await;
            assert_eq!(server.seen.accepted(), turn + 1, "the one before was closed");
        }
    });
}

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    let server = DeskServer::start("");
    let proxy = start(desk_config(&[server.address]));
    block_on(async {
        let mut client = DeskClient::connect(address(&proxy)).await;
        client.start("BEGIN").await;
        for n in 0..200 {
            client.start(&format!("SET k {n}")).await;
            client.start("GET k").await;
        }
        client.start("COMMIT").await;
        assert!(client.answer().await.expect("connected").open);
        for n in 0..200 {
            assert_eq!(client.answer().await.expect("connected").text, "");
            assert_eq!(client.answer().await.expect("connected").text, n.to_string());
        }
        assert!(!client.answer().await.expect("connected").open);
    });
}

#[test]
fn long_answers_come_whole_to_a_slow_reader() {
    let server = DeskServer::start("");
    let mut config = desk_config(&[server.address]);
    config.listeners[0].routes[0].timeout = None;
    let proxy = start(config);
    block_on(async {
        let mut client = DeskClient::connect(address(&proxy)).await;
        let mut other = DeskClient::connect(address(&proxy)).await;
        other.check("BEGIN", "").await;
        // More than sockets and buffers on the way hold, so that the upstream is held back.
        let rows = 1_000_000;
        client.start(&format!("ROWS {rows}")).await;
        other.check("SLEEP 300", "slept").await;
        assert_eq!(client.answer().await.expect("connected").rows, rows);
        client.check("GET k", "").await;
    });
}

#[test]
fn an_upstream_killed_under_a_transaction_ends_the_session() {
    let server = DeskServer::start("");
    let upstream = server.address;
    let proxy = start(desk_config(&[upstream]));
    block_on(async {
        let mut idle = DeskClient::connect(address(&proxy)).await;
        idle.check("BEGIN", "").await;
        let mut busy = DeskClient::connect(address(&proxy)).await;
        busy.check("BEGIN", "").await;
        busy.start("NEVER").await;
        let mut free = DeskClient::connect(address(&proxy)).await;
        free.start("NEVER").await;
        eventually("both are asked", || server.seen.count("NEVER") == 2).await;
        drop(server);
        let server = DeskServer::start_at(upstream, "");
        // What it would send next belongs into a transaction that is no more.
        assert_eq!(idle.answer().await, None);
        let answer = busy.answer().await.expect("it is told");
        assert_eq!(answer.status, Status::Unavailable);
        assert!(answer.text.contains("wiremesh UC"), "{}", answer.text);
        assert_eq!(busy.answer().await, None);
        // Without a transaction nothing is lost but the request.
        let answer = free.answer().await.expect("it is told");
        assert_eq!(answer.status, Status::Unavailable);
        free.check("GET k", "").await;
        assert_eq!(server.seen.queries(), ["GET k"]);
    });
}

#[test]
fn half_an_answer_ends_the_session() {
    let server = DeskServer::start("");
    let proxy = start(desk_config(&[server.address]));
    block_on(async {
        let mut client = DeskClient::connect(address(&proxy)).await;
        assert_eq!(client.ask("HALF").await, None);
    });
}

#[test]
fn a_client_gone_under_a_transaction_takes_its_connection_along() {
    let server = DeskServer::start("");
    let mut config = desk_config(&[server.address]);
    config.clusters[0].max_connections = 1;
    let proxy = start(config);
    block_on(async {
        for (turn, way) in ["quit", "drop", "abort", "abort busy", "drop busy"].iter().enumerate() {
            let mut client = DeskClient::connect(address(&proxy)).await;
            client.check("BEGIN", "").await;
            client.check("SET k secret", "").await;
            if way.ends_with("busy") {
                client.start("SLEEP 100").await;
                eventually("it is asked", || server.seen.count("SLEEP 100") > turn - 3).await;
            }
            match *way {
                "quit" => client.quit().await,
                "abort" | "abort busy" => client.abort(),
                _ => drop(client),
            }
            let mut next = DeskClient::connect(address(&proxy)).await;
            next.check("GET k", "").await;
            assert_eq!(server.seen.accepted(), turn as u64 + 2, "{way}");
            eventually("the old connection is closed", || server.seen.open() == 1).await;
        }
    });
}

#[test]
fn clients_beyond_the_bounds_are_refused() {
    let server = DeskServer::start("");
    let mut config = desk_config(&[server.address]);
    config.clusters[0].max_connections = 1;
    config.clusters[0].max_pending = 1;
    let proxy = start(config);
    block_on(async {
        let mut holder = DeskClient::connect(address(&proxy)).await;
        holder.check("BEGIN", "").await;
        let mut clients = Vec::new();
        for _ in 0..5 {
            let mut client = DeskClient::connect(address(&proxy)).await;
            client.start("GET k").await;
            clients.push(client);
        }
        let mut answers = Vec::new();
        for mut client in clients {
            if tokio::time::timeout(Duration::from_millis(200), client.answer()).await.is_ok() {
                answers.push(client);
            } else {
                holder.check("COMMIT", "").await;
                assert_eq!(client.answer().await.expect("connected").status, Status::Ok);
            }
        }
        assert_eq!(answers.len(), 4, "one could wait");
        for client in &mut answers {
            client.check("GET k", "").await;
        }
    });
    assert_eq!(server.seen.accepted(), 1);
}

#[test]
fn time_out_waiting_asking_and_in_a_transaction() {
    let server = DeskServer::start("");
    let mut config = desk_config(&[server.address]);
    config.clusters[0].max_connections = 1;
    config.listeners[0].routes[0].timeout = Some(millis(200));
    let proxy = start(config);
    block_on(async {
        let mut client = DeskClient::connect(address(&proxy)).await;
        let timed_out = |answer: Option<common::desk::Answer>| {
            let answer = answer.expect("it is told");
            assert_eq!(answer.status, Status::Timeout);
            assert!(answer.text.contains("wiremesh UT"), "{}", answer.text);
        };
        let begun = Instant::now();
        timed_out(client.ask("NEVER").await);
        assert!(begun.elapsed() >= Duration::from_millis(200));
        client.check("BEGIN", "").await;
        assert_eq!(server.seen.accepted(), 2, "the connection that still owes an answer is closed");
        // No timer fires while a session is held and nothing is asked.
        let mut other = DeskClient::connect(address(&proxy)).await;
        timed_out(other.ask("GET k").await);
        client.check("COMMIT", "").await;
        other.check("GET k", "").await;
        client.check("BEGIN", "").await;
        timed_out(client.ask("NEVER").await);
        assert_eq!(client.answer().await, None, "its transaction is gone");
        other.check("GET k", "").await;
        assert_eq!(server.seen.accepted(), 3);
    });
}

#[test]
fn an_upstream_that_is_not_there_is_reported_and_another_tried() {
    let gone = DeskServer::start("").address;
    let proxy = start(desk_config(&[gone]));
    block_on(async {
        let mut client = DeskClient::connect(address(&proxy)).await;
        for _ in 0..3 {
            let answer = client.ask("GET k").await.expect("connected");
            assert_eq!(answer.status, Status::Unavailable);
            assert!(answer.text.contains("wiremesh UF"), "{}", answer.text);
        }
    });
    let server = DeskServer::start("");
    let mut config = desk_config(&[gone, server.address]);
    // All of them may meet the dead one first.
    let budget = config::Budget { percent: config::Percent(100.0), min_per_second: 100 };
    let retry = config::Retry { attempts: 3, budget, ..config::Retry::default() };
    config.listeners[0].routes[0].retry = Some(retry);
    let proxy = start(config);
    block_on(async {
        for _ in 0..5 {
            let mut client = DeskClient::connect(address(&proxy)).await;
            client.check("BEGIN", "").await;
        }
    });
}

#[test]
fn draining_lets_transactions_end() {
    let server = DeskServer::start("");
    let proxy = start(desk_config(&[server.address]));
    block_on(async {
        let mut quiet = DeskClient::connect(address(&proxy)).await;
        let mut client = DeskClient::connect(address(&proxy)).await;
        client.check("BEGIN", "").await;
        proxy.drain();
        assert_eq!(quiet.answer().await, None);
        client.check("SET k v", "").await;
        client.check("COMMIT", "").await;
        assert_eq!(client.answer().await, None);
    });
    proxy.join();
}

#[test]
fn after_the_drain_timeout_requests_are_answered_by_an_error() {
    let server = DeskServer::start("");
    let mut config = desk_config(&[server.address]);
    config.drain_timeout = millis(300);
    let proxy = start(config);
    block_on(async {
        let mut client = DeskClient::connect(address(&proxy)).await;
        client.check("BEGIN", "").await;
        client.start("NEVER").await;
        eventually("it is asked", || server.seen.count("NEVER") == 1).await;
        proxy.drain();
        let answer = client.answer().await.expect("it is told");
        assert!(answer.text.contains("wiremesh DR"), "{}", answer.text);
        assert_eq!(client.answer().await, None);
        eventually("the upstream connection is closed", || server.seen.open() == 0).await;
    });
    proxy.join();
}

#[test]
fn a_reload_moves_to_other_endpoints_between_transactions() {
    let (old, new) = (DeskServer::start(""), DeskServer::start(""));
    let proxy = start(desk_config(&[old.address]));
    let reloaded = desk_config(&[new.address]);
    block_on(async {
        let mut client = DeskClient::connect(address(&proxy)).await;
        client.check("BEGIN", "").await;
        client.check("SET k v", "").await;
        std::thread::scope(|s| s.spawn(|| proxy.reload(reloaded)).join().expect("joined"))
            .expect("reloads");
        client.check("GET k", "v").await;
        client.check("COMMIT", "").await;
        // The worker may hear of it a moment later than the caller.
        let end = Instant::now() + Duration::from_secs(10);
        while new.seen.queries().is_empty() {
            assert!(Instant::now() < end, "the new endpoint is not used");
            client.check("GET k", "").await;
        }
        eventually("connections to the old endpoint are closed", || old.seen.open() == 0).await;
    });
}

#[test]
fn clients_that_dawdle_are_closed_and_those_that_hold_are_not() {
    let server = DeskServer::start("");
    let mut config = desk_config(&[server.address]);
    config.listeners[0].idle_timeout = millis(200);
    config.listeners[0].frame_timeout = millis(200);
    let proxy = start(config);
    block_on(async {
        let mut holder = DeskClient::connect(address(&proxy)).await;
        holder.check("BEGIN", "").await;
        // Connected, never logged in.
        let mut silent = tokio::net::TcpStream::connect(address(&proxy)).await.expect("connect");
        let mut idle = DeskClient::connect(address(&proxy)).await;
        assert_eq!(idle.answer().await, None);
        let mut input = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut input);
        tokio::time::timeout(Duration::from_secs(10), read).await.expect("closed").expect("read");
        holder.check("COMMIT", "").await;
    });
}

#[test]
fn workers_without_a_connection_get_one_of_the_others() {
    let server = DeskServer::start("");
    let mut config = desk_config(&[server.address]);
    config.workers = Some(3);
    config.clusters[0].max_connections = 1;
    let proxy = start(config);
    block_on(async {
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(DeskClient::connect(address(&proxy)).await);
        }
        for _ in 0..3 {
            for client in &mut clients {
                client.check("BEGIN", "").await;
                assert_eq!(server.seen.open(), 1);
                client.check("COMMIT", "").await;
            }
        }
    });
}

#[test]
fn a_dedicated_connection_stays_its_clients() {
    let server = DeskServer::start("");
    let mut config = desk_config(&[server.address]);
    config.clusters[0].dedicated = true;
    let proxy = start(config);
    block_on(async {
        let mut first = DeskClient::connect(address(&proxy)).await;
        let mut second = DeskClient::connect(address(&proxy)).await;
        for client in [&mut first, &mut second] {
            client.check("BEGIN", "").await;
            client.check("SET k v", "").await;
            client.check("COMMIT", "").await;
        }
        first.check("GET k", "v").await;
        assert_eq!(server.seen.open(), 2);
        drop(first);
        eventually("its connection is closed", || server.seen.open() == 1).await;
        second.check("GET k", "v").await;
        assert_eq!(server.seen.count("RESET"), 0);
    });
}

#[test]
fn endpoints_are_checked_by_a_handshake() {
    let (well, sick) = (DeskServer::start(""), DeskServer::start("sesame"));
    let mut config = desk_config(&[sick.address, well.address]);
    config.clusters[0].health =
        Some(config::Health { interval: millis(50), unhealthy: 1, ..config::Health::default() });
    let proxy = start(config);
    block_on(async {
        eventually("both were checked", || sick.seen.accepted().min(well.seen.accepted()) > 2)
            .await;
        for _ in 0..10 {
            let mut client = DeskClient::connect(address(&proxy)).await;
            client.check("BEGIN", "").await;
        }
    });
}

#[test]
fn every_request_is_counted_once() {
    let server = DeskServer::start("");
    let proxy = start(desk_config(&[server.address]));
    block_on(async {
        let mut client = DeskClient::connect(address(&proxy)).await;
        client.check("BEGIN", "").await;
        client.check("COMMIT", "").await;
        assert_eq!(client.ask("NONSENSE").await.expect("connected").status, Status::BadRequest);
        client.start("NEVER").await;
        eventually("it is asked", || server.seen.count("NEVER") == 1).await;
        client.abort();
        eventually("the books are right", || {
            let totals = proxy.metrics().snapshot();
            let count = |status| totals.status(status);
            let endpoint = totals.endpoint(common::NAME, &server.address.to_string());
            let listener = totals.listener(common::NAME);
            count(Status::Ok) == 2
                && count(Status::BadRequest) == 1
                && count(Status::Unknown) == 1
                && endpoint.is_some_and(|e| e.in_flight == 0 && e.connections_active() == 0)
                && listener.is_some_and(|l| l.connections_active() == 0)
        })
        .await;
    });
}

#[test]
fn a_request_that_was_held_back_still_times_out() {
    let server = DeskServer::start("");
    let mut config = desk_config(&[server.address]);
    let route = &mut config.listeners[0].routes[0];
    route.timeout = Some(millis(300));
    let delay = config::Delay { percent: config::Percent(100.0), duration: millis(50) };
    route.fault = Some(config::Fault { delay: Some(delay), ..config::Fault::default() });
    let proxy = start(config);
    block_on(async {
        let mut other = DeskClient::connect(address(&proxy)).await;
        other.check("GET k", "").await;
        // There is a clean connection now, so that nothing but the clock will wake the client.
        let mut client = DeskClient::connect(address(&proxy)).await;
        let answer = client.ask("NEVER").await.expect("it is told");
        assert_eq!(answer.status, Status::Timeout);
        client.check("GET k", "").await;
    });
}

#[test]
fn what_was_lost_outside_a_transaction_is_tried_again() {
    let server = DeskServer::start("");
    let upstream = server.address;
    let mut config = desk_config(&[upstream]);
    let on = vec![RetryOn::Reset, RetryOn::Connect];
    let retry = config::Retry { attempts: 20, on, idempotent: true, ..config::Retry::default() };
    config.listeners[0].routes[0].retry = Some(retry);
    let proxy = start(config);
    block_on(async {
        let mut client = DeskClient::connect(address(&proxy)).await;
        client.start("SLEEP 1000").await;
        eventually("it is asked", || server.seen.count("SLEEP 1000") == 1).await;
        drop(server);
        let server = DeskServer::start_at(upstream, "");
        assert_eq!(client.answer().await.expect("connected").text, "slept");
        assert_eq!(server.seen.queries(), ["SLEEP 1000"]);
        // Within a transaction nothing is: what went before is lost.
        client.check("BEGIN", "").await;
        client.start("SLEEP 1001").await;
        eventually("it is asked", || server.seen.count("SLEEP 1001") == 1).await;
        drop(server);
        let server = DeskServer::start_at(upstream, "");
        assert_eq!(client.answer().await.expect("it is told").status, Status::Unavailable);
        assert_eq!(client.answer().await, None);
        assert_eq!(server.seen.queries(), [""; 0]);
    });
}
