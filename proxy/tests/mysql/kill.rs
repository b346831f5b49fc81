//! Pooled mode: clients that end what others do, by the numbers that the proxy has given these.

mod server;

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::{net::TcpStream, task::JoinHandle};
use wiremesh_mysql::{Capabilities, Command};
use wiremesh_proxy::{cluster::Address, config::Config, server::Handle};

use self::server::Server;
use crate::{
    common::{NAME, block_on, eventually, millis, secs, start},
    mysql,
    peers::Talk,
};

/// How long a test waits for an answer before it calls it lost.
const LOST: Duration = Duration::from_secs(30);

/// Another listener with the same users.
const OTHER: &str = "other";

struct Client {
    talk: Talk,
    number: u32,
}

impl Client {
    async fn connect(proxy: &Handle) -> Self {
        Self::at(proxy, NAME, "joe").await
    }

    async fn at(proxy: &Handle, listener: &str, user: &str) -> Self {
        let Some(Address::Tcp(address)) = proxy.address(listener) else { panic!("no listener") };
        let stream = TcpStream::connect(*address).await.expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        let mut talk = Talk::new(stream);
        let (_, greeting) = talk.receive().await.expect("a greeting");
        let version = greeting.iter().position(|byte| *byte == 0).expect("it has an end");
        let number = greeting[version + 1..].first_chunk().expect("a number");
        let number = u32::from_le_bytes(*number);
        let caps = Capabilities::PROTOCOL_41.0
            | Capabilities::SECURE_CONNECTION.0
            | Capabilities::MULTI_STATEMENTS.0
            | Capabilities::PLUGIN_AUTH.0;
        let mut login = caps.to_le_bytes()[..4].to_vec();
        login.extend([0, 0, 0, 1, 45]);
        login.extend([0; 23]);
        login.extend(format!("{user}\0\0mysql_native_password\0").bytes());
        talk.send(1, &login).await.expect("connected");
        let (seq, answer) = talk.receive().await.expect("an answer");
        assert_eq!((seq, answer[0]), (2, 0), "{answer:?}");
        Self { talk, number }
    }

    /// The number of the upstream connection that has answered, 0: none, or that of the error; `None`: it was closed.
    async fn ask(&mut self, text: &str) -> Option<Result<u8, u16>> {
        self.command(Command::Query, text.as_bytes()).await
    }

    async fn command(&mut self, command: Command, body: &[u8]) -> Option<Result<u8, u16>> {
        self.talk.send(0, &[&[command as u8], body].concat()).await?;
        let answer = tokio::time::timeout(LOST, self.talk.receive());
        let (seq, answer) = answer.await.expect("something is lost")?;
        assert_eq!(seq, 1);
        Some(match answer[0] {
            0 => Ok(answer[1]),
            _ => Err(u16::from_le_bytes([answer[1], answer[2]])),
        })
    }

    /// Asks, while the test goes on.
    fn asks(mut self, text: &'static str) -> JoinHandle<(Self, Option<Result<u8, u16>>)> {
        tokio::task::spawn_local(async move {
            let answer = self.ask(text).await;
            (self, answer)
        })
    }
}

/// A proxy with so many workers, and connections for all clients of each.
fn pooled(server: &Server, workers: usize) -> Config {
    let mut config = mysql(&[server.thread.address]);
    config.workers = Some(workers);
    let listener = &mut config.listeners[0];
    let options = [("mode".to_owned(), "pooled".to_owned())];
    listener.options.insert("mysql".into(), options.into());
    let user = |name| {
        let user = format!("{{ name: {name}, password: '', plugin: mysql_native_password }}");
        serde_saphyr::from_str(&user).expect("a user")
    };
    listener.users = vec![user("joe"), user("eve")];
    listener.routes[0].timeout = None;
    let mut other = listener.clone();
    other.name = OTHER.into();
    config.listeners.push(other);
    config.clusters[0].max_connections = workers;
    config.clusters[0].connect_timeout = secs(10);
    config
}

/// Somebody whose statement hangs on connection 1, and somebody else.
async fn hanging(server: &Server, proxy: &Handle) -> (u32, JoinHandle<(Client, Answer)>, Client) {
    let victim = Client::connect(proxy).await;
    let (number, other) = (victim.number, Client::connect(proxy).await);
    let victim = victim.asks("delete from hang");
    eventually("it hangs", || server.world.hanging() == 1).await;
    (number, victim, other)
}

type Answer = Option<Result<u8, u16>>;

#[test]
fn what_another_client_waits_for_is_ended_on_whichever_worker() {
    for workers in [1, 2] {
        let server = Server::start();
        let proxy = start(pooled(&server, workers));
        block_on(async {
            // All connections there are of its worker are taken by it.
            let (number, victim, mut killer) = hanging(&server, &proxy).await;
            let answer = killer.ask(&format!("kill query {number}")).await;
            assert_eq!(answer, Some(Ok(0)));
            let (mut victim, answer) = victim.await.expect("no panic");
            assert_eq!(answer, Some(Err(1317)));
            assert_eq!(server.world.kills(), ["KILL QUERY 1"]);
            assert!(matches!(victim.ask("delete from a").await, Some(Ok(_))));
            // Nobody else is given that connection.
            for _ in 0..3 {
                let Some(Ok(by)) = killer.ask("delete from b").await else { panic!("no answer") };
                assert!(by > 2, "{by}");
            }
            eventually("it is closed", || !server.world.has(1)).await;
        });
    }
}

