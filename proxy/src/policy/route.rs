use std::{sync::Arc, time::Duration};

use wiremesh::{EditError, Failure, Frame, Reason};
use xxhash_rust::xxh3::xxh3_64;

use super::{Fault, Limit, Mirror, Retry, table::CompileError};
use crate::config::{self, Target};

/// What is done with the requests that a route is for. What is `None` is not configured.
#[derive(Debug)]
pub struct Route {
    /// Its name in logs and metrics.
    pub name: Arc<str>,
    /// Where requests go.
    pub action: Action,
    /// Whether it takes every request.
    pub open: bool,
    /// The headers by which it takes a request or not.
    pub looks_at: Box<[Box<str>]>,
    /// How long a request may take, tries and pauses included.
    pub timeout: Option<Duration>,
    /// How long one try may take.
    pub try_timeout: Option<Duration>,
    /// When and how a failed request is tried again.
    pub retry: Option<Retry>,
    /// Changes to the request's headers.
    pub edits: Option<HeaderEdits>,
    /// Failures made on purpose.
    pub fault: Option<Fault>,
    /// How much traffic is let through.
    pub limit: Option<Limit>,
    /// What decides the endpoint in clusters that balance by hash.
    pub hash: Option<HashKey>,
    /// Who gets copies of requests.
    pub mirror: Option<Mirror>,
}

impl Route {
    pub(super) fn compile(config: &config::Route) -> Result<Self, CompileError> {
        Ok(Self {
            name: config.name.as_str().into(),
            action: Action::compile(config)?,
            open: config.matches.is_empty(),
            looks_at: config.matches.headers.iter().map(|h| h.name.as_str().into()).collect(),
            timeout: config.timeout.map(Into::into),
            try_timeout: config.try_timeout.map(Into::into),
            retry: config.retry.as_ref().and_then(Retry::compile),
            edits: HeaderEdits::compile(&config.headers),
            fault: config.fault.as_ref().and_then(Fault::compile),
            limit: config
                .limit
                .as_ref()
                .and_then(|limit| Limit::compile(&format!("route `{}`", config.name), limit)),
            hash: config.hash.as_ref().map(HashKey::compile),
            mirror: config.mirror.as_ref().and_then(Mirror::compile),
        })
    }

    /// Every cluster that requests, or copies of them, may go to.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        self.action.clusters().chain(self.mirror.as_ref().map(|mirror| &mirror.cluster))
    }

    /// Takes over what the route of the same name has counted before a reload.
    pub(super) fn adopt(&mut self, old: &Self) {
        if let (Some(new), Some(old)) = (&mut self.retry, &old.retry) {
            new.adopt(old);
        }
        if let (Some(new), Some(old)) = (&mut self.limit, &old.limit) {
            new.adopt(old);
        }
    }
}

/// Where a route's requests go.
#[derive(Clone, Debug)]
pub enum Action {
    /// To this cluster.
    Cluster(Arc<str>),
    /// To one of several clusters.
    Weighted(Weighted),
    /// Nowhere: the proxy answers this.
    Reply(Failure),
}

impl Action {
    fn compile(config: &config::Route) -> Result<Self, CompileError> {
        match config.target() {
            Some(Target::Cluster(name)) => Ok(Self::Cluster(name.into())),
            Some(Target::Weighted(clusters)) => Weighted::compile(clusters)
                .map(Self::Weighted)
                .ok_or_else(|| CompileError::NoWeight { route: config.name.clone() }),
            Some(Target::Reply(reply)) => Ok(Self::Reply(Failure {
                status: *reply.status,
                ..Failure::new(Reason::Direct, reply.message.clone())
            })),
            None => Err(CompileError::NoTarget { route: config.name.clone() }),
        }
    }

    /// The cluster for the next request, or the answer in its place.
    pub fn pick(&self, rng: &mut fastrand::Rng) -> Result<&Arc<str>, &Failure> {
        match self {
            Self::Cluster(name) => Ok(name),
            Self::Weighted(weighted) => Ok(weighted.pick(rng)),
            Self::Reply(failure) => Err(failure),
        }
    }

    /// Every cluster that requests may go to.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        let (one, several) = match self {
            Self::Cluster(name) => (Some(name), None),
            Self::Weighted(weighted) => (None, Some(weighted)),
            Self::Reply(_) => (None, None),
        };
        one.into_iter().chain(several.into_iter().flat_map(|w| w.0.iter().map(|(_, name)| name)))
    }
}

/// Several clusters, each with its share. There is at least one, and all have a weight.
#[derive(Clone, Debug)]
pub struct Weighted(Box<[(u64, Arc<str>)]>);

impl Weighted {
    /// Each with the sum of the weights up to it. `None` where all weights are zero.
    fn compile(clusters: &[config::WeightedCluster]) -> Option<Self> {
        let mut sum = 0;
        let mut shares = Vec::new();
        for cluster in clusters.iter().filter(|c| c.weight > 0) {
            sum += u64::from(cluster.weight);
            shares.push((sum, cluster.name.as_str().into()));
        }
        (!shares.is_empty()).then(|| Self(shares.into()))
    }

    /// One of them, as often as its weight says.
    pub fn pick(&self, rng: &mut fastrand::Rng) -> &Arc<str> {
        let last = self.0.len() - 1;
        let drawn = rng.u64(..self.0[last].0);
        let at = self.0.partition_point(|(sum, _)| *sum <= drawn);
        &self.0[at].1
    }
}

/// Changes to a request's headers.
#[derive(Clone, Debug)]
pub struct HeaderEdits {
    remove: Box<[Box<str>]>,
    set: Box<[(Box<str>, Box<str>)]>,
    add: Box<[(Box<str>, Box<str>)]>,
}

