//! Sessions end to end across the proxy, one process, the end-to-end toy: what is said.

mod common;

use std::time::Duration;

use wiremesh::Status;
use wiremesh_proxy::config::{self, Limit, Route};

use wiremesh_toys::end_to_end::packet;

use common::{
    address, block_on,
    call::{CallClient, CallServer, call_config, text},
    eventually, millis, start,
};

#[test]
fn the_server_speaks_first_and_a_login_is_a_request() {
    let server = CallServer::start();
    let proxy = start(call_config(&[server.address]));
    block_on(async {
        let mut client = CallClient::connect(address(&proxy)).await;
        client.check("ECHO hello", "hello").await;
        let answer = client.ask("ROWS 3").await.expect("connected");
        assert_eq!((answer.rows, answer.code), (3, b'I'));
        let mut other = CallClient::open(address(&proxy)).await;
        assert_eq!(other.read().await.expect("a greeting").code, b'G');
        other.send(b'L', "me").await;
        assert_eq!(other.read().await.expect("a challenge").code, b'W');
        other.send(b'P', "a guess").await;
        other.send(b'P', "").await;
        assert_eq!(other.answer().await.expect("told").status, Status::Unauthenticated);
        other.bye("wiremesh UC").await;
        client.send(b'X', "").await;
        eventually("the server is told", || server.seen.count("X ") == 1).await;
        client.closed().await;
        eventually("both are closed", || server.seen.open() == 0).await;
    });
    assert_eq!(server.seen.accepted(), 2);
    let totals = proxy.metrics().snapshot();
    assert_eq!(totals.status(Status::Ok), 3, "a login, and two queries");
    assert_eq!(totals.status(Status::Unauthenticated), 1);
}

#[test]
fn each_client_has_a_connection_of_its_own_and_none_is_used_again() {
    let server = CallServer::start();
    let proxy = start(call_config(&[server.address]));
    block_on(async {
        for turn in 1..=3 {
            let mut client = CallClient::connect(address(&proxy)).await;
            let mut other = CallClient::connect(address(&proxy)).await;
            client.check("ECHO a", "a").await;
            other.check("ECHO b", "b").await;
            assert_eq!((server.seen.open(), server.seen.accepted()), (2, 2 * turn));
            drop((client, other));
            eventually("both are closed", || server.seen.open() == 0).await;
        }
    });
}

#[test]
fn endpoints_get_as_many_sessions_each_however_quiet_these_are() {
    let servers = [CallServer::start(), CallServer::start()];
    let proxy = start(call_config(&servers.each_ref().map(|server| server.address)));
    let open = || servers.each_ref().map(|server| server.seen.open());
    block_on(async {
        let mut clients = Vec::new();
        for number in 0..20 {
            let mut client = CallClient::connect(address(&proxy)).await;
            client.check(&format!("ECHO {number}"), &number.to_string()).await;
            clients.push(client);
        }
        assert_eq!(open(), [10, 10]);
        let mut number = 0;
        clients.retain(|_| {
            number += 1;
            servers[0].seen.count(&format!("Q ECHO {}", number - 1)) == 0
        });
        eventually("the first server's have left", || open() == [0, 10]).await;
        for _ in 0..10 {
            clients.push(CallClient::connect(address(&proxy)).await);
        }
        assert_eq!(open(), [10, 10]);
    });
}

#[test]
fn what_is_wanted_is_sent_while_the_request_is_in_progress() {
    let server = CallServer::start();
    let proxy = start(call_config(&[server.address]));
    block_on(async {
        let mut client = CallClient::connect(address(&proxy)).await;
        client.send(b'Q', "UPLOAD").await;
        assert_eq!(client.read().await.expect("connected").code, b'W');
        for _ in 0..100 {
            client.send(b'P', &"part ".repeat(2000)).await;
        }
        client.send(b'P', "").await;
        assert_eq!(client.answer().await.expect("connected").text, "1000000");
        client.check("ECHO on", "on").await;
    });
}

#[test]
fn what_is_sent_ahead_waits_for_its_turn() {
    let server = CallServer::start();
    let proxy = start(call_config(&[server.address]));
    block_on(async {
        let mut client = CallClient::open(address(&proxy)).await;
        // All that a whole session sends, before the greeting was read.
        for (code, said) in [
            (b'L', "me"),
            (b'P', "the word of me"),
            (b'P', ""),
            (b'Q', "SLEEP 50"),
            (b'N', "one"),
            (b'Q', "UPLOAD"),
            (b'P', "12345"),
            (b'P', ""),
            (b'N', "two"),
            (b'N', "three"),
            (b'Q', "ROWS 1000"),
            (b'X', ""),
        ] {
            client.send(code, said).await;
        }
        let mut codes = Vec::new();
        while let Some(said) = client.read().await {
            codes.push(said.code);
        }
        let codes: String = codes.into_iter().map(char::from).collect();
        assert_eq!(codes, format!("GWIIWI{}I", "R".repeat(1000)));
        eventually("the server is told", || server.seen.count("X ") == 1).await;
    });
    assert_eq!(
        server.seen.said(),
        ["L me", "Q SLEEP 50", "N one", "Q UPLOAD", "N two", "N three", "Q ROWS 1000", "X "]
    );
}

