//! The driver of one client connection.

use std::{
    cell::{Cell, RefCell},
    io, mem,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Instant,
};

use bytes::BytesMut;
use tokio::{io::AsyncWrite, time::Sleep};
use tokio_util::io::poll_read_buf;
use wiremesh::{
    Failure, Frame, Kind, Peer, Reason, WriteBuf,
    correlation::{Handshake, Progress, SessionMachine, Sessioned},
};

use super::{Sessions, ticket::Pending, upstream::Upstream};
use crate::{
    net::{
        Stream,
        tls::{self, Tls},
    },
    telemetry::ListenerSeries,
    worker::{ConnectionSlot, ListenerView, OWED_HIGH, OWED_LOW, Overdue, Pace},
};

/// Requests behind the one in progress are read up to here, so that a client that is gone is noticed.
const READ_AHEAD: usize = 16 * 1024;

/// One client connection, as upstreams see it.
pub struct Client<P: Sessioned> {
    pub id: u64,
    pub peer: String,
    pub series: Arc<ListenerSeries>,
    pub listener: RefCell<Rc<ListenerView>>,
    pub session: RefCell<Session<P>>,
    /// `None` when it is over.
    stream: RefCell<Option<Stream>>,
    out: RefCell<WriteBuf>,
    waker: RefCell<Option<Waker>>,
    state: Cell<State>,
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
    /// The connection that is the client's for now.
    pub upstream: Option<Rc<Upstream<P>>>,
    /// The machine said to hold it: a transaction is open, say.
    pub holds: bool,
    /// State of the session's is on it: without it the session cannot go on.
    pub tied: bool,
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

impl<P: Sessioned> Session<P> {
    /// No upstream is the client's any more.
    pub fn detach(&mut self) {
        self.upstream = None;
        (self.holds, self.tied) = (false, false);
    }
}

impl<P: Sessioned> Client<P> {
    pub fn new(
        id: u64,
        stream: Stream,
        peer: String,
        listener: Rc<ListenerView>,
        series: Arc<ListenerSeries>,
        protocol: &P,
        now: Instant,
    ) -> Self {
        let pace = Pace::new(now);
        // The handshake is to be done in the time of a frame.
        pace.partial_since.set(Some(now));
        Self {
            id,
            peer,
            series,
            listener: RefCell::new(listener),
            session: RefCell::new(Session {
                machine: protocol.machine(),
                pending: Pending::None,
                upstream: None,
                holds: false,
                tied: false,
            }),
            stream: RefCell::new(Some(stream)),
            out: RefCell::default(),
            waker: RefCell::default(),
            state: Cell::new(State::Open),
            clogged: Cell::new(false),
            securing: Cell::new(false),
            waits: Cell::new(true),
            pace,
        }
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
        drop(out);
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
            self.wake();
        }
    }

    /// Closes at once; replies still to come are dropped.
    pub fn kill(&self) {
        self.state.set(State::Closed);
        self.wake();
    }

    /// What is wrong with the client's pace, if anything.
    pub fn overdue(&self, now: Instant) -> Option<Overdue> {
        let busy = self.is_busy() || self.session.borrow().holds || !self.out.borrow().is_empty();
        self.pace.overdue(&self.listener.borrow().config, busy, now)
    }

    /// Whether nothing is in progress, and has not been since `since`.
    pub fn is_quiet_since(&self, since: Instant) -> bool {
        !self.is_busy()
            && !self.session.borrow().holds
            && !self.pace.is_partial()
            && self.pace.last_activity.get() <= since
            && self.out.borrow().is_empty()
    }

    /// When its request is given up.
    fn deadline(&self) -> Option<Instant> {
        match &self.session.borrow().pending {
            Pending::Waiting(waiting) => waiting.0.passage.deadline,
            Pending::Attaching(attaching) => Some(attaching.deadline),
            Pending::Sent(sent) => sent.deadline,
            Pending::None | Pending::Paused => None,
        }
    }

