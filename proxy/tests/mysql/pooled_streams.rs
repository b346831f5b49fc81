//! Pooled mode: what is long or comes in parts, cursors, and servers that do not behave.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
};

use bytes::BytesMut;
use tokio::sync::Notify;
use wiremesh_mysql::{
    Capabilities, Command,
    wire::{Head, Reader, put_lenenc_int, put_packet},
};
use wiremesh_proxy::server::Handle;

use crate::{
    common::{
        address, block_on, eventually, millis, process::Wiremesh, secs, start, thread::ServerThread,
    },
    faults::{
        client::{Client as Steps, End, Step},
        server::Server as Full,
    },
    peers::{Talk, greeting},
    pooled::{Client, Server as Plain, TOLD, pooled, pooled_to},
};

const CAPS: u64 = Capabilities::PROTOCOL_41.0
    | Capabilities::SECURE_CONNECTION.0
    | Capabilities::PLUGIN_AUTH.0
    | Capabilities::LOCAL_FILES.0
    | Capabilities::SESSION_TRACK.0
    | Capabilities::DEPRECATE_EOF.0;

/// The longest packet's body.
const LONGEST: usize = 0xff_ffff;

/// How a server is today.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// It accepts, and says nothing.
    Mute,
    /// It greets, and does not answer the login.
    Deaf,
    /// Each byte comes by itself.
    Stammering,
}

/// What a server does to an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poke {
    Close,
    /// An error that nobody has asked for, as before it closes, but it does not.
    Error,
    /// An OK that nobody has asked for.
    Ok,
    /// No packet.
    Rubbish,
    /// The beginning of a packet.
    Half,
}

/// A server that answers everything by OK with the connection's number, but `never` not at all; to `length ...` it says how long
/// that is, to `long N` a row of N bytes, and `load ...` is a file, of which it says how long it was, or for `load bad` an error.
struct Server {
    thread: ServerThread,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    mood: AtomicU8,
    /// Connections that are open.
    open: AtomicU64,
    made: AtomicU8,
    said: Mutex<Vec<String>>,
    poke: Mutex<Option<Poke>>,
    poked: Notify,
}

impl Server {
    fn start() -> Self {
        let state = Arc::<State>::default();
        let thread = ServerThread::each({
            let state = state.clone();
            move |stream| {
                let state = state.clone();
                async move {
                    state.open.fetch_add(1, Relaxed);
                    // A proxy that has gone is no failure of the server's.
                    let _ = serve(Talk::new(stream), &state).await;
                    state.open.fetch_sub(1, Relaxed);
                }
            }
        });
        Self { thread, state }
    }

    fn is(&self, mood: Mood) {
        self.state.mood.store(mood as u8, Relaxed);
    }

    /// Has it do this to its only connection, and waits until that is gone.
    async fn poke(&self, poke: Poke) {
        *self.state.poke.lock().expect("not poisoned") = Some(poke);
        self.state.poked.notify_one();
        eventually("the connection is given up", || self.open() == 0).await;
    }

    fn open(&self) -> u64 {
        self.state.open.load(Relaxed)
    }

    fn said(&self) -> Vec<String> {
        self.state.said.lock().expect("not poisoned").clone()
    }
}