#[test]
fn long_requests_go_on_as_they_come() {
    let server = CallServer::start();
    let proxy = start(call_config(&[server.address]));
    block_on(async {
        let mut client = CallClient::connect(address(&proxy)).await;
        let mut long = "LEN ".to_owned();
        long.push_str(&"x".repeat(10_000_000));
        client.check(&long, "10000000").await;
        // The same in small pieces, cut anywhere.
        let bytes = packet(b'Q', Status::Ok, &long.as_bytes()[..9_999]).bytes;
        for piece in bytes.chunks(7) {
            client.send_bytes(piece).await;
        }
        assert_eq!(client.answer().await.expect("connected").text, "9995");
        client.check("ECHO on", "on").await;
        let totals = proxy.metrics().snapshot();
        assert_eq!(totals.status(Status::Ok), 4);
    });
}

#[test]
fn a_tunnel_passes_anything_and_each_side_may_end_first() {
    let server = CallServer::start();
    let proxy = start(call_config(&[server.address]));
    block_on(async {
        let mut client = CallClient::connect(address(&proxy)).await;
        client.send(b'T', "").await;
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| ((n * 31) >> 3) as u8).collect();
        for _ in 0..3 {
            client.send_bytes(&bytes).await;
            client.expect_bytes(&bytes).await;
        }
        client.send_bytes(b"the last word").await;
        client.finish().await;
        assert_eq!(client.rest().await, b"the last wordover");
        eventually("both are closed", || server.seen.open() == 0).await;
    });
}

#[test]
fn limits_refuse_a_request_and_the_session_goes_on() {
    let server = CallServer::start();
    let mut config = call_config(&[server.address]);
    let mut dear = Route {
        limit: Some(Limit { requests_per_second: Some(0.001), burst: Some(1), ..Limit::default() }),
        ..config.listeners[0].routes[0].clone()
    };
    dear.name = "dear".into();
    dear.matches.method = Some(serde_saphyr::from_str("{ exact: ROWS }").expect("a matcher"));
    config.listeners[0].routes.insert(0, dear);
    let proxy = start(config);
    block_on(async {
        let mut client = CallClient::connect(address(&proxy)).await;
        assert_eq!(client.ask("ROWS 2").await.expect("connected").rows, 2);
        for _ in 0..2 {
            let answer = client.ask("ROWS 2").await.expect("connected");
            assert_eq!((answer.rows, answer.status), (0, Status::Overloaded));
            assert!(answer.text.contains("wiremesh RL"), "{}", answer.text);
            client.check("ECHO on", "on").await;
        }
        // Of a long one the rest is to come still, and nobody could tell where it ends.
        let long = packet(b'Q', Status::Ok, "ROWS 22222222222222222222".as_bytes()).bytes;
        client.send_bytes(&long[..long.len() - 1]).await;
        client.bye("wiremesh RL").await;
        eventually("it is closed", || server.seen.open() == 0).await;
    });
    assert_eq!(server.seen.count("Q ROWS 2"), 1);
}

#[test]
fn routes_to_other_clusters_are_refused() {
    let (server, other) = (CallServer::start(), CallServer::start());
    let mut config = call_config(&[server.address]);
    let mut cluster = call_config(&[other.address]).clusters.remove(0);
    cluster.name = "other".into();
    config.clusters.push(cluster);
    let mut route = Route::to_cluster("astray", "other");
    route.matches.method = Some(serde_saphyr::from_str("{ exact: ROWS }").expect("a matcher"));
    config.listeners[0].routes.insert(0, route);
    let proxy = start(config);
    block_on(async {
        let mut client = CallClient::connect(address(&proxy)).await;
        let answer = client.ask("ROWS 2").await.expect("connected");
        assert_eq!(answer.status, Status::NotFound);
        assert!(answer.text.contains("wiremesh NR"), "{}", answer.text);
        client.check("ECHO on", "on").await;
    });
    assert_eq!(other.seen.accepted(), 0);
}

#[test]
fn a_request_that_was_held_back_goes_before_what_belongs_to_it() {
    let server = CallServer::start();
    let mut config = call_config(&[server.address]);
    let delay = config::Delay { percent: config::Percent(100.0), duration: millis(30) };
    config.listeners[0].routes[0].fault =
        Some(config::Fault { delay: Some(delay), ..config::Fault::default() });
    let proxy = start(config);
    block_on(async {
        let mut client = CallClient::connect(address(&proxy)).await;
        let long = format!("LEN {}", "x".repeat(100_000));
        client.check(&long, "100000").await;
        // A client that says it is done before its request was sent.
        client.send(b'Q', "ECHO last").await;
        client.finish().await;
        assert_eq!(client.answer().await.expect("connected").text, "last");
    });
}

#[test]
fn an_idle_session_lasts_and_one_that_does_nothing_at_all_ends() {
    let server = CallServer::start();
    let mut config = call_config(&[server.address]);
    config.listeners[0].idle_timeout = millis(300);
    config.listeners[0].frame_timeout = millis(300);
    let proxy = start(config);
    block_on(async {
        let mut holder = CallClient::connect(address(&proxy)).await;
        assert_eq!(holder.ask("BEGIN").await.expect("connected").code, b'T');
        let mut idle = CallClient::connect(address(&proxy)).await;
        // Greeted, and never logged in.
        let mut silent = CallClient::open(address(&proxy)).await;
        assert_eq!(silent.read().await.map(|said| text(&said)), Some("welcome".into()));
        silent.closed().await;
        idle.bye("wiremesh UT").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        holder.check("COMMIT", "").await;
        holder.bye("wiremesh UT").await;
        eventually("all are closed", || server.seen.open() == 0).await;
    });
}