impl HeaderEdits {
    /// From the configuration; `None` where it changes nothing.
    pub fn compile(config: &config::HeaderEdits) -> Option<Self> {
        if config.is_empty() {
            return None;
        }
        let pair =
            |(name, value): (&String, &String)| (name.as_str().into(), value.as_str().into());
        Some(Self {
            remove: config.remove.iter().map(|name| name.as_str().into()).collect(),
            set: config.set.iter().map(pair).collect(),
            add: config.add.iter().map(pair).collect(),
        })
    }

    /// Makes them: removes, then sets, then adds what is absent. Stops at the first that the frame refuses.
    pub fn apply(&self, request: &mut dyn Frame) -> Result<(), EditError> {
        for name in &self.remove {
            request.remove_header(name)?;
        }
        for (name, value) in &self.set {
            request.set_header(name, value)?;
        }
        for (name, value) in &self.add {
            if request.header(name).is_none() {
                request.set_header(name, value)?;
            }
        }
        Ok(())
    }
}

/// What decides the endpoint in clusters that balance by hash.
#[derive(Clone, Debug)]
pub struct HashKey {
    header: Box<str>,
}

impl HashKey {
    fn compile(config: &config::Hash) -> Self {
        Self { header: config.header.as_str().into() }
    }

    /// The request's key: the same on every proxy, in every run. `None` for requests without the header.
    pub fn of(&self, request: &dyn Frame) -> Option<u64> {
        Some(xxh3_64(request.header(&self.header)?.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Request, *};

    fn route(yaml: &str) -> Route {
        Route::compile(&serde_saphyr::from_str(yaml).unwrap()).unwrap()
    }

    fn error(yaml: &str) -> String {
        Route::compile(&serde_saphyr::from_str(yaml).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_configured_is_not_there() {
        let route = route("{ name: r, cluster: c }");
        assert!(route.timeout.is_none() && route.try_timeout.is_none());
        assert!(route.retry.is_none() && route.edits.is_none() && route.fault.is_none());
        assert!(route.limit.is_none() && route.hash.is_none() && route.mirror.is_none());
        let cluster = route.action.pick(&mut fastrand::Rng::with_seed(1)).unwrap();
        assert_eq!((&**cluster, &*route.name), ("c", "r"));
    }

    #[test]
    fn weights_are_kept() {
        let route = route(
            "{ name: r, clusters: [{ name: a, weight: 70 }, { name: never, weight: 0 }, { name: b, weight: 25 }, { name: c, weight: 5 }] }",
        );
        for seed in 0..5 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut seen = std::collections::BTreeMap::new();
            for _ in 0..100_000 {
                *seen.entry(route.action.pick(&mut rng).unwrap().to_string()).or_insert(0i64) += 1;
            }
            assert_eq!(seen.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
            for (name, expected) in [("a", 70_000), ("b", 25_000), ("c", 5_000)] {
                assert!((seen[name] - expected).abs() < 700, "seed {seed}: {seen:?}");
            }
        }
        let names: Vec<_> = route.action.clusters().map(|name| &**name).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn a_weight_of_one_is_all_of_it() {
        let route = route("{ name: r, clusters: [{ name: a, weight: 1 }] }");
        let mut rng = fastrand::Rng::with_seed(1);
        assert!((0..100).all(|_| route.action.pick(&mut rng).is_ok_and(|name| &**name == "a")));
    }

    #[test]
    fn direct_reply() {
        let route = route("{ name: r, reply: { status: unavailable, message: gone fishing } }");
        let failure = route.action.pick(&mut fastrand::Rng::with_seed(1)).unwrap_err();
        assert_eq!(failure.to_string(), "wiremesh DI: gone fishing");
        assert_eq!(failure.status, wiremesh::Status::Unavailable);
        assert_eq!(route.action.clusters().count(), 0);
    }

    #[test]
    fn a_route_must_lead_somewhere() {
        assert_eq!(
            error("{ name: r }"),
            "route `r` has none, or several, of `cluster`, `clusters` and `reply`"
        );
        assert_eq!(
            error("{ name: r, clusters: [{ name: a, weight: 0 }] }"),
            "route `r`: no cluster has a weight"
        );
    }

    #[test]
    fn edits_in_order() {
        let route = route(
            "{ name: r, cluster: c, headers: { remove: [gone, again], set: { again: new, over: new }, add: { there: new, fresh: new, over: late } } }",
        );
        let mut request = Request::new("s", "m")
            .with("gone", "old")
            .with("again", "old")
            .with("over", "old")
            .with("there", "old");
        route.edits.as_ref().unwrap().apply(&mut request).unwrap();
        request.headers.sort();
        let headers: Vec<_> =
            request.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(
            headers,
            [("again", "new"), ("fresh", "new"), ("over", "new"), ("there", "old")]
        );
    }

    #[test]
    fn edits_are_refused_by_protocols_without_headers() {
        let mut request = Request { read_only: true, ..Request::default() };
        let route = route("{ name: r, cluster: c, headers: { set: { a: b } } }");
        let refused = route.edits.unwrap().apply(&mut request);
        assert_eq!(refused, Err(EditError::Unsupported("a header")));
    }

    #[test]
    fn hash_of_a_header() {
        let hash = route("{ name: r, cluster: c, hash: { header: user } }").hash.unwrap();
        let key = |user: &str| hash.of(&Request::default().with("user", user));
        assert_eq!(key("ann"), key("ann"));
        assert_ne!(key("ann"), key("ben"));
        assert_eq!(hash.of(&Request::default()), None);
        // The published value of XXH3-64 for no input: proxies of different builds must agree.
        assert_eq!(key(""), Some(0x2d06_8005_38d3_94c2));
    }
}
