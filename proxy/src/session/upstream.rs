//! One upstream connection, and what it is for at a time.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use tokio::{io::AsyncWrite, time::timeout_at};
use wiremesh::{
    Failure, Reason, WriteBuf,
    correlation::{Departure, SessionMachine, Sessioned},
};

use super::{
    Sessions,
    client::Client,
    driver::{Ended, UpstreamTask},
    pool::Pool,
};
use crate::{
    cluster::{LocalEndpoint, Shared},
    net::{ConnectError, Dial, Stream, tls},
    telemetry::EndpointSeries,
    worker::{OWED_HIGH, OWED_LOW},
};

/// How often it is tried to get one of the cluster's `max_connections` where they are all taken.
const STARVING_TICK: Duration = Duration::from_millis(10);

/// One upstream connection, as its pool and its client see it.
pub struct Upstream<P: Sessioned> {
    pub pool: Rc<Pool<P>>,
    /// Its number in the pool.
    pub number: usize,
    pub endpoint: Rc<LocalEndpoint>,
    pub series: Arc<EndpointSeries>,
    pub role: RefCell<Role<P>>,
    /// What is known of it, while no machine has that.
    pub place: RefCell<P::Place>,
    /// Since when it has had that role.
    pub since: Cell<Instant>,
    /// `None` before there is one.
    pub stream: RefCell<Option<Stream>>,
    out: RefCell<WriteBuf>,
    /// What is to be sent under TLS, which begins when `out` is written.
    behind: RefCell<Option<WriteBuf>>,
    pub waker: RefCell<Option<Waker>>,
    /// Set when the timer may have to be earlier than it is.
    pub rearm: Cell<bool>,
    /// Nothing more will be sent: the upstream is told when all is written.
    finishing: Cell<bool>,
    /// Is not to be lent again.
    retiring: Cell<bool>,
    /// The client that it is made for, if that was told to the endpoint.
    pub claimed: Cell<Option<u64>>,
    /// The number by which the upstream knows it, if it has told.
    pub known_as: Cell<Option<u64>>,
    /// Whether it was established.
    opened: Cell<bool>,
    /// Bytes ever appended to `out`, and ever written to the socket.
    appended: Cell<u64>,
    written: Cell<u64>,
}

/// What a connection is for at a time.
pub enum Role<P: Sessioned> {
    /// It is being made, its handshake included.
    Opening,
    /// Nobody has it.
    Clean,
    /// This client has it.
    Lent(Rc<Client<P>>),
    /// Nobody may have it before its reset is answered; the machine knows when that is.
    Resetting(P::Machine),
    /// It is closed, or about to be.
    Gone,
}

impl<P: Sessioned> Upstream<P> {
    pub fn new(
        pool: Rc<Pool<P>>,
        number: usize,
        endpoint: Rc<LocalEndpoint>,
        series: Arc<EndpointSeries>,
        now: Instant,
    ) -> Self {
        endpoint.session_started();
        Self {
            pool,
            number,
            endpoint,
            series,
            role: RefCell::new(Role::Opening),
            place: RefCell::default(),
            since: Cell::new(now),
            stream: RefCell::default(),
            out: RefCell::default(),
            behind: RefCell::default(),
            waker: RefCell::default(),
            rearm: Cell::new(false),
            finishing: Cell::new(false),
            retiring: Cell::new(false),
            claimed: Cell::new(None),
            known_as: Cell::new(None),
            opened: Cell::new(false),
            appended: Cell::new(0),
            written: Cell::new(0),
        }
    }

    /// Nobody has it any more, or yet.
    pub fn clean(&self, now: Instant) {
        self.since.set(now);
        if let Role::Resetting(mut machine) = self.role.replace(Role::Clean) {
            self.place.replace(machine.detach());
        }
    }

    /// It is this client's now.
    pub fn lend(self: &Rc<Self>, client: &Rc<Client<P>>, now: Instant) {
        self.since.set(now);
        self.role.replace(Role::Lent(client.clone()));
        let mut session = client.session.borrow_mut();
        session.machine.attach(self.place.take());
        session.upstream = Some(self.clone());
    }

