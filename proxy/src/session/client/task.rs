//! What a task does for one client connection: speaks the handshake, reads, dispatches, and writes what is owed.

use std::{
    io, mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::BytesMut;
use tokio::time::Sleep;
use tokio_util::io::poll_read_buf;
use wiremesh::{
    Failure, Frame, Kind, Peer, Reason,
    correlation::{Handshake, Layer, Progress, SessionMachine, Sessioned},
};

use super::{Client, Pending, State};
use crate::{
    net::{
        Layered, Stream,
        tls::{self, Tls},
    },
    session::Sessions,
    worker::ConnectionSlot,
};

/// Requests behind the one in progress are read up to here, so that a client that is gone is noticed.
const READ_AHEAD: usize = 16 * 1024;

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
    /// What is to begin when all that is owed was written.
    layer: Option<Box<dyn Layer>>,
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
        let handshake = || sessions.protocol.client_handshake(client.arrival());
        Self {
            handshake: (!sessions.end_to_end).then(handshake),
            layer: None,
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
            if let Some(handshake) = &mut self.handshake {
                let progress = handshake.on_secured(&self.sessions.protocol);
                self.advance(progress);
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

    /// Has TLS or another layer begin with the client, with what was received behind the frame that asked for it. Whether it did.
    async fn secure(&mut self) -> bool {
        let client = self.client.clone();
        let listener = client.listener.borrow().clone();
        let stream = client.stream.borrow_mut().take();
        if let Some(layer) = self.layer.take() {
            let layered = |stream| Layered::new(stream, layer, mem::take(&mut self.input));
            *client.stream.borrow_mut() =
                stream.map(|stream| Stream::Layered(Box::new(layered(stream))));
            client.securing.set(false);
            self.drained = true;
            return true;
        }
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
            Progress::StartTls(frame) => {
                self.client.securing.set(true);
                frame
            }
            Progress::Done(frame) => {
                if let Some(handshake) = self.handshake.take() {
                    self.layer = handshake.layer();
                    self.client.securing.set(self.layer.is_some());
                    let machine = self.sessions.protocol.admit(handshake);
                    self.client.session.borrow_mut().machine = machine;
                }
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
            State::Leaving => {
                self.client.session.borrow().holds.is_none() || (self.eof && self.drained)
            }
            State::Closing | State::Closed => true,
        };
        over && (!self.client.is_busy() || self.is_cut_off()) && !self.is_half_closed()
    }

    /// Whether the client sends nothing more though its part in the request in progress is not over: that would never end.
    fn is_cut_off(&self) -> bool {
        let session = self.client.session.borrow();
        !self.sessions.end_to_end
            && self.eof
            && self.drained
            && matches!(session.pending, Pending::Sent(_))
            && session.machine.is_open()
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
