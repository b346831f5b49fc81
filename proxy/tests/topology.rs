//! Clusters whose servers tell who serves what: learnt, followed when it changes, kept when nobody answers.

mod common;

use std::{net::SocketAddr, time::Duration};

use common::{
    NAME, Nobody, address, block_on, config, eventually, millis, nobody, registry,
    resp::{RespClient, RespServer, bulk},
    secs, start,
};
use wiremesh_proxy::{
    config::{Config, ReadFrom},
    server::Handle,
};

/// Keys of the first and of the second half of the slots: 866 and 12182.
const LOW: &str = "GET hello";
const HIGH: &str = "GET foo";

fn redis(topology: &str, seeds: &[SocketAddr]) -> Config {
    let mut config = config(seeds);
    config.workers = Some(1);
    config.listeners[0].protocols = vec!["redis".into()];
    config.clusters[0].topology = topology.into();
    config.clusters[0].topology_refresh = secs(3600);
    config
}

async fn connect(proxy: &Handle) -> RespClient {
    RespClient::connect(address(proxy)).await
}

fn said(server: &RespServer) -> String {
    format!("+{}", server.port())
}

/// Asks until the answer is this.
async fn until(client: &mut RespClient, line: &str, expected: &str) {
    let end = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let answer = client.ask(line).await;
        if answer == expected {
            return;
        }
        assert!(std::time::Instant::now() < end, "{line}: {answer} and not {expected}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn the_keys_are_where_the_seed_says() {
    let (a, b) = (RespServer::start(), RespServer::start());
    a.knows(&[&a, &b]);
    let proxy = start(redis("cluster", &[nobody(), a.address]));
    block_on(async {
        let mut client = connect(&proxy).await;
        assert_eq!([client.ask(LOW).await, client.ask(HIGH).await], [said(&a), said(&b)]);
    });
}

#[test]
fn what_changes_is_seen_at_the_next_refresh() {
    let (a, b) = (RespServer::start(), RespServer::start());
    let all = || [&a, &b].iter().for_each(|it| it.knows(&[&b]));
    [&a, &b].iter().for_each(|it| it.knows(&[&a, &b]));
    let mut config = redis("cluster", &[a.address]);
    config.clusters[0].topology_refresh = millis(200);
    let proxy = start(config);
    block_on(async {
        let mut client = connect(&proxy).await;
        assert_eq!(client.ask(LOW).await, said(&a));
        all();
        until(&mut client, LOW, &said(&b)).await;
        // Nobody answers: what is known stays.
        for server in [&a, &b] {
            server.answer("CLUSTER", "-ERR no\r\n");
            server.answer("CLUSTER SLOTS", "-ERR no\r\n");
        }
        let before = a.count("CLUSTER SLOTS");
        eventually("both are asked again", || a.count("CLUSTER SLOTS") > before + 2).await;
        assert_eq!(client.ask(LOW).await, said(&b));
    });
}

#[test]
fn by_new_routes_nothing_overtakes_what_went_by_the_old_ones() {
    let (a, b) = (RespServer::start(), RespServer::start());
    [&a, &b].iter().for_each(|it| it.knows(&[&a, &b]));
    // What is in flight there stays in flight.
    a.answer("SET", "");
    let mut config = redis("cluster", &[a.address]);
    config.clusters[0].topology_refresh = millis(100);
    let name = config.listeners[0].name.clone();
    let proxy = start(config);
    block_on(async {
        let mut client = connect(&proxy).await;
        client.send("SET hello x").await;
        eventually("it is in flight", || a.count("SET") == 1).await;
        [&a, &b].iter().for_each(|it| it.knows(&[&b]));
        let asked = || a.count("CLUSTER SLOTS") + b.count("CLUSTER SLOTS");
        let before = asked();
        // The first of them may have been answered before it changed, the second is known when the third is asked.
        eventually("it is learnt", || asked() >= before + 3).await;
        client.send(LOW).await;
        let received =
            || proxy.metrics().snapshot().listener(&name).map_or(0, |l| l.bytes_received);
        let sent = ("SET hello x\r\n".len() + LOW.len() + 2) as u64;
        eventually("it has come", || received() >= sent).await;
        let mut other = connect(&proxy).await;
        assert_eq!(other.ask(LOW).await, said(&b));
        assert_eq!(b.count("GET"), 1, "the other's, and not that which waits behind the write");
    });
}

#[test]
fn a_slot_that_has_moved_is_learnt_at_once() {
    let (a, b) = (RespServer::start(), RespServer::start());
    [&a, &b].iter().for_each(|it| it.knows(&[&a, &b]));
    let proxy = start(redis("cluster", &[a.address]));
    block_on(async {
        let mut client = connect(&proxy).await;
        assert_eq!(client.ask(LOW).await, said(&a));
        [&a, &b].iter().for_each(|it| it.knows(&[&b]));
        a.answer("GET", &format!("-MOVED 866 127.0.0.1:{}\r\n", b.port()));
        let before = a.count("CLUSTER SLOTS") + b.count("CLUSTER SLOTS");
        assert_eq!(client.ask(LOW).await, said(&b));
        let asked = || a.count("CLUSTER SLOTS") + b.count("CLUSTER SLOTS");
        eventually("the topology is asked for", || asked() > before).await;
        let told = a.count("GET");
        assert_eq!(client.ask(LOW).await, said(&b));
        assert_eq!(a.count("GET"), told, "it is not asked any more");
    });
}

#[test]
fn who_is_not_to_answer_reads_as_a_copy_is_not_told_that_they_are_meant_for_it() {
    let (a, b) = (RespServer::start(), RespServer::start());
    [&a, &b].iter().for_each(|it| it.knows_replica(&[&a], Some(&b)));
    let proxy = start(redis("cluster", &[a.address]));
    block_on(async {
        let mut client = connect(&proxy).await;
        assert_eq!(client.ask(LOW).await, said(&a));
        // It has become the primary, and nobody has heard of that.
        a.answer("GET", &format!("-MOVED 866 127.0.0.1:{}\r\n", b.port()));
        assert_eq!(client.ask(LOW).await, said(&b));
        assert_eq!(b.count("READONLY"), 0);
    });
}

#[test]
fn of_several_that_wait_each_that_is_overtaken_is_told() {
    let (a, b) = (RespServer::start(), RespServer::start());
    a.is_primary();
    b.follows(&a);
    let proxy = start(redis("replicated", &[a.address, b.address]));
    a.answer("SET", "-READONLY not any more\r\n");
    block_on(async {
        let mut client = connect(&proxy).await;
        assert_eq!(client.ask(LOW).await, said(&a));
        // In one write: a request that comes once the first was refused waits behind it, and overtakes nothing.
        client.send(&["SET one 1", "SET two 2", LOW].join("\r\n")).await;
        let answers = [client.answer().await, client.answer().await, client.answer().await];
        let refused = "-READONLY not any more".to_owned();
        assert_eq!(answers, [refused.clone(), refused, said(&a)]);
        assert_eq!(a.count("SET") + b.count("SET"), 2, "neither was sent again");
    });
}

#[test]
fn a_slot_that_has_moved_to_somebody_new() {
    let (a, b) = (RespServer::start(), RespServer::start());
    a.knows(&[&a]);
    let proxy = start(redis("cluster", &[a.address]));
    block_on(async {
        let mut client = connect(&proxy).await;
        assert_eq!(client.ask(LOW).await, said(&a));
        a.answer("GET", &format!("-MOVED 866 127.0.0.1:{}\r\n", b.port()));
        [&a, &b].iter().for_each(|it| it.knows(&[&b]));
        assert_eq!(client.ask(LOW).await, said(&b));
    });
}

#[test]
fn a_server_that_is_lost_makes_it_ask_the_others() {
    let (a, b) = (RespServer::start(), RespServer::start());
    [&a, &b].iter().for_each(|it| it.knows(&[&a, &b]));
    let proxy = start(redis("cluster", &[a.address]));
    block_on(async {
        let mut client = connect(&proxy).await;
        assert_eq!(client.ask(LOW).await, said(&a));
        b.knows(&[&b]);
        drop(a);
        until(&mut client, LOW, &said(&b)).await;
    });
}

#[test]
fn who_is_late_is_found_when_it_comes() {
    let late = Nobody::new();
    let address = late.address();
    let proxy = start(redis("cluster", &[address]));
    block_on(async {
        let mut client = connect(&proxy).await;
        let answer = client.ask(LOW).await;
        assert!(answer.starts_with("-ERR wiremesh"), "{answer}");
        drop(late);
        let server = RespServer::start_at(address);
        server.knows(&[&server]);
        until(&mut client, LOW, &said(&server)).await;
    });
}

#[test]
fn reads_go_to_replicas_and_writes_to_the_primary() {
    let (a, b) = (RespServer::start(), RespServer::start());
    a.is_primary();
    b.follows(&a);
    let mut config = redis("replicated", &[b.address]);
    config.clusters[0].read_from = ReadFrom::PreferReplica;
    let proxy = start(config);
    block_on(async {
        let mut client = connect(&proxy).await;
        assert_eq!(client.ask(LOW).await, said(&b));
        assert_eq!(client.ask("SET a b").await, "+OK");
        assert_eq!((a.count("SET"), b.count("SET")), (1, 0), "{:?}", [a.asked(), b.asked()]);
        // They change their parts; the client is not told.
        a.follows(&b);
        b.is_primary();
        assert_eq!(client.ask("SET a b").await, "+OK");
        assert_eq!(b.count("SET"), 1);
        until(&mut client, LOW, &said(&a)).await;
    });
}

#[test]
fn a_replica_of_a_cluster_is_told_that_reads_are_meant_for_it() {
    let (a, b) = (RespServer::start(), RespServer::start());
    let both = |primary, replica| {
        [&a, &b].iter().for_each(|it| it.knows_replica(&[primary], Some(replica)));
    };
    both(&a, &b);
    let mut config = redis("cluster", &[a.address]);
    config.clusters[0].read_from = ReadFrom::PreferReplica;
    config.clusters[0].topology_refresh = millis(100);
    let proxy = start(config);
    block_on(async {
        let mut client = connect(&proxy).await;
        assert_eq!(client.ask(LOW).await, said(&b));
        assert_eq!(client.ask("SET hello b").await, "+OK");
        assert_eq!((a.count("READONLY"), b.count("READONLY")), (0, 1));
        both(&b, &a);
        until(&mut client, LOW, &said(&a)).await;
        // The connection that was made when it was the primary is replaced.
        eventually_told(&mut client, || a.count("READONLY") == 1).await;
    });
}

/// Reads until it is so.
async fn eventually_told(client: &mut RespClient, done: impl Fn() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while !done() {
        client.ask(LOW).await;
        assert!(std::time::Instant::now() < end, "not within 10 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn sentinels_are_asked_who_is_the_primary() {
    let [a, b, sentinel] = [(); 3].map(|()| RespServer::start());
    let names = |server: &RespServer| {
        let port = server.port().to_string();
        let address = format!("*2\r\n{}{}", bulk("127.0.0.1"), bulk(&port));
        sentinel.answer("SENTINEL GET-MASTER-ADDR-BY-NAME m", &address);
        sentinel.answer("SENTINEL REPLICAS m", "*0\r\n");
    };
    a.is_primary();
    b.follows(&a);
    names(&a);
    let mut config = redis("sentinel", &[sentinel.address]);
    config.clusters[0].topology_options = [("master".to_owned(), "m".to_owned())].into();
    let proxy = start(config);
    block_on(async {
        let mut client = connect(&proxy).await;
        assert_eq!(client.ask("SET a b").await, "+OK");
        assert_eq!((a.count("SET"), sentinel.count("SET")), (1, 0));
        names(&b);
        b.is_primary();
        a.follows(&b);
        assert_eq!(client.ask("SET a b").await, "+OK");
        assert_eq!(b.count("SET"), 1);
    });
}

#[test]
fn a_reload_may_bring_and_take_a_topology() {
    let (a, b) = (RespServer::start(), RespServer::start());
    [&a, &b].iter().for_each(|it| it.knows(&[&b]));
    let proxy = start(redis("static", &[a.address]));
    block_on(async {
        let mut client = connect(&proxy).await;
        assert_eq!(client.ask(LOW).await, said(&a));
        proxy.reload(redis("cluster", &[a.address])).expect("taken over");
        until(&mut client, LOW, &said(&b)).await;
        // Other seeds, and a cluster of its own: the old one is not asked for it.
        let c = RespServer::start();
        c.knows(&[&c]);
        proxy.reload(redis("cluster", &[c.address])).expect("taken over");
        until(&mut client, LOW, &said(&c)).await;
        proxy.reload(redis("static", &[a.address])).expect("taken over");
        until(&mut client, LOW, &said(&a)).await;
        // A cluster that is new has its endpoints before it is used.
        let mut config = redis("cluster", &[b.address]);
        config.clusters[0].name = "new".into();
        config.listeners[0].routes = vec![wiremesh_proxy::config::Route::to_cluster(NAME, "new")];
        proxy.reload(config).expect("taken over");
        until(&mut client, LOW, &said(&b)).await;
    });
}

#[test]
fn what_a_bundled_protocol_says_of_its_topologies() {
    let protocols = registry().protocols();
    let stateful: Vec<_> = protocols.iter().filter(|it| it.stateful).map(|it| it.name).collect();
    assert_eq!(stateful, ["redis"]);
    let text = "
listeners: [{ name: l, address: 127.0.0.1:6380, protocols: [redis], routes: [{ name: all, cluster: c }] }]
clusters: [{ name: c, endpoints: [127.0.0.1:1, 127.0.0.1:2] }]
";
    let report = Config::parse("f", text, &|_| None, &protocols).expect_err("two servers");
    let told = report.to_string();
    assert!(told.contains("set topology to cluster or replicated or sentinel"), "{told}");
}
