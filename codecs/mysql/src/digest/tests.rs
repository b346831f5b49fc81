use proptest::prelude::*;

use super::*;

fn read(sql: &[u8], dialect: Dialect, whole: bool) -> String {
    let mut out = b"before".to_vec();
    digest(sql, dialect, whole, &mut out);
    String::from_utf8_lossy(out.strip_prefix(b"before").unwrap()).into_owned()
}

fn plain(sql: &str) -> String {
    read(sql.as_bytes(), Dialect::default(), true)
}

/// Each statement and what it is to come to.
fn check(cases: &[(&str, &str)]) {
    for (sql, want) in cases {
        assert_eq!(plain(sql), *want, "{sql}");
    }
}

#[test]
fn literals_become_marks() {
    check(&[
        ("SELECT c FROM sbtest1 WHERE id=4321", "SELECT c FROM sbtest1 WHERE id = ?"),
        ("select 'it''s', \"a\\\"b\" , 'c\\'d' from t", "select ?, ... from t"),
        (
            "SELECT a WHERE b = 0xfF AND c=x'4D' and d = b'01' or e=0b1",
            "SELECT a WHERE b = ? AND c = ? and d = ? or e = ?",
        ),
        ("a = _utf8mb4'x' + _latin1 0x41", "a = ? + ?"),
        ("a=N'x' and b = n'y'", "a = ? and b = ?"),
        (
            "a = 1.5 or a=.5 or a = 1e5 or a= 1.e-3 or a = 1.",
            "a = ? or a = ? or a = ? or a = ? or a = ?",
        ),
        ("d > DATE '2026-11-21'", "d > DATE ?"),
        ("a = ?", "a = ?"),
        ("a = \\N", "a = ?"),
        ("a = 'x", "a = ?"),
        ("a = 'x\\", "a = ?"),
    ]);
}

