//! What requests are about: what is asked for most, and what is largest, as a sample of the requests tells.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use serde::Serialize;

use super::{
    Name, Seen,
    largest::{Largest, Size},
    sketch::{Counts, Sketch},
};
use crate::config;

/// So many counters there are for each name that is shown: the more, the smaller the error.
const COUNTERS: usize = 10;

/// What one worker knows of the keys of one listener.
#[derive(Debug)]
pub(super) struct Keys(Mutex<Known>);

#[derive(Debug)]
struct Known {
    hot: Sketch,
    big: Largest,
}

impl Keys {
    pub(super) fn new(settings: config::Sample, now: Instant) -> Self {
        let hot = Sketch::new(settings.top * COUNTERS, now);
        Self(Mutex::new(Known { hot, big: Largest::new(settings.top, now) }))
    }

    /// Counts what a request was about.
    pub(super) fn count(&self, seen: &Seen, bytes_out: usize, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for about in &seen.subjects {
            // Whose the reply of a request about several is cannot be told.
            let alone = seen.subjects.len() == 1;
            let bytes = if alone { seen.bytes_in.max(bytes_out) } else { about.bytes };
            if bytes > 0 {
                known.big.see(&about.name, bytes, &seen.method, now);
            }
            if seen.sampled {
                known.hot.count(about.name.clone(), about.write, now);
            }
        }
    }

    pub(super) fn add_to(&self, merged: &mut Merged, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        merged.big.extend(known.big.rows(now));
        merged.hot.push(known.hot.counts(now));
    }
}

/// What all workers know.
#[derive(Debug, Default)]
pub(super) struct Merged {
    hot: Vec<Counts>,
    big: Vec<(Name, Size)>,
}

impl Merged {
    /// What is worth showing of it. Where a worker does not know a name, it may have counted it as often as the least
    /// of those that it knows.
    pub(super) fn finish(self, listener: &str, settings: config::Sample) -> ListenerKeys {
        let mut sums: HashMap<Name, Sum> = HashMap::new();
        let rest: f64 =
            self.hot.iter().map(|counts| counts.rest / counts.per_second.max(1e-9)).sum();
        for Counts { rows, rest, per_second } in self.hot {
            let per_second = per_second.max(1e-9);
            for row in rows {
                let sum = sums.entry(row.name).or_default();
                sum.rate += row.count / per_second;
                sum.error += row.error / per_second;
                sum.writes += row.writes / per_second;
                sum.rest += rest / per_second;
                sum.samples += row.count - row.error;
            }
        }
        let every = f64::from(settings.every);
        let mut hot: Vec<_> = sums
            .into_iter()
            .filter_map(|(name, sum)| {
                let elsewhere = (rest - sum.rest).max(0.0);
                let (rate, error) = (sum.rate + elsewhere, sum.error + elsewhere);
                // One that may as well have been counted by mistake tells nothing.
                (error <= rate / 2.0 && sum.samples >= LEAST).then(|| HotKey {
                    key: name.to_string(),
                    per_second: round(rate * every),
                    error: round(error * every),
                    writes_percent: (100.0 * sum.writes / (rate - error)).round().clamp(0.0, 100.0),
                    samples: round(sum.samples),
                })
            })
            .collect();
        hot.sort_by(|a, b| b.per_second.total_cmp(&a.per_second).then_with(|| a.key.cmp(&b.key)));
        hot.truncate(settings.top);
        let mut sizes: HashMap<Name, Size> = HashMap::new();
        for (name, size) in self.big {
            let known = sizes.entry(name).or_insert_with(|| size.clone());
            if size.bytes > known.bytes {
                *known = size;
            }
        }
        let big = sizes.into_iter();
        let big = big.map(|(name, Size { bytes, method })| BigKey {
            key: name.to_string(),
            bytes,
            method: method.into(),
        });
        let mut big: Vec<_> = big.collect();
        big.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.key.cmp(&b.key)));
        big.truncate(settings.top);
        ListenerKeys { listener: listener.to_owned(), every: settings.every, hot, big }
    }
}

