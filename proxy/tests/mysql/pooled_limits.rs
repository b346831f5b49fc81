//! Pooled mode: nobody waits for ever, nobody holds a connection for ever, and who leaves or is sent away leaves nothing
//! behind.

use std::time::Duration;

use serde_json::Value;
use wiremesh_mysql::Command;
use wiremesh_proxy::server::Handle;

use crate::{
    common::{NAME, block_on, eventually, millis, process::http, secs, start},
    pooled::{Client, Server, pooled},
};

/// What `/clusters` says.
fn clusters(proxy: &Handle) -> Value {
    let (_, text) = http(proxy.admin().expect("pages"), "GET", "/clusters").expect("there");
    serde_json::from_str(&text).expect("it is JSON")
}

#[test]
fn who_waits_for_a_connection_is_told_when_there_is_none() {
    let server = Server::start();
    let mut config = pooled(&server, 1);
    config.clusters[0].pending_timeout = secs(1);
    let proxy = start(config);
    block_on(async {
        let (mut one, mut other) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
        assert_eq!(one.ask("begin").await, Ok(1));
        assert_eq!(other.ask("delete from a").await, Err(1203));
        assert_eq!(one.ask("commit").await, Ok(1));
        // Of another lane, so that it would have to be made.
        assert_eq!(one.ask("use one").await, Ok(1));
        assert_eq!(one.ask("begin").await, Ok(2));
        assert_eq!(other.ask("delete from b").await, Err(1203));
        assert_eq!(one.ask("commit").await, Ok(2));
    });
    assert!(!server.said().iter().any(|said| said.ends_with("from a") || said.ends_with("from b")));
}

#[test]
fn another_lanes_connection_is_waited_for() {
    let server = Server::start();
    let mut config = pooled(&server, 1);
    config.clusters[0].pending_timeout = secs(60);
    config.clusters[0].connect_timeout = millis(500);
    config.admin = Some("127.0.0.1:0".parse().expect("an address"));
    let proxy = start(config);
    block_on(async {
        let (mut one, mut other) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
        assert_eq!(one.ask("use one").await, Ok(1));
        assert_eq!(one.ask("begin").await, Ok(2));
        let waits = tokio::task::spawn_local(async move { other.ask("delete from a").await });
        let waiting = || clusters(&proxy)[0]["pending"]["used"] == 1;
        eventually("it waits", waiting).await;
        // For longer than the making of a connection may take.
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(waiting());
        assert_eq!(one.ask("commit").await, Ok(2));
        assert_eq!(waits.await.expect("it was served"), Ok(3));
    });
}

#[test]
fn what_may_not_be_held_is_left_for_others() {
    let server = Server::start();
    let mut config = pooled(&server, 2);
    config.clusters[0].max_held = Some(1);
    config.clusters[0].pending_timeout = secs(1);
    config.admin = Some("127.0.0.1:0".parse().expect("an address"));
    let proxy = start(config);
    block_on(async {
        let (mut one, mut other) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
        assert_eq!(one.ask("begin").await, Ok(1));
        // In what it holds it may do as it likes.
        assert_eq!(one.ask("set @a = 1").await, Ok(1));
        for text in ["begin", "start transaction", "set @a = 1"] {
            assert_eq!(other.ask(text).await, Err(1203), "{text}");
        }
        assert_eq!(other.ask("delete from a").await, Ok(2));
        assert_eq!(one.ask("commit").await, Ok(1));
        let waits = tokio::task::spawn_local(async move {
            let said = other.ask("begin").await;
            (other, said)
        });
        let waiting = || clusters(&proxy)[0]["pending"]["used"] == 1;
        // What it has set is on it still.
        eventually("it waits", waiting).await;
        drop(one);
        let (mut other, said) = waits.await.expect("it was served");
        assert!(said.is_ok());
        assert!(other.ask("commit").await.is_ok());
        // Nobody holds anything, so that there is room for one.
        let mut third = Client::connect(&proxy).await;
        assert!(third.ask("begin").await.is_ok());
    });
    assert!(server.said().iter().filter(|said| said.ends_with("begin")).count() == 3);
}

#[test]
fn who_makes_ids_all_the_time_lets_others_go_first() {
    let server = Server::start();
    let mut config = pooled(&server, 1);
    config.clusters[0].linger_timeout = millis(50);
    config.clusters[0].pending_timeout = secs(10);
    let proxy = start(config);
    block_on(async {
        let (mut one, mut other) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
        assert_eq!(one.ask("insert into a values ()").await, Ok(1));
        let waits = tokio::task::spawn_local(async move { other.ask("delete from a").await });
        while !waits.is_finished() {
            assert_eq!(one.ask("insert into a values ()").await, Ok(1));
            // What was made last is known all the same.
            assert_eq!(one.ask("select last_insert_id()").await, Ok(1));
        }
        assert_eq!(waits.await.expect("it was served"), Ok(1));
    });
}

#[test]
fn who_holds_a_connection_and_asks_nothing_is_told_and_closed() {
    let server = Server::start();
    let mut config = pooled(&server, 1);
    config.clusters[0].hold_idle_timeout = millis(200);
    config.clusters[0].pending_timeout = secs(60);
    let proxy = start(config);
    block_on(async {
        let (mut one, mut other) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
        assert_eq!(one.ask("set @a = 1").await, Ok(1));
        assert_eq!(other.ask("delete from a").await, Ok(1));
        one.told(4031, "#HY000wiremesh UT").await;
        let listeners = proxy.metrics().snapshot();
        assert_eq!(listeners.listener(NAME).map(|totals| totals.hold_timeouts), Some(1));
        // Who holds nothing may be quiet.
        assert_eq!(other.ask("delete from b").await, Ok(1));
    });
    assert_eq!(server.said()[..2], ["1 COM_QUERY set @a = 1", "1 COM_RESET_CONNECTION "]);
}

