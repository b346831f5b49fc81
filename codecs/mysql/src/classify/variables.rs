//! System variables.

use super::{Diagnostics, word::is_one_of};
use crate::pooled::state::VARIABLES;

/// Whether a session's system variable is no more than its value, so that it can be set to that on another connection.
///
/// `sql_auto_is_null` is one for those who switch it off; on, a session is bound to its connection.
pub(super) fn is_replayable(name: &[u8]) -> bool {
    const CHARSETS: [&str; 4] = [
        "character_set_client",
        "character_set_connection",
        "character_set_results",
        "collation_connection",
    ];
    let by_name = |known: &&str| {
        let known = known.bytes();
        known.cmp(name.iter().map(u8::to_ascii_lowercase))
    };
    VARIABLES.binary_search_by(by_name).is_ok() || is_one_of(name, &CHARSETS)
}

/// Whether it is about transactions: with `@@` and no scope, only the next one.
pub(super) fn is_of_transactions(name: &[u8]) -> bool {
    is_one_of(
        name,
        &["transaction_isolation", "transaction_read_only", "tx_isolation", "tx_read_only"],
    )
}

/// What is asked for by reading it.
pub(super) fn asks(name: &[u8]) -> Diagnostics {
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    match name.len() {
        11 if is(b"error_count") => Diagnostics::WARNINGS,
        13 if is(b"warning_count") => Diagnostics::WARNINGS,
        8 if is(b"identity") => Diagnostics::LAST_INSERT_ID,
        9 if is(b"insert_id") => Diagnostics::LAST_INSERT_ID,
        14 if is(b"last_insert_id") => Diagnostics::LAST_INSERT_ID,
        9 if is(b"last_gtid") => Diagnostics::LAST_GTID,
        _ => Diagnostics::NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whatever_their_case() {
        for name in
            ["sql_mode", "SQL_MODE", "wait_timeout", "alter_algorithm", "Character_Set_Client"]
        {
            assert!(is_replayable(name.as_bytes()), "{name}");
        }
        for name in ["", "sql_log_bin", "insert_id", "sql_mod", &"x".repeat(300)] {
            assert!(!is_replayable(name.as_bytes()), "{name}");
        }
    }
}
