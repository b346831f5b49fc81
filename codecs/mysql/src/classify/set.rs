//! `SET`.

use super::{Pin, variables, word::is_one_of};
use crate::digest::scan::Token;

/// Whose variable is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Scope {
    /// It is not said.
    #[default]
    Any,
    Session,
    /// The server's, now or after its next start.
    Server,
}

impl Scope {
    fn of(word: &[u8]) -> Option<Self> {
        if is_one_of(word, &["session", "local"]) {
            Some(Self::Session)
        } else if is_one_of(word, &["global", "persist", "persist_only"]) {
            Some(Self::Server)
        } else {
            None
        }
    }
}

/// The target of an assignment, its value being next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Assigned<'a> {
    pub(super) name: &'a [u8],
    pub(super) scope: Scope,
    /// It was written with `@@`.
    pub(super) at: bool,
    /// It has a part before the name that is no scope.
    pub(super) dotted: bool,
    /// The scope was said of a variable before it: some servers take it for this one, too.
    pub(super) carried: bool,
}

/// What a token of a `SET` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    None,
    Assigned(Assigned<'a>),
    Names,
    Transaction(Scope),
    /// It changes accounts or the server, and nothing of the session's.
    Nothing,
    Pin(Pin),
    /// `SET STATEMENT ... FOR`: what follows is a statement.
    Inner,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the target of an assignment.
    #[default]
    Target,
    /// Behind `GLOBAL` or the like.
    Scoped,
    /// Behind `@@` alone.
    At,
    /// Behind a name.
    Name,
    /// Behind a name and a dot.
    Dot,
    /// Behind `@` and whatever follows it.
    User,
    Value,
    Character,
    Default,
    Resource,
    /// What follows does not matter.
    Rest,
}

/// Reads what follows `SET`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Assignments<'a> {
    state: State,
    name: &'a [u8],
    scope: Scope,
    at: bool,
    dotted: bool,
    /// The scope that was said last in a word of its own.
    last_scope: Scope,
    carried: bool,
    /// `SET STATEMENT`.
    statement: bool,
    depth: usize,
}

impl<'a> Assignments<'a> {
    /// Whether what comes is (a part of) a value, not of a target.
    pub(super) fn in_value(&self) -> bool {
        self.state == State::Value
    }