    /// Sends what makes it as good as new.
    pub fn reset(&self, sessions: &Sessions<P>, reset: P::Frame, now: Instant) {
        let mut machine = sessions.protocol.machine();
        machine.attach(self.place.take());
        machine.on_request(&sessions.protocol, &reset);
        self.since.set(now);
        self.role.replace(Role::Resetting(machine));
        self.rearm.set(true);
        self.append(sessions, reset);
    }

    /// Ends it; `None` if it has ended already. Answers what it was for.
    pub fn end(&self) -> Option<Role<P>> {
        let role = self.role.replace(Role::Gone);
        self.rearm.set(true);
        self.wake();
        if matches!(role, Role::Gone) {
            return None;
        }
        self.endpoint.session_ended();
        Some(role)
    }

    /// Ends it with nothing in progress: the upstream is told, where the protocol has a word for that and the socket takes it
    /// at once. Nothing is waited for.
    pub fn say_goodbye(&self, sessions: &Sessions<P>) -> Option<Role<P>> {
        let established = !matches!(*self.role.borrow(), Role::Opening | Role::Gone);
        // Without a handshake of the proxy's own the two ends say themselves what there is to say.
        if established
            && !sessions.end_to_end
            && let Some(goodbye) = sessions.protocol.goodbye()
        {
            self.append(sessions, goodbye);
        }
        self.end()
    }

    /// Ends it when all that was appended is written.
    pub fn end_written(&self, now: Instant) {
        self.since.set(now);
        self.finishing.set(true);
        self.end();
    }

    /// Says that nothing more will be sent, when all is written.
    pub fn finish(&self) {
        if !self.finishing.replace(true) {
            self.wake();
        }
    }

    /// Whether nothing more will be sent.
    pub fn is_finishing(&self) -> bool {
        self.finishing.get()
    }

    pub fn is_clean(&self) -> bool {
        matches!(*self.role.borrow(), Role::Clean)
    }

    /// The client that has it.
    pub fn client(&self) -> Option<Rc<Client<P>>> {
        match &*self.role.borrow() {
            Role::Lent(client) => Some(client.clone()),
            _ => None,
        }
    }

    /// Is not to be lent again after this.
    pub fn retire(&self) {
        self.retiring.set(true);
    }

    pub fn is_retiring(&self) -> bool {
        self.retiring.get()
    }

    /// Whether there was a connection, if no more than that.
    pub fn was_opened(&self) -> bool {
        self.opened.get()
    }

    /// Whether too much waits to be written; its client is told when that is over.
    pub fn is_clogged(&self) -> bool {
        self.out.borrow().len() > OWED_HIGH
    }

    /// Whether the upstream may have read all up to this count of bytes.
    pub fn has_written(&self, end: u64) -> bool {
        self.written.get() >= end
    }

    /// What its handshake must know.
    pub fn departure(&self) -> Departure {
        let private = self.stream.borrow().as_ref().is_some_and(Stream::is_private);
        Departure {
            random: tls::random(),
            tls: P::STARTS_TLS && self.pool.cluster.shared().has_tls(),
            private,
        }
    }

    /// Sends what asks for TLS; what is sent after it goes under TLS.
    pub fn start_tls(&self, sessions: &Sessions<P>, ask: Option<P::Frame>) {
        if let Some(ask) = ask {
            self.append(sessions, ask);
        }
        self.behind.replace(Some(WriteBuf::default()));
        self.wake();
    }

    /// Whether TLS is to begin as soon as all is written.
    pub fn is_securing(&self) -> bool {
        self.behind.borrow().is_some()
    }

