//! A cluster that looks like one server: three embedded nodes.

use std::{net::SocketAddr, sync::atomic::Ordering::Relaxed};

use wiremesh_proxy::{config::Config, demo::redis::Said};
use wiremesh_redis::slot::slot;

use crate::common::{
    address, block_on, eventually, millis,
    redis::{RedisClient, RedisServer, redis_config},
    seed, start,
};

fn cluster_config(seed: SocketAddr) -> Config {
    let mut config = redis_config(&[seed]);
    config.clusters[0].topology = "cluster".into();
    config
}

/// A key that this node has, `n` different ones.
fn key(node: usize, nodes: usize, n: usize) -> String {
    let own = |key: &String| usize::from(slot(key.as_bytes())) * nodes / 16384 == node;
    (0..).map(|i| format!("key{i}")).filter(own).nth(n).expect("there are plenty")
}

#[test]
fn requests_are_split_over_the_nodes_and_answered_in_order() {
    let (servers, _) = RedisServer::cluster(3);
    let proxy = start(cluster_config(servers[1].address));
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        for (n, server) in servers.iter().enumerate() {
            server.habits.delay.store(n as u64, Relaxed);
        }
        let keys: Vec<_> = (0..100).map(|n| format!("k{n}")).collect();
        let all = client.set_all_and_get_all(&keys).await;
        assert_eq!(client.ask(&format!("EXISTS {all} nothing")).await, ":100");
        assert_eq!(client.ask("DBSIZE").await, ":100");
        let (mut lines, mut wants) = (Vec::new(), Vec::new());
        for (n, key) in keys.iter().enumerate() {
            lines.extend([format!("GET {key}"), format!("MGET {key} k5 nothing"), "PING".into()]);
            wants.extend([format!("v-{key}"), format!("[v-{key} v-k5 nil]"), "+PONG".into()]);
            lines.push(format!("SET new:{n} {n}"));
            wants.push("+OK".into());
        }
        assert_eq!(client.ask_all(&lines).await, wants);
        for server in &servers {
            assert!(server.seen("GET") > 10 && server.seen("SET new") > 10);
        }
        let (mut cursor, mut seen) = ("0".to_owned(), Vec::new());
        loop {
            let answer = client.ask(&format!("SCAN {cursor} MATCH k* COUNT 7")).await;
            let mut words = answer.split(' ').map(|word| word.trim_matches(['[', ']']));
            cursor = words.next().expect("a cursor").to_owned();
            seen.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
            if cursor == "0" {
                break;
            }
        }
        seen.sort_unstable();
        let mut keys = keys.clone();
        keys.sort_unstable();
        assert_eq!(seen, keys, "every key once");
        assert_eq!(client.ask(&format!("DEL {all}")).await, ":100");
        assert_eq!(client.ask_all(&["FLUSHALL", "DBSIZE"]).await, ["+OK", ":0"]);
    });
}

#[test]
fn what_cannot_be_split_is_refused() {
    let (servers, _) = RedisServer::cluster(3);
    let proxy = start(cluster_config(servers[0].address));
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        let [a, b] = [0, 1].map(|node| key(node, 3, 0));
        for line in [
            format!("SUNION {a} {b}"),
            format!("RENAME {a} {b}"),
            format!("MSETNX {a} 1 {b} 2"),
            format!("BLPOP {a} {b} 0"),
            format!("WATCH {a} {b}"),
        ] {
            let answer = client.ask(&line).await;
            assert!(answer.starts_with("-CROSSSLOT "), "{line}: {answer}");
        }
        assert_eq!(client.ask(&format!("MGET {a} {b}")).await, "[nil nil]");
        assert_eq!(client.ask("RENAME {t}a {t}b").await, "-ERR no such key");
    });
}

