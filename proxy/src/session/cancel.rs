//! Clients that have ended what other clients do, by the numbers that the proxy has given these.
//!
//! An order goes to all workers; the one that has the client carries it out. What is with an upstream the upstream is
//! told to end, on a connection that is made for that. Nobody else's request can be hit:
//!
//! - The upstream is told its own number of the client's connection, and never before that connection was
//!   [retired](Upstream::retire): from then on it is this client's, or closed. No upstream gives a connection's number to
//!   another while its count has not come round.
//! - Just before the upstream is told, it is made sure of that the client still waits for the answer to the same request.
//!   If that comes later, then what is hit is the client's next request at worst, if it must be sent on the same connection
//!   and comes before the answer to the client that has asked for this: as it would without the proxy.
//!
//! What was not answered in time is ended likewise, on a connection that was closed before.
//!
//! Connections for this are not of the cluster's `max_connections`, all of which may wait for just this.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use wiremesh::{
    Failure, Frame, Reason, Status,
    correlation::{Cancel, Cancelled, Extent, SessionMachine, Sessioned},
};

use super::{
    Sessions,
    client::Client,
    ticket::{Pending, Ticket},
    upstream::Upstream,
};
use crate::{talk::Talk, worker::Order};

/// So many connections for this are made at a time, by each worker.
pub(super) const AT_ONCE: usize = 8;

/// What a client is told whose request was ended before it was sent.
pub(super) fn cancelled() -> Failure {
    Failure::new(Reason::Cancelled, "another client has ended it")
}

/// What is to be ended.
struct Target<P: Sessioned> {
    client: Rc<Client<P>>,
    upstream: Rc<Upstream<P>>,
    /// Of the request that is with the upstream, when it was sent; `None`: something that goes before a request.
    sent: Option<Instant>,
    /// The connection was closed, and the upstream may not have noticed.
    abandoned: bool,
}

impl<P: Sessioned> Target<P> {
    /// What the client has in progress on an upstream connection, if anything.
    fn of(client: &Rc<Client<P>>) -> Option<Self> {
        let session = client.session.borrow();
        let upstream = session.upstream.clone()?;
        let sent = match &session.pending {
            Pending::Sent(sent) => Some(sent.at),
            Pending::Preparing(_) => None,
            _ => return None,
        };
        Some(Self { client: client.clone(), upstream, sent, abandoned: false })
    }

    /// Whether that is in progress still, as far as is known here.
    fn stands(&self) -> bool {
        self.abandoned || self.is_awaited()
    }

    fn is_awaited(&self) -> bool {
        Self::of(&self.client)
            .is_some_and(|now| Rc::ptr_eq(&now.upstream, &self.upstream) && now.sent == self.sent)
    }
}

impl<P: Sessioned> Sessions<P> {
    /// A client wants what another does ended, and may ask for it.
    pub(super) fn ask_to_cancel(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        ticket: Ticket<P>,
        cancel: Cancel,
    ) {
        if cancel.number == client.number {
            return self.told(client, ticket, &cancel, Ok(Cancelled::Own));
        }
        let (answer, mut answers) = mpsc::unbounded_channel();
        let owner = client.session.borrow().machine.owner().into();
        let listener = client.listener.borrow().name.clone();
        self.worker.order(&Order { listener, owner, cancel, answer });
        let (sessions, client) = (self.clone(), client.clone());
        tokio::task::spawn_local(async move {
            let outcome = answers.recv().await.unwrap_or(Ok(Cancelled::Unknown));
            sessions.worker.tick();
            sessions.told(&client, ticket, &cancel, outcome);
        });
    }

