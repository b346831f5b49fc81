//! A connection in good order is closed with `COM_QUIT`: servers count others as aborted. One that may not be is closed without.

use wiremesh_proxy::{config::Config, server::Handle};

use crate::{
    common::{block_on, eventually, millis, start},
    pooled::{Client, Server, pooled},
};

fn quits(server: &Server) -> usize {
    server.said().iter().filter(|said| said.ends_with(" COM_QUIT ")).count()
}

/// What is done by clients of a proxy, which is stopped after that only if the test does.
fn with(edit: impl FnOnce(&mut Config), test: impl AsyncFnOnce(&Server, &Handle)) {
    let server = Server::start();
    let mut config = pooled(&server, 1);
    config.clusters[0].linger_timeout = millis(50);
    edit(&mut config);
    let proxy = start(config);
    block_on(test(&server, &proxy));
}

#[test]
fn an_idle_one() {
    let edit = |config: &mut Config| config.clusters[0].idle_timeout = millis(100);
    with(edit, async |server, proxy| {
        let mut client = Client::connect(proxy).await;
        assert_eq!(client.ask("delete from a").await, Ok(1));
        eventually("it was said", || quits(server) == 1).await;
        assert_eq!(client.ask("delete from a").await, Ok(2));
    });
}

#[test]
fn those_that_are_for_sessions_of_another_kind() {
    with(
        |_| (),
        async |server, proxy| {
            let mut client = Client::connect(proxy).await;
            // From then on it is no connection for sessions without a schema, and was made for those.
            assert_eq!(client.ask("use one").await, Ok(1));
            eventually("it was said", || server.said().contains(&"1 COM_QUIT ".to_owned())).await;
            assert_eq!(client.ask("delete from a").await, Ok(2));
            // One takes the place of the other.
            let mut other = Client::connect(proxy).await;
            assert_eq!(other.ask("delete from a").await, Ok(3));
            eventually("it was said", || server.said().contains(&"2 COM_QUIT ".to_owned())).await;
        },
    );
}

#[test]
fn one_that_its_client_leaves_with_what_no_reset_takes_away() {
    with(
        |_| (),
        async |server, proxy| {
            let mut client = Client::connect(proxy).await;
            assert_eq!(client.ask("set role a").await, Ok(1));
            drop(client);
            eventually("it was said", || quits(server) == 1).await;
        },
    );
}

#[test]
fn all_when_the_proxy_stops() {
    let edit = |config: &mut Config| config.drain_timeout = millis(200);
    with(edit, async |server, proxy| {
        let mut client = Client::connect(proxy).await;
        assert_eq!(client.ask("delete from a").await, Ok(1));
        proxy.drain();
        eventually("it was said", || quits(server) == 1).await;
    });
}

#[test]
fn none_in_the_middle_of_a_reply() {
    let edit = |config: &mut Config| config.listeners[0].routes[0].timeout = Some(millis(200));
    with(edit, async |server, proxy| {
        let mut client = Client::connect(proxy).await;
        assert_eq!(client.ask("never").await, Err(3024));
        // One is made to end what goes on there, too, and is closed as others are.
        assert!(matches!(client.ask("delete from a").await, Ok(2..)));
        let said = server.said();
        assert!(!said.contains(&"1 COM_QUIT ".to_owned()), "{said:?}");
    });
}
