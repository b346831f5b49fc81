//! Routes that lead keys to different clusters by their prefix, and clients that see one server.

use std::{collections::HashMap, net::SocketAddr, sync::atomic::Ordering::Relaxed};

use wiremesh_proxy::config::{Config, HeaderMatch, Matcher, Reply, Route, Status};

use crate::common::{
    NAME, address, block_on, eventually,
    redis::{RedisClient, RedisServer, redis_config},
    start,
};

/// A route for the keys that begin so, to a cluster of the same name.
fn prefix(name: &str) -> Route {
    let mut route = Route::to_cluster(name, name);
    let value = Matcher::Prefix(format!("{name}:"));
    route.matches.headers = vec![HeaderMatch { name: "key".into(), value }];
    route
}

/// Keys without a known prefix go to the first; for each of the others there is a route and a topology.
fn divided(rest: SocketAddr, others: &[(&str, SocketAddr, &str)]) -> Config {
    let mut config = redis_config(&[rest]);
    for (name, server, topology) in others {
        let mut cluster = redis_config(&[*server]).clusters.remove(0);
        (cluster.name, cluster.topology) = ((*name).into(), (*topology).into());
        config.clusters.push(cluster);
        config.listeners[0].routes.insert(0, prefix(name));
    }
    config
}

/// Two servers, and a cluster of three nodes: no prefix, `one:` and `many:`.
struct Three {
    rest: RedisServer,
    one: RedisServer,
    many: Vec<RedisServer>,
}

impl Three {
    fn start() -> Self {
        let (many, _) = RedisServer::cluster(3);
        Self { rest: RedisServer::start(), one: RedisServer::start(), many }
    }

    fn config(&self) -> Config {
        let one = ("one", self.one.address, "static");
        divided(self.rest.address, &[one, ("many", self.many[0].address, "cluster")])
    }

    /// How many requests that begin so were seen: by each of the servers alone, and by the nodes together.
    fn seen(&self, beginning: &str) -> [usize; 3] {
        let many = self.many.iter().map(|node| node.seen(beginning)).sum();
        [self.rest.seen(beginning), self.one.seen(beginning), many]
    }
}

#[test]
fn commands_are_taken_apart_by_route_and_then_by_slot() {
    let three = Three::start();
    let proxy = start(three.config());
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        three.one.habits.delay.store(2, Relaxed);
        let keys: Vec<_> =
            (0..90).map(|n| format!("{}k{n}", ["", "one:", "many:"][n % 3])).collect();
        let all = client.set_all_and_get_all(&keys).await;
        assert_eq!(three.seen("MSET")[..2], [1, 1]);
        assert!(three.seen("MSET")[2] > 3, "many slots");
        // Keys that are named twice, or are not there, keep their places.
        let answer = client.ask("MGET many:k2 k0 none k0 one:k1 many:none many:k2 one:k4 k0").await;
        assert_eq!(answer, "[v-many:k2 v-k0 nil v-k0 v-one:k1 nil v-many:k2 v-one:k4 v-k0]");
        for (line, answer) in [
            (format!("EXISTS {all} none"), ":90"),
            (format!("TOUCH {all} k0"), ":91"),
            ("MSET k0 1 one:k1 2 many:k2 3 k0 4".into(), "+OK"),
            ("MGET k0 one:k1 many:k2".into(), "[4 2 3]"),
            ("DEL k0 one:k1 many:k2 k0".into(), ":3"),
            (format!("UNLINK {all}"), ":87"),
            ("DBSIZE".into(), ":0"),
        ] {
            assert_eq!(client.ask(&line).await, answer, "{line}");
        }
        let asked = three.seen("MSET");
        let answer = client.ask("MSET k0 1 one:k1").await;
        assert_eq!(answer, "-ERR wrong number of arguments for 'mset' command");
        assert_eq!(three.seen("MSET"), asked, "nothing is set");
        // In RESP3, and in another database of them all but the cluster, which has one only.
        assert!(client.ask("HELLO 3").await.starts_with('{'));
        assert_eq!(client.ask_all(&["SELECT 3", "MSET a 1 one:a 2"]).await, ["+OK", "+OK"]);
        assert_eq!(client.ask("MGET one:a a none").await, "[2 1 nil]");
        assert_eq!(client.ask("SELECT 0").await, "+OK");
        assert_eq!(client.ask("MGET one:a a many:a").await, "[nil nil nil]");
    });
}

