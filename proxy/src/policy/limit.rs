use std::{
    borrow::Cow,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{
            AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Instant,
};

use wiremesh::{Failure, Frame, Reason};

use super::meter::{Epoch, Rate};
use crate::config;

/// How much traffic a route or a rule lets through, over all workers: requests per second, requests at a time, or both.
#[derive(Debug)]
pub struct Limit {
    config: config::Limit,
    rate: Option<Rate>,
    concurrency: Option<u32>,
    over_rate: Box<str>,
    over_concurrency: Box<str>,
    state: Arc<State>,
}

/// A place among the requests in flight, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    state: Arc<State>,
    /// The bucket's number, from one; 0: all share one count. Small, since every request has room for two permits.
    bucket: u32,
}

impl Limit {
    /// From the configuration of `subject`, a route say; `None` where nothing is limited.
    pub fn compile(subject: &str, config: &config::Limit) -> Option<Self> {
        if config.requests_per_second.is_none() && config.concurrency.is_none() {
            return None;
        }
        let per =
            config.by_header.as_ref().map_or_else(String::new, |h| format!(" for each `{h}`"));
        let per_second = config.requests_per_second.unwrap_or_default();
        // One second's worth; the cast saturates.
        let burst = config.burst.unwrap_or(per_second as u32).max(1);
        let concurrency = config.concurrency.unwrap_or_default();
        Some(Self {
            config: config.clone(),
            rate: config.requests_per_second.map(|per_second| Rate::new(per_second, burst)),
            concurrency: config.concurrency,
            over_rate: format!(
                "{subject} is limited to {per_second} requests per second{per} (burst {burst})"
            )
            .into(),
            over_concurrency: format!(
                "{subject} is limited to {concurrency} requests at a time{per}"
            )
            .into(),
            state: Arc::new(State::new(config.by_header.is_some())),
        })
    }

    /// Takes over what an older version of this limit has counted, if they limit the same.
    pub fn adopt(&mut self, old: &Self) {
        if self.config == old.config {
            self.state = old.state.clone();
        }
    }

    /// Lets a request pass, or says which limit it would break. Where requests at a time are limited the permit is to be
    /// kept until the request is answered; elsewhere there is none.
    pub fn admit(&self, request: &dyn Frame, now: Instant) -> Result<Option<Permit>, Failure> {
        let now = self.state.epoch.nanos(now);
        let Some(header) = &self.config.by_header else {
            return self.enter(None, now);
        };
        let value = request.header(header).unwrap_or(Cow::Borrowed(""));
        let key = self.state.key(&value);
        loop {
            let bucket = self.state.find(key, now);
            let admitted = self.enter(bucket, now);
            // Meanwhile the bucket may have been given to another value; then nothing was counted for this one.
            if bucket.is_none_or(|at| self.state.buckets[at].key.load(SeqCst) == key) {
                return admitted;
            }
        }
    }