#[test]
fn names_stay() {
    check(&[
        (
            "SELECT  `a b`.c , t . d, 1a FROM 2020_x,t.5,db.1e5",
            "SELECT `a b`.c, t.d, 1a FROM 2020_x, t.5, db.1e5",
        ),
        ("SELECT @a, @@global.x,@'b', @`c d`", "SELECT @a, @@global.x, @?, @`c d`"),
        ("`a``b` = `c", "`a``b` = ?"),
        ("0xg = 0b2", "0xg = 0b2"),
        ("t.*", "t.*"),
        ("SET @a:=1", "SET @a := ?"),
        ("bob@localhost = al@10.0.0.1", "bob @localhost = al ?"),
    ]);
    let ansi = Dialect { ansi_quotes: true, ..Dialect::default() };
    assert_eq!(read(br#"SELECT "a\" = "b""c""#, ansi, true), r#"SELECT `a\` = `b""c`"#);
}

#[test]
fn blanks_and_comments_do_not_count() {
    check(&[
        ("  SELECT\n\t1 -- one\n  ,2 # two\n/* three */ FROM t -- 'end", "SELECT ?, ... FROM t"),
        ("a--1", "a - ?"),
        ("a>=1 and b<=>2 and c->'$.x'||d->>\"$\"", "a >= ? and b <=> ? and c -> ? || d ->> ?"),
        ("CREATE TABLE t (a int) /*!50100 ENGINE = X */ ;", "CREATE TABLE t (a int) ENGINE = X"),
        ("/*M!100100 SET a='*/'*/", "SET a = ?"),
        (
            "SELECT /*+ MAX_EXECUTION_TIME(1000) SET_VAR(a=16M)*/ a",
            "SELECT /*+ MAX_EXECUTION_TIME (?) SET_VAR (a = ?) */ a",
        ),
        ("a /*+ not a hint */ b /* open", "a b"),
        ("/* only */", ""),
        (";", ""),
    ]);
}

#[test]
fn lists_are_one() {
    check(&[
        ("IN (1)", "IN (...)"),
        ("in(1 , 2,'x')", "in (...)"),
        ("f(1) + f(1,2)", "f (?) + f (...)"),
        ("LIMIT 5, 10", "LIMIT ?, ..."),
        ("VALUES (1),(2), (3) x", "VALUES (?) /* , ... */ x"),
        ("VALUES (1,NULL,'x'),(2,TRUE,3)", "VALUES (...) /* , ... */"),
        ("VALUES (1,now()),(2,now()),(3,now()) ON", "VALUES (?, now ()) /* , ... */ ON"),
        (
            "VALUES (1,now()),(2,later()),(3,later())",
            "VALUES (?, now ()), (?, later ()) /* , ... */",
        ),
        ("IN ((1,2),(3,4))", "IN ((...) /* , ... */)"),
        ("(1),x,(1)", "(?), x, (?)"),
        ("a IS NULL or a IS NOT NULL or a = null", "a IS NULL or a IS NOT NULL or a = ?"),
        ("a = -1 and b - 1 > +-5 and 1-1", "a = ? and b - ? > ? and ? - ?"),
        ("SELECT -1, a -1", "SELECT ?, a - ?"),
        (")(1))", ") (?))"),
    ]);
}

#[test]
fn statements_in_a_row_are_one() {
    check(&[
        ("SELECT 1; SELECT 2;;", "SELECT ? /* ; ... */"),
        ("a = 1; b = 2;b = -3; c", "a = ?; b = ? /* ; ... */; c"),
        (";a;", "a"),
        ("; _x 'y' ; SELECT -1", "?; SELECT ?"),
    ]);
}

#[test]
fn what_is_cut_has_a_mark() {
    let cut = |sql: &str| read(sql.as_bytes(), Dialect::default(), false);
    assert_eq!(cut("SELECT a FROM t WHERE b = 'x"), "SELECT a FROM t WHERE b = ? ...");
    assert_eq!(cut("SELECT a FROM t WHERE nam"), "SELECT a FROM t WHERE ...");
    assert_eq!(cut("IN (1,2,"), "IN (?, ... ...");
    // Wherever a list of rows is cut, it is the same.
    let rows = "INSERT INTO t VALUES (1, now(), 'a'), (2, now(), 'b'), (3, now(), 'c')";
    let second = rows.find("(2").unwrap();
    for end in second + 1..rows.len() {
        let want = "INSERT INTO t VALUES (?, now (), ?) /* , ... */ ...";
        assert_eq!(cut(&rows[..end]), want, "{}", &rows[..end]);
    }
    let batch = "UPDATE t SET a = 1 WHERE b = 2;".repeat(3);
    assert_eq!(cut(&batch[..batch.len() - 8]), "UPDATE t SET a = ? WHERE b = ? /* ; ... */ ...");
    let long = plain(&format!("SELECT {}", "column, ".repeat(1000)));
    assert!(long.len() <= DIGEST_MAX + CUT_MAX && long.ends_with("column ..."), "{long}");
    let huge = format!("INSERT INTO t VALUES {}", "(1, now()), ".repeat(100_000));
    assert_eq!(plain(&huge), "INSERT INTO t VALUES (?, now ()) /* , ... */ ...");
}

/// What comes on top of the bound.
const CUT_MAX: usize = 32;

#[test]
fn words_that_cannot_be_names_are_not_shown() {
    let long = "x".repeat(257);
    assert_eq!(plain(&format!("{long} `{long}` @{long}")), "? ? ?");
}

#[test]
fn double_byte_characters_hide_no_quotes() {
    let gbk = Dialect { charset: Charset::of_name(b"GBK"), ..Dialect::default() };
    let sjis = Dialect { charset: Charset::of_collation(13), ..Dialect::default() };
    for (dialect, sql) in [
        (gbk, b"a = '\xbf\x5c' and b = 'secret'".as_slice()),
        (sjis, b"a = '\x95\x5c' and b = 'secret'"),
        // No first byte of a pair in sjis, but a character by itself.
        (sjis, b"a = '\xb1\\'' and b = 'secret'"),
        (gbk, b"a = '\xbf' and b = 'secret'"),
    ] {
        assert_eq!(read(sql, dialect, true), "a = ? and b = ?", "{sql:?}");
    }
    let mut out = Vec::new();
    digest(b"\xbf\x60 = `\xbf\x60`", gbk, true, &mut out);
    assert_eq!(out, b"\xbf\x60 = `\xbf\x60`");
}

#[test]
fn backslashes_are_what_the_session_says() {
    let off = Dialect { no_backslash_escapes: true, ..Dialect::default() };
    assert_eq!(read(br"a = '\' and b = 'x'", off, true), "a = ? and b = ?");
    assert_eq!(read(br"a = '\' and b = 'x'", Dialect::default(), true), "a = ? ?");
}

fn dialects() -> impl Strategy<Value = Dialect> {
    let charset = prop_oneof![Just(Charset::Plain), Just(Charset::Gbk), Just(Charset::Sjis)];
    (any::<bool>(), any::<bool>(), charset).prop_map(
        |(ansi_quotes, no_backslash_escapes, charset)| Dialect {
            ansi_quotes,
            no_backslash_escapes,
            charset,
        },
    )
}

/// Something of what statements are made of, apart from literals.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::sample::select(vec![
        "SELECT",
        "insert into",
        "t",
        "`a b`",
        "VALUES",
        "(",
        ")",
        ",",
        ".",
        ";",
        "=",
        "-",
        "+",
        "--",
        "-- x\n",
        "/* c */",
        "/*! ",
        "*/",
        "/*+ h(1) */",
        "@a",
        "@@b",
        "IN",
        "NULL",
        "IS",
        "#c\n",
        "_utf8mb4",
        "x",
        "/",
        "*",
        "BETWEEN",
        "->>",
        "?",
        " ",
        "\n",
        "DATE",
        "\u{e4}",
    ]);
    text.prop_map(|text| text.as_bytes().to_vec())
}

