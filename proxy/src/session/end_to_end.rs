//! Clients that have an upstream connection for themselves from when they connect until they leave, and speak with the
//! upstream all the way.

use std::{mem, rc::Rc, time::Instant};

use wiremesh::{
    Failure, Frame, Reason,
    correlation::{Access, Attachment, Legs, SessionMachine, Sessioned},
    engine::Acquire,
};

use super::{
    Sessions,
    client::{Client, Session},
    ticket::{Attaching, Pending},
    upstream::Upstream,
};
use crate::{
    policy::Action,
    stations::{Outcome, Passage},
    worker::Phase,
};

/// What is recorded of clients for whom no upstream connection could be had, as their method.
const CONNECT: &str = "connect";

impl<P: Sessioned> Sessions<P> {
    /// Has an upstream connection made for a client that has just connected.
    pub(super) fn attach(self: &Rc<Self>, client: &Rc<Client<P>>) {
        let since = self.worker.now();
        if self.worker.phase() == Phase::Closing {
            return;
        }
        let listener = client.listener.borrow().clone();
        let refused = |message: String| Failure::new(Reason::NoRoute, message);
        let Some(route) = listener.routes().iter().find(|route| route.open) else {
            let message = format!("listener {} has no route for all requests", listener.name);
            return self.unattached(client, since, &refused(message));
        };
        if let Action::Reply(failure) = &route.action {
            return self.unattached(client, since, failure);
        }
        let Some(cluster) = self.worker.cluster_of(route) else {
            let message = "the route's cluster does not exist".to_owned();
            return self.unattached(client, since, &refused(message));
        };
        // A place among the cluster's connections is waited for, and then the connection.
        let connecting = cluster.config().connect_timeout.0 * 2;
        let wait = route.timeout.unwrap_or(connecting);
        let deadline = since.checked_add(wait).unwrap_or(since + connecting);
        self.line_up(client, Attaching { cluster, since, deadline, failures: 0 });
    }

    fn line_up(self: &Rc<Self>, client: &Rc<Client<P>>, attaching: Attaching) {
        let cluster = attaching.cluster.clone();
        let pool = self.pool(&cluster, &client.listener.borrow(), 0, Access::Write);
        let acquired = match cluster.shared().pending().try_acquire() {
            true => pool.book.borrow_mut().acquire(client.id, None),
            false => return self.too_many(client, &attaching),
        };
        client.session.borrow_mut().pending = Pending::Attaching(attaching);
        match acquired {
            Acquire::Connect(number) => self.connect(&pool, number),
            Acquire::Wait => {}
            Acquire::Ready(number) => {
                if let Some(upstream) = pool.upstream(number) {
                    self.lend_to(client, &upstream);
                }
            }
            Acquire::Full => {
                if let Some(attaching) = self.attaching(client) {
                    self.too_many(client, &attaching);
                }
            }
        }
        self.errands(&pool);
    }

    fn too_many(&self, client: &Client<P>, attaching: &Attaching) {
        let cluster = attaching.cluster.name();
        let message = format!("cluster {cluster} has too many clients waiting for a connection");
        self.unattached(client, attaching.since, &Failure::new(Reason::Overloaded, message));
    }

    /// Takes a client out of those that are to be lent a connection, if it is one; it may still be in the book.
    pub(super) fn attaching(&self, client: &Client<P>) -> Option<Attaching> {
        let mut session = client.session.borrow_mut();
        match mem::replace(&mut session.pending, Pending::None) {
            Pending::Attaching(attaching) => {
                attaching.cluster.shared().pending().release();
                Some(attaching)
            }
            other => {
                session.pending = other;
                None
            }
        }
    }

    /// A client does not wait for a connection of its own any more, if it did.
    pub(super) fn stop_attaching(&self, client: &Client<P>) -> Option<Attaching> {
        let attaching = self.attaching(client)?;
        let listener = client.listener.borrow().clone();
        let pool = self.pool(&attaching.cluster, &listener, 0, Access::Write);
        pool.book.borrow_mut().cancel(&client.id);
        Some(attaching)
    }

    /// The connection is the client's until it leaves.
    pub(super) fn attached(&self, client: &Rc<Client<P>>, upstream: &Rc<Upstream<P>>) {
        upstream.lend(client, self.worker.now());
        let mut session = client.session.borrow_mut();
        session.tied = true;
        if P::STARTS_TLS {
            let listener = client.listener.borrow();
            session.machine.secure(Legs {
                client: listener.tls.is_some(),
                required: listener.config.tls.as_ref().is_some_and(|tls| tls.required),
                upstream: upstream.pool.cluster.shared().has_tls(),
            });
        }
        session.machine.watch(client.listener.borrow().wanted());
        drop(session);
        client.expect_frame(self.worker.now());
    }

