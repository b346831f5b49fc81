//! How sessions end, and what the client is told.

use std::{net::TcpListener, time::Duration};

use crate::{
    common::{address, block_on, eventually, millis, secs, start},
    mysql,
    peers::{Client, Server},
};

#[test]
fn nobody_is_there() {
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let proxy = start(mysql(&[gone]));
    block_on(async {
        let mut client = Client::open(address(&proxy)).await;
        // In place of the greeting, in the form of a server that is full.
        client.told(0, 3168, "wiremesh UF").await;
    });
}

#[test]
fn an_upstream_that_is_lost() {
    let server = Server::start();
    let proxy = start(mysql(&[server.address]));
    block_on(async {
        let mut client = Client::connect(address(&proxy)).await;
        client.start("cut").await;
        // A part of a packet: nothing can be said.
        client.closed().await;

        let mut client = Client::connect(address(&proxy)).await;
        client.start("half 5").await;
        let answer = client.answer().await.expect("an error");
        assert_eq!(answer.rows, 5);
        assert_eq!(answer.error.map(|error| (error.seq, error.number)), Some((9, 1158)));
        client.closed().await;

        let mut client = Client::connect(address(&proxy)).await;
        client.start("bye").await;
        assert!(client.answer().await.is_some_and(|answer| answer.error.is_none()));
        client.told(0, 4031, "no").await;
        eventually("all are closed", || server.seen.open() == 0).await;
    });
}

#[test]
fn a_server_that_says_why_it_reads_no_further_is_heard() {
    let server = Server::start();
    let proxy = start(mysql(&[server.address]));
    block_on(async {
        for _ in 0..20 {
            let mut client = Client::connect(address(&proxy)).await;
            client.start(&format!("much {}", "z".repeat(3_000_000))).await;
            client.told(1, 1153, "no").await;
        }
    });
}

#[test]
fn a_server_that_is_killed_while_nothing_is_asked() {
    let server = Server::start();
    let proxy = start(mysql(&[server.address]));
    block_on(async {
        let mut client = Client::connect(address(&proxy)).await;
        drop(server);
        // As without a proxy.
        client.closed().await;
    });
}

#[test]
fn time_is_up() {
    let server = Server::start();
    let mut config = mysql(&[server.address]);
    config.listeners[0].routes[0].timeout = Some(millis(200));
    let proxy = start(config);
    block_on(async {
        let mut client = Client::connect(address(&proxy)).await;
        client.start("never").await;
        client.told(1, 3024, "#HY000wiremesh UT").await;
        eventually("the server is rid of it", || server.seen.open() == 0).await;
    });
}

#[test]
fn a_client_that_asks_nothing_is_told_as_servers_do() {
    let server = Server::start();
    let mut config = mysql(&[server.address]);
    config.listeners[0].idle_timeout = millis(200);
    let proxy = start(config);
    block_on(async {
        let mut client = Client::connect(address(&proxy)).await;
        client.told(1, 4031, "#HY000wiremesh UT").await;
        eventually("the server is rid of it", || server.seen.open() == 0).await;
    });
}

#[test]
fn a_drain_waits_for_transactions_and_tells_the_idle() {
    let server = Server::start();
    let mut config = mysql(&[server.address]);
    config.drain_timeout = secs(20);
    let proxy = start(config);
    block_on(async {
        let mut holder = Client::connect(address(&proxy)).await;
        assert!(holder.ask("begin").await.is_some());
        let mut idle = Client::connect(address(&proxy)).await;
        proxy.drain();
        idle.told(1, 1053, "#08S01wiremesh DR").await;
        assert_eq!(holder.ask("rows 2").await.map(|answer| answer.rows), Some(2));
        assert!(holder.ask("commit").await.is_some_and(|answer| answer.error.is_none()));
        holder.told(1, 1053, "#08S01wiremesh DR").await;
    });
    proxy.join();
}

#[test]
fn a_slow_reader_holds_back_its_server() {
    const ROW: usize = (1 << 20) + 8;
    let server = Server::start();
    let mut config = mysql(&[server.address]);
    config.listeners[0].routes[0].timeout = Some(secs(120));
    let proxy = start(config);
    let received = || {
        let endpoints = proxy.metrics().snapshot().endpoints();
        endpoints.iter().map(|endpoint| endpoint.bytes_received).sum::<u64>()
    };
    block_on(async {
        let mut client = Client::connect(address(&proxy)).await;
        client.start("big 200").await;
        let mut before = 0;
        while received() != before || before == 0 {
            before = received();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(before < 100 * ROW as u64, "{before} bytes were taken though nobody reads");
        // Columns and their end, and of the rows all but one.
        client.skip(22 + 199 * ROW).await;
        let (seq, row) = client.read().await.expect("a row");
        assert_eq!((seq, row.len()), (203, ROW - 4));
        assert_eq!(client.read().await.map(|end| end.0), Some(204));
        assert_eq!(client.ask("rows 1").await.map(|answer| answer.rows), Some(1));
    });
}
