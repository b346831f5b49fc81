//! A listener's firewall, as one worker sees it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use wiremesh::{Bearing, Digested, Failure, Frame};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    config::Judgement,
    policy::{DEFAULT_RULE, Firewall, Permit, Rule},
    telemetry::FirewallSeries,
};

/// Of so many digests the rules are remembered; when there are more, all are looked for anew.
const KNOWN_MAX: usize = 4096;

/// Each rule is logged at most once in this time.
const PAUSE: Duration = Duration::from_secs(1);

/// Judges requests.
pub struct Guard {
    firewall: Arc<Firewall>,
    /// Those of its rules, and at last of requests for which there is none.
    counts: Box<[Counts]>,
    /// By a hash of digest and extent. Nobody outside can know the seed, and each digest is compared, too.
    known: RefCell<FxHashMap<u64, Known>>,
    seed: u64,
}

struct Known {
    digest: Box<[u8]>,
    digested: Digested,
    rules: Rc<[u32]>,
}

struct Counts {
    series: Arc<FirewallSeries>,
    logged: Cell<Option<Instant>>,
    /// Requests since then.
    since: Cell<u64>,
}

/// What a request that passes is held to.
#[derive(Default)]
pub struct Passed {
    pub permit: Option<Permit>,
    pub timeout: Option<Duration>,
}

/// A request, to be judged.
pub struct Judged<'a> {
    pub request: &'a dyn Frame,
    pub bearing: Bearing,
    pub digest: &'a [u8],
    pub digested: Digested,
    /// Whether it can be held to limits.
    pub limits: bool,
}

impl Guard {
    pub(super) fn new(
        firewall: &Arc<Firewall>,
        series: impl Fn(&str) -> Arc<FirewallSeries>,
    ) -> Self {
        let names = firewall.rules().iter().map(|rule| &*rule.name).chain([DEFAULT_RULE]);
        let counts =
            |name| Counts { series: series(name), logged: Cell::default(), since: Cell::default() };
        Self {
            firewall: firewall.clone(),
            counts: names.map(counts).collect(),
            known: RefCell::default(),
            seed: fastrand::u64(..),
        }
    }

    /// Whether requests' digests are needed.
    pub fn needs_digests(&self) -> bool {
        self.firewall.needs_digests()
    }

    /// Lets a request pass, or says why not.
    pub fn judge(
        &self,
        listener: &str,
        asked: &Judged<'_>,
        now: Instant,
    ) -> Result<Passed, Failure> {
        let bearing = asked.bearing;
        let judged = if asked.digested.is_some() {
            let rules = self.rules(asked.digest, asked.digested);
            self.firewall.judge(&rules, asked.request, bearing)
        } else {
            let rules = self.firewall.without_digest(asked.digested);
            self.firewall.judge(rules, asked.request, bearing)
        };
        let Some(judged) = judged else { return Ok(Passed::default()) };
        let rule = judged.rule.and_then(|at| self.firewall.rules().get(at));
        let counts = self.counts.get(judged.rule.unwrap_or(self.counts.len() - 1));
        let Some(counts) = counts else { return Ok(Passed::default()) };
        if judged.action == Judgement::Deny {
            counts.series.denied.inc();
            counts.log(listener, rule, "denied", asked, now);
            return Err(self.firewall.failure(judged.rule, bearing));
        }
        let mut passed = Passed::default();
        if let Some(rule) = rule.filter(|_| asked.limits && bearing == Bearing::Execution) {
            passed.timeout = rule.timeout;
            if let Some(limit) = &rule.limit {
                passed.permit = limit.admit(asked.request, now).inspect_err(|_| {
                    counts.series.limited.inc();
                    counts.log(listener, Some(rule), "over the limit", asked, now);
                })?;
            }
        }
        if judged.action == Judgement::Detect {
            counts.series.detected.inc();
            counts.log(listener, rule, "detected", asked, now);
        } else {
            counts.series.allowed.inc();
        }
        Ok(passed)
    }

    /// The rules that are for this digest.
    fn rules(&self, digest: &[u8], digested: Digested) -> Rc<[u32]> {
        let whole = u64::from(digested == Digested::Whole);
        let key = xxh3_64_with_seed(digest, self.seed.wrapping_add(whole));
        let mut known = self.known.borrow_mut();
        if let Some(known) = known.get(&key)
            && *known.digest == *digest
            && known.digested == digested
        {
            return known.rules.clone();
        }
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        let rules: Rc<[u32]> = self.firewall.for_digest(digest, digested).into();
        known.insert(key, Known { digest: digest.into(), digested, rules: rules.clone() });
        rules
    }
}

impl Counts {
    /// Tells of a request, but for those that come soon after another.
    fn log(
        &self,
        listener: &str,
        rule: Option<&Rule>,
        what: &str,
        asked: &Judged<'_>,
        now: Instant,
    ) {
        if self.logged.get().is_some_and(|at| now.saturating_duration_since(at) < PAUSE) {
            return self.since.set(self.since.get() + 1);
        }
        self.logged.set(Some(now));
        let (request, left_out) = (asked.request, self.since.replace(0));
        let mut digest = String::new();
        // A String takes every write.
        let _ = wiremesh::write_escaped(&mut digest, asked.digest);
        tracing::warn!(
            listener,
            rule = rule.map_or(DEFAULT_RULE, |rule| &*rule.name),
            user = request.header("user").as_deref().unwrap_or_default(),
            service = request.service().as_deref().unwrap_or_default(),
            method = request.method().as_deref().unwrap_or_default(),
            digest,
            left_out,
            "firewall: {what}"
        );
    }
}
