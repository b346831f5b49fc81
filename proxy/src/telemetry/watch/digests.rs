//! Statistics of requests by what they have in common, in memory for so many different ones.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize, Serializer};
use wiremesh::write_escaped;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    config,
    telemetry::{
        Counter, Distribution, Histogram, Latency, access_log::rfc3339, series::ErrorSeries,
    },
};

/// What one worker knows of the digests of one listener.
#[derive(Debug)]
pub struct Digests {
    settings: config::Digests,
    /// By their places in the worker's [`DigestBook`](super::DigestBook).
    series: Mutex<Vec<Arc<DigestSeries>>>,
    /// All that have no place any more, or never had one.
    others: Arc<DigestSeries>,
}

impl Digests {
    pub(super) fn new(settings: config::Digests, now: Instant) -> Self {
        let others = Arc::new(DigestSeries::new(0, Names::default(), now));
        Self { settings, series: Mutex::default(), others }
    }

    pub(super) fn others(&self) -> &Arc<DigestSeries> {
        &self.others
    }

    pub(super) fn all(&self) -> Vec<Arc<DigestSeries>> {
        self.lock().clone()
    }

    /// Puts one at a place, which is the next or that of another.
    pub(super) fn put(&self, place: usize, series: Arc<DigestSeries>) {
        let mut all = self.lock();
        match all.get_mut(place) {
            Some(other) => *other = series,
            None => all.push(series),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<DigestSeries>>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn settings(&self) -> config::Digests {
        self.settings
    }

    pub(super) fn add_to(&self, merged: &mut Merged) {
        for series in &*self.lock() {
            merged.digests.entry(series.names.clone()).or_default().add(series);
        }
        merged.others.add(&self.others);
    }
}

/// What requests are that are counted together.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Names {
    service: Arc<str>,
    method: Arc<str>,
    text: Arc<str>,
    id: u64,
}

impl Names {
    pub(super) fn of(service: &str, method: &str, digest: &[u8]) -> Self {
        let mut text = String::new();
        // A String takes every write.
        let _ = write_escaped(&mut text, digest);
        Self {
            service: service.into(),
            method: method.into(),
            text: text.into(),
            id: xxh3_64(digest),
        }
    }
}

/// One worker's counts of the requests of one digest.
#[derive(Debug)]
pub struct DigestSeries {
    pub(super) key: u64,
    names: Names,
    /// When the first one came.
    first: (Instant, SystemTime),
    /// When the last one ended, in milliseconds after that.
    last: AtomicU64,
    latency: Histogram,
    failed: Counter,
    errors: OnceLock<Box<ErrorSeries>>,
    items: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    /// Asked for since its place was last looked at by who needs one.
    pub(super) used: AtomicBool,
    /// Another one has its place.
    pub(super) gone: AtomicBool,
}

/// How a request ended, for those who count by digest.
#[derive(Clone, Copy, Debug)]
pub struct DigestEnd {
    /// What went wrong: the protocol's word for it, or the proxy's.
    pub error: Option<&'static str>,
    /// How long it took.
    pub latency: Latency,
    /// How many things the reply brought.
    pub items: u64,
    /// The request's size on the wire.
    pub bytes_in: usize,
    /// The reply's.
    pub bytes_out: usize,
}

impl DigestSeries {
    pub(super) fn new(key: u64, names: Names, now: Instant) -> Self {
        Self {
            key,
            names,
            first: (now, SystemTime::now()),
            last: AtomicU64::default(),
            latency: Histogram::default(),
            failed: Counter::default(),
            errors: OnceLock::default(),
            items: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            used: AtomicBool::default(),
            gone: AtomicBool::default(),
        }
    }

    /// Counts a request that is over.
    pub(super) fn record(&self, end: &DigestEnd, now: Instant) {
        self.seen(now.saturating_duration_since(self.first.0));
        self.latency.record(end.latency);
        self.items.add(end.items);
        self.bytes_in.add(end.bytes_in as u64);
        self.bytes_out.add(end.bytes_out as u64);
        if let Some(error) = end.error {
            self.failed.inc();
            self.errors.get_or_init(Box::default).add(error, 1);
        }
    }

