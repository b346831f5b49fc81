//! The demo's Redis clients: each has a connection for commands, one that waits in `BLPOP` and one that is subscribed, and
//! checks every answer and every message.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::watch};
use wiremesh::{Limits, Peer, Protocol};
use wiremesh_redis::{Message, Progress, Redis, resp::Value};

use super::{client::LOST, tally::Tally};

/// Requests and messages of a round, on average.
pub(super) const PER_ROUND: f64 = 3.0;

/// How long a client waits before it connects again.
const RECONNECT: Duration = Duration::from_millis(200);

/// One client. Its keys are its own, and few.
pub(super) struct Client {
    number: u32,
    proxy: SocketAddr,
    /// Between two rounds, on average.
    pace: Duration,
    tally: Arc<Tally>,
    rng: fastrand::Rng,
    /// What its counter stands at; `None`: not known.
    count: Option<i64>,
}

/// What an answer must be.
enum Want<'a> {
    Ok,
    Queued,
    Text(&'a str),
    Number(i64),
    /// Of an array, or of a message.
    All(Vec<Self>),
}

impl Want<'_> {
    fn is(&self, value: &Value<'_>) -> bool {
        match self {
            Self::Ok => *value == Value::Simple(b"OK"),
            Self::Queued => *value == Value::Simple(b"QUEUED"),
            Self::Text(text) => *value == Value::Bulk(text.as_bytes()),
            Self::Number(number) => *value == Value::Integer(*number),
            Self::All(wants) => value.as_array().is_some_and(|values| {
                wants.len() == values.len() && wants.iter().zip(values).all(|(w, v)| w.is(v))
            }),
        }
    }
}

impl Client {
    /// The client of this number, which decides the version of RESP that it speaks.
    pub(super) fn new(number: u32, proxy: SocketAddr, pace: Duration, tally: Arc<Tally>) -> Self {
        Self { number, proxy, pace, tally, rng: fastrand::Rng::new(), count: None }
    }

    /// Sends until `stop` is true.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        // Clients that start together are not to stay in step.
        tokio::time::sleep(self.pace.mul_f64(self.rng.f64())).await;
        while !*stop.borrow_and_update() {
            if let Err(error) = self.converse(&mut stop).await {
                self.count = None;
                self.tally.fault(|| format!("redis: {error}"));
                tokio::time::sleep(RECONNECT).await;
            }
        }
    }

    /// Three connections, from their beginning to their end.
    async fn converse(&mut self, stop: &mut watch::Receiver<bool>) -> io::Result<()> {
        let own = |what: &str| format!("demo:{}:{what}", self.number);
        let (value, counter, list, channel) =
            (own("value"), own("counter"), own("list"), own("channel"));
        let mut main = Line::connect(self.proxy, self.tally.clone()).await?;
        let mut blocked = Line::connect(self.proxy, self.tally.clone()).await?;
        let mut subscribed = Line::connect(self.proxy, self.tally.clone()).await?;
        if self.number % 2 == 1 {
            for line in [&mut main, &mut blocked, &mut subscribed] {
                line.send(&[&["HELLO", "3"]]).await?;
                line.skip().await?;
            }
        }
        subscribed.send(&[&["SUBSCRIBE", &channel]]).await?;
        let confirmed = [Want::Text("subscribe"), Want::Text(&channel), Want::Number(1)];
        subscribed.expect("SUBSCRIBE", Want::All(confirmed.into())).await?;
        while !*stop.borrow() {
            let round = Instant::now();
            let nonce = &format!("{}-{:016x}", self.number, self.rng.u64(..));
            match self.rng.u32(..20) {
                0..10 => {
                    main.send(&[&["SET", &value, nonce], &["GET", &value]]).await?;
                    main.expect("SET", Want::Ok).await?;
                    main.expect("GET", Want::Text(nonce)).await?;
                }
                10..14 => match self.count {
                    None => {
                        main.send(&[&["SET", &counter, "0"]]).await?;
                        main.expect("SET", Want::Ok).await?;
                        self.count = Some(0);
                    }
                    Some(count) => {
                        main.send(&[&["INCR", &counter]]).await?;
                        main.expect("INCR", Want::Number(count + 1)).await?;
                        self.count = Some(count + 1);
                    }
                },
                14..16 => {
                    let set = ["SET", &value, nonce];
                    main.send(&[&["MULTI"], &set, &["GET", &value], &["EXEC"]]).await?;
                    main.expect("MULTI", Want::Ok).await?;
                    main.expect("SET", Want::Queued).await?;
                    main.expect("GET", Want::Queued).await?;
                    main.expect("EXEC", Want::All(vec![Want::Ok, Want::Text(nonce)])).await?;
                }
                16..18 => {
                    blocked.send(&[&["BLPOP", &list, "5"]]).await?;
                    main.send(&[&["RPUSH", &list, nonce]]).await?;
                    main.expect("RPUSH", Want::Number(1)).await?;
                    let popped = vec![Want::Text(&list), Want::Text(nonce)];
                    blocked.expect("BLPOP", Want::All(popped)).await?;
                }
                _ => {
                    main.send(&[&["PUBLISH", &channel, nonce]]).await?;
                    main.expect("PUBLISH", Want::Number(1)).await?;
                    let message = ["message", &channel, nonce].map(Want::Text);
                    subscribed.expect("a message", Want::All(message.into())).await?;
                }
            }
            let pause = self.pace.mul_f64(0.5 + self.rng.f64()).saturating_sub(round.elapsed());
            let _ = tokio::time::timeout(pause, stop.wait_for(|stop| *stop)).await;
        }
        Ok(())
    }
}

