//! A small server, and a client of its.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, ToSocketAddrs},
};
use wiremesh_mysql::{
    Capabilities,
    wire::{HEAD, Head, put_lenenc_int, put_packet},
};

use crate::common::thread::ServerThread;

/// How long a test waits for something before it calls it lost.
pub const LOST: Duration = Duration::from_secs(20);

const CAPS: u64 = Capabilities::PROTOCOL_41.0
    | Capabilities::SECURE_CONNECTION.0
    | Capabilities::CONNECT_WITH_DB.0
    | Capabilities::PLUGIN_AUTH.0
    | Capabilities::CONNECT_ATTRS.0
    | Capabilities::LOCAL_FILES.0;

/// A server that writes down what it was asked.
///
/// `joe` is let in after another plugin was tried, `eve` is not. Statements: `begin`, `commit`, `rows N`, `big N` (rows of 1 MiB),
/// `error N`, `load` (a file, and says how long it was), `length` (says how long the statement is), `never`, `half` (rows, and
/// closes in between), `cut` (a part of a packet, and closes), `bye` (an OK, an error that nobody asked for, and closes).
pub struct Server {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    _thread: ServerThread,
}

/// What a server has seen.
#[derive(Default)]
pub struct Seen {
    open: AtomicU64,
    said: Mutex<Vec<String>>,
}

impl Seen {
    /// Connections that are open.
    pub fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    /// What was asked, by all connections: the command's code and the beginning of what follows it.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().expect("not poisoned").clone()
    }
}

impl Server {
    /// One on a free port.
    pub fn start() -> Self {
        let seen = Arc::new(Seen::default());
        let thread = ServerThread::each({
            let seen = seen.clone();
            move |stream| {
                seen.open.fetch_add(1, Relaxed);
                let seen = seen.clone();
                async move {
                    let mut talk = Talk::new(stream);
                    // A client that is gone is no failure of the server's.
                    if log_in(&mut talk).await.is_some() {
                        serve(&mut talk, &seen).await;
                    }
                    seen.open.fetch_sub(1, Relaxed);
                }
            }
        });
        Self { address: thread.address, seen, _thread: thread }
    }
}

/// How a server greets that has these capabilities, on the connection that it knows by this number.
pub fn greeting(capabilities: u64, number: u32, plugin: &str) -> Vec<u8> {
    let caps = capabilities.to_le_bytes();
    let mut greeting = b"\x0a8.0.33\0".to_vec();
    greeting.extend(number.to_le_bytes());
    greeting.extend(b"saltsalt\0");
    greeting.extend([caps[0], caps[1], 45, 2, 0, caps[2], caps[3], 21]);
    greeting.extend([0; 10]);
    greeting.extend(b"moresaltmore\0");
    greeting.extend(plugin.bytes());
    greeting.push(0);
    greeting
}

async fn log_in(talk: &mut Talk) -> Option<()> {
    let greeting = greeting(CAPS, 7, "plugin");
    talk.send(0, &greeting).await?;
    let (seq, login) = talk.receive().await?;
    if !login[32..].starts_with(b"joe\0") {
        talk.error(seq + 1, 1045, "28000").await?;
        return None;
    }
    talk.send(seq + 1, b"\xfeother\0salt\0").await?;
    let (seq, answer) = talk.receive().await?;
    assert_eq!((seq, &answer[..]), (3, &b"hash"[..]));
    talk.ok(seq + 1, 2).await
}

