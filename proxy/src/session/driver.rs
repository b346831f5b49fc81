//! The driver of one upstream connection.

use std::{
    io, mem,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio::{io::AsyncWrite, time::Sleep};
use tokio_util::io::poll_read_buf;
use wiremesh::{
    Frame, Kind, Peer, Reason, Status,
    correlation::{Handshake, Hold, Progress, SessionMachine, Sessioned},
    engine::{Action, Keepalive},
};

use super::{
    Sessions,
    upstream::{Role, Upstream},
};
use crate::{config, worker::ListenerView};

/// How long an endpoint that said go-away is left alone, if there is another.
const GO_AWAY: Duration = Duration::from_secs(5);

/// Where nothing can be written any more, what can be read comes to its end within this time.
const BROKEN: Duration = Duration::from_secs(1);

/// The clock is looked at this often at least.
const LOOK: Duration = Duration::from_secs(60);

/// Why a connection ended: for its client, and in words.
pub type Ended = (Reason, String);

/// Speaks the handshake, reads, decodes and dispatches what the upstream sends, and writes what it is sent.
pub struct UpstreamTask<P: Sessioned> {
    sessions: Rc<Sessions<P>>,
    upstream: Rc<Upstream<P>>,
    /// Whose limits apply.
    listener: Rc<ListenerView>,
    config: Arc<config::Cluster>,
    /// `None` when it is done, and end to end.
    handshake: Option<P::UpstreamHandshake>,
    decoder: P::State,
    input: BytesMut,
    /// Why nothing can be written any more, and since when. What the upstream said before is still read.
    broken: Option<(io::Error, Instant)>,
    /// It was told that nothing more will come.
    told: bool,
    timer: Option<Pin<Box<Sleep>>>,
    keepalive: Keepalive,
    probes: bool,
}

impl<P: Sessioned> UpstreamTask<P> {
    pub fn new(sessions: Rc<Sessions<P>>, upstream: Rc<Upstream<P>>) -> Self {
        let config = upstream.pool.cluster.shared().config();
        let keepalive = config.keepalive.unwrap_or_default().into();
        let listener = upstream.pool.listener.borrow().clone();
        let handshake = || {
            let departure = upstream.departure();
            sessions.protocol.upstream_handshake(upstream.pool.lane, departure)
        };
        Self {
            listener,
            keepalive: Keepalive::new(keepalive, sessions.worker.now()),
            probes: config.keepalive.is_some() && sessions.protocol.heartbeat(0).is_some(),
            handshake: (!sessions.end_to_end).then(handshake),
            decoder: P::State::default(),
            input: BytesMut::new(),
            broken: None,
            told: false,
            timer: None,
            config,
            sessions,
            upstream,
        }
    }

    /// Serves until the connection is over.
    pub async fn serve(mut self) -> Ended {
        if let Some(handshake) = &mut self.handshake {
            let progress = handshake.start(&self.sessions.protocol);
            if let Err(ended) = self.advance(progress) {
                return ended;
            }
        } else {
            self.sessions.connected(&self.upstream);
        }
        loop {
            if let Some(ended) = std::future::poll_fn(|cx| self.poll(cx)).await {
                return ended;
            }
            if !self.input.is_empty() {
                return (Reason::BadReply, "the upstream spoke before TLS began".into());
            }
            if let Err(ended) = self.upstream.secure().await {
                return ended;
            }
            self.sessions.worker.tick();
            if let Some(handshake) = &mut self.handshake {
                let progress = handshake.on_secured(&self.sessions.protocol);
                if let Err(ended) = self.advance(progress) {
                    return ended;
                }
            }
        }
    }

    /// Says what the handshake has to say.
    fn advance(&mut self, progress: Progress<P>) -> Result<(), Ended> {
        let (frame, done) = match progress {
            Progress::Continue(frame) => (frame, false),
            Progress::Done(frame) => (frame, true),
            Progress::StartTls(frame) => {
                self.upstream.start_tls(&self.sessions, frame);
                return Ok(());
            }
            Progress::Refused(_, why) => return Err((Reason::ConnectFailed, why.into())),
        };
        if let Some(frame) = frame {
            self.upstream.append(&self.sessions, frame);
        }
        if done {
            if let Some(handshake) = self.handshake.take() {
                self.upstream.known_as.set(handshake.number());
                self.upstream.place.replace(self.sessions.protocol.place(handshake));
            }
            self.sessions.connected(&self.upstream);
        }
        Ok(())
    }

    /// One frame of the upstream's.
    fn on_frame(&mut self, frame: P::Frame) -> Result<(), Ended> {
        let (sessions, upstream) = (&self.sessions, &self.upstream);
        if let Some(handshake) = &mut self.handshake {
            let progress = handshake.on_frame(&sessions.protocol, frame);
            return self.advance(progress);
        }
        match frame.kind() {
            _ if sessions.end_to_end => {}
            Kind::Heartbeat => {
                if let Some(reply) = sessions.protocol.heartbeat_reply(&frame) {
                    upstream.append(sessions, reply);
                }
                return Ok(());
            }
            Kind::HeartbeatReply => return Ok(()),
            Kind::GoAway => {
                tracing::info!(endpoint = %upstream.endpoint.label(), "upstream goes away");
                upstream.endpoint.endpoint().drain(sessions.worker.now(), GO_AWAY);
                upstream.retire();
                return Ok(());
            }
            _ => {}
        }
        if let Some(client) = upstream.client() {
            sessions.on_reply(&client, upstream, frame);
            return Ok(());
        }
        let reset = match &mut *upstream.role.borrow_mut() {
            Role::Resetting(machine) => Some(machine.on_reply(&sessions.protocol, &frame)),
            _ => None,
        };
        match reset {
            Some(_) if frame.status() != Status::Ok => {
                Err((Reason::BadReply, "the reset was refused".into()))
            }
            Some(Hold::Pending) => Ok(()),
            Some(Hold::Answer(next)) => {
                upstream.append(sessions, next);
                Ok(())
            }
            Some(Hold::Release { reset: None }) => {
                sessions.reset_done(upstream);
                Ok(())
            }
            Some(_) => Err((Reason::BadReply, "the reset left state behind".into())),
            None => {
                upstream.series.unknown_replies.inc();
                let push = frame.kind() == Kind::Push;
                if push { Ok(()) } else { Err((Reason::BadReply, "a reply to nothing".into())) }
            }
        }
    }

    /// Ready when all is written, and the upstream told if there will not be more.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.upstream.poll_write(&self.sessions, cx))?;
        if self.upstream.is_finishing() && !self.told {
            if let Some(stream) = &mut *self.upstream.stream.borrow_mut() {
                ready!(Pin::new(stream).poll_shutdown(cx))?;
            }
            self.told = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether its client takes too little for more to be read here.
    fn is_held_back(&self) -> bool {
        match &*self.upstream.role.borrow() {
            Role::Lent(client) => client.is_stalled(),
            _ => false,
        }
    }

    /// Takes frames until bytes are wanted, or the client must be waited for. It is given what they are in one write: a reply
    /// in parts would wake it for each.
    fn take_frames(&mut self, input: &mut BytesMut) -> Result<(), Ended> {
        let client = self.upstream.client();
        if let Some(client) = &client {
            client.cork();
        }
        let taken = self.take_each(input);
        if let Some(client) = &client {
            client.flush(&self.sessions);
        }
        taken
    }

    fn take_each(&mut self, input: &mut BytesMut) -> Result<(), Ended> {
        while !input.is_empty() && !self.is_held_back() {
            let limits = &self.listener.limits;
            let (protocol, decoder) = (&self.sessions.protocol, &mut self.decoder);
            let taken = match &mut *self.upstream.role.borrow_mut() {
                Role::Lent(client) => {
                    let machine = &mut client.session.borrow_mut().machine;
                    machine.take(protocol, Peer::Upstream, decoder, limits, input)
                }
                Role::Resetting(machine) => {
                    machine.take(protocol, Peer::Upstream, decoder, limits, input)
                }
                Role::Gone => return Ok(()),
                Role::Clean if !P::SPEAKS_UNASKED => {
                    return Err((Reason::BadReply, "it speaks, and nobody has asked".into()));
                }
                Role::Opening | Role::Clean => {
                    protocol.decode(Peer::Upstream, decoder, limits, input)
                }
            };
            match taken {
                Ok(Some(frame)) => self.on_frame(frame)?,
                Ok(None) => break,
                Err(error) => {
                    return Err((Reason::BadReply, format!("undecodable reply: {error}")));
                }
            }
        }
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        if self.is_held_back() {
            return Poll::Pending;
        }
        if !self.input.is_empty() {
            let mut input = mem::take(&mut self.input);
            let taken = self.take_frames(&mut input);
            self.input = input;
            taken?;
            if self.is_held_back() {
                return Poll::Pending;
            }
        }
        let sessions = self.sessions.clone();
        let mut input = sessions.worker.buffers.begin_read(&mut self.input);
        let read = match &mut *self.upstream.stream.borrow_mut() {
            Some(stream) => poll_read_buf(Pin::new(stream), cx, &mut input),
            None => Poll::Pending,
        };
        let taken = match &read {
            Poll::Ready(Ok(n)) if *n > 0 => {
                self.keepalive.on_traffic(sessions.worker.now());
                self.upstream.series.bytes_received.add(*n as u64);
                self.take_frames(&mut input)
            }
            _ => Ok(()),
        };
        sessions.worker.buffers.end_read(input, &mut self.input);
        taken?;
        Poll::Ready(match ready!(read) {
            Ok(0) => Err((Reason::UpstreamReset, "closed by the upstream".into())),
            Ok(_) => Ok(()),
            Err(error) => Err((Reason::UpstreamReset, error.to_string())),
        })
    }

    /// Deadlines, probes and idleness. Says when to look again.
    fn check_time(&mut self, now: Instant) -> Result<Instant, Ended> {
        // The end of what can be read follows at once, unless the client takes its time.
        if let Some((error, since)) = &self.broken {
            if now < *since + BROKEN || self.is_held_back() {
                return Ok(now + BROKEN);
            }
            return Err((Reason::UpstreamReset, error.to_string()));
        }
        let (since, idle) = (self.upstream.since.get(), self.config.idle_timeout.into());
        let connect_timeout: Duration = self.config.connect_timeout.into();
        let (end, why) = match &*self.upstream.role.borrow() {
            Role::Opening => (since + connect_timeout, "the handshake takes too long"),
            Role::Resetting(_) => (since + connect_timeout, "the reset is not answered"),
            Role::Clean => (since + idle, "idle"),
            Role::Gone => (since + connect_timeout, "discarded"),
            // By the time it is clean the clock will be looked at in time for it.
            Role::Lent(_) => return Ok(now + LOOK.min(idle)),
        };
        if end <= now {
            if self.upstream.is_clean() {
                self.upstream.say_goodbye(&self.sessions);
                self.sessions.lost(&self.upstream);
            }
            return Err((Reason::UpstreamReset, why.into()));
        }
        let mut next = end.min(now + LOOK);
        while self.probes && self.upstream.is_clean() {
            match self.keepalive.poll(now) {
                Action::Wait(until) => {
                    next = next.min(until);
                    break;
                }
                Action::Probe => {
                    let Some(probe) = self.sessions.protocol.heartbeat(0) else { break };
                    self.upstream.series.heartbeats_sent.inc();
                    self.upstream.append(&self.sessions, probe);
                }
                Action::Dead => {
                    self.upstream.series.heartbeats_failed.inc();
                    return Err((Reason::UpstreamReset, "no answer to heartbeats".into()));
                }
            }
        }
        Ok(next)
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
            let next = self.check_time(self.sessions.worker.now())?.into();
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(next),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(next))),
            }
        }
    }

    /// Ends the connection, at once or when all is written that a client who has left had sent.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if self.upstream.is_finishing()
            && self.broken.is_none()
            && self.poll_write(cx).is_pending()
            && self.poll_timer(cx).is_ok()
        {
            return Poll::Pending;
        }
        Poll::Ready((Reason::UpstreamReset, "discarded".into()))
    }

    /// `None`: TLS is to begin.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ended>> {
        self.sessions.worker.tick();
        {
            let mut waker = self.upstream.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
        }
        loop {
            if matches!(*self.upstream.role.borrow(), Role::Gone) {
                return self.poll_end(cx).map(Some);
            }
            if self.broken.is_none() {
                match self.poll_write(cx) {
                    Poll::Ready(Ok(())) if self.upstream.is_securing() => return Poll::Ready(None),
                    Poll::Ready(Err(error)) => {
                        self.broken = Some((error, self.sessions.worker.now()));
                        self.upstream.rearm.set(true);
                    }
                    _ => {}
                }
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(())) => continue,
                Poll::Ready(Err(ended)) => return Poll::Ready(Some(ended)),
                Poll::Pending => {}
            }
            if let Err(ended) = self.poll_timer(cx) {
                return Poll::Ready(Some(ended));
            }
            return Poll::Pending;
        }
    }
}
