use std::ops::{BitAnd, BitOr, Not};

use crate::capability::flags;

/// What the server says of the session with every OK and EOF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StatusFlags(pub u16);

flags! { StatusFlags:
    /// A transaction is open.
    IN_TRANS = 0;
    /// `autocommit` is on.
    AUTOCOMMIT = 1;
    /// Another result follows.
    MORE_RESULTS = 3;
    /// The query used no good index.
    NO_GOOD_INDEX = 4;
    /// The query used no index.
    NO_INDEX = 5;
    /// The rows are to be fetched from a cursor.
    CURSOR_EXISTS = 6;
    /// The cursor has no further row.
    LAST_ROW_SENT = 7;
    /// A schema was dropped.
    DB_DROPPED = 8;
    /// A backslash in a string is a backslash.
    NO_BACKSLASH_ESCAPES = 9;
    /// A prepared statement's columns have changed.
    METADATA_CHANGED = 10;
    /// The query was slow.
    QUERY_WAS_SLOW = 11;
    /// This result is of the OUT parameters.
    PS_OUT_PARAMS = 12;
    /// The transaction reads only.
    IN_TRANS_READONLY = 13;
    /// The OK tells of changes of the session's state.
    STATE_CHANGED = 14;
    /// MariaDB: double quotes are of identifiers.
    ANSI_QUOTES = 15;
}

impl StatusFlags {
    /// What a status says of the session, rather than of a result.
    pub(crate) const LASTING: Self = Self(
        Self::IN_TRANS.0
            | Self::AUTOCOMMIT.0
            | Self::NO_BACKSLASH_ESCAPES.0
            | Self::IN_TRANS_READONLY.0
            | Self::ANSI_QUOTES.0,
    );

    /// Of it, what it says of the session.
    pub(crate) fn lasting(self) -> Self {
        self & Self::LASTING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_where_servers_have_them() {
        assert_eq!(StatusFlags::MORE_RESULTS.0, 8);
        assert_eq!(StatusFlags::LAST_ROW_SENT.0, 128);
        assert_eq!(StatusFlags::PS_OUT_PARAMS.0, 4096);
        assert_eq!(StatusFlags::STATE_CHANGED.0, 16384);
        let busy = StatusFlags::IN_TRANS | StatusFlags::AUTOCOMMIT;
        assert!(busy.has(StatusFlags::IN_TRANS) && busy.0 == 3);
    }
}
