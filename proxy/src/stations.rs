//! The stations that every request passes, and what is recorded of it at its end: the same for every correlation.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use wiremesh::{Bearing, Digested, Failure, Frame, Protocol, Reason, Side, Status};

use crate::{
    cluster::{LocalCluster, LocalEndpoint},
    policy::{Action, Permit, Route, Verdict},
    telemetry::{
        OwnSeries, Record,
        watch::{DigestEnd, OwnDigest, Seen, SlowRequest},
    },
    worker::{Judged, ListenerView, LocalRoute, Phase, Worker},
};

/// A request that has passed the stations, or was stopped by one: everything that does not depend on its protocol.
pub struct Passage {
    pub listener: Rc<ListenerView>,
    /// `None` where none matched.
    pub route: Option<Rc<LocalRoute>>,
    /// `None` where the route has none.
    pub cluster: Option<Rc<LocalCluster>>,
    pub series: OwnSeries,
    pub started: Instant,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    pub hash: Option<u64>,
    pub bytes_in: usize,
    /// Its places among those that its route and a rule of the firewall let in.
    pub permits: [Option<Permit>; 2],
    /// What its digest tells, where that was made already: the worker has it.
    digested: Option<Digested>,
    /// Kept only where an access log is written.
    log: Option<Box<LogFields>>,
    /// Kept only where the listener wants to know of slow requests, or this one is of its sample.
    seen: Cell<Option<Box<Seen>>>,
    /// Where it is counted by digest, if it is.
    digest: Cell<Option<OwnDigest>>,
}

/// What is known of a request's way before it passes the stations.
#[derive(Clone, Copy, Default)]
pub struct Known<'a> {
    /// The route that it would have without filters.
    pub route: Option<&'a Rc<LocalRoute>>,
    /// The cluster that it goes to, whatever its route says.
    pub cluster: Option<&'a Rc<LocalCluster>>,
}

/// What the stations say of a request.
pub struct Decision {
    pub passage: Passage,
    /// How long to wait before anything is done.
    pub delay: Option<Duration>,
    /// The answer in the upstream's place, if there is to be one.
    pub refused: Option<Failure>,
}

/// How a request was answered.
#[derive(Clone, Copy)]
pub struct Outcome {
    pub status: Status,
    /// What the protocol calls the answer, if it is an error.
    pub error: Option<&'static str>,
    /// Why the proxy itself answered, where it did.
    pub reason: Option<Reason>,
    pub bytes_out: usize,
    /// How many things (rows) the answer brought.
    pub items: u64,
}

/// How an attempt left its endpoint.
#[derive(Clone, Copy)]
pub enum Left {
    /// `partial`: see [`Frame::is_partial_fault`].
    Answered {
        status: Status,
        partial: bool,
    },
    Failed(Reason),
    /// Nobody waits for its outcome.
    Unheard,
}

/// What the access log says of the request itself; the frame is gone by the time it is written.
#[derive(Default)]
struct LogFields {
    service: String,
    method: String,
    trace_id: String,
}

impl Worker {
    /// Leads a request past the stations.
    pub fn pass<P: Protocol>(
        &self,
        protocol: &P,
        listener: &Rc<ListenerView>,
        request: &mut P::Frame,
        known: Known<'_>,
    ) -> Decision {
        let verdict = listener.filters.on_request(request);
        let route = match known.route {
            Some(route) if listener.filters.is_empty() => Some(route.clone()),
            _ => listener.route(request).cloned(),
        };
        let cluster = match known.cluster {
            Some(cluster) => Some(cluster.clone()),
            None => route.as_ref().and_then(|route| self.cluster_of(route)),
        };
        let series = self.request_series(
            listener,
            cluster.as_deref(),
            request.service().as_deref().unwrap_or_default(),
            request.method().as_deref().unwrap_or_default(),
        );
        let mut decision = Decision {
            passage: Passage {
                listener: listener.clone(),
                route: route.clone(),
                cluster,
                series,
                started: self.now(),
                deadline: None,
                hash: None,
                bytes_in: request.wire_len(),
                permits: [None, None],
                digested: None,
                log: self.logs().then(|| Box::new(LogFields::of(request))),
                seen: Cell::default(),
                digest: Cell::default(),
            },
            delay: None,
            refused: None,
        };
        decision.refused = match (verdict, &route) {
            (Verdict::Reply(failure), _) => Some(failure),
            (Verdict::Continue, None) => Some(no_route(listener, request)),
            (Verdict::Continue, Some(route)) => {
                let passed = self.judge(protocol, listener, request, &mut decision.passage, true);
                passed
                    .and_then(|timeout| {
                        self.pass_route(route, request, &mut decision)?;
                        decision.passage.hurry(timeout);
                        Ok(())
                    })
                    .err()
            }
        };
        decision
    }