/// A literal that has the text `marker` in it.
fn literal(dialect: Dialect) -> impl Strategy<Value = Vec<u8>> {
    let inside = prop::sample::select(vec![
        "", "''", "\"\"", "`", "--", "/*", "*/", ";", "(", "\\n", "\\\\", "?", "#", "\u{e4}", " ",
        "@", ",",
    ]);
    let inside = prop::collection::vec(inside, 0..4);
    let prefix = prop::sample::select(vec!["", "N", "x", "b", "_utf8mb4", "_utf8mb4 "]);
    (inside, prefix, any::<bool>(), 0..4usize).prop_map(move |(inside, prefix, double, at)| {
        let quote = if double && !dialect.ansi_quotes { '"' } else { '\'' };
        let mut text = inside;
        text.insert(at.min(text.len()), "marker");
        let mut text = text.concat();
        // What is there of the other quote is doubled, too, and means two.
        if dialect.no_backslash_escapes {
            text.push('\\');
        } else {
            text.push_str("\\'\\\"");
        }
        format!(" {prefix}{quote}{text}{quote} ").into_bytes()
    })
}

fn statement() -> impl Strategy<Value = (Dialect, Vec<Vec<u8>>)> {
    dialects().prop_flat_map(|dialect| {
        let part = prop_oneof![3 => piece(), 2 => literal(dialect)];
        (Just(dialect), prop::collection::vec(part, 0..30))
    })
}

proptest! {
    #[test]
    fn no_literal_is_shown((dialect, parts) in statement(), whole: bool) {
        let digest = read(&parts.join(&b' '), dialect, whole);
        prop_assert!(!digest.contains("marker"), "{digest}");
    }

    #[test]
    fn no_number_is_shown(
        number in "(0x)?7654[0-9]{4}(\\.[0-9]+)?(e[+-]?7654)?|\\.7654",
        before in prop::sample::select(vec!["= ", "(", ", ", "- ", "LIMIT ", "+", "*", "a / ", "`b` -"]),
        after in prop::sample::select(vec!["", ")", ",", " ", ";", "-1", "*", "/**/", "--\n"]),
    ) {
        let digest = plain(&format!("SELECT {before}{number}{after}"));
        prop_assert!(!digest.contains("7654"), "{digest}");
    }

    #[test]
    fn any_bytes_will_do(
        sql in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            prop::collection::vec(prop::sample::select(b"'\"`\\()*/-+@.,;#! \n0x1eN_aI\xbf\x5c?%$!{".to_vec()), 0..300),
        ],
        dialect in dialects(),
        whole: bool,
    ) {
        let digest = read(&sql, dialect, whole);
        prop_assert!(digest.len() <= 3 * sql.len() + CUT_MAX, "{digest}");
    }

    /// However a list of rows is written, it comes to the same.
    #[test]
    fn the_number_of_rows_does_not_count(rows in 2..60usize, columns in 1..5usize, call: bool) {
        let row = |n: usize| {
            let mut values: Vec<_> = (0..columns).map(|column| format!("{}", n * column)).collect();
            values.extend(call.then(|| "now()".to_owned()));
            format!("({})", values.join(","))
        };
        let of = |rows: usize| {
            let rows: Vec<_> = (0..rows).map(row).collect();
            plain(&format!("INSERT INTO t VALUES {} ON DUPLICATE KEY UPDATE a = 1", rows.join(",")))
        };
        prop_assert_eq!(of(rows), of(2));
    }

    /// Blanks and comments between parts change nothing.
    #[test]
    fn only_tokens_count(
        parts in prop::collection::vec(prop::sample::select(vec![
            "SELECT", "a", "`b`", "1", "'x'", "(", ")", ",", "=", "<=", "-", "IN", "NULL", "1.5", "@v", "*", ";",
        ]), 0..30),
        blanks in prop::collection::vec(prop::sample::select(vec!["  ", "\n", " /* x */ ", " -- x\n", "\t#'\n"]), 30),
    ) {
        let spread: String = parts.iter().zip(&blanks).flat_map(|(part, blank)| [*part, *blank]).collect();
        prop_assert_eq!(plain(&parts.join(" ")), plain(&spread));
    }
}
