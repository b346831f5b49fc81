use memchr::{memchr, memchr2, memmem};

use super::{Charset, Dialect};

/// Names longer than this are no names: 64 characters are allowed, 256 for aliases.
const NAME_MAX: usize = 256;

/// How a comment begins that speaks to the proxy.
const NOTE: &[u8] = b"wiremesh:";

/// A part of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A keyword, or a name without quotes.
    Word(&'a [u8]),
    /// A name in quotes, without them.
    Quoted(&'a [u8]),
    /// A variable with its `@` or `@@`; these alone, where the name is in quotes.
    Variable(&'a [u8]),
    /// `@` and what begins with a digit: the host of an account, or a variable.
    Address,
    /// A number without a sign.
    Number,
    /// Any other literal, or a `?`.
    Literal,
    /// `+` or `-`.
    Sign(u8),
    /// Any other operator or special character.
    Operator(&'a [u8]),
    Open,
    Close,
    Comma,
    Dot,
    Semicolon,
    /// `/*+` where the server reads hints.
    HintOpen,
    HintClose,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Blank,
    /// May begin a word, and be in it.
    Letter,
    Digit,
    Quote,
    Backtick,
    At,
    Dot,
    Comma,
    Open,
    Close,
    Semicolon,
    Placeholder,
    Plus,
    Minus,
    Slash,
    Star,
    Hash,
    Other,
}

const fn class_of(byte: u8) -> Class {
    match byte {
        0..=b' ' | 0x7f => Class::Blank,
        b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'$' | 0x80.. => Class::Letter,
        b'0'..=b'9' => Class::Digit,
        b'\'' | b'"' => Class::Quote,
        b'`' => Class::Backtick,
        b'@' => Class::At,
        b'.' => Class::Dot,
        b',' => Class::Comma,
        b'(' => Class::Open,
        b')' => Class::Close,
        b';' => Class::Semicolon,
        b'?' => Class::Placeholder,
        b'+' => Class::Plus,
        b'-' => Class::Minus,
        b'/' => Class::Slash,
        b'*' => Class::Star,
        b'#' => Class::Hash,
        _ => Class::Other,
    }
}

static CLASSES: [Class; 256] = classes();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, which finds mistakes"
)]
const fn classes() -> [Class; 256] {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < classes.len() {
        classes[byte] = class_of(byte as u8);
        byte += 1;
    }
    classes
}

#[inline(always)]
fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Other)
}

#[inline(always)]
fn is_word(byte: u8) -> bool {
    matches!(class(byte), Class::Letter | Class::Digit)
}

