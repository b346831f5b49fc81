//! A server and a client of the in-order toy.

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
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
};
use wiremesh::{Kind, Limits, Peer, Protocol, WriteBuf};
use wiremesh_proxy::config::{Balance, Config};
use wiremesh_toys::{
    inorder::{Kv, Line},
    server::Store,
};

use super::{config, thread::ServerThread};

/// How long a test waits for a line before it calls it lost.
const LOST: Duration = Duration::from_secs(20);

/// A proxy's configuration for the in-order toy; a key's endpoint is decided by the key.
pub fn kv_config(upstreams: &[SocketAddr]) -> Config {
    let mut config = config(upstreams);
    config.listeners[0].protocols = vec!["kv".into()];
    config.clusters[0].balance = Balance::RingHash;
    config.clusters[0].outlier = None;
    config
}

/// A server that holds these keys and values.
pub struct KvServer {
    pub address: SocketAddr,
    pub habits: Arc<Habits>,
    _thread: ServerThread,
}

/// What a server does, and has seen.
#[derive(Default)]
pub struct Habits {
    /// Every answer is held back by up to this many milliseconds.
    pub delay: AtomicU64,
    /// Nothing is answered.
    pub mute: AtomicBool,
    /// The connection is closed after one item of a `SCAN`.
    pub half: AtomicBool,
    /// Requests seen.
    pub requests: AtomicU64,
    pub store: Mutex<Store>,
}

impl KvServer {
    /// One that holds the keys `k0` to `k99`, each with its number as value.
    pub fn start() -> Self {
        let values = (0..100).map(|n| (format!("k{n}"), n.to_string())).collect();
        let habits = Arc::new(Habits {
            store: Mutex::new(Store { values, log: vec![] }),
            ..Habits::default()
        });
        let thread = ServerThread::start("127.0.0.1:0".parse().expect("an address"), {
            let habits = habits.clone();
            move |listener| accept(listener, habits)
        });
        Self { address: thread.address, habits, _thread: thread }
    }

    /// Requests seen so far.
    pub fn requests(&self) -> u64 {
        self.habits.requests.load(Relaxed)
    }

    /// What was logged so far.
    pub fn log(&self) -> Vec<String> {
        self.habits.store.lock().expect("not poisoned").log.clone()
    }
}

async fn accept(listener: TcpListener, habits: Arc<Habits>) {
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        stream.set_nodelay(true).expect("nodelay");
        tokio::task::spawn_local(serve(stream, habits.clone()));
    }
}

async fn serve(mut stream: TcpStream, habits: Arc<Habits>) {
    let _ = stream.set_zero_linger();
    let (mut input, mut state) = (BytesMut::new(), 0);
    loop {
        while let Some(line) = Kv
            .decode(Peer::Client, &mut state, &Limits::default(), &mut input)
            .expect("the proxy sends well-formed lines")
        {
            habits.requests.fetch_add(1, Relaxed);
            let mut lines = habits.store.lock().expect("not poisoned").answer(&line);
            if habits.mute.load(Relaxed) {
                continue;
            }
            let delay = habits.delay.load(Relaxed);
            if delay > 0 {
                tokio::time::sleep(Duration::from_millis(fastrand::u64(..=delay))).await;
            }
            let half = habits.half.load(Relaxed) && lines.len() > 1;
            if half {
                lines.truncate(1);
            }
            let mut out = WriteBuf::default();
            lines.into_iter().for_each(|line| Kv.encode(line, &mut out));
            if stream.write_all_buf(&mut out).await.is_err() {
                return;
            }
            if half {
                let _ = stream.shutdown().await;
                return;
            }
        }
        match tokio_util::io::read_buf(&mut stream, &mut input).await {
            Ok(n) if n > 0 => {}
            _ => return,
        }
    }
}

/// A client's connection.
pub struct KvClient {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    input: BytesMut,
    state: usize,
}

impl KvClient {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        let (read, write) = stream.into_split();
        Self { read, write, input: BytesMut::new(), state: 0 }
    }

    /// Sends lines.
    pub async fn send(&mut self, lines: &[impl AsRef<str>]) {
        let mut out = WriteBuf::default();
        for line in lines {
            Kv.encode(Line::new(Kind::Request, line.as_ref()), &mut out);
        }
        self.write.write_all_buf(&mut out).await.expect("send");
    }

    /// Sends nothing more.
    pub async fn finish(&mut self) {
        self.write.shutdown().await.expect("shutdown");
    }

    /// The next line, without its end; `None`: the connection was closed.
    pub async fn line(&mut self) -> Option<String> {
        loop {
            let line = Kv
                .decode(Peer::Upstream, &mut self.state, &Limits::default(), &mut self.input)
                .expect("the proxy sends well-formed lines");
            if let Some(line) = line {
                return Some(line.words().collect::<Vec<_>>().join(" "));
            }
            let read = tokio_util::io::read_buf(&mut self.read, &mut self.input);
            match tokio::time::timeout(LOST, read).await.expect("a line is lost") {
                Ok(n) if n > 0 => {}
                _ => return None,
            }
        }
    }

    /// Sends one line and waits for one.
    pub async fn ask(&mut self, line: &str) -> Option<String> {
        self.send(&[line]).await;
        self.line().await
    }
}