    fn seen(&self, after: Duration) {
        self.last.store(u64::try_from(after.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    fn last(&self) -> Duration {
        Duration::from_millis(self.last.load(Relaxed))
    }

    /// Takes over what another one has counted, which will count no more.
    pub(super) fn take_over(&self, other: &Self) {
        let later = other.first.0.saturating_duration_since(self.first.0) + other.last();
        self.seen(self.last().max(later));
        self.latency.add(&other.latency);
        for (sum, counter) in [
            (&self.failed, &other.failed),
            (&self.items, &other.items),
            (&self.bytes_in, &other.bytes_in),
            (&self.bytes_out, &other.bytes_out),
        ] {
            sum.add(counter.get());
        }
        if let Some(errors) = other.errors.get() {
            let own = self.errors.get_or_init(Box::default);
            errors.counts().for_each(|(error, n)| own.add(error, n));
        }
    }
}

/// What all workers know.
#[derive(Debug, Default)]
pub(super) struct Merged {
    digests: BTreeMap<Names, Sums>,
    others: Sums,
}

#[derive(Debug, Default)]
struct Sums {
    /// When the first one came and the last one ended.
    times: Option<(SystemTime, SystemTime)>,
    latency: Distribution,
    failed: u64,
    errors: BTreeMap<&'static str, u64>,
    items: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Sums {
    fn add(&mut self, series: &DigestSeries) {
        let first = series.first.1;
        let last = first + series.last();
        let (former_first, former_last) = self.times.unwrap_or((first, last));
        self.times = Some((first.min(former_first), last.max(former_last)));
        self.latency += &series.latency;
        self.failed += series.failed.get();
        self.items += series.items.get();
        self.bytes_in += series.bytes_in.get();
        self.bytes_out += series.bytes_out.get();
        for (error, n) in series.errors.get().into_iter().flat_map(|errors| errors.counts()) {
            *self.errors.entry(error).or_default() += n;
        }
    }

    /// `None`: nothing has ended.
    fn finish(self, whole: Duration) -> Option<DigestTotals> {
        let ((first, last), count) = (self.times?, self.latency.count());
        let (total, at) = (self.latency.sum(), |q| self.latency.quantile(q).unwrap_or_default());
        let share = if whole.is_zero() { 0.0 } else { 100.0 * total.div_duration_f64(whole) };
        (count > 0).then(|| DigestTotals {
            count,
            failed: self.failed,
            total,
            share: (share * 100.0).round() / 100.0,
            mean: Duration::from_nanos_u128(total.as_nanos() / u128::from(count)),
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            items: self.items,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            first,
            last,
            errors: self.errors,
        })
    }
}

impl Merged {
    pub(super) fn finish(self, listener: &str, settings: config::Digests) -> ListenerDigests {
        let all = self.digests.values().chain([&self.others]);
        let whole = all.map(|sums| sums.latency.sum()).sum();
        let row = |(names, sums): (Names, Sums)| {
            Some(DigestRow {
                id: format!("{:016x}", names.id),
                digest: names.text.to_string(),
                service: names.service.to_string(),
                method: names.method.to_string(),
                totals: sums.finish(whole)?,
            })
        };
        let digests: Vec<_> = self.digests.into_iter().filter_map(row).collect();
        ListenerDigests {
            listener: listener.to_owned(),
            max: settings.max,
            known: digests.len(),
            digests,
            others: self.others.finish(whole),
        }
    }
}

/// The digests of one listener's requests.
#[derive(Clone, Debug, Serialize)]
pub struct ListenerDigests {
    /// The listener's name.
    pub listener: String,
    /// How many digests each worker knows at a time.
    pub max: usize,
    /// How many are known to all of them.
    pub known: usize,
    /// What is to be shown of these.
    pub digests: Vec<DigestRow>,
    /// All others together, if there were any.
    pub others: Option<DigestTotals>,
}

/// The requests of one digest, service and method.
#[derive(Clone, Debug, Serialize)]
pub struct DigestRow {
    /// A name for `digest`, the same at any time and on any machine.
    pub id: String,
    /// What they have in common. In one line, what is not printable escaped.
    pub digest: String,
    /// Their service.
    pub service: String,
    /// Their method.
    pub method: String,
    /// What they come to.
    #[serde(flatten)]
    pub totals: DigestTotals,
}

/// What the requests that are counted together come to.
#[derive(Clone, Debug, Serialize)]
pub struct DigestTotals {
    /// How many there were.
    pub count: u64,
    /// Those that failed; what the application answers as its error is one of them.
    pub failed: u64,
    /// How long they took together.
    #[serde(rename = "total_us", serialize_with = "micros")]
    pub total: Duration,
    /// How much that is of the time that all requests with a digest took, in hundredths.
    #[serde(rename = "time_percent")]
    pub share: f64,
    /// How long one took on average.
    #[serde(rename = "mean_us", serialize_with = "micros")]
    pub mean: Duration,
    /// How long half of them took at most.
    #[serde(rename = "p50_us", serialize_with = "micros")]
    pub p50: Duration,
    /// How long 95 of 100 took at most.
    #[serde(rename = "p95_us", serialize_with = "micros")]
    pub p95: Duration,
    /// How long 99 of 100 took at most.
    #[serde(rename = "p99_us", serialize_with = "micros")]
    pub p99: Duration,
    /// How many things (rows) the replies brought.
    pub items: u64,
    /// The requests' sizes on the wire.
    pub bytes_in: u64,
    /// The replies' sizes.
    pub bytes_out: u64,
    /// When the first one came.
    #[serde(rename = "first_seen", serialize_with = "time")]
    pub first: SystemTime,
    /// When the last one ended.
    #[serde(rename = "last_seen", serialize_with = "time")]
    pub last: SystemTime,
    /// Those that failed by the protocol's word for it, the proxy's flag where it answered itself, else the status.
    pub errors: BTreeMap<&'static str, u64>,
}

/// By what digests are put in order: the largest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The time that all requests took together.
    #[default]
    Time,
    /// How many there were.
    Count,
    /// How long one took on average.
    Mean,
    /// How long 99 of 100 took at most.
    P99,
    /// How many failed.
    Failed,
    /// How many things the replies brought.
    Items,
    /// Requests' and replies' sizes.
    Bytes,
    /// When the last one ended.
    Last,
}

impl ListenerDigests {
    /// Keeps the first `limit` by this order.
    pub fn sort(&mut self, order: Order, limit: usize) {
        let key = |DigestRow { totals, .. }: &DigestRow| match order {
            Order::Time => totals.total.as_nanos(),
            Order::Count => totals.count.into(),
            Order::Mean => totals.mean.as_nanos(),
            Order::P99 => totals.p99.as_nanos(),
            Order::Failed => totals.failed.into(),
            Order::Items => totals.items.into(),
            Order::Bytes => u128::from(totals.bytes_in) + u128::from(totals.bytes_out),
            Order::Last => {
                let since = totals.last.duration_since(SystemTime::UNIX_EPOCH);
                since.unwrap_or_default().as_nanos()
            }
        };
        self.digests.sort_by_cached_key(|row| std::cmp::Reverse(key(row)));
        self.digests.truncate(limit);
    }
}

fn time<S: Serializer>(time: &SystemTime, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&rfc3339(*time))
}

fn micros<S: Serializer>(duration: &Duration, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}