    /// A request that follows others on a connection of its client's own, or goes nowhere and has no answer: what its route
    /// says to others was said, or cannot be.
    pub fn follow<P: Protocol>(
        &self,
        protocol: &P,
        listener: &Rc<ListenerView>,
        request: &P::Frame,
        route: Option<&Rc<LocalRoute>>,
        held: Option<&Rc<LocalCluster>>,
    ) -> Decision {
        let now = self.now();
        let route = route.or_else(|| listener.route(request)).cloned();
        let mut passage = Passage {
            listener: listener.clone(),
            series: self.request_series(
                listener,
                held.map(|held| &**held),
                request.service().as_deref().unwrap_or_default(),
                request.method().as_deref().unwrap_or_default(),
            ),
            cluster: held.cloned(),
            started: now,
            deadline: route.as_ref().and_then(|route| route.deadline(request, now)),
            route,
            hash: None,
            bytes_in: request.wire_len(),
            permits: [None, None],
            digested: None,
            log: self.logs().then(|| Box::new(LogFields::of(request))),
            seen: Cell::default(),
            digest: Cell::default(),
        };
        let refused = match passage.route {
            None => Some(no_route(listener, request)),
            Some(_) => self.judge(protocol, listener, request, &mut passage, false).err(),
        };
        Decision { passage, delay: None, refused }
    }

    /// A request that the proxy sends in parts, or answers by itself: for what is recorded of it.
    pub fn whole(
        &self,
        listener: &Rc<ListenerView>,
        route: Option<Rc<LocalRoute>>,
        method: &str,
        bytes_in: usize,
    ) -> Passage {
        let cluster = route.as_ref().and_then(|route| route.cluster.clone());
        let log = || LogFields { method: method.to_owned(), ..LogFields::default() };
        Passage {
            listener: listener.clone(),
            series: self.request_series(listener, cluster.as_deref(), "", method),
            route,
            cluster,
            started: self.now(),
            deadline: None,
            hash: None,
            bytes_in,
            permits: [None, None],
            digested: None,
            log: self.logs().then(|| Box::new(log())),
            seen: Cell::default(),
            digest: Cell::default(),
        }
    }

    /// Takes a look at a request that is about to be sent, where its listener has it. `slow`: it may turn out slow;
    /// `part`: it is a part of one, and counts for what it is about only.
    pub fn look_at<P: Protocol>(
        &self,
        protocol: &P,
        passage: &Passage,
        request: &P::Frame,
        look: Look,
    ) {
        let Some(watcher) = &passage.listener.watch else { return };
        let slow = look.slow && watcher.slow_after.is_some();
        let about = if look.about { watcher.sample(request.wire_len(), &self.rng) } else { None };
        let book = watcher.digests.as_ref().filter(|_| look.digest);
        if !slow && about.is_none() && book.is_none() {
            return;
        }
        let digested = match passage.digested {
            Some(digested) => digested,
            None => self.digest(protocol, request),
        };
        let digest = self.digest.borrow();
        // To prepare something is not to execute it.
        let executed = digested.is_some() && protocol.bearing(request) != Bearing::Preparation;
        let digest = executed.then_some(&digest[..]);
        if let (Some(book), Some(digest)) = (book, digest) {
            let (service, method) = (request.service(), request.method());
            let (service, method) = (service.as_deref(), method.as_deref());
            let (service, method) = (service.unwrap_or_default(), method.unwrap_or_default());
            passage.digest.set(Some(book.find(service, method, digest, passage.started)));
        }
        if !slow && about.is_none() {
            return;
        }
        let mut seen = self.spare_seen.borrow_mut().pop().unwrap_or_default();
        seen.note(protocol, request, slow, about, digest);
        seen.parts = look.parts;
        passage.seen.set(Some(seen));
    }

    /// Makes the request's digest.
    fn digest<P: Protocol>(&self, protocol: &P, request: &P::Frame) -> Digested {
        let mut digest = self.digest.borrow_mut();
        digest.clear();
        protocol.digest(request, &mut digest)
    }

    /// What the listener's firewall has to say: how long the request may take, if it passes. `limits`: it can be held to those.
    fn judge<P: Protocol>(
        &self,
        protocol: &P,
        listener: &ListenerView,
        request: &P::Frame,
        passage: &mut Passage,
        limits: bool,
    ) -> Result<Option<Duration>, Failure> {
        let Some(guard) = &listener.guard else { return Ok(None) };
        let digested = match guard.needs_digests() {
            true => *passage.digested.insert(self.digest(protocol, request)),
            false => Digested::None,
        };
        let (digest, bearing) = (self.digest.borrow(), protocol.bearing(request));
        let digest = if digested.is_some() { &digest[..] } else { &[] };
        let judged = Judged { request, bearing, digest, digested, limits };
        let passed = guard.judge(&listener.name, &judged, passage.started)?;
        passage.permits[1] = passed.permit;
        Ok(passed.timeout)
    }

