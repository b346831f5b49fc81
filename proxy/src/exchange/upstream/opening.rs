//! A connection that is being made, and the requests that wait for it.

use std::{collections::VecDeque, rc::Rc, time::Duration};

use wiremesh::{
    Failure, Protocol, Reason,
    correlation::{Exchange, Purpose},
};

use super::{
    State, Upstream,
    greet::{self, Opened, Refused},
};
use crate::{
    exchange::{
        Mesh,
        ticket::{Sent, Ticket},
    },
    net::Stream,
    policy::pass_on_timeout,
    worker::ListenerView,
};

/// How often requests that wait for a connection have their deadlines looked at.
const CONNECT_TICK: Duration = Duration::from_millis(5);

impl<P: Protocol> Upstream<P>
where
    P::Correlation: Exchange<P>,
{
    /// A request that waited while the connection was made.
    pub(super) fn send_waiting(
        self: &Rc<Self>,
        mesh: &Rc<Mesh<P>>,
        mut frame: P::Frame,
        ticket: Ticket<P>,
    ) {
        pass_on_timeout(&mut frame, ticket.try_deadline, mesh.worker.now());
        if self.state.get() == State::Open {
            self.send(mesh, frame, ticket);
        } else {
            // Retired meanwhile; it was opened for these requests, so it still serves them.
            let state = self.state.replace(State::Open);
            self.send(mesh, frame, ticket);
            self.state.set(state);
        }
    }

    /// Connects, and says what has to be said before the first request.
    pub(super) async fn open(
        self: &Rc<Self>,
        mesh: &Rc<Mesh<P>>,
        listener: &ListenerView,
        timeout: Duration,
    ) -> Result<Opened<P>, String> {
        let end = tokio::time::Instant::now() + timeout;
        let purpose = Purpose { copy: self.endpoint.is_copy(), own: self.owner().is_some() };
        self.copy.set(purpose.copy);
        let lane = self.key.get().lane;
        let greet = <P::Correlation as Exchange<P>>::greet(&mesh.protocol, lane, purpose);
        let mut open = std::pin::pin!(async {
            // One that a client has for its state goes on to others after it.
            let client = self.owner().filter(|_| self.holder().is_none());
            let dial = self.cluster.shared().dial(self.endpoint.address());
            let dial = dial.with_client(client.and_then(|client| client.addresses));
            let stream = Stream::connect(dial).await.map_err(|error| {
                error.count(&self.series);
                Refused { why: error.to_string(), told: None }
            })?;
            greet::greet(&mesh.protocol, greet, stream, &listener.limits).await
        });
        loop {
            tokio::select! {
                result = &mut open => return result.map_err(|Refused { why, told }| {
                    if let Some(told) = told {
                        self.answer_waiting(mesh, &told);
                    }
                    why
                }),
                () = tokio::time::sleep(CONNECT_TICK) => {
                    self.expire_waiting(mesh);
                    if tokio::time::Instant::now() >= end {
                        return Err(format!("no connection within {timeout:?}"));
                    }
                }
            }
        }
    }

    /// Answers the requests that wait by what the upstream said in the place of taking them.
    fn answer_waiting(self: &Rc<Self>, mesh: &Rc<Mesh<P>>, told: &P::Frame) {
        let now = mesh.worker.tick();
        let waiting = self.waiting.take();
        for (_, mut ticket) in waiting {
            self.cluster.shared().pending().release();
            ticket.replay = None;
            let sent = Sent { ticket, endpoint: self.endpoint.clone(), at: now, end: 0 };
            mesh.replied(sent, told.clone());
        }
    }

    /// Answers the waiting requests whose time is up.
    fn expire_waiting(&self, mesh: &Rc<Mesh<P>>) {
        let now = mesh.worker.tick();
        let mut late = Vec::new();
        let mut kept = VecDeque::new();
        for (frame, ticket) in self.waiting.take() {
            if ticket.try_deadline.is_some_and(|d| d <= now) {
                late.push(ticket);
            } else {
                kept.push_back((frame, ticket));
            }
        }
        *self.waiting.borrow_mut() = kept;
        for ticket in late {
            self.cluster.shared().pending().release();
            let failure = Failure::new(
                Reason::Timeout,
                format!("no connection to {} in time", self.endpoint.label()),
            );
            mesh.connect_failed(ticket, &self.endpoint, &failure);
        }
    }
}
