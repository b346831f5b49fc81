//! What is kept of the traffic of a listener for people to look at: slow requests, what is asked for most, and statistics by
//! digest.
//!
//! Each worker keeps its own, behind a lock that it takes for a request that was slow or is one of the sample, or has a digest
//! that is new, and for no other; what all of them have is brought together when somebody asks.

mod book;
mod digests;
mod keys;
mod largest;
mod sketch;
mod slow;

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use wiremesh::{Protocol, Subject, Summary, correlation::Access, write_escaped};

pub use self::{
    book::{DigestBook, OwnDigest},
    digests::{DigestEnd, DigestRow, DigestSeries, DigestTotals, ListenerDigests, Order},
    keys::{BigKey, HotKey, ListenerKeys},
    slow::{ListenerSlow, SlowRequest},
};
use self::{digests::Digests, keys::Keys, slow::Ring};
use crate::config;

/// What is to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Slow requests.
    pub slow_log: Option<config::SlowLog>,
    /// What a sample of them is about.
    pub sample: Option<config::Sample>,
    /// Statistics by digest.
    pub digests: Option<config::Digests>,
}

impl Settings {
    /// What is to be kept of a listener's traffic.
    pub fn of(listener: &config::Listener) -> Self {
        let config::Listener { slow_log, sample, digests, .. } = *listener;
        Self { slow_log, sample, digests }
    }
}

/// What one worker keeps of the traffic of one listener.
#[derive(Debug)]
pub struct Watch {
    settings: Settings,
    ring: Option<Ring>,
    keys: Option<Keys>,
    digests: Option<Digests>,
}

impl Watch {
    /// `None`: nothing is to be kept.
    pub(super) fn new(settings: Settings, now: Instant) -> Option<Arc<Self>> {
        let Settings { slow_log, sample, digests } = settings;
        (settings != Settings::default()).then(|| {
            Arc::new(Self {
                settings,
                ring: slow_log.map(Ring::new),
                keys: sample.map(|sample| Keys::new(sample, now)),
                digests: digests.map(|digests| Digests::new(digests, now)),
            })
        })
    }

    /// Whether it was made for these settings.
    pub(super) fn is_for(&self, settings: Settings) -> bool {
        self.settings == settings
    }

    /// From how long on a request is slow; `None`: nobody wants to know.
    pub fn slow_after(&self) -> Option<Duration> {
        self.settings.slow_log.map(|slow_log| slow_log.threshold.0)
    }

    /// One of how many requests is to be looked at; `None`: none at all.
    pub fn every(&self) -> Option<u32> {
        self.settings.sample.map(|sample| sample.every)
    }

    /// Keeps a request that was slow.
    pub fn keep_slow(&self, request: SlowRequest) {
        if let Some(ring) = &self.ring {
            ring.push(request);
        }
    }

    /// Counts what a request of the sample was about, now that it is over.
    pub fn count(&self, seen: &Seen, bytes_out: usize, now: Instant) {
        if let Some(keys) = &self.keys {
            keys.count(seen, bytes_out, now);
        }
    }

    fn add_to(&self, slow: &mut ListenerSlow) {
        if let Some(ring) = &self.ring {
            ring.add_to(slow);
        }
    }

    fn add_keys_to(&self, keys: &mut keys::Merged, now: Instant) {
        if let Some(own) = &self.keys {
            own.add_to(keys, now);
        }
    }
}

/// Brings together what the workers keep of the slow requests of one listener.
pub(super) fn slow_of<'a>(
    listener: &str,
    watches: impl Iterator<Item = &'a Watch> + Clone,
) -> Option<ListenerSlow> {
    let settings = watches.clone().find_map(|watch| watch.settings.slow_log)?;
    let mut slow = ListenerSlow::new(listener, settings);
    watches.for_each(|watch| watch.add_to(&mut slow));
    slow.finish();
    Some(slow)
}

/// Brings together what the workers know of the keys of one listener.
pub(super) fn keys_of<'a>(
    listener: &str,
    watches: impl Iterator<Item = &'a Watch> + Clone,
    now: Instant,
) -> Option<ListenerKeys> {
    let settings = watches.clone().find_map(|watch| watch.settings.sample)?;
    let mut merged = keys::Merged::default();
    watches.for_each(|watch| watch.add_keys_to(&mut merged, now));
    Some(merged.finish(listener, settings))
}