    /// Whether it may end here.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.state, State::Value | State::Rest) && !self.statement
    }

    pub(super) fn step(&mut self, token: Token<'a>) -> Event<'a> {
        match (self.state, token) {
            (State::Rest, _) => Event::None,
            (State::Value, token) => self.value(token),
            (State::Target, Token::Word(word)) => self.word(word),
            (State::Scoped, Token::Word(word)) if is_one_of(word, &["transaction"]) => {
                self.state = State::Rest;
                Event::Transaction(self.scope)
            }
            (State::Scoped | State::Target, Token::Word(name) | Token::Quoted(name)) => {
                self.named(name)
            }
            (State::At, Token::Word(name) | Token::Quoted(name)) => self.part(name),
            (State::Target, Token::Variable(name)) => self.variable(name),
            (State::Target, Token::Address) => self.to(State::User),
            // What stands behind `@` in quotes.
            (State::User, Token::Literal | Token::Quoted(_)) => Event::None,
            (State::User, Token::Operator(b"=" | b":=")) => self.to(State::Value),
            (State::Name, Token::Operator(b"=" | b":=")) => {
                self.state = State::Value;
                Event::Assigned(Assigned {
                    name: self.name,
                    scope: self.scope,
                    at: self.at,
                    dotted: self.dotted,
                    carried: self.carried,
                })
            }
            (State::Name, Token::Dot) => self.to(State::Dot),
            (State::Dot, Token::Word(name) | Token::Quoted(name)) => self.part(name),
            (State::Character, Token::Word(word)) if is_one_of(word, &["set"]) => {
                self.state = State::Value;
                Event::Names
            }
            (State::Default, Token::Word(word)) if is_one_of(word, &["role"]) => {
                self.state = State::Rest;
                Event::Nothing
            }
            (State::Resource, Token::Word(word)) if is_one_of(word, &["group"]) => {
                self.rest(Pin::ResourceGroup)
            }
            _ => self.rest(Pin::Variable),
        }
    }

    fn to(&mut self, state: State) -> Event<'a> {
        self.state = state;
        Event::None
    }

    fn rest(&mut self, pin: Pin) -> Event<'a> {
        self.state = State::Rest;
        Event::Pin(pin)
    }

    fn named(&mut self, name: &'a [u8]) -> Event<'a> {
        self.name = name;
        self.to(State::Name)
    }

    /// The next part of a name with dots.
    fn part(&mut self, name: &'a [u8]) -> Event<'a> {
        if self.state == State::Dot {
            match Scope::of(self.name).filter(|_| self.at && !self.dotted) {
                Some(scope) => self.scope = scope,
                None => self.dotted = true,
            }
        }
        self.named(name)
    }

    fn variable(&mut self, text: &'a [u8]) -> Event<'a> {
        let Some(names) = text.strip_prefix(b"@@") else { return self.to(State::User) };
        (self.at, self.scope, self.carried) = (true, Scope::Any, false);
        if names.is_empty() {
            return self.to(State::At);
        }
        for name in names.split(|byte| *byte == b'.') {
            if name.is_empty() {
                // What is behind the dot is in quotes.
                return self.to(State::Dot);
            }
            self.part(name);
            self.state = State::Dot;
        }
        self.to(State::Name)
    }

    fn word(&mut self, word: &'a [u8]) -> Event<'a> {
        if let Some(scope) = Scope::of(word) {
            (self.scope, self.last_scope, self.carried) = (scope, scope, false);
            return self.to(State::Scoped);
        }
        let is = |other: &str| is_one_of(word, &[other]);
        match word.len() {
            5 if is("names") => {
                self.state = State::Value;
                Event::Names
            }
            7 if is("charset") => {
                self.state = State::Value;
                Event::Names
            }
            4 if is("char") => self.to(State::Character),
            9 if is("character") => self.to(State::Character),
            8 if is("password") => {
                self.state = State::Rest;
                Event::Nothing
            }
            4 if is("role") => self.rest(Pin::Role),
            7 if is("default") => self.to(State::Default),
            8 if is("resource") => self.to(State::Resource),
            11 if is("transaction") => {
                self.state = State::Rest;
                Event::Transaction(Scope::Any)
            }
            9 if is("statement") && !self.statement => {
                self.statement = true;
                Event::None
            }
            _ => self.named(word),
        }
    }

    fn value(&mut self, token: Token<'a>) -> Event<'a> {
        match token {
            Token::Open => self.depth = self.depth.saturating_add(1),
            Token::Close => self.depth = self.depth.saturating_sub(1),
            Token::Comma if self.depth == 0 => {
                (self.at, self.dotted, self.state) = (false, false, State::Target);
                (self.scope, self.carried) = (self.last_scope, true);
            }
            Token::Word(word) if self.depth == 0 && self.statement && is_one_of(word, &["for"]) => {
                return Event::Inner;
            }
            _ => {}
        }
        Event::None
    }
}

/// What an assignment does to the session: it is explained, it is not, or it pins.
pub(super) fn judge(assigned: Assigned<'_>, value: &[u8]) -> Result<bool, Pin> {
    let Assigned { name, scope, at, dotted, carried } = assigned;
    if scope == Scope::Server && !carried {
        return Ok(false);
    }
    if dotted || !variables::is_replayable(name) {
        return Err(Pin::Variable);
    }
    if at && scope == Scope::Any && variables::is_of_transactions(name) {
        return Err(Pin::NextTransaction);
    }
    if is_one_of(name, &["sql_auto_is_null"]) && !is_off(value) {
        return Err(Pin::Variable);
    }
    Ok(scope != Scope::Server)
}

/// Whether a value begins with what means off.
fn is_off(value: &[u8]) -> bool {
    let value = value.trim_ascii_start();
    let end = value.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(value.len());
    is_one_of(value.get(..end).unwrap_or_default(), &["0", "off", "false"])
}
