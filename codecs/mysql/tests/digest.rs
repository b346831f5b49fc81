//! Digests beside those of a real server, MySQL 8.0.33: `testdata/mysql/digests.tsv`.

use std::fmt::Write;

use wiremesh_mysql::digest::{DIGEST_MAX, Dialect, digest};

/// A statement and what the server says of it.
struct Case {
    mode: &'static str,
    sql: String,
    server: &'static str,
    /// Where ours is another on purpose.
    ours: Option<&'static str>,
}

fn cases() -> Vec<Case> {
    let file = include_str!("../../../testdata/mysql/digests.tsv");
    let case = |line: &'static str| {
        let mut columns = line.split('\t');
        let mut next = || columns.next().expect(line);
        let (mode, sql, server) = (next(), next(), next());
        Case { mode, sql: unescape(sql), server, ours: columns.next() }
    };
    file.lines().filter(|line| !line.starts_with('#')).map(case).collect()
}

fn unescape(text: &str) -> String {
    let (mut plain, mut chars) = (String::new(), text.chars());
    while let Some(char) = chars.next() {
        plain.push(match char {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('\\') => '\\',
                other => panic!("\\{other:?} in {text}"),
            },
            char => char,
        });
    }
    plain
}

/// Without what is only a matter of style: capitals, blanks, the quotes of names, and which of several words that mean
/// the same is used.
fn bare(digest: &str) -> String {
    let upper = digest.to_uppercase().replace("<>", "!=");
    let is_word = |char: char| char.is_alphanumeric() || char == '_';
    let mut words = Vec::new();
    let mut rest = upper.as_str();
    while let Some(first) = rest.chars().next() {
        let same = rest.find(|char| is_word(char) != is_word(first)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(same);
        let synonym = SYNONYMS.iter().find(|(theirs, _)| *theirs == word);
        words.push(synonym.map_or(word, |(_, other)| other));
        rest = behind;
    }
    words.concat().replace([' ', '`'], "")
}

/// What the server writes for a word, whichever of its synonyms was there.
const SYNONYMS: [(&str, &str); 20] = [
    ("DISTINCTROW", "DISTINCT"),
    ("SOME", "ANY"),
    ("SCHEMA", "DATABASE"),
    ("SYSTEM_USER", "USER"),
    ("CURRENT_TIMESTAMP", "NOW"),
    ("LOCALTIME", "NOW"),
    ("INTEGER", "INT"),
    ("INT8", "BIGINT"),
    ("CHARACTER", "CHAR"),
    ("VARCHARACTER", "VARCHAR"),
    ("SQL_TSI_DAY", "DAY"),
    ("SQL_TSI_HOUR", "HOUR"),
    ("SQL_TSI_YEAR", "YEAR"),
    ("FIELDS", "COLUMNS"),
    ("RLIKE", "REGEXP"),
    ("EXPLAIN", "DESCRIBE"),
    ("DESC", "DESCRIBE"),
    ("SUBSTRING", "SUBSTR"),
    ("REPLICA", "SLAVE"),
    ("MASTER", "SOURCE"),
];

#[test]
fn they_are_those_of_the_server_but_for_a_list() {
    let (mut wrong, mut out) = (String::new(), Vec::new());
    let cases = cases();
    assert!(cases.len() > 300);
    for Case { mode, sql, server, ours } in &cases {
        let dialect = Dialect {
            ansi_quotes: *mode == "ansi",
            no_backslash_escapes: *mode == "noback",
            ..Dialect::default()
        };
        out.clear();
        digest(sql.as_bytes(), dialect, true, &mut out);
        let own = std::str::from_utf8(&out).expect("UTF-8 stays that");
        let (same, listed) = (bare(own) == bare(server), ours.is_some());
        if same && listed {
            writeln!(wrong, "no difference: {sql}").expect("a String takes it");
        } else if ours.map_or(!same, |ours| ours != own) {
            writeln!(wrong, "{sql}\n  ours    {own}\n  server  {server}")
                .expect("a String takes it");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn nothing_is_allocated_where_there_is_room() {
    let (cases, mut out) = (cases(), Vec::with_capacity(2 * DIGEST_MAX));
    for Case { sql, .. } in &cases {
        out.clear();
        let allocated = allocation_counter::measure(|| {
            digest(sql.as_bytes(), Dialect::default(), true, &mut out);
        });
        assert_eq!(allocated.count_total, 0, "{sql}");
    }
}