    /// What the route has to say: fault, limit, answer, edits, deadline.
    fn pass_route<F: Frame>(
        &self,
        route: &Route,
        request: &mut F,
        decision: &mut Decision,
    ) -> Result<(), Failure> {
        let Decision { passage, delay, .. } = decision;
        let now = passage.started;
        if self.phase() == Phase::Refusing || self.phase() == Phase::Closing {
            return Err(Failure::new(Reason::Draining, "the proxy is shutting down"));
        }
        if let Some(fault) = &route.fault {
            let decided = fault.decide(&mut self.rng.borrow_mut());
            *delay = decided.delay;
            if let Some(failure) = decided.abort {
                return Err(failure);
            }
        }
        if let Some(limit) = &route.limit {
            match limit.admit(request, now) {
                Ok(permit) => passage.permits[0] = permit,
                Err(failure) => {
                    *delay = None;
                    return Err(failure);
                }
            }
        }
        if let Action::Reply(failure) = &route.action {
            return Err(failure.clone());
        }
        passage.hash = route.hash.as_ref().and_then(|key| key.of(request));
        if let Some(edits) = &route.edits
            && let Err(error) = edits.apply(request)
        {
            *delay = None;
            return Err(Failure::new(Reason::BadRequest, error.to_string()));
        }
        passage.deadline = route.deadline(request, now);
        Ok(())
    }

    /// The cluster that the route leads to this time.
    pub fn cluster_of(&self, route: &LocalRoute) -> Option<Rc<LocalCluster>> {
        if let Action::Weighted(split) = &route.action {
            let name = split.pick(&mut self.rng.borrow_mut()).clone();
            return self.cluster(&name);
        }
        route.cluster.clone()
    }
}

fn no_route(listener: &ListenerView, request: &dyn Frame) -> Failure {
    let message = format!(
        "listener {} has no route for service {} method {}",
        listener.name,
        request.service().as_deref().unwrap_or("-"),
        request.method().as_deref().unwrap_or("-"),
    );
    Failure::new(Reason::NoRoute, message)
}

impl Passage {
    /// That of a copy for another cluster, which nobody but the mirror counts.
    pub fn of_copy(&self, cluster: &Rc<LocalCluster>, deadline: Instant) -> Self {
        Self {
            listener: self.listener.clone(),
            route: None,
            cluster: Some(cluster.clone()),
            series: self.series.clone(),
            started: self.started,
            deadline: Some(deadline),
            hash: self.hash,
            bytes_in: self.bytes_in,
            permits: [None, None],
            digested: None,
            log: None,
            seen: Cell::default(),
            digest: Cell::default(),
        }
    }

    /// It is not to take longer than this.
    fn hurry(&mut self, timeout: Option<Duration>) {
        let end = timeout.and_then(|timeout| self.started.checked_add(timeout));
        self.deadline = self.deadline.into_iter().chain(end).min();
    }

    /// When an attempt that begins at `now` is given up: with the request, or by the route's time for one try.
    pub fn attempt_deadline(&self, now: Instant) -> Option<Instant> {
        self.route.as_ref().map_or(self.deadline, |route| route.try_deadline(self.deadline, now))
    }

    /// Counts an attempt that was sent at `at` out of its endpoint, and out of the cluster.
    pub fn leave(
        &self,
        worker: &Worker,
        endpoint: &LocalEndpoint,
        at: Instant,
        now: Instant,
        left: Left,
    ) {
        let Some(cluster) = &self.cluster else { return };
        cluster.release_request();
        let latency = worker.latency_since(at);
        let series = worker.endpoint_series(cluster.name(), endpoint);
        let ok = match left {
            Left::Answered { status, partial } => {
                series.answered(status, latency);
                partial || !status.is_upstream_fault()
            }
            Left::Failed(reason) => {
                series.failed(reason);
                reason.blame().side != Side::Upstream
            }
            Left::Unheard => {
                series.abandoned();
                return endpoint.abandoned();
            }
        };
        endpoint.finished(now, latency.duration(), ok);
        if !ok && cluster.shared().on_failure(endpoint.endpoint(), now) {
            series.ejections.inc();
        }
    }