    /// Has TLS begin, within the cluster's `connect_timeout`.
    pub async fn secure(&self) -> Result<(), Ended> {
        let cluster = self.pool.cluster.shared();
        let timeout: Duration = cluster.config().connect_timeout.into();
        let stream = self.stream.borrow_mut().take();
        let (Some(stream), Some(tls)) = (stream, cluster.dial(self.endpoint.address()).tls) else {
            return Err((Reason::UpstreamReset, "the cluster has no TLS any more".into()));
        };
        let why = match tokio::time::timeout(timeout, stream.start_tls(tls)).await {
            Ok(Ok(stream)) => {
                *self.stream.borrow_mut() = Some(stream);
                let behind = self.behind.take().unwrap_or_default();
                self.out.replace(behind);
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no TLS handshake within {timeout:?}"),
        };
        self.series.tls_failures.inc();
        Err((Reason::UpstreamReset, why))
    }

    /// Appends a frame, and writes what the socket takes at once: for that its task need not be woken. Answers the
    /// count of bytes at its end.
    pub fn append(&self, sessions: &Sessions<P>, frame: P::Frame) -> u64 {
        if let Some(behind) = &mut *self.behind.borrow_mut() {
            let before = behind.len();
            sessions.protocol.encode(frame, behind);
            self.appended.set(self.appended.get() + (behind.len() - before) as u64);
            return self.appended.get();
        }
        let mut out = self.out.borrow_mut();
        sessions.worker.buffers.to_upstreams.lend(&mut out);
        let before = out.len();
        sessions.protocol.encode(frame, &mut out);
        self.appended.set(self.appended.get() + (out.len() - before) as u64);
        drop(out);
        let written = self.poll_write(sessions, &mut Context::from_waker(Waker::noop()));
        if !matches!(written, Poll::Ready(Ok(()))) {
            // It waits for the socket, or finds out what is wrong with it.
            self.wake();
        }
        self.appended.get()
    }

    /// Writes what the socket takes.
    pub fn poll_write(&self, sessions: &Sessions<P>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = self.stream.borrow_mut();
        let Some(stream) = &mut *stream else { return Poll::Pending };
        let mut out = self.out.borrow_mut();
        while !out.is_empty() {
            match ready!(stream.poll_write_out(cx, &mut out))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.wrote(n, out.len()),
            }
        }
        sessions.worker.buffers.to_upstreams.reclaim(&mut out);
        Pin::new(stream).poll_flush(cx)
    }

    /// Counts bytes that were written, of which `left` remain.
    fn wrote(&self, count: usize, left: usize) {
        self.written.set(self.written.get() + count as u64);
        self.series.bytes_sent.add(count as u64);
        if left <= OWED_LOW
            && let Role::Lent(client) = &*self.role.borrow()
        {
            client.unclog();
        }
    }

    /// Has the driver look again.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Connects, then serves until the connection is over.
    pub async fn run(self: Rc<Self>, sessions: Rc<Sessions<P>>) {
        let mut ending = Ending { upstream: self.clone(), sessions: sessions.clone(), why: None };
        let opened = self.open(&sessions).await;
        sessions.worker.tick();
        ending.why = match opened {
            Ok((stream, _permit)) => {
                self.series.connections_opened.inc();
                self.opened.set(true);
                *self.stream.borrow_mut() = Some(stream);
                Some(UpstreamTask::new(sessions, self).serve().await)
            }
            Err(ended) => Some(ended),
        };
    }

    async fn open(&self, sessions: &Sessions<P>) -> Result<(Stream, Permit), Ended> {
        let cluster = self.pool.cluster.shared();
        let timeout: Duration = cluster.config().connect_timeout.into();
        let begun = tokio::time::Instant::now();
        // Who waits has a deadline. End to end that is for the connection, too.
        let waits = || match sessions.end_to_end {
            true => begun.elapsed() < timeout,
            false => self.pool.book.borrow().waiting() > 0,
        };
        let Some(permit) = Permit::acquire(cluster, waits).await else {
            let why = format!("cluster {} has all the connections it may have", cluster.name());
            return Err((Reason::Overloaded, why));
        };
        let now = tokio::time::Instant::now();
        self.since.set(now.into());
        let end = (if sessions.end_to_end { begun } else { now }) + timeout;
        let mut dial = cluster.dial(self.endpoint.address());
        dial.tls = dial.tls.filter(|_| !P::STARTS_TLS);
        match timeout_at(end, self.connect(sessions, dial)).await {
            Ok(Ok(Some(stream))) => Ok((stream, permit)),
            // That is no fault of the endpoint's.
            Ok(Ok(None)) => Err((Reason::Overloaded, "nobody waits for it any more".into())),
            Ok(Err(error)) => {
                error.count(&self.series);
                Err((Reason::ConnectFailed, error.to_string()))
            }
            Err(_) => Err((Reason::ConnectFailed, format!("no connection within {timeout:?}"))),
        }
    }

