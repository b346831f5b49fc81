//! Clients of Redis Cluster are shown one node, the proxy.

use std::net::SocketAddr;

use wiremesh_proxy::{config::Config, demo::redis::Said};
use wiremesh_redis::slot::slot;

use crate::common::{
    address, block_on,
    redis::{RedisClient, RedisServer, redis_config},
    start,
};

/// In front of servers, or of a cluster that they are seeds of.
fn transparent(upstreams: &[SocketAddr], topology: &str) -> Config {
    let mut config = redis_config(upstreams);
    config.clusters[0].topology = topology.into();
    let options = [("face".to_owned(), "transparent".to_owned())];
    config.listeners[0].options.insert("redis".into(), options.into());
    config
}

#[test]
fn the_proxy_is_the_only_node() {
    let (servers, _) = RedisServer::cluster(3);
    let alone = RedisServer::start();
    for (upstream, topology) in [(servers[0].address, "cluster"), (alone.address, "static")] {
        let proxy = start(transparent(&[upstream], topology));
        let at = address(&proxy);
        block_on(async {
            let mut client = RedisClient::connect(at).await;
            let hello = client.ask("HELLO 3").await;
            assert!(hello.contains("mode=cluster"), "{hello}");
            let id = client.ask("CLUSTER MYID").await;
            let (ip, port) = (at.ip(), at.port());
            let slots = format!("[[:0 :16383 [{ip} :{port} {id} {{}}]]]");
            assert_eq!(client.ask("CLUSTER SLOTS").await, slots);
            let shards = client.ask("CLUSTER SHARDS").await;
            assert!(shards.contains(&format!("id={id} port=:{port} ip={ip} ")), "{shards}");
            let nodes = client.ask("CLUSTER NODES").await;
            assert!(nodes.starts_with(&format!("{id} {at}@")) && nodes.lines().count() == 1);
            for server in &servers {
                let told = [&slots, &shards, &nodes];
                let inner = server.address.port().to_string();
                assert!(told.iter().all(|told| !told.contains(&inner)), "{told:?}");
            }
            assert!(client.ask("CLUSTER INFO").await.contains("cluster_known_nodes:1\r\n"));
            let info = client.ask("INFO").await;
            assert!(info.contains("\r\nredis_mode:cluster\r\n"), "{info}");
            let lines = ["READONLY", "READWRITE", "ASKING", "SELECT 0", "CLUSTER KEYSLOT foo"];
            assert_eq!(client.ask_all(&lines).await, ["+OK", "+OK", "+OK", "+OK", ":12182"]);
            let refused = client.ask("SELECT 1").await;
            assert_eq!(refused, "-ERR SELECT is not allowed in cluster mode");
            let refused = client.ask("CLUSTER BUMPEPOCH").await;
            assert!(refused.starts_with("-ERR wiremesh: clients see one node"), "{refused}");
            // All in its order, also behind what is on a connection of the client's own.
            let lines = ["SET a 1", "WATCH a", "CLUSTER MYID", "MULTI", "GET a", "EXEC", "PING"];
            let answers = client.ask_all(&lines).await;
            assert_eq!(answers, ["+OK", "+OK", &id, "+OK", "+QUEUED", "[1]", "+PONG"]);
            let answers = client.ask_all(&["MULTI", "SET a 2", "CLUSTER SLOTS", "EXEC"]).await;
            assert!(answers[2].starts_with("-ERR wiremesh: not within a transaction"));
            assert!(answers[3].starts_with("-EXECABORT "), "{answers:?}");
            assert_eq!(client.ask_all(&["GET a", "FLUSHALL"]).await, ["1", "+OK"]);
        });
    }
}

#[test]
fn another_address_may_be_announced() {
    let server = RedisServer::start();
    let mut config = transparent(&[server.address], "static");
    let options = config.listeners[0].options.get_mut("redis").expect("some");
    options.insert("announce".into(), "cache.example:7000".into());
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        let slots = client.ask("CLUSTER SLOTS").await;
        assert!(slots.starts_with("[[:0 :16383 [cache.example :7000 "), "{slots}");
    });
}

#[test]
fn one_server_is_shown_where_the_face_is_hidden() {
    let (servers, _) = RedisServer::cluster(3);
    let mut config = redis_config(&[servers[0].address]);
    config.clusters[0].topology = "cluster".into();
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        let hello = client.ask("HELLO 2").await;
        assert!(hello.contains("mode standalone"), "{hello}");
        let info = client.ask("INFO").await;
        assert!(info.contains("\r\nredis_mode:standalone\r\n"), "{info}");
        let disabled = "-ERR This instance has cluster support disabled";
        assert_eq!(client.ask_all(&["CLUSTER SLOTS", "READONLY"]).await, [disabled; 2]);
    });
}

/// Two nodes that each say the slot is the other's: it cannot be found, and the client must not look for it there.
#[test]
fn no_redirection_reaches_a_client() {
    for face in ["hidden", "transparent"] {
        let (servers, _) = RedisServer::cluster(2);
        let mut config = transparent(&[servers[0].address], "cluster");
        let options = config.listeners[0].options.get_mut("redis").expect("some");
        options.insert("face".into(), face.into());
        let proxy = start(config);
        block_on(async {
            let mut client = RedisClient::connect(address(&proxy)).await;
            assert_eq!(client.ask("SET k 1").await, "+OK");
            let lost = slot(b"k");
            for said in [Said::Moved, Said::Ask] {
                servers[0].habits.say(lost, said(servers[1].address), 1000);
                servers[1].habits.say(lost, said(servers[0].address), 1000);
                for lines in [&["GET k"][..], &["WATCH k"], &["MULTI", "GET k"]] {
                    let mut client = RedisClient::connect(address(&proxy)).await;
                    let answers = client.ask_all(lines).await;
                    let last = answers.last().expect("one");
                    assert!(last.starts_with("-TRYAGAIN wiremesh"), "{face}, {lines:?}: {last}");
                }
            }
            servers.iter().for_each(|server| server.habits.say(lost, Said::Down, 0));
            assert_eq!(client.ask("GET k").await, "1");
        });
    }
}

/// A server of a cluster that the proxy takes for one by itself.
#[test]
fn a_slot_that_the_proxy_cannot_find_is_no_redirection_either() {
    let (servers, _) = RedisServer::cluster(2);
    let proxy = start(transparent(&[servers[0].address], "static"));
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        // foo is of the other half.
        let answer = client.ask("GET foo").await;
        assert!(answer.starts_with("-ERR wiremesh: the slot is on another server"), "{answer}");
    });
}

#[test]
fn transactions_one_behind_the_other_go_to_their_nodes() {
    let (servers, _) = RedisServer::cluster(3);
    let proxy = start(transparent(&[servers[0].address], "cluster"));
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        let (mut lines, mut wants) = (Vec::new(), Vec::new());
        for n in 0..30 {
            lines.extend(["MULTI".into(), format!("SET k{n} {n}"), format!("GET k{n}")]);
            lines.extend(["EXEC".into(), format!("GET k{n}")]);
            wants.extend(["+OK", "+QUEUED", "+QUEUED"].map(str::to_owned));
            wants.extend([format!("[+OK {n}]"), n.to_string()]);
        }
        assert_eq!(client.ask_all(&lines).await, wants);
    });
}
