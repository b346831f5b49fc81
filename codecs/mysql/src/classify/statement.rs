//! What is known of one of the statements of a text.

use super::{
    Diagnostics, Pin,
    set::Assignments,
    word::{Verb, is_one_of},
};
use crate::digest::scan::Token;

/// What the last token was.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Last<'a> {
    #[default]
    Other,
    /// A word, and how much was left behind it.
    Word(&'a [u8], usize),
    Quoted,
    Literal,
    Dot,
    /// `@@`, with a name or without.
    System,
    /// A dot behind it.
    SystemDot,
    /// `LAST_INSERT_ID(`.
    IdCall,
}

/// Whether parentheses that follow are those of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Position {
    #[default]
    Expression,
    /// A name comes that may have a list of columns.
    Name,
    /// It was there.
    Named,
}

/// How far something in three words has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Trail {
    #[default]
    None,
    For,
    Next,
    Previous,
    NextValue,
    PreviousValue,
}

/// A statement, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Statement<'a> {
    pub verb: Option<Verb>,
    /// How many words there were, the verb included; no more than are counted.
    pub words: u8,
    /// The second.
    pub second: &'a [u8],
    pub last: Last<'a>,
    pub position: Position,
    pub trail: Trail,
    pub qualified: bool,
    /// In the list of `WITH`, outside of its parentheses if `depth` is 0.
    pub with: bool,
    pub depth: usize,
    pub in_hint: bool,
    pub assignments: Assignments<'a>,
    /// Its state-change notice would be explained, as far as it was read.
    pub explained: bool,
    pub unknown_call: bool,
    pub selects: bool,
    pub from: bool,
    pub into: bool,
    /// It is a `SELECT` itself, behind the list of `WITH` if there is one.
    pub counts: bool,
    /// It begins like one that only looks at something.
    pub looks: bool,
    /// It is about the very server that it is sent to.
    pub no_read: bool,
    /// It may write or lock.
    pub writes: bool,
    pub asks: Diagnostics,
    /// There are tokens in comments that some servers execute, and outside of these.
    pub in_code: bool,
    pub outside: bool,
    /// What is in them may change what the rest means.
    pub matters: bool,
    pub last_in_code: bool,
}

impl Statement<'_> {
    /// What is executed on some servers only must not change the meaning of the rest.
    #[inline]
    pub fn code(&mut self, token: Token<'_>, in_code: bool) {
        if in_code {
            self.in_code = true;
            self.matters |= match token {
                Token::Word(word) => !is_one_of(word, HARMLESS),
                _ => true,
            };
        } else {
            self.outside = true;
            self.matters |= self.last_in_code && token == Token::Open;
        }
        self.last_in_code = in_code;
    }

    /// It asks for this.
    pub fn asks_for(&mut self, what: Diagnostics) {
        self.asks = self.asks.and(what);
    }

    /// Which counters it sets if it succeeds, and, but for `FOUND_ROWS()`, if it fails: as MySQL 8.0 and MariaDB 10.11 and 11.4 were seen to
    /// do it, all of them.
    pub fn sets(&self, verb: Verb) -> Diagnostics {
        // Some servers take it for nothing.
        if self.in_code && !self.outside {
            return Diagnostics::NONE;
        }
        match verb {
            Verb::Select if self.counts => Diagnostics::ROW_COUNT.and(Diagnostics::FOUND_ROWS),
            // That of another connection fails and sets nothing, with MariaDB.
            Verb::Explain => Diagnostics::NONE,
            Verb::Show if is_one_of(self.second, &["analyze", "explain"]) => Diagnostics::NONE,
            Verb::Get => Diagnostics::NONE,
            // A block of statements, of which none need be executed; as in a routine, with MySQL.
            Verb::Begin if self.words > 1 && !is_one_of(self.second, &["work"]) => {
                Diagnostics::NONE
            }
            Verb::Pin(Pin::Handler | Pin::Xa | Pin::Backup) => Diagnostics::ROW_COUNT,
            Verb::Pin(_) => Diagnostics::NONE,
            _ => Diagnostics::ROW_COUNT,
        }
    }

    /// A name that is no word of the grammar.
    #[inline]
    pub fn name(&mut self) {
        self.position = match self.position {
            Position::Name => Position::Named,
            Position::Expression | Position::Named => Position::Expression,
        };
    }
}

/// What may be left out of a statement, or not, without a change of what matters here.
const HARMLESS: &[&str] = &[
    "sql_no_cache",
    "sql_cache",
    "straight_join",
    "ignore",
    "high_priority",
    "low_priority",
    "with",
    "consistent",
    "snapshot",
    "if",
    "not",
    "exists",
];