#[test]
fn whatever_else_is_about_several_clusters_is_refused() {
    let three = Three::start();
    let proxy = start(three.config());
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        client.ask("MSET a 1 one:a 1 many:a 1").await;
        for line in [
            "RENAME a one:a",
            "SUNION one:a many:a",
            "MSETNX a 1 many:b 2",
            "BLPOP one:l many:l 0",
            "WATCH a one:a",
            "EVAL x 2 a one:a",
            "COPY a many:a",
            "SORT one:l STORE l",
        ] {
            let answer = client.ask(line).await;
            assert!(answer.starts_with("-CROSSSLOT wiremesh: routes lead"), "{line}: {answer}");
            let word = line.split(' ').next().unwrap();
            assert_eq!(three.seen(word), [0; 3], "{line}");
        }
        // Within one cluster they are as ever.
        assert_eq!(client.ask("RENAME one:a one:b").await, "+OK");
        assert!(client.ask("RENAME many:a many:b").await.starts_with("-CROSSSLOT Keys"));
        assert_eq!(client.ask("RENAME a b").await, "+OK");
        assert_eq!(client.ask("MGET b one:b many:a").await, "[1 1 1]");
    });
}

#[test]
fn an_error_of_any_part_is_the_answer() {
    let mut three = Three::start();
    let mut config = three.config();
    let mut forbidden = prefix("forbidden");
    forbidden.cluster = None;
    let status = Status(wiremesh::Status::Denied);
    forbidden.reply = Some(Reply { status, message: "not you".into() });
    config.listeners[0].routes.insert(0, forbidden);
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        client.ask("MSET a 1 one:a 1 many:a 1").await;
        // Keys that are answered by a route cannot be taken apart from those that are not.
        let answer = client.ask("MSET a 2 forbidden:a 2").await;
        assert!(answer.contains("belongs to different clusters"), "{answer}");
        assert!(client.ask("GET forbidden:a").await.contains("not you"));
        assert!(client.ask("MGET forbidden:a forbidden:b").await.contains("not you"));
        assert_eq!(client.ask("GET a").await, "1");
        three.one.habits.max_memory.store(1, Relaxed);
        let answer = client.ask("MSET a 2 one:a 2 many:a 2").await;
        assert!(answer.starts_with("-OOM "), "{answer}");
        assert_eq!(client.ask("MGET a one:a many:a").await, "[2 1 2]");
        three.one = RedisServer::start();
        let lines = ["MGET a one:a", "DEL one:x many:x", "GET a", "DBSIZE", "GET many:a"];
        let answers = client.ask_all(&lines).await;
        for failed in [0, 1, 3] {
            assert!(answers[failed].starts_with("-ERR wiremesh U"), "{answers:?}");
        }
        assert_eq!([&answers[2], &answers[4]], ["2", "2"]);
    });
}

