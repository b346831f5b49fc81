use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{
    Watch,
    digests::{DigestEnd, DigestSeries, Digests, Names},
};

/// The counts of a digest on the thread that adds to them: every request holds them, and it takes no atomic instruction to
/// do so.
pub type OwnDigest = Rc<Arc<DigestSeries>>;

/// So many places are looked at for one whose digest is not used.
const LOOKS: usize = 8;

/// Where a worker finds the counts of a digest.
///
/// When all places are taken, a new digest gets that of one that nobody has asked for since the last time that a place was looked for
/// there. It has to be asked for again to be used itself, so digests that come up once take the places of one another. What was
/// counted of those that lose their places, and of those that get none, is added up as others.
#[derive(Debug)]
pub struct DigestBook {
    /// Its digests are there.
    watch: Arc<Watch>,
    /// For those that have no place.
    others: OwnDigest,
    known: RefCell<Known>,
}

#[derive(Debug, Default)]
struct Known {
    series: Vec<OwnDigest>,
    places: FxHashMap<u64, usize>,
    /// The place that is looked at next.
    hand: usize,
}

impl DigestBook {
    /// `None`: nobody wants to know of digests.
    pub fn new(watch: &Arc<Watch>) -> Option<Self> {
        let digests = watch.digests.as_ref()?;
        let series: Vec<_> = digests.all().into_iter().map(Rc::new).collect();
        let places = series.iter().enumerate().map(|(place, it)| (it.key, place)).collect();
        let known = RefCell::new(Known { series, places, hand: 0 });
        let others = Rc::new(digests.others().clone());
        Some(Self { watch: watch.clone(), others, known })
    }

    /// The counts of a digest, or of all that have no place.
    pub fn find(&self, service: &str, method: &str, digest: &[u8], now: Instant) -> OwnDigest {
        let seed = xxh3_64(service.as_bytes()).rotate_left(1) ^ xxh3_64(method.as_bytes());
        let key = xxh3_64_with_seed(digest, seed);
        let mut known = self.known.borrow_mut();
        if let Some(series) = known.places.get(&key).and_then(|&place| known.series.get(place)) {
            series.used.store(true, Relaxed);
            return series.clone();
        }
        let Some(digests) = &self.watch.digests else { return self.others.clone() };
        let Some(place) = known.place(digests) else { return self.others.clone() };
        let names = Names::of(service, method, digest);
        let series = OwnDigest::new(Arc::new(DigestSeries::new(key, names, now)));
        digests.put(place, Arc::clone(&series));
        known.places.insert(key, place);
        match known.series.get_mut(place) {
            Some(former) => *former = series.clone(),
            None => known.series.push(series.clone()),
        }
        series
    }

    /// Counts a request that is over.
    pub fn record(&self, digest: &OwnDigest, end: &DigestEnd, now: Instant) {
        // Its place may have been taken meanwhile.
        let series = if digest.gone.load(Relaxed) { &self.others } else { digest };
        series.record(end, now);
    }
}

