//! Pooled mode with copies of what is read for another cluster: what that gets, and that clients notice nothing.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
};

use wiremesh_mysql::{Command, wire::put_lenenc_bytes};
use wiremesh_proxy::{
    config::{Config, Mirror, Percent},
    server::Handle,
    telemetry::MirrorTotals,
};

use crate::{
    common::{NAME, block_on, eventually, millis, nobody, start, thread::ServerThread},
    peers::Talk,
    pooled::{Client, greet, pooled_to},
};

/// How a server answers what is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By two rows.
    Rows,
    /// By the same in another order.
    Turned,
    /// By others.
    Others,
    Error,
    /// Not at all.
    Mute,
    /// It closes the connection.
    Cut,
}

const WAYS: [Way; 6] = [Way::Rows, Way::Turned, Way::Others, Way::Error, Way::Mute, Way::Cut];

/// A server with one table. It tells of `use X`, and of transactions.
struct Server {
    thread: ServerThread,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    way: AtomicU8,
    said: Mutex<Vec<String>>,
}

impl Server {
    fn start(way: Way) -> Self {
        let state = Arc::new(State { way: AtomicU8::new(way as u8), ..State::default() });
        let thread = ServerThread::each({
            let state = state.clone();
            move |stream| {
                let state = state.clone();
                async move {
                    let mut talk = Talk::new(stream);
                    let mut status = 2;
                    // A proxy that has gone is no failure of the server's.
                    if greet(&mut talk).await.is_some() {
                        while state.serve(&mut talk, &mut status).await.is_some() {}
                    }
                }
            }
        });
        Self { thread, state }
    }

    fn becomes(&self, way: Way) {
        self.state.way.store(way as u8, SeqCst);
    }

    /// What was asked but for what sets a connection up.
    fn said(&self) -> Vec<String> {
        self.state.said.lock().expect("not poisoned").clone()
    }
}

impl State {
    async fn serve(&self, talk: &mut Talk, status: &mut u8) -> Option<()> {
        let (_, asked) = talk.receive().await?;
        let command = Command::of(asked[0]).expect("it is known");
        let text = String::from_utf8_lossy(&asked[1..]).into_owned();
        let executes = command == Command::StmtExecute;
        if command == Command::Quit {
            return None;
        }
        if !text.starts_with("SET NAMES") {
            let text = if executes { "" } else { &*text };
            self.said.lock().expect("not poisoned").push(format!("{} {text}", command.name()));
        }
        let column = b"\x03def\0\0\0\x01a\x01a\x0c\x2d\0\x04\0\0\0\xfd\0\0\0\0\0";
        if command == Command::StmtPrepare {
            talk.send(1, b"\0\x09\0\0\0\x01\0\0\0\0\0\0").await?;
            return talk.send(2, column).await;
        }
        if executes || text.starts_with("select") {
            let rows = match WAYS[usize::from(self.way.load(SeqCst))] {
                Way::Rows => ["one", "two"],
                Way::Turned => ["two", "one"],
                Way::Others => ["one", "three"],
                Way::Error => return talk.error(1, 1146, "42S02").await,
                Way::Mute => return Some(()),
                Way::Cut => return None,
            };
            let mut packets = vec![b"\x01".to_vec(), column.to_vec()];
            packets.extend(rows.map(|row| {
                let mut body = bytes::BytesMut::from(if executes { &b"\0\0"[..] } else { b"" });
                put_lenenc_bytes(&mut body, row.as_bytes());
                body.to_vec()
            }));
            packets.push(vec![0xfe, 0, 0, *status, 0, 0, 0]);
            for (seq, packet) in (1..).zip(packets) {
                talk.send(seq, &packet).await?;
            }
            return Some(());
        }
        match &*text {
            "begin" => *status = 3,
            "commit" => *status = 2,
            _ => {}
        }
        let schema = match command {
            Command::InitDb => Some(&*text),
            _ => text.strip_prefix("use "),
        };
        let mut ok = vec![0, 0, 0, *status, 0, 0, 0];
        if let Some(schema) = schema {
            let len = u8::try_from(schema.len()).expect("it is short");
            ok[4] = 0x40;
            ok.extend([0, len + 3, 1, len + 1, len]);
            ok.extend(schema.as_bytes());
        }
        talk.send(1, &ok).await
    }
}

/// What a client is told: rows, as they are in packets, or an error's number.
type Told = Result<Vec<String>, u16>;

