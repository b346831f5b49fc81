use std::sync::Arc;

use super::{Key, Setting};

/// How much a client may prepare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementLimits {
    /// Statements: as many as MySQL allows for a whole server unless configured.
    pub statements: usize,
    /// The length of their texts, schemas and digests, in bytes.
    pub bytes: usize,
    /// The length of one statement's text, in bytes.
    pub text: usize,
}

impl Default for StatementLimits {
    fn default() -> Self {
        Self { statements: 16_382, bytes: 16 << 20, text: 1 << 20 }
    }
}

/// A client's prepared statement.
#[derive(Clone, Debug)]
pub struct Statement {
    pub(super) key: Arc<Key>,
    pub(super) digest: Arc<[u8]>,
    pub(super) parameters: u16,
    pub(super) columns: u16,
    /// Two bytes for each parameter, as the client has said last.
    pub(super) types: Option<Arc<[u8]>>,
    pub(super) long_data: LongData,
}

/// Whether parts of parameters were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LongData {
    #[default]
    None,
    Sent,
    /// They could not be.
    Lost,
}

impl Statement {
    /// Its text.
    pub fn text(&self) -> &[u8] {
        self.key.text()
    }

    /// The digest of its text.
    pub fn digest(&self) -> &Arc<[u8]> {
        &self.digest
    }

    /// The setting that it was prepared under.
    pub fn setting(&self) -> Setting<'_> {
        self.key.setting()
    }

    /// How many parameters it has.
    pub fn parameters(&self) -> u16 {
        self.parameters
    }

    /// How many columns its rows have, as the server said last when it was prepared.
    pub fn columns(&self) -> u16 {
        self.columns
    }

    /// The client says the types of its parameters.
    pub(super) fn set_types(&mut self, said: impl Iterator<Item = u8> + Clone) {
        let known = self.types.as_deref().unwrap_or_default();
        if self.types.is_none() || !said.clone().eq(known.iter().copied()) {
            self.types = Some(said.collect());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.key.len().saturating_add(self.digest.len())
    }
}