impl Known {
    /// A place that is free, or is made so.
    fn place(&mut self, digests: &Digests) -> Option<usize> {
        let len = self.series.len();
        if len < digests.settings().max {
            return Some(len);
        }
        for _ in 0..LOOKS.min(len) {
            let place = self.hand;
            self.hand = (place + 1) % len;
            let series = self.series.get(place)?;
            if !series.used.swap(false, Relaxed) {
                series.gone.store(true, Relaxed);
                digests.others().take_over(series);
                self.places.remove(&series.key);
                return Some(place);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        config,
        telemetry::watch::{ListenerDigests, Order, Settings, digests_of},
    };

    struct Worker {
        watch: Arc<Watch>,
        book: DigestBook,
        now: Instant,
    }

    impl Worker {
        fn new(max: usize) -> Self {
            let digests = Some(config::Digests { max });
            let now = Instant::now();
            let watch = Watch::new(Settings { digests, ..Settings::default() }, now);
            let watch = watch.expect("something is to be kept");
            let book = DigestBook::new(&watch).expect("digests are");
            Self { watch, book, now }
        }

        fn ask(&self, digest: &str) {
            let found = self.book.find("db", "QUERY", digest.as_bytes(), self.now);
            self.book.record(&found, &end(None), self.now);
        }
    }

    fn end(error: Option<&'static str>) -> DigestEnd {
        let latency = Duration::from_millis(2).into();
        DigestEnd { error, latency, items: 3, bytes_in: 10, bytes_out: 100 }
    }

    fn digests(workers: &[Worker]) -> ListenerDigests {
        let watches = workers.iter().map(|worker| &*worker.watch);
        digests_of("l", watches).expect("they are kept")
    }

    fn counts(digests: &ListenerDigests) -> Vec<(&str, u64)> {
        digests.digests.iter().map(|row| (&*row.digest, row.totals.count)).collect()
    }

    fn others(digests: &ListenerDigests) -> u64 {
        digests.others.as_ref().map_or(0, |others| others.count)
    }

    #[test]
    fn workers_are_added_up() {
        let workers = [Worker::new(10), Worker::new(10)];
        for worker in &workers {
            (0..3).for_each(|_| worker.ask("SELECT ?"));
        }
        workers[0].ask("SELECT `a\n`");
        let failing = workers[1].book.find("db", "QUERY", b"SELECT ?", workers[1].now);
        let later = workers[1].now + Duration::from_secs(5);
        workers[1].book.record(&failing, &end(Some("1062")), later);
        let execute = workers[1].book.find("db", "EXECUTE", b"SELECT ?", workers[1].now);
        workers[1].book.record(&execute, &end(None), later);
        let mut all = digests(&workers);
        all.sort(Order::Count, 2);
        assert_eq!((all.known, all.max), (3, 10));
        assert_eq!(counts(&all)[0], ("SELECT ?", 7));
        assert_eq!(all.digests.len(), 2);
        let json = serde_json::to_value(&all).expect("it is JSON");
        let first = &json["digests"][0];
        assert_eq!((&first["service"], &first["method"]), (&"db".into(), &"QUERY".into()));
        assert_eq!((&first["failed"], &first["errors"]["1062"]), (&1.into(), &1.into()));
        assert_eq!((&first["items"], &first["bytes_in"]), (&21.into(), &70.into()));
        assert_eq!((&first["bytes_out"], &first["total_us"]), (&700.into(), &14_000.into()));
        assert_eq!((&first["mean_us"], &first["time_percent"]), (&2000.into(), &77.78.into()));
        assert_eq!(first["id"].as_str().map(str::len), Some(16));
        assert_eq!(json["others"], serde_json::Value::Null);
        let [row, ..] = &all.digests[..] else { panic!("{all:?}") };
        let age = row.totals.last.duration_since(row.totals.first).expect("later");
        assert!(age >= Duration::from_secs(5), "{age:?}");
        assert!(counts(&digests(&workers)).contains(&("SELECT `a\\n`", 1)));
    }

    #[test]
    fn each_order_puts_the_largest_first() {
        let worker = Worker::new(10);
        for (text, times, millis, error, items, bytes, at) in [
            ("time", 10, 900, None, 1, 1, 1),
            ("count", 50, 1, None, 1, 1, 2),
            ("mean", 2, 1000, None, 1, 1, 3),
            ("failed", 3, 1, Some("e"), 1, 1, 4),
            ("items", 1, 1, None, 1000, 1, 5),
            ("bytes", 1, 1, None, 1, 1000, 6),
            ("last", 1, 1, None, 1, 1, 7),
        ] {
            for _ in 0..times {
                let found = worker.book.find("", "", text.as_bytes(), worker.now);
                let latency = Duration::from_millis(millis).into();
                let end = DigestEnd { error, latency, items, bytes_in: bytes, bytes_out: 0 };
                worker.book.record(&found, &end, worker.now + Duration::from_secs(at));
            }
        }
        for (order, want) in [
            (Order::Time, "time"),
            (Order::Count, "count"),
            (Order::Mean, "mean"),
            (Order::P99, "mean"),
            (Order::Failed, "failed"),
            (Order::Items, "items"),
            (Order::Bytes, "bytes"),
            (Order::Last, "last"),
        ] {
            let mut all = digests(std::slice::from_ref(&worker));
            all.sort(order, 1);
            assert_eq!(counts(&all)[0].0, want, "{order:?}");
        }
    }

    /// Those that come again and again stay, whatever comes up once; and all are counted.
    #[test]
    fn what_is_used_stays() {
        let worker = Worker::new(20);
        let mut asked = 0;
        for n in 0..5_000 {
            worker.ask(&format!("SELECT {}", n % 10));
            worker.ask(&format!("SELECT once{n}"));
            asked += 2;
            let all = digests(std::slice::from_ref(&worker));
            assert!(all.known <= 20);
        }
        let all = digests(std::slice::from_ref(&worker));
        for n in 0..10 {
            let digest = format!("SELECT {n}");
            assert!(counts(&all).contains(&(&digest, 500)), "{:?}", counts(&all));
        }
        let known: u64 = counts(&all).iter().map(|(_, count)| count).sum();
        assert_eq!(known + others(&all), asked);
        let others = all.others.expect("there are others");
        assert_eq!((others.items, others.bytes_in), (3 * others.count, 10 * others.count));
    }

    #[test]
    fn a_request_whose_digest_lost_its_place_is_one_of_the_others() {
        let worker = Worker::new(1);
        let first = worker.book.find("", "", b"first", worker.now);
        worker.ask("second");
        worker.book.record(&first, &end(Some("1062")), worker.now);
        let all = digests(std::slice::from_ref(&worker));
        assert_eq!((counts(&all), others(&all)), (vec![("second", 1)], 1));
        assert_eq!(all.others.expect("one").errors["1062"], 1);
        // Where all are in use, a new one has no place, until they are not.
        worker.ask("second");
        worker.ask("third");
        let all = digests(std::slice::from_ref(&worker));
        assert_eq!((counts(&all), others(&all)), (vec![("second", 2)], 2));
        worker.ask("fourth");
        let all = digests(std::slice::from_ref(&worker));
        assert_eq!((counts(&all), others(&all)), (vec![("fourth", 1)], 4));
    }

    /// Which a reload of the configuration makes.
    #[test]
    fn another_book_goes_on_with_the_same_counts() {
        let mut worker = Worker::new(2);
        worker.ask("a");
        worker.ask("b");
        worker.book = DigestBook::new(&worker.watch).expect("digests are kept");
        worker.ask("b");
        let mut all = digests(std::slice::from_ref(&worker));
        all.sort(Order::Count, 10);
        assert_eq!(counts(&all), [("b", 2), ("a", 1)]);
    }
}