async fn say(client: &mut Client, command: Command, body: &[u8]) -> Told {
    let talk = &mut client.0;
    talk.send(0, &[&[command as u8], body].concat()).await.expect("connected");
    let (mut rows, mut ends) = (Vec::new(), 0);
    loop {
        let (_, packet) = talk.receive().await.expect("an answer");
        match packet[0] {
            0xff => return Err(u16::from_le_bytes([packet[1], packet[2]])),
            0 if ends == 0 => return Ok(rows),
            0xfe if packet.len() < 9 => ends += 1,
            _ if ends == 1 => rows.push(String::from_utf8_lossy(&packet).into_owned()),
            _ => {}
        }
        if ends == 2 {
            return Ok(rows);
        }
    }
}

async fn ask(client: &mut Client, text: &str) -> Told {
    say(client, Command::Query, text.as_bytes()).await
}

/// What is read where all is well.
async fn reads(client: &mut Client) {
    let rows = ask(client, "select a from t").await;
    assert_eq!(rows, Ok(vec!["\x03one".to_owned(), "\x03two".to_owned()]));
}

fn mirrored(server: &Server, shadow: SocketAddr) -> Config {
    let mut config = pooled_to(&[server.thread.address], 2);
    let mut cluster = pooled_to(&[shadow], 2).clusters.remove(0);
    cluster.name = "shadow".into();
    config.clusters.push(cluster);
    let mirror =
        Mirror { cluster: "shadow".into(), percent: Percent::ALL, only: None, compare: true };
    config.listeners[0].routes[0].mirror = Some(mirror);
    config
}

/// What was counted up to now.
fn counts(proxy: &Handle) -> MirrorTotals {
    proxy.metrics().snapshot().mirror(NAME, NAME).cloned().unwrap_or_default()
}

#[test]
fn reads_are_copied_and_nothing_else() {
    let (server, shadow) = (Server::start(Way::Rows), Server::start(Way::Rows));
    let proxy = start(mirrored(&server, shadow.thread.address));
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        for text in ["insert into t values (1)", "begin"] {
            assert_eq!(ask(&mut client, text).await, Ok(vec![]));
        }
        // What is read in a transaction others may not see.
        reads(&mut client).await;
        for text in ["commit", "select connection_id()", "select a from t for update"] {
            ask(&mut client, text).await.expect("an answer");
        }
        for _ in 0..10 {
            reads(&mut client).await;
        }
        let want = MirrorTotals { answered: 10, equal: 10, ..MirrorTotals::default() };
        eventually("all are compared", || counts(&proxy) == want).await;
        assert_eq!(shadow.said(), ["COM_QUERY select a from t"; 10]);
        // A client's requests are counted, and not the copies.
        assert_eq!(proxy.metrics().snapshot().total().requests, 16);
    });
}

#[test]
fn a_copy_is_made_in_a_session_like_its_clients() {
    let (server, shadow) = (Server::start(Way::Rows), Server::start(Way::Rows));
    let proxy = start(mirrored(&server, shadow.thread.address));
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        for schema in ["one", "two"] {
            assert_eq!(ask(&mut client, &format!("use {schema}")).await, Ok(vec![]));
            reads(&mut client).await;
            eventually("it is compared", || counts(&proxy).equal == 1 + u64::from(schema == "two"))
                .await;
        }
        let mut said = shadow.said();
        said.retain(|it| !it.contains("RESET"));
        let one = ["COM_INIT_DB one", "COM_QUERY select a from t"];
        let two = ["COM_INIT_DB two", "COM_QUERY select a from t"];
        assert_eq!(said, [one, two].concat());
    });
}

#[test]
fn executions_of_prepared_statements_are_copied() {
    let (server, shadow) = (Server::start(Way::Rows), Server::start(Way::Rows));
    let proxy = start(mirrored(&server, shadow.thread.address));
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        let talk = &mut client.0;
        talk.send(0, b"\x16select a from t").await.expect("connected");
        let (_, prepared) = talk.receive().await.expect("an answer");
        let id = &prepared[1..5];
        for _ in 0..2 {
            talk.receive().await.expect("a column and an end");
        }
        let execution = [id, b"\0\x01\0\0\0"].concat();
        for _ in 0..5 {
            let rows = say(&mut client, Command::StmtExecute, &execution).await;
            assert_eq!(rows.map(|rows| rows.len()), Ok(2));
        }
        eventually("all are compared", || counts(&proxy).equal == 5).await;
        let said = shadow.said();
        let of = |name: &str| said.iter().filter(|it| it.starts_with(name)).count();
        assert_eq!(of("COM_STMT_EXECUTE"), 5);
        // Once on each connection at most.
        assert!((1..=2).contains(&of("COM_STMT_PREPARE select a")), "{said:?}");
    });
}

