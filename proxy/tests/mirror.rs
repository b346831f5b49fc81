//! Copies of requests for another cluster: what that gets, and that clients notice nothing.

mod common;

use std::{
    net::{SocketAddr, TcpListener},
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use wiremesh::{Frame, Kind};
use wiremesh_proxy::{
    config::{Config, Mirror, MirrorOnly, Percent},
    server::Handle,
    telemetry::MirrorTotals,
};
use wiremesh_redis::slot::slot;

use common::{
    NAME, address, block_on,
    bolt::{connect, mesh, named, outcome, request, routes, silent, until},
    eventually, millis,
    redis::{RedisClient, RedisServer, redis_config},
    start,
};

/// Everything is copied, and compared.
fn whole() -> Mirror {
    Mirror { cluster: "shadow".into(), percent: Percent::ALL, only: None, compare: true }
}

/// A proxy's configuration for Redis whose requests are copied.
fn redis(of: SocketAddr, shadow: SocketAddr, mirror: Mirror) -> Config {
    let mut config = redis_config(&[of]);
    let mut cluster = redis_config(&[shadow]).clusters.remove(0);
    cluster.name = "shadow".into();
    config.clusters.push(cluster);
    config.listeners[0].routes[0].mirror = Some(mirror);
    config
}

/// What was counted up to now.
fn counts(proxy: &Handle) -> MirrorTotals {
    proxy.metrics().snapshot().mirror(NAME, NAME).cloned().unwrap_or_default()
}

/// How many copies there were, whatever became of them.
fn copies(counts: &MirrorTotals) -> u64 {
    counts.answered + counts.failed + counts.dropped
}

/// Has a client write `n` values, and checks all that it is told.
async fn write(client: &mut RedisClient, key: &str, n: usize) {
    let lines: Vec<_> = (0..n).map(|n| format!("RPUSH {key} {n}")).collect();
    let wants: Vec<_> = (1..=n).map(|n| format!(":{n}")).collect();
    assert_eq!(client.ask_all(&lines).await, wants);
    assert_eq!(client.ask(&format!("DEL {key}")).await, ":1");
}

#[test]
fn writes_of_one_client_arrive_in_order_and_on_its_lane() {
    let (server, shadow) = (RedisServer::start(), RedisServer::start());
    let proxy = start(redis(server.address, shadow.address, whole()));
    block_on(async {
        let clients: Vec<_> = (0..8)
            .map(|number| {
                let address = address(&proxy);
                tokio::task::spawn_local(async move {
                    let mut client = RedisClient::connect(address).await;
                    assert_eq!(client.ask(&format!("SELECT {number}")).await, "+OK");
                    if number % 2 == 1 {
                        client.ask("HELLO 3").await;
                    }
                    for burst in 0..10 {
                        let lines: Vec<_> =
                            (0..50).map(|n| format!("RPUSH list {burst}-{n}")).collect();
                        client.ask_all(&lines).await;
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.expect("it was answered");
        }
        eventually("all are copied", || counts(&proxy).equal == 4000).await;
        for number in 0..8 {
            let mut lists = Vec::new();
            for address in [server.address, shadow.address] {
                let mut direct = RedisClient::connect(address).await;
                direct.ask(&format!("SELECT {number}")).await;
                lists.push(direct.ask("LRANGE list 0 -1").await);
            }
            assert_eq!(lists[0], lists[1]);
            assert_eq!(lists[0].split(' ').count(), 500);
        }
        let want = MirrorTotals { answered: 4000, equal: 4000, ..MirrorTotals::default() };
        assert_eq!(counts(&proxy), want);
        // Clients' requests are counted, and not the copies: 4,000, and those that set the connection up.
        assert_eq!(proxy.metrics().snapshot().total().requests, 4000 + 8 + 4);
    });
}

#[test]
fn a_share_of_the_reads_or_of_the_writes_is_copied() {
    for (only, percent, reads, writes) in [
        (None, 10.0, 100..300, 100..300),
        (Some(MirrorOnly::Reads), 100.0, 2000..2001, 0..1),
        (Some(MirrorOnly::Writes), 50.0, 0..1, 850..1150),
    ] {
        let (server, shadow) = (RedisServer::start(), RedisServer::start());
        let mirror = Mirror { only, percent: Percent(percent), compare: false, ..whole() };
        let proxy = start(redis(server.address, shadow.address, mirror));
        block_on(async {
            let mut client = RedisClient::connect(address(&proxy)).await;
            for _ in 0..20 {
                let lines: Vec<_> =
                    (0..100).flat_map(|n| [format!("SET k{n} v"), format!("GET k{n}")]).collect();
                let answers = client.ask_all(&lines).await;
                assert!(answers.chunks(2).all(|pair| *pair == ["+OK", "v"]));
            }
            let (got, set) = (|| shadow.seen("GET"), || shadow.seen("SET"));
            // Copies are sent before what they are copied from.
            let snapshot = proxy.metrics().snapshot();
            let sent = snapshot.endpoint("shadow", &shadow.address.to_string());
            let sent = sent.map_or(0, |endpoint| endpoint.totals.requests);
            eventually("they are answered", || copies(&counts(&proxy)) == sent).await;
            assert!(reads.contains(&got()), "{} reads", got());
            assert!(writes.contains(&set()), "{} writes", set());
            let MirrorTotals { failed, dropped, equal, different, .. } = counts(&proxy);
            assert_eq!((failed, dropped, equal, different), (0, 0, 0, 0));
        });
    }
}

#[test]
fn what_is_wrong_with_the_shadow_is_not_told_to_clients() {
    let (server, shadow) = (RedisServer::start(), RedisServer::start());
    let mut config = redis(server.address, shadow.address, whole());
    config.listeners[0].routes[0].timeout = Some(millis(2000));
    config.clusters[1].connect_timeout = millis(200);
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        write(&mut client, "fine", 100).await;
        eventually("all is well", || counts(&proxy).equal == 101).await;
        for (habit, what) in [
            (&shadow.habits.garbage, "garbage"),
            (&shadow.habits.half, "half an answer"),
            (&shadow.habits.mute, "nothing"),
        ] {
            let before = counts(&proxy);
            habit.store(true, Relaxed);
            let begun = Instant::now();
            write(&mut client, "k", 200).await;
            assert!(begun.elapsed() < Duration::from_secs(2), "the client waits: {what}");
            let failed = || counts(&proxy).failed > before.failed;
            eventually(what, failed).await;
            eventually("all are over", || copies(&counts(&proxy)) == copies(&before) + 201).await;
            habit.store(false, Relaxed);
            assert_eq!(counts(&proxy).different, 0);
        }
        // One that answers slowly holds nobody up.
        shadow.habits.delay.store(5, Relaxed);
        write(&mut client, "slow", 100).await;
        shadow.habits.delay.store(0, Relaxed);
        drop(shadow);
        let before = counts(&proxy);
        write(&mut client, "gone", 100).await;
        let over = || copies(&counts(&proxy)) >= copies(&before) + 101;
        eventually("none is forgotten", over).await;
        assert!(counts(&proxy).answered < before.answered + 202);
        let total = proxy.metrics().snapshot().total();
        assert_eq!(total.errors, 0);
    });
}

/// A shadow that reads nothing: what waits for it is bounded.
#[test]
fn copies_for_a_shadow_that_reads_nothing_are_dropped() {
    let server = RedisServer::start();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let shadow = listener.local_addr().expect("bound");
    let proxy = start(redis(server.address, shadow, whole()));
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        let value = "x".repeat(1 << 20);
        for n in 0..60 {
            assert_eq!(client.ask(&format!("SET k{} {value}", n % 4)).await, "+OK");
        }
        let counts = counts(&proxy);
        assert!(counts.dropped > 30, "{counts:?}");
        assert_eq!((counts.answered, counts.equal), (0, 0));
        assert_eq!(client.ask("DBSIZE").await, ":4");
        drop(listener);
    });
}

#[test]
fn copies_are_spread_as_the_shadow_is() {
    let (nodes, cluster) = RedisServer::cluster(3);
    let single = RedisServer::start();
    let both = |one: &RedisServer, many: usize, seen: &str| {
        (one.seen(seen), nodes.iter().map(|node| node.seen(seen)).sum::<usize>() - many)
    };
    let keys: Vec<_> = (0..30).map(|n| format!("k{n}")).collect();
    let all = keys.join(" ");
    let pairs = keys.iter().map(|key| format!("{key} v-{key}")).collect::<Vec<_>>().join(" ");
    let script =
        |n: usize| [format!("MSET {pairs}"), format!("MGET {all}"), format!("DEL k{n} k9")];
    // From one server to a cluster.
    let mut config = redis(single.address, nodes[0].address, whole());
    config.clusters[1].topology = "cluster".into();
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        for n in 0..5 {
            client.ask_all(&script(n)).await;
        }
        eventually("all are equal", || counts(&proxy).equal == 15).await;
        assert_eq!(counts(&proxy).different, 0);
        let mut direct = RedisClient::connect(nodes[0].address).await;
        assert!(direct.ask("DBSIZE").await != ":0");
        // What the shadow cannot do is dropped.
        assert_eq!(client.ask("SUNION none nothing").await, "[]");
        assert_eq!(counts(&proxy).dropped, 1);
        // It is not asked again where it says that a slot has moved, but the next is sent there.
        let moved = slot(b"k20");
        let owner = nodes.iter().position(|node| node.seen("MSET k20") > 0).expect("one has it");
        cluster.assign(moved, (owner + 1) % 3);
        assert_eq!(client.ask("GET k20").await, "v-k20");
        eventually("it fails", || counts(&proxy).failed == 1).await;
        assert_eq!(client.ask("SET k20 new").await, "+OK");
        eventually("it arrives", || nodes[(owner + 1) % 3].seen("SET k20 new") == 1).await;
        assert_eq!(client.ask("FLUSHALL").await, "+OK");
        eventually("everywhere", || nodes.iter().all(|node| node.seen("FLUSHALL") == 1)).await;
        cluster.assign(moved, owner);
    });
    drop(proxy);
    // And from the cluster to one server.
    let shadow = RedisServer::start();
    let mut config = redis(nodes[1].address, shadow.address, whole());
    config.clusters[0].topology = "cluster".into();
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        for n in 0..5 {
            client.ask_all(&script(n)).await;
        }
        eventually("the last has come", || shadow.seen("DEL k4") == 1).await;
        eventually("all are answered", || counts(&proxy).answered == counts(&proxy).equal).await;
        assert_eq!((counts(&proxy).different, counts(&proxy).failed), (0, 0));
        let mut direct = RedisClient::connect(shadow.address).await;
        assert_eq!(direct.ask("DBSIZE").await, client.ask("DBSIZE").await);
        // A command for all shards is copied once.
        assert_eq!(client.ask("FLUSHALL").await, "+OK");
        eventually("it is flushed", || both(&shadow, 3, "FLUSHALL") == (1, 3)).await;
    });
}

