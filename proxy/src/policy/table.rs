use std::{borrow::Cow, sync::Arc};

use regex::Regex;
use rustc_hash::FxHashMap;
use thiserror::Error;
use wiremesh::Frame;

use super::Route;
use crate::config::{self, Matcher};

/// Why a listener's routes cannot be used.
#[derive(Debug, Error)]
pub enum CompileError {
    /// Not exactly one of the three is set.
    #[error("route `{route}` has none, or several, of `cluster`, `clusters` and `reply`")]
    NoTarget {
        /// The route's name.
        route: String,
    },
    /// All weights are zero.
    #[error("route `{route}`: no cluster has a weight")]
    NoWeight {
        /// The route's name.
        route: String,
    },
    /// That of a firewall's rule is.
    #[error("firewall rule `{rule}`: `{regex}` is not a regular expression that can be used")]
    Pattern {
        /// The rule's name.
        rule: String,
        /// As configured.
        regex: String,
        /// What is wrong with it.
        source: regex::Error,
    },
    /// A regular expression is broken or too large.
    #[error("route `{route}`: `{regex}` is not a regular expression that can be used")]
    Regex {
        /// The route's name.
        route: String,
        /// As configured.
        regex: String,
        /// What is wrong with it.
        source: regex::Error,
    },
}

/// The routes of a listener, in order.
///
/// Routes for one exact service are found by hash; only the others are gone through, so a thousand of the former cost
/// as much as one.
#[derive(Debug, Default)]
pub struct RouteTable {
    entries: Box<[Entry]>,
    /// The entries for exactly this service, in order.
    by_service: FxHashMap<Box<str>, Box<[u32]>>,
    /// All other entries, in order.
    others: Box<[u32]>,
}

impl RouteTable {
    /// From a listener's routes.
    pub fn compile(routes: &[config::Route]) -> Result<Self, CompileError> {
        let entries = routes.iter().map(Entry::compile).collect::<Result<_, _>>()?;
        let mut by_service: FxHashMap<Box<str>, Vec<u32>> = FxHashMap::default();
        let mut others = Vec::new();
        for (at, route) in (0..).zip(routes) {
            match &route.matches.service {
                Some(Matcher::Exact(service)) => {
                    by_service.entry(service.as_str().into()).or_default().push(at);
                }
                _ => others.push(at),
            }
        }
        let by_service = by_service.into_iter().map(|(name, at)| (name, at.into())).collect();
        Ok(Self { entries, by_service, others: others.into() })
    }

    /// Takes over what the routes of the same names have counted before a reload: the state of limits and budgets that
    /// did not change. To be called before the table is shared.
    pub fn adopt(&mut self, old: &Self) {
        let known: FxHashMap<_, _> = old.routes().map(|route| (&route.name, route)).collect();
        for entry in &mut self.entries {
            let old = known.get(&entry.route.name);
            if let (Some(route), Some(old)) = (Arc::get_mut(&mut entry.route), old) {
                route.adopt(old);
            }
        }
    }

    /// Which of [`routes`](Self::routes) is the first that is for this request.
    pub fn find(&self, request: &dyn Frame) -> Option<usize> {
        let mut head = Head { request, service: None, method: None };
        let mut exact: &[u32] = &[];
        if !self.by_service.is_empty() {
            let found = head.service().and_then(|service| self.by_service.get(service));
            exact = found.map_or(&[], |list| list);
        }
        let mut others: &[u32] = &self.others;
        // Both lists are in order: the smaller index of their heads is the next in the order of configuration.
        loop {
            let list = match (exact, others) {
                ([], []) => return None,
                ([a, ..], [b, ..]) if a < b => &mut exact,
                ([_, ..], []) => &mut exact,
                _ => &mut others,
            };
            let (at, rest) = list.split_first()?;
            *list = rest;
            let at = *at as usize;
            if self.entries[at].matches(&mut head) {
                return Some(at);
            }
        }
    }

    /// All routes, in order.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.entries.iter().map(|entry| &entry.route)
    }
}

#[derive(Debug)]
struct Entry {
    /// `None`: any, or exact and thus looked up.
    service: Option<Text>,
    method: Option<Text>,
    headers: Box<[(Box<str>, Text)]>,
    route: Arc<Route>,
}