/// Brings together what the workers know of the digests of one listener.
pub(super) fn digests_of<'a>(
    listener: &str,
    watches: impl Iterator<Item = &'a Watch>,
) -> Option<ListenerDigests> {
    let (mut merged, mut settings) = (digests::Merged::default(), None);
    for digests in watches.filter_map(|watch| watch.digests.as_ref()) {
        settings = Some(digests.settings());
        digests.add_to(&mut merged);
    }
    Some(merged.finish(listener, settings?))
}

/// At most so many bytes of a name are kept.
const NAME_MAX: usize = 128;

/// The name of something that requests are about, of bounded length.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    shown: Arc<[u8]>,
    /// Its whole length.
    len: usize,
    /// Of the whole name where it was cut, else 0.
    hash: u64,
}

impl Name {
    /// A name of these bytes, cut if it is long.
    pub fn of(name: &[u8]) -> Self {
        let Some((shown, _)) = name.split_at_checked(NAME_MAX).filter(|(_, cut)| !cut.is_empty())
        else {
            return Self { shown: name.into(), len: name.len(), hash: 0 };
        };
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self { shown: shown.into(), len: name.len(), hash: hasher.finish() }
    }
}

/// In one line, what is not printable escaped.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, &self.shown)?;
        match self.len - self.shown.len() {
            0 => Ok(()),
            cut => write!(f, "...({cut} more bytes)"),
        }
    }
}

/// At most so many subjects of one request are looked at.
const SUBJECTS_MAX: usize = 256;

/// What is remembered of a request that may turn out slow, or is one of the sample. Used again and again.
#[derive(Debug, Default)]
pub struct Seen {
    /// It is to be kept if it turns out slow.
    pub slow: bool,
    /// In how many parts it was sent.
    pub parts: usize,
    /// Its service.
    pub service: String,
    /// Its method.
    pub method: String,
    /// What it says.
    pub summary: Summary,
    /// It is one of the sample; of others, only sizes count.
    sampled: bool,
    bytes_in: usize,
    subjects: Vec<About>,
}

/// One of the things that a request of the sample is about.
#[derive(Debug)]
struct About {
    name: Name,
    write: bool,
    /// How many bytes of the request are its.
    bytes: usize,
}

impl Seen {
    /// Takes note of a request. `digest`: what is shown of it if it turns out slow, where it has one.
    pub fn note<P: Protocol>(
        &mut self,
        protocol: &P,
        request: &P::Frame,
        slow: bool,
        about: Option<Sampled>,
        digest: Option<&[u8]>,
    ) {
        use wiremesh::Frame;
        (self.slow, self.parts) = (slow, 1);
        request.service().as_deref().unwrap_or_default().clone_into(&mut self.service);
        request.method().as_deref().unwrap_or_default().clone_into(&mut self.method);
        match digest {
            _ if !slow => {}
            Some(digest) => self.summary.text(digest),
            None => protocol.summarize(request, &mut self.summary),
        }
        let Some(about) = about else { return };
        self.sampled = about == Sampled::Counted;
        self.bytes_in = request.wire_len();
        protocol.subjects(request, &mut |Subject { name, access, bytes }| {
            if self.subjects.len() < SUBJECTS_MAX {
                let (name, write) = (Name::of(name), access == Access::Write);
                self.subjects.push(About { name, write, bytes });
            }
        });
    }

    /// Whether it is about anything.
    pub fn has_subjects(&self) -> bool {
        !self.subjects.is_empty()
    }

    /// Makes room for another request.
    pub fn clear(&mut self) {
        self.summary.clear();
        self.subjects.clear();
        self.sampled = false;
    }
}

/// Why a request is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampled {
    /// It is one of the sample.
    Counted,
    /// It is large.
    Large,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let [a, b] = ["a", "b"].map(|end| format!("{}{end}", "x".repeat(1000)));
        assert_ne!(Name::of(a.as_bytes()), Name::of(b.as_bytes()));
        assert_eq!(Name::of(a.as_bytes()), Name::of(a.as_bytes()));
        let shown = format!("{}...({} more bytes)", "x".repeat(NAME_MAX), 1001 - NAME_MAX);
        assert_eq!(Name::of(a.as_bytes()).to_string(), shown);
        let exactly = "y".repeat(NAME_MAX);
        assert_eq!(Name::of(exactly.as_bytes()).to_string(), exactly);
        assert_eq!(Name::of(b"a\n\xff \"").to_string(), r#"a\n\xff \""#);
    }
}
