//! Pooled mode before a primary and its replicas: who is what is learnt, and followed.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use wiremesh_mysql::{Command, wire::put_lenenc_bytes};
use wiremesh_proxy::{
    config::{Config, ReadFrom},
    server::Handle,
};

use crate::{
    common::{block_on, eventually, millis, process::http, secs, start, thread::ServerThread},
    peers::Talk,
    pooled::{Client, greet, pooled_to},
};

/// What a server is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Primary,
    /// Read-only, and in step.
    Replica,
    /// Read-only, and following nobody.
    Retired,
    /// It closes whatever is open, and whatever comes.
    Dead,
}

const PARTS: [Part; 4] = [Part::Primary, Part::Replica, Part::Retired, Part::Dead];

/// A server that answers by its number as the rows that were changed, and refuses `insert` where it is read-only.
struct Server {
    thread: ServerThread,
    state: Arc<State>,
}

struct State {
    number: u8,
    part: AtomicU8,
    /// Connections that have asked for anything but what it is.
    open: AtomicU64,
    inserted: Mutex<Vec<String>>,
    /// What is waited for does not come.
    late: AtomicBool,
    /// How often something was waited for.
    waits: AtomicU64,
}

impl Server {
    fn start(number: u8, part: Part) -> Self {
        let state = Arc::new(State {
            number,
            part: AtomicU8::new(part as u8),
            open: AtomicU64::new(0),
            inserted: Mutex::default(),
            late: AtomicBool::new(false),
            waits: AtomicU64::new(0),
        });
        let thread = ServerThread::each({
            let state = state.clone();
            move |stream| {
                let state = state.clone();
                async move {
                    if state.part() != Part::Dead {
                        state.serve(&mut Talk::new(stream)).await;
                    }
                }
            }
        });
        Self { thread, state }
    }

    fn becomes(&self, part: Part) {
        self.state.part.store(part as u8, SeqCst);
    }

    fn open(&self) -> u64 {
        self.state.open.load(SeqCst)
    }

    fn inserted(&self) -> Vec<String> {
        self.state.inserted.lock().expect("not poisoned").clone()
    }
}

impl State {
    fn part(&self) -> Part {
        PARTS[usize::from(self.part.load(SeqCst))]
    }

    async fn serve(&self, talk: &mut Talk) -> Option<()> {
        greet(talk).await?;
        let (mut open, mut transaction) = (None, 0);
        loop {
            let (_, asked) = talk.receive().await?;
            if self.part() == Part::Dead {
                return None;
            }
            let text = String::from_utf8_lossy(&asked[1..]).into_owned();
            if text.starts_with("SHOW ") {
                self.tell(talk, &text).await?;
                continue;
            }
            open.get_or_insert_with(|| Open::new(&self.open));
            let command = Command::of(asked[0]).expect("it is known");
            if text.starts_with("SELECT 1 FROM DUAL") {
                self.wait(talk).await?;
                continue;
            }
            match &*text {
                "begin" => transaction = 1,
                "rollback" => transaction = 0,
                _ if command == Command::Quit => return None,
                _ if command == Command::ResetConnection => transaction = 0,
                _ if text.starts_with("insert") && self.part() != Part::Primary => {
                    talk.error(1, 1290, "HY000").await?;
                    continue;
                }
                _ if text.starts_with("insert") => {
                    self.inserted.lock().expect("not poisoned").push(text.clone());
                }
                _ => {}
            }
            let mut ok = vec![0, self.number, 0, 2 | transaction, 0, 0, 0];
            if text == "insert told" {
                // By a transaction's number.
                ok[4] = 0x40;
                ok.extend(b"\0\x07\x03\x05\0\x03u:1");
            }
            talk.send(1, &ok).await?;
        }
    }

    /// It was waited for, in vain if this server has everything late.
    async fn wait(&self, talk: &mut Talk) -> Option<()> {
        let column = b"\x03def\0\0\0\x011\0\x0c\x3f\0\x01\0\0\0\x08\x81\0\0\0\0";
        let mut packets = vec![&b"\x01"[..], column, b"\x011", b"\xfe\0\0\x02\0\0\0"];
        if self.late.load(SeqCst) {
            packets.remove(2);
        }
        self.waits.fetch_add(1, SeqCst);
        for (seq, packet) in (1..).zip(packets) {
            talk.send(seq, packet).await?;
        }
        Some(())
    }

