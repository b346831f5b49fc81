//! Who may have what executed, and how much of it.

use std::time::{Duration, Instant};

use wiremesh_proxy::{
    config::{Config, Firewall},
    server::Handle,
    telemetry::FirewallTotals,
};

use crate::{
    common::{address, block_on, eventually, start},
    mysql,
    peers::{Client, Server},
};

const PREPARE: u8 = 0x16;
const EXECUTE: &[u8] = b"\x17\x09\0\0\0\0\x01\0\0\0";

fn firewall(yaml: &str) -> Option<Firewall> {
    Some(serde_saphyr::from_str(yaml).expect("a firewall"))
}

fn guarded(server: &Server, yaml: &str) -> Config {
    let mut config = mysql(&[server.address]);
    config.listeners[0].firewall = firewall(yaml);
    config
}

fn counts(proxy: &Handle, rule: &str) -> [u64; 4] {
    let FirewallTotals { allowed, denied, detected, limited } =
        proxy.metrics().snapshot().firewall("t", rule);
    [allowed, denied, detected, limited]
}

/// What is said of a command: the error's number, and its text.
async fn says(client: &mut Client, body: &[u8]) -> Option<(u16, String)> {
    client.send(0, body).await;
    let answer = client.answer().await.expect("an answer");
    answer.error.map(|error| (error.number, error.text))
}

async fn asks(client: &mut Client, statement: &str) -> Option<(u16, String)> {
    says(client, &[&[3], statement.as_bytes()].concat()).await
}

fn prepare(statement: &str) -> Vec<u8> {
    [&[PREPARE], statement.as_bytes()].concat()
}

const ALLOWING: &str = r#"
default: deny
rules:
- { name: rows, users: [joe], services: [shop], digests: ["rows 5", "SELECT * FROM t  WHERE id=1"], action: allow }
- { name: others, users: [eve], action: allow }
- { name: pings, methods: [COM_STATISTICS], action: allow }
"#;

#[test]
fn only_what_is_allowed_passes() {
    let server = Server::start();
    let proxy = start(guarded(&server, ALLOWING));
    block_on(async {
        let mut client = Client::connect(address(&proxy)).await;
        let denied =
            Some((1227, "#42000wiremesh DN: the firewall has no rule that allows this".to_owned()));
        assert_eq!(asks(&mut client, "rows 3").await, None);
        assert_eq!(asks(&mut client, "select * from t where id = 2").await, denied, "other case");
        assert_eq!(asks(&mut client, "SELECT * /* x */ FROM t WHERE id = 'x'").await, None);
        for evil in [
            "SELECT * FROM t WHERE id = 1 OR 1 = 1",
            "SELECT * FROM t WHERE id = 1; DROP TABLE t",
            "SELECT * FROM t /*! , secret */ WHERE id = 1",
            "rows 3; rows 3",
            "DROP TABLE t",
            "",
        ] {
            assert_eq!(asks(&mut client, evil).await, denied, "{evil}");
        }
        // Of what is too long only the beginning is known.
        let long = format!("SELECT * FROM t WHERE id = '{}'", "x".repeat(3 << 20));
        client.start(&long).await;
        client.told(1, 1227, "no rule").await;
        let mut client = Client::connect(address(&proxy)).await;
        // Prepared, and then executed.
        assert_eq!(says(&mut client, &prepare("DROP TABLE t")).await, denied);
        assert_eq!(says(&mut client, EXECUTE).await, denied, "none is prepared");
        client.send(0, &prepare("SELECT * FROM t WHERE id = ?")).await;
        assert_eq!(client.read().await.expect("it is prepared").1[0], 0);
        assert_eq!(says(&mut client, EXECUTE).await, None);
        // What has nothing executed needs no rule, and what has and says nothing of it does.
        assert_eq!(says(&mut client, b"\x0e").await, None);
        assert_eq!(says(&mut client, b"\x02shop2").await, None);
        assert_eq!(asks(&mut client, "rows 3").await, denied, "another schema");
        assert_eq!(says(&mut client, b"\x09").await, None);
        assert_eq!(says(&mut client, b"\x0c\x07\0\0\0").await, denied, "a kill");
        assert_eq!(says(&mut client, b"\x1f\x80").await, None, "the session is as it was");
        assert_eq!(says(&mut client, b"\xf0").await, denied, "what nobody knows");
    });
    assert_eq!(counts(&proxy, "rows"), [4, 0, 0, 0]);
    assert_eq!(counts(&proxy, "default"), [0, 13, 0, 0]);
    assert_eq!(counts(&proxy, "pings"), [1, 0, 0, 0]);
    let seen = server.seen.said();
    assert!(!seen.iter().any(|said| said.contains("DROP") || said.starts_with("12 ")), "{seen:?}");
}

