//! Pooled mode: clients share the proxy's own connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};

use wiremesh_mysql::{Capabilities, Command};
use wiremesh_proxy::{config::Config, server::Handle};

use crate::{
    common::{address, block_on, eventually, secs, start, thread::ServerThread},
    mysql,
    peers::{Talk, greeting},
};

const CAPS: u64 = Capabilities::PROTOCOL_41.0
    | Capabilities::TRANSACTIONS.0
    | Capabilities::SECURE_CONNECTION.0
    | Capabilities::CONNECT_WITH_DB.0
    | Capabilities::PLUGIN_AUTH.0
    | Capabilities::MULTI_RESULTS.0
    | Capabilities::PS_MULTI_RESULTS.0
    | Capabilities::SESSION_TRACK.0
    | Capabilities::DEPRECATE_EOF.0;

/// The OK of a server that tells what has changed.
pub const TOLD: &[u8] = &[0, 0, 0, 2, 0x40, 0, 0, 0, 3, 2, 1, b'1'];

/// A server that answers everything by OK, with the connection's number as the rows that were changed, and tells what
/// changes: `use X`, and whatever begins with `set @`. `insert` makes an id. The schema `gone` costs the connection, and so does what
/// ends with `from gone` on the first one. To
/// `never` there is no answer, and `error` is one. There is a transaction from `begin` on, until anything else that is one word.
pub struct Server {
    pub thread: ServerThread,
    /// What was asked, after the connection's number.
    said: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start() -> Self {
        let said = Arc::<Mutex<Vec<String>>>::default();
        let thread = ServerThread::each({
            let said = Arc::clone(&said);
            let numbers = AtomicU8::new(1);
            move |stream| {
                let (said, number) = (said.clone(), numbers.fetch_add(1, Relaxed));
                async move {
                    let mut talk = Talk::new(stream);
                    // A proxy that has gone is no failure of the server's.
                    let mut begun = false;
                    if greet(&mut talk).await.is_some() {
                        while serve(&mut talk, number, &mut begun, &said).await.is_some() {}
                    }
                }
            }
        });
        Self { thread, said }
    }

    /// What was asked but for what sets a connection up.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().expect("not poisoned").clone()
    }
}

/// Greets, and tells who wants to be told what changes that it is.
pub async fn greet(talk: &mut Talk) -> Option<()> {
    if greet_with(talk, Capabilities(0)).await?.has(Capabilities::SESSION_TRACK) {
        talk.receive().await?;
        talk.send(1, TOLD).await?;
    }
    Some(())
}

/// Offers these, too. What was agreed on.
pub async fn greet_with(talk: &mut Talk, more: Capabilities) -> Option<Capabilities> {
    let greeting = greeting(CAPS | more.0, 7, "mysql_native_password");
    talk.send(0, &greeting).await?;
    let (seq, login) = talk.receive().await?;
    talk.send(seq + 1, &[0, 0, 0, 2, 0, 0, 0]).await?;
    let wanted = u32::from_le_bytes(*login.first_chunk()?);
    Some(Capabilities(u64::from(wanted) & (CAPS | more.0)))
}