#[test]
fn transactions_go_to_the_cluster_of_their_keys() {
    let three = Three::start();
    let proxy = start(three.config());
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        for round in 1..=5 {
            for key in ["n", "one:n", "many:n"] {
                let lines =
                    ["MULTI", "PING", &format!("INCR {key}"), &format!("GET {key}"), "EXEC"];
                let wants =
                    ["+OK", "+QUEUED", "+QUEUED", "+QUEUED", &format!("[+PONG :{round} {round}]")];
                assert_eq!(client.ask_all(&lines).await, wants, "{key}");
            }
        }
        assert_eq!(three.seen("EXEC"), [5, 5, 5]);
        // What comes right behind is taken apart, after it.
        let lines = ["MULTI", "SET one:n x", "EXEC", "MGET one:n n many:n", "DBSIZE"];
        let wants = ["+OK", "+QUEUED", "[+OK]", "[x 5 5]", ":3"];
        assert_eq!(client.ask_all(&lines).await, wants);
        for crossing in ["INCR one:n", "MGET n one:n", "RENAME n many:n", "FLUSHALL", "DBSIZE"] {
            let lines = ["MULTI", "SET n lost", crossing, "EXEC", "GET n"];
            let answers = client.ask_all(&lines).await;
            assert_eq!(answers[..2], ["+OK", "+QUEUED"]);
            assert!(answers[2].contains("wiremesh: "), "{crossing}: {answers:?}");
            assert!(answers[3].starts_with("-EXECABORT "), "{crossing}: {answers:?}");
            assert_eq!(answers[4], "5", "{crossing}");
        }
        assert_eq!(three.seen("FLUSHALL"), [0; 3]);
        // Keys that are watched hold a connection to their cluster, and other keys may be asked for meanwhile.
        let mut other = RedisClient::connect(address(&proxy)).await;
        let lines = ["WATCH one:n", "GET one:n", "GET n", "GET many:n"];
        assert_eq!(client.ask_all(&lines).await, ["+OK", "x", "5", "5"]);
        assert!(client.ask("MGET n one:n").await.starts_with("-ERR wiremesh: "));
        assert_eq!(other.ask("SET one:n y").await, "+OK");
        assert_eq!(client.ask_all(&["MULTI", "GET one:n"]).await, ["+OK", "+QUEUED"]);
        assert_eq!(client.ask("EXEC").await, "nil");
        assert_eq!(client.ask("MGET n one:n").await, "[5 y]");
        for key in ["l", "one:l", "many:l"] {
            client.send(&[format!("BLPOP {key} 0"), "MGET n one:n".into()]).await;
            let seen = || three.seen("BLPOP").iter().sum::<usize>() > 0;
            eventually("it waits", seen).await;
            assert_eq!(other.ask(&format!("RPUSH {key} v")).await, ":1");
            assert_eq!(client.next().await, Some(format!("[{key} v]")));
            assert_eq!(client.next().await.as_deref(), Some("[5 y]"));
        }
        assert_eq!(three.seen("BLPOP"), [1, 1, 1]);
    });
}

#[test]
fn commands_about_all_keys_are_about_those_of_all_clusters() {
    let three = Three::start();
    let mut config = three.config();
    let mut named = Route::to_cluster("named", "one");
    named.matches.method = Some(Matcher::Exact("FLUSHDB".into()));
    config.listeners[0].routes.insert(0, named);
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        let mut keys: Vec<_> =
            (0..90).map(|n| format!("{}k{n}", ["", "one:", "many:"][n % 3])).collect();
        let lines: Vec<_> = keys.iter().map(|key| format!("SET {key} 1")).collect();
        client.ask_all(&lines).await;
        assert_eq!(client.ask("DBSIZE").await, ":90");
        let answer = client.ask("KEYS *").await;
        let mut seen: Vec<_> = answer.trim_matches(['[', ']']).split(' ').collect();
        seen.sort_unstable();
        keys.sort_unstable();
        assert_eq!(seen, keys);
        let (mut cursor, mut seen) = ("0".to_owned(), Vec::new());
        loop {
            let answer = client.ask(&format!("SCAN {cursor} COUNT 7")).await;
            let mut words = answer.split(' ').map(|word| word.trim_matches(['[', ']']));
            cursor = words.next().expect("a cursor").to_owned();
            seen.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
            if cursor == "0" {
                break;
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, keys, "every key once");
        // What is not about keys goes where keys without a prefix go.
        assert_eq!(client.ask("PUBLISH c m").await, ":0");
        assert_eq!(three.seen("PUBLISH"), [1, 0, 0]);
        assert!(client.ask("SWAPDB 0 1").await.starts_with("-ERR wiremesh"));
        // A command that a route names goes where it says.
        assert_eq!(client.ask_all(&["FLUSHDB", "DBSIZE"]).await, ["+OK", ":60"]);
        assert_eq!(three.seen("FLUSHDB"), [0, 1, 0]);
        assert_eq!(client.ask_all(&["FLUSHALL", "DBSIZE"]).await, ["+OK", ":0"]);
        assert_eq!(three.seen("FLUSHALL"), [1, 1, 3]);
        // Without a script to run, all three say the same; the server of the tests knows none.
        assert!(client.ask("SCRIPT LOAD x").await.starts_with("-ERR"));
        assert_eq!(three.seen("SCRIPT LOAD"), [1, 1, 3]);
    });
}