#[test]
fn what_is_denied_does_not_pass_unseen() {
    let server = Server::start();
    let rules = r#"
    rules:
    - { name: bulk, digests: ["LOAD ?, ... ..."], beginnings: true, action: allow }
    - { name: no-drop, digests: ["DROP TABLE t"], digest_pattern: "^truncate ", action: deny, message: "ask the DBAs" }
    - { name: look, digest_pattern: "secret", action: detect }
    "#;
    let proxy = start(guarded(&server, rules));
    block_on(async {
        let mut client = Client::connect(address(&proxy)).await;
        let denied = Some((
            1227,
            "#42000wiremesh DN: firewall rule `no-drop` denies this: ask the DBAs".to_owned(),
        ));
        for evil in ["DROP TABLE t", "drop  table t -- x", "TRUNCATE t", "/*!50000 DROP */ TABLE t"]
        {
            assert_eq!(asks(&mut client, evil).await, denied, "{evil}");
            assert_eq!(says(&mut client, &prepare(evil)).await, denied, "{evil}");
        }
        assert_eq!(says(&mut client, EXECUTE).await, denied, "which statement it is, nobody knows");
        assert_eq!(asks(&mut client, "rows 1").await, None);
        assert_eq!(asks(&mut client, "SELECT secret FROM t").await, None);
        assert_eq!(says(&mut client, b"\x09").await, None, "no statement");
        // What begins far behind a comment may be anything.
        let hidden = format!("/*{}*/ DROP TABLE t", "x".repeat(20_000));
        assert_eq!(asks(&mut client, &hidden).await.map(|said| said.0), Some(1227));
        let mut client = Client::connect(address(&proxy)).await;
        let bulk = format!("LOAD {}", "'x', ".repeat(10_000));
        client.start(&bulk).await;
        assert!(client.answer().await.expect("an answer").error.is_none());
    });
    assert_eq!(counts(&proxy, "no-drop"), [0, 10, 0, 0]);
    assert_eq!(counts(&proxy, "bulk"), [1, 0, 0, 0]);
    assert_eq!(counts(&proxy, "look"), [0, 0, 1, 0]);
}

#[test]
fn a_reload_judges_what_was_prepared_before() {
    let server = Server::start();
    let mut config = guarded(&server, "default: detect");
    let proxy = start(config.clone());
    block_on(async {
        let mut client = Client::connect(address(&proxy)).await;
        client.send(0, &prepare("DELETE FROM t WHERE id = ?")).await;
        client.read().await.expect("it is prepared");
        assert_eq!(says(&mut client, EXECUTE).await, None);
        let rule = "rules: [{ name: r, digests: [\"DELETE FROM t WHERE id = 1\"], action: deny }]";
        config.listeners[0].firewall = firewall(rule);
        proxy.reload(config.clone()).expect("it is right");
        let end = Instant::now() + Duration::from_secs(10);
        while says(&mut client, EXECUTE).await.is_none() {
            assert!(Instant::now() < end, "it is executed still");
        }
        assert_eq!(counts(&proxy, "r"), [0, 1, 0, 0]);
        // Who has no digests made does not know what was prepared.
        config.listeners[0].firewall = None;
        proxy.reload(config.clone()).expect("it is right");
        while says(&mut client, EXECUTE).await.is_some() {
            assert!(Instant::now() < end, "it is denied still");
        }
        config.listeners[0].firewall = firewall(&rule.replace("DELETE", "INSERT"));
        proxy.reload(config).expect("it is right");
        while says(&mut client, EXECUTE).await.is_none() {
            assert!(Instant::now() < end, "it is executed still");
        }
    });
    let [allowed, _, detected, _] = counts(&proxy, "default");
    // Log-in and a closed session are no requests of interest.
    assert!(allowed == 0 && detected >= 2, "{allowed} {detected}");
}