    /// A connection for the client could not be made: another endpoint may do, since nothing has been said yet.
    pub(super) fn not_attached(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        mut attaching: Attaching,
        failure: &Failure,
    ) {
        attaching.failures += 1;
        let again = failure.reason == Reason::ConnectFailed
            && attaching.failures < attaching.cluster.endpoints().len()
            && attaching.deadline > self.worker.now()
            && self.worker.phase() < Phase::Refusing;
        if again {
            self.line_up(client, attaching);
        } else {
            self.unattached(client, attaching.since, failure);
        }
    }

    /// The client has waited for a connection for as long as it may.
    pub(super) fn attached_late(&self, client: &Client<P>, attaching: &Attaching) {
        let cluster = &attaching.cluster;
        let pool = self.pool(cluster, &client.listener.borrow(), 0, Access::Write);
        let failure = if pool.is_full(&self.worker) {
            let message = format!("cluster {} has all the connections it may have", cluster.name());
            Failure::new(Reason::Overloaded, message)
        } else {
            let message = format!("no connection to cluster {} in time", cluster.name());
            Failure::new(Reason::Timeout, message)
        };
        self.unattached(client, attaching.since, &failure);
    }

    /// No upstream connection can be had for the client.
    pub(super) fn unattached(&self, client: &Client<P>, since: Instant, failure: &Failure) {
        tracing::info!(client = %client.peer, %failure, "no upstream connection, closing");
        let listener = client.listener.borrow().clone();
        let route = listener.routes().iter().find(|route| route.open).cloned();
        let mut passage = self.worker.whole(&listener, route, CONNECT, 0);
        passage.started = since;
        let (status, reason) = (failure.status, Some(failure.reason));
        let outcome = Outcome { status, error: None, reason, bytes_out: 0, items: 0 };
        passage.record(&self.worker, &client.peer, None, outcome);
        self.farewell(client, failure);
    }

    /// Passes on what is no request.
    pub(super) fn pass_on(&self, client: &Client<P>, frame: P::Frame, attachment: Attachment) {
        let quits = attachment == Attachment::Quit;
        let upstream = client.session.borrow().upstream.clone();
        if let Some(upstream) = upstream.filter(|_| self.end_to_end || !quits) {
            let len = frame.wire_len();
            let end = upstream.append(self, frame);
            if let Pending::Sent(sent) = &mut client.session.borrow_mut().pending {
                sent.ticket.passage.bytes_in += len;
                sent.end = end;
            }
        }
        if quits {
            client.close();
        }
    }

    /// Tells a client with no request in progress why it is closed, where the protocol can say it, and closes it.
    pub(super) fn farewell(&self, client: &Client<P>, failure: &Failure) {
        if client.is_open() {
            let last = self.last_word(&mut client.session.borrow_mut(), failure);
            if let Some(frame) = last {
                client.owe(self, |out| self.protocol.encode(frame, out));
            }
        }
        client.close();
    }

    /// What a client is told whose session ends.
    pub(super) fn last_word(
        &self,
        session: &mut Session<P>,
        failure: &Failure,
    ) -> Option<P::Frame> {
        // A machine that has just failed is not asked.
        (!std::thread::panicking())
            .then(|| session.machine.farewell(&self.protocol, failure))
            .flatten()
    }

    /// The upstream has left after it was told that the client sends no more. That is no fault of its own, whatever it
    /// still owed: it may well have found out that the client is gone.
    pub(super) fn left_too(&self, client: &Client<P>, failure: &Failure) {
        client.session.borrow_mut().detach();
        if client.is_busy() {
            client.series.abandoned_requests.inc();
        }
        self.abandon(client);
        self.farewell(client, failure);
    }

    /// Ends a session whose client cannot be understood.
    pub(super) fn end(self: &Rc<Self>, client: &Rc<Client<P>>, failure: &Failure) {
        if client.is_busy() {
            self.give_up(client, failure);
        }
        self.farewell(client, failure);
    }

    /// The proxy is shutting down: closes a client as soon as what is in progress has come to its end.
    pub(super) fn dismiss(&self, client: &Client<P>) {
        if client.is_busy() {
            client.close();
        } else {
            let failure = Failure::new(Reason::Draining, "the proxy is shutting down");
            self.farewell(client, &failure);
        }
    }

    /// Closes a client whose listener is gone, unless something is in progress or would be lost.
    pub(super) fn left(&self, client: &Client<P>) {
        if client.is_leaving() && !client.is_busy() && client.session.borrow().holds.is_none() {
            let failure = Failure::new(Reason::Draining, "the listener is gone");
            self.farewell(client, &failure);
        }
    }
}

/// Whether a request's route leads elsewhere than to the cluster that its client is connected to.
pub fn led_astray(passage: &Passage) -> Option<Failure> {
    let (route, held) = (passage.route.as_ref()?, passage.cluster.as_ref()?);
    let direct = route.cluster.as_ref().is_some_and(|cluster| Rc::ptr_eq(cluster, held));
    if direct || route.action.clusters().any(|name| name == held.name()) {
        return None;
    }
    let message = format!(
        "route {} leads to another cluster than {}, to which the session is connected",
        route.name,
        held.name()
    );
    Some(Failure::new(Reason::NoRoute, message))
}
