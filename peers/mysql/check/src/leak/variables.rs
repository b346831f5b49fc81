//! System variables that a session can set for itself, with values that differ from every default.

/// One of them.
pub(super) struct Variable {
    pub(super) name: &'static str,
    /// As a statement writes them, and as they are read.
    pub(super) values: &'static [(&'static str, &'static str)],
    /// What reads it, if not its name.
    probe: &'static str,
}

const fn named(name: &'static str, values: &'static [(&'static str, &'static str)]) -> Variable {
    Variable { name, values, probe: "" }
}

const fn probed(
    name: &'static str,
    values: &'static [(&'static str, &'static str)],
    probe: &'static str,
) -> Variable {
    Variable { name, values, probe }
}

const NUMBERS: [Variable; 26] = [
    named("time_zone", &[("'+05:00'", "+05:00"), ("'-03:30'", "-03:30")]),
    probed(
        "time_zone",
        &[("'+05:00'", "1970-01-01 05:00:00"), ("'-03:30'", "1969-12-31 20:30:00")],
        "select cast(from_unixtime(0) as char)",
    ),
    named(
        "sql_mode",
        &[
            ("'PIPES_AS_CONCAT'", "PIPES_AS_CONCAT"),
            ("'NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES'", "NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES"),
            ("'ANSI_QUOTES'", "ANSI_QUOTES"),
            ("''", ""),
        ],
    ),
    named("group_concat_max_len", &[("77", "77"), ("1234", "1234")]),
    probed(
        "group_concat_max_len",
        &[("77", "77"), ("1234", "1234")],
        "select least(length(group_concat(repeat('x', 3000))), 2000) from leak_a.five",
    ),
    named("lc_time_names", &[("'de_DE'", "de_DE"), ("'fr_FR'", "fr_FR")]),
    probed(
        "lc_time_names",
        &[("'de_DE'", "Mai"), ("'fr_FR'", "mai"), ("'es_ES'", "mayo")],
        "select monthname('2020-05-01')",
    ),
    named("foreign_key_checks", &[("0", "0"), ("off", "0")]),
    named("unique_checks", &[("0", "0")]),
    named("sql_select_limit", &[("3", "3"), ("4", "4")]),
    named("div_precision_increment", &[("7", "7"), ("9", "9")]),
    probed("div_precision_increment", &[("7", "0.3333333"), ("9", "0.333333333")], "select 1/3"),
    named("default_week_format", &[("3", "3"), ("5", "5")]),
    probed("default_week_format", &[("3", "53"), ("6", "53")], "select week('2021-01-01')"),
    named("max_sort_length", &[("99", "99"), ("555", "555")]),
    named("innodb_lock_wait_timeout", &[("33", "33"), ("44", "44")]),
    named("lock_wait_timeout", &[("555", "555")]),
    named("net_write_timeout", &[("66", "66")]),
    named("wait_timeout", &[("7777", "7777"), ("6666", "6666")]),
    named("sql_notes", &[("0", "0")]),
    named("sql_quote_show_create", &[("0", "0")]),
    named("max_error_count", &[("70", "70")]),
    named("sort_buffer_size", &[("524288", "524288")]),
    named("optimizer_search_depth", &[("13", "13")]),
    named("max_heap_table_size", &[("1048576", "1048576")]),
    named("auto_increment_increment", &[("3", "3")]),
];

const MYSQL: [Variable; 2] = [
    named(
        "transaction_isolation",
        &[("'READ-COMMITTED'", "READ-COMMITTED"), ("'READ-UNCOMMITTED'", "READ-UNCOMMITTED")],
    ),
    named("max_execution_time", &[("60000", "60000")]),
];

const MARIA: [Variable; 2] = [
    named(
        "tx_isolation",
        &[("'READ-COMMITTED'", "READ-COMMITTED"), ("'READ-UNCOMMITTED'", "READ-UNCOMMITTED")],
    ),
    named("max_statement_time", &[("60", "60.000000")]),
];

impl Variable {
    /// Those that the server has; what is set by one name may be read by several.
    pub(super) fn all(maria: bool) -> Vec<&'static Self> {
        let own: &[Self] = if maria { &MARIA } else { &MYSQL };
        NUMBERS.iter().chain(own).collect()
    }
}

/// The statement that reads it.
pub(super) fn readable(variable: &Variable) -> String {
    match variable.probe {
        "" => format!("select @@session.{}", variable.name),
        probe => probe.into(),
    }
}

/// All that says which character sets a session has.
pub(super) const CHARSETS: &str = "select concat_ws(' ', @@character_set_client, \
     @@character_set_connection, ifnull(@@character_set_results, 'none'), @@collation_connection)";

/// Statements that choose character sets, and what is read then.
pub(super) const NAMES: [(&str, &str); 6] = [
    ("set names latin1", "latin1 latin1 latin1 latin1_swedish_ci"),
    ("set names utf8mb4 collate utf8mb4_bin", "utf8mb4 utf8mb4 utf8mb4 utf8mb4_bin"),
    ("SET NAMES 'cp1250'", "cp1250 cp1250 cp1250 cp1250_general_ci"),
    ("set names koi8r", "koi8r koi8r koi8r koi8r_general_ci"),
    ("set names latin1 collate latin1_german1_ci", "latin1 latin1 latin1 latin1_german1_ci"),
    ("set names latin1, character_set_results = null", "latin1 latin1 none latin1_swedish_ci"),
];