#[test]
fn limits_of_a_rule() {
    let server = Server::start();
    let rules = r#"
    rules:
    - { name: slow, digests: [never], action: allow, limit: { concurrency: 1 } }
    - { name: few, digest_pattern: "^rows", action: detect, limit: { requests_per_second: 0.001, burst: 2 } }
    - { name: short, digests: ["half 1", "never 2"], action: allow, timeout: 50ms }
    "#;
    let proxy = start(guarded(&server, rules));
    block_on(async {
        let mut client = Client::connect(address(&proxy)).await;
        let limited = |rule: &str, what: &str| {
            Some((1226, format!("#42000wiremesh RL: firewall rule `{rule}` is limited to {what}")))
        };
        let few = limited("few", "0.001 requests per second (burst 2)");
        // To prepare it is not to execute it.
        client.send(0, &prepare("rows 1")).await;
        client.read().await.expect("it is prepared");
        assert_eq!(says(&mut client, EXECUTE).await, None);
        assert_eq!(asks(&mut client, "rows 1").await, None);
        assert_eq!(asks(&mut client, "rows 1").await, few);
        assert_eq!(says(&mut client, EXECUTE).await, few);
        assert_eq!(asks(&mut client, "begin").await, None);
        // One that is under way is in the way of others, until its client is gone.
        let mut busy = Client::connect(address(&proxy)).await;
        busy.start("never").await;
        eventually("it is sent", || counts(&proxy, "slow")[0] == 1).await;
        let end = Instant::now() + Duration::from_secs(10);
        let slow = limited("slow", "1 requests at a time");
        assert_eq!(asks(&mut client, "never").await, slow);
        assert_eq!(asks(&mut client, "rows 7 8").await, few);
        drop(busy);
        let mut next = Client::connect(address(&proxy)).await;
        while counts(&proxy, "slow")[0] == 1 {
            assert!(Instant::now() < end, "its place is not given back");
            next.start("never").await;
            tokio::select! {
                _ = next.answer() => {}
                () = eventually("an answer, or it is sent", || counts(&proxy, "slow")[0] == 2) => {}
            }
        }
        client.start("never 2").await;
        client.told(1, 3024, "did not answer within").await;
    });
    assert_eq!(counts(&proxy, "few"), [0, 0, 3, 3]);
    assert_eq!(counts(&proxy, "short"), [1, 0, 0, 0]);
    let [allowed, denied, detected, limited] = counts(&proxy, "slow");
    assert_eq!((allowed, denied, detected), (2, 0, 0));
    assert!(limited >= 1);
}

#[test]
fn tls_from_end_to_end_is_not_offered() {
    let server = Server::start();
    let proxy = start(guarded(&server, "default: detect"));
    block_on(async {
        let mut client = Client::open(address(&proxy)).await;
        let greeting = client.read().await.expect("a greeting").1;
        let end = greeting.iter().skip(1).position(|byte| *byte == 0).expect("a version") + 2;
        let capabilities = u16::from_le_bytes([greeting[end + 13], greeting[end + 14]]);
        assert_eq!(capabilities & 0x0800, 0, "{capabilities:x}");
        // Who asks for it nevertheless is told.
        let mut wish = vec![0; 32];
        wish[..4].copy_from_slice(&0x0000_8a00_u32.to_le_bytes());
        client.send(1, &wish).await;
        client.told(2, 1043, "TLS").await;
    });
}

