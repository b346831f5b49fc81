use std::{collections::HashMap, sync::Arc};

use bytes::{BufMut, BytesMut};
use rustc_hash::FxBuildHasher;

use super::{Key, PrepareOk, Statement};
use crate::{
    Capabilities, Command,
    wire::{HEAD, Head},
};

/// How much may be prepared on one upstream connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreparedLimits {
    /// Statements. Those of which a cursor is open, or a part of a parameter was sent, do not count.
    pub statements: usize,
    /// The length of their texts and schemas, in bytes.
    pub bytes: usize,
}

impl Default for PreparedLimits {
    fn default() -> Self {
        Self { statements: 64, bytes: 4 << 20 }
    }
}

/// What is prepared on one upstream connection.
///
/// Whoever holds the connection may use any of it, but for statements that have something of the holder's in them: a
/// cursor, parts of parameters. Those are its alone until that is over.
#[derive(Debug)]
pub struct Prepared {
    pub(super) capabilities: Capabilities,
    /// All is the holder's alone, for as long as there is the connection.
    private: bool,
    limits: PreparedLimits,
    shared: HashMap<Arc<Key>, Entry, FxBuildHasher>,
    /// The length of the shared ones' keys.
    bytes: usize,
    /// By the holder's id of it.
    taken: HashMap<u32, Taken, FxBuildHasher>,
    /// Ids of statements that nobody will use any more, and that the server still has.
    closing: Vec<u32>,
    clock: u64,
}

/// A statement that is prepared.
#[derive(Debug)]
pub(super) struct Entry {
    /// The server's id.
    pub(super) id: u32,
    /// The types of parameters that the server knows; `None`: it knows none, or it is not certain which.
    pub(super) types: Option<Arc<[u8]>>,
    /// Of which kinds they were when they were said first; empty: they never were.
    kinds: Vec<u8>,
    /// Which values were NULL then, if any was: MySQL 8.0 leaves open what these are.
    pub(super) nulls: Vec<u8>,
    /// Later they were of others.
    mixed: bool,
    /// It was executed with a cursor: MySQL 8.0 has no rows any more for who asks for none.
    pub(super) opened: bool,
    used: u64,
}

impl Entry {
    pub(super) fn new(ok: &PrepareOk) -> Self {
        Self {
            id: ok.id,
            types: None,
            kinds: Vec::new(),
            nulls: Vec::new(),
            mixed: false,
            opened: false,
            used: 0,
        }
    }

    /// The server is told these types.
    ///
    /// `nulls`: which values are NULL, if any is.
    pub(super) fn bind(&mut self, types: Option<&Arc<[u8]>>, nulls: Vec<u8>) {
        self.types = types.cloned();
        let kinds = kinds(self.types.as_deref().unwrap_or_default());
        if self.kinds.is_empty() {
            (self.kinds, self.nulls) = (kinds.collect(), nulls);
        } else {
            self.mixed |= !self.kinds.iter().copied().eq(kinds);
        }
    }

    /// Whether types were said of other kinds than these, or where these are not known yet, any; or NULLs were given that
    /// are none now.
    fn is_unlike(&self, types: Option<&[u8]>, nulls: &[u8]) -> bool {
        let other = !self.kinds.iter().copied().eq(kinds(types.unwrap_or_default()));
        let told = !self.kinds.is_empty() && other;
        told || !self.nulls.is_empty() && nulls != self.nulls
    }
}

fn kinds(types: &[u8]) -> impl Iterator<Item = u8> {
    types.as_chunks().0.iter().copied().map(kind)
}

/// What servers tell types of parameters apart by: the widths of integers and floats do not matter.
fn kind([kind, sign]: [u8; 2]) -> u8 {
    match kind {
        0x01..=0x03 | 0x08 | 0x09 | 0x0d => 8 | sign & 0x80,
        0x04 => 0x05,
        0x00 => 0xf6,
        0x0f | 0xfe => 0xfd,
        0xf9..=0xfb => 0xfc,
        0x0e => 0x0a,
        kind => kind,
    }
}

/// One that has something of its holder's in it.
#[derive(Debug)]
struct Taken {
    key: Arc<Key>,
    entry: Entry,
}

impl Prepared {
    /// Nothing is prepared on a connection on which these capabilities were agreed on.
    pub fn new(capabilities: Capabilities, limits: PreparedLimits) -> Self {
        Self {
            capabilities,
            private: false,
            limits,
            shared: HashMap::default(),
            bytes: 0,
            taken: HashMap::default(),
            closing: Vec::new(),
            clock: 0,
        }
    }

    /// On a connection that nobody else will get, and of whose state nothing is told: which of its statements would mean the same
    /// nobody knows, so that each stays what it was prepared as.
    #[must_use]
    pub fn private(self) -> Self {
        Self { private: true, ..self }
    }

