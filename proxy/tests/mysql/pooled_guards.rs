//! Pooled mode: who may have what executed, how much of it, and what operators see of it.

use serde_json::Value;
use wiremesh::Status;
use wiremesh_mysql::Command;
use wiremesh_proxy::{
    config::{AccessLog, Config, Digests, Duration, SlowLog},
    server::Handle,
    telemetry::FirewallTotals,
};

use crate::{
    common::{block_on, eventually, millis, process::http, start},
    pooled::{Client, Server, pooled},
};

const EXECUTE: &str = "\x01\0\0\0\0\x01\0\0\0";

fn guarded(server: &Server, connections: usize, firewall: &str) -> Config {
    let mut config = pooled(server, connections);
    config.listeners[0].firewall = Some(serde_saphyr::from_str(firewall).expect("a firewall"));
    config
}

fn counts(proxy: &Handle, rule: &str) -> [u64; 4] {
    let FirewallTotals { allowed, denied, detected, limited } =
        proxy.metrics().snapshot().firewall("t", rule);
    [allowed, denied, detected, limited]
}

/// How often each command was counted.
fn methods(proxy: &Handle) -> Vec<(String, u64)> {
    let totals = proxy.metrics().snapshot().methods();
    totals.into_iter().map(|it| (it.method, it.totals.requests)).collect()
}

#[test]
fn only_what_is_allowed_passes() {
    let server = Server::start();
    let rules = r#"
    default: deny
    rules:
    - { name: reads, users: [joe], digests: ["select a from t where b = 1", "begin"], action: allow }
    "#;
    let proxy = start(guarded(&server, 2, rules));
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        assert_eq!(client.ask("select a from t where b = 5").await, Ok(1));
        assert_eq!(client.ask("drop table t").await, Err(1227));
        // What the proxy would answer by itself is denied as well.
        assert_eq!(client.ask("select last_insert_id()").await, Err(1227));
        assert_eq!(client.ask("kill 5").await, Err(1227));
        assert_eq!(client.command(Command::ProcessKill, "\x05\0\0\0").await, Err(1227));
        assert_eq!(client.command(Command::BinlogDump, "").await, Err(1227));
        // Prepared, and then executed.
        assert_eq!(client.command(Command::StmtPrepare, "drop table t").await, Err(1227));
        assert_eq!(client.command(Command::StmtExecute, EXECUTE).await, Err(1227));
        let prepared = client.command(Command::StmtPrepare, "select a from t where b = ?").await;
        assert_eq!(prepared, Ok(1));
        assert_eq!(client.command(Command::StmtExecute, EXECUTE).await, Ok(1));
        // Upkeep needs no rule.
        assert_eq!(client.command(Command::Ping, "").await, Ok(1));
        assert_eq!(client.command(Command::StmtReset, "\x01\0\0\0").await, Ok(0));
        assert_eq!(client.command(Command::ResetConnection, "").await, Ok(0));
        assert_eq!(client.command(Command::StmtExecute, EXECUTE).await, Err(1227));
    });
    assert_eq!(counts(&proxy, "reads"), [3, 0, 0, 0]);
    assert_eq!(counts(&proxy, "default"), [0, 8, 0, 0]);
    assert!(!server.said().iter().any(|said| said.contains("drop") || said.contains("KILL")));
}

#[test]
fn the_rest_of_what_is_denied_reaches_nobody() {
    let server = Server::start();
    let rules = r#"rules: [{ name: r, digest_pattern: "^evil", action: deny }]"#;
    let asks = |config, evil: &'static str, error| {
        let proxy = start(config);
        block_on(async {
            let mut client = Client::connect(&proxy).await;
            assert!(client.ask("begin").await.is_ok());
            // It comes in parts, and on the connection that is held the rest would be commands of its own.
            let hidden = "\x0b\0\0\0\x03drop table".repeat(400_000);
            assert_eq!(client.ask(&format!("{evil} {hidden}")).await, Err(error));
            assert!(client.ask("delete from a").await.is_ok());
            assert!(client.ask("commit").await.is_ok());
        });
    };
    asks(guarded(&server, 1, rules), "evil", 1227);
    // So it would where the proxy refuses it by itself.
    asks(pooled(&server, 1), "kill 1,", 1235);
    let said = server.said();
    let said: Vec<_> = said.iter().map(|said| &said[2..]).filter(|it| *it != "COM_QUIT ").collect();
    let texts = ["begin", "delete from a", "commit"].map(|text| format!("COM_QUERY {text}"));
    assert_eq!(said, [&texts[..], &texts].concat());
}