async fn serve(
    talk: &mut Talk,
    number: u8,
    begun: &mut bool,
    said: &Mutex<Vec<String>>,
) -> Option<()> {
    let (_, asked) = talk.receive().await?;
    let text = String::from_utf8_lossy(&asked[1..]).into_owned();
    let command = Command::of(asked[0]).expect("it is known");
    let schema = match command {
        Command::InitDb => Some(&*text),
        _ => text.strip_prefix("use "),
    };
    if command == Command::Quit || command == Command::Ping {
        said.lock().expect("not poisoned").push(format!("{number} {} ", command.name()));
    }
    let gone = schema == Some("gone") || (text.ends_with("from gone") && number == 1);
    if command == Command::Quit || gone {
        return None;
    }
    if !text.starts_with("SET NAMES") && command != Command::Ping {
        said.lock().expect("not poisoned").push(format!("{number} {} {text}", command.name()));
    }
    if text == "never" {
        return Some(());
    }
    if text.starts_with("error") {
        return talk.error(1, 1146, "42S02").await;
    }
    if command == Command::StmtPrepare {
        // Statement 9, without parameters and columns to tell of.
        return talk.send(1, &[0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await;
    }
    if matches!(command, Command::StmtClose | Command::StmtSendLongData) {
        return Some(());
    }
    *begun = text == "begin" || *begun && text.contains(' ');
    let mut changes = Vec::new();
    if let Some(schema) = schema {
        let len = u8::try_from(schema.len()).expect("it is short");
        changes.extend([1, len + 1, len]);
        changes.extend(schema.as_bytes());
    }
    if schema.is_some() || text.starts_with("set @") {
        changes.extend(b"\x02\x011");
    }
    let id = if text.starts_with("insert") { 7 } else { 0 };
    let status = 2 | u8::from(*begun);
    let mut ok = vec![0, number, id, status, if changes.is_empty() { 0 } else { 0x40 }, 0, 0];
    if !changes.is_empty() {
        ok.extend([0, u8::try_from(changes.len()).expect("they are few")]);
        ok.extend(changes);
    }
    talk.send(1, &ok).await
}

pub struct Client(pub Talk);

impl Client {
    pub async fn connect(proxy: &Handle) -> Self {
        Self::connect_to(address(proxy), Capabilities(0)).await
    }

    /// One that asks for these, too.
    pub async fn connect_with(proxy: &Handle, more: Capabilities) -> Self {
        Self::connect_to(address(proxy), more).await
    }

    pub async fn connect_to(address: SocketAddr, more: Capabilities) -> Self {
        Self(Talk::logged_in(address, more.0).await)
    }

    /// Is told this without having asked anything, as the answer to its next command, and closed.
    pub async fn told(&mut self, number: u16, text: &str) {
        let (seq, error) = self.0.receive().await.expect("an error");
        assert_eq!((seq, error[0]), (1, 0xff), "{error:?}");
        assert_eq!(u16::from_le_bytes([error[1], error[2]]), number);
        let said = String::from_utf8_lossy(&error[3..]);
        assert!(said.contains(text), "{said}");
        assert_eq!(self.0.receive().await, None);
    }

    /// The number of the upstream connection that has answered, or that of the error.
    pub async fn ask(&mut self, text: &str) -> Result<u8, u16> {
        self.command(Command::Query, text).await
    }

    pub async fn command(&mut self, command: Command, text: &str) -> Result<u8, u16> {
        self.say(command, text.as_bytes()).await
    }

    /// A command with this behind its code.
    pub async fn say(&mut self, command: Command, body: &[u8]) -> Result<u8, u16> {
        let said = [&[command as u8], body].concat();
        self.0.send(0, &said).await.expect("connected");
        let (seq, answer) = self.0.receive().await.expect("an answer");
        assert_eq!(seq, 1);
        match answer[0] {
            0 => Ok(answer[1]),
            _ => Err(u16::from_le_bytes([answer[1], answer[2]])),
        }
    }
}

/// A proxy with so many connections for all clients.
pub fn pooled(server: &Server, connections: usize) -> Config {
    pooled_to(&[server.thread.address], connections)
}

/// The same before these servers.
pub fn pooled_to(servers: &[SocketAddr], connections: usize) -> Config {
    let mut config = mysql(servers);
    let listener = &mut config.listeners[0];
    let options = [("mode".to_owned(), "pooled".to_owned())];
    listener.options.insert("mysql".into(), options.into());
    let user = "{ name: joe, password: '', plugin: mysql_native_password }";
    listener.users = vec![serde_saphyr::from_str(user).expect("a user")];
    config.clusters[0].max_connections = connections;
    config.clusters[0].connect_timeout = secs(10);
    config
}

#[test]
fn clients_share_a_connection() {
    let server = Server::start();
    let proxy = start(pooled(&server, 1));
    block_on(async {
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(Client::connect(&proxy).await);
        }
        for round in 0..3 {
            for client in &mut clients {
                assert_eq!(client.ask(&format!("delete from a{round}")).await, Ok(1));
            }
        }
    });
    assert_eq!(server.said().len(), 30);
}

#[test]
fn a_session_is_made_anew_where_its_requests_go() {
    let server = Server::start();
    let proxy = start(pooled(&server, 1));
    block_on(async {
        let (mut one, mut other) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
        // Each takes a connection along that had no schema.
        assert_eq!(one.ask("use one").await, Ok(1));
        assert_eq!(other.ask("use other").await, Ok(2));
        assert_eq!(one.ask("delete from a").await, Ok(3));
        assert_eq!(one.ask("delete from b").await, Ok(3));
        assert_eq!(other.ask("delete from c").await, Ok(3));
    });
    let said = [
        "1 COM_QUERY use one",
        "2 COM_QUERY use other",
        "3 COM_INIT_DB one",
        "3 COM_QUERY delete from a",
        "3 COM_QUERY delete from b",
        "3 COM_INIT_DB other",
        "3 COM_QUERY delete from c",
    ];
    // When connections are closed is another matter.
    let asked = server.said().into_iter().filter(|it| !it.ends_with(" COM_QUIT "));
    assert_eq!(asked.collect::<Vec<_>>(), said);
}

#[test]
fn what_pins_holds_until_it_is_reset_or_the_client_leaves() {
    let server = Server::start();
    let proxy = start(pooled(&server, 1));
    block_on(async {
        let (mut one, mut other) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
        assert_eq!(one.ask("set @a = 1").await, Ok(1));
        // The other waits, and is served when the first lets go.
        let waits = tokio::task::spawn_local(async move {
            assert_eq!(other.ask("delete from a").await, Ok(1));
            assert_eq!(other.ask("set @b = 1").await, Ok(1));
            other
        });
        assert_eq!(one.ask("delete from b").await, Ok(1));
        assert_eq!(one.command(Command::ResetConnection, "").await, Ok(0));
        // Not before the server has let go of what the session had there.
        assert!(server.said().contains(&"1 COM_RESET_CONNECTION ".to_owned()));
        let other = waits.await.expect("it was served");
        drop(other);
        assert_eq!(one.ask("delete from c").await, Ok(1));
        assert_eq!(one.ask("set @a = 1").await, Ok(1));
        one.0.send(0, b"\x11joe\0\0\0").await.expect("connected");
        let (seq, switch) = one.0.receive().await.expect("a plugin");
        assert_eq!((seq, switch[0]), (1, 0xfe));
        one.0.send(2, b"").await.expect("connected");
        let (seq, answer) = one.0.receive().await.expect("an answer");
        assert_eq!((seq, answer[0]), (3, 0));
        assert_eq!(server.said().last().map(String::as_str), Some("1 COM_RESET_CONNECTION "));
    });
    let said = [
        "1 COM_QUERY set @a = 1",
        "1 COM_QUERY delete from b",
        "1 COM_RESET_CONNECTION ",
        "1 COM_QUERY delete from a",
        "1 COM_QUERY set @b = 1",
        "1 COM_RESET_CONNECTION ",
        "1 COM_QUERY delete from c",
        "1 COM_QUERY set @a = 1",
        "1 COM_RESET_CONNECTION ",
    ];
    assert_eq!(server.said(), said);
}

#[test]
fn what_only_a_connection_knows_is_asked_there_or_not_at_all() {
    let server = Server::start();
    let proxy = start(pooled(&server, 1));
    block_on(async {
        let (mut one, mut other) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
        assert_eq!(one.ask("insert into a values ()").await, Ok(1));
        // It lingers, and then it is for others.
        assert_eq!(other.ask("delete from a").await, Ok(1));
        assert_eq!(one.ask("select last_insert_id()").await, Err(1105));
        assert_eq!(one.ask("delete from b").await, Ok(1));
    });
    let said = [
        "1 COM_QUERY insert into a values ()",
        // A trigger of the other's could ask for it, too.
        "1 COM_QUERY SELECT LAST_INSERT_ID(0)",
        "1 COM_QUERY delete from a",
        "1 COM_QUERY delete from b",
    ];
    assert_eq!(server.said(), said);
}

#[test]
fn what_a_stranger_has_left_is_asked_by_nobody() {
    let server = Server::start();
    let proxy = start(pooled(&server, 1));
    block_on(async {
        let (mut one, mut other) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
        assert_eq!(one.ask("select a from b").await, Ok(1));
        // Of its own transaction the connection knows, and of how many rows were found by the other.
        assert_eq!(other.ask("begin").await, Ok(1));
        assert_eq!(other.ask("show grants for joe").await, Ok(1));
        assert_eq!(other.ask("select row_count() from a").await, Ok(1));
        assert_eq!(other.ask("select a from c").await, Ok(1));
        assert_eq!(other.ask("select found_rows() from a").await, Ok(1));
        assert_eq!(other.ask("commit").await, Ok(1));
        assert_eq!(other.ask("begin").await, Ok(1));
        assert_eq!(other.ask("show grants for joe").await, Ok(1));
        assert_eq!(other.ask("select found_rows() from a").await, Err(1105));
        assert_eq!(other.ask("commit").await, Ok(1));
        // In a routine somebody else's id may be asked for.
        assert_eq!(one.ask("call p()").await, Ok(1));
        assert_eq!(one.ask("call p()").await, Ok(1));
    });
    let said = server.said();
    let found = said.iter().filter(|said| said.contains("found_rows")).count();
    assert_eq!(found, 1, "{said:?}");
    let calls =
        ["1 COM_QUERY SELECT LAST_INSERT_ID(0)", "1 COM_QUERY call p()", "1 COM_QUERY call p()"];
    assert!(said.ends_with(&calls.map(String::from)), "{said:?}");
}

#[test]
fn a_connection_that_is_lost_before_the_request_was_sent_is_told_of() {
    let server = Server::start();
    let proxy = start(pooled(&server, 2));
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        assert_eq!(client.ask("use one").await, Ok(1));
        assert_eq!(client.ask("delete from a").await, Ok(2));
        // The server leaves at this one: the session has no state there, and goes on.
        assert_eq!(client.command(Command::InitDb, "gone").await, Err(1158));
        assert_eq!(client.ask("delete from b").await, Ok(3));
        let totals = || proxy.metrics().snapshot();
        eventually("it is counted", || totals().status(wiremesh::Status::Unavailable) == 1).await;
    });
}

#[test]
fn what_only_a_lost_connection_knew_is_not_tried_on_another() {
    let server = Server::start();
    let mut config = pooled(&server, 2);
    let retry = "{ attempts: 3, on: [reset], idempotent: true }";
    config.listeners[0].routes[0].retry = Some(serde_saphyr::from_str(retry).expect("a policy"));
    let proxy = start(config);
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        assert_eq!(client.ask("insert into a values ()").await, Ok(1));
        let lost = client.ask("select last_insert_id() from gone").await;
        assert!(matches!(lost, Err(1105 | 1158)), "{lost:?}");
        assert_eq!(client.ask("delete from a").await, Ok(2));
    });
    assert_eq!(server.said(), ["1 COM_QUERY insert into a values ()", "2 COM_QUERY delete from a"]);
}
