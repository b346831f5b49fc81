use thiserror::Error;

use super::text::assignments;
use super::variables::{MAX_JOIN_SIZE, SQL_BIG_SELECTS, find, twin};
use super::{Parts, State, Text};
use crate::session::{Change, Changes};
use crate::wire::Short;

/// The longest value that is replayed, in bytes.
const MAX_VALUE: usize = 4096;

const COLLATION: &[u8] = b"collation_connection";

/// Why a session cannot be moved: it has state that cannot be made anew elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Pin {
    /// Something has changed, and neither the statement nor the server says what.
    #[error("its state has changed, nobody says how")]
    Unexplained,
    /// This variable is set, which is none of [`VARIABLES`](super::VARIABLES).
    #[error("the variable {} is set", .0.escape_ascii())]
    Variable(Text),
    /// This variable is set, to what cannot be written down again.
    #[error("nobody says what the variable {} is set to", .0.escape_ascii())]
    Value(Text),
    /// What the server tells cannot be understood.
    #[error("what the server tells of the session is cut short")]
    Malformed,
}

impl From<Short> for Pin {
    fn from(Short: Short) -> Self {
        Self::Malformed
    }
}

/// What the text of a `SET` says of one variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment<'a> {
    /// The variable's name, in any case.
    pub name: &'a [u8],
    /// What it is set to.
    pub value: Literal<'a>,
}

/// What a text says that a variable is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Literal<'a> {
    /// `DEFAULT`
    Default,
    /// `NULL`
    Null,
    /// A number, a word, or what is between quotes.
    Plain(&'a [u8]),
    /// Something that is to be worked out.
    Other,
}

impl<'a> Assignment<'a> {
    /// What `SET NAMES charset COLLATE collation` sets; `COLLATE DEFAULT` is none. Of `SET NAMES DEFAULT` both are
    /// [`Literal::Other`].
    pub fn names(
        charset: Literal<'a>,
        collation: Option<Literal<'a>>,
    ) -> impl Iterator<Item = Self> + Clone {
        let names: [&[u8]; 3] =
            [b"character_set_client", b"character_set_results", b"character_set_connection"];
        let sets = names.into_iter().map(move |name| Self { name, value: charset });
        let collation = collation.map(|value| Self { name: COLLATION, value });
        sets.chain(collation)
    }
}

impl State {
    /// Takes note of what a reply told, whose statement may have been anything.
    ///
    /// # Errors
    /// The session is to be pinned.
    pub fn follow(&mut self, told: Changes<'_>) -> Result<(), Pin> {
        let (mut changed, mut pin) = (false, None);
        for change in told.clone() {
            match change? {
                Change::State(state) => changed |= state,
                Change::Schema(schema) => self.set_schema(schema),
                Change::Variable { name, value } if !is_noise(name) => {
                    if let Err(why) = self.tell(name, value) {
                        pin.get_or_insert(why);
                    }
                }
                _ => {}
            }
        }
        self.tell_collation(told)?;
        match pin {
            // MariaDB tells `timestamp` where it means `last_gtid`, which is no state of the session's.
            Some(Pin::Variable(name)) if !changed && *name == *b"timestamp" => Ok(()),
            Some(pin) => Err(pin),
            None if changed => Err(Pin::Unexplained),
            None => Ok(()),
        }
    }