/// However a request ends, its place is given back: with a leak, those after it would not pass any more.
#[test]
fn places_are_given_back() {
    let server = Server::start();
    let rules = r#"
    rules:
    - { name: one, digest_pattern: "^(rows|error|cut|half|never|bye)", action: allow, limit: { concurrency: 1 }, timeout: 2s }
    "#;
    let proxy = start(guarded(&server, rules));
    let seed = crate::common::seed();
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    block_on(async {
        for _ in 0..40 {
            let statement =
                rng.choice(["rows 2", "error 1146", "cut", "half", "bye", "never"]).expect("one");
            let before = counts(&proxy, "one")[0];
            let end = Instant::now() + Duration::from_secs(10);
            let mut client = Client::connect(address(&proxy)).await;
            while counts(&proxy, "one")[0] == before {
                assert!(Instant::now() < end, "{statement}: a place was not given back");
                client.start(statement).await;
                let sent =
                    eventually("an answer, or it is sent", || counts(&proxy, "one")[0] > before);
                tokio::select! {
                    _ = client.answer() => {}
                    () = sent => {}
                }
            }
        }
    });
    assert_eq!(counts(&proxy, "one")[0], 40);
}

#[test]
fn what_was_seen_can_be_allowed_from_a_file() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rules.yaml");
    let unwanted = "{ default: detect, rules: [{ name: no, digests: [unwanted], action: deny }] }";
    let mut config = guarded(&server, unwanted);
    config.admin = Some("127.0.0.1:0".parse().expect("an address"));
    config.listeners[0].digests = Some(wiremesh_proxy::config::Digests::default());
    let proxy = start(config.clone());
    let page = |path: &str| {
        let answer = crate::common::process::http(proxy.admin().expect("pages"), "GET", path);
        answer.expect("there").1
    };
    let read = |config: &Config| {
        let mut config = config.clone();
        let rules = format!("{{ default: deny, file: {:?} }}", file.display().to_string());
        config.listeners[0].firewall = firewall(&rules);
        let protocols = wiremesh_proxy::registry::Registry::bundled().protocols();
        Config::parse("wiremesh.yaml", &config.to_yaml(), &|_| None, &protocols)
    };
    block_on(async {
        let mut client = Client::connect(address(&proxy)).await;
        for statement in
            ["rows 3", "SELECT `a$b\"` FROM t WHERE c IN (1, 2)", "INSERT x VALUES (1),(2)"]
        {
            assert_eq!(asks(&mut client, statement).await, None);
        }
        assert!(asks(&mut client, "unwanted").await.is_some());
        let rules = page("/digests?format=rules");
        assert!(!rules.contains("unwanted"), "{rules}");
        std::fs::write(&file, &rules).expect("written");
        proxy.reload(read(&config).expect(&rules)).expect("it is right");
        let end = Instant::now() + Duration::from_secs(10);
        while asks(&mut client, "DROP TABLE t").await.is_none() {
            assert!(Instant::now() < end, "it passes still");
        }
        for statement in ["rows 9", "SELECT `a$b\"` FROM t WHERE c IN (3)", "INSERT x VALUES (7)"] {
            assert_eq!(asks(&mut client, statement).await, None, "{statement}: {rules}");
        }
    });
    let text = page("/firewall?format=text");
    assert!(text.contains("allow   learnt shop") && text.contains("deny    default"), "{text}");
    std::fs::write(
        &file,
        "rules:\n- name: a\n  action: alow\n- { name: a, action: deny, digests: [''] }\n",
    )
    .expect("written");
    let report = read(&config).expect_err("mistakes").to_string();
    let name = file.display();
    for line in [format!("{name}:3:11: "), format!("{name}:4:11: "), format!("{name}:4:38: ")] {
        assert!(report.contains(&line), "{line}\n{report}");
    }
}
