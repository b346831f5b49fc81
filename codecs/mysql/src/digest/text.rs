use super::{DIGEST_MAX, scan::Token};

/// Lists in deeper parentheses are not recognised.
const DEPTH: usize = 12;

const MORE_ROWS: &[u8] = b" /* , ... */";
const MORE_STATEMENTS: &[u8] = b" /* ; ... */";
const CUT: &[u8] = b" ...";

/// What a token is to those that follow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// There is none, or it is not known any more.
    #[default]
    None,
    Word,
    Name,
    /// `@`, `.`: what follows is written without a blank.
    Glue,
    /// `?`.
    Value,
    /// `?, ...`.
    Values,
    /// Something in parentheses.
    Row,
    Open,
    Comma,
    Sign,
    Operator,
    Semicolon,
}

#[derive(Clone, Copy, Debug, Default)]
struct Last {
    kind: Kind,
    /// Where it begins, its blank included.
    start: usize,
}

/// What is known inside of one more pair of parentheses; at first, outside of all.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// Where it begins, its `(` included.
    start: usize,
    /// What comes before it at the level above is a row, too.
    follows_row: bool,
    /// Where the last row at this level is; what is written of those that are like it is not.
    row: (usize, usize),
}

/// Writes tokens down, and takes back what turns out to be one of many.
pub(super) struct Text<'o> {
    out: &'o mut Vec<u8>,
    /// What is before this is not ours.
    base: usize,
    /// The last tokens, the very last first.
    last: [Last; 4],
    levels: [Level; DEPTH],
    depth: usize,
    /// Where the statement begins, and where the one before it is.
    statement: usize,
    former: (usize, usize),
}

