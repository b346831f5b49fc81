//! Embedded Redis servers, a client that reads every answer as text, and a proxy's configuration between them.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
};
use wiremesh::{Limits, Peer, Protocol};
use wiremesh_proxy::{
    config::Config,
    demo::redis::{self, Cluster, Habits},
};
use wiremesh_redis::{Message, Progress, Redis, resp::Value};

use super::{config, thread::ServerThread};

/// How long a test waits for an answer before it calls it lost.
pub const LOST: Duration = Duration::from_secs(20);

/// A proxy's configuration for Redis: one worker, so that connections can be counted.
pub fn redis_config(upstreams: &[SocketAddr]) -> Config {
    let mut config = config(upstreams);
    config.workers = Some(1);
    config.listeners[0].protocols = vec!["redis".into()];
    config.clusters[0].outlier = None;
    // All that is sent at first waits for a connection.
    config.clusters[0].max_pending = 100_000;
    config.clusters[0].keepalive = None;
    config
}

/// What a proxy asks servers about themselves.
const INQUIRY: [&str; 3] = ["COMMAND COUNT", "MODULE LIST", "COMMAND"];

/// A server on a thread of its own; dropping it closes every connection.
pub struct RedisServer {
    pub address: SocketAddr,
    pub habits: Arc<Habits>,
    _thread: ServerThread,
}

impl RedisServer {
    /// One on a free port.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"))
    }

    /// One where another one was before, say.
    pub fn start_at(address: SocketAddr) -> Self {
        let habits = Arc::new(Habits::default());
        habits.remember.store(true, Relaxed);
        let thread = ServerThread::start(address, {
            let habits = habits.clone();
            move |listener| redis::serve(listener, habits)
        });
        Self { address: thread.address, habits, _thread: thread }
    }

    /// The nodes of a cluster, each with an even part of the slots.
    pub fn cluster(nodes: usize) -> (Vec<Self>, Arc<Cluster>) {
        let servers: Vec<_> = (0..nodes).map(|_| Self::start()).collect();
        let cluster = Arc::new(Cluster::new(servers.iter().map(|s| s.address).collect()));
        for (number, server) in servers.iter().enumerate() {
            server.habits.join(cluster.clone(), number);
        }
        (servers, cluster)
    }

    /// Connections accepted so far, but for those over which the server was asked about itself.
    pub fn connections(&self) -> u64 {
        self.habits.connections.load(Relaxed) - self.count(|line| line == INQUIRY[0])
    }

    /// Connections that are open.
    pub fn open(&self) -> u64 {
        self.habits.open.load(Relaxed)
    }

    /// Requests seen so far, but for what the server was asked about itself.
    pub fn requests(&self) -> u64 {
        self.habits.requests.load(Relaxed) - self.count(|line| INQUIRY.contains(&line))
    }

    /// How many requests that begin so were seen.
    pub fn seen(&self, beginning: &str) -> usize {
        self.count(|line| line.starts_with(beginning)) as usize
    }

    fn count(&self, which: impl Fn(&str) -> bool) -> u64 {
        self.habits.log().iter().filter(|(_, line)| which(line)).count() as u64
    }
}

/// A client's connection.
pub struct RedisClient {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    input: BytesMut,
    progress: Progress,
}

