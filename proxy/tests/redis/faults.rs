//! Servers that fail: errors stand where the answers were owed, and nothing is ever shifted.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use wiremesh_proxy::config::{Keepalive, Outlier};

use crate::common::{
    NAME, address, block_on, eventually, millis,
    redis::{RedisClient, RedisServer, redis_config},
    start,
};

/// Requests that each have an answer of their own, and those answers.
fn echoes(n: usize) -> (Vec<String>, Vec<String>) {
    let nonces: Vec<_> = (0..n).map(|n| format!("{n}-{}", fastrand::u64(..))).collect();
    (nonces.iter().map(|nonce| format!("ECHO {nonce}")).collect(), nonces)
}

/// How many of the answers are the right ones; the others must be the proxy's own errors.
async fn right(client: &mut RedisClient, wants: &[String]) -> usize {
    let mut right = 0;
    for want in wants {
        let answer = client.next().await.expect("connected");
        match answer == *want {
            true => right += 1,
            false => assert!(answer.starts_with("-ERR wiremesh U"), "{answer} for {want}"),
        }
    }
    right
}

#[test]
fn a_lost_connection_is_told_to_each_request_in_its_place() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        for lost in 1..=20 {
            let mut clients = Vec::new();
            for _ in 0..3 {
                let mut client = RedisClient::connect(address(&proxy)).await;
                client.ask("PING").await;
                clients.push(client);
            }
            server.habits.lose.store(lost, Relaxed);
            let mut wants = Vec::new();
            for client in &mut clients {
                let (lines, want) = echoes(20);
                client.send(&lines).await;
                wants.push(want);
            }
            let mut good = 0;
            for (client, want) in clients.iter_mut().zip(&wants) {
                good += right(client, want).await;
            }
            assert!(good < 60, "none is lost at {lost}");
            for client in &mut clients {
                let (lines, want) = echoes(5);
                assert_eq!(client.ask_all(&lines).await, want, "afterwards all is well");
            }
        }
    });
}

#[test]
fn what_is_no_answer_is_not_passed_on() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        for (habit, name) in
            [(&server.habits.garbage, "garbage"), (&server.habits.half, "half an answer")]
        {
            habit.store(true, Relaxed);
            let (lines, want) = echoes(10);
            client.send(&lines).await;
            assert_eq!(right(&mut client, &want).await, 0, "{name}");
            habit.store(false, Relaxed);
            let (lines, want) = echoes(10);
            assert_eq!(client.ask_all(&lines).await, want, "after {name}");
        }
    });
}

#[test]
fn late_answers_are_not_taken_for_the_next() {
    let server = RedisServer::start();
    let mut config = redis_config(&[server.address]);
    config.listeners[0].routes[0].timeout = Some(millis(100));
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        client.ask("PING").await;
        server.habits.delay.store(250, Relaxed);
        for _ in 0..3 {
            let (lines, want) = echoes(3);
            client.send(&lines).await;
            for _ in want {
                let answer = client.next().await.expect("connected");
                assert!(answer.starts_with("-ERR wiremesh UT"), "{answer}");
            }
        }
        server.habits.delay.store(0, Relaxed);
        recovers(&mut client).await;
    });
}

/// Asks until all is answered rightly; wrong answers fail the test.
async fn recovers(client: &mut RedisClient) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let (lines, want) = echoes(3);
        client.send(&lines).await;
        if right(client, &want).await == 3 {
            return;
        }
        assert!(Instant::now() < end, "it does not recover");
    }
}

/// Answers left out for good would shift all that come behind: probes find that out.
#[test]
fn a_connection_that_answers_nothing_is_given_up() {
    let server = RedisServer::start();
    let mut config = redis_config(&[server.address]);
    config.listeners[0].routes[0].timeout = Some(millis(100));
    config.clusters[0].keepalive =
        Some(Keepalive { interval: millis(100), timeout: millis(50), failures: 2 });
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        client.ask("PING").await;
        server.habits.mute.store(true, Relaxed);
        let (lines, want) = echoes(3);
        client.send(&lines).await;
        assert_eq!(right(&mut client, &want).await, 0);
        server.habits.mute.store(false, Relaxed);
        recovers(&mut client).await;
    });
}