#[test]
fn what_is_denied_changes_nothing() {
    let server = Server::start();
    let rules =
        r#"rules: [{ name: r, methods: [COM_RESET_CONNECTION, COM_CHANGE_USER], action: deny }]"#;
    let proxy = start(guarded(&server, 1, rules));
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        assert_eq!(client.ask("use one").await, Ok(1));
        assert_eq!(client.ask("begin").await, Ok(2));
        let prepared = client.command(Command::StmtPrepare, "select 1").await;
        assert_eq!(prepared, Ok(1));
        assert_eq!(client.command(Command::ResetConnection, "").await, Err(1227));
        assert_eq!(client.command(Command::ChangeUser, "joe\0\0\0").await, Err(1227));
        assert_eq!(client.command(Command::StmtExecute, EXECUTE).await, Ok(2));
        assert_eq!(client.ask("delete from a").await, Ok(2));
        assert_eq!(client.ask("commit").await, Ok(2));
    });
    assert!(!server.said().iter().any(|said| said.contains("RESET")), "{:?}", server.said());
}

#[test]
fn limits_of_a_rule() {
    let server = Server::start();
    let rules = r#"
    rules:
    - { name: slow, digests: [never], action: allow, limit: { concurrency: 1 } }
    - { name: few, digests: ["delete from a", "select last_insert_id()"], action: detect, limit: { requests_per_second: 0.001, burst: 2 } }
    "#;
    let mut config = guarded(&server, 4, rules);
    // For so long a client that sends no more may still read.
    config.listeners[0].stall_timeout = millis(200);
    let proxy = start(config);
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        // To prepare it is not to execute it, and what the proxy refuses by itself counts.
        assert_eq!(client.command(Command::StmtPrepare, "delete from a").await, Ok(1));
        assert_eq!(client.command(Command::StmtExecute, EXECUTE).await, Ok(1));
        assert_eq!(client.ask("select last_insert_id()").await, Err(1105));
        assert_eq!(client.ask("delete from a").await, Err(1226));
        assert_eq!(client.ask("select last_insert_id()").await, Err(1226));
        assert_eq!(client.command(Command::StmtExecute, EXECUTE).await, Err(1226));
        // One that is under way is in the way of others, until its client is gone.
        let mut busy = Client::connect(&proxy).await;
        busy.0.send(0, b"\x03never").await.expect("connected");
        eventually("it is sent", || counts(&proxy, "slow")[0] == 1).await;
        assert_eq!(client.ask("never").await, Err(1226));
        drop(busy);
        let over = || proxy.metrics().snapshot().status(Status::Unknown) == 1;
        eventually("it is over", over).await;
        client.0.send(0, b"\x03never").await.expect("connected");
        eventually("the next is sent", || counts(&proxy, "slow")[0] == 2).await;
    });
    assert_eq!(counts(&proxy, "few"), [0, 0, 3, 3]);
    assert_eq!(counts(&proxy, "slow"), [2, 0, 0, 1]);
}

#[test]
fn what_takes_too_long_is_given_up_and_its_connection_is_nobodys() {
    let server = Server::start();
    let rules = r#"rules: [{ name: r, digests: [never], action: allow, timeout: 50ms }]"#;
    let proxy = start(guarded(&server, 1, rules));
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        // There is a connection, so that none is waited for.
        assert_eq!(client.ask("delete from b").await, Ok(1));
        assert_eq!(client.ask("never").await, Err(3024));
        // Nothing of the session's was on it. Another is made, and one to end what goes on there.
        let next = client.ask("delete from a").await.expect("it goes on");
        assert!(next > 1, "{next}");
        assert_eq!(client.ask("begin").await, Ok(next));
        // A transaction is lost with its connection, and the session with it.
        assert_eq!(client.ask("never").await, Err(3024));
        assert_eq!(client.0.receive().await, None);
        let mut client = Client::connect(&proxy).await;
        let last = client.ask("delete from b").await.expect("it is served");
        assert!(last > next, "{last}");
    });
    assert_eq!(proxy.metrics().snapshot().status(Status::Timeout), 2);
}

