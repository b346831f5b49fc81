//! A request's way in: split, past the stations, to an endpoint.

use std::rc::Rc;

use wiremesh::{
    Failure, Protocol, Reason,
    correlation::{Exchange, Step, Target, View},
    engine::{Inbox, Place},
};

use super::{Mesh, client::Client, ticket::Ticket};
use crate::{
    cluster::hash_key,
    policy::pass_on_timeout,
    stations::{Decision, Replay},
    worker::Phase,
};

impl<P: Protocol> Mesh<P>
where
    P::Correlation: Exchange<P>,
{
    /// Takes a request, whole or in its parts.
    pub(super) fn on_request(self: &Rc<Self>, client: &Rc<Client<P>>, request: P::Frame) {
        type Shape<P> = <P as Protocol>::Correlation;
        let lane = self.protocol.lane(&request);
        client.lane.set(lane);
        let expect = <Shape<P> as Exchange<P>>::expects(&self.protocol, &request);
        let view = View { client: client.id, peer: &client.peer, shards: 0, nodes: 0 };
        match <Shape<P> as Exchange<P>>::step(
            &self.protocol,
            &mut client.machine.borrow_mut(),
            &view,
            request,
        ) {
            Step::Shared(request, target) | Step::Alone(request, target) => {
                let place = self.admit(client, |inbox| inbox.admit(expect));
                self.station(client, request, place, target, true);
            }
            Step::Parts(parts, gather) => {
                let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
                let first = self.admit(client, |inbox| inbox.admit_split(count, gather));
                for (part, number) in parts.into_iter().zip(0..) {
                    let place = Place { part: number, ..first };
                    self.station(client, part.request, place, part.target, false);
                }
            }
            Step::Private { .. } | Step::Answer(_) | Step::Bye(_) | Step::Nothing => {}
        }
    }

    fn admit(
        &self,
        client: &Client<P>,
        admit: impl FnOnce(&mut <P::Correlation as Exchange<P>>::Inbox) -> Place,
    ) -> Place {
        admit(&mut client.inbox.borrow_mut())
    }

    /// Leads one request, or one part of one, past the stations.
    fn station(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        mut request: P::Frame,
        place: Place,
        target: Target,
        whole: bool,
    ) {
        let listener = client.listener.borrow().clone();
        client.begin();
        let head = self.protocol.head(&request);
        let expect = <P::Correlation as Exchange<P>>::expects(&self.protocol, &request);
        let Decision { mut passage, delay, refused } =
            self.worker.pass(&listener, &mut request, None);
        if let Target::Hash(hash) = target {
            // The protocol's hash may be of any quality; a ring needs all its bits to be good.
            passage.hash = Some(hash_key(&hash.to_le_bytes()));
        }
        let ticket = Ticket {
            client: client.clone(),
            place,
            head,
            expect,
            lane: client.lane.get(),
            target,
            whole,
            passage,
            bytes_out: 0,
            try_deadline: None,
            attempts: 0,
            replay: None,
        };
        let Some(delay) = delay else { return self.proceed(ticket, request, refused) };
        let mesh = self.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(delay).await;
            mesh.worker.tick();
            mesh.proceed(ticket, request, refused);
        });
    }

    fn proceed(self: &Rc<Self>, ticket: Ticket<P>, request: P::Frame, refused: Option<Failure>) {
        match refused {
            Some(failure) => self.refuse_request(ticket, &failure),
            None => self.attempt(ticket, request),
        }
    }

    /// Answers a request that never got as far as an endpoint.
    fn refuse_request(&self, ticket: Ticket<P>, failure: &Failure) {
        self.conclude_failed(ticket, None, failure);
    }

    /// Sends a request to an endpoint of its cluster, for the first time or again.
    pub(super) fn attempt(self: &Rc<Self>, mut ticket: Ticket<P>, mut request: P::Frame) {
        let now = self.worker.now();
        if ticket.client.is_gone() {
            return self.conclude_gone(ticket);
        }
        if self.worker.phase() >= Phase::Refusing {
            let failure = Failure::new(Reason::Draining, "the proxy is shutting down");
            return self.refuse_request(ticket, &failure);
        }
        let (Some(cluster), Some(route)) =
            (ticket.passage.cluster.clone(), ticket.passage.route.clone())
        else {
            let failure = Failure::new(Reason::NoRoute, "the route's cluster does not exist");
            return self.refuse_request(ticket, &failure);
        };
        if ticket.passage.deadline.is_some_and(|deadline| deadline <= now) {
            let failure = Failure::new(Reason::Timeout, "the deadline passed before it was sent");
            return self.refuse_request(ticket, &failure);
        }
        let avoid = ticket.replay.as_ref().map_or(&[][..], |replay| &replay.avoid);
        let endpoint = match ticket.target {
            Target::Index(index) => cluster.nth(index),
            _ => cluster.pick(ticket.passage.hash, avoid, now, &mut self.worker.rng.borrow_mut()),
        };
        let Some(endpoint) = endpoint else {
            let failure = Failure::new(
                Reason::NoEndpoint,
                format!("cluster {} has no healthy endpoint", cluster.name()),
            );
            return self.refuse_request(ticket, &failure);
        };
        if !cluster.try_admit_request() {
            let failure = Failure::new(
                Reason::Overloaded,
                format!("cluster {} has too many requests in flight", cluster.name()),
            );
            return self.refuse_request(ticket, &failure);
        }
        let upstream = match self.upstream(&cluster, &endpoint, ticket.lane, &ticket.client) {
            Ok(upstream) => upstream,
            Err(failure) => {
                cluster.release_request();
                return self.refuse_request(ticket, &failure);
            }
        };
        if upstream.is_connecting() && !cluster.shared().pending().try_acquire() {
            cluster.release_request();
            let failure = Failure::new(
                Reason::Overloaded,
                format!(
                    "cluster {} has too many requests waiting for a connection",
                    cluster.name()
                ),
            );
            return self.refuse_request(ticket, &failure);
        }
        endpoint.started();
        upstream.series.sent();
        ticket.attempts += 1;
        if let (Some(retry), 1) = (&route.retry, ticket.attempts) {
            retry.budget().on_request(now);
            ticket.replay = Replay::keep(&request, &self.kept);
        }
        ticket.try_deadline = ticket.passage.attempt_deadline(now);
        pass_on_timeout(&mut request, ticket.try_deadline, now);
        let client = ticket.client.clone();
        upstream.send(self, request, ticket);
        upstream.hold_back(&client);
    }
}
