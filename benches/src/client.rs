//! The load generator: a closed loop on one thread that checks every answer.

use std::{
    cell::{Cell, RefCell},
    fmt, io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::{
    net::TcpStream,
    task::{JoinHandle, spawn_local},
    time::{sleep, timeout},
};

use crate::{
    process,
    socket::{Chunk, Socket},
    wire::{Reply, Wire},
};

/// How long answers may take that are still owed when the load ends.
const PATIENCE: Duration = Duration::from_secs(5);
const NONCE_LEN: usize = 8;

/// A load.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where requests go.
    pub target: SocketAddr,
    /// How many connections.
    pub connections: usize,
    /// Requests in flight on each.
    pub depth: usize,
    /// Length of a body, in bytes; at least 8.
    pub body: usize,
    /// How long it runs before it is measured.
    pub warm_up: Duration,
    /// How long it is measured.
    pub duration: Duration,
    /// The process whose processor time and memory are measured.
    pub watch: Option<u32>,
}

/// What came of it. Its text is a line of `name=value`.
#[derive(Debug)]
pub struct Outcome {
    /// Requests answered while it was measured.
    pub requests: u64,
    /// How long it was measured.
    pub elapsed: Duration,
    /// Processor time of the watched process in that time.
    pub cpu: Duration,
    /// Resident memory of the watched process at the end of it, in KiB.
    pub rss_kib: u64,
    /// Nanoseconds from request to answer.
    pub latency: Histogram<u64>,
    /// Answers that belong to no request, are errors, or have another body.
    pub wrong: u64,
    /// Requests that were never answered, and connections that were never made.
    pub lost: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1e3;
        let requests = self.requests as f64;
        write!(
            f,
            "requests={} rps={:.1} p50_us={:.2} p99_us={:.2} p999_us={:.2} cpu_us={:.4} rss_kib={} wrong={} lost={}",
            self.requests,
            requests / self.elapsed.as_secs_f64(),
            micros(0.5),
            micros(0.99),
            micros(0.999),
            self.cpu.as_secs_f64() * 1e6 / requests.max(1.0),
            self.rss_kib,
            self.wrong,
            self.lost
        )
    }
}

/// What connections of the same load share.
struct Shared {
    wire: Rc<dyn Wire>,
    depth: usize,
    /// A body but for its nonce.
    body: Vec<u8>,
    chunk: Chunk,
    stop: Cell<bool>,
    answered: Cell<u64>,
    wrong: Cell<u64>,
    lost: Cell<u64>,
    latency: RefCell<Histogram<u64>>,
}

impl Shared {
    fn new(wire: Rc<dyn Wire>, depth: usize, body: usize) -> Rc<Self> {
        let body = (0..body.max(NONCE_LEN)).map(|n| (n * 31) as u8).collect();
        let latency = Histogram::new_with_bounds(100, 60_000_000_000, 3);
        Rc::new(Self {
            wire,
            depth,
            body,
            chunk: Chunk::default(),
            stop: Cell::new(false),
            answered: Cell::new(0),
            wrong: Cell::new(0),
            lost: Cell::new(0),
            latency: RefCell::new(latency.expect("bounds in order")),
        })
    }

    fn bump(count: &Cell<u64>, by: u64) {
        count.set(count.get() + by);
    }
}

/// Runs the load. Must run within a [`tokio::task::LocalSet`].
pub async fn run(wire: Rc<dyn Wire>, load: &Load) -> io::Result<Outcome> {
    let shared = Shared::new(wire, load.depth, load.body);
    let target = load.target;
    let connections: Vec<JoinHandle<()>> = (0..load.connections)
        .map(|number| {
            let shared = shared.clone();
            spawn_local(async move {
                match Connection::open(&shared, target, number).await {
                    Ok(mut connection) => {
                        (0..shared.depth).for_each(|_| connection.ask());
                        connection.run().await;
                    }
                    Err(error) => {
                        eprintln!("{target}: {error}");
                        Shared::bump(&shared.lost, 1);
                    }
                }
            })
        })
        .collect();

    sleep(load.warm_up).await;
    shared.latency.borrow_mut().reset();
    let before = (shared.answered.get(), Instant::now(), cpu(load.watch)?);
    sleep(load.duration).await;
    let (requests, elapsed) = (shared.answered.get() - before.0, before.1.elapsed());
    let cpu = cpu(load.watch)?.saturating_sub(before.2);
    let rss_kib = load.watch.map_or(Ok(0), process::rss)?;
    let latency = shared.latency.borrow().clone();
    shared.stop.set(true);

    let end = tokio::time::Instant::now() + PATIENCE;
    for connection in connections {
        let abort = connection.abort_handle();
        if tokio::time::timeout_at(end, connection).await.is_err() {
            // What it still waited for is counted when it is dropped.
            abort.abort();
        }
    }
    tokio::task::yield_now().await;
    let (wrong, lost) = (shared.wrong.get(), shared.lost.get());
    Ok(Outcome { requests, elapsed, cpu, rss_kib, latency, wrong, lost })
}

fn cpu(pid: Option<u32>) -> io::Result<Duration> {
    pid.map_or(Ok(Duration::ZERO), process::cpu_time)
}