    /// It sends nothing more: its upstream is told.
    fn finish(&self) {
        let session = self.session.borrow();
        // What is held back has not been sent yet.
        if !matches!(session.pending, Pending::Paused)
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
            State::Leaving => session.holds,
            State::Closing | State::Closed => false,
        };
        let turn = match session.pending {
            Pending::None => true,
            // What belongs to a request cannot go before it.
            Pending::Sent(_) => session.machine.is_open(),
            Pending::Attaching(_) | Pending::Waiting(_) | Pending::Paused => false,
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

/// Takes a client out however its task ends, a panic in a protocol's code included.
struct Leaving<P: Sessioned> {
    sessions: Rc<Sessions<P>>,
    client: Rc<Client<P>>,
}

impl<P: Sessioned> Drop for Leaving<P> {
    fn drop(&mut self) {
        self.client.kill();
        self.sessions.client_closed(&self.client);
    }
}

/// Speaks the handshake, reads, decodes and dispatches the client's requests, and writes what it is owed.
pub struct ClientTask<P: Sessioned> {
    sessions: Rc<Sessions<P>>,
    client: Rc<Client<P>>,
    /// Counts the connection out when it is dropped.
    _slot: ConnectionSlot,
    /// `None` when it is done, and end to end.
    handshake: Option<P::ClientHandshake>,
    decoder: P::State,
    input: BytesMut,
    eof: bool,
    /// All that can be taken of what was received has been.
    drained: bool,
    timer: Pin<Box<Sleep>>,
    /// When the timer goes off; `None` when it has.
    armed: Option<Instant>,
}

impl<P: Sessioned> ClientTask<P> {
    pub fn new(
        sessions: Rc<Sessions<P>>,
        client: Rc<Client<P>>,
        input: BytesMut,
        slot: ConnectionSlot,
    ) -> Self {
        let handshake = || sessions.protocol.client_handshake();
        Self {
            handshake: (!sessions.end_to_end).then(handshake),
            sessions,
            client,
            _slot: slot,
            decoder: P::State::default(),
            drained: input.is_empty(),
            input,
            eof: false,
            timer: Box::pin(tokio::time::sleep_until(tokio::time::Instant::now())),
            armed: None,
        }
    }

    /// Serves until the connection is over.
    pub async fn run(mut self) {
        let leaving = Leaving { sessions: self.sessions.clone(), client: self.client.clone() };
        self.sessions.worker.tick();
        if let Some(handshake) = &mut self.handshake {
            let progress = handshake.start(&self.sessions.protocol);
            self.advance(progress);
        } else {
            self.sessions.attach(&self.client);
        }
        let mut result = std::future::poll_fn(|cx| self.poll(cx)).await;
        while result.is_ok() && self.client.securing.get() && !self.client.is_gone() {
            if !self.secure().await {
                break;
            }
            result = std::future::poll_fn(|cx| self.poll(cx)).await;
        }
        drop(leaving);
        let stream = self.client.stream.borrow_mut().take();
        match (result, stream) {
            (Ok(()), Some(mut stream)) => stream.linger(self.eof).await,
            (Ok(()), None) => {}
            (Err(error), _) => {
                tracing::debug!(client = %self.client.peer, %error, "client connection lost");
            }
        }
    }

    /// Has TLS with the client begin, with what was received behind the frame that asked for it. Whether it did.
    async fn secure(&mut self) -> bool {
        let client = self.client.clone();
        let listener = client.listener.borrow().clone();
        let stream = client.stream.borrow_mut().take();
        let (Some(stream), Some(tls)) = (stream, &listener.tls) else { return false };
        let limit = listener.config.frame_timeout.0;
        let begun = Tls::accept(stream, mem::take(&mut self.input), tls);
        let begun = tokio::time::timeout(limit, begun).await;
        let now = self.sessions.worker.tick();
        let why = match begun {
            Ok(Ok(stream)) => {
                client.series.tls_handshakes.inc();
                *client.stream.borrow_mut() = Some(Stream::Tls(Box::new(stream)));
                client.securing.set(false);
                client.expect_frame(now);
                self.drained = true;
                return true;
            }
            Ok(Err((error, mut stream))) => {
                stream.linger(false).await;
                tls::explain(&error)
            }
            Err(_) => {
                client.series.frame_timeouts.inc();
                format!("no TLS handshake within {limit:?}")
            }
        };
        client.series.tls_failures.inc();
        tracing::info!(client = %client.peer, listener = %listener.name, "closing: {why}");
        false
    }

    /// Says what the handshake has to say.
    fn advance(&mut self, progress: Progress<P>) {
        let frame = match progress {
            Progress::Continue(frame) => frame,
            Progress::Done(frame) => {
                self.handshake = None;
                self.client.pace.partial_since.set(None);
                frame
            }
            Progress::Refused(frame, why) => {
                tracing::info!(client = %self.client.peer, why, "handshake refused, closing");
                self.client.close();
                frame
            }
        };
        if let Some(frame) = frame {
            self.client.owe(&self.sessions, |out| self.sessions.protocol.encode(frame, out));
        }
    }

    fn on_frame(&mut self, frame: P::Frame) {
        if let Some(handshake) = &mut self.handshake {
            let progress = handshake.on_frame(&self.sessions.protocol, frame);
            return self.advance(progress);
        }
        self.client.pace.partial_since.set(None);
        match frame.kind() {
            _ if self.sessions.end_to_end => self.sessions.on_request(&self.client, frame),
            Kind::Heartbeat => {
                self.client.series.heartbeats.inc();
                if let Some(reply) = self.sessions.protocol.heartbeat_reply(&frame) {
                    let protocol = &self.sessions.protocol;
                    self.client.owe(&self.sessions, |out| protocol.encode(reply, out));
                }
            }
            // Signs of life; a client that goes away simply sends nothing more.
            Kind::HeartbeatReply | Kind::GoAway => {}
            _ => self.sessions.on_request(&self.client, frame),
        }
    }

    /// Decodes and dispatches what has been received, as far as may be.
    fn take_frames(&mut self, input: &mut BytesMut) {
        loop {
            self.drained = input.is_empty();
            if self.drained || !self.client.may_take() {
                return;
            }
            let listener = self.client.listener.borrow().clone();
            let limits = &listener.limits;
            let (protocol, decoder) = (&self.sessions.protocol, &mut self.decoder);
            let taken = match self.handshake {
                Some(_) => protocol.decode(Peer::Client, decoder, limits, input),
                None => {
                    let machine = &mut self.client.session.borrow_mut().machine;
                    machine.take(protocol, Peer::Client, decoder, limits, input)
                }
            };
            match taken {
                Ok(Some(frame)) => self.on_frame(frame),
                Ok(None) => {
                    self.drained = true;
                    let pace = &self.client.pace;
                    if !pace.is_partial() {
                        pace.partial_since.set(Some(self.sessions.worker.now()));
                    }
                    return;
                }
                Err(error) => {
                    tracing::info!(client = %self.client.peer, %error, "undecodable request, closing");
                    self.client.series.decode_errors.inc();
                    input.clear();
                    self.drained = true;
                    self.client.pace.partial_since.set(None);
                    let failure = Failure::new(Reason::BadRequest, error.to_string());
                    return self.sessions.end(&self.client, &failure);
                }
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.drained {
            let mut input = mem::take(&mut self.input);
            self.take_frames(&mut input);
            self.input = input;
        }
        let open = self.client.is_open();
        let full = !self.drained && (self.input.len() >= READ_AHEAD || self.client.is_stalled());
        if self.eof || !open || full {
            return Poll::Pending;
        }
        let buffers = &self.sessions.worker.buffers;
        let mut input = buffers.begin_read(&mut self.input);
        let read = match &mut *self.client.stream.borrow_mut() {
            Some(stream) => poll_read_buf(Pin::new(stream), cx, &mut input),
            None => Poll::Pending,
        };
        if let Poll::Ready(Ok(n)) = &read {
            if *n == 0 {
                self.eof = true;
                self.client.pace.ended_since.set(Some(self.sessions.worker.now()));
            } else {
                self.client.pace.on_sent(*n, self.sessions.worker.now());
                self.client.series.bytes_received.add(*n as u64);
                self.take_frames(&mut input);
            }
        }
        self.sessions.worker.buffers.end_read(input, &mut self.input);
        Poll::Ready(ready!(read).map(|_| ()))
    }

    /// Gives up the request whose time is up.
    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        while let Some(deadline) = self.client.deadline() {
            if deadline <= self.sessions.worker.now() {
                self.sessions.timed_out(&self.client);
            } else if self.armed.is_none_or(|armed| armed > deadline) {
                self.timer.as_mut().reset(deadline.into());
                self.armed = Some(deadline);
            } else if self.timer.as_mut().poll(cx).is_ready() {
                // For an earlier request: the timer is set again only when it has to be.
                self.armed = None;
            } else {
                return;
            }
        }
    }

    /// Whether the client is to be closed when what is owed is written.
    fn is_over(&self) -> bool {
        let over = match self.client.state.get() {
            State::Open => self.eof && self.drained,
            State::Leaving => !self.client.session.borrow().holds || (self.eof && self.drained),
            State::Closing | State::Closed => true,
        };
        over && !self.client.is_busy() && !self.is_half_closed()
    }

    /// Whether the client sends nothing more, which its upstream knows, and its upstream may go on sending.
    fn is_half_closed(&self) -> bool {
        let session = self.client.session.borrow();
        self.sessions.end_to_end
            && self.client.is_open()
            && session.upstream.is_some()
            && session.machine.is_open()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sessions.worker.tick();
        {
            let mut waker = self.client.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
        }
        let polled = self.poll_session(cx);
        let open = self.client.state.get() == State::Open;
        self.client.waits.set(!self.drained || self.eof || !open);
        polled
    }

    fn poll_session(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.client.is_gone() {
                return Poll::Ready(Ok(()));
            }
            if self.client.securing.get() {
                // What it is to read before that is written first.
                return self.client.poll_write(&self.sessions, cx);
            }
            let written = self.client.poll_write(&self.sessions, cx)?;
            if self.poll_read(cx)?.is_ready() {
                continue;
            }
            if self.eof && self.drained && self.sessions.end_to_end {
                self.client.finish();
            }
            self.poll_timer(cx);
            if written.is_pending() {
                return Poll::Pending;
            }
            if self.client.out.borrow().is_empty() {
                return if self.is_over() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            // Dispatching has answered at once: write that.
        }
    }
}
