//! Words that may stand before parentheses and leave nothing behind.

/// In capitals, sorted: functions of MySQL 8.0 and of MariaDB 10.11 and 11.4 that change nothing that outlives their
/// statement, and words of the grammar, by which no stored function can be called without quotes.
///
/// Names are those that the servers have, without those of [`Call`]'s other kinds, without what MariaDB has of the kind for
/// Oracle alone, and without names of geometry functions that MySQL 8.0 dropped and that are likely ones for one's own.
const LIST: &[u8] = include_bytes!("functions.txt");

/// How many there are.
const COUNT: usize = count();

static NAMES: [&[u8]; COUNT] = names();

/// The longest.
const LONGEST: usize = 32;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Nothing that outlives it.
    Plain,
    /// `GET_LOCK()` and the like.
    Lock,
    /// Asks for the last id, or sets it.
    LastInsertId,
    FoundRows,
    RowCount,
    /// `NEXTVAL()`, `SETVAL()`.
    Take,
    /// `LASTVAL()`.
    LastValue,
    ConnectionId,
    /// Nobody knows.
    Unknown,
}

impl Call {
    pub(super) fn of(name: &[u8]) -> Self {
        let mut upper = [0; LONGEST];
        let Some(upper) = upper.get_mut(..name.len()) else { return Self::Unknown };
        upper.copy_from_slice(name);
        upper.make_ascii_uppercase();
        match &*upper {
            b"GET_LOCK" | b"RELEASE_LOCK" | b"RELEASE_ALL_LOCKS" | b"IS_FREE_LOCK"
            | b"IS_USED_LOCK" => Self::Lock,
            b"LAST_INSERT_ID" => Self::LastInsertId,
            b"FOUND_ROWS" => Self::FoundRows,
            b"ROW_COUNT" => Self::RowCount,
            b"NEXTVAL" | b"SETVAL" => Self::Take,
            b"LASTVAL" => Self::LastValue,
            b"CONNECTION_ID" => Self::ConnectionId,
            _ if upper.starts_with(b"SERVICE_GET_") || upper.starts_with(b"SERVICE_RELEASE_") => {
                Self::Lock
            }
            name if NAMES.binary_search(&name).is_ok() => Self::Plain,
            _ => Self::Unknown,
        }
    }
}

/// Whether a blank before the parentheses makes this another function, where they are not to be ignored: one of the user's
/// own by that name.
pub(super) fn minds_blanks(name: &[u8]) -> bool {
    const MINDFUL: [&[u8]; 34] = [
        b"ADDDATE",
        b"BIT_AND",
        b"BIT_OR",
        b"BIT_XOR",
        b"CAST",
        b"COUNT",
        b"CURDATE",
        b"CURTIME",
        b"DATE_ADD",
        b"DATE_SUB",
        b"EXTRACT",
        b"GROUP_CONCAT",
        b"JSON_ARRAYAGG",
        b"JSON_OBJECTAGG",
        b"MAX",
        b"MEDIAN",
        b"MID",
        b"MIN",
        b"NOW",
        b"POSITION",
        b"SESSION_USER",
        b"STD",
        b"STDDEV",
        b"STDDEV_POP",
        b"STDDEV_SAMP",
        b"ST_COLLECT",
        b"SUBDATE",
        b"SUBSTR",
        b"SUBSTRING",
        b"SUM",
        b"SYSDATE",
        b"SYSTEM_USER",
        b"TRIM",
        b"VARIANCE",
    ];
    MINDFUL.iter().any(|other| name.eq_ignore_ascii_case(other))
        || name.eq_ignore_ascii_case(b"VAR_POP")
        || name.eq_ignore_ascii_case(b"VAR_SAMP")
}

const fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\n'
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, which finds mistakes"
)]
const fn count() -> usize {
    let (mut at, mut count) = (0, 0);
    while at < LIST.len() {
        if !is_blank(LIST[at]) && (at == 0 || is_blank(LIST[at - 1])) {
            count += 1;
        }
        at += 1;
    }
    count
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, which finds mistakes"
)]
const fn names() -> [&'static [u8]; COUNT] {
    let mut names: [&[u8]; COUNT] = [b""; COUNT];
    let (mut at, mut n) = (0, 0);
    while at < LIST.len() {
        let mut end = at;
        while end < LIST.len() && !is_blank(LIST[end]) {
            end += 1;
        }
        if end > at {
            names[n] = LIST.split_at(end).0.split_at(at).1;
            n += 1;
        }
        at = end + 1;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_can_be_searched() {
        assert!(NAMES.len() > 500, "{}", NAMES.len());
        assert!(NAMES.is_sorted_by(|a, b| a < b));
        assert!(NAMES.iter().all(|name| name.len() <= LONGEST));
    }

    #[test]
    fn names_are_looked_up_as_servers_do() {
        for name in ["now", "NOW", "Concat", "JSON_EXTRACT", "in", "varchar", "st_x", "YEARWEEK"] {
            assert_eq!(Call::of(name.as_bytes()), Call::Plain, "{name}");
        }
        for name in ["", "mine", "NOWW", "NO", &"x".repeat(1000), "sp_lock"] {
            assert_eq!(Call::of(name.as_bytes()), Call::Unknown, "{name}");
        }
        assert_eq!(Call::of(b"get_lock"), Call::Lock);
        assert_eq!(Call::of(b"service_get_write_locks"), Call::Lock);
    }
}
