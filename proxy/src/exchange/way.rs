//! By which route a request goes, found once; and where it goes when routes lead to several clusters.

use std::rc::Rc;

use wiremesh::{
    Protocol,
    correlation::{Exchange, Portion, View},
};

use super::client::Client;
use crate::{
    cluster::LocalCluster,
    stations::Known,
    worker::{ListenerView, LocalRoute},
};

/// Where a request goes.
#[derive(Default)]
pub struct Way {
    /// `None` where it has none.
    route: Option<Rc<LocalRoute>>,
    divided: bool,
    /// [`View::portions`].
    portions: Vec<Portion>,
    /// The cluster of each of them, and by which route.
    clusters: Vec<(Rc<LocalRoute>, Rc<LocalCluster>)>,
    torn: bool,
}

impl Way {
    /// Finds the way of a request. Nothing is known before.
    pub fn find<P: Protocol>(&mut self, protocol: &P, listener: &ListenerView, request: &P::Frame)
    where
        P::Correlation: Exchange<P>,
    {
        self.route = listener.route(request).cloned();
        self.divided = listener.is_divided_by(<P::Correlation as Exchange<P>>::SUBJECT);
        if !self.divided {
            return;
        }
        let (mut count, mut nowhere) = (0, 0);
        let visit = &mut |shown: &P::Frame| {
            let (n, first) = (count, self.route.as_ref());
            count += 1;
            let route = if n == 0 { first } else { listener.route(shown) };
            if n == 1
                && let Some(first) = self.portions.first_mut()
            {
                first.subjects.push(0);
            }
            let Some((route, cluster)) =
                route.and_then(|route| Some((route, route.cluster.as_ref()?)))
            else {
                nowhere += 1;
                return;
            };
            if let Some(place) = self.clusters.iter().position(|(_, it)| Rc::ptr_eq(it, cluster)) {
                self.portions[place].subjects.push(n);
                return;
            }
            self.clusters.push((route.clone(), cluster.clone()));
            // Most requests have but one, which is not written down.
            let subjects = if n == 0 { Vec::new() } else { vec![n] };
            self.portions.push(Portion { subjects, shards: 0, nodes: 0 });
        };
        <P::Correlation as Exchange<P>>::each_subject(protocol, request, visit);
        let places = self.clusters.len() + usize::from(nowhere > 0);
        self.torn = places > 1;
        if count == 0 {
            self.find_all(listener, <P::Correlation as Exchange<P>>::SUBJECT);
        } else if places == 1 || nowhere > 0 {
            self.portions.clear();
        }
        for (portion, (_, cluster)) in self.portions.iter_mut().zip(&self.clusters) {
            (portion.shards, portion.nodes) = (cluster.shards(), cluster.nodes());
        }
    }

    /// A request that is about nothing that routes could tell may be about all that there is, if no route names it.
    fn find_all(&mut self, listener: &ListenerView, subject: &str) {
        let Some(own) = self.route.as_ref().filter(|route| route.open) else { return };
        let others = listener
            .routes()
            .iter()
            .filter(|route| route.looks_at.iter().any(|name| **name == *subject));
        for cluster in [own].into_iter().chain(others).filter_map(|route| route.cluster.as_ref()) {
            if !self.clusters.iter().any(|(_, known)| Rc::ptr_eq(known, cluster)) {
                self.clusters.push((own.clone(), cluster.clone()));
                self.portions.push(Portion::default());
            }
        }
        if self.portions.len() == 1 {
            self.portions.clear();
        }
    }

    /// Whether the request is about things of several clusters.
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// What a client's machine is told.
    #[inline(always)]
    pub fn view<'a, P: Protocol>(&'a self, client: &'a Client<P>) -> View<'a>
    where
        P::Correlation: Exchange<P>,
    {
        let cluster = self.route.as_ref().and_then(|route| route.cluster.as_ref());
        View { divided: self.divided, portions: &self.portions, ..client.view(cluster) }
    }

    /// The way of the whole request.
    pub fn known(&self) -> Known<'_> {
        Known { route: self.route.as_ref(), cluster: None }
    }

    /// The way of a part of it.
    pub fn known_of(&self, portion: Option<usize>) -> Known<'_> {
        match portion.and_then(|portion| self.clusters.get(portion)) {
            Some((route, cluster)) => Known { route: Some(route), cluster: Some(cluster) },
            None => self.known(),
        }
    }

    /// Forgets all but the storage.
    pub fn clear(&mut self) {
        (self.route, self.divided, self.torn) = (None, false, false);
        self.portions.clear();
        self.clusters.clear();
    }
}