async fn serve(mut talk: Talk, state: &State) -> Option<()> {
    let mood = state.mood.load(Relaxed);
    let mut stammers = mood == Mood::Stammering as u8;
    if mood == Mood::Mute as u8 {
        return talk.receive().await.map(drop);
    }
    let greeting = greeting(CAPS, 7, "mysql_native_password");
    say(&mut talk, 0, &greeting, stammers).await?;
    let (seq, _) = talk.receive().await?;
    if mood == Mood::Deaf as u8 {
        return talk.receive().await.map(drop);
    }
    say(&mut talk, seq + 1, &[0, 0, 0, 2, 0, 0, 0], stammers).await?;
    let number = 1 + state.made.fetch_add(1, Relaxed);
    loop {
        let (last, asked) = tokio::select! {
            asked = talk.receive() => asked?,
            () = state.poked.notified() => return be_poked(talk, state).await,
        };
        let command = Command::of(asked[0]).expect("it is known");
        if command == Command::Quit {
            return None;
        }
        let text = String::from_utf8_lossy(&asked[1..asked.len().min(100)]).into_owned();
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        if word != "SET" && command == Command::Query {
            let kept: String = text.chars().take(20).collect();
            state.said.lock().expect("not poisoned").push(kept);
        }
        let seq = last.wrapping_add(1);
        match word {
            "never" => {}
            _ if text.contains("session_track") => say(&mut talk, seq, TOLD, stammers).await?,
            "stammer" => {
                stammers = true;
                say(&mut talk, seq, &[0, number, 0, 2, 0, 0, 0], true).await?;
            }
            "length" => talk.send(seq, &counted(asked.len() - 1)).await?,
            "long" => long(&mut talk, seq, rest.parse().expect("a number")).await?,
            "load" => {
                talk.send(seq, b"\xfbfile").await?;
                let mut len = 0;
                let seq = loop {
                    let (seq, part) = talk.receive().await?;
                    len += part.len();
                    if part.is_empty() {
                        break seq.wrapping_add(1);
                    }
                };
                match rest {
                    "bad" => talk.error(seq, 1261, "01000").await?,
                    _ => talk.send(seq, &counted(len)).await?,
                }
            }
            _ => say(&mut talk, seq, &[0, number, 0, 2, 0, 0, 0], stammers).await?,
        }
    }
}