#[test]
fn a_server_that_is_away_and_comes_back() {
    let server = RedisServer::start();
    let at = server.address;
    let proxy = start(redis_config(&[at]));
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        assert_eq!(client.ask("SET k 1").await, "+OK");
        drop(server);
        let lines = ["GET k", "MULTI", "BLPOP l 1", "GET k"];
        for answer in client.ask_all(&lines).await {
            assert!(answer.starts_with("-ERR wiremesh U"), "{answer}");
        }
        // Behind a transaction that could not begin there is nothing more to be said.
        assert_eq!(client.next().await, None);
        let server = RedisServer::start_at(at);
        let mut client = RedisClient::connect(address(&proxy)).await;
        let end = Instant::now() + Duration::from_secs(10);
        while client.ask("SET k 2").await != "+OK" {
            assert!(Instant::now() < end, "it is not found again");
        }
        let answers = client.ask_all(&["GET k", "MULTI", "INCR k", "EXEC"]).await;
        assert_eq!(answers, ["2", "+OK", "+QUEUED", "[:3]"]);
        assert_eq!(server.seen("SET"), 1);
    });
}

#[test]
fn who_loses_a_connection_of_its_own_is_closed() {
    for begin in [&["MULTI", "SET k 1"][..], &["WATCH k"], &["SUBSCRIBE c"], &["BLPOP l 0"]] {
        let server = RedisServer::start();
        let proxy = start(redis_config(&[server.address]));
        block_on(async {
            let mut client = RedisClient::connect(address(&proxy)).await;
            client.send(begin).await;
            eventually("all has come", || server.seen(begin[begin.len() - 1]) == 1).await;
            drop(server);
            let mut last = None;
            while let Some(answer) = client.next().await {
                last = Some(answer);
            }
            let last = last.unwrap_or_default();
            if begin[0].starts_with("BLPOP") {
                assert!(last.starts_with("-ERR wiremesh UC"), "{last}");
            } else {
                assert!(!last.starts_with('-'), "{last}");
            }
        });
    }
}

#[test]
fn protocol_errors_are_answered_after_what_is_owed() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        for (bytes, error) in [
            (&b"*1\r\n:1\r\n"[..], "-ERR Protocol error: expected '$', got ':'"),
            (b"*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length"),
            (b"*99999999999\r\n", "-ERR Protocol error: invalid multibulk length"),
            (b"GET \"k\r\n", "-ERR Protocol error: unbalanced quotes in request"),
        ] {
            for owed in [
                &["ECHO a", "GET nothing"][..],
                &["BLPOP l 0.05", "ECHO b"],
                &["MULTI", "GET k", "EXEC"],
                &["CLIENT SETNAME x", "SELECT 3", "DBSIZE"],
            ] {
                let mut direct = RedisClient::connect(server.address).await;
                let want = direct.ask_all(owed).await;
                let mut client = RedisClient::connect(address(&proxy)).await;
                client.send(owed).await;
                client.send_raw(bytes).await;
                let mut answers = Vec::new();
                while let Some(answer) = client.next().await {
                    answers.push(answer);
                }
                assert_eq!(answers.pop().as_deref(), Some(error), "{owed:?}");
                assert_eq!(answers, want);
            }
        }
        // Nobody else has felt anything.
        let mut client = RedisClient::connect(address(&proxy)).await;
        assert_eq!(client.ask("PING").await, "+PONG");
    });
}

#[test]
fn http_is_told_nothing() {
    let server = RedisServer::start();
    let proxy = start(redis_config(&[server.address]));
    block_on(async {
        for request in ["POST / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
            let mut client = RedisClient::connect(address(&proxy)).await;
            client.send_raw(request.as_bytes()).await;
            let rest = client.rest().await;
            assert!(rest.is_empty() || rest.starts_with(b"-ERR"), "{}", rest.escape_ascii());
        }
        assert_eq!(server.seen("POST"), 0);
    });
}

#[test]
fn a_full_server_is_not_ejected_and_one_that_loses_connections_is() {
    let (servers, _) = RedisServer::cluster(3);
    let mut config = redis_config(&[servers[0].address]);
    config.clusters[0].topology = "cluster".into();
    config.clusters[0].outlier = Some(Outlier { consecutive_failures: 1, ..Outlier::default() });
    let proxy = start(config);
    let ejections = || {
        let totals = proxy.metrics().snapshot();
        let of = |server: &RedisServer| totals.endpoint(NAME, &server.address.to_string()).cloned();
        let all = servers.iter().filter_map(of);
        all.map(|endpoint| endpoint.ejections).sum::<u64>()
    };
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        assert_eq!(client.ask("SET k 1").await, "+OK");
        for server in &servers {
            server.habits.max_memory.store(1, Relaxed);
        }
        for _ in 0..10 {
            assert!(client.ask("SET k 2").await.starts_with("-OOM "));
            assert_eq!(client.ask("GET k").await, "1");
        }
        assert_eq!(ejections(), 0);
        let end = Instant::now() + Duration::from_secs(10);
        while ejections() == 0 {
            assert!(Instant::now() < end, "it is not ejected");
            for server in &servers {
                server.habits.lose.store(1, Relaxed);
            }
            client.ask("GET k").await;
        }
    });
}