/// Clients with keys of their own, in pipelines of whatever may be taken apart; every answer is that of a model.
#[test]
fn pipelines_over_several_clusters_answer_as_one_server() {
    let three = Three::start();
    let (rest, one) = (three.rest.address, three.one.address);
    for (round, config) in [
        divided(rest, &[("one", one, "static")]),
        three.config(),
        divided(rest, &[("many", three.many[1].address, "cluster")]),
    ]
    .into_iter()
    .enumerate()
    {
        let proxy = start(config);
        three.rest.habits.delay.store(round as u64, Relaxed);
        block_on(async {
            let clients: Vec<_> = (0..6u64)
                .map(|number| {
                    let address = address(&proxy);
                    let seed = round as u64 * 100 + number;
                    tokio::task::spawn_local(async move { act(address, round, seed).await })
                })
                .collect();
            for client in clients {
                client.await.expect("all answers were right");
            }
        });
    }
}

/// One client of [`pipelines_over_several_clusters_answer_as_one_server`].
async fn act(address: SocketAddr, round: usize, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut client = RedisClient::connect(address).await;
    let mut model: HashMap<String, String> = HashMap::new();
    for burst in 0..60 {
        let (mut lines, mut wants) = (Vec::new(), Vec::new());
        for step in 0..20 {
            let keys: Vec<_> = (0..rng.usize(1..6))
                .map(|_| {
                    let prefix = rng.choice(["", "one:", "many:"]).unwrap();
                    format!("{prefix}{round}-{seed}-{}", rng.u8(..20))
                })
                .collect();
            let all = keys.join(" ");
            let has = |model: &HashMap<String, String>| {
                keys.iter().filter(|key| model.contains_key(*key)).count()
            };
            let (line, want) = match rng.u8(..8) {
                0 | 1 => {
                    let mut line = "MSET".to_owned();
                    for (n, key) in keys.iter().enumerate() {
                        let value = format!("v{burst}-{step}-{n}");
                        line += &format!(" {key} {value}");
                        model.insert(key.clone(), value);
                    }
                    (line, "+OK".to_owned())
                }
                2 | 3 => {
                    let values = keys.iter().map(|key| model.get(key).map_or("nil", |v| v));
                    let values = values.collect::<Vec<_>>().join(" ");
                    (format!("MGET {all}"), format!("[{values}]"))
                }
                4 => (format!("EXISTS {all}"), format!(":{}", has(&model))),
                5 => (format!("TOUCH {all}"), format!(":{}", has(&model))),
                6 => {
                    let gone = keys.iter().filter(|key| model.remove(*key).is_some()).count();
                    (
                        format!("{} {all}", rng.choice(["DEL", "UNLINK"]).unwrap()),
                        format!(":{gone}"),
                    )
                }
                _ => {
                    let key = &keys[0];
                    let len = model.entry(key.clone()).or_default();
                    *len += "x";
                    (format!("APPEND {key} x"), format!(":{}", len.len()))
                }
            };
            lines.push(line);
            wants.push(want);
        }
        let answers = client.ask_all(&lines).await;
        for ((line, answer), want) in lines.iter().zip(answers).zip(wants) {
            assert_eq!(answer, want, "seed {seed}, burst {burst}: {line}");
        }
    }
}

#[test]
fn a_listener_of_one_cluster_takes_nothing_apart() {
    let server = RedisServer::start();
    let mut config = redis_config(&[server.address]);
    let mut other = prefix("other");
    other.cluster = Some(NAME.into());
    config.listeners[0].routes.insert(0, other);
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        assert_eq!(client.ask("MSET a 1 other:a 2").await, "+OK");
        assert_eq!(client.ask("RENAME a other:b").await, "+OK");
        assert_eq!(client.ask("MGET other:a other:b").await, "[2 1]");
        let lines = ["MULTI", "SET a 1", "SET other:a 1", "EXEC"];
        assert_eq!(client.ask_all(&lines).await, ["+OK", "+QUEUED", "+QUEUED", "[+OK +OK]"]);
        assert_eq!(server.seen("MSET"), 1);
    });
}
