//! A request's way in: the machine, the stations, an upstream connection.

use std::{rc::Rc, sync::atomic::Ordering::Relaxed, time::Duration};

use wiremesh::{
    Failure, Frame, Reason, Status,
    correlation::{Access, Attachment, Ready, SessionMachine, Sessioned},
};

use super::{
    Sessions,
    cancel::cancelled,
    client::{Client, Session},
    end_to_end::led_astray,
    reply::withdraw,
    ticket::{Pending, Sent, Ticket},
    upstream::Upstream,
};
use crate::{
    cluster::LocalCluster,
    policy::pass_on_timeout,
    stations::{Decision, Known, Left, Look, Outcome, Replay},
    worker::Overdue,
};

/// How often it is looked whether less connections are held.
const HELD_TICK: Duration = Duration::from_millis(10);

impl<P: Sessioned> Sessions<P> {
    /// Takes what a client sends: a request, where none is in progress.
    pub(super) fn on_request(self: &Rc<Self>, client: &Rc<Client<P>>, mut request: P::Frame) {
        let mut session = client.session.borrow_mut();
        if self.end_of_hold(&session) {
            drop(session);
            return self.close_overdue(client, Overdue::Holding);
        }
        let mut attachment = session.machine.on_request(&self.protocol, &request);
        if attachment == Attachment::Upstream
            && (self.is_misplaced(&mut session, &request) || self.is_others_turn(&session))
        {
            session.machine.on_failed(&self.protocol);
            drop(session);
            self.let_go(client);
            session = client.session.borrow_mut();
            attachment = session.machine.on_request(&self.protocol, &request);
        }
        if attachment == Attachment::StartTls {
            return client.securing.set(true);
        }
        if attachment == Attachment::Continue && session.refused {
            drop(session);
            return self.drop_rest(client, &request);
        }
        session.refused = false;
        if matches!(attachment, Attachment::Continue | Attachment::Quit) {
            drop(session);
            return self.pass_on(client, request, attachment);
        }
        if matches!(attachment, Attachment::Answered | Attachment::Reset | Attachment::Refused) {
            drop(session);
            return self.answer_alone(client, request, attachment);
        }
        if !matches!(session.pending, Pending::None) {
            drop(session);
            let failure = Failure::new(Reason::BadRequest, "a request while one is in progress");
            return self.end(client, &failure);
        }
        (session.pending, session.waits_until) = (Pending::Paused, None);
        if let Some(mut ticket) = session.alone.take() {
            drop(session);
            // It has passed the stations with its beginning, which the machine has answered.
            ticket.passage.bytes_in += request.wire_len();
            ticket.head = self.protocol.head(&request);
            return self.attempt(client, *ticket, request);
        }
        let held = session.upstream.as_ref().map(|upstream| upstream.pool.cluster.clone());
        drop(session);
        let listener = client.listener.borrow().clone();
        let head = self.protocol.head(&request);
        let Decision { passage, delay, mut refused } = self.worker.pass(
            &self.protocol,
            &listener,
            &mut request,
            Known { route: None, cluster: held.as_ref() },
        );
        if self.end_to_end && refused.is_none() {
            refused = led_astray(&passage);
        }
        self.worker.look_at(&self.protocol, &passage, &request, Look::ALL);
        let ticket = Ticket::new(passage, head, attachment != Attachment::UpstreamNoReply);
        if let (Attachment::Cancel(cancel), None) = (attachment, &refused) {
            return self.ask_to_cancel(client, ticket, cancel);
        }
        let Some(delay) = delay else { return self.proceed(client, ticket, request, refused) };
        let (sessions, client) = (self.clone(), client.clone());
        tokio::task::spawn_local(async move {
            tokio::time::sleep(delay).await;
            sessions.worker.tick();
            sessions.proceed(&client, ticket, request, refused);
            // It has a deadline to watch now.
            client.wake();
        });
    }

    /// Whether the client has held a connection for too long by now: one that asks all the time is seldom seen to do nothing.
    fn end_of_hold(&self, session: &Session<P>) -> bool {
        !self.end_to_end
            && matches!(session.pending, Pending::None)
            && session.outstays(self.worker.now())
    }

    /// Whether the connection that lingers is none for this request.
    fn is_misplaced(&self, session: &mut Session<P>, request: &P::Frame) -> bool {
        let Some(upstream) = session.upstream.as_ref().filter(|_| session.lingers.is_some()) else {
            return false;
        };
        let (cluster, now) = (&upstream.pool.cluster, self.worker.now());
        !cluster.serves(&upstream.endpoint, Access::Write, now)
            && session.machine.access(&self.protocol, request) == Access::Write
    }