async fn be_poked(mut talk: Talk, state: &State) -> Option<()> {
    let poke = state.poke.lock().expect("not poisoned").take();
    match poke.expect("something is to be done") {
        Poke::Close => {}
        Poke::Error => talk.error(0, 4031, "HY000").await?,
        Poke::Ok => talk.send(1, &[0, 99, 0, 2, 0, 0, 0]).await?,
        Poke::Rubbish => talk.write(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await?,
        Poke::Half => talk.write(&[7, 0, 0, 1, 0, 99]).await?,
    }
    if poke == Some(Poke::Close) {
        return None;
    }
    // It waits for the proxy to have enough of it.
    talk.receive().await.map(drop)
}

/// An OK that says a number.
fn counted(number: usize) -> Vec<u8> {
    let mut body = BytesMut::from(&[0][..]);
    put_lenenc_int(&mut body, number as u64);
    body.extend_from_slice(&[0, 2, 0, 0, 0]);
    body.to_vec()
}

/// A packet, and each byte of it by itself.
async fn say(talk: &mut Talk, seq: u8, body: &[u8], stammers: bool) -> Option<()> {
    if !stammers {
        return talk.send(seq, body).await;
    }
    let mut packet = BytesMut::new();
    put_packet(&mut packet, seq, body);
    for byte in packet.chunks(1) {
        talk.write(byte).await?;
        tokio::task::yield_now().await;
    }
    Some(())
}

/// A row of so many bytes, without ever having all of them.
async fn long(talk: &mut Talk, seq: u8, len: usize) -> Option<()> {
    talk.send(seq, &[1]).await?;
    talk.send(seq + 1, b"\x03def\0\0\0\x01a\0\x0c\x2d\0\0\0\0\0\xfd\0\0\0\0\0").await?;
    let mut head = BytesMut::new();
    put_lenenc_int(&mut head, len as u64);
    let (mut left, mut seq) = (head.len() + len, seq + 2);
    let letters = letters();
    let mut at = 0;
    loop {
        let part = left.min(LONGEST);
        talk.write(&Head { len: part, seq }.bytes()).await?;
        let mut done = head.len();
        talk.write(&head.split()).await?;
        while done < part {
            let chunk = &letters[at % PERIOD..][..(part - done).min(CHUNK)];
            talk.write(chunk).await?;
            (done, at) = (done + chunk.len(), at + chunk.len());
        }
        (left, seq) = (left - part, seq + 1);
        if part < LONGEST {
            return talk.send(seq, &[0xfe, 0, 0, 2, 0, 0, 0]).await;
        }
    }
}

const PERIOD: usize = 23;
const CHUNK: usize = 1 << 16;

/// What stands in a long row, again and again; a piece of it begins anywhere in the first period.
fn letters() -> Vec<u8> {
    (0..PERIOD + CHUNK).map(|at| b'a' + (at % PERIOD) as u8).collect()
}

/// What an OK counts, of the number `seq`.
async fn counts(talk: &mut Talk, seq: u8) -> u64 {
    let (came, answer) = talk.receive().await.expect("an answer");
    assert_eq!((came, answer[0]), (seq, 0), "{answer:?}");
    Reader::new(&answer[1..]).lenenc_int().expect("a number")
}

async fn ask(talk: &mut Talk, text: &str) -> u64 {
    talk.send(0, &[&[3], text.as_bytes()].concat()).await.expect("connected");
    counts(talk, 1).await
}

/// The head of a row is as long as the row says.
fn row_of(body: usize) -> usize {
    let head = |len: usize| if len < 1 << 24 { 4 } else { 9 };
    let len = body - head(body - 4);
    assert_eq!(head(len) + len, body);
    len
}

#[test]
fn what_is_longer_than_a_packet_passes_both_ways() {
    let server = Server::start();
    let mut config = pooled_to(&[server.thread.address], 1);
    config.listeners[0].routes[0].timeout = Some(secs(120));
    let proxy = start(config);
    block_on(async {
        // One less than a packet has, which needs no other; as many, which needs an empty one; and more.
        for (body, parts) in
            [(LONGEST - 1, 1), (LONGEST, 2), (LONGEST + 10, 2), (2 * LONGEST + 5, 3)]
        {
            let mut talk = Talk::logged_in(address(&proxy), Capabilities(0).0).await;
            let text = [b"\x03length ".to_vec(), vec![b'x'; body - 8]].concat();
            talk.send(0, &text).await.expect("connected");
            assert_eq!(counts(&mut talk, parts).await, body as u64 - 1);
            drop(talk);
            for eof in [true, false] {
                let more = if eof { Capabilities(0) } else { Capabilities::DEPRECATE_EOF };
                let mut talk = Talk::logged_in(address(&proxy), more.0).await;
                let len = row_of(body);
                talk.send(0, format!("\x03long {len}").as_bytes()).await.expect("connected");
                let mut seqs = Vec::new();
                for _ in 0..2 + u8::from(eof) {
                    seqs.push(talk.receive().await.expect("a head").0);
                }
                let (seq, row) = talk.receive().await.expect("a row");
                seqs.push(seq);
                let (seq, end) = talk.receive().await.expect("an end");
                seqs.push(seq);
                let first = 3 + u8::from(eof);
                let mut due: Vec<_> = (1..first).collect();
                due.extend([first + parts - 1, first + parts]);
                assert_eq!(seqs, due, "{body} bytes");
                assert_eq!(end[0], 0xfe);
                let mut row = Reader::new(&row);
                assert_eq!(row.lenenc_int(), Ok(len as u64));
                let (letters, row) = (letters(), row.rest());
                let right = |(n, chunk): (usize, &[u8])| {
                    *chunk == letters[n * CHUNK % PERIOD..][..chunk.len()]
                };
                assert!(
                    row.len() == len && row.chunks(CHUNK).enumerate().all(right),
                    "{body} bytes"
                );
            }
        }
    });
}

#[test]
fn what_is_long_takes_little_memory() {
    const LONG: usize = 64 << 20;
    let server = Server::start();
    let to = server.thread.address;
    let socket = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let at = socket.expect("a port");
    let proxy = Wiremesh::start(&format!(
        "admin: ADMIN\n\
         workers: 1\n\
         listeners:\n\
         - name: mysql\n  \
           address: {at}\n  \
           protocols: [mysql]\n  \
           options: {{ mysql: {{ mode: pooled }} }}\n  \
           users: [{{ name: joe, password: '', plugin: mysql_native_password }}]\n  \
           routes: [{{ name: all, cluster: server, timeout: 120s }}]\n\
         clusters:\n\
         - name: server\n  \
           endpoints: [\"{to}\"]\n  \
           max_connections: 1\n"
    ));
    block_on(async {
        let mut talk = Talk::logged_in(at, Capabilities(0).0).await;
        assert_eq!(ask(&mut talk, "delete from a").await, 1);
        let before = proxy.memory();
        talk.send(0, format!("\x03long {LONG}").as_bytes()).await.expect("connected");
        for _ in 0..3 {
            talk.receive().await.expect("a head");
        }
        assert_eq!(talk.receive().await.expect("a row").1.len(), LONG + 9);
        talk.receive().await.expect("an end");
        let text = [b"\x03delete from b".to_vec(), vec![b' '; LONG]].concat();
        talk.send(0, &text).await.expect("connected");
        let parts = u8::try_from(text.len() / LONGEST).expect("they are few");
        assert_eq!(counts(&mut talk, parts + 1).await, 1);
        let grown = (proxy.memory() - before) >> 20;
        println!("RSS grew by {grown} MiB with {} MiB each way", LONG >> 20);
        assert!(grown < 32, "RSS grew by {grown} MiB");
    });
}

#[test]
fn the_rest_of_what_was_refused_is_dropped() {
    let server = Plain::start();
    let mut config = pooled(&server, 1);
    config.clusters[0].pending_timeout = millis(200);
    let proxy = start(config);
    block_on(async {
        let (mut one, mut other) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
        assert_eq!(one.ask("begin").await, Ok(1));
        for parts in [&[3 << 20][..], &[LONGEST, 100_000], &[LONGEST, 0]] {
            for (seq, len) in (0..).zip(parts) {
                let head = Head { len: *len, seq }.bytes();
                let body = [b"\x03delete from a".to_vec(), vec![b' '; *len]].concat();
                let (first, rest) = body[..*len].split_at(*len.min(&(2 << 20)));
                other.0.write(&[&head[..], first].concat()).await.expect("connected");
                if seq == 0 {
                    // It is told while the rest is still to come.
                    let (seq, answer) = other.0.receive().await.expect("an answer");
                    assert_eq!((seq, &answer[..3]), (1, &b"\xff\xb3\x04"[..]));
                }
                other.0.write(rest).await.expect("connected");
            }
            assert_eq!(other.command(Command::Ping, "").await, Err(1203));
        }
        assert_eq!(one.ask("commit").await, Ok(1));
        assert_eq!(other.ask("delete from b").await, Ok(1));
    });
    let said = ["1 COM_QUERY begin", "1 COM_QUERY commit", "1 COM_QUERY delete from b"];
    assert_eq!(server.said(), said);
}

#[test]
fn files_pass_in_any_number_of_packets() {
    let server = Server::start();
    let proxy = start(pooled_to(&[server.thread.address], 1));
    let load = async |text: &str, parts: &[usize]| {
        let mut talk = Talk::logged_in(address(&proxy), Capabilities::LOCAL_FILES.0).await;
        talk.send(0, &[b"\x03load ", text.as_bytes()].concat()).await.expect("connected");
        assert_eq!(talk.receive().await, Some((1, b"\xfbfile".to_vec())));
        let mut seq = 2;
        for part in parts {
            talk.send(seq, &vec![b'f'; *part]).await.expect("connected");
            seq += 1 + (part / LONGEST) as u8;
        }
        (talk, seq)
    };
    block_on(async {
        for parts in [&[5][..], &[100_000, 1, 70_000, 3], &[LONGEST, 5], &[2 << 20; 10], &[]] {
            let (mut talk, seq) = load("it", parts).await;
            talk.send(seq, b"").await.expect("connected");
            assert_eq!(counts(&mut talk, seq + 1).await, parts.iter().sum::<usize>() as u64);
            assert_eq!(ask(&mut talk, "delete from a").await, 1);
        }
        // An error comes when all was sent, and is for this client.
        let (mut talk, seq) = load("bad", &[100_000, 1, 70_000]).await;
        talk.send(seq, b"").await.expect("connected");
        let (came, answer) = talk.receive().await.expect("an answer");
        assert_eq!((came, &answer[..3]), (seq + 1, &b"\xff\xed\x04"[..]));
        assert_eq!(ask(&mut talk, "delete from b").await, 1);
        // Half a file is none: the server is not told that it has ended.
        let (talk, _) = load("half", &[100_000]).await;
        drop(talk);
        eventually("the server has lost it", || server.open() == 0).await;
        let mut talk = Talk::logged_in(address(&proxy), Capabilities::LOCAL_FILES.0).await;
        assert_eq!(ask(&mut talk, "delete from c").await, 2);
    });
}

#[test]
fn a_cursor_holds_the_connection_until_its_end() {
    use Step::{Close, Execute, Fetch, Query, ResetStatement};
    const PREPARE: Step = Step::Command(Command::StmtPrepare, "select rows from one");
    const OTHER: Step = Query("update witness set a = 1");
    // The last step of each lets go; three rows there are.
    let ends: [(&str, &[Step]); 5] = [
        ("the last row", &[Fetch(2), Fetch(2)]),
        ("reset", &[Fetch(1), ResetStatement]),
        ("closed", &[Fetch(1), Close]),
        ("executed without one", &[Fetch(1), Execute(0)]),
        ("reset by all", &[Fetch(1), Step::Command(Command::ResetConnection, "")]),
    ];
    for (name, steps) in ends {
        let server = Full::start();
        let proxy = start(pooled_to(&[server.thread.address], 1));
        block_on(async {
            let (mut one, other) =
                (Steps::connect(&proxy, false).await, Steps::connect(&proxy, false).await);
            assert!(matches!(one.step(&PREPARE, None).await, End::Answered(_)), "{name}");
            assert!(matches!(one.step(&Execute(1), None).await, End::Answered(_)), "{name}");
            let waits = waiting(other, OTHER);
            let (last, before) = steps.split_last().expect("there are some");
            for step in before {
                assert!(matches!(one.step(step, None).await, End::Answered(_)), "{name}: {step:?}");
                assert!(!waits.is_finished(), "{name}: {step:?}");
            }
            assert!(matches!(one.step(last, None).await, End::Answered(_)), "{name}: {last:?}");
            let answer = waits.await.expect("it was served");
            assert!(matches!(answer, End::Answered(_)), "{name}: {answer:?}");
        });
        assert_eq!(server.wire.open(), 1, "{name}");
    }
}

fn waiting(mut client: Steps, step: Step) -> tokio::task::JoinHandle<End> {
    tokio::task::spawn_local(async move { client.step(&step, None).await })
}

#[test]
fn servers_that_say_nothing_are_not_waited_for() {
    let server = Server::start();
    let mut config = pooled_to(&[server.thread.address], 1);
    config.clusters[0].connect_timeout = millis(300);
    config.listeners[0].routes[0].timeout = Some(secs(2));
    let proxy = start(config);
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        for mood in [Mood::Mute, Mood::Deaf] {
            server.is(mood);
            assert_eq!(client.ask("delete from a").await, Err(3168));
            eventually("it is given up", || server.open() == 0).await;
        }
        server.is(Mood::Well);
        assert_eq!(client.ask("delete from b").await, Ok(1));
        assert_eq!(client.ask("never").await, Err(3024));
        eventually("it is given up", || server.open() == 0).await;
        assert!(matches!(client.ask("delete from c").await, Ok(2..)));
    });
    assert_eq!(server.said(), ["delete from b", "never", "delete from c"]);
}

#[test]
fn servers_may_say_byte_for_byte() {
    let server = Server::start();
    server.is(Mood::Stammering);
    let proxy = start(pooled_to(&[server.thread.address], 1));
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        assert_eq!(client.ask("delete from a").await, Ok(1));
        assert_eq!(client.command(Command::Ping, "").await, Ok(1));
    });
}

#[test]
fn nobody_notices_what_becomes_of_an_idle_connection() {
    let server = Server::start();
    let proxy: Handle = start(pooled_to(&[server.thread.address], 1));
    block_on(async {
        let mut client = Client::connect(&proxy).await;
        assert_eq!(client.ask("delete from a").await, Ok(1));
        let pokes = [Poke::Close, Poke::Error, Poke::Ok, Poke::Rubbish, Poke::Half];
        for (poke, number) in pokes.into_iter().zip(2..) {
            server.poke(poke).await;
            assert_eq!(client.ask("delete from b").await, Ok(number), "{poke:?}");
        }
    });
}
