//! A request's end: the answer classified, the request tried again or answered, and recorded.

use std::{rc::Rc, time::Instant};

use wiremesh::{
    Failure, Frame, Protocol, Reason, Retry, Status,
    correlation::Exchange,
    engine::{Inbox, Place},
};

use super::{
    Mesh,
    client::Client,
    mirror::Mirrored,
    ticket::{Alone, Sent, Ticket},
    upstream::Upstream,
};
use crate::{
    cluster::LocalEndpoint,
    policy::Cause,
    stations::{Left, Outcome},
    worker::Phase,
};

impl<P: Protocol> Mesh<P>
where
    P::Correlation: Exchange<P>,
{
    /// The last or only reply to a request.
    pub(super) fn replied(self: &Rc<Self>, sent: Sent<P>, mut reply: P::Frame) {
        let now = self.worker.now();
        let Sent { ticket, endpoint, at, .. } = sent;
        let status = reply.status();
        let partial = status.is_upstream_fault() && reply.is_partial_fault();
        let left = Left::Answered { status, partial };
        ticket.passage.leave(&self.worker, &endpoint, at, now, left);
        let cause = Cause::answer(status);
        let Some(ticket) = self.retry(ticket, &endpoint, &cause, now) else { return };
        let ticket = if <P::Correlation as Exchange<P>>::STATEFUL && status != Status::Ok {
            match self.redirect(ticket, &endpoint, &mut reply) {
                Some(ticket) => ticket,
                None => return,
            }
        } else {
            ticket
        };
        if <P::Correlation as Exchange<P>>::STATEFUL {
            ticket.client.note_executed(&ticket);
        }
        self.deliver(ticket, &endpoint, reply, status);
    }

    /// Gives a client its reply.
    pub(super) fn deliver(
        &self,
        mut ticket: Ticket<P>,
        endpoint: &Rc<LocalEndpoint>,
        mut reply: P::Frame,
        status: Status,
    ) {
        match ticket.mirrored.take().map(|mirrored| *mirrored) {
            None => {}
            Some(Mirrored::Original(comparison)) => comparison.take(&self.protocol, &reply),
            Some(Mirrored::Copy(copy)) => {
                ticket.client.end();
                copy.answered(&self.protocol, reply);
                return self.tickets.give_back(ticket);
            }
        }
        if ticket.alone == Alone::Watched
            && let Some(cluster) = &ticket.passage.cluster
        {
            self.show(&ticket.client, cluster, &mut reply, None);
        }
        ticket.passage.listener.filters.on_response(&mut reply);
        let bytes_out = ticket.bytes_out.saturating_add(reply.wire_len());
        let error = if status == Status::Ok { None } else { reply.error_class() };
        let items = ticket.items.saturating_add(reply.items());
        let client = &ticket.client;
        if !client.is_gone() {
            let place = ticket.place;
            client.owe(self, |out| {
                client.inbox.borrow_mut().reply(&self.protocol, place, reply, true, out);
            });
        }
        let outcome = Outcome { status, error, reason: None, bytes_out, items };
        self.conclude_answered(ticket, endpoint, outcome);
    }

    /// A reply that was passed on in pieces is complete.
    pub(super) fn passed(&self, sent: Sent<P>, status: Status) {
        let now = self.worker.now();
        let Sent { ticket, endpoint, at, .. } = sent;
        // Errors are short.
        let left = Left::Answered { status, partial: false };
        ticket.passage.leave(&self.worker, &endpoint, at, now, left);
        let client = &ticket.client;
        if !client.is_gone() {
            client.owe(self, |out| {
                client.inbox.borrow_mut().finish(&self.protocol, ticket.place, out);
            });
            client.end_amid(self);
        }
        let (bytes_out, items) = (ticket.bytes_out, ticket.items);
        let outcome = Outcome { status, error: None, reason: None, bytes_out, items };
        self.conclude_answered(ticket, &endpoint, outcome);
    }

    /// A request's client has its reply.
    fn conclude_answered(&self, ticket: Ticket<P>, endpoint: &Rc<LocalEndpoint>, outcome: Outcome) {
        let client = &ticket.client;
        client.end();
        if ticket.alone != Alone::No {
            client.set_alone(false);
        }
        self.record(ticket, Some(endpoint), outcome);
    }

    /// One reply of several.
    pub(super) fn replied_more(&self, client: &Rc<Client<P>>, place: Place, reply: P::Frame) {
        if !client.is_gone() {
            client.owe(self, |out| {
                client.inbox.borrow_mut().reply(&self.protocol, place, reply, false, out);
            });
        }
    }

    /// A one-way request has been handed over: that is its end.
    pub(super) fn sent_one_way(&self, upstream: &Upstream<P>, ticket: Ticket<P>, now: Instant) {
        let endpoint = &upstream.endpoint;
        ticket.passage.leave(&self.worker, endpoint, now, now, Left::Unheard);
        ticket.client.end();
        let outcome =
            Outcome { status: Status::Ok, error: None, reason: None, bytes_out: 0, items: 0 };
        self.record(ticket, Some(endpoint), outcome);
    }

    /// A request was lost with its connection, or could not be put on it. `retry` says whether it may have been executed.
    pub(super) fn failed(self: &Rc<Self>, sent: Sent<P>, failure: &Failure, retry: Retry) {
        let now = self.worker.now();
        let Sent { ticket, endpoint, at, .. } = sent;
        ticket.passage.leave(&self.worker, &endpoint, at, now, Left::Failed(failure.reason));
        self.suspect(&ticket);
        let cause = Cause::local(failure.reason, retry);
        if let Some(ticket) = self.retry(ticket, &endpoint, &cause, now) {
            self.conclude_failed(ticket, Some(&endpoint), failure);
        }
    }

    /// A request's time, or that of this try, is up.
    pub(super) fn timed_out(self: &Rc<Self>, sent: Sent<P>) {
        let waited = self.worker.now().saturating_duration_since(sent.at);
        let failure = Failure::new(
            Reason::Timeout,
            format!("{} did not answer within {} ms", sent.endpoint.label(), waited.as_millis()),
        );
        self.failed(sent, &failure, Retry::IfIdempotent);
    }

    /// A request waited for a connection that could not be made.
    pub(super) fn connect_failed(
        self: &Rc<Self>,
        ticket: Ticket<P>,
        endpoint: &Rc<LocalEndpoint>,
        failure: &Failure,
    ) {
        let now = self.worker.now();
        ticket.passage.leave(&self.worker, endpoint, now, now, Left::Failed(failure.reason));
        self.suspect(&ticket);
        let cause = Cause::local(failure.reason, Retry::IfUnsent);
        let ticket = self.retry(ticket, endpoint, &cause, now);
        let ticket = ticket.and_then(|ticket| self.outwait(ticket, endpoint, failure));
        if let Some(ticket) = ticket {
            self.conclude_failed(ticket, Some(endpoint), failure);
        }
    }

    /// An endpoint that fails may not be what it was any more.
    fn suspect(&self, ticket: &Ticket<P>) {
        if <P::Correlation as Exchange<P>>::STATEFUL
            && let Some(cluster) = &ticket.passage.cluster
        {
            cluster.shared().stale();
        }
    }

    /// A request was given up while it waited for a connection.
    pub(super) fn never_sent(
        &self,
        ticket: Ticket<P>,
        endpoint: &Rc<LocalEndpoint>,
        failure: &Failure,
    ) {
        let now = self.worker.now();
        ticket.passage.leave(&self.worker, endpoint, now, now, Left::Failed(failure.reason));
        self.conclude_failed(ticket, Some(endpoint), failure);
    }

    /// Tries again where the route says so; gives the ticket back when it does not.
    fn retry(
        self: &Rc<Self>,
        mut ticket: Ticket<P>,
        endpoint: &Rc<LocalEndpoint>,
        cause: &Cause,
        now: Instant,
    ) -> Option<Ticket<P>> {
        let details = &mut *ticket;
        let Some(route) = &details.passage.route else { return Some(ticket) };
        let (Some(policy), Some(replay)) = (&route.retry, &mut details.replay) else {
            return Some(ticket);
        };
        let backoff = policy.backoff(details.attempts, &mut self.worker.rng.borrow_mut());
        let deadline = details.passage.deadline;
        let remaining = deadline.map(|d| d.saturating_duration_since(now + backoff));
        if <P::Correlation as Exchange<P>>::ORDERED {
            // Another try must not be overtaken, nor overtake.
            if details.client.in_flight() > 1 {
                return Some(ticket);
            }
            if details.alone == Alone::No {
                details.alone = Alone::Yes;
                details.client.set_alone(true);
            }
        }
        let leaving = details.client.is_gone() || self.worker.phase() >= Phase::Refusing;
        if leaving || !policy.should_retry(cause, details.attempts, remaining, now) {
            return Some(ticket);
        }
        replay.avoid.push(endpoint.id());
        let request = replay.request.clone();
        details.passage.series.retries.inc();
        let mesh = self.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(backoff).await;
            mesh.worker.tick();
            mesh.attempt(ticket, request);
        });
        None
    }

    /// Answers a request by the proxy's own failure, and records it.
    pub(super) fn conclude_failed(
        &self,
        ticket: Ticket<P>,
        endpoint: Option<&Rc<LocalEndpoint>>,
        failure: &Failure,
    ) {
        ticket.client.end();
        if !ticket.expect.is_none() {
            self.answer(&ticket, failure);
        } else {
            ticket.client.wake();
        }
        if matches!(ticket.alone, Alone::Watched | Alone::Private(_)) {
            let mut machine = ticket.client.machine.borrow_mut();
            <P::Correlation as Exchange<P>>::on_failed(&self.protocol, &mut machine, ticket.own());
        }
        if ticket.own().is_some_and(|own| ticket.client.own(own).is_some()) {
            // What state is on it now is not known.
            ticket.client.close();
        }
        if ticket.alone != Alone::No {
            ticket.client.set_alone(false);
        }
        let (bytes_out, items) = (ticket.bytes_out, ticket.items);
        let (status, reason) = (failure.status, Some(failure.reason));
        let outcome = Outcome { status, error: None, reason, bytes_out, items };
        self.record(ticket, endpoint, outcome);
    }

    /// A request's client has left.
    pub(super) fn unheard(&self, ticket: Ticket<P>, endpoint: &Rc<LocalEndpoint>) {
        let now = self.worker.now();
        ticket.passage.leave(&self.worker, endpoint, now, now, Left::Unheard);
        ticket.client.end();
        let (status, bytes_out, items) = (Status::Unknown, ticket.bytes_out, ticket.items);
        let outcome = Outcome { status, error: None, reason: None, bytes_out, items };
        self.record(ticket, Some(endpoint), outcome);
    }

    /// Records a request whose client has left before it was sent.
    pub(super) fn conclude_gone(&self, ticket: Ticket<P>) {
        ticket.client.end();
        let outcome =
            Outcome { status: Status::Unknown, error: None, reason: None, bytes_out: 0, items: 0 };
        self.record(ticket, None, outcome);
    }

    fn record(
        &self,
        mut ticket: Ticket<P>,
        endpoint: Option<&Rc<LocalEndpoint>>,
        outcome: Outcome,
    ) {
        if let Some(Mirrored::Copy(copy)) = ticket.mirrored.take().map(|mirrored| *mirrored) {
            copy.ended(outcome);
            return self.tickets.give_back(ticket);
        }
        if let Some(split) = &ticket.split {
            // Of a part only what it is about counts.
            split.note(endpoint);
            ticket.passage.record_part(&self.worker, outcome);
        } else {
            let endpoint = endpoint.map(|endpoint| &**endpoint);
            ticket.passage.record(&self.worker, &ticket.client.peer, endpoint, outcome);
        }
        if ticket.leads {
            ticket.client.led_home();
        }
        self.tickets.give_back(ticket);
    }
}
