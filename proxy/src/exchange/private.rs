//! Upstream connections that one client has for itself, for as long as state of its is on them.
//!
//! One is taken when the client's machine asks for it: a clean one that nobody has, or a new one. It goes back when the
//! machine says that it is clean again; a client that loses it is closed, as its server would have closed it.

use std::rc::Rc;

use wiremesh::{
    Failure, Lane, Protocol, Reason,
    correlation::{Exchange, Own, Release, Target, View},
    engine::Inbox,
    topology::Redirect,
};

use super::{Mesh, PoolKey, client::Client, ticket::Alone, upstream::Upstream};
use crate::{
    cluster::{LocalCluster, LocalEndpoint},
    stations::{Decision, Known, Look},
    worker::LocalRoute,
};

/// The client of connections that are nobody's.
const NOBODY: u64 = u64::MAX;

/// At most this many of an endpoint's and lane's are kept for the next client.
const SPARE_MAX: usize = 64;

impl<P: Protocol> Mesh<P>
where
    P::Correlation: Exchange<P>,
{
    /// Sends a request on the connection that is the client's own, taking one if it has none.
    pub(super) fn take_private(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        before: Vec<P::Frame>,
        mut request: P::Frame,
        (target, own): (Target, Own),
        patient: bool,
        route: Option<&Rc<LocalRoute>>,
    ) {
        let expect = <P::Correlation as Exchange<P>>::expects(&self.protocol, &request);
        let place = client.inbox.borrow_mut().admit(expect);
        client.begin();
        let listener = client.listener.borrow().clone();
        let held = client.own(own);
        // What limits and faults would do to half of a transaction, say, cannot be told to its client.
        let Decision { passage, refused, .. } = match &held {
            Some(upstream) => self.worker.follow(
                &self.protocol,
                &listener,
                &request,
                route,
                Some(&upstream.cluster),
            ),
            None => {
                let known = Known { route, cluster: None };
                self.worker.pass(&self.protocol, &listener, &mut request, known)
            }
        };
        let hash = passage.hash;
        let look = if patient { Look::PATIENT } else { Look::ALL };
        self.worker.look_at(&self.protocol, &passage, &request, look);
        let mut ticket =
            self.ticket(client, &request, place, target, Ok(Alone::Private(own)), passage);
        ticket.before = before;
        ticket.patient = patient;
        if let Some(failure) = refused {
            return self.conclude_failed(ticket, None, &failure);
        }
        let (Some(cluster), Some(route)) =
            (ticket.passage.cluster.clone(), ticket.passage.route.clone())
        else {
            let failure = Failure::new(Reason::NoRoute, "the route's cluster does not exist");
            return self.conclude_failed(ticket, None, &failure);
        };
        if let Some(upstream) = held {
            let routed = route.cluster.as_ref();
            if routed.is_some_and(|routed| !Rc::ptr_eq(routed, &upstream.cluster))
                && self.has_subject(&request)
            {
                let failure = Failure::new(
                    Reason::BadRequest,
                    "its route is another than that of the connection that the client's state is on",
                );
                return self.conclude_failed(ticket, None, &failure);
            }
            let endpoint = upstream.endpoint.clone();
            return self.launch(ticket, request, &cluster, &route, &endpoint, |_| Ok(upstream));
        }
        let Some(endpoint) = self.endpoint(&cluster, target, hash, &[]) else {
            let failure = Failure::new(
                Reason::NoEndpoint,
                format!("cluster {} has no healthy endpoint", cluster.name()),
            );
            return self.conclude_failed(ticket, None, &failure);
        };
        let lane = ticket.lane;
        self.launch(ticket, request, &cluster, &route, &endpoint, |client| {
            let upstream = self.attach(&cluster, &endpoint, lane, client)?;
            client.private.borrow_mut().push((own, upstream.clone()));
            if !upstream.is_connecting() {
                self.attached(client, &upstream);
            }
            Ok(upstream)
        });
    }

    /// A connection for the client alone.
    fn attach(
        self: &Rc<Self>,
        cluster: &Rc<LocalCluster>,
        endpoint: &Rc<LocalEndpoint>,
        lane: Lane,
        client: &Rc<Client<P>>,
    ) -> Result<Rc<Upstream<P>>, Failure> {
        let spare = PoolKey { endpoint: endpoint.id(), lane, client: NOBODY };
        let key = PoolKey { client: client.id, ..spare };
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.get_mut(&spare) {
            while let Some(upstream) = pool.pop() {
                if upstream.is_usable() {
                    upstream.lend(key, Some(client.clone()));
                    pools.entry(key).or_default().push(upstream.clone());
                    return Ok(upstream);
                }
            }
        }
        drop(pools);
        self.connect(key, cluster, endpoint, Some(client.clone()), client)
    }

    /// Asks the client's machine what becomes of its own connections, of those on which nothing is owed.
    pub(super) fn release(&self, client: &Rc<Client<P>>, gone: bool) {
        let nth = |n: usize| client.private.borrow().get(n).cloned();
        let mut n = 0;
        while let Some((own, upstream)) = nth(n) {
            if upstream.is_answered() {
                self.release_one(client, own, &upstream, gone);
            }
            n += usize::from(client.own(own).is_some());
        }
    }

    fn release_one(
        &self,
        client: &Rc<Client<P>>,
        own: Own,
        upstream: &Rc<Upstream<P>>,
        gone: bool,
    ) {
        let release = {
            let machine = &mut *client.machine.borrow_mut();
            <P::Correlation as Exchange<P>>::release(&self.protocol, machine, own, gone)
        };
        let (reset, lane) = match release {
            Release::Hold => return,
            Release::Close => (None, 0),
            Release::Clean(lane) => (Some(Vec::new()), lane),
            Release::Reset(reset, lane) => (Some(reset), lane),
        };
        client.private.borrow_mut().retain(|(_, other)| !Rc::ptr_eq(other, upstream));
        let Some(reset) = reset else { return upstream.retire() };
        let old = upstream.key.get();
        let new = PoolKey { endpoint: old.endpoint, lane, client: NOBODY };
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.get_mut(&old) {
            pool.retain(|other| !Rc::ptr_eq(other, upstream));
            if pool.is_empty() {
                pools.remove(&old);
            }
        }
        upstream.lend(new, None);
        // What is asked next is asked behind these.
        reset.into_iter().for_each(|frame| upstream.append_own(self, frame));
        let pool = pools.entry(new).or_default();
        if pool.len() >= SPARE_MAX || !upstream.is_usable() {
            upstream.retire();
        }
        pool.push(upstream.clone());
        drop(pools);
        client.wake();
    }

    /// The connection of a client's own is lost, and the state that was on it: so is the client.
    pub(super) fn private_lost(&self, upstream: &Rc<Upstream<P>>) {
        let Some(client) = upstream.owner() else { return };
        if client.number_of(upstream).is_some() {
            client.private.borrow_mut().retain(|(_, own)| !Rc::ptr_eq(own, upstream));
            client.close();
        }
    }

    /// Tells a client's machine of the connection that the client has for itself now.
    pub(super) fn attached(&self, client: &Rc<Client<P>>, upstream: &Upstream<P>) {
        let view = View { own: client.number_of(upstream), ..client.view(Some(&upstream.cluster)) };
        let machine = &mut *client.machine.borrow_mut();
        let number = upstream.number();
        <P::Correlation as Exchange<P>>::on_attached(&self.protocol, machine, &view, number);
    }

    /// Whether a client that sends nothing more waits for what may never come.
    pub(super) fn is_hopeless(&self, client: &Rc<Client<P>>) -> bool {
        client.private.borrow().iter().any(|(_, upstream)| upstream.is_patient())
    }

    /// Lets the client's machine see a frame from upstream; `own`: from this connection of the client's own.
    pub(super) fn show(
        &self,
        client: &Rc<Client<P>>,
        cluster: &Rc<LocalCluster>,
        reply: &mut P::Frame,
        own: Option<Own>,
    ) {
        if let Some(Redirect::Moved { slot, to }) =
            <P::Correlation as Exchange<P>>::redirect(&self.protocol, reply)
        {
            cluster.note_moved(slot, &to);
        }
        let view = View { own, ..client.view(Some(cluster)) };
        let machine = &mut *client.machine.borrow_mut();
        <P::Correlation as Exchange<P>>::on_reply(&self.protocol, machine, &view, reply);
    }

    /// Whether a request is about anything that routes could tell.
    fn has_subject(&self, request: &P::Frame) -> bool {
        let mut found = false;
        let visit = &mut |_: &P::Frame| found = true;
        <P::Correlation as Exchange<P>>::each_subject(&self.protocol, request, visit);
        found
    }
}
