//! A request's way in: fault, limit, route, endpoint.

use std::{rc::Rc, sync::Arc, time::Instant};

use wiremesh::{
    Failure, Frame, Protocol, Reason,
    correlation::{Exchange, Split, Target},
    engine::{Inbox, Place},
};

use super::{
    Mesh,
    client::Client,
    ticket::{LogFields, Replay, Ticket},
};
use crate::{
    cluster::LocalCluster,
    policy::{Action, Route, Verdict, pass_on_timeout},
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
        match <Shape<P> as Exchange<P>>::split(&self.protocol, request) {
            Split::Whole(request) => {
                let place = self.admit(client, |inbox| inbox.admit(expect));
                self.station(client, request, place, Target::Any);
            }
            Split::Parts(parts, gather) => {
                let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
                let first = self.admit(client, |inbox| inbox.admit_split(count, gather));
                for (part, number) in parts.into_iter().zip(0..) {
                    let place = Place { part: number, ..first };
                    self.station(client, part.request, place, part.target);
                }
            }
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
    ) {
        let now = self.worker.now();
        let listener = client.listener.borrow().clone();
        client.begin();
        let head = self.protocol.head(&request);
        let expect = <P::Correlation as Exchange<P>>::expects(&self.protocol, &request);
        let verdict = listener.filters.on_request(&mut request);
        let route = listener.routes.find(&request).cloned();
        let cluster = route.as_ref().and_then(|route| self.cluster_of(route));
        let series = self.worker.request_series(
            &listener,
            cluster.as_deref(),
            request.service().as_deref().unwrap_or_default(),
            request.method().as_deref().unwrap_or_default(),
        );
        let log = self.worker.logs().then(|| Box::new(LogFields::of(&request)));
        let mut ticket = Ticket {
            client: client.clone(),
            place,
            head,
            expect,
            lane: client.lane.get(),
            listener: listener.clone(),
            route: route.clone(),
            cluster: cluster.clone(),
            target,
            series,
            started: now,
            deadline: None,
            hash: None,
            bytes_in: request.wire_len(),
            attempts: 0,
            permit: None,
            replay: None,
            log,
        };
        if let Verdict::Reply(failure) = verdict {
            return self.refuse_request(ticket, &failure);
        }
        let Some(route) = route else {
            let failure = Failure::new(
                Reason::NoRoute,
                format!(
                    "listener {} has no route for service {} method {}",
                    listener.name,
                    request.service().as_deref().unwrap_or("-"),
                    request.method().as_deref().unwrap_or("-"),
                ),
            );
            return self.refuse_request(ticket, &failure);
        };
        if self.worker.phase() == Phase::Refusing || self.worker.phase() == Phase::Closing {
            let failure = Failure::new(Reason::Draining, "the proxy is shutting down");
            return self.refuse_request(ticket, &failure);
        }
        let mut delay = None;
        if let Some(fault) = &route.fault {
            let decision = fault.decide(&mut self.worker.rng.borrow_mut());
            delay = decision.delay;
            if let Some(failure) = decision.abort {
                return self.refuse_after(ticket, failure, delay);
            }
        }
        if let Some(limit) = &route.limit {
            match limit.admit(&request, now) {
                Ok(permit) => ticket.permit = permit,
                Err(failure) => return self.refuse_request(ticket, &failure),
            }
        }
        if let Action::Reply(failure) = &route.action {
            return self.refuse_after(ticket, failure.clone(), delay);
        }
        ticket.hash = match target {
            Target::Hash(hash) => Some(hash),
            Target::Any | Target::Index(_) => route.hash.as_ref().and_then(|key| key.of(&request)),
        };
        if let Some(edits) = &route.edits
            && let Err(error) = edits.apply(&mut request)
        {
            let failure = Failure::new(Reason::BadRequest, error.to_string());
            return self.refuse_request(ticket, &failure);
        }
        ticket.deadline = route.deadline(&request, now);
        if let Some(delay) = delay {
            let mesh = self.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(delay).await;
                mesh.worker.tick();
                mesh.attempt(ticket, request);
            });
            return;
        }
        self.attempt(ticket, request);
    }

    fn cluster_of(&self, route: &Arc<Route>) -> Option<Rc<LocalCluster>> {
        match &route.action {
            Action::Cluster(name) => self.worker.cluster(name),
            Action::Weighted(split) => {
                let name = split.pick(&mut self.worker.rng.borrow_mut()).clone();
                self.worker.cluster(&name)
            }
            Action::Reply(_) => None,
        }
    }

    /// Answers a request that never got as far as an endpoint.
    fn refuse_request(&self, ticket: Ticket<P>, failure: &Failure) {
        self.conclude_failed(ticket, None, failure);
    }

    fn refuse_after(
        self: &Rc<Self>,
        ticket: Ticket<P>,
        failure: Failure,
        delay: Option<std::time::Duration>,
    ) {
        let Some(delay) = delay else { return self.refuse_request(ticket, &failure) };
        let mesh = self.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(delay).await;
            mesh.worker.tick();
            mesh.refuse_request(ticket, &failure);
        });
    }

    /// Sends a request to an endpoint of its cluster, for the first time or again.
    pub(super) fn attempt(self: &Rc<Self>, mut ticket: Ticket<P>, mut request: P::Frame) {
        let now = self.worker.now();
        if ticket.client.is_gone() {
            return self.conclude_gone(ticket);
        }
        let (Some(cluster), Some(route)) = (ticket.cluster.clone(), ticket.route.clone()) else {
            let failure = Failure::new(Reason::NoRoute, "the route's cluster does not exist");
            return self.refuse_request(ticket, &failure);
        };
        if ticket.deadline.is_some_and(|deadline| deadline <= now) {
            let failure = Failure::new(Reason::Timeout, "the deadline passed before it was sent");
            return self.refuse_request(ticket, &failure);
        }
        let avoid = ticket.replay.as_ref().map_or(&[][..], |replay| &replay.avoid);
        let endpoint = match ticket.target {
            Target::Index(index) => cluster.nth(index),
            Target::Any | Target::Hash(_) => {
                cluster.pick(ticket.hash, avoid, now, &mut self.worker.rng.borrow_mut())
            }
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
        self.worker.endpoint_series(cluster.name(), &endpoint).sent();
        ticket.attempts += 1;
        if let (Some(retry), 1) = (&route.retry, ticket.attempts) {
            retry.budget().on_request(now);
            ticket.replay = Some(Box::new(Replay { request: request.clone(), avoid: Vec::new() }));
        }
        let try_deadline = route.try_deadline(ticket.deadline, now);
        pass_on_timeout(&mut request, try_deadline, now);
        let client = ticket.client.clone();
        upstream.send(self, request, ticket);
        upstream.hold_back(&client);
    }

    /// When this attempt is given up: with the request, or by the route's time for one try.
    pub(super) fn attempt_deadline(&self, ticket: &Ticket<P>, now: Instant) -> Option<Instant> {
        ticket
            .route
            .as_ref()
            .map_or(ticket.deadline, |route| route.try_deadline(ticket.deadline, now))
    }
}

impl LogFields {
    fn of(request: &dyn Frame) -> Self {
        Self {
            service: request.service().unwrap_or_default().into_owned(),
            method: request.method().unwrap_or_default().into_owned(),
            trace_id: request.trace().map(|t| t.trace_id.into_owned()).unwrap_or_default(),
        }
    }
}