    /// What came of it.
    fn told(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        ticket: Ticket<P>,
        cancel: &Cancel,
        outcome: Result<Cancelled, Failure>,
    ) {
        if client.is_gone() {
            return self.conclude_gone(client, &ticket, None);
        }
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(failure) => return self.refuse(client, ticket, None, &failure),
        };
        let mut session = client.session.borrow_mut();
        let answer = session.machine.cancelled(cancel, outcome);
        session.pending = Pending::None;
        session.machine.on_failed(&self.protocol);
        drop(session);
        self.answered(client, &ticket, answer);
        if outcome == Cancelled::Own && cancel.extent == Extent::Connection {
            client.close();
        }
    }

    /// Carries an order out, if it is about a client of these.
    pub(super) fn on_order(self: &Rc<Self>, order: &Order) {
        let is_meant = |client: &&Rc<Client<P>>| {
            client.number == order.cancel.number
                && client.listener.borrow().name == order.listener
                && !client.is_gone()
        };
        let client = self.clients.borrow().values().find(is_meant).cloned();
        let Some(client) = client.filter(|_| !self.end_to_end) else { return };
        if client.session.borrow().machine.owner() != &*order.owner {
            let _ = order.answer.send(Ok(Cancelled::Denied));
            return;
        }
        let target = Target::of(&client);
        if let Some(target) = &target {
            target.upstream.retire();
        }
        match order.cancel.extent {
            // What it has of the upstream's goes with it.
            Extent::Connection => client.kill(),
            Extent::Request => self.keep_back(&client),
        }
        let Some(target) = target else {
            let _ = order.answer.send(Ok(Cancelled::Done));
            return;
        };
        let (sessions, order) = (self.clone(), order.clone());
        tokio::task::spawn_local(async move {
            let _ = order.answer.send(sessions.end_upstream(&target, &order.cancel).await);
        });
    }

    /// Has an upstream end what goes on on a connection that was closed before the answer: it may notice that only when it
    /// has something to say, and works on until then.
    pub(super) fn end_abandoned(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        upstream: Rc<Upstream<P>>,
    ) {
        let Some(number) = upstream.known_as.get() else { return };
        let cancel = Cancel { number, extent: Extent::Request, gently: false };
        let target = Target { client: client.clone(), upstream, sent: None, abandoned: true };
        let sessions = self.clone();
        tokio::task::spawn_local(async move {
            // It is logged; nobody waits for it.
            let _ = sessions.end_upstream(&target, &cancel).await;
        });
    }

    /// Ends a request that is not with an upstream.
    fn keep_back(self: &Rc<Self>, client: &Rc<Client<P>>) {
        if let Some(ticket) = self.stop_waiting(client) {
            self.refuse(client, ticket, None, &cancelled());
            return client.wake();
        }
        let pending = &mut client.session.borrow_mut().pending;
        match pending {
            Pending::Preparing(waiting) => waiting.0.cancelled = true,
            Pending::Paused => *pending = Pending::Cancelled,
            _ => {}
        }
    }

    /// Has the upstream end what it does for the client, in the time in which a connection can be made.
    async fn end_upstream(
        &self,
        target: &Target<P>,
        cancel: &Cancel,
    ) -> Result<Cancelled, Failure> {
        let cluster = target.upstream.pool.cluster.shared();
        let limit: Duration = cluster.config().connect_timeout.into();
        let why = match tokio::time::timeout(limit, self.interrupt(target, cancel)).await {
            Ok(Ok(())) => return Ok(Cancelled::Done),
            Ok(Err(why)) => why,
            Err(_) => format!("not within {limit:?}"),
        };
        let endpoint = target.upstream.endpoint.label();
        if target.abandoned {
            // There may be one for each request.
            tracing::debug!(%endpoint, %why, "what was not answered in time could not be ended");
        } else {
            tracing::info!(%endpoint, %why, "what a client does could not be ended");
        }
        let why = format!("{endpoint} could not be told to end it: {why}");
        Err(Failure::new(Reason::ConnectFailed, why))
    }

    async fn interrupt(&self, target: &Target<P>, cancel: &Cancel) -> Result<(), String> {
        const CANNOT: &str = "it cannot be told of which connection";
        let upstream = &target.upstream;
        // A client that is closed has nothing in progress, and its connection, which is closed with it, may not know.
        let stands = || cancel.extent == Extent::Connection || target.stands();
        let number = upstream.known_as.get().ok_or(CANNOT)?;
        let _turn = self.cancels.acquire().await.map_err(|e| e.to_string())?;
        let dial = upstream.pool.cluster.shared().dial(upstream.endpoint.address());
        let talk = Talk::connect(&self.protocol, dial).await?;
        let lane = upstream.pool.lane;
        let mut handshake = self.protocol.upstream_handshake(lane, talk.departure());
        let mut talk = talk.greet(&mut handshake).await?;
        let place = self.protocol.place(handshake);
        let frame = self.protocol.interrupt(&place, number, cancel).filter(|_| stands());
        let Some(frame) = frame else {
            // Whether it hears that is its own matter.
            let _ = talk.say(self.protocol.goodbye()).await;
            return if stands() { Err(CANNOT.into()) } else { Ok(()) };
        };
        talk.say([frame]).await?;
        let answer = talk.hear().await?;
        let _ = talk.say(self.protocol.goodbye()).await;
        if answer.status() == Status::Ok || !target.is_awaited() {
            return Ok(());
        }
        Err(answer.error_class().unwrap_or("it answered by an error").into())
    }
}