    /// Connects. Where the endpoint is told for whom that is, it is for nobody else from then on; `None`: for nobody.
    async fn connect(
        &self,
        sessions: &Sessions<P>,
        dial: Dial,
    ) -> Result<Option<Stream>, ConnectError> {
        if !sessions.end_to_end || dial.introduction.is_none() {
            return Stream::connect(dial).await.map(Some);
        }
        let stream = Stream::open(&dial.address).await?;
        let claimed = self.pool.book.borrow_mut().claim(self.number);
        let Some(client) = claimed.and_then(|id| sessions.client(id)) else { return Ok(None) };
        self.claimed.set(claimed);
        stream.begin(dial.with_client(client.addresses())).await.map(Some)
    }

    /// The connection is over: whoever counts on it is told.
    fn over(&self, sessions: &Rc<Sessions<P>>, (reason, why): Ended) {
        self.stream.take();
        if self.opened.get() {
            self.series.connections_closed.inc();
        }
        let failure = |reason| Failure::new(reason, format!("{}: {why}", self.endpoint.label()));
        match self.end() {
            None => {}
            Some(Role::Opening) => {
                let endpoint = self.endpoint.label();
                // While it cannot be connected to it is tried again and again.
                if self.pool.has_failed(&self.endpoint) {
                    tracing::debug!(%endpoint, %why, "connect failed again");
                } else {
                    tracing::info!(%endpoint, %why, "connect failed");
                }
                match reason {
                    Reason::Overloaded => sessions.not_opened(self, &Failure::new(reason, why)),
                    _ => sessions.connect_failed(self, &failure(Reason::ConnectFailed)),
                }
            }
            Some(role) => {
                if self.pool.cluster.is_learnt() {
                    // Its server may be gone.
                    self.pool.cluster.shared().stale();
                }
                sessions.lost(self);
                if let Role::Lent(client) = role {
                    sessions.upstream_lost(&client, self, &failure(reason));
                }
            }
        }
    }
}

/// Gives a connection up properly however its task ends: a panic in a protocol's code costs that connection, and does not
/// leave its client without an answer.
struct Ending<P: Sessioned> {
    upstream: Rc<Upstream<P>>,
    sessions: Rc<Sessions<P>>,
    /// `None`: it did not come to its end.
    why: Option<Ended>,
}

impl<P: Sessioned> Drop for Ending<P> {
    fn drop(&mut self) {
        let broken = || (Reason::BadReply, "the proxy failed on this connection".to_owned());
        let ended = self.why.take().unwrap_or_else(broken);
        self.upstream.over(&self.sessions, ended);
    }
}

/// One of the cluster's `max_connections`, given back when dropped.
struct Permit(Arc<Shared>);

impl Permit {
    /// As soon as there is one; `None`: nobody waits for it any more.
    async fn acquire(cluster: &Arc<Shared>, waits: impl Fn() -> bool) -> Option<Self> {
        let connections = cluster.connections();
        let try_acquire = || connections.used() < connections.max() && connections.try_acquire();
        if !try_acquire() {
            let _starving = Starving::new(cluster);
            while !try_acquire() {
                if !waits() {
                    return None;
                }
                cluster.ask_for_one();
                tokio::time::sleep(STARVING_TICK).await;
            }
        }
        Some(Self(cluster.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.connections().release();
    }
}

/// Somebody that others give a connection up for.
struct Starving<'a>(&'a Shared);

impl<'a> Starving<'a> {
    fn new(cluster: &'a Shared) -> Self {
        cluster.starving().fetch_add(1, Relaxed);
        Self(cluster)
    }
}

impl Drop for Starving<'_> {
    fn drop(&mut self) {
        self.0.starving().fetch_sub(1, Relaxed);
    }
}