impl<'o> Text<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>) -> Self {
        let base = out.len();
        Self {
            out,
            base,
            last: [Last::default(); 4],
            levels: [Level::default(); DEPTH],
            depth: 0,
            statement: base,
            former: (base, base),
        }
    }

    /// Appends a token. `false`: that is enough, and the text has its end.
    #[inline]
    pub(super) fn push(&mut self, token: Token<'_>) -> bool {
        match token {
            Token::Word(word) => self.word(word),
            Token::Quoted(name) => {
                let start = self.blank();
                self.out.push(b'`');
                self.out.extend_from_slice(name);
                self.out.push(b'`');
                self.note(Kind::Name, start);
            }
            Token::Variable(name) => {
                let alone = matches!(name, b"@" | b"@@");
                self.write(if alone { Kind::Glue } else { Kind::Name }, name);
            }
            Token::Number => self.number(),
            Token::Literal | Token::Address => self.value(),
            Token::Sign(sign) => self.write(Kind::Sign, &[sign]),
            Token::Operator(operator) => self.write(Kind::Operator, operator),
            Token::Open => self.open(),
            Token::Close => self.close(),
            Token::Comma => self.attach(Kind::Comma, b","),
            Token::Dot => self.attach(Kind::Glue, b"."),
            Token::Semicolon => self.end_statement(),
            Token::HintOpen => self.write(Kind::None, b"/*+"),
            Token::HintClose => self.write(Kind::None, b"*/"),
        }
        if self.out.len().saturating_sub(self.base) <= DIGEST_MAX {
            return true;
        }
        self.cut();
        false
    }

    /// The end of the statement; not `whole`: of what is there of it.
    pub(super) fn finish(&mut self, whole: bool) {
        if whole { self.end_statement() } else { self.cut() }
    }

    fn kind(&self) -> Kind {
        self.back(0).kind
    }

    /// The last token but so many.
    fn back(&self, n: usize) -> Last {
        self.last.get(n).copied().unwrap_or_default()
    }

    #[inline]
    fn note(&mut self, kind: Kind, start: usize) {
        let [a, b, c, _] = self.last;
        self.last = [Last { kind, start }, a, b, c];
    }

    /// Forgets the last token, and what is written of it.
    fn take_back(&mut self) {
        let [last, a, b, c] = self.last;
        self.out.truncate(last.start.max(self.base));
        self.last = [a, b, c, Last::default()];
    }

    /// Writes what stands between the last token and the next; answers where that begins.
    #[inline]
    fn blank(&mut self) -> usize {
        let start = self.out.len();
        match self.kind() {
            Kind::Glue | Kind::Open => {}
            Kind::Semicolon => {
                self.out.extend_from_slice(b"; ");
                self.statement = self.out.len();
                self.last = Default::default();
                return self.statement;
            }
            _ if start == self.statement => {}
            _ => self.out.push(b' '),
        }
        start
    }

    #[inline]
    fn write(&mut self, kind: Kind, text: &[u8]) {
        let start = self.blank();
        self.out.extend_from_slice(text);
        self.note(kind, start);
    }

    /// Writes what needs no blank before it.
    #[inline]
    fn attach(&mut self, kind: Kind, text: &[u8]) {
        if self.kind() == Kind::Semicolon {
            return self.write(kind, text);
        }
        let start = self.out.len();
        self.out.extend_from_slice(text);
        self.note(kind, start);
    }

    #[inline]
    fn word(&mut self, word: &[u8]) {
        if is_constant(word) && self.begins_value(0) {
            return self.value();
        }
        self.write(Kind::Word, word);
    }

    /// A number: a sign before it is its own if there is nothing that it could be added to.
    fn number(&mut self) {
        while self.kind() == Kind::Sign && self.begins_value(1) {
            self.take_back();
        }
        self.value();
    }

    #[inline]
    fn value(&mut self) {
        let [first, second, ..] = self.last;
        match (first.kind, second.kind) {
            (Kind::Comma, Kind::Values) => self.take_back(),
            (Kind::Comma, Kind::Value) => {
                self.take_back();
                self.out.extend_from_slice(b", ...");
                let [last, ..] = &mut self.last;
                last.kind = Kind::Values;
            }
            // The character set of what follows: `_utf8mb4'...'`.
            (Kind::Word, _) if self.word_back(0).starts_with(b"_") => {
                self.take_back();
                self.value();
            }
            _ => self.write(Kind::Value, b"?"),
        }
    }

    /// Whether a value must follow the last token but `n`, so that a sign or `NULL` behind it is one.
    fn begins_value(&self, n: usize) -> bool {
        match self.back(n).kind {
            Kind::Open | Kind::Comma | Kind::Sign | Kind::Operator => true,
            Kind::Word => {
                let word = self.word_back(n);
                BEFORE_VALUES.iter().any(|other| word.eq_ignore_ascii_case(other))
            }
            _ => false,
        }
    }

    /// What is written of the last token but `n`.
    fn word_back(&self, n: usize) -> &[u8] {
        let end = n.checked_sub(1).map_or(self.out.len(), |next| self.back(next).start);
        self.out.get(self.back(n).start..end).unwrap_or_default().trim_ascii_start()
    }

    fn open(&mut self) {
        let [first, second, ..] = self.last;
        let follows_row = first.kind == Kind::Comma && second.kind == Kind::Row;
        let blank = self.blank();
        let start = self.out.len();
        self.out.push(b'(');
        self.note(Kind::Open, blank);
        self.depth = self.depth.saturating_add(1);
        if let Some(level) = self.levels.get_mut(self.depth) {
            *level = Level { start, follows_row, row: (0, 0) };
        }
    }

    fn close(&mut self) {
        let Some(above) = self.depth.checked_sub(1) else {
            return self.attach(Kind::Operator, b")");
        };
        let [value, open, ..] = self.last;
        if open.kind == Kind::Open {
            let list = match value.kind {
                Kind::Values => true,
                // One value now, several the next time.
                Kind::Value => self.word_back(2).eq_ignore_ascii_case(b"in"),
                _ => false,
            };
            if list {
                self.out.truncate(value.start);
                self.out.extend_from_slice(b"...");
            }
        }
        self.out.push(b')');
        let mut start = self.out.len();
        if let Some(level) = self.levels.get(self.depth).copied()
            && let Some(outer) = self.levels.get_mut(above)
        {
            let former = self.out.get(outer.row.0..outer.row.1);
            if level.follows_row && former == self.out.get(level.start..) {
                self.out.truncate(outer.row.1);
                self.out.extend_from_slice(MORE_ROWS);
            } else {
                outer.row = (level.start, self.out.len());
            }
            start = outer.row.0;
        }
        self.depth = above;
        self.last = Default::default();
        self.note(Kind::Row, start);
    }

    /// A statement that is like the one before is not written down again.
    fn end_statement(&mut self) {
        if self.kind() == Kind::Semicolon || self.out.len() == self.statement {
            return;
        }
        let (start, end) = self.former;
        if start < end && self.out.get(start..end) == self.out.get(self.statement..) {
            self.out.truncate(end);
            self.out.extend_from_slice(MORE_STATEMENTS);
        } else {
            self.former = (self.statement, self.out.len());
        }
        self.last = Default::default();
        self.note(Kind::Semicolon, self.out.len());
        self.depth = 0;
    }

    /// Ends the text where the statement does not. Where that is depends on how long its values are; so of what is begun, and
    /// may be like what is before it, nothing is left.
    fn cut(&mut self) {
        let open = self.levels.iter().take(self.depth.saturating_add(1));
        let outer = open.clone().zip(open.skip(1)).find(|(_, inner)| inner.follows_row);
        let (start, end) = self.former;
        let begun = self.out.get(self.statement..).unwrap_or_default();
        if let Some((outer, _)) = outer {
            self.out.truncate(outer.row.1);
            self.out.extend_from_slice(MORE_ROWS);
        } else if start < end
            && self.kind() != Kind::Semicolon
            && self.out.get(start..end).is_some_and(|former| former.starts_with(begun))
        {
            self.out.truncate(end);
            self.out.extend_from_slice(MORE_STATEMENTS);
        } else if !matches!(self.kind(), Kind::Value | Kind::Values | Kind::Row) {
            self.take_back();
        }
        while self.out.len() > self.base && self.out.last().is_some_and(|last| b" ,".contains(last))
        {
            self.out.pop();
        }
        self.out.extend_from_slice(CUT);
    }
}

/// `NULL` and the truth values.
#[inline]
fn is_constant(word: &[u8]) -> bool {
    let is = |other: &[u8]| word.eq_ignore_ascii_case(other);
    match word {
        [b'n' | b'N' | b't' | b'T', _, _, _] => is(b"null") || is(b"true"),
        [b'f' | b'F', _, _, _, _] => is(b"false"),
        _ => false,
    }
}

/// Words behind which there is a value.
const BEFORE_VALUES: &[&[u8]] = &[
    b"select",
    b"where",
    b"and",
    b"or",
    b"xor",
    b"between",
    b"like",
    b"regexp",
    b"rlike",
    b"div",
    b"mod",
    b"case",
    b"when",
    b"then",
    b"else",
    b"if",
    b"elseif",
    b"while",
    b"until",
    b"return",
    b"interval",
    b"having",
    b"on",
    b"by",
    b"limit",
    b"offset",
    b"default",
];
