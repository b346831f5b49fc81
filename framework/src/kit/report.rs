use std::{collections::BTreeMap, fmt};

/// One thing that every protocol must keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Every sample decodes to whole frames.
    Decode,
    /// A frame takes its own bytes and not one more.
    Boundary,
    /// A frame cut short anywhere asks for more, and leaves the bytes where they are.
    Truncation,
    /// Bytes decode to the same frames in whatever pieces they arrive.
    Chunking,
    /// A frame nobody touched encodes to the bytes it came from.
    Untouched,
    /// A frame says how long it is.
    WireLen,
    /// Every prefix of a client's sample is a match or needs more, and the whole is a match.
    Detect,
    /// No prefix of another protocol's bytes is a match, and the whole is a mismatch.
    Foreign,
    /// An id is read back as it was set, survives the wire, and setting it changes nothing else.
    Id,
    /// A header is read back as it was set, survives the wire, and setting it changes nothing else.
    Header,
    /// As [`Header`](Self::Header), for the trace context.
    Trace,
    /// A timeout survives the wire; a short one does not become none, nor a long one short.
    Timeout,
    /// The proxy's own answer to a request decodes as a response to that request, with the failure's status.
    Reply,
    /// A heartbeat is known as one, and so is its answer.
    Heartbeat,
    /// A go-away is known as one.
    GoAway,
    /// A frame over the limit is refused by it, and one at the limit is not.
    Limit,
    /// Nothing is reserved by a declared length.
    Reserve,
    /// No bytes make the protocol panic.
    Panic,
    /// A frame takes at least one byte.
    Progress,
}

impl Rule {
    /// Every rule, in order.
    pub const ALL: [Self; 19] = [
        Self::Decode,
        Self::Boundary,
        Self::Truncation,
        Self::Chunking,
        Self::Untouched,
        Self::WireLen,
        Self::Detect,
        Self::Foreign,
        Self::Id,
        Self::Header,
        Self::Trace,
        Self::Timeout,
        Self::Reply,
        Self::Heartbeat,
        Self::GoAway,
        Self::Limit,
        Self::Reserve,
        Self::Panic,
        Self::Progress,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Boundary => "boundary",
            Self::Truncation => "truncation",
            Self::Chunking => "chunking",
            Self::Untouched => "untouched",
            Self::WireLen => "wire-len",
            Self::Detect => "detect",
            Self::Foreign => "foreign",
            Self::Id => "id",
            Self::Header => "header",
            Self::Trace => "trace",
            Self::Timeout => "timeout",
            Self::Reply => "reply",
            Self::Heartbeat => "heartbeat",
            Self::GoAway => "go-away",
            Self::Limit => "limit",
            Self::Reserve => "reserve",
            Self::Panic => "panic",
            Self::Progress => "progress",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which.
    pub rule: Rule,
    /// The name of the sample that broke it.
    pub sample: String,
    /// Where in the sample, in bytes from its start.
    pub offset: usize,
    /// What happened.
    pub detail: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, sample, offset, detail } = self;
        write!(f, "rule {rule}, sample \"{sample}\", offset {offset}: {detail}")
    }
}

/// Which rules were tried, how often, and which were broken.
#[derive(Clone, Debug, Default)]
pub struct Report {
    breaches: Vec<Breach>,
    tried: BTreeMap<Rule, u64>,
}

impl Report {
    /// The first breach of each rule by each sample.
    pub fn breaches(&self) -> &[Breach] {
        &self.breaches
    }

    /// How often a rule was tried: 0 where the protocol has nothing that it applies to.
    pub fn tried(&self, rule: Rule) -> u64 {
        self.tried.get(&rule).copied().unwrap_or(0)
    }

    /// The rules that were broken, each once, in order.
    pub fn broken(&self) -> Vec<Rule> {
        Rule::ALL
            .into_iter()
            .filter(|rule| self.breaches.iter().any(|breach| breach.rule == *rule))
            .collect()
    }

    /// Counts one trial of `rule`, and records the breach, if it is one. Says whether it went well.
    pub(super) fn note(
        &mut self,
        rule: Rule,
        sample: &str,
        offset: usize,
        outcome: Result<(), String>,
    ) -> bool {
        *self.tried.entry(rule).or_default() += 1;
        let Err(detail) = outcome else { return true };
        if !self.breaches.iter().any(|known| known.rule == rule && known.sample == sample) {
            self.breaches.push(Breach { rule, sample: sample.to_owned(), offset, detail });
        }
        false
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.breaches.iter().try_for_each(|breach| writeln!(f, "{breach}"))
    }
}
