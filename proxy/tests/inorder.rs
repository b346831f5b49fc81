//! Replies in order across the proxy, one process, the in-order toy.

mod common;

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use wiremesh_proxy::config::{self, RetryOn};

use common::{
    address, block_on, eventually,
    kv::{KvClient, KvServer, kv_config},
    millis, seed, start,
};

/// Three servers, and a proxy before them.
fn three() -> (Vec<KvServer>, config::Config) {
    let servers: Vec<_> = (0..3).map(|_| KvServer::start()).collect();
    let config = kv_config(&servers.iter().map(|s| s.address).collect::<Vec<_>>());
    (servers, config)
}

/// `GET` of all these keys, and what it answers.
fn get(keys: &[usize]) -> (String, String) {
    let keys_of = |prefix: &str| keys.iter().map(|k| format!(" {prefix}{k}")).collect::<String>();
    (format!("GET{}", keys_of("k")), format!("VALUES{}", keys_of("")))
}

#[test]
fn a_request_is_taken_apart_and_its_answer_put_together() {
    let (servers, config) = three();
    let proxy = start(config);
    block_on(async {
        let mut client = KvClient::connect(address(&proxy)).await;
        let (line, answer) = get(&(0..100).collect::<Vec<_>>());
        assert_eq!(client.ask(&line).await.expect("connected"), answer);
        assert_eq!(client.ask("GET k5 nothing k7").await.expect("connected"), "VALUES 5 - 7");
    });
    let shares: Vec<_> = servers.iter().map(KvServer::requests).collect();
    assert_eq!(shares.iter().sum::<u64>(), 103, "{shares:?}");
    assert!(shares.iter().all(|share| *share > 5), "{shares:?}");
}

#[test]
fn answers_keep_the_order_of_their_requests() {
    let (servers, mut config) = three();
    servers.iter().for_each(|server| server.habits.delay.store(3, Relaxed));
    // All that is sent at first waits for connections.
    config.clusters[0].max_pending = 100_000;
    let proxy = start(config);
    let seed = seed();
    block_on(async {
        let clients: Vec<_> = (0..5)
            .map(|number| {
                let address = address(&proxy);
                let mut rng = fastrand::Rng::with_seed(seed ^ number);
                tokio::task::spawn_local(async move {
                    let mut client = KvClient::connect(address).await;
                    let (mut lines, mut answers) = (Vec::new(), Vec::new());
                    let mut scan: Vec<_> = (0..100).map(|n| format!("ITEM k{n} {n}")).collect();
                    scan.sort_by_key(|item| item.split(' ').nth(1).expect("a key").to_owned());
                    scan.push("END".into());
                    for n in 0..200 {
                        let (line, answer) = match rng.u32(..10) {
                            0 => ("SCAN".into(), scan.clone()),
                            1 => ("PING".into(), vec!["PONG".into()]),
                            2 => (format!("LOG {number} {n}"), vec![]),
                            3 => {
                                let error = "ERR bad_request no such command";
                                ("BREW tea".into(), vec![error.into()])
                            }
                            more => {
                                let keys = 0..if more < 6 { 1 } else { rng.usize(2..8) };
                                let (line, answer) =
                                    get(&keys.map(|_| rng.usize(..100)).collect::<Vec<_>>());
                                (line, vec![answer])
                            }
                        };
                        lines.push(line);
                        answers.extend(answer);
                    }
                    client.send(&lines).await;
                    for (at, answer) in answers.iter().enumerate() {
                        assert_eq!(client.line().await.as_ref(), Some(answer), "line {at}");
                    }
                    lines.iter().filter(|line| line.starts_with("LOG ")).count()
                })
            })
            .collect();
        let mut logged = 0;
        for client in clients {
            logged += client.await.expect("the client saw what it should");
        }
        eventually("every LOG arrived", || {
            servers.iter().map(|server| server.log().len()).sum::<usize>() == logged
        })
        .await;
    });
}

#[test]
fn what_was_sent_before_the_end_is_answered() {
    let (servers, config) = three();
    servers.iter().for_each(|server| server.habits.delay.store(20, Relaxed));
    let proxy = start(config);
    block_on(async {
        let mut client = KvClient::connect(address(&proxy)).await;
        let lines: Vec<_> = (0..20).map(|n| get(&[n, n + 1])).collect();
        client.send(&lines.iter().map(|(line, _)| line).collect::<Vec<_>>()).await;
        client.finish().await;
        for (_, answer) in lines {
            assert_eq!(client.line().await, Some(answer));
        }
        assert_eq!(client.line().await, None);
    });
}

#[test]
fn one_way_lines_before_the_end_all_arrive() {
    let server = KvServer::start();
    let proxy = start(kv_config(&[server.address]));
    let text = "x".repeat(10_000);
    block_on(async {
        let mut client = KvClient::connect(address(&proxy)).await;
        // More than may be owed to the upstream at a time.
        for _ in 0..50 {
            client.send(&vec![format!("LOG {text}"); 20]).await;
        }
        client.finish().await;
        eventually("1000 lines are logged", || server.log().len() == 1000).await;
        assert_eq!(client.line().await, None);
    });
}

