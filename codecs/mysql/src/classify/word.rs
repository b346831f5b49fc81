//! Words that matter.

use super::Pin;

/// What a statement begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// `SELECT`, and what else may be a read.
    Select,
    /// `INSERT`, `REPLACE`.
    Insert,
    /// `UPDATE`, `DELETE`.
    Change,
    /// `CREATE`, `ALTER`: with expressions that cannot call what is not the server's own, as long as there is no `SELECT`.
    Define,
    /// `GRANT`, `DROP` and the like: without expressions.
    Bare,
    Begin,
    /// `EXPLAIN`, `ANALYZE` and the like.
    Explain,
    Flush,
    Get,
    Kill,
    Load,
    Lock,
    Set,
    Show,
    Start,
    Use,
    /// It leaves nothing behind by itself.
    Plain,
    Pin(Pin),
}

impl Verb {
    pub(super) fn of(word: &[u8]) -> Self {
        let mut upper = [0; 12];
        let Some(upper) = upper.get_mut(..word.len()) else { return Self::Pin(Pin::Unknown) };
        upper.copy_from_slice(word);
        upper.make_ascii_uppercase();
        match &*upper {
            b"SELECT" | b"WITH" | b"VALUES" | b"TABLE" => Self::Select,
            b"INSERT" | b"REPLACE" => Self::Insert,
            b"UPDATE" | b"DELETE" => Self::Change,
            b"SET" => Self::Set,
            b"USE" => Self::Use,
            b"SHOW" => Self::Show,
            b"START" => Self::Start,
            b"BEGIN" => Self::Begin,
            b"CREATE" | b"ALTER" => Self::Define,
            b"DROP" | b"GRANT" | b"RENAME" | b"REVOKE" | b"TRUNCATE" => Self::Bare,
            b"FLUSH" => Self::Flush,
            b"GET" => Self::Get,
            b"KILL" => Self::Kill,
            b"LOAD" => Self::Load,
            b"LOCK" => Self::Lock,
            b"ANALYZE" | b"DESC" | b"DESCRIBE" | b"EXPLAIN" => Self::Explain,
            b"CACHE" | b"CHANGE" | b"CHECK" | b"CHECKSUM" | b"CLONE" | b"COMMIT" | b"DO"
            | b"HELP" | b"IMPORT" | b"INSTALL" | b"OPTIMIZE" | b"PURGE" | b"RELEASE"
            | b"REPAIR" | b"RESET" | b"RESTART" | b"ROLLBACK" | b"SAVEPOINT" | b"SHUTDOWN"
            | b"SIGNAL" | b"STOP" | b"UNINSTALL" | b"UNLOCK" => Self::Plain,
            b"CALL" => Self::Pin(Pin::Routine),
            b"PREPARE" | b"EXECUTE" | b"DEALLOCATE" => Self::Pin(Pin::Prepare),
            b"HANDLER" => Self::Pin(Pin::Handler),
            b"XA" => Self::Pin(Pin::Xa),
            b"BACKUP" => Self::Pin(Pin::Backup),
            _ => Self::Pin(Pin::Unknown),
        }
    }
}

/// A word that matters wherever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Key {
    As,
    CalcFoundRows,
    Export,
    For,
    From,
    Into,
    Lock,
    Next,
    Previous,
    Returning,
    Select,
    Share,
    Table,
    Temporary,
    Update,
    Value,
    With,
    #[default]
    Other,
}

impl Key {
    #[inline]
    pub(super) fn of(word: &[u8]) -> Self {
        let first = word.first().map_or(0, u8::to_ascii_lowercase);
        let (key, other): (Self, &[u8]) = match (word.len(), first) {
            (2, b'a') => (Self::As, b"as"),
            (3, b'f') => (Self::For, b"for"),
            (4, b'f') => (Self::From, b"from"),
            (4, b'i') => (Self::Into, b"into"),
            (4, b'l') => (Self::Lock, b"lock"),
            (4, b'n') => (Self::Next, b"next"),
            (4, b'w') => (Self::With, b"with"),
            (5, b's') => (Self::Share, b"share"),
            (5, b't') => (Self::Table, b"table"),
            (5, b'v') => (Self::Value, b"value"),
            (6, b'e') => (Self::Export, b"export"),
            (6, b's') => (Self::Select, b"select"),
            (6, b'u') => (Self::Update, b"update"),
            (8, b'p') => (Self::Previous, b"previous"),
            (9, b'r') => (Self::Returning, b"returning"),
            (9, b't') => (Self::Temporary, b"temporary"),
            (19, b's') => (Self::CalcFoundRows, b"sql_calc_found_rows"),
            _ => return Self::Other,
        };
        if word.eq_ignore_ascii_case(other) { key } else { Self::Other }
    }
}

/// Whether a word is one of these, whatever its case.
pub(super) fn is_one_of(word: &[u8], others: &[&str]) -> bool {
    others.iter().any(|other| word.eq_ignore_ascii_case(other.as_bytes()))
}