    /// Tells what it is.
    async fn tell(&self, talk: &mut Talk, text: &str) -> Option<()> {
        let read_only = if self.part() == Part::Primary { "OFF" } else { "ON" };
        if text.contains("VARIABLES") {
            let rows = [&["read_only", read_only][..], &["super_read_only", read_only]];
            return result(talk, &["Variable_name", "Value"], &rows).await;
        }
        let names = ["Replica_IO_Running", "Replica_SQL_Running", "Seconds_Behind_Source"];
        let follows = [&["Yes", "Yes", "0"][..]];
        let rows = if self.part() == Part::Replica { &follows[..] } else { &[] };
        result(talk, &names, rows).await
    }
}

/// Counted while it lives.
struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// A text result as it is sent to who asked for nothing newer.
async fn result(talk: &mut Talk, columns: &[&str], rows: &[&[&str]]) -> Option<()> {
    let text = |fields: &[&str]| {
        let mut out = bytes::BytesMut::new();
        fields.iter().for_each(|field| put_lenenc_bytes(&mut out, field.as_bytes()));
        out.to_vec()
    };
    let mut packets = vec![vec![u8::try_from(columns.len()).expect("few")]];
    packets.extend(columns.iter().map(|name| {
        let mut definition = text(&["def", "", "", "", name, ""]);
        definition.extend([0x0c, 45, 0, 0, 1, 0, 0, 0xfd, 0, 0, 0, 0, 0]);
        definition
    }));
    packets.push(vec![0xfe, 0, 0, 2, 0]);
    packets.extend(rows.iter().map(|row| text(row)));
    packets.push(vec![0xfe, 0, 0, 2, 0]);
    for (seq, packet) in (1..).zip(packets) {
        talk.send(seq, &packet).await?;
    }
    Some(())
}

/// What the proxy tells of its cluster.
fn status(proxy: &Handle) -> serde_json::Value {
    let admin = proxy.admin().expect("it has pages");
    let (_, text) = http(admin, "GET", "/clusters").expect("there");
    let mut clusters: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    clusters[0].take()
}

fn replicated(servers: &[&Server]) -> Config {
    let addresses: Vec<_> = servers.iter().map(|server| server.thread.address).collect();
    let mut config = pooled_to(&addresses, 4);
    config.admin = Some("127.0.0.1:0".parse().expect("an address"));
    let cluster = &mut config.clusters[0];
    cluster.topology = "replicated".into();
    cluster.topology_options.insert("user".into(), "mon".into());
    // Nothing is learnt by waiting.
    cluster.topology_refresh = secs(3600);
    config
}

/// Inserts until it is this server that does. Answers what came before.
async fn until(client: &mut Client, server: u8) -> Vec<Result<u8, u16>> {
    let end = Instant::now() + Duration::from_secs(10);
    let mut before = Vec::new();
    loop {
        let answer = client.ask(&format!("insert {}", before.len())).await;
        if answer == Ok(server) {
            return before;
        }
        assert!(Instant::now() < end, "{before:?}");
        before.push(answer);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn the_primary_is_found_and_followed() {
    let (a, b) = (Server::start(1, Part::Replica), Server::start(2, Part::Primary));
    let proxy = start(replicated(&[&a, &b]));
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        for round in 0..5 {
            assert_eq!(client.ask(&format!("insert {round}")).await, Ok(2));
        }
        b.becomes(Part::Retired);
        a.becomes(Part::Primary);
        let before = until(&mut client, 1).await;
        assert!(!before.is_empty() && before.iter().all(|it| *it == Err(1290)), "{before:?}");
        assert_eq!(a.inserted().len(), 1);
        eventually("connections to who is nothing any more are closed", || b.open() == 0).await;
        // And back, with the other as a replica.
        b.becomes(Part::Primary);
        a.becomes(Part::Replica);
        until(&mut client, 2).await;
        eventually("nobody uses it", || a.open() == 0).await;
    });
}

#[test]
fn requests_wait_for_a_primary() {
    let (a, b) = (Server::start(1, Part::Retired), Server::start(2, Part::Replica));
    let proxy = start(replicated(&[&a, &b]));
    block_on(async {
        let mut clients = Vec::new();
        for n in 0..10 {
            let mut client = Client::connect(&proxy).await;
            clients.push(tokio::task::spawn_local(async move {
                assert_eq!(client.ask(&format!("insert {n}")).await, Ok(2));
            }));
        }
        eventually("they wait", || status(&proxy)["pending"]["used"] == 10).await;
        b.becomes(Part::Primary);
        for client in clients {
            client.await.expect("it was served");
        }
    });
    assert_eq!((a.inserted().len(), b.inserted().len()), (0, 10));
}