    /// Whether the connection lingers for nothing that this request asks for, and has been the client's for long enough while
    /// others wait: one that makes ids all the time would keep it for ever.
    fn is_others_turn(&self, session: &Session<P>) -> bool {
        let Some(upstream) = session.upstream.as_ref().filter(|_| session.lingers.is_some()) else {
            return false;
        };
        let (cluster, kept) = (&upstream.pool.cluster, upstream.since.get());
        let others = upstream.pool.book.borrow().waiting() > 0
            || cluster.shared().starving().load(Relaxed) > 0;
        others
            && self.worker.now().saturating_duration_since(kept)
                >= cluster.config().linger_timeout.0
            && !session.machine.is_open()
            && !session.machine.needs_same()
    }

    fn proceed(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        ticket: Ticket<P>,
        request: P::Frame,
        refused: Option<Failure>,
    ) {
        match refused {
            Some(failure) => self.refuse(client, ticket, None, &failure),
            None => self.attempt(client, ticket, request),
        }
    }

    /// Sends a request, for the first time or again.
    pub(super) fn attempt(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        mut ticket: Ticket<P>,
        request: P::Frame,
    ) {
        if client.is_gone() {
            return self.conclude_gone(client, &ticket, None);
        }
        let refused = |reason, message: String| Failure::new(reason, message);
        let (Some(cluster), Some(route)) =
            (ticket.passage.cluster.clone(), ticket.passage.route.clone())
        else {
            let failure = refused(Reason::NoRoute, "the route's cluster does not exist".into());
            return self.refuse(client, ticket, None, &failure);
        };
        let now = self.worker.now();
        if ticket.passage.deadline.is_some_and(|deadline| deadline <= now) {
            let message = "the deadline passed before it was sent".into();
            return self.refuse(client, ticket, None, &refused(Reason::Timeout, message));
        }
        if cluster.config().max_held.is_some() && !self.may_hold(client, &cluster) {
            return self.wait_to_hold(client, &cluster, ticket, request);
        }
        if !cluster.try_admit_request() {
            let message = format!("cluster {} has too many requests in flight", cluster.name());
            return self.refuse(client, ticket, None, &refused(Reason::Overloaded, message));
        }
        let session = client.session.borrow();
        let (upstream, tied) = (session.upstream.clone(), session.tied);
        let begun = session.machine.is_open();
        if matches!(session.pending, Pending::Cancelled) {
            drop(session);
            cluster.release_request();
            return self.refuse(client, ticket, None, &cancelled());
        }
        drop(session);
        ticket.attempts += 1;
        if let (Some(retry), 1) = (&route.retry, ticket.attempts) {
            retry.budget().on_request(now);
            // What is part of a session cannot be tried elsewhere, nor what has not come whole.
            if !tied && ticket.replies && !begun {
                ticket.replay = Replay::keep(&request, &self.kept);
            }
        }
        let mirrors = route.mirror.is_some() && ticket.attempts == 1;
        let copy = if mirrors { self.copy(client, &mut ticket, &request) } else { None };
        match upstream {
            Some(upstream) => self.send(client, &upstream, ticket, request),
            None if self.end_to_end => {
                cluster.release_request();
                let message = "the connection to the upstream was lost".into();
                self.refuse(client, ticket, None, &refused(Reason::UpstreamReset, message));
            }
            None => {
                let mut session = client.session.borrow_mut();
                let machine = &mut session.machine;
                session.access = cluster.parts(|| machine.access(&self.protocol, &request));
                drop(session);
                self.lend(client, &cluster, ticket, request);
            }
        }
        if let Some(copy) = copy {
            self.send_copy(client, copy);
        }
    }

    /// Whether a request may hold its connection, if it certainly will.
    fn may_hold(&self, client: &Client<P>, cluster: &LocalCluster) -> bool {
        let mut session = client.session.borrow_mut();
        let cancelled = matches!(session.pending, Pending::Cancelled);
        // What is asked about would be gone.
        let same = session.upstream.is_some() && session.machine.needs_same();
        let free = cancelled || session.holds.is_some() || same;
        if self.end_to_end || free || !session.machine.begins_to_hold() {
            return true;
        }
        let Some(max) = cluster.config().max_held else { return true };
        session.held = session.held.take().or_else(|| cluster.shared().held().try_one(max));
        session.held.is_some()
    }

