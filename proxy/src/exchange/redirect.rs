//! Replies that say to ask elsewhere: the request is sent there, and its client hears nothing of it.

use std::{rc::Rc, time::Duration};

use wiremesh::{
    Protocol,
    correlation::{Exchange, Step},
    topology::Redirect,
};

use super::{
    Mesh,
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
        mut ticket: Ticket<P>,
        endpoint: &Rc<LocalEndpoint>,
        reply: &P::Frame,
    ) -> Option<Ticket<P>> {
        let Some(redirect) = <P::Correlation as Exchange<P>>::redirect(&self.protocol, reply)
        else {
            return Some(ticket);
        };
        let Some(cluster) = ticket.passage.cluster.clone() else { return Some(ticket) };
        let address = |to: &str| match to.strip_prefix(':') {
            Some(port) => match endpoint.label().rsplit_once(':') {
                Some((host, _)) => format!("{host}:{port}"),
                None => to.to_owned(),
            },
            None => to.to_owned(),
        };
        let (to, before) = match redirect {
            Redirect::Moved { slot, to } => {
                let to = address(&to);
                cluster.note_moved(slot, &to);
                (Some(to), Vec::new())
            }
            Redirect::Ask { to, before } => (Some(address(&to)), vec![before]),
            Redirect::Later => (None, Vec::new()),
            Redirect::Stale => {
                cluster.shared().stale();
                (None, Vec::new())
            }
        };
        let Some(request) = ticket.replay.as_ref().map(|replay| replay.request.clone()) else {
            return Some(ticket);
        };
        let now = self.worker.now();
        let over = ticket.passage.deadline.is_some_and(|deadline| deadline <= now);
        let leaving = ticket.client.is_gone() || self.worker.phase() >= Phase::Refusing;
        if over || leaving || ticket.redirects >= REDIRECTS_MAX {
            return Some(ticket);
        }
        ticket.redirects += 1;
        // What comes next must not overtake what is sent again.
        if ticket.alone == Alone::No && !ticket.client.is_parked() {
            ticket.client.park(Step::Nothing);
        }
        let target = to.as_deref().and_then(|to| cluster.at(to));
        if let (Some(target), Some(route)) = (target, ticket.passage.route.clone()) {
            ticket.before = before;
            let lane = ticket.lane;
            self.launch(ticket, request, &cluster, &route, &target, |client| {
                self.upstream(&cluster, &target, lane, client)
            });
            return None;
        }
        if to.is_some() {
            // An endpoint that is not known yet: soon it will be.
            cluster.shared().stale();
        }
        let pause = PAUSE.saturating_mul(1 << ticket.redirects.min(10)).min(PAUSE_MAX);
        let mesh = self.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(pause).await;
            mesh.worker.tick();
            mesh.attempt(ticket, request);
        });
        None
    }
}