#[test]
fn who_holds_a_connection_for_too_long_is_told_and_closed_however_much_it_asks() {
    let server = Server::start();
    let mut config = pooled(&server, 1);
    config.clusters[0].hold_timeout = Some(millis(200));
    config.clusters[0].pending_timeout = secs(60);
    let proxy = start(config);
    block_on(async {
        let (mut one, mut other) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
        // It begins anew whenever the connection goes back.
        for _ in 0..3 {
            assert_eq!(one.ask("begin").await, Ok(1));
            assert_eq!(one.ask("commit").await, Ok(1));
        }
        assert_eq!(one.ask("begin").await, Ok(1));
        let waits = tokio::task::spawn_local(async move { other.ask("delete from a").await });
        let end = loop {
            match one.ask("delete from b").await {
                Ok(by) => assert_eq!(by, 1),
                Err(number) => break number,
            }
        };
        assert_eq!(end, 4031);
        assert_eq!(one.0.receive().await, None);
        assert_eq!(waits.await.expect("it was served"), Ok(1));
        let listeners = proxy.metrics().snapshot();
        assert_eq!(listeners.listener(NAME).map(|totals| totals.hold_timeouts), Some(1));
    });
    // What it had is rolled back, and nothing was done twice or after that.
    let said = server.said();
    let [.., last, reset, other] = &said[..] else { panic!("{said:?}") };
    assert_eq!(last, "1 COM_QUERY delete from b");
    assert_eq!([reset, other], ["1 COM_RESET_CONNECTION ", "1 COM_QUERY delete from a"]);
}

#[test]
fn who_leaves_in_the_middle_of_an_answer_takes_the_connection_along() {
    let server = Server::start();
    let mut config = pooled(&server, 1);
    // For so long a client that sends no more may still read.
    config.listeners[0].stall_timeout = millis(200);
    let proxy = start(config);
    block_on(async {
        let (mut one, mut other) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
        assert_eq!(one.ask("begin").await, Ok(1));
        one.0.send(0, b"\x03never").await.expect("connected");
        eventually("it is asked", || server.said().len() == 2).await;
        drop(one);
        assert_eq!(other.ask("delete from a").await, Ok(2));
    });
    assert!(!server.said().iter().any(|said| said.contains("RESET")));
}

#[test]
fn a_role_is_not_passed_on_by_whoever_leaves_or_resets() {
    let server = Server::start();
    let proxy = start(pooled(&server, 1));
    block_on(async {
        let (mut one, mut other) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
        assert_eq!(one.ask("set role boss").await, Ok(1));
        assert_eq!(one.command(Command::ResetConnection, "").await, Ok(0));
        assert_eq!(one.ask("set role boss").await, Ok(2));
        drop(one);
        assert_eq!(other.ask("delete from a").await, Ok(3));
    });
}

#[test]
fn a_drain_tells_the_idle_and_waits_for_transactions() {
    let server = Server::start();
    let mut config = pooled(&server, 4);
    config.drain_timeout = secs(60);
    let proxy = start(config);
    block_on(async {
        let mut idle = Client::connect(&proxy).await;
        assert_eq!(idle.ask("delete from a").await, Ok(1));
        let mut holder = Client::connect(&proxy).await;
        assert_eq!(holder.ask("begin").await, Ok(1));
        proxy.drain();
        idle.told(1053, "#08S01wiremesh DR").await;
        assert_eq!(holder.ask("delete from b").await, Ok(1));
        assert_eq!(holder.ask("commit").await, Ok(1));
        holder.told(1053, "#08S01wiremesh DR").await;
    });
    proxy.join();
}

#[test]
fn after_the_drains_deadline_whatever_is_in_progress_is_answered() {
    let server = Server::start();
    let mut config = pooled(&server, 4);
    config.drain_timeout = millis(300);
    let proxy = start(config);
    block_on(async {
        let mut asks = Client::connect(&proxy).await;
        asks.0.send(0, b"\x03never").await.expect("connected");
        let mut holder = Client::connect(&proxy).await;
        assert_eq!(holder.ask("begin").await, Ok(2));
        proxy.drain();
        let (seq, answer) = asks.0.receive().await.expect("an answer");
        assert_eq!((seq, &answer[..3]), (1, &b"\xff\x1d\x04"[..]));
        asks.told(1053, "#08S01wiremesh DR").await;
        holder.told(1053, "#08S01wiremesh DR").await;
    });
    proxy.join();
}

#[test]
fn a_listener_that_is_gone_lets_transactions_end() {
    let server = Server::start();
    let config = pooled(&server, 4);
    let mut reloaded = config.clone();
    reloaded.listeners[0].name = "other".into();
    let proxy = start(config);
    block_on(async {
        let mut idle = Client::connect(&proxy).await;
        let mut holder = Client::connect(&proxy).await;
        assert_eq!(holder.ask("begin").await, Ok(1));
        std::thread::scope(|s| s.spawn(|| proxy.reload(reloaded)).join().expect("joined"))
            .expect("reloads");
        idle.told(1053, "#08S01wiremesh DR").await;
        assert_eq!(holder.ask("delete from a").await, Ok(1));
        assert_eq!(holder.ask("commit").await, Ok(1));
        holder.told(1053, "#08S01wiremesh DR").await;
    });
}