/// What idle connections cost. Its text is a line of `name=value`.
#[derive(Debug)]
pub struct Idle {
    /// Resident memory of the watched process without connections, in KiB.
    pub before_kib: u64,
    /// With them, in KiB.
    pub after_kib: u64,
    /// As in [`Outcome`].
    pub wrong: u64,
    /// As in [`Outcome`].
    pub lost: u64,
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before_kib, after_kib, wrong, lost } = self;
        write!(f, "before_kib={before_kib} after_kib={after_kib} wrong={wrong} lost={lost}")
    }
}

/// Opens the load's connections one after another, makes one request on each, leaves them idle for the load's duration,
/// and looks at the memory of the watched process; then makes one more request on each.
pub async fn idle(wire: Rc<dyn Wire>, load: &Load) -> io::Result<Idle> {
    let pid = load.watch.ok_or_else(|| io::Error::other("no process to watch"))?;
    let shared = Shared::new(wire, 1, load.body);
    shared.stop.set(true);
    let before_kib = process::rss(pid)?;
    let mut connections = Vec::new();
    for number in 0..load.connections {
        let mut connection = Connection::open(&shared, load.target, number).await?;
        connection.ask_once().await;
        connections.push(connection);
    }
    sleep(load.duration).await;
    let after_kib = process::rss(pid)?;
    for connection in &mut connections {
        connection.ask_once().await;
    }
    drop(connections);
    Ok(Idle { before_kib, after_kib, wrong: shared.wrong.get(), lost: shared.lost.get() })
}

/// A request that waits for its answer.
struct Asked {
    nonce: u64,
    at: Instant,
}

struct Connection {
    shared: Rc<Shared>,
    socket: Socket,
    pending: Pending,
}

/// The requests of one connection.
struct Pending {
    /// By id.
    slots: Vec<Option<Asked>>,
    free: Vec<u32>,
    next_nonce: u64,
    body: Vec<u8>,
}

impl Connection {
    async fn open(shared: &Rc<Shared>, target: SocketAddr, number: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(target).await?;
        let pending = Pending {
            slots: (0..shared.depth).map(|_| None).collect(),
            free: (0..shared.depth as u32).rev().collect(),
            next_nonce: (number as u64) << 40,
            body: shared.body.clone(),
        };
        let socket = Socket::new(stream, shared.chunk.clone())?;
        Ok(Self { shared: shared.clone(), socket, pending })
    }

    /// Puts one request into the buffer.
    fn ask(&mut self) {
        self.pending.ask(&*self.shared.wire, &mut self.socket.out);
    }

    /// Makes one request and waits for its answer.
    async fn ask_once(&mut self) {
        self.ask();
        if timeout(PATIENCE, self.run()).await.is_err() {
            Shared::bump(&self.shared.lost, self.pending.abandon());
        }
    }

    /// Takes answers, and asks again for each, until told to stop and nothing is owed.
    async fn run(&mut self) {
        let Self { shared, socket, pending } = self;
        while pending.count() > 0 {
            // One reading of the clock serves all answers of a read.
            let mut now = None;
            let turned = socket
                .turn(&*shared.wire, |reply, out| {
                    let now = *now.get_or_insert_with(Instant::now);
                    match pending.answer(&shared.wire.read_reply(reply)?, now) {
                        Some(latency) => {
                            let nanos = latency.as_nanos() as u64;
                            shared.latency.borrow_mut().saturating_record(nanos);
                            Shared::bump(&shared.answered, 1);
                        }
                        None => Shared::bump(&shared.wrong, 1),
                    }
                    if !shared.stop.get() {
                        pending.fill(&*shared.wire, out);
                    }
                    Ok(())
                })
                .await;
            match turned {
                Ok(true) => {}
                Ok(false) => return eprintln!("closed with {} unanswered", pending.count()),
                Err(error) => {
                    if error.kind() == io::ErrorKind::Other {
                        Shared::bump(&shared.wrong, 1);
                    }
                    return eprintln!("{error} with {} unanswered", pending.count());
                }
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        Shared::bump(&self.shared.lost, self.pending.abandon());
    }
}

impl Pending {
    fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Gives up what is pending, and says how much it was.
    fn abandon(&mut self) -> u64 {
        let count = self.count();
        self.slots.clear();
        self.free.clear();
        count as u64
    }

    fn fill(&mut self, wire: &dyn Wire, out: &mut Vec<u8>) {
        while !self.free.is_empty() {
            self.ask(wire, out);
        }
    }

    fn ask(&mut self, wire: &dyn Wire, out: &mut Vec<u8>) {
        let Some(id) = self.free.pop() else { return };
        let nonce = self.next_nonce;
        self.next_nonce += 1;
        self.body[..NONCE_LEN].copy_from_slice(&nonce.to_le_bytes());
        wire.put_request(id, &self.body, out);
        self.slots[id as usize] = Some(Asked { nonce, at: Instant::now() });
    }

    fn oldest(&self) -> Option<u32> {
        let asked =
            (0..).zip(&self.slots).filter_map(|(id, slot)| Some((slot.as_ref()?.nonce, id)));
        asked.min().map(|(_, id)| id)
    }

    /// How long the answer took; `None` if it is wrong.
    fn answer(&mut self, reply: &Reply<'_>, now: Instant) -> Option<Duration> {
        let id = match reply.id {
            Some(id) => id,
            None => self.oldest()?,
        };
        let asked = self.slots.get_mut(id as usize)?.take()?;
        self.free.push(id);
        let (nonce, filling) = reply.body.split_first_chunk()?;
        let right = *nonce == asked.nonce.to_le_bytes() && *filling == self.body[NONCE_LEN..];
        right.then(|| now.saturating_duration_since(asked.at))
    }
}