impl Entry {
    fn compile(config: &config::Route) -> Result<Self, CompileError> {
        let text = |matcher: &Matcher| Text::compile(matcher, &config.name);
        let matches = &config.matches;
        let service = matches.service.as_ref().filter(|m| !matches!(m, Matcher::Exact(_)));
        let headers = matches.headers.iter();
        Ok(Self {
            service: service.map(text).transpose()?,
            method: matches.method.as_ref().map(text).transpose()?,
            headers: headers
                .map(|header| Ok((header.name.as_str().into(), text(&header.value)?)))
                .collect::<Result<_, _>>()?,
            route: Arc::new(Route::compile(config)?),
        })
    }

    fn matches(&self, head: &mut Head<'_>) -> bool {
        let is = |text: &Text, value: Option<&str>| value.is_some_and(|value| text.matches(value));
        self.service.as_ref().is_none_or(|text| is(text, head.service()))
            && self.method.as_ref().is_none_or(|text| is(text, head.method()))
            && self
                .headers
                .iter()
                .all(|(name, text)| is(text, head.request.header(name).as_deref()))
    }
}

/// What a request is for, read off it once, and the method only when asked for.
struct Head<'a> {
    request: &'a dyn Frame,
    service: Option<Option<Cow<'a, str>>>,
    method: Option<Option<Cow<'a, str>>>,
}

impl Head<'_> {
    fn service(&mut self) -> Option<&str> {
        self.service.get_or_insert_with(|| self.request.service()).as_deref()
    }

    fn method(&mut self) -> Option<&str> {
        self.method.get_or_insert_with(|| self.request.method()).as_deref()
    }
}

/// A compiled [`Matcher`].
#[derive(Debug)]
enum Text {
    Exact(Box<str>),
    Prefix(Box<str>),
    Regex(Regex),
}

impl Text {
    fn compile(matcher: &Matcher, route: &str) -> Result<Self, CompileError> {
        Ok(match matcher {
            Matcher::Exact(text) => Self::Exact(text.as_str().into()),
            Matcher::Prefix(text) => Self::Prefix(text.as_str().into()),
            Matcher::Regex(regex) => Self::Regex(Regex::new(regex).map_err(|source| {
                CompileError::Regex { route: route.into(), regex: regex.clone(), source }
            })?),
        })
    }

    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => **text == *value,
            Self::Prefix(text) => value.starts_with(&**text),
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{super::testing::Request, *};

    fn table(yaml: &str) -> RouteTable {
        let routes: Vec<config::Route> = serde_saphyr::from_str(yaml).unwrap();
        RouteTable::compile(&routes).unwrap()
    }

    fn found(table: &RouteTable, request: &Request) -> String {
        let route = table.find(request).and_then(|at| table.routes().nth(at));
        route.map_or_else(|| "-".into(), |route| route.name.to_string())
    }

    #[test]
    fn matchers() {
        let table = table(
            r#"
            - { name: all_three, match: { service: { exact: s }, method: { regex: "^get" }, headers: [{ name: h, prefix: a }] }, cluster: c }
            - { name: method, match: { service: { exact: s }, method: { exact: put } }, cluster: c }
            - { name: prefix, match: { service: { prefix: com.x. } }, cluster: c }
            - { name: regex, match: { service: { regex: "y+$" } }, cluster: c }
            - { name: header, match: { headers: [{ name: h, exact: v }, { name: i, regex: "" }] }, cluster: c }
            "#,
        );
        for (request, expected) in [
            (Request::new("s", "getX").with("h", "abc"), "all_three"),
            (Request::new("s", "xget").with("h", "abc"), "-"),
            (Request::new("s", "getX").with("h", "bc"), "-"),
            (Request::new("s", "getX"), "-"),
            (Request::new("s", "put"), "method"),
            (Request::new("s", "put2"), "-"),
            (Request::new("com.x.y", "m"), "prefix"),
            (Request::new("com.y", "m"), "regex"),
            (Request::new("com.yz", "m"), "-"),
            (Request::new("other", "m").with("h", "v").with("i", ""), "header"),
            (Request::new("other", "m").with("h", "v"), "-"),
            (Request::default(), "-"),
        ] {
            assert_eq!(found(&table, &request), expected, "{request:?}");
        }
    }

