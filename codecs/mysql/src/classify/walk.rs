//! From token to token.

use super::{
    Diagnostics, Pin, Traits,
    functions::{Call, minds_blanks},
    set::{Event, Scope, judge},
    statement::{Last, Position, Statement, Trail},
    variables,
    word::{Key, Verb, is_one_of},
};
use crate::digest::scan::{Scanner, Token};

/// Follows a text.
pub(super) struct Walk<'a> {
    ignore_space: bool,
    traits: Traits,
    statement: Statement<'a>,
    statements: u8,
    explained: bool,
    /// What the statements so far have said anew.
    fresh: Diagnostics,
    /// One of them inserts.
    inserts: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(ignore_space: bool) -> Self {
        Self {
            ignore_space,
            traits: Traits::default(),
            statement: Statement::default(),
            statements: 0,
            explained: true,
            fresh: Diagnostics::NONE,
            inserts: false,
        }
    }

    /// The scanner is behind the token.
    #[inline]
    pub(super) fn step(&mut self, token: Token<'a>, scanner: &Scanner<'a>) {
        if token == Token::Semicolon {
            return self.end_statement();
        }
        self.statement.code(token, scanner.in_code());
        if self.statement.verb == Some(Verb::Set) && self.set(token, scanner.rest()) {
            return;
        }
        let last = std::mem::replace(&mut self.statement.last, Last::Other);
        let next = match token {
            Token::Word(word) => self.word(word, last, scanner.rest().len()),
            Token::Quoted(name) => self.quoted(name, last),
            Token::Variable(name) => self.variable(name, last),
            Token::Address => {
                self.user_variable(last);
                Last::Other
            }
            Token::Literal => {
                if matches!(last, Last::System | Last::SystemDot) {
                    // A name in double quotes, perhaps.
                    self.traits.pin(Pin::Unclear);
                }
                self.statement.position = Position::Expression;
                Last::Literal
            }
            Token::Open => self.open(last, scanner.rest().len()),
            Token::Close => {
                self.statement.depth = self.statement.depth.saturating_sub(1);
                if matches!(last, Last::IdCall) {
                    self.statement.asks_for(Diagnostics::LAST_INSERT_ID);
                }
                self.statement.position = Position::Expression;
                Last::Other
            }
            Token::Dot => self.dot(last),
            Token::HintOpen | Token::HintClose => {
                self.statement.in_hint = token == Token::HintOpen;
                Last::Other
            }
            Token::Comma if self.statement.with && self.statement.depth == 0 => {
                self.statement.position = Position::Name;
                Last::Other
            }
            Token::Number
            | Token::Sign(_)
            | Token::Operator(_)
            | Token::Comma
            | Token::Semicolon => {
                self.statement.position = Position::Expression;
                Last::Other
            }
        };
        if matches!(last, Last::IdCall) && token != Token::Close {
            self.traits.sets_last_insert_id = true;
            self.statement.writes = true;
        }
        self.statement.last = next;
    }

    pub(super) fn finish(mut self) -> Traits {
        self.end_statement();
        let Self { mut traits, statements, explained, .. } = self;
        traits.explained = explained && statements > 0 && traits.pin.is_none();
        traits.multi = statements > 1;
        let alone = statements == 1 && traits.pin.is_none();
        traits.may_read &= alone;
        traits.looks &= alone;
        traits
    }

    fn end_statement(&mut self) {
        let statement = std::mem::take(&mut self.statement);
        let Some(verb) = statement.verb else {
            if statement.in_code || statement.outside {
                self.statements = self.statements.saturating_add(1);
                self.traits.pin(Pin::Unknown);
            }
            return;
        };
        self.statements = self.statements.saturating_add(1);
        if statement.in_code && statement.outside && statement.matters {
            self.traits.pin(Pin::Unclear);
        }
        let calls = match verb {
            Verb::Define => statement.selects,
            Verb::Bare | Verb::Pin(_) => false,
            _ => true,
        };
        if statement.unknown_call && calls {
            self.traits.pin(Pin::Function);
        }
        let explained = match verb {
            Verb::Set if !statement.assignments.is_whole() => {
                self.traits.pin(Pin::Variable);
                false
            }
            Verb::Set => statement.explained,
            Verb::Use => statement.words == 2 || matches!(statement.last, Last::Quoted),
            _ => false,
        };
        self.explained &= explained;
        self.traits.asks_at_all = self.traits.asks_at_all.and(statement.asks);
        let mut asks = statement.asks.without(self.fresh);
        if self.inserts && asks.has(Diagnostics::LAST_INSERT_ID) {
            self.traits.asks_made_id = true;
            asks = asks.without(Diagnostics::LAST_INSERT_ID);
        }
        self.traits.asks = self.traits.asks.and(asks);
        self.inserts |= verb == Verb::Insert;
        let harmless = !statement.writes && !statement.into;
        self.traits.looks = statement.looks && harmless;
        self.traits.may_read = verb == Verb::Select
            && harmless
            && !statement.no_read
            && statement.asks.is_empty()
            && !self.traits.calc_found_rows;
        let counts = statement.sets(verb);
        self.traits.counts = self.traits.counts.and(counts);
        self.fresh = self.fresh.and(counts).and(match verb {
            // What uses no table need not clear the warnings.
            Verb::Select if statement.from && !statement.into => Diagnostics::WARNINGS,
            Verb::Insert | Verb::Change => Diagnostics::WARNINGS,
            _ => Diagnostics::NONE,
        });
    }

    /// In a `SET`. Whether another statement begins behind the token.
    fn set(&mut self, token: Token<'a>, rest: &[u8]) -> bool {
        match self.statement.assignments.step(token) {
            Event::None | Event::Names | Event::Transaction(Scope::Session) => {}
            Event::Assigned(assigned) => match judge(assigned, rest) {
                Ok(explained) => self.statement.explained &= explained,
                Err(pin) => self.traits.pin(pin),
            },
            Event::Transaction(Scope::Any) => self.traits.pin(Pin::NextTransaction),
            Event::Transaction(Scope::Server) | Event::Nothing => {
                self.statement.explained = false;
            }
            Event::Pin(pin) => self.traits.pin(pin),
            Event::Inner => {
                self.explained = false;
                // What is set is set for the statement that follows alone.
                let Statement { in_code, outside, matters, last_in_code, asks, .. } =
                    std::mem::take(&mut self.statement);
                self.statement = Statement {
                    in_code,
                    outside,
                    matters,
                    last_in_code,
                    asks,
                    ..Statement::default()
                };
                return true;
            }
        }
        false
    }

    #[inline]
    fn word(&mut self, word: &'a [u8], last: Last<'a>, left: usize) -> Last<'a> {
        // What is no UTF-8 may be a blank in the session's character set; newer servers quote strings with dollars.
        if word.starts_with(b"$") || !word.is_ascii() && std::str::from_utf8(word).is_err() {
            self.traits.pin(Pin::Unclear);
        }
        let statement = &mut self.statement;
        match last {
            Last::SystemDot => {
                self.system(word);
                return Last::System;
            }
            Last::Dot => {
                statement.qualified = true;
                // MariaDB's way to take from a sequence where it speaks as Oracle does.
                statement.writes |= is_one_of(word, &["nextval", "currval"]);
                statement.name();
                return Last::Word(word, left);
            }
            _ => {}
        }
        if statement.in_hint {
            return Last::Other;
        }
        statement.qualified = false;
        let Some(verb) = statement.verb else {
            self.begin(word);
            return Last::Word(word, left);
        };
        if statement.words < 4 {
            statement.words = statement.words.saturating_add(1);
            if statement.words == 2 {
                statement.second = word;
            }
            self.early(verb, word);
        }
        self.key(verb, word);
        Last::Word(word, left)
    }

    /// The first word.
    fn begin(&mut self, word: &'a [u8]) {
        let verb = Verb::of(word);
        let statement = &mut self.statement;
        statement.verb = Some(verb);
        statement.words = 1;
        statement.explained = true;
        match verb {
            Verb::Pin(pin) => self.traits.pin(pin),
            Verb::Insert => statement.position = Position::Name,
            Verb::Get => self.statement.asks_for(Diagnostics::WARNINGS),
            Verb::Show => statement.looks = true,
            Verb::Kill => self.traits.kills = true,
            Verb::Use => self.traits.uses = true,
            Verb::Begin => self.traits.begins = true,
            Verb::Select => {
                statement.selects = true;
                // What follows a list of `WITH` may as well write.
                statement.looks = !is_one_of(word, &["with"]);
                statement.counts = is_one_of(word, &["select", "table"]);
                if is_one_of(word, &["with", "table"]) {
                    statement.position = Position::Name;
                    statement.from = true;
                    statement.with = is_one_of(word, &["with"]);
                }
            }
            _ => {}
        }
    }

    /// The second, third or fourth word.
    fn early(&mut self, verb: Verb, word: &[u8]) {
        let second = self.statement.words == 2;
        match verb {
            Verb::Begin if second && !is_one_of(word, &["work"]) => self.traits.pin(Pin::Routine),
            Verb::Start if second => self.traits.begins |= is_one_of(word, &["transaction"]),
            Verb::Lock if second => self.traits.pin(if is_one_of(word, &["instance"]) {
                Pin::Backup
            } else {
                Pin::LockedTables
            }),
            // Of these, `DROP` alone is followed by that.
            Verb::Bare if second => {
                self.traits.drops_schema |= is_one_of(word, &["database", "schema"]);
            }
            Verb::Define if is_one_of(word, &["temporary"]) => {
                self.traits.pin(Pin::TemporaryTable);
            }
            Verb::Show if is_one_of(word, &["warnings", "errors"]) => {
                let counted =
                    self.statement.words == 3 && is_one_of(self.statement.second, &["count"]);
                if second || counted {
                    self.statement.asks_for(Diagnostics::WARNINGS);
                }
            }
            _ => {}
        }
    }

    /// A word that may matter wherever it is.
    #[inline]
    fn key(&mut self, verb: Verb, word: &'a [u8]) {
        let statement = &mut self.statement;
        if statement.position == Position::Name {
            let goes_on = is_one_of(word, &BEFORE_NAMES);
            statement.position = if goes_on { Position::Name } else { Position::Named };
        } else if statement.position == Position::Named {
            statement.position = Position::Expression;
        }
        if statement.with && statement.depth == 0 && Verb::of(word) != Verb::Pin(Pin::Unknown) {
            statement.with = false;
            statement.counts = is_one_of(word, &["select"]);
        }
        let key = Key::of(word);
        let trail = std::mem::take(&mut statement.trail);
        match key {
            Key::Other => {}
            Key::As | Key::With | Key::Table => statement.position = Position::Name,
            Key::Into => {
                statement.into = true;
                statement.position = Position::Name;
            }
            Key::CalcFoundRows => self.traits.calc_found_rows = true,
            Key::From => statement.from = true,
            Key::Select => {
                statement.selects = true;
                if verb == Verb::Set {
                    statement.explained = false;
                }
            }
            Key::For => match trail {
                Trail::NextValue => {
                    statement.writes = true;
                    self.traits.takes_value = true;
                }
                Trail::PreviousValue => self.statement.asks_for(Diagnostics::LAST_VALUE),
                _ => statement.trail = Trail::For,
            },
            Key::Update | Key::Share => statement.writes |= trail == Trail::For,
            Key::Lock => statement.writes = true,
            Key::Next => statement.trail = Trail::Next,
            Key::Previous => statement.trail = Trail::Previous,
            Key::Value => {
                statement.trail = match trail {
                    Trail::Next => Trail::NextValue,
                    Trail::Previous => Trail::PreviousValue,
                    _ => Trail::None,
                }
            }
            Key::Returning => self.traits.sets_last_insert_id |= verb == Verb::Insert,
            Key::Export => {
                if verb == Verb::Flush {
                    self.traits.pin(Pin::FlushedTables);
                }
            }
            Key::Temporary => {}
        }
        if key == Key::With && verb == Verb::Flush {
            self.traits.pin(Pin::FlushedTables);
        }
    }

    fn quoted(&mut self, name: &[u8], last: Last<'a>) -> Last<'a> {
        match last {
            Last::System | Last::SystemDot => {
                self.system(name);
                return Last::System;
            }
            Last::Dot => self.statement.qualified = true,
            _ => self.statement.qualified = false,
        }
        self.statement.trail = Trail::None;
        self.statement.name();
        Last::Quoted
    }

    fn variable(&mut self, name: &'a [u8], last: Last<'a>) -> Last<'a> {
        self.statement.position = Position::Expression;
        let Some(names) = name.strip_prefix(b"@@") else {
            self.user_variable(last);
            return Last::Other;
        };
        for name in names.split(|byte| *byte == b'.') {
            self.system(name);
        }
        if names.is_empty() || names.ends_with(b".") { Last::SystemDot } else { Last::System }
    }

    /// A variable of one's own, or the second part of an account's name.
    fn user_variable(&mut self, last: Last<'a>) {
        let account = match self.statement.verb {
            Some(Verb::Bare) => true,
            // No expression goes on like that.
            Some(Verb::Define | Verb::Show) => matches!(last, Last::Quoted | Last::Literal),
            _ => false,
        };
        if !account {
            self.traits.pin(Pin::UserVariable);
        }
    }

    /// A part of the name of a system variable.
    fn system(&mut self, name: &[u8]) {
        self.statement.no_read = true;
        if self.statement.verb == Some(Verb::Set) && !self.statement.assignments.in_value() {
            return;
        }
        self.statement.asks_for(variables::asks(name));
        self.traits.connection_id |= is_one_of(name, &["pseudo_thread_id"]);
    }

    fn dot(&mut self, last: Last<'a>) -> Last<'a> {
        let statement = &mut self.statement;
        if statement.position == Position::Named {
            statement.position = Position::Name;
        }
        match last {
            Last::System | Last::SystemDot => Last::SystemDot,
            _ => Last::Dot,
        }
    }

    fn open(&mut self, last: Last<'a>, left: usize) -> Last<'a> {
        let statement = &mut self.statement;
        statement.depth = statement.depth.saturating_add(1);
        let named = std::mem::take(&mut statement.position) != Position::Expression;
        let qualified = std::mem::take(&mut statement.qualified);
        match last {
            Last::Word(..) | Last::Quoted if named || statement.in_hint => Last::Other,
            Last::Word(word, left_behind) if !qualified => {
                let spaced = left_behind > left.saturating_add(1);
                self.call(word, spaced)
            }
            Last::Word(..) | Last::Quoted => {
                statement.unknown_call = true;
                Last::Other
            }
            _ => Last::Other,
        }
    }

    fn call(&mut self, name: &[u8], spaced: bool) -> Last<'a> {
        match Call::of(name) {
            Call::Plain => {
                self.statement.unknown_call |= spaced && !self.ignore_space && minds_blanks(name);
            }
            Call::Lock => self.traits.pin(Pin::NamedLock),
            Call::LastInsertId => return Last::IdCall,
            Call::FoundRows => self.statement.asks_for(Diagnostics::FOUND_ROWS),
            Call::RowCount => self.statement.asks_for(Diagnostics::ROW_COUNT),
            Call::Take => {
                self.traits.takes_value = true;
                self.statement.writes = true;
            }
            Call::LastValue => self.statement.asks_for(Diagnostics::LAST_VALUE),
            Call::ConnectionId => {
                self.traits.connection_id = true;
                self.statement.no_read = true;
            }
            Call::Unknown => self.statement.unknown_call = true,
        }
        Last::Other
    }
}

/// What may stand between a verb and the name of a table.
const BEFORE_NAMES: [&str; 8] =
    ["ignore", "low_priority", "high_priority", "delayed", "into", "table", "recursive", "exists"];
