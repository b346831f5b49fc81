//! Commands that the proxy does not know and servers tell of.

use wiremesh_proxy::config::{Duration, Route};
use wiremesh_redis::{Message, slot::slot};

use crate::common::{
    address, block_on, eventually,
    redis::{RedisClient, RedisServer, redis_config},
    start,
};

/// What `COMMAND` tells of a command whose key is its first argument.
fn told(name: &str, flags: &[&str]) -> Vec<u8> {
    let [one, two] = [1, 2].map(Message::integer);
    let flags = Message::array(flags.iter().map(|flag| Message::simple(flag)));
    let fields = [Message::bulk(name.as_bytes()), two, flags, one.clone(), one.clone(), one];
    Message::array(fields).bytes().to_vec()
}

#[test]
fn a_modules_command_goes_to_the_shard_of_its_key() {
    let (servers, _) = RedisServer::cluster(3);
    for server in &servers {
        server.habits.load_module("stub.echo", &told("STUB.ECHO", &["readonly"]));
    }
    let mut config = redis_config(&[servers[1].address]);
    config.clusters[0].topology = "cluster".into();
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        let keys: Vec<_> = (0..60).map(|n| format!("k{n}")).collect();
        let lines: Vec<_> = keys.iter().map(|key| format!("Stub.Echo {key}")).collect();
        assert_eq!(client.ask_all(&lines).await, keys);
        for (node, server) in servers.iter().enumerate() {
            let own = |key: &&String| usize::from(slot(key.as_bytes())) * 3 / 16384 == node;
            let own = keys.iter().filter(own).count();
            assert!(own > 5);
            // None was sent away: it was right at once.
            assert_eq!(server.seen("Stub.Echo"), own);
            let said: Vec<_> = server.habits.log().into_iter().map(|(_, line)| line).collect();
            assert!(said.iter().filter(|line| *line == "COMMAND").count() <= 1, "{said:?}");
        }
        // Of a transaction it tells where to, as any other.
        client.ask_all(&["MULTI", "Stub.Echo k7"]).await;
        assert!(client.ask("EXEC").await.starts_with('['));
    });
}

#[test]
fn routes_and_users_see_the_key_of_a_modules_command() {
    let [one, other] = [(); 2].map(|()| RedisServer::start());
    for server in [&one, &other] {
        server.habits.load_module("stub.echo", &told("STUB.ECHO", &["write"]));
    }
    let mut config = redis_config(&[one.address]);
    let mut second = config.clusters[0].clone();
    second.name = "other".into();
    second.endpoints = redis_config(&[other.address]).clusters[0].endpoints.clone();
    config.clusters.push(second);
    let route =
        "{ name: cache, match: { headers: [{ name: key, prefix: 'cache:' }] }, cluster: other }";
    let route: Route = serde_saphyr::from_str(route).expect("a route");
    config.listeners[0].routes.insert(0, route);
    let options = config.listeners[0].options.entry("redis".into()).or_default();
    options.insert("user default".into(), "on nopass ~cache:* ~k* +@all -stub.other".into());
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        let lines = ["STUB.ECHO k1", "STUB.ECHO cache:1", "STUB.ECHO k2"];
        assert_eq!(client.ask_all(&lines).await, ["k1", "cache:1", "k2"]);
        assert_eq!((one.seen("STUB.ECHO"), other.seen("STUB.ECHO")), (2, 1));
        let refused = client.ask_all(&["STUB.ECHO x", "STUB.OTHER k1"]).await;
        assert!(refused.iter().all(|answer| answer.starts_with("-NOPERM ")), "{refused:?}");
    });
}

#[test]
fn a_module_that_is_loaded_later_is_noticed() {
    let server = RedisServer::start();
    let mut config = redis_config(&[server.address]);
    config.clusters[0].topology_refresh = Duration::from_millis(50);
    let options = config.listeners[0].options.entry("redis".into()).or_default();
    options.insert("user default".into(), "on nopass ~k* +@all -@dangerous".into());
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        eventually("it is asked again", || server.seen("COMMAND COUNT") >= 3).await;
        assert_eq!(server.seen("COMMAND"), server.seen("COMMAND COUNT") + 1);
        assert!(client.ask("STUB.ECHO k").await.starts_with("-NOPERM "), "nobody knows it");
        server.habits.load_module("stub.echo", &told("STUB.ECHO", &[]));
        let asked = || server.habits.log().iter().filter(|(_, line)| line == "COMMAND").count();
        eventually("it is asked what there is now", || asked() == 2).await;
        let asked = server.seen("COMMAND COUNT");
        eventually("it is asked once more", || server.seen("COMMAND COUNT") > asked).await;
        assert_eq!(client.ask("STUB.ECHO k").await, "k");
        assert!(client.ask("STUB.ECHO x").await.starts_with("-NOPERM "));
    });
}