#[test]
fn answers_are_compared() {
    let (server, shadow) = (Server::start(Way::Rows), Server::start(Way::Rows));
    let proxy = start(mirrored(&server, shadow.thread.address));
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        let mut want = MirrorTotals::default();
        for way in [Way::Rows, Way::Turned, Way::Others, Way::Error, Way::Cut, Way::Rows] {
            shadow.becomes(way);
            reads(&mut client).await;
            match way {
                Way::Rows | Way::Turned => want.equal += 1,
                Way::Others => want.different += 1,
                _ => want.failed_to_compare += 1,
            }
            match way {
                Way::Cut => want.failed += 1,
                _ => want.answered += 1,
            }
            eventually("it is compared", || counts(&proxy) == want).await;
        }
        // The same error from both is no difference, and rows instead of one are.
        server.becomes(Way::Error);
        for (way, equal, different) in [(Way::Error, 1, 0), (Way::Rows, 0, 1)] {
            shadow.becomes(way);
            assert_eq!(ask(&mut client, "select a from t").await, Err(1146));
            want.answered += 1;
            want.equal += equal;
            want.different += different;
            eventually("it is compared", || counts(&proxy) == want).await;
        }
    });
}

#[test]
fn a_mirror_that_hangs_costs_nobody_anything() {
    let (server, shadow) = (Server::start(Way::Rows), Server::start(Way::Mute));
    let mut config = mirrored(&server, shadow.thread.address);
    config.clusters[1].max_in_flight = 6;
    config.clusters[1].max_pending = 2;
    config.listeners[0].routes[0].timeout = Some(millis(3000));
    let proxy = start(config);
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        for _ in 0..20 {
            reads(&mut client).await;
        }
        // Two were sent and not answered, two have waited for a connection in vain; for the others there was no room.
        eventually("all are given up", || {
            let MirrorTotals { failed, dropped, .. } = counts(&proxy);
            failed + dropped == 20
        })
        .await;
        let counted = counts(&proxy);
        assert!(counted.failed >= 1, "{counted:?}");
        assert_eq!(counted.failed_to_compare, counted.failed);
        assert_eq!(counted.not_compared, counted.dropped);
        // It is used again as soon as it answers.
        shadow.becomes(Way::Rows);
        let before = counts(&proxy).equal;
        reads(&mut client).await;
        eventually("it is compared", || counts(&proxy).equal == before + 1).await;
        assert_eq!(server.said().len(), 21);
    });
}

#[test]
fn a_mirror_that_is_down_costs_nobody_anything() {
    let server = Server::start(Way::Rows);
    let proxy = start(mirrored(&server, nobody()));
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        for _ in 0..20 {
            reads(&mut client).await;
        }
        let want = MirrorTotals { dropped: 20, not_compared: 20, ..MirrorTotals::default() };
        eventually("all are dropped", || counts(&proxy) == want).await;
    });
}

#[test]
fn what_was_not_answered_itself_is_not_compared() {
    let (server, shadow) = (Server::start(Way::Cut), Server::start(Way::Rows));
    let proxy = start(mirrored(&server, shadow.thread.address));
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        assert!(ask(&mut client, "select a from t").await.is_err());
        let want = MirrorTotals { answered: 1, not_compared: 1, ..MirrorTotals::default() };
        eventually("it is not compared", || counts(&proxy) == want).await;
    });
}

#[test]
fn a_share_is_copied_and_compared_where_that_is_wanted() {
    let (server, shadow) = (Server::start(Way::Rows), Server::start(Way::Others));
    let mut config = mirrored(&server, shadow.thread.address);
    let mirror = config.listeners[0].routes[0].mirror.as_mut().expect("there is one");
    (mirror.percent, mirror.compare) = (Percent(50.0), false);
    // Nothing is dropped.
    config.clusters[1].max_pending = 1000;
    let proxy = start(config);
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        for _ in 0..400 {
            reads(&mut client).await;
        }
        let sent = || shadow.said().len() as u64;
        eventually("all copies are answered", || counts(&proxy).answered == sent()).await;
        assert!((100..=300).contains(&sent()), "{}", sent());
        assert_eq!(counts(&proxy), MirrorTotals { answered: sent(), ..MirrorTotals::default() });
    });
}