impl RedisClient {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        let (read, write) = stream.into_split();
        Self { read, write, input: BytesMut::new(), progress: Progress::default() }
    }

    /// Sends requests in one write, the words of each separated by blanks.
    pub async fn send(&mut self, lines: &[impl AsRef<str>]) {
        let mut out = BytesMut::new();
        for line in lines {
            out.extend_from_slice(Message::request(line.as_ref().split(' ')).bytes());
        }
        self.send_raw(&out).await;
    }

    /// Sends bytes.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.write.write_all(bytes).await.expect("send");
    }

    /// Sends nothing more.
    pub async fn finish(&mut self) {
        self.write.shutdown().await.expect("shutdown");
    }

    /// The next answer or message as text, see [`text`]; `None`: the connection was closed.
    pub async fn next(&mut self) -> Option<String> {
        self.message().await.map(|message| text(&message.value()))
    }

    /// The next answer or message.
    pub async fn message(&mut self) -> Option<Message> {
        loop {
            let message = Redis::default()
                .decode(Peer::Upstream, &mut self.progress, &Limits::default(), &mut self.input)
                .expect("the proxy sends well-formed values");
            if message.is_some() {
                return message;
            }
            let read = tokio_util::io::read_buf(&mut self.read, &mut self.input);
            match tokio::time::timeout(LOST, read).await.expect("an answer is lost") {
                Ok(n) if n > 0 => {}
                _ => return None,
            }
        }
    }

    /// What was received beyond whole answers until the end; fails if the connection stays open.
    pub async fn rest(&mut self) -> Vec<u8> {
        loop {
            let read = tokio_util::io::read_buf(&mut self.read, &mut self.input);
            match tokio::time::timeout(LOST, read).await.expect("it is closed") {
                Ok(n) if n > 0 => {}
                _ => return self.input.to_vec(),
            }
        }
    }

    /// Sends one request and waits for one answer.
    pub async fn ask(&mut self, line: &str) -> String {
        self.send(&[line]).await;
        self.next().await.unwrap_or_else(|| panic!("closed after {line}"))
    }

    /// Sends requests in one write, and waits for as many answers.
    pub async fn ask_all(&mut self, lines: &[impl AsRef<str>]) -> Vec<String> {
        self.send(lines).await;
        let mut answers = Vec::new();
        for line in lines {
            let closed = || panic!("closed after {}", line.as_ref());
            answers.push(self.next().await.unwrap_or_else(closed));
        }
        answers
    }

    /// Sets each of these keys to `v-` and itself by one request, and gets all by another: every value has to be in its
    /// key's place. Returns the keys as they stand in a request.
    pub async fn set_all_and_get_all(&mut self, keys: &[String]) -> String {
        let pairs: Vec<_> = keys.iter().map(|key| format!("{key} v-{key}")).collect();
        assert_eq!(self.ask(&format!("MSET {}", pairs.join(" "))).await, "+OK");
        let values: Vec<_> = keys.iter().map(|key| format!("v-{key}")).collect();
        let all = keys.join(" ");
        assert_eq!(self.ask(&format!("MGET {all}")).await, format!("[{}]", values.join(" ")));
        all
    }

    /// Fails if something arrives; what would have been sent before the answer to a `PING` has come with it.
    pub async fn expect_nothing(&mut self) {
        assert_eq!(self.ask("PING").await, "+PONG");
    }
}

/// A value for people: `+OK`, `-ERR no`, `:1`, a bulk as it is, `nil`, `[a b]`, `{k=v}`, `~[a]`, `>[a b]`.
pub fn text(value: &Value<'_>) -> String {
    let utf8 = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let list = |values: &[Value<'_>]| values.iter().map(text).collect::<Vec<_>>().join(" ");
    match value {
        Value::Simple(bytes) => format!("+{}", utf8(bytes)),
        Value::Error(bytes) => format!("-{}", utf8(bytes)),
        Value::Integer(number) => format!(":{number}"),
        Value::Bulk(bytes) | Value::Verbatim(_, bytes) | Value::BigNumber(bytes) => utf8(bytes),
        Value::Null => "nil".into(),
        Value::Array(values) => format!("[{}]", list(values)),
        Value::Set(values) => format!("~[{}]", list(values)),
        Value::Push(values) => format!(">[{}]", list(values)),
        Value::Map(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| format!("{}={}", text(key), text(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(" "))
        }
        Value::Double(number) => format!(",{number}"),
        Value::Boolean(value) => format!("#{value}"),
    }
}