#[test]
fn what_takes_too_long_is_ended_at_the_server() {
    let server = Server::start();
    let mut config = pooled(&server, 1);
    config.listeners[0].routes[0].timeout = Some(millis(200));
    let proxy = start(config);
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        assert_eq!(client.ask("delete from hang").await, Some(Err(3024)));
        // By itself the server does not look whether its client is there.
        eventually("it has ended", || !server.world.has(1) && server.world.hanging() == 0).await;
        assert_eq!(server.world.kills(), ["KILL QUERY 1"]);
        assert!(matches!(client.ask("delete from a").await, Some(Ok(_))));
        // Nothing else is killed: neither what is not with a server, nor what was answered in time.
        assert_eq!(server.world.kills(), ["KILL QUERY 1"]);
    });
}

#[test]
fn a_client_is_closed_with_what_it_has_begun() {
    for by_text in [true, false] {
        let server = Server::start();
        let proxy = start(pooled(&server, 2));
        block_on(async {
            let (number, victim, mut killer) = hanging(&server, &proxy).await;
            let answer = if by_text {
                killer.ask(&format!("KILL {number}")).await
            } else {
                killer.command(Command::ProcessKill, &number.to_le_bytes()).await
            };
            assert_eq!(answer, Some(Ok(0)));
            assert_eq!(victim.await.expect("no panic").1, None);
            assert_eq!(server.world.kills(), ["KILL CONNECTION 1"]);
            eventually("it has ended", || !server.world.has(1) && server.world.hanging() == 0)
                .await;
            assert_eq!(killer.ask(&format!("KILL {number}")).await, Some(Err(1094)));
        });
    }
}

#[test]
fn who_does_nothing_can_be_closed_only() {
    let server = Server::start();
    let proxy = start(pooled(&server, 2));
    block_on(async {
        let mut victim = Client::connect(&proxy).await;
        let mut killer = Client::connect(&proxy).await;
        let number = victim.number;
        for _ in 0..3 {
            assert_eq!(killer.ask(&format!("kill query {number}")).await, Some(Ok(0)));
            assert_eq!(victim.ask("delete from a").await, Some(Ok(1)));
        }
        assert_eq!(victim.ask("begin").await, Some(Ok(1)));
        assert_eq!(killer.ask(&format!("kill query {number}")).await, Some(Ok(0)));
        assert_eq!(victim.ask("delete from a").await, Some(Ok(1)));
        assert!(server.world.has(1));
        assert_eq!(killer.ask(&format!("kill connection {number}")).await, Some(Ok(0)));
        assert_eq!(victim.ask("commit").await, None);
        let reset = || server.world.said().last().is_some_and(|said| said == "1 RESET");
        eventually("its transaction is rolled back", reset).await;
        assert!(server.world.kills().is_empty());
    });
}

#[test]
fn who_waits_for_a_connection_waits_no_longer() {
    for (kill, answered) in [("kill query", Some(Err(1317))), ("kill", None)] {
        let server = Server::start();
        let proxy = start(pooled(&server, 1));
        block_on(async {
            let (_, holder, waits) = hanging(&server, &proxy).await;
            let mut killer = Client::connect(&proxy).await;
            let number = waits.number;
            let waits = waits.asks("delete from a");
            // Before it has asked there is nothing to end.
            while !waits.is_finished() {
                let answer = killer.ask(&format!("{kill} {number}")).await;
                assert!(matches!(answer, Some(Ok(0) | Err(1094))), "{answer:?}");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            assert_eq!(waits.await.expect("no panic").1, answered);
            assert_eq!(server.world.hanging(), 1);
            server.world.finish(1);
            assert_eq!(holder.await.expect("no panic").1, Some(Ok(1)));
            assert_eq!(killer.ask("delete from b").await, Some(Ok(1)));
            assert!(server.world.kills().is_empty());
            assert!(!server.world.said().iter().any(|said| said.ends_with("from a")));
        });
    }
}

#[test]
fn only_clients_of_the_same_user_and_listener_can_be_ended() {
    let server = Server::start();
    let proxy = start(pooled(&server, 2));
    block_on(async {
        let (number, victim, mut killer) = hanging(&server, &proxy).await;
        let mut eve = Client::at(&proxy, NAME, "eve").await;
        let mut elsewhere = Client::at(&proxy, OTHER, "joe").await;
        for kill in ["kill", "kill query"] {
            assert_eq!(eve.ask(&format!("{kill} {number}")).await, Some(Err(1095)));
            assert_eq!(elsewhere.ask(&format!("{kill} {number}")).await, Some(Err(1094)));
            // The server's own number of the connection is nobody's.
            assert_eq!(killer.ask(&format!("{kill} 1")).await, Some(Err(1094)));
        }
        assert!(server.world.kills().is_empty() && server.world.hanging() == 1);
        server.world.finish(1);
        assert_eq!(victim.await.expect("no panic").1, Some(Ok(1)));
    });
}

#[test]
fn one_can_end_oneself() {
    let server = Server::start();
    let proxy = start(pooled(&server, 1));
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        let number = client.number;
        assert_eq!(client.ask("begin").await, Some(Ok(1)));
        assert_eq!(client.ask(&format!("kill query {number}")).await, Some(Err(1317)));
        assert_eq!(client.ask("kill query connection_id()").await, Some(Err(1317)));
        assert_eq!(client.ask("delete from a").await, Some(Ok(1)));
        assert_eq!(client.ask(&format!("kill {number}")).await, Some(Err(1317)));
        assert_eq!(client.ask("delete from a").await, None);
        let reset = || server.world.said().last().is_some_and(|said| said == "1 RESET");
        eventually("its transaction is rolled back", reset).await;
        assert!(server.world.kills().is_empty());
    });
}

