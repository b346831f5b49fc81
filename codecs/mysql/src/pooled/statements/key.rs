use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

/// What of a session's state says what a statement's text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setting<'a> {
    /// The session's schema; empty where it has none.
    pub schema: &'a [u8],
    /// Of everything else: equal where a text means the same (`sql_mode`, character sets, collation).
    pub fingerprint: u64,
}

/// What makes statements one: who prepares the same gets the same.
#[derive(Debug, Eq)]
pub struct Key {
    /// Made once: a look-up costs the same for any text.
    hash: u64,
    fingerprint: u64,
    text: Box<[u8]>,
    schema: Box<[u8]>,
}

impl Key {
    /// That of a text under this setting.
    pub fn new(text: &[u8], setting: &Setting<'_>) -> Self {
        let mut hasher = FxHasher::default();
        (text, setting).hash(&mut hasher);
        let (text, schema) = (text.into(), setting.schema.into());
        Self { hash: hasher.finish(), fingerprint: setting.fingerprint, text, schema }
    }

    /// The statement's text.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The setting that it was prepared under.
    pub fn setting(&self) -> Setting<'_> {
        Setting { schema: &self.schema, fingerprint: self.fingerprint }
    }

    /// How many bytes it takes.
    pub(super) fn len(&self) -> usize {
        self.text.len().saturating_add(self.schema.len())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && self.fingerprint == other.fingerprint
            && self.schema == other.schema
            && self.text == other.text
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}
