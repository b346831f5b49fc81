//! A request's way in: split, past the stations, to an endpoint.

use std::rc::Rc;

use wiremesh::{
    Failure, Frame, Protocol, Reason,
    correlation::{Exchange, Step, Target, View},
    engine::{Inbox, Place},
};

use super::{
    Mesh,
    client::Client,
    split::{Asked, Split},
    ticket::{Alone, Details, Ticket},
    upstream::Upstream,
    way::Way,
};
use crate::{
    cluster::{LocalCluster, LocalEndpoint, hash_key, routes_version},
    policy::{Route, pass_on_timeout},
    stations::{Decision, Known, Look, Passage, Replay},
    worker::Phase,
};

impl<P: Protocol> Mesh<P>
where
    P::Correlation: Exchange<P>,
{
    /// Takes a request of a client's.
    pub(super) fn on_request(self: &Rc<Self>, client: &Rc<Client<P>>, request: P::Frame) {
        let asked = <P::Correlation as Exchange<P>>::ORDERED
            .then(|| Asked { head: self.protocol.head(&request), bytes_in: request.wire_len() });
        if !<P::Correlation as Exchange<P>>::STATEFUL {
            let step = self.step(client, &client.view(None), request);
            return self.take_step(client, step, asked, None);
        }
        let mut way = self.way.take().unwrap_or_default();
        way.find::<P>(&self.protocol, &client.listener.borrow(), &request);
        // This takes note of new routes, so it comes first. By other routes than those before it, it could overtake them.
        let view = way.view(client);
        let routes = routes_version();
        if client.in_flight() > 0 && client.routes.get() != routes {
            client.park(Step::Wait(request));
        } else {
            client.routes.set(routes);
            let step = self.step(client, &view, request);
            match asked {
                Some(asked) if way.is_torn() => self.take_torn(client, asked, step, &way),
                asked => self.take_step(client, step, asked, Some(&way)),
            }
        }
        way.clear();
        self.way.set(Some(way));
    }

    fn step(&self, client: &Client<P>, view: &View<'_>, request: P::Frame) -> Step<P> {
        let machine = &mut *client.machine.borrow_mut();
        <P::Correlation as Exchange<P>>::step(&self.protocol, machine, view, request)
    }

    /// What is to become of a request that is about things of several clusters: whole it would be done by halves.
    fn take_torn(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        asked: Asked<P>,
        step: Step<P>,
        way: &Way,
    ) {
        let own = match step {
            Step::Shared(..) => None,
            Step::Alone(..) => Some(None),
            Step::Private { own, .. } => Some(Some(own)),
            other => return self.take_step(client, other, Some(asked), Some(way)),
        };
        if let Some(own) = own {
            let machine = &mut *client.machine.borrow_mut();
            <P::Correlation as Exchange<P>>::on_failed(&self.protocol, machine, own);
        }
        let text = "what it is about belongs to different clusters";
        match self.protocol.reply(&asked.head, &Failure::new(Reason::BadRequest, text)) {
            Some(reply) => {
                self.record_answer(client, &asked, way.known().route, &reply);
                self.say(client, reply);
            }
            None => client.close(),
        }
        if own.flatten().is_some_and(|own| client.own(own).is_some()) {
            // Its machine has forgotten what is on it.
            client.close();
        }
    }

    /// Does what is to become of a request, now or when nothing is in flight. `asked`: what it was, where it was not
    /// parked; `way`: where it goes, as far as that was looked for.
    pub(super) fn take_step(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        step: Step<P>,
        asked: Option<Asked<P>>,
        way: Option<&Way>,
    ) {
        let known = way.map(Way::known).unwrap_or_default();
        match step {
            Step::Shared(request, target) => {
                self.take_whole(client, request, target, Alone::No, known);
            }
            Step::Alone(request, target) if client.in_flight() == 0 => {
                client.set_alone(true);
                self.take_whole(client, request, target, Alone::Watched, known);
            }
            Step::Parts(parts, gather) => {
                let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
                let (split, gather) = match asked {
                    Some(asked) => {
                        let like = parts.first().map(|part| &part.request);
                        let passage = self.whole(client, &asked, known.route, like);
                        if let Some(like) = like {
                            let look = Look { about: false, parts: parts.len(), ..Look::ALL };
                            self.worker.look_at(&self.protocol, &passage, like, look);
                        }
                        let (split, gather) = self.note_split(client, passage, gather);
                        (Some(split), gather)
                    }
                    None => (None, gather),
                };
                let first = self.admit(client, |inbox| inbox.admit_split(count, gather));
                for (part, number) in parts.into_iter().zip(0..) {
                    let place = Place { part: number, ..first };
                    let known = way.map(|way| way.known_of(part.portion)).unwrap_or_default();
                    self.station(
                        client,
                        part.request,
                        place,
                        part.target,
                        Err(split.clone()),
                        known,
                    );
                }
            }
            Step::Private { before, request, target, own, patient }
                if client.in_flight() == 0 || client.own(own).is_some() =>
            {
                self.take_private(client, before, request, (target, own), patient, known.route);
            }
            Step::Each(steps) => {
                steps.into_iter().for_each(|step| self.take_step(client, step, None, way));
            }
            later @ (Step::Alone(..) | Step::Private { .. }) => client.park(later),
            Step::Wait(request) if client.in_flight() == 0 => self.on_request(client, request),
            later @ Step::Wait(_) => client.park(later),
            Step::Answer(reply) => {
                if let Some(asked) = asked {
                    self.record_answer(client, &asked, known.route, &reply);
                }
                self.say(client, reply);
                self.release(client, false);
            }
            Step::Bye(reply) => {
                if let Some(reply) = reply {
                    if let Some(asked) = asked {
                        self.record_answer(client, &asked, known.route, &reply);
                    }
                    self.say(client, reply);
                }
                client.close();
            }
            Step::Nothing => {}
        }
    }

    fn take_whole(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        request: P::Frame,
        target: Target,
        alone: Alone,
        known: Known<'_>,
    ) {
        let expect = <P::Correlation as Exchange<P>>::expects(&self.protocol, &request);
        let place = self.admit(client, |inbox| inbox.admit(expect));
        self.station(client, request, place, target, Ok(alone), known);
    }

    fn admit(
        &self,
        client: &Client<P>,
        admit: impl FnOnce(&mut <P::Correlation as Exchange<P>>::Inbox) -> Place,
    ) -> Place {
        admit(&mut client.inbox.borrow_mut())
    }

    /// Leads one request, or one part of one, past the stations. `whole`: whether it is the only one, or of what it is a
    /// part.
    fn station(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        mut request: P::Frame,
        place: Place,
        target: Target,
        whole: Result<Alone, Option<Rc<Split>>>,
        known: Known<'_>,
    ) {
        let listener = client.listener.borrow().clone();
        client.begin();
        let Decision { mut passage, delay, refused } =
            self.worker.pass(&self.protocol, &listener, &mut request, known);
        if let Target::Hash(hash) = target {
            // The protocol's hash may be of any quality; a ring needs all its bits to be good.
            passage.hash = Some(hash_key(&hash.to_le_bytes()));
        }
        let look = if whole.is_ok() { Look::ALL } else { Look::PART };
        self.worker.look_at(&self.protocol, &passage, &request, look);
        let ticket = self.ticket(client, &request, place, target, whole, passage);
        let Some(delay) = delay else { return self.proceed(ticket, request, refused) };
        let mesh = self.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(delay).await;
            mesh.worker.tick();
            mesh.proceed(ticket, request, refused);
        });
    }

    /// A ticket for a request that is about to be sent.
    #[inline(always)]
    pub(super) fn ticket(
        &self,
        client: &Rc<Client<P>>,
        request: &P::Frame,
        place: Place,
        target: Target,
        whole: Result<Alone, Option<Rc<Split>>>,
        passage: Passage,
    ) -> Ticket<P> {
        let lane = self.protocol.lane(request);
        client.lane.set(lane);
        self.tickets.issue(Details {
            client: client.clone(),
            place,
            head: self.protocol.head(request),
            expect: <P::Correlation as Exchange<P>>::expects(&self.protocol, request),
            lane,
            target,
            alone: *whole.as_ref().unwrap_or(&Alone::No),
            before: Vec::new(),
            patient: false,
            whole: whole.is_ok(),
            split: whole.err().flatten(),
            passage,
            bytes_out: 0,
            items: 0,
            try_deadline: None,
            redirects: 0,
            supplied: false,
            leads: false,
            attempts: 0,
            replay: None,
            mirrored: None,
        })
    }

    fn proceed(
        self: &Rc<Self>,
        mut ticket: Ticket<P>,
        request: P::Frame,
        refused: Option<Failure>,
    ) {
        if let Some(failure) = refused {
            return self.refuse_request(ticket, &failure);
        }
        if ticket.passage.route.as_ref().is_some_and(|route| route.mirror.is_some()) {
            self.mirror(&mut ticket, &request);
        }
        self.attempt(ticket, request);
    }

    /// Answers a request that never got as far as an endpoint.
    fn refuse_request(&self, ticket: Ticket<P>, failure: &Failure) {
        self.conclude_failed(ticket, None, failure);
    }

    /// The endpoint that a request is for.
    pub(super) fn endpoint(
        &self,
        cluster: &LocalCluster,
        target: Target,
        hash: Option<u64>,
        avoid: &[u64],
    ) -> Option<Rc<LocalEndpoint>> {
        let (now, rng) = (self.worker.now(), &mut self.worker.rng.borrow_mut());
        if <P::Correlation as Exchange<P>>::STATEFUL {
            cluster.route(target, hash, avoid, now, rng)
        } else {
            match target {
                Target::Index(index) => cluster.nth(index),
                _ => cluster.pick(hash, avoid, now, rng),
            }
        }
    }

    /// Sends a request to an endpoint of its cluster, for the first time or again.
    pub(super) fn attempt(self: &Rc<Self>, ticket: Ticket<P>, request: P::Frame) {
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
        if ticket.attempts > 0 || ticket.client.in_flight() <= 1 {
            // Nothing can be overtaken by new routes.
            cluster.refresh();
        }
        let avoid = ticket.replay.as_ref().map_or(&[][..], |replay| &replay.avoid);
        let Some(endpoint) = self.endpoint(&cluster, ticket.target, ticket.passage.hash, avoid)
        else {
            let failure = Failure::new(
                Reason::NoEndpoint,
                format!("cluster {} has no healthy endpoint", cluster.name()),
            );
            return self.refuse_request(ticket, &failure);
        };
        let lane = ticket.lane;
        self.launch(ticket, request, &cluster, &route, &endpoint, |client| {
            self.upstream(&cluster, &endpoint, lane, client)
        });
    }

    /// Sends a request on the connection that `upstream` finds.
    pub(super) fn launch(
        self: &Rc<Self>,
        mut ticket: Ticket<P>,
        mut request: P::Frame,
        cluster: &Rc<LocalCluster>,
        route: &Route,
        endpoint: &Rc<LocalEndpoint>,
        upstream: impl FnOnce(&Rc<Client<P>>) -> Result<Rc<Upstream<P>>, Failure>,
    ) {
        let now = self.worker.now();
        if !cluster.try_admit_request() {
            let failure = Failure::new(
                Reason::Overloaded,
                format!("cluster {} has too many requests in flight", cluster.name()),
            );
            return self.refuse_request(ticket, &failure);
        }
        let upstream = match upstream(&ticket.client) {
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
        if ticket.attempts == 1 && ticket.own().is_none() {
            if let Some(retry) = &route.retry {
                retry.budget().on_request(now);
                ticket.replay = Replay::keep(&request, &self.kept);
            } else if <P::Correlation as Exchange<P>>::STATEFUL && cluster.is_learnt() {
                ticket.replay = Replay::keep(&request, &self.kept);
            }
        }
        ticket.try_deadline =
            if ticket.patient { None } else { ticket.passage.attempt_deadline(now) };
        pass_on_timeout(&mut request, ticket.try_deadline, now);
        let client = ticket.client.clone();
        upstream.send(self, request, ticket);
        upstream.hold_back(&client);
    }
}