#[test]
fn what_the_server_would_take_for_a_number_of_its_own_is_refused() {
    let server = Server::start();
    let proxy = start(pooled(&server, 1));
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        for text in ["kill user joe", "kill query id 5", "kill 1 + 1", "delete from a; kill 1"] {
            assert_eq!(client.ask(text).await, Some(Err(1235)), "{text}");
        }
        let answer = client.command(Command::StmtPrepare, b"kill ?").await;
        assert_eq!(answer, Some(Err(1295)));
        assert_eq!(client.ask("delete from b").await, Some(Ok(1)));
        assert_eq!(server.world.said(), ["1 delete from b"]);
    });
}

#[test]
fn a_kill_that_comes_late_hits_nobody() {
    let server = Server::start();
    let proxy = start(pooled(&server, 1));
    block_on(async {
        let (number, victim, other) = hanging(&server, &proxy).await;
        let mut killer = Client::connect(&proxy).await;
        let mut third = Client::connect(&proxy).await;
        server.world.kills.shut();
        let kills =
            tokio::task::spawn_local(
                async move { killer.ask(&format!("kill query {number}")).await },
            );
        eventually("the server is told", || server.world.kills.waiting() == 1).await;
        server.world.finish(1);
        let (mut victim, answer) = victim.await.expect("no panic");
        assert_eq!(answer, Some(Ok(1)));
        // The pool has one connection at a time, and it is not this one any more.
        let other = other.asks("delete from hang");
        eventually("it hangs", || server.world.hanging() == 1).await;
        server.world.kills.open();
        assert_eq!(kills.await.expect("no panic"), Some(Ok(0)));
        assert_eq!(server.world.kills(), ["KILL QUERY 1"]);
        assert_eq!(server.world.hanging(), 1);
        server.world.finish(3);
        assert_eq!(other.await.expect("no panic").1, Some(Ok(3)));
        for client in [&mut victim, &mut third] {
            assert_eq!(client.ask("delete from a").await, Some(Ok(3)));
        }
    });
}

#[test]
fn a_request_that_was_not_meant_is_not_ended() {
    let server = Server::start();
    let proxy = start(pooled(&server, 1));
    block_on(async {
        let mut victim = Client::connect(&proxy).await;
        let mut killer = Client::connect(&proxy).await;
        let number = victim.number;
        assert_eq!(victim.ask("begin").await, Some(Ok(1)));
        let victim = victim.asks("delete from hang");
        eventually("it hangs", || server.world.hanging() == 1).await;
        server.world.greets.shut();
        let kills =
            tokio::task::spawn_local(
                async move { killer.ask(&format!("kill query {number}")).await },
            );
        eventually("a connection is made for it", || server.world.greets.waiting() == 1).await;
        server.world.finish(1);
        let (victim, answer) = victim.await.expect("no panic");
        assert_eq!(answer, Some(Ok(1)));
        // In its transaction the client must use the same connection.
        let victim = victim.asks("delete from hang");
        eventually("it hangs again", || server.world.hanging() == 1).await;
        server.world.greets.open();
        assert_eq!(kills.await.expect("no panic"), Some(Ok(0)));
        assert!(server.world.kills().is_empty());
        server.world.finish(1);
        assert_eq!(victim.await.expect("no panic").1, Some(Ok(1)));
    });
}

#[test]
fn who_cannot_reach_the_server_is_told() {
    let server = Server::start();
    let proxy = start(pooled(&server, 2));
    block_on(async {
        let (number, victim, mut killer) = hanging(&server, &proxy).await;
        server.world.refuses.store(true, Relaxed);
        assert_eq!(killer.ask(&format!("kill query {number}")).await, Some(Err(3168)));
        assert_eq!(server.world.hanging(), 1);
        assert_eq!(killer.ask(&format!("kill {number}")).await, Some(Err(3168)));
        assert_eq!(victim.await.expect("no panic").1, None);
    });
}
