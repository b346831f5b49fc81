//! Copies of requests for another cluster. A client neither waits for them nor hears of them: they are sent in the name
//! of a shadow of it, which has connections' lines of its own, so that copies keep the order of what they are copied from.
//!
//! What cannot be sent at once is dropped, by the bounds of the other cluster, and when more than a mebibyte waits to be
//! written to the connection. No copy is sent twice.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Buf;
use wiremesh::{
    Protocol, WriteBuf,
    correlation::{Exchange, Expect, Gather, Step, Target},
    engine::Place,
};
use xxhash_rust::xxh3::Xxh3Default;

use super::{Mesh, client::Client, ticket::Ticket, upstream::Upstream};
use crate::{
    cluster::{LocalCluster, LocalEndpoint},
    exchange::ticket::Alone,
    policy::{Route, pass_on_timeout},
    stations::Outcome,
    telemetry::MirrorSeries,
};

/// After so long a copy is given up, or with the request that it is copied from.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a request has to do with copies.
pub enum Mirrored<P: Protocol> {
    /// Its answer is to be compared.
    Original(Rc<Comparison>),
    /// It is a copy.
    Copy(Copy<P>),
}

/// A copy on its way.
pub struct Copy<P: Protocol> {
    series: Arc<MirrorSeries>,
    answer: Answer<P>,
}

/// What becomes of the answer to a copy.
enum Answer<P: Protocol> {
    Dropped,
    Compared(Rc<Comparison>),
    /// It is one of several parts.
    Gathered(Rc<Gathered<P>>, usize),
}

/// The answers to the parts of a copy that was split.
struct Gathered<P: Protocol> {
    gather: RefCell<Box<dyn Gather<P>>>,
    missing: Cell<usize>,
    comparison: Rc<Comparison>,
}

/// Two answers that are to be compared.
pub struct Comparison {
    series: Arc<MirrorSeries>,
    /// A digest of the one that came first.
    first: Cell<Option<u64>>,
}

impl Comparison {
    /// Takes one of the two. If the other never comes nothing is counted.
    pub fn take<P: Protocol>(&self, protocol: &P, reply: &P::Frame) {
        let mut bytes = WriteBuf::default();
        protocol.encode(reply.clone(), &mut bytes);
        let mut digest = Xxh3Default::new();
        while bytes.has_remaining() {
            let len = bytes.chunk().len();
            digest.update(bytes.chunk());
            bytes.advance(len);
        }
        let digest = digest.digest();
        match self.first.replace(Some(digest)) {
            None => {}
            Some(first) if first == digest => self.series.equal.inc(),
            Some(_) => self.series.different.inc(),
        }
    }
}

impl<P: Protocol> Copy<P>
where
    P::Correlation: Exchange<P>,
{
    /// The copy was answered.
    pub fn answered(self, protocol: &P, reply: P::Frame) {
        if <P::Correlation as Exchange<P>>::redirect(protocol, &reply).is_some() {
            return self.series.failed.inc();
        }
        self.series.answered.inc();
        match self.answer {
            Answer::Dropped => {}
            Answer::Compared(comparison) => comparison.take(protocol, &reply),
            Answer::Gathered(gathered, part) => {
                let mut gather = gathered.gather.borrow_mut();
                gather.reply(protocol, part, reply);
                gathered.missing.set(gathered.missing.get().saturating_sub(1));
                if gathered.missing.get() == 0 {
                    gathered.comparison.take(protocol, &gather.finish(protocol));
                }
            }
        }
    }

    /// The copy is at its end without an answer.
    pub fn ended(self, outcome: Outcome) {
        match outcome.reason {
            None => self.series.answered.inc(),
            Some(_) => self.series.failed.inc(),
        }
    }
}

/// Where a copy goes.
struct Shadow<'a, P: Protocol>
where
    P::Correlation: Exchange<P>,
{
    client: Rc<Client<P>>,
    cluster: &'a Rc<LocalCluster>,
    series: &'a Arc<MirrorSeries>,
    deadline: Instant,
}

