//! A request's end: answered, given up, or lost with its connection.

use std::rc::Rc;

use wiremesh::{
    Failure, Frame, Kind, Reason, Retry, Status,
    correlation::{Hold, SessionMachine, Sessioned},
};

use super::{
    Sessions,
    client::Client,
    ticket::{Pending, Sent, Ticket},
    upstream::Upstream,
};
use crate::{
    cluster::LocalEndpoint,
    policy::Cause,
    stations::{Left, Outcome},
    worker::Phase,
};

impl<P: Sessioned> Sessions<P> {
    /// A frame from the connection that is the client's.
    pub(super) fn on_reply(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        upstream: &Rc<Upstream<P>>,
        mut frame: P::Frame,
    ) {
        let mut session = client.session.borrow_mut();
        let hold = match session.machine.on_reply(&self.protocol, &frame) {
            Hold::Answer(answer) => {
                drop(session);
                upstream.append(self, answer);
                return;
            }
            hold => hold,
        };
        let (status, len) = (frame.status(), frame.wire_len());
        let partial = status.is_upstream_fault() && frame.is_partial_fault();
        let mut done = None;
        if let Pending::Sent(sent) = &mut session.pending {
            let ticket = &mut sent.ticket;
            if ticket.status == Status::Ok && status != Status::Ok {
                (ticket.status, ticket.partial) = (status, partial);
                ticket.error = frame.error_class();
            }
            ticket.items += frame.items();
            if !matches!(hold, Hold::Pending) {
                done = Some(std::mem::replace(&mut session.pending, Pending::None));
            }
        }
        let dedicated = self.end_to_end || upstream.pool.cluster.config().dedicated;
        let (mut next, mut closing) = (None, false);
        match hold {
            Hold::Pending | Hold::Answer(_) => {}
            Hold::Held => (session.holds, session.tied) = (true, true),
            Hold::Release { reset } if dedicated => {
                session.holds = false;
                session.tied |= reset.is_some();
            }
            Hold::Release { reset } => {
                next = Some(Some(reset));
                session.detach();
            }
            Hold::Close => {
                next = Some(None);
                session.detach();
                closing = self.end_to_end;
            }
        }
        let open = session.machine.is_open();
        let clean = session.upstream.is_none();
        drop(session);
        match next {
            None => {}
            Some(Some(reset)) => self.release(upstream, reset),
            Some(None) => self.discard(upstream),
        }
        let answered = done.is_some();
        if let Some(Pending::Sent(sent)) = done {
            let Sent { ticket, endpoint, at, .. } = sent;
            let now = self.worker.now();
            let left = Left::Answered { status: ticket.status, partial: ticket.partial };
            ticket.passage.leave(&self.worker, &endpoint, at, now, left);
            let mut ticket = ticket;
            if clean {
                let cause = Cause::answer(ticket.status);
                match self.retry(client, ticket, &cause) {
                    Some(back) => ticket = back,
                    None => return,
                }
            }
            let outcome = Outcome {
                status: ticket.status,
                error: ticket.error,
                reason: None,
                bytes_out: ticket.bytes_out.saturating_add(len),
                items: ticket.items,
            };
            ticket.passage.record(&self.worker, &client.peer, Some(&endpoint), outcome);
        } else if let Pending::Sent(sent) = &mut client.session.borrow_mut().pending {
            sent.ticket.begun = true;
            sent.ticket.replay = None;
            sent.ticket.bytes_out += len;
        }
        if frame.kind() == Kind::Response {
            client.listener.borrow().filters.on_response(&mut frame);
        }
        client.owe(self, |out| self.protocol.encode(frame, out));
        if closing {
            client.close();
        } else if answered || open {
            client.go_on();
            self.left(client);
        }
    }

    /// The connection that was the client's is gone.
    pub(super) fn upstream_lost(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        upstream: &Upstream<P>,
        failure: &Failure,
    ) {
        if upstream.is_finishing() {
            return self.left_too(client, failure);
        }
        let unsent = |sent: &Sent<P>| !upstream.has_written(sent.end);
        self.interrupted(client, failure, |sent| {
            if unsent(sent) { Retry::IfUnsent } else { Retry::IfIdempotent }
        });
    }

