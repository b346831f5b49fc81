//! Copies of reads for another cluster. A client neither waits for them nor hears of them: each is sent in the name of a
//! shadow of the client, which has a session like the client's and no socket, and is gone when the copy was answered.
//!
//! What cannot be sent, by the bounds of the other cluster, is dropped. No copy is sent twice.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use wiremesh::{
    Failure, Frame, Protocol, Reason, Status,
    correlation::{AnswerDigest, Attachment, Digester, SessionMachine, Sessioned},
};

use super::{Sessions, client::Client, ticket::Ticket};
use crate::{cluster::LocalCluster, policy::Route, telemetry::MirrorSeries};

/// After so long a copy is given up where the request that it is copied from has no time set.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longer requests are not copied, in bytes: copies may have to wait.
const LONGEST: usize = 64 << 10;

/// Answers that differ are told of this often at most.
const TOLD: Duration = Duration::from_secs(1);

/// The shadows of one worker's clients.
pub struct Shadows<P: Sessioned> {
    /// By their ids, of which clients have others.
    all: RefCell<FxHashMap<u64, Rc<Client<P>>>>,
    notices: Rc<Notices>,
}

impl<P: Sessioned> Default for Shadows<P> {
    fn default() -> Self {
        Self { all: RefCell::default(), notices: Rc::default() }
    }
}

impl<P: Sessioned> Shadows<P> {
    pub fn get(&self, id: u64) -> Option<Rc<Client<P>>> {
        self.all.borrow().get(&id).cloned()
    }
}

/// A copy that is about to be sent.
pub struct Copy<P: Sessioned> {
    /// To which it is admitted.
    cluster: Rc<LocalCluster>,
    machine: P::Machine,
    request: P::Frame,
    ticket: Ticket<P>,
    deadline: Instant,
}

/// What a request has to do with copies.
pub struct Mirrored<P: Protocol> {
    /// It is a copy.
    copy: Option<Copied>,
    compared: Option<(Box<dyn Digester<P>>, Rc<Comparison>)>,
}

/// Counts a copy when it is dropped.
struct Copied {
    series: Arc<MirrorSeries>,
    sent: bool,
    answered: bool,
}

impl Drop for Copied {
    fn drop(&mut self) {
        let Self { series, sent, answered } = self;
        match (sent, answered) {
            (_, true) => series.answered.inc(),
            (true, _) => series.failed.inc(),
            (false, _) => series.dropped.inc(),
        }
    }
}

impl<P: Protocol> Mirrored<P> {
    pub fn is_copy(&self) -> bool {
        self.copy.is_some()
    }

    /// It is with an upstream.
    pub fn sent(&mut self) {
        if let Some(copy) = &mut self.copy {
            copy.sent = true;
            if let Some((_, comparison)) = &self.compared {
                comparison.sent.set(true);
            }
        }
    }

    /// A frame of its answer.
    pub fn add(&mut self, frame: &P::Frame) {
        if let Some((digester, _)) = &mut self.compared {
            digester.add(frame);
        }
    }

    /// All of its answer has come.
    pub fn answered(mut self, status: Status) {
        let is_copy = self.copy.as_mut().map(|copy| copy.answered = true).is_some();
        if let Some((mut digester, comparison)) = self.compared.take() {
            let answer = Answer { ok: status == Status::Ok, digest: digester.finish() };
            let side = if is_copy { &comparison.copy } else { &comparison.original };
            side.set(Some(answer));
        }
    }
}

/// What came of one of the two requests.
#[derive(Clone, Copy)]
struct Answer {
    ok: bool,
    /// `None`: it could not be read.
    digest: Option<AnswerDigest>,
}

/// Two answers, compared when both requests are at their end: then this is dropped.
struct Comparison {
    series: Arc<MirrorSeries>,
    notices: Rc<Notices>,
    listener: Rc<str>,
    route: Rc<str>,
    /// What the request has in common with others.
    digest: Box<[u8]>,
    /// The copy is with an upstream.
    sent: Cell<bool>,
    original: Cell<Option<Answer>>,
    copy: Cell<Option<Answer>>,
}

impl Drop for Comparison {
    fn drop(&mut self) {
        let (series, sent) = (&self.series, self.sent.get());
        match (self.original.get(), self.copy.get()) {
            (Some(original), Some(copy)) if original.ok && !copy.ok => {
                series.failed_to_compare.inc();
            }
            (Some(_), None) if sent => series.failed_to_compare.inc(),
            (
                Some(Answer { digest: Some(original), .. }),
                Some(Answer { digest: Some(copy), .. }),
            ) => {
                if original == copy {
                    return series.equal.inc();
                }
                series.different.inc();
                let Some(others) = self.notices.due() else { return };
                tracing::warn!(
                    listener = &*self.listener, route = &*self.route,
                    request = %String::from_utf8_lossy(&self.digest), %original, %copy, others,
                    "the mirror's answer is another"
                );
            }
            _ => series.not_compared.inc(),
        }
    }
}

