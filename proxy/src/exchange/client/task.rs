//! What a task does for one client connection: reads, dispatches, and writes what is owed.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;
use wiremesh::{DecodeError, Peer, Protocol, correlation::Exchange, engine::Inbox};

use super::{Client, State};
use crate::{
    exchange::Mesh,
    worker::{Accepted, OWED_HIGH, OWED_LOW, Partial},
};

/// Takes a client out of the mesh however its task ends, a panic in a protocol's code included.
struct Leaving<P: Protocol>
where
    P::Correlation: Exchange<P>,
{
    mesh: Rc<Mesh<P>>,
    client: Rc<Client<P>>,
}

impl<P: Protocol> Drop for Leaving<P>
where
    P::Correlation: Exchange<P>,
{
    fn drop(&mut self) {
        let series = &self.client.listener.borrow().series;
        series.abandoned_requests.add(self.client.in_flight().into());
        series.connections_closed.inc();
        self.client.kill();
        self.mesh.client_closed(&self.client);
    }
}

/// Reads, decodes and dispatches the client's requests, and writes what it is owed.
pub struct ClientTask<P: Protocol>
where
    P::Correlation: Exchange<P>,
{
    mesh: Rc<Mesh<P>>,
    client: Rc<Client<P>>,
    accepted: Accepted,
    decoder: P::State,
    input: BytesMut,
    /// What of `input` is counted.
    partial: Partial,
    eof: bool,
}

impl<P: Protocol> ClientTask<P>
where
    P::Correlation: Exchange<P>,
{
    pub fn new(mesh: Rc<Mesh<P>>, client: Rc<Client<P>>, mut accepted: Accepted) -> Self {
        let input = std::mem::take(&mut accepted.prefix);
        let partial = mesh.worker.buffers.partial();
        Self { mesh, client, accepted, decoder: P::State::default(), input, partial, eof: false }
    }

    /// Serves until the connection is over.
    pub async fn run(mut self) {
        let leaving = Leaving { mesh: self.mesh.clone(), client: self.client.clone() };
        let result = std::future::poll_fn(|cx| self.poll(cx)).await;
        drop(leaving);
        match result {
            Ok(()) => self.accepted.stream.linger(self.eof).await,
            Err(error) => {
                tracing::debug!(client = %self.client.peer, %error, "client connection lost");
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.client.out.borrow_mut();
        while !out.is_empty() {
            match self.accepted.stream.poll_write_out(cx, &mut out) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    self.accepted.series.bytes_sent.add(n as u64);
                    self.client.pace.on_taken(n, self.mesh.worker.now());
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
            if out.len() <= OWED_LOW && self.client.pace.stalled_since.get().is_some() {
                self.client.release_feeders();
                self.mesh.take_slack(&self.client);
            }
        }
        if out.is_empty() {
            self.mesh.worker.buffers.to_clients.reclaim(&mut out);
            Pin::new(&mut self.accepted.stream).poll_flush(cx)
        } else {
            Poll::Pending
        }
    }

    /// Whether another request may be taken now.
    fn may_take(&self) -> bool {
        self.client.state.get() == State::Open
            && self.client.pace.stalled_since.get().is_none()
            && (self.client.in_flight() as usize)
                < self.client.listener.borrow().config.max_in_flight
            && !self.client.clogged.get()
            && self.client.inbox.borrow().held_bytes() < OWED_HIGH
            && !self.client.alone.get()
            && !self.client.is_parked()
    }

    /// Decodes and dispatches what has been received, as far as may be. Says whether it stopped for want of bytes.
    fn take_frames(&mut self, input: &mut BytesMut) -> bool {
        loop {
            if input.is_empty() {
                self.client.pace.partial_since.set(None);
                return true;
            }
            if !self.may_take() {
                return false;
            }
            let listener = self.client.listener.borrow().clone();
            let limits = &listener.limits;
            match self.mesh.protocol.decode(Peer::Client, &mut self.decoder, limits, input) {
                Ok(Some(frame)) => {
                    self.client.pace.partial_since.set(None);
                    self.mesh.on_client_frame(&self.client, frame);
                }
                Ok(None) => {
                    if self.client.pace.partial_since.get().is_none() {
                        self.client.pace.partial_since.set(Some(self.mesh.worker.now()));
                    }
                    return true;
                }
                Err(error) => {
                    input.clear();
                    self.refuse(&error);
                    return false;
                }
            }
        }
    }

    /// Closes the connection for what came on it. Replies to what was understood are still delivered.
    fn refuse(&self, error: &DecodeError) {
        tracing::info!(client = %self.client.peer, %error, "undecodable request, closing");
        self.accepted.series.decode_errors.inc();
        self.client.pace.partial_since.set(None);
        if let Some(refusal) = self.mesh.protocol.refuse(error) {
            self.mesh.say(&self.client, refusal);
        }
        self.client.close();
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.mesh.next_elsewhere(&self.client);
        if let Some(step) = self.client.unpark() {
            self.mesh.take_step(&self.client, step, None, None);
        }
        // Then what is here already: it may have waited for room.
        if !self.input.is_empty() && self.client.state.get() == State::Open {
            let mut input = std::mem::take(&mut self.input);
            let wants_more = self.take_frames(&mut input);
            self.input = input;
            if !wants_more {
                return Poll::Pending;
            }
        }
        if self.eof || !self.may_take() {
            return Poll::Pending;
        }
        ready!(self.accepted.stream.poll_read_ready(cx))?;
        let buffers = &self.mesh.worker.buffers;
        let mut input = buffers.begin_read(&mut self.input);
        let read = poll_read_buf(Pin::new(&mut self.accepted.stream), cx, &mut input);
        if let Poll::Ready(Ok(n)) = &read {
            if *n == 0 {
                self.eof = true;
                self.client.pace.ended_since.set(Some(self.mesh.worker.now()));
            } else {
                self.client.pace.on_sent(*n, self.mesh.worker.now());
                self.accepted.series.bytes_received.add(*n as u64);
                self.take_frames(&mut input);
            }
        }
        self.mesh.worker.buffers.end_read(input, &mut self.input);
        let max_frame = self.client.listener.borrow().limits.max_frame;
        if let Some((seen, most)) = self.partial.note(self.input.len(), max_frame) {
            self.input = BytesMut::new();
            self.partial.note(0, max_frame);
            self.refuse(&DecodeError::limit("memory for half-received messages", most, seen));
        }
        Poll::Ready(ready!(read).map(|_| ()))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self;
        this.mesh.worker.tick();
        {
            this.client.woken.set(false);
            let mut waker = this.client.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
        }
        loop {
            if this.client.is_gone() {
                return Poll::Ready(Ok(()));
            }
            let written = this.poll_write(cx)?;
            if this.poll_read(cx)?.is_ready() {
                continue;
            }
            if written.is_pending() {
                return Poll::Pending;
            }
            if this.client.out.borrow().is_empty() {
                let over = this.eof || this.client.state.get() == State::Closing;
                let busy = this.client.in_flight() > 0 || this.client.is_parked();
                let hopeless = this.eof && this.mesh.is_hopeless(&this.client);
                return if over && (!busy || hopeless) {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                };
            }
            // Dispatching has answered at once: write that.
        }
    }
}