    /// Takes note of what a reply told, whose statement was certainly nothing but these assignments: `SET`, or `USE` and
    /// `COM_INIT_DB` without any.
    ///
    /// What the server tells counts, and of what it does not tell the text. MariaDB 11.4 tells several variables under the
    /// name of another (all switches that are bits of one word are `autocommit` or whichever came first), or not at all;
    /// no server tells the collation that `SET NAMES` names.
    ///
    /// # Errors
    /// The session is to be pinned.
    pub fn follow_set<'t>(
        &mut self,
        told: Changes<'_>,
        text: impl IntoIterator<Item = Assignment<'t>>,
    ) -> Result<(), Pin> {
        for change in told.clone() {
            match change? {
                Change::Schema(schema) => self.set_schema(schema),
                // What is not known here is known by its name in the text, if it is set at all.
                Change::Variable { name, value } => drop(self.tell(name, value)),
                _ => {}
            }
        }
        self.tell_collation(told.clone())?;
        let (mut pin, mut joins) = (None, 0_u8);
        for Assignment { name, value } in text {
            // Which of the two came last matters, and nobody tells.
            if [MAX_JOIN_SIZE, SQL_BIG_SELECTS].iter().any(|join| is(name, join)) {
                joins = joins.saturating_add(1);
                if joins > 1 {
                    pin.get_or_insert_with(|| Pin::Value(name.into()));
                }
            }
            if let Err(why) = self.assign(name, value, &told) {
                pin.get_or_insert(why);
            }
        }
        pin.map_or(Ok(()), Err)
    }

    /// Takes note of what a reply told, whose statement was certainly nothing but `SET` of session variables or `USE`, as
    /// [`follow_set`](Self::follow_set) does. What the text says is read if it is plain ASCII, without comments.
    ///
    /// # Errors
    /// The session is to be pinned.
    pub fn follow_text(&mut self, told: Changes<'_>, text: &[u8]) -> Result<(), Pin> {
        match assignments(text) {
            Some(sets) => self.follow_set(told, sets),
            None => self.follow(told).and(Err(Pin::Unexplained)),
        }
    }

    /// A variable has a value, but for the collation of the connection.
    fn tell(&mut self, name: &[u8], value: &[u8]) -> Result<(), Pin> {
        if name == COLLATION {
            return Ok(());
        }
        if !is_plain(value) {
            return Err(Pin::Value(name.into()));
        }
        match name {
            b"character_set_client" => self.edit(|parts| parts.charset.client = value.into()),
            b"character_set_results" => self.edit(|parts| parts.charset.results = value.into()),
            // Which sets the collation to its default.
            b"character_set_connection" => self.edit(|Parts { charset, .. }| {
                (charset.connection, charset.collation) = (value.into(), None);
            }),
            name => match find(name) {
                Some(name) => self.set_variable(name, Some(value)),
                None => return Err(Pin::Variable(name.into())),
            },
        }
        Ok(())
    }

    /// It comes after the character set, whatever the order that servers tell them in.
    fn tell_collation(&mut self, told: Changes<'_>) -> Result<(), Short> {
        for change in told {
            if let Change::Variable { name: COLLATION, value } = change?
                && is_plain(value)
            {
                self.set_collation(value);
            }
        }
        Ok(())
    }

    fn set_collation(&mut self, name: &[u8]) {
        self.edit(|Parts { charset, .. }| {
            // MariaDB's short names are of the character set that there is.
            if !name.starts_with(b"uca1400") {
                let of = name.split(|byte| *byte == b'_').next().unwrap_or(name);
                charset.connection = of.to_ascii_lowercase().into();
            }
            charset.collation = Some(name.into());
        });
    }

    /// What the text says, where the server does not tell it.
    fn assign(&mut self, name: &[u8], value: Literal<'_>, told: &Changes<'_>) -> Result<(), Pin> {
        let lower = name.to_ascii_lowercase();
        let known = find(&lower);
        let is_charset = matches!(
            &*lower,
            b"character_set_client"
                | b"character_set_results"
                | b"character_set_connection"
                | COLLATION
        );
        if known.is_none() && !is_charset {
            return Err(Pin::Variable(lower.into()));
        }
        if let Some(value) = value_of(told, &lower, known.and_then(twin)) {
            return match &*lower {
                _ if !is_plain(value) => Err(Pin::Value(lower.into())),
                // The collation may have been set before it, by this text.
                b"character_set_connection" if value_of(told, COLLATION, None).is_none() => {
                    self.tell(&lower, value)
                }
                _ => Ok(()),
            };
        }
        let value = match value {
            Literal::Plain(word) if word.eq_ignore_ascii_case(b"true") => b"1",
            Literal::Plain(word) if word.eq_ignore_ascii_case(b"false") => b"0",
            Literal::Plain(word) if is_plain(word) && !word.is_empty() => word,
            Literal::Null if lower == b"character_set_results" => b"",
            // Without it this one is up to the other, and what is not set is not replayed.
            Literal::Default
                if known == Some(SQL_BIG_SELECTS) && self.variable(MAX_JOIN_SIZE).is_some() =>
            {
                return Err(Pin::Value(lower.into()));
            }
            Literal::Default if let Some(known) = known => {
                self.set_variable(known, None);
                return Ok(());
            }
            _ => return Err(Pin::Value(lower.into())),
        };
        match &*lower {
            COLLATION => self.set_collation(value),
            name => self.tell(name, value)?,
        }
        Ok(())
    }
}

fn is(name: &[u8], known: &str) -> bool {
    name.eq_ignore_ascii_case(known.as_bytes())
}

/// What is told of a variable that may have a second name.
fn value_of<'a>(told: &Changes<'a>, of: &[u8], twin: Option<&str>) -> Option<&'a [u8]> {
    told.clone().find_map(|change| match change {
        Ok(Change::Variable { name, value }) => {
            let is_it = name == of || twin.is_some_and(|twin| name == twin.as_bytes());
            is_it.then_some(value)
        }
        _ => None,
    })
}

/// What is told and is no state: the number of each statement, and of each transaction that was written.
fn is_noise(name: &[u8]) -> bool {
    matches!(name, b"statement_id" | b"last_gtid")
}

/// Whether a value means the same in quotes in every character set and SQL mode.
fn is_plain(value: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-+.,:=/@ ".contains(byte);
    value.len() <= MAX_VALUE && value.iter().all(plain)
}