    fn enter(&self, bucket: Option<usize>, now: u64) -> Result<Option<Permit>, Failure> {
        let refused = |message: &str| Failure::new(Reason::RateLimited, message.to_owned());
        let counts = self.state.counts(bucket);
        let permit = match self.concurrency {
            None => None,
            Some(most) => {
                let one_more = |n: u32| (n < most).then(|| n + 1);
                if counts.in_flight.fetch_update(SeqCst, Relaxed, one_more).is_err() {
                    return Err(refused(&self.over_concurrency));
                }
                let bucket = bucket.map_or(0, |at| at as u32 + 1);
                Some(Permit { state: self.state.clone(), bucket })
            }
        };
        // After the above: the permit is given back by being dropped, a passage could not be.
        if self.rate.as_ref().is_some_and(|rate| !rate.admit(&counts.arrival, now)) {
            return Err(refused(&self.over_rate));
        }
        Ok(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let bucket = self.bucket.checked_sub(1).map(|at| at as usize);
        self.state.counts(bucket).in_flight.fetch_sub(1, SeqCst);
    }
}

/// Values of the header with a count of their own at a time. More share one, until a bucket is as good as new.
const BUCKETS: usize = 1024;
/// Buckets in which a value may be.
const WAYS: usize = 8;

/// What is counted.
#[derive(Debug)]
struct State {
    epoch: Epoch,
    /// For the whole route, or for all values without a bucket.
    shared: Counts,
    /// Empty without `by_header`.
    buckets: Box<[Bucket]>,
    /// Keyed, so that a client cannot choose whose bucket it shares.
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Counts {
    /// See [`Rate`].
    arrival: AtomicU64,
    in_flight: AtomicU32,
}

#[derive(Debug, Default)]
struct Bucket {
    /// The hash of the value that is counted; zero for none yet.
    key: AtomicU64,
    counts: Counts,
}

impl State {
    fn new(by_header: bool) -> Self {
        Self {
            epoch: Epoch::default(),
            shared: Counts::default(),
            buckets: (0..if by_header { BUCKETS } else { 0 }).map(|_| Bucket::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    fn counts(&self, bucket: Option<usize>) -> &Counts {
        bucket.map_or(&self.shared, |at| &self.buckets[at].counts)
    }

    fn key(&self, value: &str) -> u64 {
        self.hasher.hash_one(value).max(1)
    }

    /// The bucket for a value: its own, or else one that has nothing to remember, since taking that loses nothing. `None`
    /// when there is neither.
    ///
    /// A request of the old value that is counted in the very moment in which its bucket is taken is counted for the new
    /// one: without a lock that one request is the price.
    fn find(&self, key: u64, now: u64) -> Option<usize> {
        let first = key as usize % (BUCKETS / WAYS) * WAYS;
        loop {
            let mut idle = None;
            for at in first..first + WAYS {
                let bucket = &self.buckets[at];
                // Read before the counts: if they belong to another value by then, the exchange below fails.
                let seen = bucket.key.load(SeqCst);
                if seen == key {
                    return Some(at);
                }
                if idle.is_none() && bucket.counts.are_idle(now) {
                    idle = Some((bucket, seen));
                }
            }
            let (bucket, seen) = idle?;
            // Whether this thread took it or another, look again from the start: two threads must not settle on two
            // buckets for one value.
            let _ = bucket.key.compare_exchange(seen, key, SeqCst, SeqCst);
        }
    }
}

impl Counts {
    /// Whether they are as good as new ones.
    fn are_idle(&self, now: u64) -> bool {
        self.in_flight.load(SeqCst) == 0 && self.arrival.load(Relaxed) <= now
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::testing::Request, *};

    fn limit(yaml: &str) -> Limit {
        Limit::compile("route `r`", &serde_saphyr::from_str(yaml).unwrap()).unwrap()
    }

    fn from(app: &str) -> Request {
        Request::default().with("app", app)
    }

    #[test]
    fn nothing_limited() {
        let config = serde_saphyr::from_str("{ burst: 5, by_header: app }").unwrap();
        assert!(Limit::compile("route `r`", &config).is_none());
    }

    #[test]
    fn rate() {
        let limit = limit("{ requests_per_second: 100, burst: 20 }");
        let start = Instant::now();
        let admitted = |ms: u64| {
            let now = start + Duration::from_millis(ms);
            (0..50).filter(|_| limit.admit(&Request::default(), now).is_ok()).count()
        };
        assert_eq!([0, 0, 10, 100, 10_000].map(admitted), [20, 0, 1, 9, 20]);
        let failure = limit.admit(&Request::default(), start).unwrap_err();
        assert_eq!(
            failure.to_string(),
            "wiremesh RL: route `r` is limited to 100 requests per second (burst 20)"
        );
        assert_eq!(failure.status, wiremesh::Status::Overloaded);
    }

    #[test]
    fn burst_is_one_second_by_default() {
        for (rate, burst) in [("7.9", 7), ("0.5", 1)] {
            let limit = limit(&format!("{{ requests_per_second: {rate} }}"));
            let now = Instant::now();
            let admitted = (0..50).filter(|_| limit.admit(&Request::default(), now).is_ok());
            assert_eq!(admitted.count(), burst);
        }
    }

    #[test]
    fn a_rate_alone_needs_no_permit() {
        let limit = limit("{ requests_per_second: 100 }");
        assert!(limit.admit(&Request::default(), Instant::now()).unwrap().is_none());
    }

    #[test]
    fn concurrency() {
        let limit = limit("{ concurrency: 2 }");
        let admit = || limit.admit(&Request::default(), Instant::now());
        let first = admit().unwrap();
        let _second = admit().unwrap().unwrap();
        let failure = admit().unwrap_err();
        assert_eq!(failure.message, "route `r` is limited to 2 requests at a time");
        drop(first);
        let third = admit().unwrap();
        assert!(third.is_some() && admit().is_err());
    }

    #[test]
    fn a_refusal_by_rate_gives_the_permit_back() {
        let limit = limit("{ requests_per_second: 1, burst: 1, concurrency: 1 }");
        let start = Instant::now();
        drop(limit.admit(&Request::default(), start).unwrap());
        let failure = limit.admit(&Request::default(), start).unwrap_err();
        assert!(failure.message.contains("per second"), "{failure}");
        assert!(limit.admit(&Request::default(), start + Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn each_header_value_has_its_own() {
        let limit = limit("{ requests_per_second: 1, burst: 2, concurrency: 9, by_header: app }");
        let now = Instant::now();
        let admitted = |request: &Request| {
            (0..5).filter_map(|_| limit.admit(request, now).ok()).collect::<Vec<_>>().len()
        };
        assert_eq!(admitted(&from("a")), 2);
        assert_eq!(admitted(&from("b")), 2);
        assert_eq!(admitted(&from("a")), 0);
        assert_eq!(admitted(&Request::default()), 2, "those without the header count together");
        assert_eq!(admitted(&from("")), 0, "as if it were empty");
        let failure = limit.admit(&from("a"), now).unwrap_err();
        assert_eq!(
            failure.message,
            "route `r` is limited to 1 requests per second for each `app` (burst 2)"
        );
    }

    #[test]
    fn too_many_values_share_one() {
        let limit = limit("{ requests_per_second: 1, burst: 1, by_header: app }");
        let start = Instant::now();
        let admitted = |now| {
            let values = (0..100 * BUCKETS).map(|n| from(&n.to_string()));
            values.filter(|request| limit.admit(request, now).is_ok()).count()
        };
        assert_eq!(admitted(start), BUCKETS + 1);
        assert!(limit.admit(&from("new"), start).is_err(), "no bucket is idle");
        let later = start + Duration::from_secs(1);
        assert!(limit.admit(&from("new"), later).is_ok());
        assert!(limit.admit(&from("new"), later).is_err());
        assert_eq!(admitted(later + Duration::from_secs(1)), BUCKETS + 1, "idle buckets come back");
    }

    #[test]
    fn a_bucket_in_use_is_not_taken() {
        let limit = limit("{ concurrency: 1, by_header: app }");
        let now = Instant::now();
        let values = (0..100 * BUCKETS).map(|n| from(&n.to_string()));
        let permits: Vec<_> =
            values.filter_map(|request| limit.admit(&request, now).ok()).collect();
        assert_eq!(permits.len(), BUCKETS + 1);
        drop(permits);
        let in_flight = limit.state.buckets.iter().map(|b| b.counts.in_flight.load(SeqCst));
        assert_eq!(in_flight.sum::<u32>(), 0);
        assert!(limit.admit(&from("new"), now).is_ok());
    }

    #[test]
    fn each_value_keeps_to_its_rate_however_many_there_are() {
        for seed in 0..10 {
            println!("seed {seed}");
            let mut rng = fastrand::Rng::with_seed(seed);
            let limit = limit("{ requests_per_second: 10, burst: 3, by_header: app }");
            let start = Instant::now();
            let mut elapsed = Duration::ZERO;
            let mut admitted = vec![Vec::new(); 500];
            for _ in 0..50_000 {
                elapsed += Duration::from_micros(rng.u64(0..1000));
                let value = (rng.f64().powi(4) * 500.0) as usize;
                if limit.admit(&from(&value.to_string()), start + elapsed).is_ok() {
                    admitted[value].push(elapsed.as_secs_f64());
                }
            }
            // The shared bucket may add as much again.
            for times in &admitted {
                for (n, since) in times.iter().enumerate() {
                    let last = times.last().unwrap();
                    let most = 2.0 * ((last - since) * 10.0 + 3.0);
                    assert!((times.len() - n) as f64 <= most + 1e-6);
                }
            }
        }
    }

    #[test]
    fn threads_share_a_limit() {
        let limit = limit("{ requests_per_second: 1, burst: 50, concurrency: 3, by_header: app }");
        let now = Instant::now();
        let requests = ["a", "b", "c"].map(from);
        let highest = AtomicU32::new(0);
        let admitted: u32 = std::thread::scope(|scope| {
            let run = || {
                let mut admitted = 0;
                for request in requests.iter().cycle().take(30_000) {
                    if let Ok(permit) = limit.admit(request, now) {
                        let number = permit.as_ref().unwrap().bucket;
                        let bucket = limit.state.counts(Some(number as usize - 1));
                        highest.fetch_max(bucket.in_flight.load(SeqCst), SeqCst);
                        admitted += 1;
                    }
                }
                admitted
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(admitted, 150);
        assert!(highest.load(SeqCst) <= 3);
        let in_flight = limit.state.buckets.iter().map(|b| b.counts.in_flight.load(SeqCst));
        assert_eq!(in_flight.sum::<u32>(), 0);
    }

    #[test]
    fn threads_compete_for_buckets() {
        let limit = limit("{ requests_per_second: 1e6, concurrency: 2, by_header: app }");
        let start = Instant::now();
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let limit = &limit;
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(seed);
                    let mut held = Vec::new();
                    for n in 0..20_000 {
                        let request = from(&rng.u32(0..4 * BUCKETS as u32).to_string());
                        let now = start + Duration::from_micros(n);
                        held.extend(limit.admit(&request, now).ok());
                        if held.len() > 100 {
                            held.swap_remove(rng.usize(0..100));
                        }
                    }
                });
            }
        });
        let counts = limit.state.buckets.iter().map(|b| &b.counts).chain([&limit.state.shared]);
        assert_eq!(
            counts.map(|c| c.in_flight.load(SeqCst)).sum::<u32>(),
            0,
            "every permit is back"
        );
        let mut keys: Vec<_> = limit.state.buckets.iter().map(|b| b.key.load(SeqCst)).collect();
        keys.retain(|key| *key != 0);
        let used = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert!(used > BUCKETS / 2, "{used}");
        assert!(used - keys.len() <= 4, "{} values have two buckets", used - keys.len());
    }

    #[test]
    fn state_outlives_the_limit_in_its_permits() {
        let old = limit("{ concurrency: 1 }");
        let permit = old.admit(&Request::default(), Instant::now()).unwrap();
        let mut new = limit("{ concurrency: 1 }");
        new.adopt(&old);
        drop(old);
        assert!(new.admit(&Request::default(), Instant::now()).is_err());
        drop(permit);
        assert!(new.admit(&Request::default(), Instant::now()).is_ok());
    }
}
