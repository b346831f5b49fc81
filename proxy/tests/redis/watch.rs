//! What operators see of the traffic: requests and errors by command, slow requests, hot and big keys.

use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

use serde_json::Value;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use wiremesh_proxy::{
    config::{Config, Sample, SlowLog},
    server::Handle,
    telemetry::Format,
};

use crate::common::{
    address, block_on, eventually, millis,
    process::{http, value},
    redis::{RedisClient, RedisServer, redis_config},
    start,
};

/// The values of one family by method and the label that it has beyond the usual ones, or by method alone.
fn counts(proxy: &Handle, family: &str, label: &str) -> BTreeMap<String, u64> {
    let text = proxy.metrics().encode(Format::Classic, &[]);
    let of = |line: &str, label: &str| {
        let rest = line.split_once(&format!("{label}=\""))?.1;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let lines = text.lines().filter(|line| line.starts_with(&format!("{family}{{")));
    let mut counts = BTreeMap::new();
    for line in lines {
        let method = of(line, "method").expect("a method");
        let key = of(line, label);
        let key = key.map_or_else(|| method.clone(), |value| format!("{method} {value}"));
        let count = line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("a number");
        *counts.entry(key).or_default() += count;
    }
    counts
}

fn requests(proxy: &Handle) -> BTreeMap<String, u64> {
    counts(proxy, "wiremesh_requests_total", "status")
}

fn page(proxy: &Handle, path: &str) -> Value {
    let (code, body) = http(proxy.admin().expect("pages"), "GET", path).expect("there");
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

fn text_page(proxy: &Handle, path: &str) -> String {
    let (code, body) = http(proxy.admin().expect("pages"), "GET", path).expect("there");
    assert_eq!(code, 200, "{body}");
    body
}

fn with_admin(mut config: Config) -> Config {
    config.admin = Some("127.0.0.1:0".parse().expect("an address"));
    config
}

fn texts<'a>(rows: &'a Value, field: &str) -> Vec<&'a str> {
    let rows = rows.as_array().expect("a list");
    rows.iter().map(|row| row[field].as_str().expect("a text")).collect()
}

#[test]
fn every_command_is_counted_by_its_name_and_errors_by_theirs() {
    let server = RedisServer::start();
    let proxy = start(with_admin(redis_config(&[server.address])));
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        for line in ["SET s x", "GET s", "GET s", "LPUSH s 1", "INCR s", "GET", "DEBUG nonsense x"]
        {
            client.ask(line).await;
        }
        server.habits.max_memory.store(0, Relaxed);
        assert!(client.ask("SET more x").await.starts_with("-OOM "));
        // On a connection of its own.
        client.ask_all(&["MULTI", "GET s", "EXEC"]).await;
        // Answered by the proxy itself.
        client.ask_all(&["CLIENT ID", "CLIENT SETNAME me", "CLIENT GETNAME", "SYNC"]).await;
        // Whatever names a client makes up, they are of one series.
        for n in 0..3000 {
            client.ask(&format!("NOSUCH{n} x")).await;
        }
        client.ask_all(&["CONFIG NOSUCH", "client nosuch"]).await;
        client.ask("QUIT").await;
        let (code, body) = http(proxy.admin().expect("pages"), "GET", "/metrics").expect("there");
        assert_eq!(code, 200);
        let line = "wiremesh_request_errors_total{listener=\"t\",cluster=\"t\",service=\"\",\
                    method=\"SET\",error=\"OOM\"}";
        assert_eq!(value(&body, line), 1.0);
        let line = "wiremesh_request_duration_seconds_count{listener=\"t\",cluster=\"t\",service=\"\",\
                    method=\"GET\"}";
        assert_eq!(value(&body, line), 4.0);
    });
    let requests = requests(&proxy);
    for (row, count) in [
        ("SET ok", 1),
        ("SET overloaded", 1),
        ("GET ok", 3),
        ("GET bad_request", 1),
        ("LPUSH app_error", 1),
        ("INCR app_error", 1),
        ("MULTI ok", 1),
        ("EXEC ok", 1),
        ("CLIENT ID ok", 1),
        ("CLIENT SETNAME ok", 1),
        ("CLIENT GETNAME ok", 1),
        ("SYNC app_error", 1),
        ("QUIT ok", 1),
        ("other bad_request", 3000),
    ] {
        assert_eq!(requests.get(row), Some(&count), "{row}: {requests:?}");
    }
    assert!(requests.len() < 25, "{requests:?}");
    let errors = counts(&proxy, "wiremesh_request_errors_total", "error");
    for (row, count) in [
        ("SET OOM", 1),
        ("GET ERR", 1),
        ("LPUSH WRONGTYPE", 1),
        ("INCR ERR", 1),
        ("SYNC ERR", 1),
        ("other ERR", 3000),
    ] {
        assert_eq!(errors.get(row), Some(&count), "{row}: {errors:?}");
    }
    let local = counts(&proxy, "wiremesh_local_replies_total", "flag");
    for row in ["CLIENT ID DI", "CLIENT SETNAME DI", "SYNC DPE", "QUIT DI"] {
        assert_eq!(local.get(row), Some(&1), "{row}: {local:?}");
    }
}