    /// The request's time, or that of this try, is up.
    pub(super) fn timed_out(self: &Rc<Self>, client: &Rc<Client<P>>) {
        if let Some(attaching) = self.stop_attaching(client) {
            return self.attached_late(client, &attaching);
        }
        if let Some(ticket) = self.stop_waiting(client) {
            let failure = Failure::new(Reason::Timeout, "no upstream connection in time");
            return self.refuse(client, ticket, None, &failure);
        }
        let session = client.session.borrow();
        let Pending::Sent(sent) = &session.pending else { return };
        let waited = self.worker.now().saturating_duration_since(sent.at).as_millis();
        let message = format!("{} did not answer within {waited} ms", sent.endpoint.label());
        drop(session);
        self.take_away(client);
        self.interrupted(client, &Failure::new(Reason::Timeout, message), |_| Retry::IfIdempotent);
    }

    /// Answers whatever request is in progress by `failure`.
    pub(super) fn give_up(self: &Rc<Self>, client: &Rc<Client<P>>, failure: &Failure) {
        if let Some(attaching) = self.stop_attaching(client) {
            self.unattached(client, attaching.since, failure);
        } else if let Some(ticket) = self.stop_waiting(client) {
            self.refuse(client, ticket, None, failure);
        } else if matches!(client.session.borrow().pending, Pending::Sent(_)) {
            self.take_away(client);
            self.interrupted(client, failure, |_| Retry::Never);
        }
    }

    /// A client's connection is over.
    pub(super) fn client_closed(self: &Rc<Self>, client: &Rc<Client<P>>) {
        self.clients.borrow_mut().remove(&client.id);
        client.series.connections_closed.inc();
        let busy = client.is_busy() && self.stop_attaching(client).is_none();
        if let Some(ticket) = self.stop_waiting(client) {
            self.conclude_gone(client, &ticket, None);
        }
        let upstream = client.session.borrow_mut().upstream.take();
        match upstream {
            Some(upstream) if self.end_to_end => self.leave(&upstream),
            Some(upstream) => self.discard(&upstream),
            None => {}
        }
        self.abandon(client);
        if busy {
            client.series.abandoned_requests.inc();
        }
    }

    /// Records the request in progress, if one is with the upstream, of which its client will not hear.
    pub(super) fn abandon(&self, client: &Client<P>) {
        let mut session = client.session.borrow_mut();
        let pending = std::mem::replace(&mut session.pending, Pending::None);
        drop(session);
        if let Pending::Sent(sent) = pending {
            let now = self.worker.now();
            sent.ticket.passage.leave(&self.worker, &sent.endpoint, sent.at, now, Left::Unheard);
            self.conclude_gone(client, &sent.ticket, Some(&sent.endpoint));
        }
    }

    /// Closes the connection that is the client's, if one is: in what state it is nobody knows.
    fn take_away(self: &Rc<Self>, client: &Client<P>) {
        let upstream = client.session.borrow_mut().upstream.take();
        if let Some(upstream) = upstream {
            self.discard(&upstream);
        }
    }

    /// Ends the request that was with an upstream that is gone. A session whose state has gone with it is over.
    fn interrupted(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        failure: &Failure,
        retry: impl FnOnce(&Sent<P>) -> Retry,
    ) {
        let mut session = client.session.borrow_mut();
        let tied = session.tied;
        session.detach();
        if self.end_to_end && matches!(session.pending, Pending::None) {
            drop(session);
            return self.farewell(client, failure);
        }
        let pending = match session.pending {
            Pending::Sent(_) => std::mem::replace(&mut session.pending, Pending::Paused),
            _ => Pending::None,
        };
        drop(session);
        if tied {
            client.close();
        }
        if let Pending::Sent(sent) = pending {
            let retry = if tied { Retry::Never } else { retry(&sent) };
            let Sent { ticket, endpoint, at, .. } = sent;
            let left = Left::Failed(failure.reason);
            ticket.passage.leave(&self.worker, &endpoint, at, self.worker.now(), left);
            self.failed(client, ticket, Some(&endpoint), failure, retry);
        }
    }

