//! A server and a client of the end-to-end toy.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use wiremesh::{Limits, Peer, Protocol, Status};
use wiremesh_proxy::config::Config;
use wiremesh_toys::end_to_end::{Call, Said, packet};

use super::{config, thread::ServerThread};

/// How long a test waits for something before it calls it lost.
const LOST: Duration = Duration::from_secs(20);

/// A proxy's configuration for the end-to-end toy, on one worker.
pub fn call_config(upstreams: &[SocketAddr]) -> Config {
    let mut config = config(upstreams);
    config.workers = Some(1);
    config.listeners[0].protocols = vec!["call".into()];
    config
}

/// A server that writes down what it was asked.
///
/// A login gets a challenge, and is answered when its parts are there. Queries: `ECHO text`, `BEGIN`, `COMMIT`, `ROWS n`,
/// `BIG n` (so many rows of 1 MiB), `UPLOAD` (says how many bytes the parts had), `LEN text` (says how many bytes),
/// `SLEEP ms`, `NEVER`, `HALF` (a row, and closes), `CUT` (half a packet, and closes), `LAST` (an answer, a bye, and
/// closes). What comes through a tunnel is sent back, and `over` when its client sends no more.
pub struct CallServer {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    _thread: ServerThread,
}

/// What a server has seen.
#[derive(Default)]
pub struct Seen {
    accepted: AtomicU64,
    open: AtomicU64,
    said: Mutex<Vec<String>>,
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

    /// What was said, by all connections: code and text, of which no more than the first bytes are kept.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().expect("not poisoned").clone()
    }

    /// How often this was said.
    pub fn count(&self, what: &str) -> usize {
        self.said().iter().filter(|said| *said == what).count()
    }
}

impl CallServer {
    /// One on a free port.
    pub fn start() -> Self {
        let seen = Arc::new(Seen::default());
        let thread = ServerThread::start("127.0.0.1:0".parse().expect("an address"), {
            let seen = seen.clone();
            move |listener| accept(listener, seen)
        });
        Self { address: thread.address, seen, _thread: thread }
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>) {
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        stream.set_nodelay(true).expect("nodelay");
        seen.accepted.fetch_add(1, Relaxed);
        seen.open.fetch_add(1, Relaxed);
        let seen = seen.clone();
        tokio::task::spawn_local(async move {
            let mut talk = Talk { stream, input: BytesMut::new() };
            // A client that is gone is no failure of the server's.
            serve(&mut talk, &seen).await;
            seen.open.fetch_sub(1, Relaxed);
        });
    }
}

async fn serve(talk: &mut Talk, seen: &Seen) -> Option<()> {
    talk.send(b'G', "welcome").await?;
    let mut idle = b'I';
    loop {
        let said = talk.receive().await?;
        let all = text(&said);
        let kept: String = all.chars().take(40).collect();
        seen.said.lock().expect("not poisoned").push(format!("{} {kept}", char::from(said.code)));
        let (word, rest) = all.split_once(' ').unwrap_or((&all, ""));
        match (said.code, word) {
            (b'L', user) => {
                talk.send(b'W', "what is the word?").await?;
                let proof = talk.parts().await?;
                if proof != format!("the word of {user}").into_bytes() {
                    talk.status(Status::Unauthenticated).await?;
                    return None;
                }
                talk.send(b'I', "").await?;
            }
            (b'X', _) => return None,
            (b'N', _) => {}
            (b'T', _) => return tunnel(talk).await,
            (_, "BEGIN" | "COMMIT") => {
                idle = if word == "BEGIN" { b'T' } else { b'I' };
                talk.send(idle, "").await?;
            }
            (_, "ROWS") => {
                for row in 0..number(rest) {
                    talk.send(b'R', &row.to_string()).await?;
                }
                talk.send(idle, "").await?;
            }
            (_, "BIG") => {
                let row = "x".repeat(1 << 20);
                for _ in 0..number(rest) {
                    talk.send(b'R', &row).await?;
                }
                talk.send(idle, "").await?;
            }
            (_, "UPLOAD") => {
                talk.send(b'W', "").await?;
                let parts = talk.parts().await?.len().to_string();
                talk.send(idle, &parts).await?;
            }
            (_, "LEN") => talk.send(idle, &rest.len().to_string()).await?,
            (_, "SLEEP") => {
                tokio::time::sleep(Duration::from_millis(number(rest))).await;
                talk.send(idle, "slept").await?;
            }
            (_, "NEVER") => {}
            (_, "HALF") => return talk.send(b'R', "0").await.and(None),
            (_, "CUT") => {
                let half = &packet(b'R', Status::Ok, b"a row").bytes[..7];
                return talk.stream.write_all(half).await.ok().and(None);
            }
            (_, "LAST") => {
                talk.send(b'I', "").await?;
                return talk.send(b'B', "I am leaving").await.and(None);
            }
            (_, "ECHO") => talk.send(idle, rest).await?,
            _ => talk.status(Status::BadRequest).await?,
        }
    }
}