#[test]
fn what_is_on_a_connection_of_its_own_is_not_copied() {
    let (server, shadow) = (RedisServer::start(), RedisServer::start());
    let proxy = start(redis(server.address, shadow.address, whole()));
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        for line in ["MULTI", "SET t 1", "EXEC", "RPUSH l 1", "BLPOP l 0", "SUBSCRIBE c"] {
            client.ask(line).await;
        }
        client.ask("UNSUBSCRIBE c").await;
        client.ask("SET after 1").await;
        eventually("the last has come", || shadow.seen("SET after") == 1).await;
        let mut seen: Vec<_> = shadow.habits.log().into_iter().map(|(_, line)| line).collect();
        // The proxy has questions of its own.
        seen.retain(|line| {
            !["CLIENT", "PING", "COMMAND", "MODULE"].iter().any(|own| line.starts_with(own))
        });
        assert_eq!(seen, ["RPUSH l 1", "SET after 1"]);
        // Answers that differ are counted.
        client.ask_all(&["SET n 1", "INCR n"]).await;
        let mut direct = RedisClient::connect(shadow.address).await;
        eventually("it has come", || shadow.seen("INCR n") == 1).await;
        direct.ask("SET n 7").await;
        assert_eq!(client.ask_all(&["GET n", "INCR n", "SET n 2"]).await, ["2", ":3", "+OK"]);
        eventually("two differ", || counts(&proxy).different == 2).await;
        eventually("the last is equal", || counts(&proxy).answered == 7).await;
        assert_eq!(counts(&proxy).equal, 5);
    });
}

