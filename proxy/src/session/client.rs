//! One client connection: what it has asked for, and what it is owed.

mod task;

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
    time::Instant,
};

use tokio::io::AsyncWrite;
use wiremesh::{
    WriteBuf,
    correlation::{Access, Arrival, SessionMachine, Sessioned},
};

pub use self::task::ClientTask;
use super::{
    Sessions,
    ticket::{Pending, Ticket},
    upstream::Upstream,
};
use crate::{
    cluster::HeldPermit,
    net::{Addresses, Stream, tls},
    telemetry::ListenerSeries,
    worker::{ListenerView, OWED_HIGH, OWED_LOW, Overdue, Pace},
};

/// One client connection, as upstreams see it.
pub struct Client<P: Sessioned> {
    pub id: u64,
    /// By which the client knows its connection, where it is told.
    pub number: u64,
    pub peer: String,
    /// Its addresses, where others than those of its socket were told.
    told: Option<Addresses>,
    pub series: Arc<ListenerSeries>,
    pub listener: RefCell<Rc<ListenerView>>,
    pub session: RefCell<Session<P>>,
    /// `None` when it is over.
    stream: RefCell<Option<Stream>>,
    out: RefCell<WriteBuf>,
    waker: RefCell<Option<Waker>>,
    state: Cell<State>,
    /// What it is owed waits for [`flush`](Self::flush).
    corked: Cell<bool>,
    /// It could send more if its upstream took it.
    clogged: Cell<bool>,
    /// TLS begins with what it sends next.
    pub securing: Cell<bool>,
    /// Its task has something to do as soon as it may: take what was received, or end.
    waits: Cell<bool>,
    pace: Pace,
}

/// A client's session, and the request in progress.
pub struct Session<P: Sessioned> {
    pub machine: P::Machine,
    pub pending: Pending<P>,
    /// The request in progress, of which more is to come, is the machine's to answer.
    pub alone: Option<Box<Ticket<P>>>,
    /// The request that came last goes nowhere, and so does what is still to come of it.
    pub refused: bool,
    /// What that request, if it waits for a connection, is to be lent one for.
    pub access: Access,
    /// When the request in progress waits for a connection no longer, in all tries.
    pub waits_until: Option<Instant>,
    /// The connection that is the client's for now.
    pub upstream: Option<Rc<Upstream<P>>>,
    /// Since when it is held, where the machine said to: a transaction is open, say.
    pub holds: Option<Instant>,
    /// It counts as held, or will.
    pub held: Option<HeldPermit>,
    /// State of the session's is on it: without it the session cannot go on.
    pub tied: bool,
    /// It is kept for what the client may still ask about its last request, until then.
    pub lingers: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Closes as soon as it holds nothing.
    Leaving,
    /// Reads nothing more; closes when everything owed is written.
    Closing,
    /// The socket is gone; replies are dropped.
    Closed,
}

/// [`Arrival::number`] of the next client.
fn next_number() -> u64 {
    const FROM: u64 = 1 << 30;
    static COUNT: AtomicU64 = AtomicU64::new(0);
    FROM | (COUNT.fetch_add(1, Relaxed) & (FROM - 1))
}

impl<P: Sessioned> Session<P> {
    /// No upstream is the client's any more; what is known of it goes with it.
    pub fn detach(&mut self) {
        self.part();
        (self.holds, self.tied, self.lingers) = (None, false, None);
    }

    /// Whether it has held its connection for longer than any client may.
    pub fn outstays(&self, now: Instant) -> bool {
        let limit =
            self.upstream.as_ref().and_then(|upstream| upstream.pool.cluster.config().hold_timeout);
        self.holds
            .zip(limit)
            .is_some_and(|(since, limit)| now.saturating_duration_since(since) > limit.into())
    }

    /// Takes the upstream that is the client's away.
    pub fn part(&mut self) -> Option<Rc<Upstream<P>>> {
        self.held = None;
        let upstream = self.upstream.take()?;
        upstream.place.replace(self.machine.detach());
        Some(upstream)
    }
}

impl<P: Sessioned> Client<P> {
    pub fn new(
        id: u64,
        stream: Stream,
        (peer, told): (String, Option<Addresses>),
        listener: Rc<ListenerView>,
        series: Arc<ListenerSeries>,
        protocol: &P,
        now: Instant,
    ) -> Self {
        let client =
            Self::with((id, next_number()), peer, listener, series, protocol.machine(), now);
        // The handshake is to be done in the time of a frame.
        client.pace.partial_since.set(Some(now));
        Self { told, stream: RefCell::new(Some(stream)), ..client }
    }

