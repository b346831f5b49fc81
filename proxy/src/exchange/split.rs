//! Requests that go out in parts, or nowhere: each is counted once, as its client sees it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use wiremesh::{
    Failure, Frame, Protocol, Reason, Status,
    correlation::{Exchange, Gather},
};

use super::{Mesh, client::Client};
use crate::{
    cluster::LocalEndpoint,
    stations::{Outcome, Passage},
    telemetry::OTHER,
    worker::{LocalRoute, Worker},
};

/// What is remembered of a request before its protocol decides what becomes of it.
pub struct Asked<P: Protocol> {
    pub head: P::Head,
    pub bytes_in: usize,
}

/// A request that was split. It is recorded when the last of its parts is over and its answer is built.
pub struct Split {
    worker: Rc<Worker>,
    peer: String,
    passage: Passage,
    /// The endpoint of the part that was over last.
    endpoint: RefCell<Option<Rc<LocalEndpoint>>>,
    /// `None`: it was never answered.
    outcome: Cell<Option<Outcome>>,
}

impl Split {
    /// A part is over.
    pub fn note(&self, endpoint: Option<&Rc<LocalEndpoint>>) {
        if endpoint.is_some() {
            *self.endpoint.borrow_mut() = endpoint.cloned();
        }
    }
}

impl Drop for Split {
    fn drop(&mut self) {
        let gone =
            Outcome { status: Status::Unknown, error: None, reason: None, bytes_out: 0, items: 0 };
        let outcome = self.outcome.get().unwrap_or(gone);
        let endpoint = self.endpoint.take();
        self.passage.record(&self.worker, &self.peer, endpoint.as_deref(), outcome);
    }
}

/// Builds the answer as the protocol does, and takes note of it.
struct Noting<P: Protocol> {
    gather: Box<dyn Gather<P>>,
    split: Rc<Split>,
    /// Why the first of the parts that failed did.
    failed: Option<Reason>,
}

impl<P: Protocol> Gather<P> for Noting<P> {
    fn reply(&mut self, protocol: &P, part: usize, reply: P::Frame) {
        self.gather.reply(protocol, part, reply);
    }

    fn failed(&mut self, protocol: &P, part: usize, failure: &Failure) {
        self.failed.get_or_insert(failure.reason);
        self.gather.failed(protocol, part, failure);
    }

    fn finish(&mut self, protocol: &P) -> P::Frame {
        let answer = self.gather.finish(protocol);
        let status = answer.status();
        let reason = self.failed.filter(|_| status != Status::Ok);
        // What the proxy says is counted by its reason.
        let error = if reason.is_none() { answer.error_class() } else { None };
        let (bytes_out, items) = (answer.wire_len(), answer.items());
        self.split.outcome.set(Some(Outcome { status, error, reason, bytes_out, items }));
        answer
    }
}

impl<P: Protocol> Mesh<P>
where
    P::Correlation: Exchange<P>,
{
    /// Has a request that is to be split recorded when it is answered.
    pub(super) fn note_split(
        &self,
        client: &Client<P>,
        passage: Passage,
        gather: Box<dyn Gather<P>>,
    ) -> (Rc<Split>, Box<dyn Gather<P>>) {
        let split = Rc::new(Split {
            worker: self.worker.clone(),
            peer: client.peer.clone(),
            passage,
            endpoint: RefCell::default(),
            outcome: Cell::default(),
        });
        (split.clone(), Box::new(Noting { gather, split, failed: None }))
    }

    /// What is recorded of a request that is split, or answered here. `like`: a request that is much the same.
    pub(super) fn whole(
        &self,
        client: &Client<P>,
        asked: &Asked<P>,
        route: Option<&Rc<LocalRoute>>,
        like: Option<&P::Frame>,
    ) -> Passage {
        let listener = client.listener.borrow().clone();
        let route = route.or_else(|| like.and_then(|like| listener.route(like)));
        let method = self.protocol.method_of(&asked.head).or_else(|| like?.method());
        let method = method.as_deref().unwrap_or(OTHER);
        self.worker.whole(&listener, route.cloned(), method, asked.bytes_in)
    }

    /// Records a request that the protocol has answered by this, without asking anybody.
    pub(super) fn record_answer(
        &self,
        client: &Client<P>,
        asked: &Asked<P>,
        route: Option<&Rc<LocalRoute>>,
        reply: &P::Frame,
    ) {
        let (status, error) = (reply.status(), reply.error_class());
        let reason = match status {
            Status::Ok => Reason::Direct,
            Status::Denied | Status::Unauthenticated => Reason::Denied,
            _ => Reason::BadRequest,
        };
        let outcome = Outcome { status, error, reason: Some(reason), bytes_out: 0, items: 0 };
        self.whole(client, asked, route, None).record(&self.worker, &client.peer, None, outcome);
    }
}