    /// Counts, logs and keeps the request's end.
    pub fn record(
        &self,
        worker: &Worker,
        client: &str,
        endpoint: Option<&LocalEndpoint>,
        outcome: Outcome,
    ) {
        let Outcome { status, error, reason, bytes_out, items } = outcome;
        let latency = worker.latency_since(self.started);
        self.series.record(status, reason, latency, self.bytes_in, bytes_out);
        if let Some(error) = error {
            self.series.count_error(error);
        }
        if let Some(seen) = self.seen.take() {
            self.record_seen(worker, client, endpoint, outcome, seen);
        }
        if let (Some(digest), Some(watcher)) = (self.digest.take(), &self.listener.watch)
            && let Some(book) = &watcher.digests
        {
            let failed = || error.or_else(|| reason.map(Reason::flag)).unwrap_or(status.as_str());
            let error = (status != Status::Ok).then(failed);
            let end = DigestEnd { error, latency, items, bytes_in: self.bytes_in, bytes_out };
            book.record(&digest, &end, worker.now());
        }
        if let Some(log) = &self.log {
            worker.log(&Record {
                listener: &self.listener.name,
                route: self.route.as_ref().map_or("", |r| &r.name),
                cluster: self.cluster.as_ref().map_or("", |c| c.name()),
                endpoint: endpoint.map_or("", |e| e.label()),
                service: &log.service,
                method: &log.method,
                trace_id: &log.trace_id,
                client,
                time: SystemTime::now(),
                duration: latency.duration(),
                status,
                reason,
                bytes_in: self.bytes_in,
                bytes_out,
            });
        }
    }
}

impl Passage {
    /// Counts what a part of a request was about.
    pub fn record_part(&self, worker: &Worker, outcome: Outcome) {
        if let Some(seen) = self.seen.take() {
            self.record_seen(worker, "", None, outcome, seen);
        }
    }

    /// Keeps the request if it was slow, and counts what it was about.
    fn record_seen(
        &self,
        worker: &Worker,
        client: &str,
        endpoint: Option<&LocalEndpoint>,
        outcome: Outcome,
        mut seen: Box<Seen>,
    ) {
        let Some(watcher) = &self.listener.watch else { return };
        let Outcome { status, error, reason, bytes_out, .. } = outcome;
        let duration = worker.latency_since(self.started).duration();
        if seen.slow && watcher.slow_after.is_some_and(|bound| duration > bound) {
            self.series.slow.inc();
            watcher.kept.keep_slow(SlowRequest {
                time: SystemTime::now(),
                duration,
                client: client.to_owned(),
                route: self.route.as_ref().map_or("", |r| &r.name).to_owned(),
                cluster: self.cluster.as_ref().map_or("", |c| c.name()).to_owned(),
                endpoint: endpoint.map_or("", |e| e.label()).to_owned(),
                service: seen.service.clone(),
                method: seen.method.clone(),
                request: seen.summary.to_string(),
                parts: seen.parts,
                status,
                error,
                reason,
                bytes_in: self.bytes_in,
                bytes_out,
            });
        }
        if seen.has_subjects() {
            watcher.kept.count(&seen, bytes_out, worker.now());
        }
        seen.clear();
        let mut spare = worker.spare_seen.borrow_mut();
        if spare.len() < SPARE_SEEN {
            spare.push(seen);
        }
    }
}

/// So many are kept to be used again.
const SPARE_SEEN: usize = 4096;

/// For what a request is looked at.
#[derive(Clone, Copy)]
pub struct Look {
    /// It may turn out slow.
    pub slow: bool,
    /// What it is about counts.
    pub about: bool,
    /// It counts by its digest.
    pub digest: bool,
    /// In how many parts it is sent.
    pub parts: usize,
}

impl Look {
    /// For all.
    pub const ALL: Self = Self { slow: true, about: true, digest: true, parts: 1 };
    /// One that waits on purpose.
    pub const PATIENT: Self = Self { slow: false, ..Self::ALL };
    /// A part of a request: only what it is about.
    pub const PART: Self = Self { digest: false, ..Self::PATIENT };
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

/// What a retry needs.
pub struct Replay<P: Protocol> {
    pub request: P::Frame,
    /// Endpoints that failed this request already.
    pub avoid: Vec<u64>,
    kept: Rc<Cell<usize>>,
}

/// How many bytes of requests a worker keeps for retries; requests beyond it are not tried again.
const KEPT_MAX: usize = 64 << 20;

impl<P: Protocol> Replay<P> {
    /// Keeps a copy of the request, if `kept`, the bytes kept on this worker, allows it.
    pub fn keep(request: &P::Frame, kept: &Rc<Cell<usize>>) -> Option<Box<Self>> {
        let total = kept.get().saturating_add(request.wire_len());
        if total > KEPT_MAX {
            return None;
        }
        kept.set(total);
        Some(Box::new(Self { request: request.clone(), avoid: Vec::new(), kept: kept.clone() }))
    }
}

impl<P: Protocol> Drop for Replay<P> {
    fn drop(&mut self) {
        self.kept.set(self.kept.get().saturating_sub(self.request.wire_len()));
    }
}