    #[test]
    fn a_request_without_a_service_meets_no_service() {
        let table = table(
            r#"[{ name: p, match: { service: { prefix: "" } }, cluster: c }, { name: e, match: { service: { exact: "" } }, cluster: c }, { name: m, match: { method: { regex: "" } }, cluster: c }]"#,
        );
        assert_eq!(found(&table, &Request::default()), "-");
        assert_eq!(found(&table, &Request::new("", "")), "p");
    }

    #[test]
    fn no_routes() {
        assert_eq!(RouteTable::default().find(&Request::new("s", "m")), None);
    }

    #[test]
    fn regex_errors_name_their_route() {
        let route: config::Route =
            serde_saphyr::from_str("{ name: r, match: { method: { regex: '(' } }, cluster: c }")
                .unwrap();
        let error = RouteTable::compile(&[route]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "route `r`: `(` is not a regular expression that can be used"
        );
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("unclosed group"));
    }

    /// The table against the plain meaning of "first match wins".
    #[test]
    fn first_match_wins() {
        let words = ["", "a", "ab", "b", "ba", "abc"];
        for seed in 0..300 {
            println!("seed {seed}");
            let mut rng = fastrand::Rng::with_seed(seed);
            let matcher = |rng: &mut fastrand::Rng| {
                let word = rng.choice(words).unwrap().to_owned();
                match rng.u8(0..4) {
                    0 => None,
                    1 => Some(Matcher::Prefix(word)),
                    2 => Some(Matcher::Regex(word)),
                    _ => Some(Matcher::Exact(word)),
                }
            };
            let routes: Vec<_> = (0..rng.usize(0..30))
                .map(|n| config::Route {
                    matches: config::Match {
                        service: matcher(&mut rng),
                        method: matcher(&mut rng),
                        headers: Vec::new(),
                    },
                    ..config::Route::to_cluster(n.to_string(), "c")
                })
                .collect();
            let table = RouteTable::compile(&routes).unwrap();
            for service in words {
                for method in words {
                    let meets = |matcher: &Option<Matcher>, value: &str| match matcher {
                        None => true,
                        Some(Matcher::Exact(text)) => value == text,
                        Some(Matcher::Prefix(text)) => value.starts_with(text),
                        Some(Matcher::Regex(text)) => value.contains(text),
                    };
                    let expected = routes.iter().find(|route| {
                        meets(&route.matches.service, service)
                            && meets(&route.matches.method, method)
                    });
                    let expected = expected.map_or("-", |route| &route.name);
                    assert_eq!(found(&table, &Request::new(service, method)), expected);
                }
            }
        }
    }

    #[test]
    fn a_thousand_services_are_not_gone_through() {
        let routes: Vec<_> = (0..1000)
            .map(|n| config::Route {
                matches: config::Match {
                    service: Some(Matcher::Exact(format!("com.x.Service{n}"))),
                    ..config::Match::default()
                },
                ..config::Route::to_cluster(n.to_string(), "c")
            })
            .chain([config::Route::to_cluster("rest", "c")])
            .collect();
        let table = RouteTable::compile(&routes).unwrap();
        assert_eq!(table.others.len(), 1);
        assert!(table.by_service.values().all(|list| list.len() == 1));
        assert_eq!(found(&table, &Request::new("com.x.Service999", "m")), "999");
        assert_eq!(found(&table, &Request::new("com.x.Service1000", "m")), "rest");
    }

    #[test]
    fn a_reload_keeps_the_state_of_what_did_not_change() {
        let now = Instant::now();
        let compile = |rate: u32| {
            table(&format!(
                "[{{ name: r, cluster: c, limit: {{ requests_per_second: {rate}, burst: 1 }} }}]"
            ))
        };
        let admits = |table: &RouteTable| {
            let route = table.routes().next().unwrap();
            route.limit.as_ref().unwrap().admit(&Request::default(), now).is_ok()
        };
        let old = compile(1);
        assert!(admits(&old) && !admits(&old));
        let mut same = compile(1);
        same.adopt(&old);
        assert!(!admits(&same), "still used up");
        let mut changed = compile(2);
        changed.adopt(&old);
        assert!(admits(&changed));
    }
}
