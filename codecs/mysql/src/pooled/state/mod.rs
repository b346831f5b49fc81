//! The state of sessions, as far as it can be made anew on another connection: schema, character sets, system variables.

mod difference;
mod follow;
mod setup;
mod text;
mod tracking;
mod variables;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

pub use difference::{Difference, Replay};
pub use follow::{Assignment, Literal, Pin};
pub use setup::{LOGIN_COLLATION, setup};
pub use tracking::{Tracking, without_tracking};
pub use variables::VARIABLES;

use crate::collation::{Collation, is_bytewise};
use variables::{MAX_JOIN_SIZE, SQL_BIG_SELECTS, twin};

/// What a session has that differs from what servers give to one that begins; or what is set on an upstream connection.
///
/// To clone it is to count a reference, and a state equals its clones at a glance.
#[derive(Clone, Debug)]
pub struct State {
    parts: Arc<Parts>,
    fingerprint: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    /// Empty: none.
    schema: Text,
    /// It has to be said again, for what comes with it.
    stale: bool,
    charset: Charset,
    /// Those that were set, in order. Of the others each has the server's default.
    variables: Vec<(&'static str, Text)>,
}

type Text = Box<[u8]>;

/// The character sets of a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Charset {
    client: Text,
    /// Empty: `NULL`.
    results: Text,
    connection: Text,
    /// `None`: the default of that of the connection, which is up to the server.
    collation: Option<Text>,
}

impl Charset {
    fn of(collation: &Collation) -> Self {
        let charset: Text = collation.charset().as_bytes().into();
        let name = collation.name.as_bytes().into();
        let (results, connection) = (charset.clone(), charset.clone());
        Self { client: charset, results, connection, collation: Some(name) }
    }
}

impl Parts {
    fn fingerprint(&self) -> u64 {
        // Not one of the fast ones, for which two states that look the same are easily made.
        let mut hasher = DefaultHasher::new();
        // All else counts when a statement is executed.
        let mode = self.variables.iter().find(|(name, _)| *name == "sql_mode");
        (&self.charset, mode.map(|(_, value)| value)).hash(&mut hasher);
        hasher.finish()
    }
}

/// Stands for the server's own `sql_mode`, which nobody has told, with `IGNORE_SPACE`.
pub(in crate::pooled) const SPACES: &[u8] = b"+IGNORE_SPACE";

impl State {
    /// That of a session that begins, in this schema (none, if empty), with the collation
    /// [of its login](crate::collation::Collations::at_login).
    pub fn begun(schema: &[u8], collation: &Collation) -> Self {
        let charset = Charset::of(collation);
        let parts = Parts { schema: schema.into(), stale: false, charset, variables: Vec::new() };
        Self { fingerprint: parts.fingerprint(), parts: Arc::new(parts) }
    }

    /// That of an upstream connection that has logged in, in this schema, and on which [`setup`] was answered.
    pub fn set_up(schema: &[u8]) -> Self {
        Self::begun(schema, &LOGIN_COLLATION)
    }

    /// That of an upstream connection on which [`setup`] was answered after `COM_RESET_CONNECTION`, which leaves the schema as
    /// it was, and forgets what comes with it (`character_set_database`, `collation_database`): it has to be said again
    /// before the connection fits anybody.
    pub fn after_reset(schema: &[u8]) -> Self {
        let mut state = Self::set_up(schema);
        state.edit(|parts| parts.stale = !schema.is_empty());
        state
    }

    /// The schema, as servers tell it: in UTF-8. Empty where there is none.
    pub fn schema(&self) -> &[u8] {
        &self.parts.schema
    }

    /// The character set of what the client says.
    pub fn charset(&self) -> &[u8] {
        &self.parts.charset.client
    }

    /// Whether statements may be read [byte by byte](is_bytewise).
    pub fn is_bytewise(&self) -> bool {
        is_bytewise(self.charset())
    }

    /// Of all but the schema. Where it is equal a statement's text means the same, as far as that is up to the session.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// What this variable of [`VARIABLES`] was set to; `None`: the server's default.
    pub fn variable(&self, name: &str) -> Option<&[u8]> {
        let variables = &self.parts.variables;
        let at = variables.binary_search_by_key(&name, |(name, _)| name).ok()?;
        variables.get(at).map(|(_, value)| &**value)
    }

    /// As a login with `IGNORE_SPACE` has it, which servers put into `sql_mode` until it is set, or the session reset.
    #[must_use]
    pub(in crate::pooled) fn ignoring_spaces(mut self, ignoring: bool) -> Self {
        self.put("sql_mode", ignoring.then_some(SPACES));
        self
    }

    /// Another schema; none, if empty.
    pub fn set_schema(&mut self, schema: &[u8]) {
        if self.schema() != schema || self.parts.stale {
            self.edit(|parts| (parts.schema, parts.stale) = (schema.into(), false));
        }
    }

    /// This state, but for what says what a text means, which is as in another: the schema, and what the
    /// [fingerprint](Self::fingerprint) is of. To set it disturbs no transaction.
    #[must_use]
    pub fn reading_as(&self, other: &Self) -> Self {
        let mut state = self.clone();
        state.set_schema(other.schema());
        state.edit(|parts| parts.charset = other.parts.charset.clone());
        state.put("sql_mode", other.variable("sql_mode"));
        state
    }

    /// This state on another server, where sessions begin otherwise: what it began with is what it would have begun with there.
    #[must_use]
    pub fn beginning_as(mut self, before: &Self, now: &Self) -> Self {
        if self.parts.charset == before.parts.charset {
            self.edit(|parts| parts.charset = now.parts.charset.clone());
        }
        self
    }

    fn edit(&mut self, edit: impl FnOnce(&mut Parts)) {
        let parts = Arc::make_mut(&mut self.parts);
        edit(parts);
        self.fingerprint = parts.fingerprint();
    }

    /// `None`: the server's default.
    fn set_variable(&mut self, name: &'static str, value: Option<&[u8]>) {
        if let Some(twin) = twin(name) {
            self.put(twin, None);
        }
        if name == MAX_JOIN_SIZE {
            self.put(SQL_BIG_SELECTS, None);
        }
        self.put(name, value);
    }

    fn put(&mut self, name: &'static str, value: Option<&[u8]>) {
        if self.variable(name) == value {
            return;
        }
        self.edit(|Parts { variables, .. }| {
            match (variables.binary_search_by_key(&name, |(name, _)| name), value) {
                (Ok(at), Some(value)) => {
                    if let Some((_, old)) = variables.get_mut(at) {
                        *old = value.into();
                    }
                }
                (Ok(at), None) => drop(variables.remove(at)),
                (Err(at), Some(value)) => variables.insert(at, (name, value.into())),
                (Err(_), None) => {}
            }
        });
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.parts, &other.parts)
            || (self.fingerprint == other.fingerprint && self.parts == other.parts)
    }
}

impl Eq for State {}

#[cfg(test)]
mod tests;
