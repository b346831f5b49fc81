use std::collections::BTreeMap;

use thiserror::Error;

use super::{Change, Transaction};

/// What is known of a session from what its server told.
///
/// A server tells only what changes, and MySQL only the variables that `session_track_system_variables` names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    schema: Option<Box<[u8]>>,
    variables: BTreeMap<Box<[u8]>, Box<[u8]>>,
    bytes: usize,
    characteristics: Box<[u8]>,
    transaction: Option<Transaction>,
    gtid: Option<Box<[u8]>>,
    changed: bool,
}

/// How much is remembered of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most variables.
    pub variables: usize,
    /// The most bytes of all names and values, of the schema's name, and of each text.
    pub bytes: usize,
}

impl Default for Bounds {
    /// 256 variables, of 64 KiB.
    fn default() -> Self {
        Self { variables: 256, bytes: 64 << 10 }
    }
}

/// A session's state is more than is remembered: it cannot be made anew elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the session's state is over the bound of {0}")]
pub struct TrackError(
    /// The bound's name in [`Bounds`].
    pub &'static str,
);

impl Tracked {
    /// Takes note of a change.
    ///
    /// # Errors
    /// [`TrackError`], and the change is not noted.
    pub fn apply(&mut self, change: Change<'_>, bounds: &Bounds) -> Result<(), TrackError> {
        let fits = |text: &[u8]| match text.len() <= bounds.bytes {
            true => Ok(()),
            false => Err(TrackError("bytes")),
        };
        match change {
            Change::Variable { name, value } => return self.variable(name, value, bounds),
            Change::Schema(name) => {
                fits(name)?;
                self.schema = (!name.is_empty()).then(|| name.into());
            }
            Change::State(changed) => self.changed |= changed,
            Change::Gtid(text) => {
                fits(text)?;
                self.gtid = Some(text.into());
            }
            Change::Characteristics(text) => {
                fits(text)?;
                self.characteristics = text.into();
            }
            Change::Transaction(state) => self.transaction = Some(state),
            Change::Unknown(_) => {}
        }
        Ok(())
    }

    /// The current schema, if one was told.
    pub fn schema(&self) -> Option<&[u8]> {
        self.schema.as_deref()
    }

    /// The variables that were told, and their values, by name.
    pub fn variables(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.variables.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The statements that begin a transaction like the one that is open.
    pub fn characteristics(&self) -> &[u8] {
        &self.characteristics
    }

    /// The transaction's state, if it was told: MySQL does with `session_track_transaction_info`.
    pub fn transaction(&self) -> Option<Transaction> {
        self.transaction
    }

    /// The transactions that the session wrote last.
    pub fn gtid(&self) -> Option<&[u8]> {
        self.gtid.as_deref()
    }

    /// Whether anything of the session's was said to have changed, of whatever kind.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    fn variable(&mut self, name: &[u8], value: &[u8], bounds: &Bounds) -> Result<(), TrackError> {
        let before = self.variables.get(name);
        if before.is_none() && self.variables.len() >= bounds.variables {
            return Err(TrackError("variables"));
        }
        let gone = before.map_or(0, |before| before.len().saturating_add(name.len()));
        let come = name.len().saturating_add(value.len());
        let bytes = self.bytes.saturating_sub(gone).saturating_add(come);
        if bytes > bounds.bytes {
            return Err(TrackError("bytes"));
        }
        self.bytes = bytes;
        self.variables.insert(name.into(), value.into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable<'a>(name: &'a str, value: &'a str) -> Change<'a> {
        Change::Variable { name: name.as_bytes(), value: value.as_bytes() }
    }

    #[test]
    fn the_last_word_counts() {
        let (mut session, bounds) = (Tracked::default(), Bounds::default());
        for change in [
            variable("autocommit", "ON"),
            variable("time_zone", "+05:00"),
            variable("autocommit", "OFF"),
            Change::Schema(b"test"),
            Change::Schema(b"mysql"),
            Change::State(true),
            Change::State(false),
            Change::Gtid(b"u:1-5"),
            Change::Characteristics(b"START TRANSACTION READ ONLY;"),
            Change::Transaction(Transaction::NONE),
            Change::Unknown(77),
        ] {
            session.apply(change, &bounds).expect("it is little");
        }
        let variables: Vec<_> = session.variables().collect();
        assert_eq!(variables, [(&b"autocommit"[..], &b"OFF"[..]), (b"time_zone", b"+05:00")]);
        assert_eq!(session.schema(), Some(&b"mysql"[..]));
        assert_eq!(session.gtid(), Some(&b"u:1-5"[..]));
        assert_eq!(session.characteristics(), b"START TRANSACTION READ ONLY;");
        assert_eq!(session.transaction(), Some(Transaction::NONE));
        assert!(session.is_changed());
        session.apply(Change::Schema(b""), &bounds).expect("it is little");
        assert_eq!(session.schema(), None, "the schema was dropped");
    }

    #[test]
    fn bounds_are_kept() {
        let (mut session, bounds) = (Tracked::default(), Bounds { variables: 2, bytes: 10 });
        assert_eq!(session.apply(variable("a", "123"), &bounds), Ok(()));
        assert_eq!(session.apply(variable("b", "123"), &bounds), Ok(()));
        assert_eq!(session.apply(variable("c", ""), &bounds), Err(TrackError("variables")));
        assert_eq!(session.apply(variable("a", "123456"), &bounds), Err(TrackError("bytes")));
        // What is replaced makes room.
        assert_eq!(session.apply(variable("a", "12345"), &bounds), Ok(()));
        assert_eq!(
            session.apply(Change::Schema(b"12345678901"), &bounds),
            Err(TrackError("bytes"))
        );
        assert_eq!(session.schema(), None);
        assert_eq!(session.variables().count(), 2);
    }
}
