//! What operators see of the traffic: statistics by digest, and slow requests, without values.

use serde_json::Value;
use wiremesh_proxy::{
    config::{Digests, Duration, SlowLog},
    server::Handle,
};

use crate::{
    common::{address, block_on, process::http, start},
    mysql,
    peers::{Client, Server},
};

fn page(proxy: &Handle, path: &str) -> (u16, String) {
    http(proxy.admin().expect("pages"), "GET", path).expect("there")
}

fn json(proxy: &Handle, path: &str) -> Value {
    let (code, body) = page(proxy, path);
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

/// Method, digest, how many there were, how many of these failed, and the rows that came.
fn rows(page: &Value) -> Vec<(&str, &str, u64, u64, u64)> {
    let mut rows = Vec::new();
    for row in page["digests"].as_array().expect("a list") {
        let text = |name: &str| row[name].as_str().expect("a text");
        let number = |name: &str| row[name].as_u64().expect("a number");
        let numbers = (number("count"), number("failed"), number("items"));
        rows.push((text("method"), text("digest"), numbers.0, numbers.1, numbers.2));
    }
    rows
}

#[test]
fn statements_are_counted_by_their_digests() {
    let server = Server::start();
    let mut config = mysql(&[server.address]);
    config.admin = Some("127.0.0.1:0".parse().expect("an address"));
    config.listeners[0].digests = Some(Digests::default());
    // Everything is slow.
    let threshold = Duration(std::time::Duration::from_nanos(1));
    config.listeners[0].slow_log = Some(SlowLog { threshold, keep: 100 });
    let proxy = start(config);
    block_on(async {
        let mut client = Client::connect(address(&proxy)).await;
        for statement in ["rows 3", "rows 40", "error 1146"] {
            client.ask(statement).await.expect("an answer");
        }
        client.ask("SET /* s3cret */ PASSWORD='s3cret'").await.expect("an answer");
        // Prepared: 9 is its number.
        client.send(0, b"\x16SELECT a FROM t WHERE b = ? AND c = 's3cret'").await;
        client.answer().await.expect("it is prepared");
        for _ in 0..3 {
            client.send(0, b"\x17\x09\0\0\0\0\x01\0\0\0").await;
            client.answer().await.expect("it is executed");
        }
        // Closed, it is none.
        client.send(0, b"\x19\x09\0\0\0").await;
        client.send(0, b"\x17\x09\0\0\0\0\x01\0\0\0").await;
        client.answer().await.expect("an answer");
        // One of which not all is there.
        let long = format!("length_of {}", "'s3cret', ".repeat(5_000));
        client.ask(&long).await.expect("an answer");
    });
    let page_of = |query: &str| json(&proxy, &format!("/digests{query}"))[0].clone();
    let digests = page_of("?sort=count");
    let mut all = rows(&digests);
    all.sort_unstable();
    assert_eq!(
        all,
        [
            ("COM_QUERY", "SET PASSWORD = ?", 1, 0, 0),
            ("COM_QUERY", "error ?", 1, 1, 0),
            ("COM_QUERY", "length_of ?, ... ...", 1, 0, 0),
            ("COM_QUERY", "rows ?", 2, 0, 43),
            ("COM_STMT_EXECUTE", "SELECT a FROM t WHERE b = ? AND c = ?", 3, 0, 0),
        ]
    );
    assert_eq!((&digests["listener"], &digests["known"]), (&"t".into(), &5.into()));
    let first = &digests["digests"][0];
    assert_eq!((&first["method"], &first["service"]), (&"COM_STMT_EXECUTE".into(), &"shop".into()));
    // Packets of 4 bytes' head and 10 each; the OKs have 7 and a head.
    assert_eq!((&first["bytes_in"], &first["bytes_out"]), (&42.into(), &33.into()));
    let failed = page_of("?sort=failed&limit=1");
    assert_eq!(rows(&failed), [("COM_QUERY", "error ?", 1, 1, 0)]);
    assert_eq!(failed["digests"][0]["errors"]["ER_NO_SUCH_TABLE"], 1);
    assert_eq!(rows(&page_of("?sort=items"))[0].1, "rows ?");
    assert_eq!(page(&proxy, "/digests?sort=beauty").0, 400);
    assert_eq!(page(&proxy, "/digests?format=xml").0, 400);
    let (_, text) = page(&proxy, "/digests?format=text&sort=count&limit=2");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "t  5 digests, 2 shown, of 1000 at most");
    assert!(lines[1].ends_with("method                 digest"), "{text}");
    let end = "shop COM_STMT_EXECUTE  SELECT a FROM t WHERE b = ? AND c = ?";
    assert!(lines[2].trim_start().starts_with("3  ") && lines[2].ends_with(end), "{text}");
    assert_eq!(lines.len(), 5, "{text}");
    let slow = json(&proxy, "/slow");
    let shown = |row: &Value| row["request"].as_str().expect("a text").to_owned();
    let slow: Vec<_> = slow[0]["requests"].as_array().expect("a list").iter().map(shown).collect();
    assert!(slow.contains(&"rows ?".to_owned()), "{slow:?}");
    assert!(slow.contains(&"SELECT a FROM t WHERE b = ? AND c = ?".to_owned()), "{slow:?}");
    let everything = format!("{slow:?}{digests}{text}");
    assert!(!everything.contains("s3cret"), "{everything}");
}

#[test]
fn those_beyond_the_bound_are_counted_together() {
    let server = Server::start();
    let mut config = mysql(&[server.address]);
    config.admin = Some("127.0.0.1:0".parse().expect("an address"));
    let proxy = start(config.clone());
    assert_eq!(json(&proxy, "/digests"), Value::Array(Vec::new()));
    config.listeners[0].digests = Some(Digests { max: 2 });
    let proxy = start(config.clone());
    block_on(async {
        let mut client = Client::connect(address(&proxy)).await;
        for n in 0..20 {
            client.ask("rows 1").await.expect("an answer");
            client.ask(&format!("only_once{n} 'x'")).await.expect("an answer");
        }
        // A reload keeps what was counted.
        config.clusters[0].max_pending += 1;
        proxy.reload(config.clone()).expect("it is right");
        client.ask("rows 2").await.expect("an answer");
    });
    let digests = json(&proxy, "/digests?sort=count")[0].clone();
    assert_eq!(rows(&digests)[0], ("COM_QUERY", "rows ?", 21, 0, 22));
    assert_eq!(rows(&digests)[1].2, 1);
    assert_eq!(digests["others"]["count"], 19, "{digests}");
    let (_, text) = page(&proxy, "/digests?format=text");
    assert!(text.contains("  (others)\n"), "{text}");
}