    /// Attempts a request as soon as it may hold its connection.
    fn wait_to_hold(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        cluster: &Rc<LocalCluster>,
        ticket: Ticket<P>,
        request: P::Frame,
    ) {
        let overloaded = |message| Failure::new(Reason::Overloaded, message);
        let name = cluster.name();
        if !cluster.shared().pending().try_acquire() {
            let message = format!("cluster {name} has too many requests waiting for a connection");
            return self.refuse(client, ticket, None, &overloaded(message));
        }
        // What lingers is for others meanwhile.
        self.let_go(client);
        let timeout = cluster.config().pending_timeout;
        let message = format!("cluster {name} has as many connections held as it may (max_held)");
        let late = self.worker.now() + timeout.0;
        let (sessions, client, cluster) = (self.clone(), client.clone(), cluster.clone());
        tokio::task::spawn_local(async move {
            let end = ticket.passage.deadline.map_or(late, |deadline| deadline.min(late));
            while sessions.worker.tick() < end
                && !client.is_gone()
                && !sessions.may_hold(&client, &cluster)
            {
                tokio::time::sleep(HELD_TICK).await;
            }
            cluster.shared().pending().release();
            let waits = client.session.borrow().held.is_none();
            if waits && !client.is_gone() && sessions.worker.now() >= late {
                sessions.refuse(&client, ticket, None, &overloaded(message));
            } else {
                sessions.attempt(&client, ticket, request);
            }
            // It has a deadline to watch now.
            client.wake();
        });
    }

    /// A request cannot be done on the connection that it has got: it is to be done by the server that takes writes.
    fn elsewhere(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        upstream: &Upstream<P>,
        ticket: Ticket<P>,
        request: P::Frame,
    ) {
        self.let_go(client);
        if upstream.pool.access == Access::Write || client.session.borrow().upstream.is_some() {
            withdraw(&ticket);
            let message = "what was asked cannot be done here, and not elsewhere";
            return self.refuse(client, ticket, None, &Failure::new(Reason::NoEndpoint, message));
        }
        client.session.borrow_mut().access = Access::Write;
        self.lend(client, &upstream.pool.cluster, ticket, request);
    }

    /// The machine has an answer of its own to a request that had got as far as a connection.
    pub(super) fn answered(
        &self,
        client: &Client<P>,
        ticket: &Ticket<P>,
        answer: Option<P::Frame>,
    ) {
        let bytes_out = ticket.bytes_out;
        let mut outcome =
            Outcome { status: Status::Ok, error: None, reason: None, bytes_out, items: 0 };
        if let Some(answer) = answer {
            outcome.status = answer.status();
            outcome.error = answer.error_class();
            outcome.bytes_out += answer.wire_len();
            client.owe(self, |out| self.protocol.encode(answer, out));
        }
        let mut session = client.session.borrow_mut();
        session.refused = session.machine.is_open();
        drop(session);
        self.record(client, ticket, None, outcome);
        client.wake();
    }

    /// Sends a request on the connection that is the client's.
    pub(super) fn send(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        upstream: &Rc<Upstream<P>>,
        mut ticket: Ticket<P>,
        mut request: P::Frame,
    ) {
        if ticket.cancelled {
            withdraw(&ticket);
            self.refuse(client, ticket, None, &cancelled());
            return self.let_go(client);
        }
        if !self.end_to_end {
            let mut session = client.session.borrow_mut();
            session.lingers = None;
            match session.machine.prepare(&self.protocol, &mut request) {
                Ready::Send => {}
                Ready::First(frame) => {
                    session.pending = Pending::Preparing(Box::new((ticket, request)));
                    drop(session);
                    upstream.append(self, frame);
                    return;
                }
                Ready::Elsewhere => {
                    drop(session);
                    return self.elsewhere(client, upstream, ticket, request);
                }
                Ready::Answer(answer) => {
                    session.pending = Pending::None;
                    session.machine.on_failed(&self.protocol);
                    drop(session);
                    withdraw(&ticket);
                    self.let_go(client);
                    return self.answered(client, &ticket, answer);
                }
            }
        }
        let now = self.worker.now();
        let endpoint = &upstream.endpoint;
        endpoint.started();
        self.worker.endpoint_series(upstream.pool.cluster.name(), endpoint).sent();
        let deadline = ticket.passage.attempt_deadline(now);
        pass_on_timeout(&mut request, deadline, now);
        if P::STARTS_TLS && upstream.pool.cluster.shared().has_tls() {
            let machine = &mut client.session.borrow_mut().machine;
            if let Some(ask) = machine.start_tls(&self.protocol, &request) {
                upstream.start_tls(self, Some(ask));
            }
        }
        let end = upstream.append(self, request);
        let mut session = client.session.borrow_mut();
        if let Some(mirrored) = &mut ticket.mirrored {
            mirrored.sent();
        }
        if ticket.replies {
            let endpoint = endpoint.clone();
            let sent = Sent { ticket, endpoint, at: now, deadline, end };
            session.pending = Pending::Sent(sent);
            return;
        }
        // What it has done there nobody says: the connection stays the client's.
        session.tied = true;
        if !self.end_to_end || session.machine.is_open() {
            session.holds.get_or_insert(now);
        }
        session.pending = Pending::None;
        drop(session);
        ticket.passage.leave(&self.worker, endpoint, now, now, Left::Unheard);
        let outcome =
            Outcome { status: Status::Ok, error: None, reason: None, bytes_out: 0, items: 0 };
        self.record(client, &ticket, Some(endpoint), outcome);
    }
}