    /// An attempt has failed, and is counted out: the request is tried again, or answered.
    pub(super) fn failed(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        ticket: Ticket<P>,
        endpoint: Option<&Rc<LocalEndpoint>>,
        failure: &Failure,
        retry: Retry,
    ) {
        let cause = Cause::local(failure.reason, retry);
        if let Some(ticket) = self.retry(client, ticket, &cause) {
            self.refuse(client, ticket, endpoint, failure);
        }
    }

    /// Tries again where the route says so; gives the ticket back when it does not.
    fn retry(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        mut ticket: Ticket<P>,
        cause: &Cause,
    ) -> Option<Ticket<P>> {
        let (now, route) = (self.worker.now(), ticket.passage.route.clone());
        let (Some(policy), Some(replay)) =
            (route.as_ref().and_then(|route| route.retry.as_ref()), &ticket.replay)
        else {
            return Some(ticket);
        };
        let backoff = policy.backoff(ticket.attempts, &mut self.worker.rng.borrow_mut());
        let remaining = ticket.passage.deadline.map(|d| d.saturating_duration_since(now + backoff));
        let leaving = client.is_gone() || self.worker.phase() >= Phase::Refusing;
        if leaving || !policy.should_retry(cause, ticket.attempts, remaining, now) {
            return Some(ticket);
        }
        let request = replay.request.clone();
        ticket.passage.series.retries.inc();
        (ticket.status, ticket.partial, ticket.error) = (Status::Ok, false, None);
        let mut session = client.session.borrow_mut();
        session.pending = Pending::Paused;
        session.machine = self.protocol.machine();
        session.machine.on_request(&self.protocol, &request);
        let (sessions, client) = (self.clone(), client.clone());
        tokio::task::spawn_local(async move {
            tokio::time::sleep(backoff).await;
            sessions.worker.tick();
            sessions.attempt(&client, ticket, request);
            client.wake();
        });
        None
    }

    /// Answers a request by the proxy's own failure, and records it. Where the client cannot be told it is left.
    pub(super) fn refuse(
        &self,
        client: &Rc<Client<P>>,
        ticket: Ticket<P>,
        endpoint: Option<&Rc<LocalEndpoint>>,
        failure: &Failure,
    ) {
        // Half of an answer cannot be taken back, and a part of a session cannot be left out.
        let mut reply = (ticket.replies && !ticket.begun)
            .then(|| self.protocol.reply(&ticket.head, failure))
            .flatten();
        let mut goes_on = reply.is_some() || failure.reason == Reason::Direct;
        let mut session = client.session.borrow_mut();
        session.pending = Pending::None;
        if !self.end_to_end {
            if session.upstream.is_none() {
                session.machine = self.protocol.machine();
            }
        } else if goes_on && session.upstream.is_some() && !session.machine.is_open() {
            session.machine.on_failed(&self.protocol);
        } else {
            goes_on = false;
            reply = self.last_word(&mut session, failure).or(reply);
        }
        drop(session);
        if let Some(mut reply) = reply {
            client.listener.borrow().filters.on_response(&mut reply);
            client.owe(self, |out| self.protocol.encode(reply, out));
        }
        if goes_on {
            client.wake();
        } else {
            client.close();
        }
        let (status, reason) = (failure.status, Some(failure.reason));
        let outcome = Outcome {
            status,
            error: None,
            reason,
            bytes_out: ticket.bytes_out,
            items: ticket.items,
        };
        let endpoint = endpoint.map(|endpoint| &**endpoint);
        ticket.passage.record(&self.worker, &client.peer, endpoint, outcome);
    }

    /// Records a request whose client has left.
    pub(super) fn conclude_gone(
        &self,
        client: &Client<P>,
        ticket: &Ticket<P>,
        endpoint: Option<&LocalEndpoint>,
    ) {
        let outcome =
            Outcome { status: Status::Unknown, error: None, reason: None, bytes_out: 0, items: 0 };
        ticket.passage.record(&self.worker, &client.peer, endpoint, outcome);
    }
}
