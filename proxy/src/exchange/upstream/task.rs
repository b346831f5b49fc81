//! What a task does for one upstream connection: reads, writes, and keeps the time.

use std::{
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio::{io::AsyncWrite, time::Sleep};
use tokio_util::io::poll_read_buf;
use wiremesh::{
    DecodeError, Peer, Protocol, Reason,
    correlation::Exchange,
    engine::{Action, Engine, Keepalive, KeepaliveConfig},
};

use super::{ABANDONED_MAX, State, Upstream};
use crate::{
    config,
    exchange::{
        Mesh,
        apart::{APART_AFTER, Waiting},
        client::Client,
    },
    net::Stream,
    worker::{ListenerView, OWED_LOW},
};

/// Reads, decodes and dispatches the upstream's replies, and writes the requests.
pub(super) struct UpstreamTask<P: Protocol>
where
    P::Correlation: Exchange<P>,
{
    mesh: Rc<Mesh<P>>,
    upstream: Rc<Upstream<P>>,
    listener: Rc<ListenerView>,
    stream: Stream,
    decoder: P::State,
    input: BytesMut,
    timer: Option<Pin<Box<Sleep>>>,
    keepalive: Keepalive,
    probes: bool,
    idle_timeout: Duration,
    last_use: Instant,
    /// What had been appended when the clock was last looked at: more means that the connection is in use.
    seen_appended: u64,
    /// Clients that are owed too much for more to be read here.
    held_by: Vec<Rc<Client<P>>>,
    /// A reply is being passed on in pieces: when the last of them came.
    passing: Option<Instant>,
    waiting: Waiting,
}

/// A reply of which less has come is waited for before it is asked whether it need not be held.
const MUCH: usize = 16 * 1024;

impl<P: Protocol> UpstreamTask<P>
where
    P::Correlation: Exchange<P>,
{
    pub(super) fn new(
        upstream: Rc<Upstream<P>>,
        mesh: Rc<Mesh<P>>,
        listener: Rc<ListenerView>,
        (stream, input, decoder): (Stream, BytesMut, P::State),
        config: &config::Cluster,
    ) -> Self {
        let now = mesh.worker.now();
        Self {
            keepalive: Keepalive::new(config.keepalive.unwrap_or_default().into(), now),
            probes: config.keepalive.is_some()
                && mesh.protocol.heartbeat(upstream.key.get().lane).is_some(),
            idle_timeout: config.idle_timeout.into(),
            last_use: now,
            seen_appended: 0,
            decoder,
            input,
            timer: None,
            held_by: Vec::new(),
            passing: None,
            waiting: Waiting::default(),
            stream,
            listener,
            mesh,
            upstream,
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let upstream = &self.upstream;
        let mut out = upstream.out.borrow_mut();
        while !out.is_empty() {
            match self.stream.poll_write_out(cx, &mut out) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    upstream.written.set(upstream.written.get() + n as u64);
                    upstream.series.bytes_sent.add(n as u64);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
            if out.len() <= OWED_LOW && !upstream.clogged.borrow().is_empty() {
                upstream.release_clogged();
            }
        }
        if out.is_empty() {
            self.mesh.worker.buffers.to_upstreams.reclaim(&mut out);
            Pin::new(&mut self.stream).poll_flush(cx)
        } else {
            Poll::Pending
        }
    }

    /// Takes frames until bytes are wanted, or a client must be waited for.
    fn take_frames(&mut self, input: &mut BytesMut) -> Result<(), Ended> {
        while !input.is_empty() && self.held_by.is_empty() {
            if self.passing.is_some() {
                if self.take_piece(input)? {
                    continue;
                }
                break;
            }
            let limits = &self.listener.limits;
            match self.mesh.protocol.decode(Peer::Upstream, &mut self.decoder, limits, input) {
                Ok(Some(frame)) => {
                    if let Some(client) = self.upstream.on_frame(&self.mesh, frame) {
                        self.held_by.push(client);
                    }
                }
                Ok(None) if input.len() < MUCH => break,
                Ok(None) => {
                    if !self.begin(input)? {
                        break;
                    }
                }
                Err(error) => {
                    let too_long = matches!(error, DecodeError::Limit { limit: "max_frame", .. });
                    if !(too_long && self.begin(input)?) {
                        return Err((Reason::BadReply, format!("undecodable reply: {error}")));
                    }
                }
            }
        }
        Ok(())
    }

    /// Begins to pass on a reply that has not come whole, if it may be and is long enough.
    fn begin(&mut self, input: &mut BytesMut) -> Result<bool, Ended> {
        if !self.upstream.may_pass() {
            return Ok(false);
        }
        let begun = self.mesh.protocol.begin(Peer::Upstream, &mut self.decoder, input);
        let Some(frame) = begun else { return Ok(false) };
        self.held_by.extend(self.upstream.on_begun(&self.mesh, frame)?);
        self.passing = Some(self.mesh.worker.now());
        self.upstream.rearm.set(true);
        // What has come of it may be all of it.
        self.take_piece(input)?;
        Ok(true)
    }

    /// Passes on what has come of a reply that was begun. Says whether anything was done.
    fn take_piece(&mut self, input: &mut BytesMut) -> Result<bool, Ended> {
        let piece = self.mesh.protocol.rest(Peer::Upstream, &mut self.decoder, input);
        let piece = piece
            .map_err(|error| (Reason::BadReply, format!("a reply goes on as none can: {error}")))?;
        if piece.bytes.is_empty() && !piece.last {
            return Ok(false);
        }
        self.passing = (!piece.last).then_some(self.mesh.worker.now());
        self.held_by.extend(self.upstream.on_piece(&self.mesh, piece));
        Ok(true)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        if !self.held_by.is_empty() {
            self.held_by.retain(|client| client.holds_back(&self.upstream));
            if !self.held_by.is_empty() {
                return Poll::Pending;
            }
            // Nothing was received because nothing was read: that says nothing against the upstream.
            self.keepalive.on_traffic(self.mesh.worker.now());
            self.passing = self.passing.map(|_| self.mesh.worker.now());
        }
        if !self.input.is_empty() {
            let mut input = std::mem::take(&mut self.input);
            let taken = self.take_frames(&mut input);
            self.input = input;
            taken?;
            if !self.held_by.is_empty() {
                return Poll::Pending;
            }
        }
        if let Err(error) = ready!(self.stream.poll_read_ready(cx)) {
            return Poll::Ready(Err((Reason::UpstreamReset, error.to_string())));
        }
        let mut input = self.mesh.worker.buffers.begin_read(&mut self.input);
        let read = poll_read_buf(Pin::new(&mut self.stream), cx, &mut input);
        let taken = match &read {
            Poll::Ready(Ok(n)) if *n > 0 => {
                self.keepalive.on_traffic(self.mesh.worker.now());
                self.upstream.series.bytes_received.add(*n as u64);
                self.take_frames(&mut input)
            }
            _ => Ok(()),
        };
        self.mesh.worker.buffers.end_read(input, &mut self.input);
        taken?;
        Poll::Ready(match ready!(read) {
            Ok(0) => Err((Reason::UpstreamReset, "closed by the upstream".into())),
            Ok(_) => Ok(()),
            Err(error) => Err((Reason::UpstreamReset, error.to_string())),
        })
    }

    /// Deadlines, probes and idleness. Says when to look again.
    fn check_time(&mut self, now: Instant) -> Result<Instant, Ended> {
        let upstream = self.upstream.clone();
        loop {
            let Some(sent) = upstream.engine.borrow_mut().expire(now) else { break };
            let held = upstream.holder().is_some();
            self.mesh.timed_out(sent);
            if held {
                // What state the upstream is in is not known, and there is nobody else to have it.
                return Err((
                    Reason::UpstreamReset,
                    "a request on a connection of its client's own was not answered in time".into(),
                ));
            }
        }
        let engine = upstream.engine.borrow();
        if engine.abandoned() > ABANDONED_MAX {
            upstream.retire();
        }
        let used = upstream.appended.get() - upstream.own.get();
        let held = upstream.holder().is_some();
        let asked = held || upstream.owner().is_some_and(|client| client.owes_answers());
        let busy =
            engine.in_flight() > 0 || self.passing.is_some() || asked || used != self.seen_appended;
        self.seen_appended = used;
        let mut next = now + Duration::from_secs(60);
        if let Some(deadline) = engine.next_deadline() {
            next = next.min(deadline);
        }
        drop(engine);
        if busy {
            self.last_use = now;
        } else if now.saturating_duration_since(self.last_use) >= self.idle_timeout {
            return Err((Reason::UpstreamReset, "idle".into()));
        }
        next = next.min(self.last_use + self.idle_timeout);
        if let Some(end) = self.check_readers(now) {
            next = next.min(end);
        }
        if let (Some(moved), true) = (self.passing, self.held_by.is_empty()) {
            // Its request has no deadline any more: what counts is that it goes on.
            let silence: Duration = self.listener.config.frame_timeout.into();
            if now.saturating_duration_since(moved) >= silence {
                return Err((
                    Reason::UpstreamReset,
                    format!("nothing came of the rest of a reply for {silence:?}"),
                ));
            }
            next = next.min(moved + silence);
        }
        // While its reader is held back a connection that says nothing is not dead.
        if self.probes && self.held_by.is_empty() && !held {
            match self.keepalive.poll(now) {
                Action::Wait(until) => next = next.min(until),
                Action::Probe => {
                    if let Some(probe) = self.mesh.protocol.heartbeat(upstream.key.get().lane) {
                        upstream.series.heartbeats_sent.inc();
                        upstream.append_own(&self.mesh, probe);
                    }
                    if let Action::Wait(until) = self.keepalive.poll(now) {
                        next = next.min(until);
                    }
                }
                Action::Dead => {
                    upstream.series.heartbeats_failed.inc();
                    return Err((Reason::UpstreamReset, "no answer to heartbeats".into()));
                }
            }
        }
        Ok(next)
    }

    /// Sees to it that those who share the connection do not wait for its readers. Says when to look again.
    fn check_readers(&mut self, now: Instant) -> Option<Instant> {
        let (upstream, since) = (&self.upstream, self.waiting.since()?);
        let is_over = |end: Instant| end <= now;
        if !upstream.was_shared() {
            return None;
        }
        if upstream.state.get() == State::Open {
            let end = since + APART_AFTER;
            if !is_over(end) {
                return Some(end);
            }
            let readers: Vec<_> = self.held_by.iter().cloned().chain(upstream.reader()).collect();
            self.mesh.set_apart(upstream, &readers);
            // Some may be waited for no longer.
            upstream.wake();
        }
        // Those who are behind one in the line wait still, if the rest was too much to be kept for it.
        let reader = upstream.reader().filter(|reader| !reader.is_gone())?;
        if upstream.load() <= reader.in_flight() as usize {
            return None;
        }
        let end = since + self.listener.config.stall_timeout.into();
        if is_over(end) {
            tracing::info!(client = %reader.peer, "closing: others wait for what it reads");
            reader.listener.borrow().series.stall_timeouts.inc();
            reader.kill();
        }
        Some(end.max(now + APART_AFTER))
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        loop {
            let due = self.upstream.rearm.replace(false)
                || match &mut self.timer {
                    Some(timer) => timer.as_mut().poll(cx).is_ready(),
                    None => true,
                };
            if !due {
                return Ok(());
            }
            let next = self.check_time(self.mesh.worker.now())?;
            self.upstream.armed.set(Some(next));
            let next = tokio::time::Instant::from_std(next);
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(next),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(next))),
            }
        }
    }
}