#[test]
fn errors_of_the_proxys_own_are_counted_by_their_reason() {
    let server = RedisServer::start();
    let mut config = redis_config(&[server.address]);
    config.listeners[0].routes[0].timeout = Some(millis(50));
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        client.ask("PING").await;
        server.habits.mute.store(true, Relaxed);
        assert!(client.ask("GET k").await.starts_with("-ERR wiremesh UT"));
    });
    assert_eq!(counts(&proxy, "wiremesh_local_replies_total", "flag")["GET UT"], 1);
    assert_eq!(requests(&proxy)["GET timeout"], 1);
    assert_eq!(counts(&proxy, "wiremesh_request_errors_total", "error").len(), 0);
}

#[test]
fn what_goes_out_in_parts_counts_once() {
    let (servers, _) = RedisServer::cluster(3);
    let mut config = with_admin(redis_config(&[servers[0].address]));
    config.clusters[0].topology = "cluster".into();
    config.listeners[0].slow_log = Some(SlowLog { threshold: millis(20), keep: 10 });
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        let keys: Vec<_> = (0..30).map(|n| format!("k{n}")).collect();
        let all = keys.join(" ");
        client.ask(&format!("MSET {}", keys.join(" 1 ") + " 1")).await;
        client.ask(&format!("MGET {all}")).await;
        assert_eq!(client.ask("DBSIZE").await, ":30");
        assert!(client.ask(&format!("SUNION {all}")).await.starts_with("-CROSSSLOT"));
        servers[1].habits.delay.store(50, Relaxed);
        client.ask(&format!("DEL {all}")).await;
        servers[1].habits.delay.store(0, Relaxed);
        // One whose client leaves meanwhile is counted, too.
        servers.iter().for_each(|server| server.habits.mute.store(true, Relaxed));
        let mut gone = TcpStream::connect(address(&proxy)).await.expect("connect");
        let line = format!("EXISTS {all}\r\n");
        gone.write_all(line.as_bytes()).await.expect("send");
        let seen = || servers.iter().map(|server| server.seen("EXISTS")).sum::<usize>();
        eventually("they were asked", || seen() >= 3).await;
        gone.set_zero_linger().expect("an option");
        drop(gone);
        eventually("it is recorded", || requests(&proxy).contains_key("EXISTS unknown")).await;
    });
    let requests = requests(&proxy);
    for (row, count) in [
        ("MSET ok", 1),
        ("MGET ok", 1),
        ("DBSIZE ok", 1),
        ("DEL ok", 1),
        ("SUNION app_error", 1),
        ("EXISTS unknown", 1),
    ] {
        assert_eq!(requests.get(row), Some(&count), "{row}: {requests:?}");
    }
    assert_eq!(counts(&proxy, "wiremesh_request_errors_total", "error")["SUNION CROSSSLOT"], 1);
    let slow = page(&proxy, "/slow");
    let of_del: Vec<_> = slow[0]["requests"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["method"] == "DEL")
        .collect();
    assert_eq!(of_del.len(), 1, "{slow:#}");
    assert_eq!(of_del[0]["parts"].as_u64().unwrap(), {
        servers.iter().map(|server| server.seen("DEL")).sum::<usize>() as u64
    });
    assert!(of_del[0]["request"].as_str().unwrap().starts_with("DEL k"));
}