/// One connection.
struct Line {
    stream: TcpStream,
    tally: Arc<Tally>,
    input: BytesMut,
    progress: Progress,
    redis: Redis,
    sent: Instant,
}

impl Line {
    async fn connect(proxy: SocketAddr, tally: Arc<Tally>) -> io::Result<Self> {
        let stream = TcpStream::connect(proxy).await?;
        stream.set_nodelay(true)?;
        let (input, progress) = (BytesMut::new(), Progress::default());
        Ok(Self { stream, tally, input, progress, redis: Redis::default(), sent: Instant::now() })
    }

    /// Sends requests in one write.
    async fn send(&mut self, requests: &[&[&str]]) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        for request in requests {
            bytes.extend_from_slice(Message::request(*request).bytes());
        }
        self.sent = Instant::now();
        self.stream.write_all(&bytes).await
    }

    async fn receive(&mut self) -> io::Result<Message> {
        loop {
            let limits = Limits::default();
            let message =
                self.redis.decode(Peer::Upstream, &mut self.progress, &limits, &mut self.input);
            if let Some(message) = message.map_err(io::Error::other)? {
                return Ok(message);
            }
            let read = tokio_util::io::read_buf(&mut self.stream, &mut self.input);
            if tokio::time::timeout(LOST, read).await?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// An answer that is not checked; an error is none.
    async fn skip(&mut self) -> io::Result<()> {
        let answer = self.receive().await?;
        if answer.is_error() { Err(io::Error::other("HELLO was refused")) } else { Ok(()) }
    }

    /// Counts and checks the next answer or message. An error: whatever comes next would be no better.
    async fn expect(&mut self, name: &str, want: Want<'_>) -> io::Result<()> {
        let tally = self.tally.clone();
        tally.sent.inc();
        let answer = match self.receive().await {
            Ok(answer) => answer,
            Err(error) => {
                tally.lost.inc();
                return Err(io::Error::other(format!("lost: {name}: {error}")));
            }
        };
        if !matches!(name, "BLPOP" | "a message") {
            tally.latency.record(self.sent.elapsed().into());
        }
        if want.is(&answer.value()) {
            tally.right.inc();
            return Ok(());
        }
        let text = answer.bytes().escape_ascii().to_string();
        Err(io::Error::other(if answer.is_error() {
            tally.failed.inc();
            format!("failed: {name}: {text}")
        } else {
            tally.wrong.inc();
            format!("wrong: {name} was answered {text}")
        }))
    }
}