#[test]
fn all_that_is_asked_is_counted_and_logged() {
    let server = Server::start();
    let dir = std::env::temp_dir().join(format!("wiremesh-pooled-log-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let mut config = pooled(&server, 2);
    let fields = "[client, service, method, status, endpoint]";
    let log = format!(
        "{{ path: '{}', format: text, fields: {fields} }}",
        dir.join("access.log").display()
    );
    config.access_log = Some(serde_saphyr::from_str::<AccessLog>(&log).expect("a log"));
    config.admin = Some("127.0.0.1:0".parse().expect("an address"));
    config.listeners[0].digests = Some(Digests::default());
    // Everything is slow.
    let threshold = Duration(std::time::Duration::from_nanos(1));
    config.listeners[0].slow_log = Some(SlowLog { threshold, keep: 100 });
    let proxy = start(config);
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        assert_eq!(client.ask("delete from a where b = 's3cret'").await, Ok(1));
        assert_eq!(client.ask("error 's3cret'").await, Err(1146));
        assert_eq!(client.ask("select last_insert_id(), 's3cret'").await, Err(1105));
        let prepared = client.command(Command::StmtPrepare, "update a set b = ? + 's3cret'").await;
        assert_eq!(prepared, Ok(1));
        for _ in 0..3 {
            assert_eq!(client.command(Command::StmtExecute, EXECUTE).await, Ok(1));
        }
        client.0.send(0, b"\x19\x01\0\0\0").await.expect("connected");
        assert_eq!(client.command(Command::ResetConnection, "").await, Ok(0));
        assert_eq!(client.command(Command::BinlogDump, "").await, Err(1235));
    });
    let page = |path: &str| {
        let (code, body) = http(proxy.admin().expect("pages"), "GET", path).expect("there");
        assert_eq!(code, 200, "{body}");
        body
    };
    let json = |path: &str| serde_json::from_str::<Value>(&page(path)).expect("JSON")[0].clone();
    let digests = json("/digests");
    let row = |row: &Value| {
        let text = |name: &str| row[name].as_str().expect("a text").to_owned();
        (text("method"), text("digest"), row["count"].as_u64(), row["failed"].as_u64())
    };
    let mut rows: Vec<_> = digests["digests"].as_array().expect("a list").iter().map(row).collect();
    rows.sort();
    let query = |digest: &str, failed| ("COM_QUERY".into(), digest.into(), Some(1), Some(failed));
    let expected = [
        query("delete from a where b = ?", 0),
        query("error ?", 1),
        query("select last_insert_id (), ?", 1),
        ("COM_STMT_EXECUTE".into(), "update a set b = ? + ?".into(), Some(3), Some(0)),
    ];
    assert_eq!(rows, expected);
    let slow = json("/slow").to_string();
    assert!(slow.contains("update a set b = ? + ?") && !slow.contains("s3cret"), "{slow}");
    let count = |method: &str, count| (method.to_owned(), count);
    let all = [
        count("COM_BINLOG_DUMP", 1),
        count("COM_QUERY", 3),
        count("COM_RESET_CONNECTION", 1),
        count("COM_STMT_CLOSE", 1),
        count("COM_STMT_EXECUTE", 3),
        count("COM_STMT_PREPARE", 1),
    ];
    assert_eq!(methods(&proxy), all);
    proxy.drain();
    proxy.join();
    let log = std::fs::read_to_string(dir.join("access.log")).expect("a log");
    std::fs::remove_dir_all(&dir).expect("it is gone");
    let lines: Vec<_> = log.lines().map(|line| line.split(' ').collect::<Vec<_>>()).collect();
    let of = |method: &str| lines.iter().filter(|line| line[2] == method).collect::<Vec<_>>();
    assert_eq!(lines.len(), 10, "{log}");
    assert_eq!(of("COM_BINLOG_DUMP").len(), 1, "{log}");
    // What went nowhere has no endpoint.
    assert!(of("COM_RESET_CONNECTION")[0][3..] == ["ok", "-"], "{log}");
    assert!(of("COM_STMT_EXECUTE").iter().all(|line| line[4] != "-"), "{log}");
}
