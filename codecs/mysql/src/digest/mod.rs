//! What SQL statements have in common that differ in values only.
//!
//! Made of a statement's tokens as MySQL's own `STATEMENT_DIGEST_TEXT` is, but from its text alone: no grammar is known, so
//! a few things are told apart by what stands before them. Where ours differs on purpose is in `docs/protocols/mysql.md`;
//! both are compared in `tests/digest.rs`.

pub(crate) mod scan;
mod text;

use self::{scan::Scanner, text::Text};

/// A digest is about this long at most, in bytes; the server's own default.
pub const DIGEST_MAX: usize = 1024;

/// So much of a statement is looked at. Of a long one the first 16 KiB are waited for, what its attributes take included, and more
/// may be there or not: the digest must not depend on that.
const LOOKED_AT: usize = 15 << 10;

/// What of a session's state says how its statements are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    /// `sql_mode` has `ANSI_QUOTES`: what is in double quotes is a name.
    pub ansi_quotes: bool,
    /// `sql_mode` has `NO_BACKSLASH_ESCAPES`, as the status flag of the same name says.
    pub no_backslash_escapes: bool,
    /// The client's character set, `character_set_client`.
    pub charset: Charset,
}

/// How characters are told from one another, as far as quotes, backslashes and blanks go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// No ASCII byte is a part of another character: UTF-8, Latin-1, EUC and almost all others.
    #[default]
    Plain,
    /// The second byte of a character may be a backslash or a backtick: `gbk`, `gb18030`, `big5`.
    Gbk,
    /// As `gbk`, with other first bytes: `sjis`, `cp932`.
    Sjis,
}

impl Charset {
    /// That of a collation, by the number that a client's first packet and `COM_CHANGE_USER` have.
    pub fn of_collation(id: u16) -> Self {
        match id {
            // big5, gbk, gb18030: MySQL's numbers; those of MariaDB's "nopad" collations are 1024 higher.
            1 | 84 | 28 | 87 | 248..=250 | 1025 | 1108 | 1052 | 1111 => Self::Gbk,
            // sjis, cp932.
            13 | 88 | 95 | 96 | 1037 | 1112 | 1119 | 1120 => Self::Sjis,
            _ => Self::Plain,
        }
    }

    /// That of a name as `SET NAMES` and `character_set_client` have it.
    pub fn of_name(name: &[u8]) -> Self {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        if is(b"gbk") || is(b"gb18030") || is(b"big5") {
            Self::Gbk
        } else if is(b"sjis") || is(b"cp932") {
            Self::Sjis
        } else {
            Self::Plain
        }
    }

    /// Whether these two bytes are one character, the second of which may look like ASCII.
    fn is_pair(self, first: u8, second: u8) -> bool {
        let lead = match self {
            Self::Plain => false,
            Self::Gbk => first >= 0x81,
            Self::Sjis => matches!(first, 0x81..=0x9f | 0xe0..=0xfc),
        };
        lead && second >= 0x40 && second != 0x7f
    }
}

/// Appends the digest of a statement, or of several that were sent as one. Literals are `?`, and lists and rows of them
/// one `...`, so no literal can be read from it. What it is made of are bytes in the client's character set.
///
/// `whole`: `sql` is all there is, not its beginning only. A digest of a part, and one that would be longer than
/// [`DIGEST_MAX`], ends in ` ...`. Answers whether it is of the whole statement.
///
/// One pass, nothing is allocated where `out` has room, and any bytes will do.
pub fn digest(sql: &[u8], dialect: Dialect, whole: bool, out: &mut Vec<u8>) -> bool {
    let (sql, whole) = match sql.split_at_checked(LOOKED_AT) {
        Some((beginning, rest)) => (beginning, whole && rest.is_empty()),
        None => (sql, whole),
    };
    let (mut scanner, mut text) = (Scanner::new(sql, dialect), Text::new(out));
    while let Some(token) = scanner.next() {
        if !text.push(token) {
            return false;
        }
    }
    text.finish(whole);
    whole
}

#[cfg(test)]
mod tests;
