//! A server and a client of the session toy.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};
use wiremesh::{Limits, Peer, Protocol, Status, WriteBuf, framing::RawFrame};
use wiremesh_proxy::config::Config;
use wiremesh_toys::{
    server,
    session::{Desk, packet, text},
};

use super::{config, thread::ServerThread};

/// How long a test waits for an answer before it calls it lost.
const LOST: Duration = Duration::from_secs(20);

/// A proxy's configuration for the session toy, on one worker.
pub fn desk_config(upstreams: &[SocketAddr]) -> Config {
    let mut config = config(upstreams);
    config.workers = Some(1);
    config.listeners[0].protocols = vec!["desk".into()];
    config
}

/// A server that writes down what it was asked. Beyond the toy's own it knows `SLEEP ms`, `NEVER`, and `HALF`, which
/// sends a row and closes.
pub struct DeskServer {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    _thread: ServerThread,
}

/// What a server has seen.
#[derive(Default)]
pub struct Seen {
    /// Connections ever accepted.
    pub accepted: AtomicU64,
    /// Connections that are open.
    pub open: AtomicU64,
    /// What was asked, by all connections.
    pub queries: Mutex<Vec<String>>,
    /// Whether resets are left without an answer.
    pub mute_reset: AtomicBool,
}

impl DeskServer {
    /// One on a free port.
    pub fn start(password: &'static str) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), password)
    }

    /// One on this port.
    pub fn start_at(address: SocketAddr, password: &'static str) -> Self {
        let seen = Arc::new(Seen::default());
        let thread = ServerThread::start(address, {
            let seen = seen.clone();
            move |listener| accept(listener, seen, password)
        });
        Self { address: thread.address, seen, _thread: thread }
    }
}

impl Seen {
    /// Connections ever accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Connections that are open.
    pub fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    /// What was asked so far.
    pub fn queries(&self) -> Vec<String> {
        self.queries.lock().expect("not poisoned").clone()
    }

    /// How often this was asked.
    pub fn count(&self, query: &str) -> usize {
        self.queries().iter().filter(|q| *q == query).count()
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>, password: &'static str) {
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        stream.set_nodelay(true).expect("nodelay");
        seen.accepted.fetch_add(1, Relaxed);
        seen.open.fetch_add(1, Relaxed);
        let seen = seen.clone();
        tokio::task::spawn_local(async move {
            serve(stream, &seen, password).await;
            seen.open.fetch_sub(1, Relaxed);
        });
    }
}

async fn serve(mut stream: TcpStream, seen: &Seen, password: &str) {
    let _ = stream.set_zero_linger();
    let (mut desk, greeting) = server::Desk::accept(password);
    send(&mut stream, vec![greeting]).await;
    let mut input = BytesMut::new();
    loop {
        while let Some(request) = Desk::default()
            .decode(Peer::Client, &mut (), &Limits::default(), &mut input)
            .expect("the proxy sends well-formed packets")
        {
            let query = text(&request).into_owned();
            if request.bytes[0] == b'Q' {
                seen.queries.lock().expect("not poisoned").push(query.clone());
            }
            let code = if desk.in_transaction() { b'T' } else { b'I' };
            match query.split_once(' ').unwrap_or((&query, "")) {
                ("SLEEP", ms) => {
                    let ms = ms.parse().expect("a number");
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    send(&mut stream, vec![packet(code, Status::Ok, "slept")]).await;
                }
                ("NEVER", _) => {}
                ("RESET", _) if seen.mute_reset.load(Relaxed) => {}
                ("HALF", _) => return send(&mut stream, vec![packet(b'R', Status::Ok, "0")]).await,
                _ => match desk.answer(&request) {
                    Some(packets) => send(&mut stream, packets).await,
                    None => return,
                },
            }
        }
        match tokio_util::io::read_buf(&mut stream, &mut input).await {
            Ok(n) if n > 0 => {}
            _ => return,
        }
    }
}

async fn send(stream: &mut TcpStream, packets: Vec<RawFrame>) {
    let mut out = WriteBuf::default();
    packets.into_iter().for_each(|packet| Desk::default().encode(packet, &mut out));
    let _ = stream.write_all_buf(&mut out).await;
}

/// A client's connection.
pub struct DeskClient {
    stream: TcpStream,
    input: BytesMut,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub rows: usize,
    /// Whether a transaction is open.
    pub open: bool,
    pub status: Status,
    pub text: String,
}

impl DeskClient {
    /// Connects and logs in without a password.
    pub async fn connect(address: SocketAddr) -> Self {
        let (client, status) = Self::log_in(address, "").await;
        assert_eq!(status, Status::Ok);
        client
    }

    /// Connects and logs in.
    pub async fn log_in(address: SocketAddr, password: &str) -> (Self, Status) {
        let stream = TcpStream::connect(address).await.expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        let mut client = Self { stream, input: BytesMut::new() };
        let greeting = client.read().await.expect("a greeting");
        assert_eq!(greeting.bytes[0], b'G');
        client.send(packet(b'L', Status::Ok, password)).await;
        let status = client.read().await.expect("an answer to the login").status;
        (client, status)
    }

    /// Asks, and waits for the whole answer; `None`: the connection was closed.
    pub async fn ask(&mut self, query: &str) -> Option<Answer> {
        self.start(query).await;
        self.answer().await
    }

    /// Asks, and checks that the answer is this.
    pub async fn check(&mut self, query: &str, expected: &str) {
        let answer = self.ask(query).await.expect("connected");
        assert_eq!((answer.status, answer.text.as_str()), (Status::Ok, expected), "{query}");
    }

    /// Asks.
    pub async fn start(&mut self, query: &str) {
        self.send(packet(b'Q', Status::Ok, query)).await;
    }

    /// Leaves as the protocol has it.
    pub async fn quit(&mut self) {
        self.send(packet(b'X', Status::Ok, "")).await;
        assert_eq!(self.answer().await, None);
    }

    /// Waits for a whole answer.
    pub async fn answer(&mut self) -> Option<Answer> {
        let mut rows = 0;
        loop {
            let packet = self.read().await?;
            match packet.bytes[0] {
                b'R' => {
                    assert_eq!(text(&packet), rows.to_string(), "rows come in order");
                    rows += 1;
                }
                code => {
                    let (open, text) = (code == b'T', text(&packet).into_owned());
                    return Some(Answer { rows, open, status: packet.status, text });
                }
            }
        }
    }

    /// Resets the connection: the peer is not told good-bye.
    pub fn abort(self) {
        self.stream.set_zero_linger().expect("linger");
    }

    async fn send(&mut self, packet: RawFrame) {
        let mut out = WriteBuf::default();
        Desk::default().encode(packet, &mut out);
        let _ = self.stream.write_all_buf(&mut out).await;
    }

    async fn read(&mut self) -> Option<RawFrame> {
        loop {
            let packet = Desk::default()
                .decode(Peer::Upstream, &mut (), &Limits::default(), &mut self.input)
                .expect("the proxy sends well-formed packets");
            if packet.is_some() {
                return packet;
            }
            let read = tokio_util::io::read_buf(&mut self.stream, &mut self.input);
            match tokio::time::timeout(LOST, read).await.expect("an answer is lost") {
                Ok(n) if n > 0 => {}
                _ => return None,
            }
        }
    }
}