    /// One without a socket, in whose name a copy of a request is sent: it is gone as far as replies go.
    pub fn shadow(&self, id: u64, machine: P::Machine, now: Instant) -> Self {
        let (peer, listener) = (self.peer.clone(), self.listener.borrow().clone());
        let shadow =
            Self::with((id, self.number), peer, listener, self.series.clone(), machine, now);
        shadow.state.set(State::Closed);
        shadow
    }

    fn with(
        (id, number): (u64, u64),
        peer: String,
        listener: Rc<ListenerView>,
        series: Arc<ListenerSeries>,
        machine: P::Machine,
        now: Instant,
    ) -> Self {
        Self {
            id,
            number,
            peer,
            told: None,
            series,
            listener: RefCell::new(listener),
            session: RefCell::new(Session {
                machine,
                pending: Pending::None,
                alone: None,
                refused: false,
                waits_until: None,
                access: Access::Write,
                upstream: None,
                holds: None,
                held: None,
                tied: false,
                lingers: None,
            }),
            stream: RefCell::default(),
            out: RefCell::default(),
            waker: RefCell::default(),
            state: Cell::new(State::Open),
            clogged: Cell::new(false),
            corked: Cell::new(false),
            securing: Cell::new(false),
            waits: Cell::new(true),
            pace: Pace::new(now),
        }
    }

    /// What its handshake must know.
    fn arrival(&self) -> Arrival {
        let listener = self.listener.borrow();
        let offers = P::STARTS_TLS && listener.tls.is_some();
        Arrival {
            number: self.number,
            random: tls::random(),
            peer: self.peer.clone(),
            tls: offers,
            tls_required: offers && listener.config.tls.as_ref().is_some_and(|tls| tls.required),
            private: self.stream.borrow().as_ref().is_some_and(Stream::is_private),
        }
    }

    /// Where it comes from, and where it has connected to.
    pub fn addresses(&self) -> Option<Addresses> {
        self.told.or_else(|| self.stream.borrow().as_ref()?.addresses())
    }

    /// Whether replies can still reach it.
    pub fn is_gone(&self) -> bool {
        self.state.get() == State::Closed
    }

    /// Whether a request is in progress.
    pub fn is_busy(&self) -> bool {
        !matches!(self.session.borrow().pending, Pending::None)
    }

    /// Whether it is owed so much that its upstream must not be read; that is woken when it is over.
    pub fn is_stalled(&self) -> bool {
        self.pace.is_stalled() && !self.is_gone()
    }

    /// Appends to what the client is owed, and writes what the socket takes at once: for that its task need not be woken.
    pub fn owe(&self, sessions: &Sessions<P>, write: impl FnOnce(&mut WriteBuf)) {
        if self.is_gone() {
            return;
        }
        let mut out = self.out.borrow_mut();
        sessions.worker.buffers.to_clients.lend(&mut out);
        write(&mut out);
        let owed = out.len();
        drop(out);
        if !self.corked.get() || owed > OWED_HIGH {
            self.flush(sessions);
        }
    }

    /// What it is owed from here on is written by [`flush`](Self::flush), or when it has become much: the parts of one reply, say, in
    /// one write.
    pub fn cork(&self) {
        self.corked.set(true);
    }

    /// Writes what the socket takes of what is owed, which is corked no longer.
    pub fn flush(&self, sessions: &Sessions<P>) {
        self.corked.set(false);
        if let Poll::Ready(Ok(())) =
            self.poll_write(sessions, &mut Context::from_waker(Waker::noop()))
        {
            return;
        }
        if self.out.borrow().len() > OWED_HIGH && !self.pace.is_stalled() {
            self.pace.stalled_since.set(Some(sessions.worker.now()));
        }
        // It waits for the socket, or finds out what is wrong with it.
        self.wake();
    }