#[test]
fn nobody_waits_for_a_primary_for_ever() {
    let a = Server::start(1, Part::Retired);
    let mut config = replicated(&[&a]);
    config.listeners[0].routes[0].timeout = Some(millis(300));
    let proxy = start(config);
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        for _ in 0..2 {
            assert!(client.ask("insert 1").await.is_err());
        }
        a.becomes(Part::Primary);
        until(&mut client, 1).await;
    });
}

#[test]
fn a_transaction_stays_where_it_began() {
    let (a, b) = (Server::start(1, Part::Primary), Server::start(2, Part::Replica));
    let proxy = start(replicated(&[&a, &b]));
    block_on(async {
        let mut inside = Client::connect(&proxy).await;
        let mut other = Client::connect(&proxy).await;
        assert_eq!(inside.ask("begin").await, Ok(1));
        assert_eq!(inside.ask("insert 1").await, Ok(1));
        a.becomes(Part::Replica);
        b.becomes(Part::Primary);
        assert_eq!(inside.ask("insert 2").await, Err(1290));
        until(&mut other, 2).await;
        assert_eq!(inside.ask("delete from a").await, Ok(1));
        assert_eq!(inside.ask("rollback").await, Ok(1));
        assert_eq!(inside.ask("insert 3").await, Ok(2));
    });
    assert_eq!(a.inserted(), ["insert 1"]);
}

#[test]
fn a_primary_that_is_lost_is_replaced() {
    let (a, b) = (Server::start(1, Part::Primary), Server::start(2, Part::Replica));
    let proxy = start(replicated(&[&a, &b]));
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        assert_eq!(client.ask("insert 0").await, Ok(1));
        a.becomes(Part::Dead);
        assert!(client.ask("insert 1").await.is_err());
        b.becomes(Part::Primary);
        until(&mut client, 2).await;
    });
    assert_eq!((a.inserted().len(), b.inserted().len()), (1, 1));
}

#[test]
fn of_two_primaries_none_is_preferred_to_what_is_known() {
    let (a, b) = (Server::start(1, Part::Primary), Server::start(2, Part::Replica));
    let mut config = replicated(&[&a, &b]);
    config.clusters[0].topology_refresh = millis(100);
    let proxy = start(config);
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        assert_eq!(client.ask("insert 0").await, Ok(1));
        b.becomes(Part::Primary);
        let told = || {
            let status = status(&proxy);
            let why = status["topology"]["problem"].as_str();
            why.is_some_and(|why| why.contains("more than one server takes writes"))
        };
        eventually("it is told", told).await;
        assert_eq!(client.ask("insert 1").await, Ok(1));
    });
}

#[test]
fn what_certainly_reads_goes_to_a_replica() {
    let (primary, replica) = (Server::start(1, Part::Primary), Server::start(2, Part::Replica));
    let mut config = replicated(&[&primary, &replica]);
    config.clusters[0].read_from = ReadFrom::PreferReplica;
    let proxy = start(config);
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        for (text, server) in [
            ("select * from a", 2),
            ("insert a", 1),
            ("select * from a where b = 3", 2),
            ("select * from a for update", 1),
            ("/* wiremesh: route=primary */ select 1", 1),
            ("/* wiremesh: route=replica */ show tables", 2),
            ("show tables", 1),
            ("begin", 1),
            ("select * from a", 1),
            ("rollback", 1),
            ("select * from a", 2),
        ] {
            assert_eq!(client.ask(text).await, Ok(server), "{text}");
        }
    });
    assert_eq!(replica.state.waits.load(SeqCst), 0);
}

#[test]
fn a_replica_is_read_from_when_it_has_what_the_session_wrote() {
    let (primary, replica) = (Server::start(1, Part::Primary), Server::start(2, Part::Replica));
    let mut config = replicated(&[&primary, &replica]);
    config.clusters[0].read_from = ReadFrom::PreferReplica;
    let options = config.listeners[0].options.get_mut("mysql").expect("there are some");
    options.insert("causal_reads".into(), "500ms".into());
    let proxy = start(config);
    let waits = || replica.state.waits.load(SeqCst);
    block_on(async {
        let (mut one, mut other) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
        assert_eq!(one.ask("insert told").await, Ok(1));
        replica.state.late.store(true, SeqCst);
        // It is asked each time, and has not got it.
        for round in 1..3 {
            assert_eq!(one.ask("select * from a").await, Ok(1));
            assert_eq!(waits(), round);
        }
        // Who has written nothing does not mind.
        assert_eq!(other.ask("select * from a").await, Ok(2));
        replica.state.late.store(false, SeqCst);
        assert_eq!(one.ask("select * from a").await, Ok(2));
        assert_eq!(waits(), 3);
        // Once it is there it is there.
        assert_eq!(one.ask("select * from a").await, Ok(2));
        assert_eq!(waits(), 3);
    });
}