async fn tunnel(talk: &mut Talk) -> Option<()> {
    let mut bytes = std::mem::take(&mut talk.input).to_vec();
    loop {
        talk.stream.write_all(&bytes).await.ok()?;
        bytes.resize(64 << 10, 0);
        let n = talk.stream.read(&mut bytes).await.ok()?;
        bytes.truncate(n);
        if n == 0 {
            return talk.stream.write_all(b"over").await.ok();
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

/// A packet's text.
pub fn text(said: &Said) -> String {
    String::from_utf8_lossy(&said.bytes[5..]).into_owned()
}

/// One side of a connection.
struct Talk {
    stream: TcpStream,
    input: BytesMut,
}

impl Talk {
    async fn send(&mut self, code: u8, text: &str) -> Option<()> {
        self.stream.write_all(&packet(code, Status::Ok, text.as_bytes()).bytes).await.ok()
    }

    async fn status(&mut self, status: Status) -> Option<()> {
        self.stream.write_all(&packet(b'I', status, b"no").bytes).await.ok()
    }

    /// The next packet; `None`: the connection is closed.
    async fn receive(&mut self) -> Option<Said> {
        loop {
            let limits = Limits { max_frame: 32 << 20, ..Limits::default() };
            let said = Call.decode(Peer::Client, &mut (), &limits, &mut self.input);
            if let Some(said) = said.expect("the proxy sends well-formed packets") {
                return Some(said);
            }
            match tokio_util::io::read_buf(&mut self.stream, &mut self.input).await {
                Ok(n) if n > 0 => {}
                _ => return None,
            }
        }
    }

    /// What the parts up to the empty one hold together.
    async fn parts(&mut self) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let said = self.receive().await?;
            assert_eq!(said.code, b'P');
            if said.bytes.len() == 5 {
                return Some(all);
            }
            all.extend_from_slice(&said.bytes[5..]);
        }
    }
}

/// A client's connection.
pub struct CallClient(Talk);

/// What a request was answered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub rows: usize,
    pub code: u8,
    pub status: Status,
    pub text: String,
}

impl CallClient {
    /// Connects; nothing has been said yet.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        Self(Talk { stream, input: BytesMut::new() })
    }

    /// Connects, waits for the greeting, and logs in.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut client = Self::open(address).await;
        let greeting = client.read().await.expect("a greeting");
        assert_eq!((greeting.code, text(&greeting)), (b'G', "welcome".to_owned()));
        client.send(b'L', "me").await;
        assert_eq!(client.read().await.expect("a challenge").code, b'W');
        client.send(b'P', "the word of me").await;
        client.send(b'P', "").await;
        assert_eq!(client.answer().await.expect("an answer").status, Status::Ok);
        client
    }

    /// Sends a packet.
    pub async fn send(&mut self, code: u8, text: &str) {
        self.send_bytes(&packet(code, Status::Ok, text.as_bytes()).bytes).await;
    }

    /// Sends bytes as they are.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        // Whether they have arrived is seen by the answers.
        let _ = self.0.stream.write_all(bytes).await;
    }

    /// Sends no more.
    pub async fn finish(&mut self) {
        self.0.stream.shutdown().await.expect("shutdown");
    }

    /// Asks, and waits for the whole answer; `None`: the connection was closed.
    pub async fn ask(&mut self, query: &str) -> Option<Answer> {
        self.send(b'Q', query).await;
        self.answer().await
    }

    /// Asks, and checks that the answer is this.
    pub async fn check(&mut self, query: &str, expected: &str) {
        let answer = self.ask(query).await.expect("connected");
        assert_eq!((answer.status, answer.text.as_str()), (Status::Ok, expected), "{query}");
    }

    /// Waits for a whole answer, or a bye.
    pub async fn answer(&mut self) -> Option<Answer> {
        let mut rows = 0;
        loop {
            let said = self.read().await?;
            match said.code {
                b'R' => rows += 1,
                code => {
                    let status = Status::ALL[usize::from(said.bytes[1])];
                    return Some(Answer { rows, code, status, text: text(&said) });
                }
            }
        }
    }

    /// Waits for a bye whose text has this in it, and then for the end.
    pub async fn bye(&mut self, flag: &str) {
        let answer = self.answer().await.expect("a bye");
        assert_eq!(answer.code, b'B', "{answer:?}");
        assert!(answer.text.contains(flag), "{}", answer.text);
        self.closed().await;
    }

    /// Waits for the end.
    pub async fn closed(&mut self) {
        let said = self.read().await;
        assert!(said.is_none(), "{said:?}");
    }

    /// The next packet; `None`: the connection was closed.
    pub async fn read(&mut self) -> Option<Said> {
        tokio::time::timeout(LOST, self.0.receive()).await.expect("something is lost")
    }

    /// All that comes until the end, of which nothing was read yet.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.0.input).to_vec();
        let read = self.0.stream.read_to_end(&mut all);
        tokio::time::timeout(LOST, read).await.expect("in time").expect("read");
        all
    }

    /// As many bytes as `bytes` has.
    pub async fn expect_bytes(&mut self, bytes: &[u8]) {
        let mut read = std::mem::take(&mut self.0.input).to_vec();
        let had = read.len();
        read.resize(bytes.len(), 0);
        let rest = self.0.stream.read_exact(&mut read[had..]);
        tokio::time::timeout(LOST, rest).await.expect("in time").expect("read");
        assert!(read == bytes, "other bytes");
    }

    /// Resets the connection.
    pub fn abort(self) {
        self.0.stream.set_zero_linger().expect("linger");
    }
}
