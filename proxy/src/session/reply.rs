//! A request's end: answered, given up, or lost with its connection.

use std::rc::Rc;

use wiremesh::{
    Failure, Frame, Kind, Protocol, Reason, Retry, Status,
    correlation::{Attachment, Hold, SessionMachine, Sessioned},
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

/// Takes a request that was not sent out of its cluster's count.
pub(super) fn withdraw<P: Protocol>(ticket: &Ticket<P>) {
    if let Some(cluster) = &ticket.passage.cluster {
        cluster.release_request();
    }
}

impl<P: Sessioned> Sessions<P> {
    /// A frame from the connection that is the client's.
    pub(super) fn on_reply(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        upstream: &Rc<Upstream<P>>,
        mut frame: P::Frame,
    ) {
        let mut session = client.session.borrow_mut();
        let hold = session.machine.on_reply(&self.protocol, &frame);
        if let Hold::Answer(answer) = hold {
            drop(session);
            upstream.append(self, answer);
            return;
        }
        if matches!(session.pending, Pending::Preparing(_)) {
            drop(session);
            return self.on_prepared(client, upstream, hold);
        }
        let (status, len) = (frame.status(), frame.wire_len());
        let partial = status.is_upstream_fault() && frame.is_partial_fault();
        let cluster = &upstream.pool.cluster;
        if status != Status::Ok && cluster.is_learnt() && self.protocol.is_stale(&frame) {
            cluster.shared().stale();
        }
        let mut done = None;
        if let Pending::Sent(sent) = &mut session.pending {
            let ticket = &mut sent.ticket;
            if ticket.status == Status::Ok && status != Status::Ok {
                (ticket.status, ticket.partial) = (status, partial);
                ticket.error = frame.error_class();
            }
            ticket.items += frame.items();
            if let Some(mirrored) = &mut ticket.mirrored {
                mirrored.add(&frame);
            }
            if !matches!(hold, Hold::Pending) {
                done = Some(std::mem::replace(&mut session.pending, Pending::None));
            }
        }
        let closing = self.end_to_end && matches!(hold, Hold::Close);
        drop(session);
        self.keep(client, upstream, hold);
        let session = client.session.borrow();
        let open = session.machine.is_open();
        let clean = session.upstream.is_none();
        drop(session);
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
            if let Some(mirrored) = ticket.mirrored.take() {
                // What is left of a copy is for nobody.
                let is_copy = mirrored.is_copy();
                mirrored.answered(ticket.status);
                if is_copy {
                    return client.wake();
                }
            }
            self.record(client, &ticket, Some(&endpoint), outcome);
        } else if let Pending::Sent(sent) = &mut client.session.borrow_mut().pending {
            sent.ticket.begun = true;
            sent.ticket.replay = None;
            sent.ticket.bytes_out += len;
        }
        if frame.kind() == Kind::Response && !client.is_gone() {
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

    /// Does with the connection that is the client's what its machine says.
    fn keep(self: &Rc<Self>, client: &Client<P>, upstream: &Rc<Upstream<P>>, hold: Hold<P>) {
        let cluster = &upstream.pool.cluster;
        // Not kept: what follows looks at the cluster, too.
        let (own, linger) = {
            let config = cluster.config();
            (config.dedicated, config.linger_timeout.0)
        };
        let dedicated = self.end_to_end
            || own && cluster.serves(&upstream.endpoint, upstream.pool.access, self.worker.now());
        let mut session = client.session.borrow_mut();
        match hold {
            Hold::Pending | Hold::Prepared | Hold::Answer(_) => {}
            Hold::Held => {
                session.holds.get_or_insert_with(|| self.worker.now());
                session.tied = true;
                if session.held.is_none() && !self.end_to_end && cluster.config().max_held.is_some()
                {
                    session.held = Some(cluster.shared().held().one());
                }
            }
            Hold::Linger => {
                (session.holds, session.tied) = (None, false);
                session.held = None;
                session.lingers = Some(self.worker.now() + linger);
                // It has an end to watch for.
                client.wake();
            }
            Hold::Release { reset } if dedicated => {
                (session.holds, session.held) = (None, None);
                session.tied |= reset.is_some();
            }
            Hold::Release { reset } => {
                session.detach();
                drop(session);
                self.release(upstream, reset);
            }
            Hold::Close => {
                session.detach();
                let open = session.machine.is_open();
                drop(session);
                // What a client is in the middle of is no place for a word.
                if open { self.discard(upstream) } else { self.part_with(upstream) }
            }
        }
    }

    /// The machine says what becomes of the connection that is the client's, if one is.
    pub(super) fn let_go(self: &Rc<Self>, client: &Client<P>) {
        let mut session = client.session.borrow_mut();
        session.lingers = None;
        let Some(upstream) = session.upstream.clone() else { return };
        let hold = session.machine.let_go(&self.protocol);
        drop(session);
        let hold = if matches!(hold, Hold::Linger) { Hold::Held } else { hold };
        self.keep(client, &upstream, hold);
    }

    /// A part of the answer to what goes before the request in progress.
    fn on_prepared(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        upstream: &Rc<Upstream<P>>,
        hold: Hold<P>,
    ) {
        match hold {
            Hold::Pending => {}
            Hold::Prepared => {
                if let Some((ticket, request)) = self.prepared(client) {
                    self.send(client, upstream, ticket, request);
                    client.wake();
                }
            }
            _ => {
                let why = "the upstream's answer to what goes before the request is none";
                let failure = Failure::new(Reason::BadReply, why);
                self.take_away(client);
                self.interrupted(client, &failure, |_| Retry::Never);
            }
        }
    }

    /// Takes out the request that waits for something else on its connection.
    fn prepared(&self, client: &Client<P>) -> Option<(Ticket<P>, P::Frame)> {
        let mut session = client.session.borrow_mut();
        match std::mem::replace(&mut session.pending, Pending::Paused) {
            Pending::Preparing(waiting) => Some(*waiting),
            other => {
                session.pending = other;
                None
            }
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
            let late =
                ticket.passage.deadline.is_some_and(|deadline| deadline <= self.worker.now());
            let failure = match &ticket.passage.cluster {
                Some(cluster) if !late => Failure::new(
                    Reason::Overloaded,
                    format!(
                        "cluster {} had no connection to spare within {}",
                        cluster.name(),
                        cluster.config().pending_timeout
                    ),
                ),
                _ => Failure::new(Reason::Timeout, "no upstream connection in time"),
            };
            return self.refuse(client, ticket, None, &failure);
        }
        let session = client.session.borrow();
        let mut works = None;
        let message = match &session.pending {
            Pending::Sent(sent) => {
                works = session.upstream.clone();
                let waited = self.worker.now().saturating_duration_since(sent.at).as_millis();
                format!("{} did not answer within {waited} ms", sent.endpoint.label())
            }
            Pending::Preparing(_) => "the upstream connection was not ready in time".to_owned(),
            Pending::None => {
                drop(session);
                return self.let_go(client);
            }
            _ => return,
        };
        drop(session);
        self.take_away(client);
        if let Some(upstream) = works {
            self.end_abandoned(client, upstream);
        }
        self.interrupted(client, &Failure::new(Reason::Timeout, message), |_| Retry::IfIdempotent);
    }

    /// Answers whatever request is in progress by `failure`.
    pub(super) fn give_up(self: &Rc<Self>, client: &Rc<Client<P>>, failure: &Failure) {
        if let Some(attaching) = self.stop_attaching(client) {
            self.unattached(client, attaching.since, failure);
        } else if let Some(ticket) = self.stop_waiting(client) {
            self.refuse(client, ticket, None, failure);
        } else if matches!(
            client.session.borrow().pending,
            Pending::Sent(_) | Pending::Preparing(_)
        ) {
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
        self.give_back(client, busy);
        self.abandon(client);
        self.abandon_alone(client);
        if busy {
            client.series.abandoned_requests.inc();
        }
    }

    /// A client has left: the connection that it had goes on to others, or is closed.
    pub(super) fn give_back(self: &Rc<Self>, client: &Client<P>, busy: bool) {
        let mut session = client.session.borrow_mut();
        // A machine that has just failed is not asked.
        let quiet = !busy && !std::thread::panicking() && !session.machine.is_open();
        let hold = match &session.upstream {
            Some(upstream) if quiet && self.may_pass_on(upstream) => {
                session.machine.leave(&self.protocol)
            }
            _ => Hold::Close,
        };
        let upstream = session.part();
        drop(session);
        match (upstream, hold) {
            (Some(upstream), _) if self.end_to_end => self.leave(&upstream),
            (Some(upstream), Hold::Release { reset }) => self.release(&upstream, reset),
            (Some(upstream), _) if quiet => self.part_with(&upstream),
            (Some(upstream), _) => self.discard(&upstream),
            (None, _) => {}
        }
    }

    /// Whether a connection may go on to others when its client has left.
    fn may_pass_on(&self, upstream: &Upstream<P>) -> bool {
        !self.end_to_end && !upstream.pool.cluster.config().dedicated
    }

    /// Records the request in progress, if one is with the upstream, of which its client will not hear.
    pub(super) fn abandon(&self, client: &Client<P>) {
        let mut session = client.session.borrow_mut();
        let pending = std::mem::replace(&mut session.pending, Pending::None);
        drop(session);
        match pending {
            Pending::Sent(sent) => {
                let (passage, now) = (&sent.ticket.passage, self.worker.now());
                passage.leave(&self.worker, &sent.endpoint, sent.at, now, Left::Unheard);
                self.conclude_gone(client, &sent.ticket, Some(&sent.endpoint));
            }
            Pending::Preparing(waiting) => {
                withdraw(&waiting.0);
                self.conclude_gone(client, &waiting.0, None);
            }
            _ => {}
        }
    }

    /// Closes the connection that is the client's, if one is: in what state it is nobody knows.
    fn take_away(self: &Rc<Self>, client: &Client<P>) {
        let upstream = client.session.borrow_mut().part();
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
            Pending::Sent(_) | Pending::Preparing(_) => {
                std::mem::replace(&mut session.pending, Pending::Paused)
            }
            _ => Pending::None,
        };
        drop(session);
        if tied {
            client.close();
        }
        match pending {
            Pending::Sent(sent) => {
                let retry = if tied { Retry::Never } else { retry(&sent) };
                let Sent { ticket, endpoint, at, .. } = sent;
                let left = Left::Failed(failure.reason);
                ticket.passage.leave(&self.worker, &endpoint, at, self.worker.now(), left);
                self.failed(client, ticket, Some(&endpoint), failure, retry);
            }
            Pending::Preparing(waiting) => {
                let (ticket, _) = *waiting;
                withdraw(&ticket);
                let retry = if tied { Retry::Never } else { Retry::IfUnsent };
                self.failed(client, ticket, None, failure, retry);
            }
            _ => {}
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
        let mut session = client.session.borrow_mut();
        session.machine.on_failed(&self.protocol);
        let again = session.machine.on_request(&self.protocol, &request);
        if !matches!(again, Attachment::Upstream | Attachment::UpstreamNoReply) {
            // Only the connection that was lost could have answered it.
            session.machine.answer();
            drop(session);
            return Some(ticket);
        }
        ticket.passage.series.retries.inc();
        (ticket.status, ticket.partial, ticket.error) = (Status::Ok, false, None);
        ticket.mirrored = None;
        session.pending = Pending::Paused;
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
        if session.holds.is_none() {
            session.held = None;
        }
        let follows = goes_on && session.upstream.is_some() && !session.machine.is_open();
        if follows || !self.end_to_end {
            session.machine.on_failed(&self.protocol);
            session.refused = session.machine.is_open();
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
        self.record(client, &ticket, endpoint, outcome);
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
        self.record(client, ticket, endpoint, outcome);
    }

    /// Counts a request's end, unless it is a copy.
    pub(super) fn record(
        &self,
        client: &Client<P>,
        ticket: &Ticket<P>,
        endpoint: Option<&LocalEndpoint>,
        outcome: Outcome,
    ) {
        if !ticket.mirrored.as_ref().is_some_and(|mirrored| mirrored.is_copy()) {
            ticket.passage.record(&self.worker, &client.peer, endpoint, outcome);
        }
    }
}
