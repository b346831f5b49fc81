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
    pub(super) drivers: Vec<Rc<dyn Driver>>,
}

impl ListenerView {
    /// The first route that is for this request.
    pub fn route(&self, request: &dyn Frame) -> Option<&Rc<LocalRoute>> {
        self.routes.get(self.table.find(request)?)
    }

    /// Whether all requests that have a route have the same.
    pub fn has_one_route(&self) -> bool {
        self.routes.len() < 2
    }
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
