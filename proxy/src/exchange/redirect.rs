//! Replies that say to ask elsewhere: the request is sent there, and its client hears nothing of it.

use std::{rc::Rc, time::Duration};

use wiremesh::{
    Failure, Frame, Protocol,
    correlation::{Exchange, Step},
    topology::Redirect,
};

use super::{
    Mesh,
    client::Client,
    ticket::{Alone, Ticket},
};
use crate::{cluster::LocalEndpoint, worker::Phase};

/// After so many redirections a request is answered by what it was told last.
const REDIRECTS_MAX: u32 = 16;

/// How long to wait before the same is asked again; doubled each time.
const PAUSE: Duration = Duration::from_millis(10);

/// But never longer than this.
const PAUSE_MAX: Duration = Duration::from_millis(500);

impl<P: Protocol> Mesh<P>
where
    P::Correlation: Exchange<P>,
{
    /// Follows a reply that says to ask elsewhere. Gives the ticket back where the client is to have the reply.
    pub(super) fn redirect(
        self: &Rc<Self>,
        ticket: Ticket<P>,
        endpoint: &Rc<LocalEndpoint>,
        reply: &mut P::Frame,
    ) -> Option<Ticket<P>> {
        let Some(redirect) = <P::Correlation as Exchange<P>>::redirect(&self.protocol, reply)
        else {
            return self.supply(ticket, endpoint, reply);
        };
        let Some(cluster) = ticket.passage.cluster.clone() else { return Some(ticket) };
        let told = |reply: &mut P::Frame| {
            let learnt = cluster.is_learnt();
            <P::Correlation as Exchange<P>>::unfollowed(&self.protocol, reply, learnt);
        };
        let address = |to: &str| match to.strip_prefix(':') {
            Some(port) => match endpoint.label().rsplit_once(':') {
                Some((host, _)) => format!("{host}:{port}"),
                None => to.to_owned(),
            },
            None => to.to_owned(),
        };
        let elsewhere = match redirect {
            Redirect::Moved { slot, to } => {
                let to = address(&to);
                cluster.note_moved(slot, &to);
                Some((to, Vec::new()))
            }
            Redirect::Ask { to, before } => Some((address(&to), vec![before])),
            Redirect::Later => None,
            Redirect::Stale => {
                cluster.shared().stale();
                None
            }
        };
        let ticket = self.send_elsewhere(ticket, endpoint, elsewhere, reply)?;
        told(reply);
        Some(ticket)
    }

    /// Sends a request again where its upstream lacks something that can be sent before it. Gives the ticket back where
    /// the client is to have the reply.
    fn supply(
        self: &Rc<Self>,
        mut ticket: Ticket<P>,
        endpoint: &Rc<LocalEndpoint>,
        reply: &P::Frame,
    ) -> Option<Ticket<P>> {
        let before = match &ticket.replay {
            Some(replay) if !ticket.supplied => {
                <P::Correlation as Exchange<P>>::lacks(&self.protocol, &replay.request, reply)
            }
            _ => None,
        };
        let Some(before) = before else { return Some(ticket) };
        ticket.supplied = true;
        ticket.before = vec![before];
        self.send_elsewhere(ticket, endpoint, None, reply)
    }

    /// A request has certainly not been executed, since its endpoint cannot be reached: where the topology was learnt, another
    /// may soon stand in for it. Gives the ticket back where the client is to be told.
    pub(super) fn outwait(
        self: &Rc<Self>,
        ticket: Ticket<P>,
        endpoint: &Rc<LocalEndpoint>,
        failure: &Failure,
    ) -> Option<Ticket<P>> {
        let learnt = ticket.passage.cluster.as_ref().is_some_and(|cluster| cluster.is_learnt());
        if !<P::Correlation as Exchange<P>>::STATEFUL || !learnt || ticket.replay.is_none() {
            return Some(ticket);
        }
        let Some(told) = self.protocol.reply(&ticket.head, failure) else { return Some(ticket) };
        self.send_elsewhere(ticket, endpoint, None, &told)
    }

    /// Sends a request elsewhere, or to the same place again, if there is time and the client has not left.
    fn send_elsewhere(
        self: &Rc<Self>,
        mut ticket: Ticket<P>,
        endpoint: &Rc<LocalEndpoint>,
        elsewhere: Option<(String, Vec<P::Frame>)>,
        reply: &P::Frame,
    ) -> Option<Ticket<P>> {
        let client = ticket.client.clone();
        let now = self.worker.now();
        let over = ticket.passage.deadline.is_some_and(|deadline| deadline <= now);
        let leaving = client.is_gone() || self.worker.phase() >= Phase::Refusing;
        let spent = ticket.redirects >= REDIRECTS_MAX;
        if over || leaving || spent || ticket.replay.is_none() {
            return Some(ticket);
        }
        ticket.redirects += 1;
        // Nor must what comes next overtake it.
        if ticket.alone == Alone::No && !client.is_parked() {
            client.park(Step::Nothing);
        }
        let told = (endpoint.clone(), reply.clone());
        let elsewhere = Elsewhere { ticket, to: elsewhere, told, overtaken: false };
        if elsewhere.ticket.leads || client.lead() {
            // With what it lacked it need not wait for anything to change.
            let at_once = !elsewhere.ticket.before.is_empty() && !client.has_others_out();
            self.go_elsewhere(elsewhere, at_once);
        } else {
            // One after the other: two that are sent to and fro by servers that do not agree could change places.
            client.elsewhere.borrow_mut().push_back(elsewhere);
        }
        None
    }

    /// Sends a client's next request elsewhere, if one waits and it is its turn.
    pub(super) fn next_elsewhere(self: &Rc<Self>, client: &Rc<Client<P>>) {
        if client.elsewhere.borrow().is_empty() || !client.lead() {
            return;
        }
        let next = client.elsewhere.borrow_mut().pop_front();
        match next {
            Some(mut next) if next.overtaken => {
                next.ticket.leads = true;
                self.tell(next.ticket, next.told);
            }
            // The one before it has been waiting long enough.
            Some(next) => self.go_elsewhere(next, !client.has_others_out()),
            None => client.led_home(),
        }
    }

    /// Answers a request that was overtaken by what it was told: what was sent behind it is executed, so it must not be
    /// any more.
    fn tell(&self, ticket: Ticket<P>, (endpoint, mut reply): (Rc<LocalEndpoint>, P::Frame)) {
        let status = reply.status();
        <P::Correlation as Exchange<P>>::unfollowed(&self.protocol, &mut reply, true);
        self.deliver(ticket, &endpoint, reply, status);
    }

    fn go_elsewhere(
        self: &Rc<Self>,
        Elsewhere { mut ticket, to, told, .. }: Elsewhere<P>,
        at_once: bool,
    ) {
        ticket.leads = true;
        let (Some(cluster), Some(request)) = (
            ticket.passage.cluster.clone(),
            ticket.replay.as_ref().map(|replay| replay.request.clone()),
        ) else {
            return self.conclude_gone(ticket);
        };
        let known = to.is_some();
        let target = to.and_then(|(to, before)| Some((cluster.at(&to)?, before)));
        if let (Some((target, before)), Some(route)) = (target, ticket.passage.route.clone()) {
            ticket.before = before;
            let lane = ticket.lane;
            return self.launch(ticket, request, &cluster, &route, &target, |client| {
                self.upstream(&cluster, &target, lane, client)
            });
        }
        if at_once && !known {
            return self.attempt(ticket, request);
        }
        if known {
            // An endpoint that is not known yet: soon it will be.
            cluster.shared().stale();
        }
        let pause = PAUSE.saturating_mul(1 << ticket.redirects.min(10)).min(PAUSE_MAX);
        let mesh = self.clone();
        ticket.client.wait_for(&ticket);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(pause).await;
                let now = mesh.worker.tick();
                let over = ticket.passage.deadline.is_some_and(|deadline| deadline <= now);
                // Whether it is overtaken is known when all that was sent behind it is answered.
                if over || ticket.client.is_gone() || !ticket.client.has_others_out() {
                    break;
                }
            }
            if ticket.client.was_overtaken() {
                return mesh.tell(ticket, told);
            }
            mesh.attempt(ticket, request);
        });
    }
}

/// A request that is to be sent elsewhere: to this address, after these frames; `None`: to where it was.
pub struct Elsewhere<P: Protocol>
where
    P::Correlation: Exchange<P>,
{
    pub(super) ticket: Ticket<P>,
    to: Option<(String, Vec<P::Frame>)>,
    /// What it was told, and by whom.
    told: (Rc<LocalEndpoint>, P::Frame),
    /// One about the same, sent behind it, was executed meanwhile.
    pub(super) overtaken: bool,
}
