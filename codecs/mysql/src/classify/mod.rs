//! What the text of a statement certainly says of the session: what it leaves behind on a connection, what of a
//! connection's past it asks for, and whether it only reads.
//!
//! No grammar is known, only tokens: where they could mean one thing or another, the answer is the one that keeps a
//! connection with its client. What is hidden from the text (triggers, views, stored functions under a view) is for the
//! server to tell.

mod functions;
mod hint;
mod pin;
mod reads;
mod set;
mod statement;
mod variables;
mod walk;
mod word;

pub use self::{hint::Hints, pin::Pin, reads::ReadCache};

use self::walk::Walk;
use crate::digest::{Charset, Dialect, scan::Scanner};

/// The hint that says where a statement is to go, and the header that it is.
pub(crate) const ROUTE: &str = "route";

/// How a text is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What the session's state says of quotes and characters.
    pub dialect: Dialect,
    /// The session's `sql_mode` is not known: `ANSI_QUOTES` in the dialect is a guess.
    pub guessed: bool,
    /// Blanks may stand between a function's name and its parentheses: `IGNORE_SPACE` in `sql_mode`, which the
    /// capability of that name sets, too.
    pub ignore_space: bool,
    /// The text is the beginning of a statement only.
    pub cut: bool,
}

/// What of a connection's past a statement asks for: what its own earlier statements left there.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Diagnostics(u8);

impl Diagnostics {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Conditions of the statement before: `SHOW WARNINGS`, `SHOW ERRORS`, their counts, `GET DIAGNOSTICS`,
    /// `@@warning_count`, `@@error_count`.
    pub const WARNINGS: Self = Self(1);
    /// `FOUND_ROWS()`.
    pub const FOUND_ROWS: Self = Self(1 << 1);
    /// `ROW_COUNT()`.
    pub const ROW_COUNT: Self = Self(1 << 2);
    /// `LAST_INSERT_ID()`, `@@last_insert_id`, `@@identity`, `@@insert_id`.
    pub const LAST_INSERT_ID: Self = Self(1 << 3);
    /// MariaDB: `LASTVAL()`, `PREVIOUS VALUE FOR`, what the connection took from a sequence.
    pub const LAST_VALUE: Self = Self(1 << 4);
    /// MariaDB: `@@last_gtid`.
    pub const LAST_GTID: Self = Self(1 << 5);

    const ALL: [(Self, &'static str); 6] = [
        (Self::WARNINGS, "warnings"),
        (Self::FOUND_ROWS, "FOUND_ROWS()"),
        (Self::ROW_COUNT, "ROW_COUNT()"),
        (Self::LAST_INSERT_ID, "LAST_INSERT_ID()"),
        (Self::LAST_VALUE, "LASTVAL()"),
        (Self::LAST_GTID, "@@last_gtid"),
    ];

    /// Whether nothing is asked for.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is asked for.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// All but `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What is asked for, in words.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().filter(move |(one, _)| self.has(*one)).map(|(_, name)| name)
    }
}

impl std::fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// What a text says for certain. Of several statements in one text, all of it together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// It is nothing but `USE`, and `SET` of variables that can be replayed, to whatever: a notice that the session's
    /// state has changed is about these.
    pub explained: bool,
    /// It leaves something on the connection that nothing else may tell of; of several, what lasts longest.
    pub pin: Option<Pin>,
    /// What it asks for that is older than the text.
    pub asks: Diagnostics,
    /// What it asks for at all: [`asks`](Self::asks), and what earlier statements of the same text say anew.
    pub asks_at_all: Diagnostics,
    /// Which of the counters that [`FOUND_ROWS`](Diagnostics::FOUND_ROWS) and [`ROW_COUNT`](Diagnostics::ROW_COUNT) ask for it
    /// certainly sets, if it succeeds: servers leave them as they are with more statements than one would think.
    pub counts: Diagnostics,
    /// It asks for `LAST_INSERT_ID()` behind a statement of the same text that may make one.
    pub asks_made_id: bool,
    /// `SQL_CALC_FOUND_ROWS`: `FOUND_ROWS()` may follow.
    pub calc_found_rows: bool,
    /// It sets what `LAST_INSERT_ID()` says, and its reply need not tell: `LAST_INSERT_ID(x)`, `INSERT ... RETURNING`.
    pub sets_last_insert_id: bool,
    /// MariaDB: it takes from a sequence, so that `LASTVAL()` may follow.
    pub takes_value: bool,
    /// It asks for the connection's number, `CONNECTION_ID()` or `@@pseudo_thread_id`, which is not the client's.
    pub connection_id: bool,
    /// It ends what another connection does, or is among others: `KILL`.
    pub kills: bool,
    /// It is one statement that may be a read, by what it begins with and what is not in it. [`ReadCache`] knows for
    /// certain.
    pub may_read: bool,
    /// It is one statement that begins with `SELECT`, `TABLE`, `VALUES` or `SHOW`, and nothing in it is known to write, to lock or to
    /// leave something behind. What it calls or selects from may do so.
    pub looks: bool,
    /// It opens a transaction.
    pub begins: bool,
    /// One of its statements is a `USE`.
    pub uses: bool,
    /// One of its statements drops a schema, which may be the session's.
    pub drops_schema: bool,
    /// There is more than one statement.
    pub multi: bool,
    /// Where in the text it is what the client tells the proxy, in bytes.
    note: Option<(usize, usize)>,
}

impl Traits {
    /// What the client tells the proxy in a comment, `/* wiremesh: route=replica */`. `text`: what was classified.
    pub fn hints<'a>(&self, text: &'a [u8]) -> Hints<'a> {
        let note = self.note.and_then(|(start, end)| text.get(start..end));
        Hints::new(note.unwrap_or_default())
    }

    /// Where the client wants the statement to go: the hint `route`.
    pub(crate) fn route<'a>(&self, text: &'a [u8]) -> Option<&'a str> {
        let mut hints = self.hints(text);
        hints.find_map(|(key, value)| key.eq_ignore_ascii_case(ROUTE).then_some(value))
    }
}

/// What a statement's text says, or that of several that were sent as one.
///
/// One pass over the text; nothing is allocated, and any bytes will do.
pub fn classify(text: &[u8], reading: Reading) -> Traits {
    let mut scanner = Scanner::new(text, reading.dialect);
    let mut walk = Walk::new(reading.ignore_space);
    while let Some(token) = scanner.next() {
        walk.step(token, &scanner);
    }
    let mut traits = walk.finish();
    if let Some(note) = scanner.note() {
        let start = (note.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        traits.note = Some((start, start.saturating_add(note.len())));
    }
    let unclear = scanner.is_doubtful()
        || reading.guessed && scanner.is_escaped()
        || reading.dialect.charset != Charset::Plain && !text.is_ascii();
    if reading.cut {
        traits.pin(Pin::Cut);
    } else if unclear {
        traits.pin(Pin::Unclear);
    }
    if traits.pin >= Some(Pin::Unclear) {
        traits.counts = Diagnostics::NONE;
    }
    traits
}

impl Traits {
    fn pin(&mut self, pin: Pin) {
        self.pin = self.pin.max(Some(pin));
        self.may_read = false;
        self.looks = false;
        self.explained = false;
    }
}

#[cfg(test)]
mod tests;