#[test]
fn an_answer_is_never_a_partial_one() {
    let (mut servers, config) = three();
    let proxy = start(config);
    block_on(async {
        let mut client = KvClient::connect(address(&proxy)).await;
        let (line, answer) = get(&(0..100).collect::<Vec<_>>());
        assert_eq!(client.ask(&line).await, Some(answer));
        drop(servers.remove(1));
        for _ in 0..3 {
            let answer = client.ask(&line).await.expect("connected");
            assert!(answer.starts_with("ERR unavailable wiremesh U"), "{answer}");
        }
        let (mut good, mut bad) = (0, 0);
        for n in 0..100 {
            let (line, answer) = get(&[n, n]);
            let got = client.ask(&line).await.expect("connected");
            match got == answer {
                true => good += 1,
                false if got.starts_with("ERR unavailable") => bad += 1,
                false => panic!("{got}"),
            }
        }
        assert!(good > 20 && bad > 5, "{good} good, {bad} bad");
    });
}

#[test]
fn errors_stand_where_the_answers_were_owed() {
    let (mut servers, config) = three();
    let mute = servers.remove(2);
    let proxy = start(config);
    block_on(async {
        let mut client = KvClient::connect(address(&proxy)).await;
        // Which keys are the mute one's?
        let mut its = Vec::new();
        for n in 0..100 {
            let before = mute.requests();
            client.ask(&get(&[n, n]).0).await.expect("connected");
            its.push(mute.requests() > before);
        }
        mute.habits.mute.store(true, Relaxed);
        let seen = mute.requests();
        client.send(&(0..100).map(|n| get(&[n, n]).0).collect::<Vec<_>>()).await;
        let count = its.iter().filter(|its| **its).count() as u64;
        assert!(count > 5, "{count} of 100 keys");
        eventually("it owes answers", || mute.requests() == seen + 2 * count).await;
        drop(mute);
        for (n, its) in its.iter().enumerate() {
            let got = client.line().await.expect("connected");
            if *its {
                assert!(got.starts_with("ERR unavailable wiremesh UC"), "{n}: {got}");
            } else {
                assert_eq!(got, get(&[n, n]).1);
            }
        }
        assert_eq!(client.ask("PING").await.as_deref(), Some("PONG"));
    });
}

#[test]
fn a_late_answer_is_not_taken_for_the_next() {
    let server = KvServer::start();
    server.habits.delay.store(400, Relaxed);
    let mut config = kv_config(&[server.address]);
    config.listeners[0].routes[0].timeout = Some(millis(100));
    let proxy = start(config);
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    block_on(async {
        let mut client = KvClient::connect(address(&proxy)).await;
        let (mut late, end) = (0, Instant::now() + Duration::from_secs(5));
        while late < 5 && Instant::now() < end {
            let (line, answer) = get(&[rng.usize(..100)]);
            let got = client.ask(&line).await.expect("connected");
            if got != answer {
                assert!(got.starts_with("ERR timeout wiremesh UT"), "{got} for {line}");
                late += 1;
            }
        }
        assert_eq!(late, 5);
        server.habits.delay.store(0, Relaxed);
        eventually("all was answered", || server.requests() >= 5).await;
        // The connection still owes what was given up; what comes behind it is the right answer again.
        while client.ask(&get(&[7]).0).await != Some(get(&[7]).1) {
            assert!(Instant::now() < end + Duration::from_secs(10), "it does not recover");
        }
    });
}

#[test]
fn a_heartbeat_waits_for_its_turn() {
    let server = KvServer::start();
    let proxy = start(kv_config(&[server.address]));
    server.habits.delay.store(50, Relaxed);
    block_on(async {
        let mut client = KvClient::connect(address(&proxy)).await;
        client.send(&["GET k1", "PING", "GET k2", "PING", "PING"]).await;
        for answer in ["VALUES 1", "PONG", "VALUES 2", "PONG", "PONG"] {
            assert_eq!(client.line().await.as_deref(), Some(answer));
        }
    });
}

#[test]
fn half_a_stream_is_neither_repeated_nor_completed_by_an_error() {
    let server = KvServer::start();
    server.habits.half.store(true, Relaxed);
    let mut config = kv_config(&[server.address]);
    let retry =
        config::Retry { on: vec![RetryOn::Reset], idempotent: true, ..config::Retry::default() };
    config.listeners[0].routes[0].retry = Some(retry);
    let proxy = start(config);
    block_on(async {
        let mut client = KvClient::connect(address(&proxy)).await;
        client.send(&["SCAN", "GET k1"]).await;
        assert_eq!(client.line().await.as_deref(), Some("ITEM k0 0"));
        assert_eq!(client.line().await, None, "the client cannot be told otherwise");
    });
}

#[test]
fn answers_to_the_proxys_own_heartbeats_do_not_shift_those_of_clients() {
    let server = KvServer::start();
    let mut config = kv_config(&[server.address]);
    let keepalive = config::Keepalive { interval: millis(20), ..config::Keepalive::default() };
    config.clusters[0].keepalive = Some(keepalive);
    let proxy = start(config);
    block_on(async {
        let mut client = KvClient::connect(address(&proxy)).await;
        assert_eq!(client.ask("GET k1").await.as_deref(), Some("VALUES 1"));
        let seen = server.requests();
        // Whatever the server sees now is a probe.
        eventually("probes", || server.requests() >= seen + 3).await;
        for n in 0..50 {
            assert_eq!(client.ask(&format!("GET k{n}")).await, Some(format!("VALUES {n}")));
        }
    });
}