impl<P: Protocol> Mesh<P>
where
    P::Correlation: Exchange<P>,
{
    /// Sends a copy of a request that is about to be sent, if its route wants one.
    pub(super) fn mirror(self: &Rc<Self>, ticket: &mut Ticket<P>, request: &P::Frame) {
        let Some(route) = ticket.passage.route.clone() else { return };
        let policy: &Route = &route;
        let (Some(mirror), Some(to)) = (&route.mirror, &policy.mirror) else { return };
        // What is about its client's connection would say nothing of another.
        let wanted = ticket.alone == Alone::No
            && to.wants(ticket.target.is_read(), &mut self.worker.rng.borrow_mut());
        if !wanted {
            return;
        }
        let series = &mirror.series;
        let Some(cluster) = &mirror.cluster else { return series.dropped.inc() };
        let now = self.worker.now();
        let last = now + PATIENCE;
        let deadline = ticket.passage.deadline.map_or(last, |deadline| deadline.min(last));
        let client = ticket.client.shadow(now);
        let step = {
            let view = client.view(Some(cluster));
            let request = request.clone();
            <P::Correlation as Exchange<P>>::replan(&self.protocol, &view, request, ticket.target)
        };
        let shadow = Shadow { client, cluster, series, deadline };
        let compared = to.compare && ticket.expect == Expect::One;
        let comparison = compared
            .then(|| Rc::new(Comparison { series: series.clone(), first: Cell::new(None) }));
        match step {
            Step::Shared(request, target) => {
                let answer = comparison.clone().map_or(Answer::Dropped, Answer::Compared);
                self.copy(&shadow, ticket, request, target, answer);
            }
            Step::Parts(parts, gather) => {
                let gathered = comparison.clone().map(|comparison| {
                    let (gather, missing) = (RefCell::new(gather), Cell::new(parts.len()));
                    Rc::new(Gathered { gather, missing, comparison })
                });
                for (number, part) in parts.into_iter().enumerate() {
                    let gathered = gathered.clone();
                    let answer =
                        gathered.map_or(Answer::Dropped, |it| Answer::Gathered(it, number));
                    self.copy(&shadow, ticket, part.request, part.target, answer);
                }
            }
            Step::Nothing => {}
            _ => series.dropped.inc(),
        }
        ticket.mirrored = comparison.map(|it| Box::new(Mirrored::Original(it)));
    }

    /// Sends one copy, or drops it.
    fn copy(
        self: &Rc<Self>,
        shadow: &Shadow<'_, P>,
        original: &Ticket<P>,
        mut request: P::Frame,
        target: Target,
        answer: Answer<P>,
    ) {
        let Shadow { client, cluster, series, deadline } = shadow;
        let lane = original.lane;
        let hash = original.passage.hash;
        let Some((endpoint, upstream)) = self.way_of_copy(client, cluster, lane, target, hash)
        else {
            return series.dropped.inc();
        };
        endpoint.started();
        upstream.series.sent();
        client.begin();
        let passage = original.passage.of_copy(cluster, *deadline);
        let mut ticket =
            self.ticket(client, &request, Place::default(), target, Ok(Alone::No), passage);
        ticket.lane = lane;
        ticket.attempts = 1;
        ticket.try_deadline = Some(*deadline);
        ticket.mirrored =
            Some(Box::new(Mirrored::Copy(Copy { series: Arc::clone(series), answer })));
        pass_on_timeout(&mut request, ticket.try_deadline, self.worker.now());
        upstream.send(self, request, ticket);
    }

    /// The endpoint and the connection for a copy, and its place within the cluster's bounds. `None`: there is no room.
    fn way_of_copy(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        cluster: &Rc<LocalCluster>,
        lane: u32,
        target: Target,
        hash: Option<u64>,
    ) -> Option<(Rc<LocalEndpoint>, Rc<Upstream<P>>)> {
        let endpoint = self.endpoint(cluster, target, hash, &[])?;
        if !cluster.try_admit_request() {
            return None;
        }
        let upstream = self.upstream(cluster, &endpoint, lane, client).ok().filter(|upstream| {
            !upstream.is_behind()
                && (!upstream.is_connecting() || cluster.shared().pending().try_acquire())
        });
        if upstream.is_none() {
            cluster.release_request();
        }
        Some((endpoint, upstream?))
    }
}
