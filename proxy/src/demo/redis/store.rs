//! Keys and values.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Instant,
};

use super::out::{Fault, WRONG_TYPE};

/// How many databases there are.
pub(super) const DATABASES: usize = 16;

/// What a key, and an element of a value, take besides their bytes, about.
const OVERHEAD: usize = 64;

/// All databases.
#[derive(Debug)]
pub(super) struct Store {
    databases: Vec<HashMap<Box<[u8]>, Entry>>,
    /// How many bytes all take at most: what they took when they were counted last, and all that was brought in since.
    charged: usize,
    changes: u64,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) expires: Option<Instant>,
    /// The number of the last change.
    version: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    String(Vec<u8>),
    List(VecDeque<Vec<u8>>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
}

/// One of the types that values have.
pub(super) trait Kind: Default {
    fn wrap(self) -> Value;
    fn of(value: &Value) -> Option<&Self>;
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
}

macro_rules! kind {
    ($type:ty, $variant:ident) => {
        impl Kind for $type {
            fn wrap(self) -> Value {
                Value::$variant(self)
            }
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$variant(own) = value { Some(own) } else { None }
            }
            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$variant(own) = value { Some(own) } else { None }
            }
        }
    };
}

kind!(Vec<u8>, String);
kind!(VecDeque<Vec<u8>>, List);
kind!(BTreeMap<Vec<u8>, Vec<u8>>, Hash);
kind!(BTreeSet<Vec<u8>>, Set);

impl Value {
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Hash(_) => "hash",
            Self::Set(_) => "set",
        }
    }

    fn is_void(&self) -> bool {
        match self {
            Self::String(_) => false,
            Self::List(list) => list.is_empty(),
            Self::Hash(hash) => hash.is_empty(),
            Self::Set(set) => set.is_empty(),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::String(string) => string.len(),
            Self::List(list) => list.iter().map(|item| item.len() + OVERHEAD).sum(),
            Self::Hash(hash) => hash.iter().map(|(f, v)| f.len() + v.len() + OVERHEAD).sum(),
            Self::Set(set) => set.iter().map(|item| item.len() + OVERHEAD).sum(),
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        let databases = (0..DATABASES).map(|_| HashMap::new()).collect();
        Self { databases, charged: 0, changes: 0 }
    }
}

impl Store {
    /// Whether so many bytes more may come in.
    pub(super) fn charge(&mut self, bytes: usize, max: usize) -> bool {
        self.charged = self.charged.saturating_add(bytes);
        if self.charged > max {
            self.charged = self.used() + bytes;
        }
        let fits = self.charged <= max;
        if !fits {
            self.charged -= bytes;
        }
        fits
    }

    /// How many bytes all take, about.
    pub(super) fn used(&self) -> usize {
        let entries = self.databases.iter().flatten();
        entries.map(|(key, entry)| key.len() + entry.value.size() + OVERHEAD).sum()
    }

    /// A key and what belongs to it, if it has not expired.
    pub(super) fn entry(&mut self, db: usize, key: &[u8]) -> Option<&mut Entry> {
        let expires = self.databases[db].get(key)?.expires;
        if expires.is_some_and(|at| at <= Instant::now()) {
            self.databases[db].remove(key);
            self.changes += 1;
            return None;
        }
        self.databases[db].get_mut(key)
    }

    /// The same, to be changed.
    pub(super) fn change(&mut self, db: usize, key: &[u8]) -> Option<&mut Entry> {
        self.changes += 1;
        let changes = self.changes;
        let entry = self.entry(db, key)?;
        entry.version = changes;
        Some(entry)
    }

    /// A number that is another one when the key was changed; 0 if it does not exist.
    pub(super) fn version(&mut self, db: usize, key: &[u8]) -> u64 {
        self.entry(db, key).map_or(0, |entry| entry.version)
    }

    /// A key's value.
    pub(super) fn read<K: Kind>(&mut self, db: usize, key: &[u8]) -> Result<Option<&K>, Fault> {
        match self.entry(db, key) {
            None => Ok(None),
            Some(entry) => K::of(&entry.value).map(Some).ok_or(WRONG_TYPE),
        }
    }

    /// A key's value, to be changed if it exists.
    pub(super) fn existing<K: Kind>(
        &mut self,
        db: usize,
        key: &[u8],
    ) -> Result<Option<&mut K>, Fault> {
        self.read::<K>(db, key)?;
        Ok(self.change(db, key).and_then(|entry| K::of_mut(&mut entry.value)))
    }

    /// A key's value, to be changed; an empty one if it does not exist.
    pub(super) fn made<K: Kind>(&mut self, db: usize, key: &[u8]) -> Result<&mut K, Fault> {
        if self.entry(db, key).is_none() {
            self.put(db, key, K::default().wrap(), None);
        }
        self.existing(db, key)?.ok_or(WRONG_TYPE)
    }

    /// Puts a value in the place of any.
    pub(super) fn put(&mut self, db: usize, key: &[u8], value: Value, expires: Option<Instant>) {
        self.changes += 1;
        let entry = Entry { value, expires, version: self.changes };
        self.databases[db].insert(key.into(), entry);
    }

    /// Removes a key that holds nothing any more.
    pub(super) fn tidy(&mut self, db: usize, key: &[u8]) {
        if self.databases[db].get(key).is_some_and(|entry| entry.value.is_void()) {
            self.databases[db].remove(key);
        }
    }

    /// Removes a key; whether it was there.
    pub(super) fn remove(&mut self, db: usize, key: &[u8]) -> bool {
        self.entry(db, key).is_some() && self.databases[db].remove(key).is_some()
    }

    /// The keys of a database, and of what type each is.
    pub(super) fn keys(&self, db: usize) -> impl Iterator<Item = (&[u8], &'static str)> {
        let now = Instant::now();
        let live = move |entry: &&Entry| entry.expires.is_none_or(|at| at > now);
        self.databases[db]
            .iter()
            .filter(move |(_, entry)| live(entry))
            .map(|(key, entry)| (&key[..], entry.value.type_name()))
    }

    pub(super) fn clear(&mut self, db: usize) {
        self.databases[db].clear();
    }
}
