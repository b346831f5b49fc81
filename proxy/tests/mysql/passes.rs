//! What is said, passes, and is known.

use wiremesh::Status;
use wiremesh_mysql::wire::MAX_BODY;
use wiremesh_proxy::{
    config::{Limit, Route},
    telemetry::Format,
};

use crate::{
    common::{address, block_on, eventually, start},
    mysql,
    peers::{Answer, Client, Refused, Server},
};

fn rows(rows: usize) -> Option<Answer> {
    Some(Answer { rows, ..Answer::default() })
}

#[test]
fn logins_and_commands_are_requests() {
    let server = Server::start();
    let proxy = start(mysql(&[server.address]));
    block_on(async {
        let mut client = Client::connect(address(&proxy)).await;
        assert_eq!(client.ask("rows 3").await, rows(3));
        let error = client.ask("error 1146").await.and_then(|answer| answer.error);
        let text = "#42000no".to_owned();
        assert_eq!(error, Some(Refused { seq: 1, number: 1146, text }));
        // Of one without a reply the next does not wait.
        client.send(0, b"\x19\x01\0\0\0").await;
        client.send(0, b"\x0e").await;
        assert_eq!(client.answer().await, rows(0));
        let mut other = Client::open(address(&proxy)).await;
        other.read().await.expect("a greeting");
        other.log_in("eve").await;
        other.told(2, 1045, "#28000no").await;
        client.send(0, b"\x01").await;
        client.closed().await;
        eventually("the server is told", || server.seen.said().contains(&"1 ".to_owned())).await;
        eventually("both are closed", || server.seen.open() == 0).await;
    });
    let text = proxy.metrics().encode(Format::Classic, &[]);
    for (method, status, count) in [
        ("LOGIN", "ok", 1),
        ("LOGIN", "unauthenticated", 1),
        ("COM_QUERY", "ok", 1),
        ("COM_QUERY", "not_found", 1),
        ("COM_STMT_CLOSE", "ok", 1),
        ("COM_PING", "ok", 1),
    ] {
        let line = format!(
            "wiremesh_requests_total{{listener=\"t\",cluster=\"t\",service=\"shop\",method=\"{method}\",status=\"{status}\"}} {count}\n"
        );
        assert!(text.contains(&line), "no {line}{text}");
    }
    for class in ["ER_NO_SUCH_TABLE", "ER_ACCESS_DENIED_ERROR"] {
        assert!(text.contains(class), "no {class}");
    }
}

#[test]
fn what_is_sent_ahead_waits_for_its_turn() {
    let server = Server::start();
    let proxy = start(mysql(&[server.address]));
    block_on(async {
        let mut client = Client::connect(address(&proxy)).await;
        for statement in ["rows 1000", "begin", "load"] {
            client.start(statement).await;
        }
        for (seq, part) in (2..).zip([&[b'x'; 200][..], b""]) {
            client.send(seq, part).await;
        }
        client.start("commit").await;
        client.send(0, b"\x01").await;
        assert_eq!(client.answer().await, rows(1000));
        assert_eq!(client.answer().await, rows(0));
        assert_eq!(client.read().await.map(|asked| asked.1), Some(b"\xfbfile".to_vec()));
        assert_eq!(client.answer().await.map(|answer| answer.affected), Some(200));
        assert_eq!(client.answer().await, rows(0));
        client.closed().await;
        eventually("the server has read all", || server.seen.said().len() == 5).await;
    });
    assert_eq!(server.seen.said(), ["3 rows 1000", "3 begin", "3 load", "3 commit", "1 "]);
}

#[test]
fn long_statements_files_and_rows_pass_as_they_come() {
    let server = Server::start();
    let proxy = start(mysql(&[server.address]));
    block_on(async {
        let mut client = Client::connect(address(&proxy)).await;
        for len in [20_000, MAX_BODY - 1, MAX_BODY + 100] {
            let answer = client.ask(&format!("length{}", "x".repeat(len - 7))).await;
            assert_eq!(answer.map(|answer| answer.error), Some(None));
        }
        client.start("load").await;
        client.read().await.expect("a wish for a file");
        for seq in 2..40 {
            client.send(seq, &vec![b'f'; 1 << 20]).await;
        }
        client.send(40, b"").await;
        assert_eq!(client.answer().await.and_then(|answer| answer.error), None);
        assert_eq!(client.ask("big 100").await, rows(100));
        let totals = proxy.metrics().snapshot();
        assert_eq!(totals.status(Status::Ok), 6);
    });
}

#[test]
fn limits_refuse_a_command_and_the_session_goes_on() {
    let server = Server::start();
    let mut config = mysql(&[server.address]);
    let mut dear = Route {
        limit: Some(Limit { requests_per_second: Some(0.001), burst: Some(1), ..Limit::default() }),
        ..config.listeners[0].routes[0].clone()
    };
    dear.name = "dear".into();
    let matches = "{ method: { exact: COM_QUERY }, headers: [{ name: user, exact: joe }, { name: program_name, exact: shell }] }";
    dear.matches = serde_saphyr::from_str(matches).expect("a match");
    config.listeners[0].routes.insert(0, dear);
    let proxy = start(config);
    block_on(async {
        let mut client = Client::connect(address(&proxy)).await;
        assert_eq!(client.ask("rows 2").await, rows(2));
        for _ in 0..2 {
            let error = client.ask("rows 2").await.and_then(|answer| answer.error);
            let error = error.expect("refused");
            assert_eq!((error.seq, error.number), (1, 1226));
            assert!(error.text.starts_with("#42000wiremesh RL"), "{}", error.text);
            client.send(0, b"\x0e").await;
            assert_eq!(client.answer().await, rows(0));
        }
    });
    assert_eq!(server.seen.said(), ["3 rows 2", "14 ", "14 "]);
}