#[test]
fn slow_requests_are_shown_without_secrets() {
    let server = RedisServer::start();
    let mut config = with_admin(redis_config(&[server.address]));
    config.listeners[0].slow_log = Some(SlowLog { threshold: millis(30), keep: 3 });
    let proxy = start(config);
    block_on(async {
        let mut client = RedisClient::connect(address(&proxy)).await;
        for n in 0..50 {
            client.ask(&format!("SET fast{n} x")).await;
        }
        server.habits.delay.store(60, Relaxed);
        client.ask("GET first").await;
        client.ask("AUTH user s3cret").await;
        client.ask(&format!("SET k {}", "v".repeat(1000))).await;
        client.ask("LPUSH k 1").await;
        // It waits on purpose.
        assert_eq!(client.ask("BLPOP nothing 0.1").await, "nil");
    });
    let slow = &page(&proxy, "/slow")[0];
    let total = slow["total"].as_u64().expect("a number");
    assert!(total >= 4, "{slow:#}");
    assert_eq!((&slow["listener"], &slow["threshold_us"]), (&"t".into(), &30_000.into()));
    let requests = texts(&slow["requests"], "request");
    let value = format!("SET k {}...(936 more bytes)", "v".repeat(64));
    assert_eq!(requests, ["LPUSH k 1", &value, "AUTH (redacted)"]);
    let last = &slow["requests"][0];
    assert!(last["duration_us"].as_u64().expect("a number") >= 60_000);
    assert_eq!((&last["status"], &last["error"]), (&"app_error".into(), &"WRONGTYPE".into()));
    assert_eq!(last["endpoint"], server.address.to_string());
    assert_eq!(
        (&last["cluster"], &last["route"], &last["parts"]),
        (&"t".into(), &"t".into(), &1.into())
    );
    assert!(last["client"].as_str().expect("a text").starts_with("127.0.0.1:"));
    assert_eq!(last["bytes_in"], 29);
    let counted = counts(&proxy, "wiremesh_slow_requests_total", "none");
    assert_eq!(counted.values().sum::<u64>(), total);
    assert_eq!((counted.get("GET"), counted.get("BLPOP")), (Some(&1), None));
    let text = text_page(&proxy, "/slow?format=text");
    assert!(text.starts_with(&format!("t  {total} took over 30.0ms\n")), "{text}");
    assert!(text.contains("app_error WRONGTYPE") && text.contains("  LPUSH k 1\n"), "{text}");
    assert!(!format!("{slow}{text}").contains("s3cret"));
}

#[test]
fn slow_requests_outlast_a_reload_and_end_with_their_setting() {
    let server = RedisServer::start();
    let mut config = with_admin(redis_config(&[server.address]));
    assert_eq!(page(&start(config.clone()), "/slow"), Value::Array(Vec::new()));
    config.listeners[0].slow_log = Some(SlowLog { threshold: millis(1), keep: 3 });
    let proxy = start(config.clone());
    let ask = |line: &'static str| {
        block_on(async { RedisClient::connect(address(&proxy)).await.ask(line).await })
    };
    server.habits.delay.store(20, Relaxed);
    ask("GET a");
    config.clusters[0].max_pending += 1;
    proxy.reload(config.clone()).expect("it is right");
    ask("GET b");
    assert_eq!(texts(&page(&proxy, "/slow")[0]["requests"], "request"), ["GET b", "GET a"]);
    config.listeners[0].slow_log = None;
    proxy.reload(config).expect("it is right");
    ask("GET c");
    assert_eq!(page(&proxy, "/slow"), Value::Array(Vec::new()));
}

#[test]
fn the_hottest_keys_and_the_largest_are_found() {
    let server = RedisServer::start();
    let mut config = with_admin(redis_config(&[server.address]));
    config.workers = Some(2);
    config.listeners[0].sample = Some(Sample { every: 4, top: 5 });
    let proxy = start(config);
    block_on(async {
        let mut clients = [
            RedisClient::connect(address(&proxy)).await,
            RedisClient::connect(address(&proxy)).await,
        ];
        for round in 0..400 {
            for client in &mut clients {
                // Always in the same places of a pipeline as long as the pace of the sample's mean.
                let cold = [format!("GET cold:{round}"), format!("SET cold:{} x", round + 7)];
                let hot = ["SET hot 1".to_owned(), "GET warm".into(), "GET hot".into()];
                let all = [
                    &cold[..],
                    &hot[..],
                    &["MGET hot luke".into(), "PING".into(), "GET hot".into()],
                ]
                .concat();
                client.ask_all(&all).await;
            }
        }
        clients[0].ask(&format!("SET huge {}", "x".repeat(5 << 20))).await;
        for _ in 0..100 {
            clients[1].ask("GET huge").await;
        }
    });
    let keys = &page(&proxy, "/keys")[0];
    assert_eq!((&keys["listener"], &keys["every"]), (&"t".into(), &4.into()));
    let hot = keys["hot"].as_array().expect("a list");
    assert_eq!(hot[0]["key"], "hot", "{keys:#}");
    // Behind these and `huge` there is room for one more: some cold key.
    let mut next = [hot[1]["key"].as_str(), hot[2]["key"].as_str()];
    next.sort_unstable();
    assert_eq!(next, [Some("luke"), Some("warm")], "{keys:#}");
    // Of four requests for it one writes.
    let writes = hot[0]["writes_percent"].as_f64().expect("a number");
    assert!((15.0..35.0).contains(&writes), "{keys:#}");
    let rate = |n: usize| hot[n]["per_second"].as_f64().expect("a number");
    assert!((2.0..8.0).contains(&(rate(0) / rate(1))), "four times as often: {keys:#}");
    let big = &keys["big"][0];
    assert_eq!(
        (&big["key"], &big["bytes"]),
        (&"huge".into(), &((5 << 20) + 35).into()),
        "{keys:#}"
    );
    let text = text_page(&proxy, "/keys?format=text");
    assert!(text.starts_with("t  1 request of 4\n  hot "), "{text}");
    assert!(text.contains("5.00MiB"), "{text}");
}
