use std::{collections::HashMap, sync::Arc};

use bytes::{BufMut, BytesMut};
use rustc_hash::FxBuildHasher;

use super::Key;
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
    limits: PreparedLimits,
    shared: HashMap<Arc<Key>, Entry, FxBuildHasher>,
    /// The length of the shared ones' keys.
    bytes: usize,
    taken: Vec<Taken>,
    /// Ids of statements that nobody will use any more, and that the server still has.
    closing: Vec<u32>,
    clock: u64,
}

/// A statement that is prepared.
#[derive(Debug)]
pub(super) struct Entry {
    /// The server's id.
    pub(super) id: u32,
    pub(super) parameters: u16,
    /// The types of parameters that the server knows; `None`: it knows none, or it is not certain which.
    pub(super) types: Option<Arc<[u8]>>,
    used: u64,
}

impl Entry {
    pub(super) fn new(id: u32, parameters: u16) -> Self {
        Self { id, parameters, types: None, used: 0 }
    }
}

/// One that has something of its holder's in it.
#[derive(Debug)]
struct Taken {
    /// The holder's id of it.
    statement: u32,
    key: Arc<Key>,
    entry: Entry,
}

impl Prepared {
    /// Nothing is prepared on a connection on which these capabilities were agreed on.
    pub fn new(capabilities: Capabilities, limits: PreparedLimits) -> Self {
        Self {
            capabilities,
            limits,
            shared: HashMap::default(),
            bytes: 0,
            taken: Vec::new(),
            closing: Vec::new(),
            clock: 0,
        }
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
        if !self.taken.is_empty()
            && let Some(at) = self.taken.iter().position(|taken| taken.statement == statement)
        {
            return self.taken.get_mut(at).map(|taken| &mut taken.entry);
        }
        let entry = self.shared.get_mut(key)?;
        self.clock = self.clock.saturating_add(1);
        entry.used = self.clock;
        Some(entry)
    }

    /// The same key where it is here already, so that texts are kept once.
    pub(super) fn known(&self, key: Key) -> Arc<Key> {
        match self.shared.get_key_value(&key) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::new(key),
        }
    }

    pub(super) fn is_taken(&self, statement: u32) -> bool {
        self.taken.iter().any(|taken| taken.statement == statement)
    }

    /// From now on it is this client's statement's alone.
    pub(super) fn take(&mut self, statement: u32, key: &Arc<Key>) {
        if !self.is_taken(statement)
            && let Some(entry) = self.remove(key)
        {
            self.taken.push(Taken { statement, key: Arc::clone(key), entry });
        }
    }

    /// Nothing of the holder's is in it any more.
    pub(super) fn give_back(&mut self, statement: u32) {
        if let Some(Taken { key, entry, .. }) = self.untake(statement) {
            // Where there is another it is the younger.
            match self.shared.contains_key(&key) {
                true => self.closing.push(entry.id),
                false => self.insert(key, entry),
            }
        }
    }

    /// What is in it is not known: nobody uses it any more.
    pub(super) fn discard(&mut self, statement: u32) {
        if let Some(Taken { entry, .. }) = self.untake(statement) {
            self.closing.push(entry.id);
        }
    }

    /// It is not here any more, because what made it the client's alone does not end otherwise. Answers the server's id.
    pub(super) fn forget(&mut self, statement: u32) -> Option<u32> {
        self.untake(statement).map(|taken| taken.entry.id)
    }

    fn untake(&mut self, statement: u32) -> Option<Taken> {
        let at = self.taken.iter().position(|taken| taken.statement == statement)?;
        Some(self.taken.swap_remove(at))
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

    /// It was prepared. An older one of the same key is closed.
    pub(super) fn insert(&mut self, key: Arc<Key>, mut entry: Entry) {
        if let Some(older) = self.remove(&key) {
            self.closing.push(older.id);
        }
        self.make_room(key.len());
        self.clock = self.clock.saturating_add(1);
        entry.used = self.clock;
        self.bytes = self.bytes.saturating_add(key.len());
        self.shared.insert(key, entry);
    }

    /// For one more: those are closed that were not used for longest.
    pub(super) fn make_room(&mut self, len: usize) {
        while self.shared.len() >= self.limits.statements.max(1)
            || self.bytes.saturating_add(len) > self.limits.bytes
        {
            let oldest = self.shared.iter().min_by_key(|(_, entry)| entry.used);
            let Some(key) = oldest.map(|(key, _)| Arc::clone(key)) else { break };
            if let Some(entry) = self.remove(&key) {
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
