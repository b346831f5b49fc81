//! A Redis server that answers as it is told, and a client that reads lines.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::BytesMut;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};
use wiremesh::{Limits, Peer, Protocol};
use wiremesh_redis::{Message, Progress, Redis};

use super::thread::ServerThread;

/// A server on a thread of its own. It answers `GET` with its port.
pub struct RespServer {
    pub address: SocketAddr,
    pub script: Arc<Script>,
    _thread: ServerThread,
}

/// What a server answers, and what it was asked.
#[derive(Default)]
pub struct Script {
    /// By how the command begins; the longest counts. Without an answer it is `+OK`.
    answers: Mutex<HashMap<String, String>>,
    asked: Mutex<Vec<String>>,
}

impl RespServer {
    /// One on a free port.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"))
    }

    /// One at this address.
    pub fn start_at(address: SocketAddr) -> Self {
        let script = Arc::new(Script::default());
        let thread = ServerThread::start(address, {
            let script = script.clone();
            move |listener| accept(listener, script)
        });
        let server = Self { address: thread.address, script, _thread: thread };
        server.answer("GET", &format!("+{}\r\n", server.port()));
        server
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on, commands that begin like this are answered by this.
    pub fn answer(&self, command: &str, reply: &str) {
        self.script.answers.lock().expect("not poisoned").insert(command.into(), reply.into());
    }

    /// How many commands that begin like this have come.
    pub fn count(&self, command: &str) -> usize {
        self.asked().iter().filter(|it| it.starts_with(command)).count()
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<String> {
        self.script.asked.lock().expect("not poisoned").clone()
    }

    /// Says that these serve all slots, in equal parts.
    pub fn knows(&self, primaries: &[&Self]) {
        self.knows_replica(primaries, None);
    }

    /// The same, with a replica of each.
    pub fn knows_replica(&self, primaries: &[&Self], replica: Option<&Self>) {
        let (count, mut text) = (primaries.len(), format!("*{}\r\n", primaries.len()));
        for (n, primary) in primaries.iter().enumerate() {
            let (first, last) = (16384 * n / count, 16384 * (n + 1) / count - 1);
            text += &format!("*{}\r\n:{first}\r\n:{last}\r\n", 3 + usize::from(replica.is_some()));
            for port in [Some(*primary), replica].into_iter().flatten().map(Self::port) {
                text += &format!("*3\r\n+127.0.0.1\r\n:{port}\r\n+id{port}\r\n");
            }
        }
        self.answer("CLUSTER SLOTS", &text);
        self.answer("CLUSTER", "+cluster_state:ok\r\n");
    }

    /// Says that it is a primary.
    pub fn is_primary(&self) {
        self.answer("INFO", &bulk("role:master\r\n"));
        self.answer("SET", "+OK\r\n");
    }

    /// Says that it follows another.
    pub fn follows(&self, primary: &Self) {
        let text = format!(
            "role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:{}\r\nmaster_link_status:up\r\n",
            primary.port()
        );
        self.answer("INFO", &bulk(&text));
        self.answer("SET", "-READONLY You can't write against a read only replica.\r\n");
    }
}

/// A bulk string of this text.
pub fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

async fn accept(listener: TcpListener, script: Arc<Script>) {
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        stream.set_nodelay(true).expect("nodelay");
        tokio::task::spawn_local(serve(stream, script.clone()));
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Script>) {
    let _ = stream.set_zero_linger();
    let (redis, mut input, mut state) = (Redis::default(), BytesMut::new(), Progress::default());
    loop {
        while let Some(request) = redis
            .decode(Peer::Client, &mut state, &Limits::default(), &mut input)
            .expect("the proxy sends well-formed commands")
        {
            let reply = script.reply(&request);
            if stream.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
        match tokio_util::io::read_buf(&mut stream, &mut input).await {
            Ok(n) if n > 0 => {}
            _ => return,
        }
    }
}

impl Script {
    fn reply(&self, request: &Message) -> String {
        let words = request.args().map(|arg| String::from_utf8_lossy(arg).into_owned());
        let command = words.collect::<Vec<_>>().join(" ");
        let answers = self.answers.lock().expect("not poisoned");
        let fitting = answers.iter().filter(|(begin, _)| command.starts_with(begin.as_str()));
        let reply = fitting.max_by_key(|(begin, _)| begin.len()).map(|(_, reply)| reply.clone());
        self.asked.lock().expect("not poisoned").push(command);
        reply.unwrap_or_else(|| "+OK\r\n".to_owned())
    }
}

/// A client's connection.
pub struct RespClient {
    stream: TcpStream,
    input: BytesMut,
}

impl RespClient {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        Self { stream, input: BytesMut::new() }
    }

    /// Sends a line, or several that are joined, in one write.
    pub async fn send(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await.expect("send");
    }

    /// Sends a line, and waits for the one that answers it.
    pub async fn ask(&mut self, line: &str) -> String {
        self.send(line).await;
        self.answer().await
    }

    /// Waits for a line.
    pub async fn answer(&mut self) -> String {
        loop {
            if let Some(end) = self.input.windows(2).position(|it| it == b"\r\n") {
                let line = self.input.split_to(end + 2);
                return String::from_utf8_lossy(&line).trim_end().to_owned();
            }
            let read = tokio_util::io::read_buf(&mut self.stream, &mut self.input);
            let read =
                tokio::time::timeout(super::secs(20).0, read).await.expect("an answer is lost");
            assert!(read.expect("read") > 0, "closed");
        }
    }
}