    /// Writes of what the client is owed what the socket takes.
    fn poll_write(&self, sessions: &Sessions<P>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = self.stream.borrow_mut();
        let Some(stream) = &mut *stream else { return Poll::Ready(Ok(())) };
        let mut out = self.out.borrow_mut();
        while !out.is_empty() {
            match ready!(stream.poll_write_out(cx, &mut out))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => {
                    self.series.bytes_sent.add(n as u64);
                    self.pace.on_taken(n, sessions.worker.now());
                }
            }
            if out.len() <= OWED_LOW {
                self.relieve();
            }
        }
        sessions.worker.buffers.to_clients.reclaim(&mut out);
        Pin::new(stream).poll_flush(cx)
    }

    /// Has the driver look again.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Ready as soon as no request is in progress. For one without a task.
    pub fn poll_idle(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.is_busy() {
            return Poll::Ready(());
        }
        self.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// The client may send, or end, where it could not before.
    pub fn go_on(&self) {
        if self.waits.get() {
            self.wake();
        }
    }

    /// The upstream takes more again.
    pub fn unclog(&self) {
        if self.clogged.replace(false) {
            self.wake();
        }
    }

    /// Whether it may still ask for something.
    pub fn is_open(&self) -> bool {
        matches!(self.state.get(), State::Open | State::Leaving)
    }

    /// Whether it is to be closed as soon as no upstream is held.
    pub fn is_leaving(&self) -> bool {
        self.state.get() == State::Leaving
    }

    /// It is to send its first request in the time of a frame.
    pub fn expect_frame(&self, now: Instant) {
        self.pace.partial_since.set(Some(now));
    }

    /// Closes as soon as no request is in progress and no upstream is held.
    pub fn leave(&self) {
        if self.state.get() == State::Open {
            self.state.set(State::Leaving);
            self.wake();
        }
    }

    /// Reads nothing more, and closes when the request in progress is answered and all that is owed is written.
    pub fn close(&self) {
        if self.is_open() {
            self.state.set(State::Closing);
        }
        self.wake();
    }

    /// Closes at once; replies still to come are dropped.
    pub fn kill(&self) {
        self.state.set(State::Closed);
        self.wake();
    }

    /// What is wrong with the client's pace, if anything. Of an upstream that is the client's alone it is no matter for how
    /// long it is held.
    pub fn overdue(&self, alone: bool, now: Instant) -> Option<Overdue> {
        let busy = self.is_busy() || !self.out.borrow().is_empty();
        let session = self.session.borrow();
        let holds = session.holds.is_some();
        let overdue = self.pace.overdue(&self.listener.borrow().config, busy || holds, now);
        let held = session.upstream.as_ref().filter(|_| holds && !busy && !alone);
        overdue.or_else(|| {
            let limit = held?.pool.cluster.config().hold_idle_timeout;
            let idle = now.saturating_duration_since(self.pace.last_activity.get());
            let late = idle > limit.into() || session.outstays(now);
            late.then_some(Overdue::Holding)
        })
    }

    /// Whether nothing is in progress, and has not been since `since`.
    pub fn is_quiet_since(&self, since: Instant) -> bool {
        !self.is_busy()
            && self.session.borrow().holds.is_none()
            && !self.pace.is_partial()
            && self.pace.last_activity.get() <= since
            && self.out.borrow().is_empty()
    }

    /// When its request is given up.
    fn deadline(&self) -> Option<Instant> {
        let session = self.session.borrow();
        match &session.pending {
            Pending::Waiting(waiting) => {
                [waiting.0.passage.deadline, session.waits_until].into_iter().flatten().min()
            }
            Pending::Preparing(waiting) => waiting.0.passage.deadline,
            Pending::Attaching(attaching) => Some(attaching.deadline),
            Pending::Sent(sent) => sent.deadline,
            Pending::None => session.lingers,
            Pending::Paused | Pending::Cancelled => None,
        }
    }

    /// It sends nothing more: its upstream is told.
    fn finish(&self) {
        let session = self.session.borrow();
        // What is held back has not been sent yet.
        if !matches!(session.pending, Pending::Paused | Pending::Cancelled)
            && let Some(upstream) = &session.upstream
        {
            upstream.finish();
        }
    }

    /// Whether a frame may be taken now.
    fn may_take(&self) -> bool {
        let session = self.session.borrow();
        let open = match self.state.get() {
            State::Open => true,
            State::Leaving => session.holds.is_some(),
            State::Closing | State::Closed => false,
        };
        let turn = match session.pending {
            Pending::None => true,
            // What belongs to a request cannot go before it.
            Pending::Sent(_) => session.machine.is_open(),
            Pending::Attaching(_)
            | Pending::Waiting(_)
            | Pending::Preparing(_)
            | Pending::Paused
            | Pending::Cancelled => false,
        };
        if !open || self.pace.is_stalled() || !turn || self.securing.get() {
            return false;
        }
        let clogged = session.upstream.as_ref().is_some_and(|upstream| upstream.is_clogged());
        self.clogged.set(clogged);
        !clogged
    }

    /// Too much was owed, and is no more.
    fn relieve(&self) {
        if self.pace.stalled_since.take().is_some()
            && let Some(upstream) = &self.session.borrow().upstream
        {
            upstream.wake();
        }
    }
}
