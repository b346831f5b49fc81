//! Pooled mode: what operators see of connections, for whom there is no place, whose connections are, and whether servers are well.

use serde_json::Value;
use tokio::net::TcpStream;
use wiremesh_mysql::Capabilities;
use wiremesh_proxy::{
    config::{AccessLog, Config, Health, ListenerProxyProtocol, ProxyVersion},
    server::Handle,
    telemetry::ListenerTotals,
};

use crate::{
    common::{
        NAME, address, block_on, eventually, millis,
        process::http,
        proxied::{Back, Front, local, v1, v2},
        secs, start,
    },
    mysql,
    peers::{self, Talk},
    pooled::{Client, Server, pooled, pooled_to},
};

const CLIENT: &str = "192.0.2.1:12345";
const SERVICE: &str = "198.51.100.2:3306";

fn page(proxy: &Handle, path: &str) -> String {
    http(proxy.admin().expect("pages"), "GET", path).expect("there").1
}

/// A client beyond `max_connections` is told 1040, as servers do, before the greeting.
async fn is_turned_away(proxy: &Handle) {
    let mut talk = Talk::new(TcpStream::connect(address(proxy)).await.expect("connect"));
    let (seq, error) = talk.receive().await.expect("an error");
    assert_eq!((seq, &error[..3]), (0, &b"\xff\x10\x04"[..]), "{error:?}");
    let text = String::from_utf8_lossy(&error[3..]);
    assert!(text.starts_with("wiremesh UO: ") && text.contains("all the 1 conn"), "{text}");
    assert_eq!(talk.receive().await, None);
}

#[test]
fn who_finds_no_place_is_told_in_either_mode() {
    let server = Server::start();
    let mut config = pooled(&server, 4);
    config.listeners[0].max_connections = 1;
    let proxy = start(config);
    let transparent = peers::Server::start();
    let mut config = mysql(&[transparent.address]);
    config.listeners[0].max_connections = 1;
    let other = start(config);
    block_on(async {
        let client = Client::connect(&proxy).await;
        // More than are waited for at a time.
        for _ in 0..80 {
            is_turned_away(&proxy).await;
        }
        let refused = || proxy.metrics().snapshot().listener(NAME).map(|it| it.refused_full);
        assert_eq!(refused(), Some(80));
        drop(client);
        let active = |proxy: &Handle| {
            proxy.metrics().snapshot().listener(NAME).map(ListenerTotals::connections_active)
        };
        eventually("there is a place", || active(&proxy) == Some(0)).await;
        Client::connect(&proxy).await;
        let _client = peers::Client::connect(address(&other)).await;
        is_turned_away(&other).await;
    });
}

#[test]
fn what_connections_are_for_is_shown() {
    let server = Server::start();
    let mut config = pooled(&server, 4);
    config.admin = Some("127.0.0.1:0".parse().expect("an address"));
    config.clusters[0].linger_timeout = secs(60);
    // For so long a client that sends no more may still read.
    config.listeners[0].stall_timeout = millis(200);
    let proxy = start(config);
    let shown = || {
        let clusters: Value = serde_json::from_str(&page(&proxy, "/clusters")).expect("JSON");
        let sessions = &clusters[0]["sessions"];
        ["held", "lingering", "busy", "idle"].map(|name| sessions[name].as_u64())
    };
    block_on(async {
        let mut clients = Vec::new();
        for text in ["begin", "insert into a values ()", "never", "delete from a"] {
            let mut client = Client::connect(&proxy).await;
            if text == "never" {
                client.0.send(0, b"\x03never").await.expect("connected");
            } else {
                client.ask(text).await.expect("an answer");
            }
            clients.push(client);
        }
        eventually("all are counted", || shown() == [Some(1); 4]).await;
        let text = page(&proxy, "/clusters?format=text");
        assert!(text.contains("sessions     1 held, 1 lingering, 1 busy, 1 idle"), "{text}");
        let metrics = page(&proxy, "/metrics");
        let line = |state: &str, count: u32| {
            format!(
                "wiremesh_cluster_session_connections{{cluster=\"t\",state=\"{state}\"}} {count}\n"
            )
        };
        for state in ["held", "lingering", "busy", "idle"] {
            assert!(metrics.contains(&line(state, 1)), "{metrics}");
        }
        drop(clients);
        let idle = || matches!(shown(), [Some(0), Some(0), Some(0), Some(1..)]);
        eventually("they are for others", idle).await;
    });
}

/// Whoever is on this machine is believed.
fn trusting(mut config: Config) -> Config {
    let here = "127.0.0.0/8".parse().expect("a block");
    config.listeners[0].proxy_protocol = Some(ListenerProxyProtocol::new(vec![here]));
    config
}

#[test]
fn the_address_that_was_told_is_the_clients_and_servers_are_told_of_nobody() {
    let server = Server::start();
    let back = Back::before(server.thread.address);
    let dir = std::env::temp_dir().join(format!("wiremesh-pooled-told-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let mut config = trusting(pooled_to(&[back.address], 2));
    let file = dir.join("access.log");
    let log = format!("{{ path: '{}', format: text, fields: [client, method] }}", file.display());
    config.access_log = Some(serde_saphyr::from_str::<AccessLog>(&log).expect("a log"));
    config.clusters[0].proxy_protocol = Some(ProxyVersion::V2);
    let proxy = start(config);
    block_on(async {
        for header in [v1(CLIENT, SERVICE), v2(CLIENT, SERVICE, b"")] {
            let front = Front::before(address(&proxy), header, 1);
            let mut client = Client::connect_to(front.address, Capabilities(0)).await;
            assert_eq!(client.ask("delete from a").await, Ok(1));
        }
    });
    // One connection for both.
    assert_eq!(back.headers(), [local()]);
    proxy.drain();
    proxy.join();
    let log = std::fs::read_to_string(&file).expect("a log");
    std::fs::remove_dir_all(&dir).expect("it is gone");
    assert_eq!(log, format!("{CLIENT} COM_QUERY\n").repeat(2));
}

#[test]
fn health_checks_log_in_and_ask_and_say_goodbye() {
    let server = Server::start();
    let mut config = pooled(&server, 2);
    let health = Health { interval: millis(50), timeout: secs(10), ..Health::default() };
    config.clusters[0].health = Some(health);
    let options = config.listeners[0].options.get_mut("mysql").expect("there are some");
    options.insert("health_user".to_owned(), "joe".to_owned());
    let proxy = start(config);
    let pings = || server.said().iter().filter(|said| said.ends_with("COM_PING ")).count();
    let quits = || server.said().iter().filter(|said| said.ends_with("COM_QUIT ")).count();
    block_on(async {
        eventually("they go on", || pings() > 2 && quits() > 2).await;
        assert_eq!(Client::connect(&proxy).await.ask("delete from a").await.map(drop), Ok(()));
    });
}
