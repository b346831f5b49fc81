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
        for _ in 0..LOOKS {
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
