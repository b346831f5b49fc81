//! The demo's clients: each sends requests at its pace, many at a time, and checks every answer.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::watch};
use wiremesh::{Frame, Kind, Limits, Peer, Protocol, Status, WriteBuf};
use wiremesh_bolt::{Bolt, BoltFrame, Progress, Version};

use super::{
    service::{self, Method, Reply},
    tally::Tally,
};

/// A request that has no answer after this long is lost: longer than any timeout on the way.
pub(super) const LOST: Duration = Duration::from_secs(6);

/// How many requests a connection has in flight at most.
const MAX_IN_FLIGHT: usize = 128;

/// How long a client waits before it connects again.
const RECONNECT: Duration = Duration::from_millis(200);

/// How often what is lost is looked for.
const SWEEP: Duration = Duration::from_millis(100);

/// One client, its connection, and what it waits for.
pub(super) struct Client {
    number: u32,
    proxy: SocketAddr,
    version: Version,
    /// Between two requests, on average.
    pace: Duration,
    tally: Arc<Tally>,
    rng: fastrand::Rng,
    next_id: u32,
    next_at: Instant,
    waiting: BTreeMap<u32, Waiting>,
}

struct Waiting {
    since: Instant,
    method: &'static Method,
    expected: Reply,
}

impl Client {
    /// The client of this number, which decides the version it speaks.
    pub(super) fn new(number: u32, proxy: SocketAddr, pace: Duration, tally: Arc<Tally>) -> Self {
        let mut rng = fastrand::Rng::new();
        let version = Version::ALL[number as usize % Version::ALL.len()];
        // Clients that start together are not to stay in step.
        let next_at = Instant::now() + pace.mul_f64(rng.f64());
        let waiting = BTreeMap::new();
        Self { number, proxy, version, pace, tally, rng, next_id: 1, next_at, waiting }
    }

    /// Sends until `stop` is true, then waits for the answers that are due.
    pub(super) async fn run(mut self, stop: watch::Receiver<bool>) {
        loop {
            let end = self.converse(stop.clone()).await;
            for (_, waiting) in std::mem::take(&mut self.waiting) {
                self.tally.lost.inc();
                self.tally.fault(|| match &end {
                    Ok(()) => format!("lost: {} was not answered", waiting.method.name),
                    Err(error) => {
                        format!("lost: {} with its connection: {error}", waiting.method.name)
                    }
                });
            }
            if *stop.borrow() {
                return;
            }
            tokio::time::sleep(RECONNECT).await;
        }
    }

    /// One connection, from its beginning to its end.
    async fn converse(&mut self, mut stop: watch::Receiver<bool>) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.proxy).await?;
        stream.set_nodelay(true)?;
        let (mut read, mut write) = stream.split();
        let (mut input, mut decoder) = (BytesMut::new(), Progress::default());
        let mut output = WriteBuf::default();
        loop {
            let stopped = *stop.borrow_and_update();
            if stopped && self.waiting.is_empty() {
                return Ok(());
            }
            let now = Instant::now();
            if !stopped {
                self.send_due(now, &mut output)?;
                write.write_all_buf(&mut output).await?;
            }
            let wake = if stopped || self.waiting.len() >= MAX_IN_FLIGHT {
                now + SWEEP
            } else {
                self.next_at.min(now + SWEEP)
            };
            tokio::select! {
                got = tokio_util::io::read_buf(&mut read, &mut input) => if got? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                },
                () = tokio::time::sleep_until(wake.into()) => {}
                _ = stop.changed(), if !stopped => {}
            }
            while let Some(frame) = Bolt::default()
                .decode(Peer::Upstream, &mut decoder, &Limits::default(), &mut input)
                .map_err(io::Error::other)?
            {
                self.received(&frame);
            }
            self.sweep();
        }
    }

    fn send_due(&mut self, now: Instant, output: &mut WriteBuf) -> io::Result<()> {
        // Not made up for: what could not be sent while too much was in flight.
        self.next_at = self.next_at.max(now.checked_sub(SWEEP).unwrap_or(now));
        while self.next_at <= now && self.waiting.len() < MAX_IN_FLIGHT {
            self.next_at += self.pace.mul_f64(0.5 + self.rng.f64());
            let id = self.next_id;
            self.next_id = id.wrapping_add(1);
            let method = Method::pick(&mut self.rng);
            let nonce = format!("{}-{id}-{:016x}", self.number, self.rng.u64(..));
            let note = &"n".repeat(self.rng.usize(..400));
            let question = Method::question(&nonce, note);
            let expected = method.answer(&question).ok_or(io::ErrorKind::InvalidInput)?;
            let request = service::request(self.version, id, method, &question)
                .ok_or(io::ErrorKind::InvalidInput)?;
            Bolt::default().encode(request, output);
            self.tally.sent.inc();
            self.waiting.insert(id, Waiting { since: now, method, expected });
        }
        Ok(())
    }

    fn received(&mut self, frame: &BoltFrame) {
        let tally = &self.tally;
        if frame.kind() != Kind::Response {
            return;
        }
        let Some(Waiting { since, method, expected }) = self.waiting.remove(&frame.id()) else {
            // Not one of those sent, which all have an end of their own.
            tally.sent.inc();
            tally.wrong.inc();
            return tally.fault(|| format!("wrong: an answer to nothing, id {}", frame.id()));
        };
        tally.latency.record(since.elapsed().into());
        let name = method.name;
        match frame.status() {
            status @ (Status::Ok | Status::AppError) => {
                let business_error = status == Status::AppError;
                if frame.version() != self.version
                    || frame.content() != expected.content
                    || business_error != expected.business_error
                {
                    tally.wrong.inc();
                    let text = readable(frame.content());
                    tally.fault(|| format!("wrong: {name} was answered {text}"));
                } else if business_error {
                    tally.business_errors.inc();
                } else {
                    tally.right.inc();
                }
            }
            status => {
                tally.failed.inc();
                let text = readable(frame.content());
                tally.fault(|| format!("failed: {name}: {}: {text}", status.as_str()));
            }
        }
    }

    /// Gives up what has waited too long: ids grow, so the oldest come first.
    fn sweep(&mut self) {
        while let Some(oldest) = self.waiting.first_entry()
            && oldest.get().since.elapsed() > LOST
        {
            let Waiting { method, .. } = oldest.remove();
            self.tally.lost.inc();
            self.tally.fault(|| format!("lost: {} had no answer for {LOST:?}", method.name));
        }
    }
}

/// What can be read in a content, be it text or not.
fn readable(content: &[u8]) -> String {
    let text = content.iter().copied().filter(|byte| byte.is_ascii_graphic() || *byte == b' ');
    text.map(char::from).take(200).collect()
}
