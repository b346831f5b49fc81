use std::{
    cell::{Cell, RefCell},
    ops::Deref,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use wiremesh::{Frame, Limits, Wanted};

use super::Guard;
use crate::{
    cluster::LocalCluster,
    config,
    net::tls::ServerTls,
    policy::{Filters, Route, RouteTable},
    registry::Driver,
    snapshot::ListenerPlan,
    telemetry::{
        ListenerSeries, MirrorSeries,
        watch::{DigestBook, Sampled, Watch},
    },
};

/// A listener, as one worker sees it.
pub struct ListenerView {
    pub(super) plan: Arc<ListenerPlan>,
    pub name: Arc<str>,
    pub config: Arc<config::Listener>,
    pub limits: Limits,
    /// How TLS is spoken with its clients.
    pub tls: Option<ServerTls>,
    pub filters: Filters,
    pub series: Arc<ListenerSeries>,
    /// What is kept of its requests, if anything.
    pub watch: Option<Watcher>,
    /// Which of its requests pass; `None`: all.
    pub guard: Option<Guard>,
    pub(super) table: Arc<RouteTable>,
    /// Those of `table`, in its order.
    pub(super) routes: Box<[Rc<LocalRoute>]>,
    /// The headers by which routes lead to different clusters.
    pub(super) divided_by: Box<[Box<str>]>,
    pub(super) drivers: Vec<Rc<dyn Driver>>,
}

impl ListenerView {
    /// The first route that is for this request.
    pub fn route(&self, request: &dyn Frame) -> Option<&Rc<LocalRoute>> {
        match self.routes.first() {
            // Nothing of the request need be looked at.
            Some(first) if first.open => Some(first),
            _ => self.routes.get(self.table.find(request)?),
        }
    }

    /// All routes, in order.
    pub fn routes(&self) -> &[Rc<LocalRoute>] {
        &self.routes
    }

    /// What the proxy wants to know of its requests.
    pub fn wanted(&self) -> Wanted {
        let watched = |watch: &Watcher| watch.digests.is_some() || watch.slow_after.is_some();
        let judged = |guard: &Guard| guard.needs_digests();
        Wanted {
            digests: self.watch.as_ref().is_some_and(watched)
                || self.guard.as_ref().is_some_and(judged),
            all: self.guard.is_some(),
        }
    }

    /// Whether requests may be led to different clusters by this header.
    pub fn is_divided_by(&self, header: &str) -> bool {
        self.divided_by.iter().any(|name| **name == *header)
    }
}

/// The headers that routes to clusters look at, if these are several.
pub(super) fn divided_by(routes: &[Rc<LocalRoute>]) -> Box<[Box<str>]> {
    let mut clusters = routes.iter().filter_map(|route| route.cluster.as_ref());
    let first = clusters.next();
    if !first.is_some_and(|first| clusters.any(|other| !Rc::ptr_eq(first, other))) {
        return Box::default();
    }
    let mut names: Vec<Box<str>> = Vec::new();
    for name in routes.iter().flat_map(|route| &*route.looks_at) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names.into()
}

/// Which of a listener's requests are looked at.
pub struct Watcher {
    pub kept: Arc<Watch>,
    /// From how long on a request is slow.
    pub slow_after: Option<Duration>,
    /// Where requests are counted by digest.
    pub digests: Option<DigestBook>,
    /// One of how many requests is looked at; 0: none.
    every: u32,
    /// How many are let pass before the next is looked at.
    until: Cell<u32>,
}

/// A request of so many bytes is looked at in any case, for its size.
const LARGE: usize = 64 << 10;

impl Watcher {
    pub(super) fn new(kept: Arc<Watch>) -> Self {
        let (slow_after, every) = (kept.slow_after(), kept.every().unwrap_or(0));
        let digests = DigestBook::new(&kept);
        Self { kept, slow_after, digests, every, until: Cell::new(0) }
    }

    /// Whether, and for what, a request of this size is to be looked at.
    pub fn sample(&self, bytes: usize, rng: &RefCell<fastrand::Rng>) -> Option<Sampled> {
        if self.every == 0 {
            return None;
        }
        if let Some(left) = self.until.get().checked_sub(1) {
            self.until.set(left);
            return (bytes >= LARGE).then_some(Sampled::Large);
        }
        // Requests may come in a rhythm: each n-th would always be of the same kind.
        self.until.set(rng.borrow_mut().u32(0..=2 * (self.every - 1)));
        Some(Sampled::Counted)
    }
}

/// A route, as one worker sees it.
pub struct LocalRoute {
    pub(super) route: Arc<Route>,
    /// `None` where it has none, or one of several.
    pub cluster: Option<Rc<LocalCluster>>,
    /// Where copies of its requests go.
    pub mirror: Option<LocalMirror>,
}

/// Where copies of a route's requests go, as one worker sees it.
pub struct LocalMirror {
    /// `None`: there is no such cluster.
    pub cluster: Option<Rc<LocalCluster>>,
    pub series: Arc<MirrorSeries>,
}

impl Deref for LocalRoute {
    type Target = Route;

    fn deref(&self) -> &Route {
        &self.route
    }
}