impl From<config::Keepalive> for KeepaliveConfig {
    fn from(config: config::Keepalive) -> Self {
        Self {
            interval: config.interval.into(),
            timeout: config.timeout.into(),
            failures: config.failures,
        }
    }
}

/// Why a connection ended: for its requests, and in words.
pub(super) type Ended = (Reason, String);

impl<P: Protocol> UpstreamTask<P>
where
    P::Correlation: Exchange<P>,
{
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let this = self;
        this.mesh.worker.tick();
        {
            this.upstream.woken.set(false);
            let mut waker = this.upstream.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
        }
        loop {
            let written = match this.poll_write(cx) {
                Poll::Ready(Err(error)) => {
                    return Poll::Ready((Reason::UpstreamReset, error.to_string()));
                }
                written => written.is_ready(),
            };
            match this.poll_read(cx) {
                Poll::Ready(Ok(())) => continue,
                Poll::Ready(Err(ended)) => return Poll::Ready(ended),
                Poll::Pending => {}
            }
            let waits = !this.held_by.is_empty() || this.passing.is_some();
            if this.waiting.note(waits, this.mesh.worker.now()) {
                this.upstream.rearm.set(true);
            }
            if let Err(ended) = this.poll_timer(cx) {
                return Poll::Ready(ended);
            }
            let upstream = &this.upstream;
            let unused = upstream.state.get() == State::Retiring && upstream.load() == 0;
            if unused && written && upstream.out.borrow().is_empty() {
                return Poll::Ready((Reason::UpstreamReset, "retired".into()));
            }
            return Poll::Pending;
        }
    }
}