/// One listener whose requests go to `of`, and copies to `to`.
fn bolt(of: &str, to: &str) -> Handle {
    mesh(&routes(
        "[{ name: r, cluster: a, timeout: 1s, mirror: { cluster: b, compare: true } }]",
        &format!(
            "[{{ name: a, endpoints: ['{of}'] }}, {{ name: b, endpoints: ['{to}'], outlier: off }}]"
        ),
    ))
}

fn bolt_counts(proxy: &Handle) -> MirrorTotals {
    proxy.metrics().snapshot().mirror("l", "r").cloned().unwrap_or_default()
}

#[test]
fn requests_that_carry_ids_are_copied() {
    let (server, shadow) = (named("one"), named("one"));
    let proxy = bolt(&server.address, &shadow.address);
    let mut caller = connect(&proxy);
    for n in 0..50 {
        let request = request("s", &format!("m{n}"), &[("n", &n.to_string())]);
        assert_eq!(outcome(&mut caller, request), "one");
    }
    until("all are equal", || bolt_counts(&proxy).equal == 50);
    let methods = |seen: Vec<common::peer::Seen<wiremesh_bolt::BoltFrame>>| {
        let seen = seen.into_iter().filter(|seen| seen.frame.kind() == Kind::Request);
        seen.map(|seen| seen.frame.method().unwrap_or_default().into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(methods(shadow.seen()), methods(server.seen()));
    let want = MirrorTotals { answered: 50, equal: 50, ..MirrorTotals::default() };
    assert_eq!(bolt_counts(&proxy), want);
    assert_eq!(proxy.metrics().snapshot().total().requests, 50);
    let metrics = page(&proxy);
    assert!(metrics.contains("wiremesh_mirror_copies_total"), "{metrics}");
}

/// What the metrics page would say.
fn page(proxy: &Handle) -> String {
    proxy.metrics().encode(wiremesh_proxy::telemetry::Format::Classic, &[])
}

#[test]
fn a_shadow_that_is_silent_or_away_or_says_something_else() {
    let server = named("one");
    let ask = |proxy: &Handle| {
        let mut caller = connect(proxy);
        let begun = Instant::now();
        for _ in 0..20 {
            assert_eq!(outcome(&mut caller, request("s", "m", &[])), "one");
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "clients wait");
    };
    let quiet = silent();
    let proxy = bolt(&server.address, &quiet.address);
    ask(&proxy);
    until("they are given up", || bolt_counts(&proxy).failed == 20);
    let other = named("two");
    let proxy = bolt(&server.address, &other.address);
    ask(&proxy);
    until("they differ", || bolt_counts(&proxy).different == 20);
    let away = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let proxy = bolt(&server.address, &away.to_string());
    ask(&proxy);
    until("all are over", || copies(&bolt_counts(&proxy)) == 20);
    assert_eq!(bolt_counts(&proxy).answered, 0);
}