#[test]
fn transactions_go_to_the_node_of_their_keys() {
    let (servers, _) = RedisServer::cluster(3);
    let proxy = start(cluster_config(servers[0].address));
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        let keys = [0, 1, 2].map(|node| key(node, 3, 0));
        for round in 1..=20 {
            for key in &keys {
                let lines = ["MULTI".into(), format!("INCR {key}"), format!("GET {key}")];
                client.ask_all(&lines).await;
                assert_eq!(client.ask("EXEC").await, format!("[:{round} {round}]"));
            }
        }
        for server in &servers {
            assert_eq!(server.seen("EXEC"), 20);
            assert!(server.connections() <= 4, "{} connections", server.connections());
        }
        let crossed = ["MULTI".into(), format!("INCR {}", keys[0]), format!("INCR {}", keys[1])];
        let answers = client.ask_all(&crossed).await;
        assert!(answers[2].starts_with("-CROSSSLOT "), "{answers:?}");
        assert!(client.ask("EXEC").await.starts_with("-EXECABORT "));
        assert_eq!(client.ask(&format!("GET {}", keys[0])).await, "20");
        for (node, key) in keys.iter().enumerate() {
            let mut waiting = RedisClient::connect(address(&proxy)).await;
            waiting.send(&[format!("BLPOP list:{{{key}}} 0")]).await;
            eventually("it waits", || servers[node].seen("BLPOP") == 1).await;
            assert_eq!(client.ask(&format!("RPUSH list:{{{key}}} v")).await, ":1");
            assert_eq!(waiting.next().await, Some(format!("[list:{{{key}}} v]")));
        }
    });
}

#[test]
fn what_a_transaction_would_do_to_a_connection_is_refused_and_leaves_nothing_behind() {
    let (servers, _) = RedisServer::cluster(3);
    let proxy = start(cluster_config(servers[0].address));
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        for (n, other) in
            ["AUTH nobody x", "SELECT 0", "AUTH x"].into_iter().cycle().take(9).enumerate()
        {
            let key = key(n % 3, 3, 0);
            let get = format!("GET {key}");
            let answers = client.ask_all(&["MULTI", other, "DISCARD", &get]).await;
            assert!(
                answers[1].starts_with("-ERR wiremesh: this is about one server"),
                "{answers:?}"
            );
            assert_eq!([&answers[0], &answers[2], &answers[3]], ["+OK", "+OK", "nil"], "{other}");
            let answers = client.ask_all(&["MULTI", &get, other, "EXEC", &get]).await;
            assert!(answers[3].starts_with("-EXECABORT "), "{answers:?}");
            assert_eq!(answers[4], "nil");
        }
    });
}

#[test]
fn redirections_are_followed_and_the_order_is_kept() {
    let (servers, cluster) = RedisServer::cluster(3);
    let proxy = start(cluster_config(servers[0].address));
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        let k = key(0, 3, 0);
        let here = slot(k.as_bytes());
        let others: Vec<_> = (0..40).map(|n| key(n % 3, 3, n + 1)).collect();
        client.ask(&format!("SET {k} at-0")).await;
        // Every node is asked at least once, and the map known.
        for other in &others {
            assert_eq!(client.ask(&format!("SET {other} {other}")).await, "+OK");
        }
        let mut copy = RedisClient::connect(servers[1].address).await;
        copy.send(&["ASKING".to_owned(), format!("SET {k} at-1")]).await;
        assert_eq!([copy.next().await, copy.next().await], [0, 1].map(|_| Some("+OK".into())));
        for (said, times, answer) in [
            (Said::TryAgain, 2, "at-0"),
            (Said::Ask(servers[1].address), 1, "at-1"),
            (Said::Down, 1, "at-0"),
        ] {
            servers[0].habits.say(here, said.clone(), times);
            let (mut lines, mut wants) = (vec![format!("GET {k}")], vec![answer.to_owned()]);
            for other in &others {
                lines.push(format!("GET {other}"));
                wants.push(other.clone());
            }
            assert_eq!(client.ask_all(&lines).await, wants, "{said:?}");
        }
        assert!(servers[1].seen("ASKING") == 2, "one of them is the test's own");
        // The slot moves for good: what is asked of the old node is told of it, and nobody notices.
        cluster.assign(here, 1);
        for _ in 0..3 {
            let lines = [format!("GET {k}"), format!("GET {}", others[0]), format!("GET {k}")];
            assert_eq!(client.ask_all(&lines).await, ["at-1", &others[0], "at-1"]);
        }
        let asked = servers[0].seen(&format!("GET {k}"));
        for _ in 0..20 {
            assert_eq!(client.ask(&format!("GET {k}")).await, "at-1");
        }
        assert_eq!(servers[0].seen(&format!("GET {k}")), asked, "the new owner is known");
    });
}

