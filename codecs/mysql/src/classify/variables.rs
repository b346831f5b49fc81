//! System variables.

use super::Diagnostics;

/// Variables of a session whose value is all there is to them: set elsewhere to what a server says of it, the session is
/// the same there. Sorted.
///
/// Not here, and so what keeps a connection: what stands for something else that happened (`insert_id`, `timestamp`,
/// `rand_seed1`, `gtid_next`), what servers record or not (`sql_log_bin`, `profiling`), what changes replies
/// (`resultset_metadata`), what the proxy sets for itself (`session_track_*`).
const REPLAYABLE: [&str; 96] = [
    "alter_algorithm",
    "auto_increment_increment",
    "auto_increment_offset",
    "autocommit",
    "big_tables",
    "block_encryption_mode",
    "bulk_insert_buffer_size",
    "character_set_client",
    "character_set_connection",
    "character_set_database",
    "character_set_filesystem",
    "character_set_results",
    "character_set_server",
    "check_constraint_checks",
    "collation_connection",
    "collation_database",
    "collation_server",
    "cte_max_recursion_depth",
    "default_storage_engine",
    "default_tmp_storage_engine",
    "default_week_format",
    "div_precision_increment",
    "end_markers_in_json",
    "eq_range_index_dive_limit",
    "explicit_defaults_for_timestamp",
    "foreign_key_checks",
    "generated_random_password_length",
    "group_concat_max_len",
    "histogram_size",
    "histogram_type",
    "idle_readonly_transaction_timeout",
    "idle_transaction_timeout",
    "idle_write_transaction_timeout",
    "information_schema_stats_expiry",
    "innodb_lock_wait_timeout",
    "innodb_strict_mode",
    "innodb_table_locks",
    "interactive_timeout",
    "join_buffer_size",
    "join_cache_level",
    "lc_messages",
    "lc_time_names",
    "lock_wait_timeout",
    "long_query_time",
    "low_priority_updates",
    "max_error_count",
    "max_execution_time",
    "max_heap_table_size",
    "max_join_size",
    "max_length_for_sort_data",
    "max_recursive_iterations",
    "max_seeks_for_key",
    "max_sort_length",
    "max_sp_recursion_depth",
    "max_statement_time",
    "max_tmp_tables",
    "min_examined_row_limit",
    "net_read_timeout",
    "net_retry_count",
    "net_write_timeout",
    "new",
    "old_mode",
    "optimizer_prune_level",
    "optimizer_search_depth",
    "optimizer_switch",
    "optimizer_use_condition_selectivity",
    "preload_buffer_size",
    "query_cache_type",
    "query_prealloc_size",
    "range_alloc_block_size",
    "range_optimizer_max_mem_size",
    "read_buffer_size",
    "read_rnd_buffer_size",
    "select_into_buffer_size",
    "show_create_table_verbosity",
    "sort_buffer_size",
    "sql_auto_is_null",
    "sql_big_selects",
    "sql_buffer_result",
    "sql_mode",
    "sql_notes",
    "sql_quote_show_create",
    "sql_require_primary_key",
    "sql_safe_updates",
    "sql_select_limit",
    "sql_warnings",
    "time_zone",
    "tmp_memory_table_size",
    "tmp_table_size",
    "transaction_isolation",
    "transaction_read_only",
    "tx_isolation",
    "tx_read_only",
    "unique_checks",
    "updatable_views_with_limit",
    "wait_timeout",
];

/// The longest of them.
const LONGEST: usize = 40;

/// Whether a session's system variable is no more than its value, so that it can be set to that on another connection.
///
/// `sql_auto_is_null` is on this list for those who switch it off; switched on, a session is bound to its connection.
pub fn is_replayable(name: &[u8]) -> bool {
    let mut lower = [0; LONGEST];
    let Some(lower) = lower.get_mut(..name.len()) else { return false };
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    REPLAYABLE.binary_search_by(|other| other.as_bytes().cmp(lower)).is_ok()
}

/// Whether it is about transactions: with `@@` and no scope, only the next one.
pub(super) fn is_of_transactions(name: &[u8]) -> bool {
    super::word::is_one_of(
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
    fn the_list_can_be_searched() {
        assert!(REPLAYABLE.is_sorted_by(|a, b| a < b));
        assert!(REPLAYABLE.iter().all(|name| name.len() <= LONGEST));
        for name in ["sql_mode", "SQL_MODE", "wait_timeout", "alter_algorithm"] {
            assert!(is_replayable(name.as_bytes()), "{name}");
        }
        for name in ["", "sql_log_bin", "insert_id", "sql_mod", &"x".repeat(300)] {
            assert!(!is_replayable(name.as_bytes()), "{name}");
        }
    }
}