async fn serve(talk: &mut Talk, seen: &Seen) -> Option<()> {
    let mut status = 2;
    loop {
        let (last, said) = talk.receive().await?;
        let seq = last.wrapping_add(1);
        let text = String::from_utf8_lossy(&said[1..]).into_owned();
        let kept: String = text.chars().take(20).collect();
        seen.said.lock().expect("not poisoned").push(format!("{} {kept}", said[0]));
        let (word, number) = text.split_once(' ').unwrap_or((&text, ""));
        let number = number.parse().unwrap_or(0);
        match (said[0], word) {
            (1, _) => return None,
            (0x19, _) => {}
            // Statement 9, without parameters and columns to tell of.
            (0x16, _) => talk.send(seq, &[0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await?,
            (3, "begin" | "commit") => {
                status = if word == "begin" { 3 } else { 2 };
                talk.ok(seq, status).await?;
            }
            (3, "rows" | "big" | "half") => {
                talk.send(seq, b"\x01").await?;
                talk.send(seq + 1, b"\x03def").await?;
                talk.send(seq + 2, &[0xfe, 0, 0, status, 0]).await?;
                let row = vec![b'r'; if word == "big" { 1 << 20 } else { 10 }];
                let mut body = BytesMut::new();
                put_lenenc_int(&mut body, row.len() as u64);
                body.extend_from_slice(&row);
                let mut seq = seq + 3;
                for _ in 0..number {
                    talk.send(seq, &body).await?;
                    seq = seq.wrapping_add(1);
                }
                if word == "half" {
                    return None;
                }
                talk.send(seq, &[0xfe, 0, 0, status, 0]).await?;
            }
            (3, "load") => {
                talk.send(seq, b"\xfbfile").await?;
                let mut len = 0;
                let seq = loop {
                    let (seq, part) = talk.receive().await?;
                    len += part.len();
                    if part.is_empty() {
                        break seq;
                    }
                };
                talk.counted(seq + 1, len, status).await?;
            }
            (3, word) if word.starts_with("length") => {
                talk.counted(seq, text.len(), status).await?;
            }
            (3, "error") => talk.error(seq, number, "42000").await?,
            (3, "never") => {}
            (3, "cut") => {
                let ok = [7, 0, 0, seq, 0, 0];
                return talk.stream.write_all(&ok).await.ok().and(None);
            }
            (3, "bye") => {
                talk.ok(seq, status).await?;
                return talk.error(0, 4031, "HY000").await.and(None);
            }
            _ => talk.ok(seq, status).await?,
        }
    }
}

/// One side of a connection.
pub struct Talk {
    stream: TcpStream,
    input: BytesMut,
}

/// What a client says that logs in as `joe` and asks for this beside the necessary.
pub fn login(more: u64) -> Vec<u8> {
    let caps = Capabilities::PROTOCOL_41.0
        | Capabilities::SECURE_CONNECTION.0
        | Capabilities::PLUGIN_AUTH.0
        | more;
    let mut login = caps.to_le_bytes()[..4].to_vec();
    login.extend([0, 0, 0, 1, 45]);
    login.extend([0; 23]);
    login.extend(b"joe\0\0mysql_native_password\0");
    login
}

impl Talk {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, input: BytesMut::new() }
    }

    /// A client that has logged in as `joe`.
    pub async fn logged_in(to: impl ToSocketAddrs, more: u64) -> Self {
        let stream = TcpStream::connect(to).await.expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        let mut talk = Self::new(stream);
        talk.receive().await.expect("a greeting");
        talk.send(1, &login(more)).await.expect("connected");
        let (seq, answer) = talk.receive().await.expect("an answer");
        assert_eq!((seq, answer[0]), (2, 0), "{answer:?}");
        talk
    }

    pub async fn send(&mut self, seq: u8, body: &[u8]) -> Option<()> {
        let mut out = BytesMut::new();
        put_packet(&mut out, seq, body);
        self.stream.write_all(&out).await.ok()
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("connected");
    }

    /// The connection, and what was received and not taken.
    pub fn into_parts(self) -> (TcpStream, BytesMut) {
        (self.stream, self.input)
    }

    /// Sends bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).await.ok()
    }

    async fn ok(&mut self, seq: u8, status: u8) -> Option<()> {
        self.send(seq, &[0, 0, 0, status, 0, 0, 0]).await
    }

    /// An OK that says a number.
    async fn counted(&mut self, seq: u8, number: usize, status: u8) -> Option<()> {
        let mut body = BytesMut::from(&[0][..]);
        put_lenenc_int(&mut body, number as u64);
        body.extend_from_slice(&[0, status, 0, 0, 0]);
        self.send(seq, &body).await
    }

    pub async fn error(&mut self, seq: u8, number: u16, state: &str) -> Option<()> {
        let mut body = vec![0xff];
        body.extend(number.to_le_bytes());
        body.extend(format!("#{state}no").bytes());
        self.send(seq, &body).await
    }

    /// The next packet, put together, and the number of its last part; `None`: the connection is closed.
    pub async fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut body = Vec::new();
        loop {
            let head = self.head().await?;
            let start = self.take(head.len.min(5)).await?;
            if start == b"\x03much"[..] {
                // Servers that are sent too much say so, and read no further.
                return self.error(head.seq + 1, 1153, "08S01").await.and(None);
            }
            body.extend_from_slice(&start);
            body.extend_from_slice(&self.take(head.len - start.len()).await?);
            if !head.is_continued() {
                return Some((head.seq, body));
            }
        }
    }

    async fn head(&mut self) -> Option<Head> {
        Head::read(&self.take(HEAD).await?)
    }

    async fn take(&mut self, len: usize) -> Option<BytesMut> {
        while self.input.len() < len {
            match self.stream.read_buf(&mut self.input).await {
                Ok(n) if n > 0 => {}
                _ => return None,
            }
        }
        Some(self.input.split_to(len))
    }
}