#[test]
fn slots_that_move_under_load_lose_no_answer() {
    let (servers, cluster) = RedisServer::cluster(3);
    let proxy = start(cluster_config(servers[2].address));
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    block_on(async {
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(RedisClient::connect(address(&proxy)).await);
        }
        for round in 0..30 {
            for _ in 0..500 {
                cluster.assign(rng.u16(..16384), rng.usize(..3));
            }
            for (n, client) in clients.iter_mut().enumerate() {
                // The server has no memory of what was on another node; its answers say which key they are for.
                let keys: Vec<_> = (0..30).map(|i| format!("r{round}-{n}-{i}")).collect();
                let lines: Vec<_> = keys.iter().map(|key| format!("SET {key} {key} GET")).collect();
                client.send(&lines).await;
                for key in &keys {
                    assert_eq!(client.next().await.as_deref(), Some("nil"), "{key}");
                }
                let lines: Vec<_> = keys.iter().map(|key| format!("GET {key}")).collect();
                assert_eq!(client.ask_all(&lines).await, keys);
            }
        }
    });
}

#[test]
fn a_primary_that_is_gone_is_waited_for_until_another_stands_in() {
    let (mut servers, cluster) = RedisServer::cluster(2);
    let mut config = cluster_config(servers[0].address);
    config.clusters[0].topology_refresh = millis(20);
    let proxy = start(config);
    block_on(async {
        let (k, other) = (key(1, 2, 0), key(0, 2, 0));
        let mut client = RedisClient::connect(address(&proxy)).await;
        assert_eq!(client.ask(&format!("SET {k} a")).await, "+OK");
        drop(servers.remove(1));
        // By the time that this is answered, the proxy's only worker has seen the connections end.
        assert_eq!(client.ask(&format!("GET {other}")).await, "nil");
        let mut late = RedisClient::connect(address(&proxy)).await;
        let lines = [format!("SET {k} b"), format!("GET {k}"), format!("SET {other} x")];
        late.send(&lines).await;
        late.send(&[format!("APPEND {k} c"), format!("GET {k}"), format!("MGET {k} {other}")])
            .await;
        let waits = tokio::time::timeout(std::time::Duration::from_millis(200), late.next()).await;
        assert!(waits.is_err(), "{waits:?}");
        for slot in 0..16384 {
            cluster.assign(slot, 0);
        }
        for wanted in ["+OK", "b", "+OK", ":2", "bc", "[bc x]"] {
            assert_eq!(late.next().await.as_deref(), Some(wanted));
        }
    });
}

#[test]
fn a_script_that_one_node_was_brought_is_known_to_the_others() {
    const BODY: &str = "return-1";
    // Of that text.
    const SUM: &str = "5992566a0896059fa47ce642e11c7043ddeccb7c";
    let (servers, _) = RedisServer::cluster(3);
    for server in &servers {
        server.habits.allow_script(BODY, SUM);
    }
    let mut config = cluster_config(servers[0].address);
    config.workers = Some(2);
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        let [a, b, c] = [0, 1, 2].map(|node| key(node, 3, 0));
        let unknown = "-NOSCRIPT No matching script. Please use EVAL.";
        assert_eq!(client.ask(&format!("EVALSHA {SUM} 1 {b}")).await, unknown);
        assert_eq!(client.ask(&format!("EVAL {BODY} 1 {a}")).await, BODY);
        for key in [&a, &b, &b, &c] {
            assert_eq!(client.ask(&format!("EVALSHA {SUM} 1 {key}")).await, BODY, "{key}");
        }
        assert_eq!([0, 1, 2].map(|n| servers[n].seen("SCRIPT LOAD")), [0, 1, 1]);
        assert_eq!(servers.iter().map(|it| it.seen("EVALSHA")).sum::<usize>(), 7);
        // Forgotten is forgotten.
        assert_eq!(client.ask("SCRIPT FLUSH").await, "OK");
        for key in [&a, &b, &c] {
            assert_eq!(client.ask(&format!("EVALSHA {SUM} 1 {key}")).await, unknown, "{key}");
        }
        // What comes behind it, about the same key, is executed first: the client is told.
        assert_eq!(client.ask(&format!("EVAL {BODY} 1 {a}")).await, BODY);
        let set = format!("SET {b} x");
        let lines = [&*format!("EVALSHA {SUM} 1 {b}"), &*set];
        assert_eq!(client.ask_all(&lines).await, [unknown, "+OK"]);
        // Behind others it waits for its turn, and several of them keep their order.
        let evalsha = format!("EVALSHA {SUM} 1 {c}");
        let lines = [&*format!("GET {a}"), &*evalsha, &*evalsha, &*format!("GET {b}")];
        assert_eq!(client.ask_all(&lines).await, ["nil", BODY, BODY, "x"]);
        // The script that is asked for is unknown to everybody.
        let other = SUM.replace('0', "1");
        assert_eq!(client.ask(&format!("EVALSHA {other} 1 {a}")).await, unknown);
    });
}