    /// How many statements are prepared.
    pub fn len(&self) -> usize {
        self.shared.len().saturating_add(self.taken.len())
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether something of the holder's is in statements here: an open cursor, parts of parameters. The connection must
    /// not be lent to anybody else, unless it is reset.
    pub fn holds(&self) -> bool {
        !self.taken.is_empty()
    }

    /// The server has dropped all: after `COM_RESET_CONNECTION` and `COM_CHANGE_USER`.
    pub fn clear(&mut self) {
        self.shared.clear();
        self.taken.clear();
        self.closing.clear();
        self.bytes = 0;
    }

    /// The one to use for a client's statement.
    pub(super) fn find(&mut self, statement: u32, key: &Arc<Key>) -> Option<&mut Entry> {
        if let Some(taken) = self.taken.get_mut(&statement) {
            return Some(&mut taken.entry);
        }
        let entry = self.shared.get_mut(key)?;
        self.clock = self.clock.saturating_add(1);
        entry.used = self.clock;
        Some(entry)
    }

    /// Whether the server would make something else of what there is of this statement than of one of the client's own,
    /// for what strangers have given it.
    ///
    /// `cursor`: one is asked for. `nulls`: which values are NULL.
    pub(super) fn is_unlike(
        &mut self,
        own: u32,
        statement: &Statement,
        cursor: bool,
        nulls: &[u8],
    ) -> bool {
        !self.private
            && self.find(own, &statement.key).is_some_and(|entry| {
                entry.opened && !cursor || entry.is_unlike(statement.types.as_deref(), nulls)
            })
    }

    /// Whether what there is of this statement was ever executed: for parts of parameters it is not good any more. Those of what
    /// was a number before MariaDB takes for one.
    pub(super) fn is_used(&mut self, own: u32, statement: &Statement) -> bool {
        self.find(own, &statement.key).is_some_and(|entry| entry.opened || !entry.kinds.is_empty())
    }

    /// Closes what there is of this statement, although something of the holder's may be in it.
    pub(super) fn drop_all(&mut self, own: u32, statement: &Statement) {
        let taken = self.taken.remove(&own).map(|taken| taken.entry);
        if let Some(entry) = taken.or_else(|| self.remove(&statement.key)) {
            self.closing.push(entry.id);
        }
    }

    pub(super) fn is_taken(&self, statement: u32) -> bool {
        self.taken.contains_key(&statement)
    }

    /// From now on it is this client's statement's alone.
    pub(super) fn take(&mut self, statement: u32, key: &Arc<Key>) {
        if !self.is_taken(statement)
            && let Some(entry) = self.remove(key)
        {
            self.taken.insert(statement, Taken { key: Arc::clone(key), entry });
        }
    }

    /// Nothing of the holder's is in it any more.
    pub(super) fn give_back(&mut self, statement: u32) {
        if self.private {
            return;
        }
        if let Some(Taken { key, entry }) = self.taken.remove(&statement) {
            // Where there is another it is the younger.
            match self.shared.contains_key(&key) || entry.mixed {
                true => self.closing.push(entry.id),
                false => {
                    self.insert(&key, entry);
                }
            }
        }
    }

    /// What is in it is not known: nobody uses it any more.
    pub(super) fn discard(&mut self, statement: u32) {
        if self.private {
            return;
        }
        if let Some(Taken { entry, .. }) = self.taken.remove(&statement) {
            self.closing.push(entry.id);
        }
    }

    /// It is not here any more, because what made it the client's alone does not end otherwise. Answers the server's id.
    pub(super) fn forget(&mut self, statement: u32) -> Option<u32> {
        self.taken.remove(&statement).map(|taken| taken.entry.id)
    }

    fn remove(&mut self, key: &Arc<Key>) -> Option<Entry> {
        let entry = self.shared.remove(key)?;
        self.bytes = self.bytes.saturating_sub(key.len());
        Some(entry)
    }

    /// Nobody is to use this server's id.
    pub(super) fn close(&mut self, id: u32) {
        self.closing.push(id);
    }

    /// It was prepared for a client's statement. Answers the key to keep.
    pub(super) fn add(&mut self, statement: u32, key: &Arc<Key>, entry: Entry) -> Arc<Key> {
        if !self.private {
            return self.insert(key, entry);
        }
        let taken = Taken { key: Arc::clone(key), entry };
        if let Some(older) = self.taken.insert(statement, taken) {
            self.closing.push(older.entry.id);
        }
        Arc::clone(key)
    }

    /// It was prepared. An older one of the same key is closed. Answers the key to keep, so that texts are kept once.
    fn insert(&mut self, key: &Arc<Key>, mut entry: Entry) -> Arc<Key> {
        self.clock = self.clock.saturating_add(1);
        entry.used = self.clock;
        if let Some((known, _)) = self.shared.get_key_value(key) {
            let known = Arc::clone(known);
            if let Some(older) = self.shared.insert(Arc::clone(&known), entry) {
                self.closing.push(older.id);
            }
            return known;
        }
        self.make_room(key);
        self.bytes = self.bytes.saturating_add(key.len());
        self.shared.insert(Arc::clone(key), entry);
        Arc::clone(key)
    }

    /// For this one, unless it is there: those are closed that were not used for longest.
    pub(super) fn make_room(&mut self, key: &Arc<Key>) {
        if self.shared.contains_key(key) {
            return;
        }
        while self.shared.len() >= self.limits.statements.max(1)
            || self.bytes.saturating_add(key.len()) > self.limits.bytes
        {
            let oldest = self.shared.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(key, _)| Arc::clone(key)) else { break };
            if let Some(entry) = self.remove(&oldest) {
                self.closing.push(entry.id);
            }
        }
    }

    /// Appends a `COM_STMT_CLOSE` for each that nobody will use any more; they have no reply.
    pub fn put_closes(&mut self, out: &mut BytesMut) {
        out.reserve(self.closing.len().saturating_mul(HEAD.saturating_add(5)));
        for id in self.closing.drain(..) {
            out.put_slice(&Head { len: 5, seq: 0 }.bytes());
            out.put_u8(Command::StmtClose as u8);
            out.put_u32_le(id);
        }
    }
}