/// A client's connection.
pub struct Client(Talk);

/// What a command was answered by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub rows: usize,
    /// What an OK counts.
    pub affected: u8,
    pub error: Option<Refused>,
}

/// An ERR packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub seq: u8,
    pub number: u16,
    pub text: String,
}

impl Client {
    /// Connects; nothing was said yet.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        Self(Talk::new(stream))
    }

    /// Connects and logs in as `joe`, to the schema `shop`.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut client = Self::open(address).await;
        assert_eq!(client.read().await.expect("a greeting").1[0], 10);
        client.log_in("joe").await;
        assert_eq!(client.read().await.expect("another plugin").1[0], 0xfe);
        client.send(3, b"hash").await;
        assert_eq!(client.answer().await, Some(Answer::default()));
        client
    }

    /// Sends a login, of a program called `shell`.
    pub async fn log_in(&mut self, user: &str) {
        let mut body = CAPS.to_le_bytes()[..4].to_vec();
        body.extend([0, 0, 0, 1, 45]);
        body.extend([0; 23]);
        body.extend(user.bytes());
        body.extend(b"\0\x03pwdshop\0plugin\0\x13\x0cprogram_name\x05shell");
        self.send(1, &body).await;
    }

    /// Sends a packet.
    pub async fn send(&mut self, seq: u8, body: &[u8]) {
        // Whether it has arrived is seen by the answers.
        let _ = self.0.send(seq, body).await;
    }

    /// Sends a statement.
    pub async fn start(&mut self, statement: &str) {
        self.send(0, &[&[3], statement.as_bytes()].concat()).await;
    }

    /// Asks, and waits for the whole answer; `None`: the connection was closed.
    pub async fn ask(&mut self, statement: &str) -> Option<Answer> {
        self.start(statement).await;
        self.answer().await
    }

    /// Waits for a whole answer.
    pub async fn answer(&mut self) -> Option<Answer> {
        let mut answer = Answer::default();
        let mut ends = 0;
        loop {
            let (seq, body) = self.read().await?;
            match body[0] {
                0xff => {
                    let number = u16::from_le_bytes([body[1], body[2]]);
                    let text = String::from_utf8_lossy(&body[3..]).into_owned();
                    answer.error = Some(Refused { seq, number, text });
                    return Some(answer);
                }
                0 if ends == 0 => {
                    answer.affected = body[1];
                    return Some(answer);
                }
                0xfe if body.len() < 9 => ends += 1,
                _ => answer.rows += usize::from(ends == 1),
            }
            if ends == 2 {
                return Some(answer);
            }
        }
    }

    /// Waits for an error of this number, and then for the end.
    pub async fn told(&mut self, seq: u8, number: u16, text: &str) {
        let answer = self.answer().await.expect("an error");
        let error = answer.error.clone().unwrap_or_else(|| panic!("{answer:?}"));
        assert_eq!((error.seq, error.number), (seq, number), "{}", error.text);
        assert!(error.text.contains(text), "{}", error.text);
        self.closed().await;
    }

    /// Waits for the end.
    pub async fn closed(&mut self) {
        let said = self.read().await;
        assert!(said.is_none(), "{said:?}");
    }

    /// The next packet and its number; `None`: the connection was closed.
    pub async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        tokio::time::timeout(LOST, self.0.receive()).await.expect("something is lost")
    }

    /// Reads so many bytes of packets, and nothing of what they are.
    pub async fn skip(&mut self, mut len: usize) {
        while len > 0 {
            let n = self.0.input.len().min(len);
            self.0.input.advance(n);
            len -= n;
            if len > 0 {
                let read = self.0.stream.read_buf(&mut self.0.input);
                let read = tokio::time::timeout(LOST, read).await.expect("in time");
                assert!(read.expect("read") > 0);
            }
        }
    }
}