/// What was counted less than this, faded, is not shown.
const LEAST: f64 = 0.5;

#[derive(Debug, Default)]
struct Sum {
    rate: f64,
    error: f64,
    writes: f64,
    /// What those workers that know it would have said if they did not.
    rest: f64,
    samples: f64,
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// What the requests of one listener are about.
#[derive(Clone, Debug, Serialize)]
pub struct ListenerKeys {
    /// The listener's name.
    pub listener: String,
    /// One request of so many was looked at.
    pub every: u32,
    /// What is asked for most, the most first.
    pub hot: Vec<HotKey>,
    /// What is largest, the largest first.
    pub big: Vec<BigKey>,
}

/// A key that much is asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HotKey {
    /// Its name.
    pub key: String,
    /// Requests per second, all workers together.
    pub per_second: f64,
    /// By how much that may be too much because not all keys are counted. That only a sample was looked at comes on top.
    pub error: f64,
    /// How many of a hundred requests write.
    pub writes_percent: f64,
    /// How many requests of the sample speak for it, old ones less.
    pub samples: f64,
}

/// A key that large requests or replies are about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BigKey {
    /// Its name.
    pub key: String,
    /// The largest request or reply lately, in bytes on the wire.
    pub bytes: usize,
    /// What was asked for then.
    pub method: String,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{config::Sample, telemetry::watch::About};

    fn seen(names: &[&str], write: bool, bytes_in: usize) -> Seen {
        let about = |name: &&str| About { name: Name::of(name.as_bytes()), write, bytes: 7 };
        Seen {
            sampled: true,
            bytes_in,
            method: "GET".into(),
            subjects: names.iter().map(about).collect(),
            ..Seen::default()
        }
    }

    #[test]
    fn workers_are_added_up() {
        let start = Instant::now();
        let settings = Sample { every: 10, top: 3 };
        let workers = [Keys::new(settings, start), Keys::new(settings, start)];
        let mut now = start;
        for n in 0..6000 {
            now += Duration::from_millis(10);
            // A hundred a second on one worker, fifty on the other; a quarter of the former writes.
            workers[0].count(&seen(&["hot"], n % 4 == 0, 10), 20, now);
            if n % 2 == 0 {
                workers[1].count(&seen(&["hot"], false, 10), 5, now);
                // Of each of these there is next to nothing.
                workers[1].count(&seen(&[&format!("cold:{n}")], false, 10), 5, now);
            }
        }
        workers[1].count(&seen(&["large"], true, 5 << 20), 5, now);
        workers[0].count(&seen(&["a", "b"], true, 50 << 20), 60 << 20, now);
        let merge = |now| {
            let mut merged = Merged::default();
            workers.iter().for_each(|worker| worker.add_to(&mut merged, now));
            merged.finish("l", settings)
        };
        let keys = merge(now);
        let hot = &keys.hot[0];
        assert_eq!(hot.key, "hot");
        let exact = 1500.0;
        assert!(hot.per_second >= exact * 0.98, "{hot:?}");
        assert!(hot.per_second - hot.error <= exact * 1.02, "{hot:?}");
        assert!(hot.error < 0.05 * exact, "{hot:?}");
        assert!((15.0..=18.0).contains(&hot.writes_percent), "{hot:?}");
        assert!(keys.hot.len() <= 3 && !keys.hot.iter().any(|it| it.key.starts_with("cold")));
        let big = BigKey { key: "large".into(), bytes: 5 << 20, method: "GET".into() };
        assert_eq!(keys.big[0], big);
        assert_eq!((&*keys.big[1].key, keys.big[1].bytes), ("hot", 20));
        assert_eq!(keys.big.len(), 3);
        assert_eq!(merge(now + Duration::from_secs(86_400)).hot, []);
    }
}
