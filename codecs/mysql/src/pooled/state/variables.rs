/// The system variables that are replayed: `SET` to what a server told of one gives another session the same, and `SET` to
/// the global value gives it back what it began with. In order.
///
/// Each was tried at MySQL 8.0.33, MariaDB 10.11.19 and 11.4.5, as far as they have it (`mysql-check state`). What
/// is not here pins a session that sets it.
pub const VARIABLES: [&str; 104] = [
    "alter_algorithm",
    "auto_increment_increment",
    "auto_increment_offset",
    "autocommit",
    "big_tables",
    "block_encryption_mode",
    "bulk_insert_buffer_size",
    "character_set_filesystem",
    "check_constraint_checks",
    "completion_type",
    "cte_max_recursion_depth",
    "default_regex_flags",
    "default_storage_engine",
    "default_tmp_storage_engine",
    "default_week_format",
    "div_precision_increment",
    "end_markers_in_json",
    "eq_range_index_dive_limit",
    "expensive_subquery_limit",
    "explicit_defaults_for_timestamp",
    "foreign_key_checks",
    "group_concat_max_len",
    "histogram_size",
    "histogram_type",
    "idle_readonly_transaction_timeout",
    "idle_transaction_timeout",
    "idle_write_transaction_timeout",
    "in_predicate_conversion_threshold",
    "information_schema_stats_expiry",
    "innodb_compression_default",
    "innodb_ft_enable_stopword",
    "innodb_lock_wait_timeout",
    "innodb_snapshot_isolation",
    "innodb_strict_mode",
    "innodb_table_locks",
    "interactive_timeout",
    "join_buffer_size",
    "join_buffer_space_limit",
    "join_cache_level",
    "keep_files_on_create",
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
    "min_examined_row_limit",
    "mrr_buffer_size",
    "net_read_timeout",
    "net_retry_count",
    "net_write_timeout",
    "note_verbosity",
    "old_alter_table",
    "old_mode",
    "optimizer_prune_level",
    "optimizer_search_depth",
    "optimizer_switch",
    "optimizer_use_condition_selectivity",
    "preload_buffer_size",
    "print_identified_with_as_hex",
    "query_alloc_block_size",
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
    "sql_if_exists",
    "sql_mode",
    "sql_notes",
    "sql_quote_show_create",
    "sql_safe_updates",
    "sql_select_limit",
    "sql_warnings",
    "standard_compliant_cte",
    "time_zone",
    "tmp_memory_table_size",
    "tmp_table_size",
    "transaction_alloc_block_size",
    "transaction_isolation",
    "transaction_prealloc_size",
    "transaction_read_only",
    "tx_isolation",
    "tx_read_only",
    "unique_checks",
    "updatable_views_with_limit",
    "use_stat_tables",
    "wait_timeout",
    "windowing_use_high_precision",
    "xa_detach_on_prepare",
];

/// To set it sets `sql_big_selects`, too, and no server tells.
pub(super) const MAX_JOIN_SIZE: &str = "max_join_size";
pub(super) const SQL_BIG_SELECTS: &str = "sql_big_selects";

/// Two names of one variable.
const TWINS: [(&str, &str); 3] = [
    ("tmp_memory_table_size", "tmp_table_size"),
    ("transaction_isolation", "tx_isolation"),
    ("transaction_read_only", "tx_read_only"),
];

/// The name as it is in the table.
pub(super) fn find(name: &[u8]) -> Option<&'static str> {
    let order = |known: &&str| {
        let known = known.bytes();
        known.cmp(name.iter().map(u8::to_ascii_lowercase))
    };
    let at = VARIABLES.binary_search_by(order).ok()?;
    VARIABLES.get(at).copied()
}

/// The other name of a variable, if it has two.
pub(super) fn twin(name: &str) -> Option<&'static str> {
    TWINS.iter().find_map(|(a, b)| match name {
        name if name == *a => Some(*b),
        name if name == *b => Some(*a),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_whatever_its_case() {
        assert!(VARIABLES.is_sorted_by(|a, b| a < b));
        for name in VARIABLES {
            assert_eq!(find(name.as_bytes()), Some(name));
            assert_eq!(find(name.to_uppercase().as_bytes()), Some(name));
        }
        for name in ["", "a", "zz", "timestamp", "autocommit ", "character_set_client"] {
            assert_eq!(find(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn each_is_documented() {
        const DOCS: &str = include_str!("../../../../../docs/protocols/mysql.md");
        for name in VARIABLES {
            assert!(DOCS.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn twins_are_of_the_table() {
        for (a, b) in TWINS {
            assert_eq!((find(a.as_bytes()), find(b.as_bytes())), (Some(a), Some(b)));
            assert_eq!((twin(a), twin(b)), (Some(b), Some(a)));
        }
        assert_eq!(twin("sql_mode"), None);
    }
}