/// Takes a statement apart.
pub(crate) struct Scanner<'a> {
    rest: &'a [u8],
    dialect: Dialect,
    /// Where names end that a dot may follow, and dots that a name may follow, in bytes before the end.
    joint: usize,
    /// The next `/*+` has hints.
    hintable: bool,
    /// In a comment that the server executes.
    code: bool,
    /// In hints.
    hints: bool,
    /// Another reader could see other tokens in what was read.
    doubt: bool,
    /// A backslash was in double quotes.
    escaped: bool,
    /// The first comment that speaks to the proxy, without what marks it.
    note: Option<&'a [u8]>,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(sql: &'a [u8], dialect: Dialect) -> Self {
        Self {
            rest: sql,
            dialect,
            joint: usize::MAX,
            hintable: false,
            code: false,
            hints: false,
            doubt: false,
            escaped: false,
            note: None,
        }
    }

    /// What was not read yet.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether the last token is in a comment that some servers execute.
    #[inline]
    pub(crate) fn in_code(&self) -> bool {
        self.code
    }

    /// Whether servers could see other tokens than were read: something has no end, or a comment that is executed or not
    /// would end elsewhere then.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubt || self.code || self.hints
    }

    /// Whether a backslash was in double quotes, which means one thing in strings and another in names.
    pub(crate) fn is_escaped(&self) -> bool {
        self.escaped
    }

    /// What the first comment says that begins with `wiremesh:`.
    pub(crate) fn note(&self) -> Option<&'a [u8]> {
        self.note
    }

    /// The next token.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let (&first, after) = self.rest.split_first()?;
            let class = class(first);
            // Most are these two; a jump by class is hard to predict.
            if class == Class::Blank {
                self.rest = after;
                continue;
            }
            if class == Class::Letter {
                return Some(self.word());
            }
            let joined = self.joint == self.rest.len();
            let token = match class {
                // Behind `t.` there is a name, whatever it looks like.
                Class::Digit if joined => return Some(self.word()),
                Class::Digit => self.number(),
                Class::Quote => self.string(first, after),
                Class::Backtick => self.quoted(first, after),
                Class::At => self.variable(after),
                Class::Dot if !joined && after.first().is_some_and(u8::is_ascii_digit) => {
                    self.rest = fraction(self.rest);
                    Token::Number
                }
                Class::Dot => {
                    self.rest = after;
                    self.joint = after.len();
                    Token::Dot
                }
                Class::Comma => self.one(after, Token::Comma),
                Class::Open => self.one(after, Token::Open),
                Class::Close => self.one(after, Token::Close),
                Class::Semicolon => self.one(after, Token::Semicolon),
                Class::Placeholder => self.one(after, Token::Literal),
                Class::Plus => self.one(after, Token::Sign(first)),
                Class::Minus if is_line_comment(after) => {
                    self.skip_line(after);
                    continue;
                }
                Class::Minus if after.first() == Some(&b'>') => self.operator(),
                Class::Minus => self.one(after, Token::Sign(first)),
                Class::Slash => match self.slash(after) {
                    Some(token) => token,
                    None => continue,
                },
                Class::Star if self.code || self.hints => match after.strip_prefix(b"/") {
                    None => self.operator(),
                    Some(rest) if self.hints => {
                        self.hints = false;
                        self.one(rest, Token::HintClose)
                    }
                    Some(rest) => {
                        (self.code, self.rest) = (false, rest);
                        continue;
                    }
                },
                Class::Star => self.operator(),
                Class::Hash => {
                    self.skip_line(after);
                    continue;
                }
                Class::Blank | Class::Letter | Class::Other => self.operator(),
            };
            self.hintable = false;
            return Some(token);
        }
    }

    #[inline]
    fn one(&mut self, rest: &'a [u8], token: Token<'a>) -> Token<'a> {
        self.rest = rest;
        token
    }

    /// Takes the first `len` bytes.
    #[inline]
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    fn skip_line(&mut self, after: &'a [u8]) {
        let rest = line_end(after);
        if self.is_nested() {
            let (line, _) = after.split_at(after.len().saturating_sub(rest.len()));
            self.doubt |= memmem::find(line, b"*/").is_some();
        }
        self.rest = rest;
    }

    /// Whether a `*/` would end something.
    #[inline]
    fn is_nested(&self) -> bool {
        self.code || self.hints
    }

    #[inline]
    fn word(&mut self) -> Token<'a> {
        let word = self.take(self.word_len(self.rest));
        self.hintable = false;
        if let ([b'x' | b'X' | b'b' | b'B' | b'n' | b'N'], [b'\'', after @ ..]) = (word, self.rest)
        {
            return self.string(b'\'', after);
        }
        if self.hints && word.first().is_some_and(u8::is_ascii_digit) {
            return Token::Number;
        }
        self.joint = self.rest.len();
        self.hintable = takes_hints(word);
        // A literal whose quotes were forgotten, perhaps.
        if word.len() > NAME_MAX {
            self.doubt = true;
            return Token::Literal;
        }
        Token::Word(word)
    }

    #[inline]
    fn word_len(&self, bytes: &[u8]) -> usize {
        if self.dialect.charset == Charset::Plain {
            return bytes.iter().position(|byte| !is_word(*byte)).unwrap_or(bytes.len());
        }
        let mut rest = bytes;
        loop {
            rest = match rest {
                [first, second, after @ ..] if self.dialect.charset.is_pair(*first, *second) => {
                    after
                }
                [first, after @ ..] if is_word(*first) => after,
                _ => return bytes.len().saturating_sub(rest.len()),
            }
        }
    }

    /// A number, or a name that begins with a digit.
    fn number(&mut self) -> Token<'a> {
        let bytes = self.rest;
        let ends = |rest: &[u8]| !rest.first().is_some_and(|byte| is_word(*byte));
        let based = match bytes {
            [b'0', b'x', digits @ ..] => Some((digits, digits_end(digits, u8::is_ascii_hexdigit))),
            [b'0', b'b', digits @ ..] => {
                Some((digits, digits_end(digits, |digit| matches!(digit, b'0' | b'1'))))
            }
            _ => None,
        };
        if let Some((digits, rest)) = based
            && rest.len() < digits.len()
            && ends(rest)
        {
            return self.one(rest, Token::Number);
        }
        let rest = digits_end(bytes, u8::is_ascii_digit);
        let rest = match rest {
            [b'.', ..] => fraction(rest),
            [b'e' | b'E', b'0'..=b'9', ..] | [b'e' | b'E', b'+' | b'-', b'0'..=b'9', ..] => {
                exponent(rest)
            }
            rest if ends(rest) => rest,
            _ => return self.word(),
        };
        self.one(rest, Token::Number)
    }

    fn string(&mut self, quote: u8, after: &'a [u8]) -> Token<'a> {
        if quote == b'"' && self.dialect.ansi_quotes {
            return self.quoted(quote, after);
        }
        let escapes = !self.dialect.no_backslash_escapes;
        let Some((inside, rest)) = self.closing(quote, escapes, after) else {
            self.doubt = true;
            return self.one(&[], Token::Literal);
        };
        self.note_quoted(quote, inside);
        self.one(rest, Token::Literal)
    }

    fn quoted(&mut self, quote: u8, after: &'a [u8]) -> Token<'a> {
        match self.closing(quote, false, after) {
            Some((name, rest)) => {
                (self.rest, self.joint) = (rest, rest.len());
                self.note_quoted(quote, name);
                if name.len() > NAME_MAX {
                    self.doubt = true;
                    return Token::Literal;
                }
                Token::Quoted(name)
            }
            // It is not closed: literals may be in what follows.
            None => {
                self.doubt = true;
                self.one(&[], Token::Literal)
            }
        }
    }

    /// What other readers might make of this.
    #[inline]
    fn note_quoted(&mut self, quote: u8, inside: &[u8]) {
        if quote == b'"' {
            self.escaped |= memchr(b'\\', inside).is_some();
        }
        if self.is_nested() {
            self.doubt |= memmem::find(inside, b"*/").is_some();
        }
    }

    /// What is before the closing quote, and what is behind it.
    fn closing(&self, quote: u8, escapes: bool, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let mut rest = bytes;
        loop {
            rest = self.to_special(quote, escapes, rest)?;
            rest = match rest {
                [b'\\', _, after @ ..] if escapes => after,
                [first, second, after @ ..] if first == second => after,
                [first, after @ ..] if *first == quote => {
                    let (inside, _) =
                        bytes.split_at_checked(bytes.len().saturating_sub(rest.len()))?;
                    return Some((inside, after));
                }
                _ => return None,
            };
        }
    }

    /// From the next quote or, with `escapes`, backslash on.
    #[inline]
    fn to_special(&self, quote: u8, escapes: bool, bytes: &'a [u8]) -> Option<&'a [u8]> {
        if self.dialect.charset == Charset::Plain {
            let at = if escapes { memchr2(quote, b'\\', bytes) } else { memchr(quote, bytes) };
            return bytes.get(at?..);
        }
        let mut rest = bytes;
        loop {
            rest = match rest {
                [first, second, after @ ..] if self.dialect.charset.is_pair(*first, *second) => {
                    after
                }
                [first, ..] if *first == quote || escapes && *first == b'\\' => return Some(rest),
                [_, after @ ..] => after,
                [] => return None,
            }
        }
    }

    fn variable(&mut self, after: &'a [u8]) -> Token<'a> {
        let name = after.strip_prefix(b"@").unwrap_or(after);
        let signs = self.rest.len().saturating_sub(name.len());
        if name.first().is_some_and(u8::is_ascii_digit) {
            // `bob@10.0.0.1`
            self.rest = name;
            let is_address = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'.';
            self.rest = digits_end(name, is_address);
            return Token::Address;
        }
        let mut len = signs;
        loop {
            let rest = self.rest.get(len..).unwrap_or_default();
            len = match rest {
                [b'.', ..] if len > signs => len.saturating_add(1),
                [first, ..] if is_word(*first) => len.saturating_add(self.word_len(rest)),
                _ => break,
            };
        }
        let name = self.take(len);
        self.joint = self.rest.len();
        if name.len() > NAME_MAX {
            self.doubt = true;
            return Token::Literal;
        }
        Token::Variable(name)
    }

    /// A comment, hints, or a division. `None`: there is nothing to be said of it.
    fn slash(&mut self, after: &'a [u8]) -> Option<Token<'a>> {
        let Some(inside) = after.strip_prefix(b"*") else { return Some(self.operator()) };
        match inside {
            [b'!', code @ ..] | [b'M', b'!', code @ ..] => {
                self.doubt |= self.is_nested();
                // The version from which on it is executed.
                self.rest = digits_end(code, u8::is_ascii_digit);
                self.code = true;
                None
            }
            [b'+', hints @ ..] if self.hintable => {
                self.doubt |= self.is_nested();
                (self.rest, self.hints) = (hints, true);
                Some(Token::HintOpen)
            }
            _ => {
                let Some((text, rest)) =
                    memmem::find(inside, b"*/").and_then(|at| inside.split_at_checked(at))
                else {
                    (self.doubt, self.rest) = (true, &[]);
                    return None;
                };
                // Some servers know comments in comments and some do not.
                self.doubt |= self.is_nested();
                if self.note.is_none() {
                    self.note = text.trim_ascii_start().strip_prefix(NOTE);
                }
                self.rest = rest.get(2..).unwrap_or_default();
                None
            }
        }
    }

    fn operator(&mut self) -> Token<'a> {
        let len = match self.rest {
            [b'<', b'=', b'>', ..] | [b'-', b'>', b'>', ..] => 3,
            [b'<', b'=' | b'>' | b'<', ..]
            | [b'>', b'=' | b'>', ..]
            | [b'!' | b':', b'=', ..]
            | [b'|', b'|', ..]
            | [b'&', b'&', ..]
            | [b'-', b'>', ..] => 2,
            // NULL, in its oldest form.
            [b'\\', b'N', ..] => {
                self.take(2);
                return Token::Literal;
            }
            _ => 1,
        };
        Token::Operator(self.take(len))
    }
}

/// Whether hints may stand behind this word.
fn takes_hints(word: &[u8]) -> bool {
    match word.len() {
        6 => [b"select", b"insert", b"update", b"delete"]
            .iter()
            .any(|other| word.eq_ignore_ascii_case(*other)),
        7 => word.eq_ignore_ascii_case(b"replace"),
        _ => false,
    }
}

/// Whether what follows a minus makes a comment of it.
fn is_line_comment(after: &[u8]) -> bool {
    matches!(after, [b'-'] | [b'-', 0..=b' ' | 0x7f, ..])
}

fn line_end(bytes: &[u8]) -> &[u8] {
    memchr(b'\n', bytes).and_then(|at| bytes.get(at..)).unwrap_or_default()
}

fn digits_end(bytes: &[u8], is_digit: impl Fn(&u8) -> bool) -> &[u8] {
    let len = bytes.iter().position(|byte| !is_digit(byte)).unwrap_or(bytes.len());
    bytes.get(len..).unwrap_or_default()
}

/// What is behind a number from its point on.
fn fraction(bytes: &[u8]) -> &[u8] {
    exponent(digits_end(bytes.get(1..).unwrap_or_default(), u8::is_ascii_digit))
}

/// What is behind an exponent, if there is one.
fn exponent(bytes: &[u8]) -> &[u8] {
    let ([b'e' | b'E', b'+' | b'-', digits @ ..] | [b'e' | b'E', digits @ ..]) = bytes else {
        return bytes;
    };
    let rest = digits_end(digits, u8::is_ascii_digit);
    if rest.len() < digits.len() { rest } else { bytes }
}