/// How often answers that differ are told of.
#[derive(Default)]
struct Notices {
    last: Cell<Option<Instant>>,
    left_out: Cell<u64>,
}

impl Notices {
    /// Whether it is time for one, and how many were left out since the last.
    fn due(&self) -> Option<u64> {
        let now = Instant::now();
        if self.last.get().is_some_and(|last| now.saturating_duration_since(last) < TOLD) {
            self.left_out.set(self.left_out.get() + 1);
            return None;
        }
        self.last.set(Some(now));
        Some(self.left_out.take())
    }
}

impl<P: Sessioned> Sessions<P> {
    /// A copy of a request that is about to be sent, if its route wants one and there can be one. It is to be
    /// [sent](Self::send_copy).
    pub(super) fn copy(
        &self,
        client: &Client<P>,
        original: &mut Ticket<P>,
        request: &P::Frame,
    ) -> Option<Copy<P>> {
        let route = original.passage.route.clone()?;
        let policy: &Route = &route;
        let (mirror, to) = (route.mirror.as_ref()?, policy.mirror.as_ref()?);
        if !to.wants(true, &mut self.worker.rng.borrow_mut()) {
            return None;
        }
        let machine = client.session.borrow_mut().machine.shadow(&self.protocol, request)?;
        let series = &mirror.series;
        let fits = |cluster: &&Rc<LocalCluster>| {
            request.wire_len() <= LONGEST && cluster.try_admit_request()
        };
        let Some(cluster) = mirror.cluster.as_ref().filter(fits) else {
            series.dropped.inc();
            if to.compare {
                series.not_compared.inc();
            }
            return None;
        };
        let last = || self.worker.now() + PATIENCE;
        let deadline = original.passage.deadline.unwrap_or_else(last);
        let digesters = || Some((machine.digester(request)?, machine.digester(request)?));
        let copied = Copied { series: series.clone(), sent: false, answered: false };
        let mut mirrored = Mirrored { copy: Some(copied), compared: None };
        if let Some((one, other)) = digesters().filter(|_| to.compare) {
            let mut digest = Vec::new();
            self.protocol.digest(request, &mut digest);
            let comparison = Rc::new(Comparison {
                series: series.clone(),
                notices: self.shadows.notices.clone(),
                listener: (&*original.passage.listener.name).into(),
                route: (&*route.name).into(),
                digest: digest.into(),
                sent: Cell::default(),
                original: Cell::default(),
                copy: Cell::default(),
            });
            let compared = Some((one, comparison.clone()));
            original.mirrored = Some(Box::new(Mirrored { copy: None, compared }));
            mirrored.compared = Some((other, comparison));
        }
        let passage = original.passage.of_copy(cluster, deadline);
        let ticket = Ticket::new(passage, self.protocol.head(request), true);
        let ticket = Ticket { attempts: 1, mirrored: Some(Box::new(mirrored)), ..ticket };
        Some(Copy { cluster: cluster.clone(), machine, request: request.clone(), ticket, deadline })
    }

    /// Sends a copy of a client's request.
    pub(super) fn send_copy(self: &Rc<Self>, client: &Client<P>, copy: Copy<P>) {
        let Copy { cluster, mut machine, request, ticket, deadline } = copy;
        if machine.on_request(&self.protocol, &request) != Attachment::Upstream {
            return cluster.release_request();
        }
        let access = cluster.parts(|| machine.access(&self.protocol, &request));
        let shadow = Rc::new(client.shadow(self.next_id(), machine, self.worker.now()));
        shadow.session.borrow_mut().access = access;
        self.shadows.all.borrow_mut().insert(shadow.id, shadow.clone());
        self.lend(&shadow, &cluster, ticket, request);
        tokio::task::spawn_local(self.clone().follow(shadow, deadline));
    }

    /// Gives a copy up when its time is up, and takes its shadow away when it is at its end.
    async fn follow(self: Rc<Self>, shadow: Rc<Client<P>>, deadline: Instant) {
        let idle = std::future::poll_fn(|cx| shadow.poll_idle(cx));
        let late = tokio::time::timeout_at(deadline.into(), idle).await.is_err();
        self.worker.tick();
        if late {
            let message = "the copy of a request was not answered in time";
            self.give_up(&shadow, &Failure::new(Reason::Timeout, message));
        }
        self.shadows.all.borrow_mut().remove(&shadow.id);
        self.give_back(&shadow, false);
    }
}
