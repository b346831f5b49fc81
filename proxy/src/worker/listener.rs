use std::{ops::Deref, rc::Rc, sync::Arc};

use wiremesh::{Frame, Limits};

use crate::{
    cluster::LocalCluster,
    config,
    policy::{Filters, Route, RouteTable},
    registry::Driver,
    telemetry::ListenerSeries,
};

/// A listener, as one worker sees it.
pub struct ListenerView {
    pub name: Arc<str>,
    pub config: Arc<config::Listener>,
    pub limits: Limits,
    pub filters: Filters,
    pub series: Arc<ListenerSeries>,
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

/// A route, as one worker sees it.
pub struct LocalRoute {
    pub(super) route: Arc<Route>,
    /// `None` where it has none, or one of several.
    pub cluster: Option<Rc<LocalCluster>>,
}

impl Deref for LocalRoute {
    type Target = Route;

    fn deref(&self) -> &Route {
        &self.route
    }
}
