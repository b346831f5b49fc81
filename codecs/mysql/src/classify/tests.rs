use proptest::prelude::*;

use super::*;

fn traits(sql: &str) -> Traits {
    classify(sql.as_bytes(), Reading::default())
}

/// They leave nothing behind, and are not explained.
#[test]
fn what_opens_a_transaction() {
    let begins = |text: &str| classify(text.as_bytes(), Reading::default()).begins;
    for text in ["begin", "BEGIN WORK", "/* a */ start transaction read only", "do 1; Begin"] {
        assert!(begins(text), "{text}");
    }
    for text in
        ["commit", "start replica", "start", "select 'begin'", "start slave; do 1", "a begin"]
    {
        assert!(!begins(text), "{text}");
    }
}

#[test]
fn what_leaves_nothing_behind() {
    for sql in [
        "",
        ";",
        "SELECT 1",
        "select c from sbtest1 where id=4321",
        "SELECT DISTINCT c FROM sbtest1 WHERE id BETWEEN 1 AND 100 ORDER BY c",
        "SELECT SUM(k) FROM sbtest1 WHERE id BETWEEN 1 AND 100",
        "INSERT INTO sbtest1 (id, k, c, pad) VALUES (1, 2, 'a', 'b')",
        "INSERT INTO `shop`.`orders`(`id`, `at`) VALUES (1, NOW()), (2, NOW())",
        "insert ignore into t(a) values (1)",
        "INSERT LOW_PRIORITY t (a) VALUE (1)",
        "INSERT INTO t (a) VALUES (1) AS new(x) ON DUPLICATE KEY UPDATE a = new.x + VALUES(a)",
        "INSERT INTO t PARTITION (p0, p1) (a) SELECT COUNT(*) FROM u",
        "REPLACE INTO t(a) SELECT REPLACE(a, 'x', 'y') FROM t",
        "UPDATE t SET a = a + 1, b = IF(a > 3, 'it''s @x', \"@y\") WHERE id IN (1,2,3)",
        "DELETE FROM t USING t INNER JOIN u ON (t.id = u.id) WHERE u.a LIKE '%GET_LOCK(%'",
        "SELECT a -- @x\n, b # GET_LOCK('x', 1)\n, c /* @y := 1 */ FROM t",
        "SELECT * FROM (SELECT 1 AS a) AS d (b) JOIN LATERAL (SELECT 2) e ON (TRUE)",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5), m (j) AS (SELECT 2) SELECT i, j FROM n, m",
        "SELECT CAST(a AS DECIMAL(10,2)), CONVERT(b, CHAR(10)), CONVERT(c USING utf8mb4) FROM t",
        "SELECT ROW_NUMBER() OVER (PARTITION BY a ORDER BY b), RANK() OVER w FROM t WINDOW w AS (ORDER BY c)",
        "SELECT GROUP_CONCAT(DISTINCT a ORDER BY b SEPARATOR ',') FROM t USE INDEX (i) GROUP BY (c) WITH ROLLUP HAVING MAX(d) > 1",
        "SELECT jt.* FROM t, JSON_TABLE(t.doc, '$[*]' COLUMNS (a INT PATH '$.a', NESTED PATH '$.b' COLUMNS (c VARCHAR(10) PATH '$'))) AS jt",
        "SELECT MATCH (a, b) AGAINST ('x' IN BOOLEAN MODE), EXTRACT(YEAR FROM d), DATE_ADD(d, INTERVAL 1 DAY) FROM t",
        "SELECT * FROM t WHERE id = ? AND (a, b) IN (VALUES ROW(1,2), ROW(3,4)) FOR UPDATE",
        "SELECT @@version, @@session.sql_mode, @@GLOBAL.max_connections, @@`time_zone`",
        "SELECT /*+ MAX_EXECUTION_TIME(1000) NO_INDEX_MERGE(t) mine(x) */ a FROM t",
        "CREATE TABLE t (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, a VARCHAR(10) DEFAULT (uuid()), b ENUM('x','y'), PRIMARY KEY (id), UNIQUE KEY `name` (`a`), CONSTRAINT c FOREIGN KEY f (b) REFERENCES u (b)) ENGINE=InnoDB",
        "CREATE INDEX i ON t (a(10), b)",
        "ALTER TABLE t ADD COLUMN g INT GENERATED ALWAYS AS (a + 1) VIRTUAL, ADD INDEX j (g)",
        "DROP TABLE IF EXISTS t",
        "TRUNCATE TABLE t",
        "CREATE USER 'bob'@'%' IDENTIFIED BY 'x'",
        "GRANT SELECT (a, b), INSERT (c) ON shop.t TO bob@localhost, 'al'@'10.0.0.1'",
        "DROP USER bob@10.0.0.1",
        "CREATE DEFINER=`root`@`localhost` VIEW v AS SELECT 1",
        "SHOW TABLES",
        "SHOW FULL COLUMNS FROM `t`",
        "SHOW VARIABLES LIKE 'sql_mode'",
        "SHOW GRANTS FOR 'bob'@'%'",
        "SHOW CREATE TABLE warnings",
        "BEGIN",
        "begin work",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT",
        "START TRANSACTION /*!40100 WITH CONSISTENT SNAPSHOT */",
        "COMMIT",
        "ROLLBACK TO SAVEPOINT a",
        "SAVEPOINT `a`",
        "KILL QUERY 5",
        "DO 1",
        "DO SLEEP(1)",
        "UNLOCK TABLES",
        "FLUSH PRIVILEGES",
        "ANALYZE TABLE t",
        "LOAD DATA LOCAL INFILE 'x' INTO TABLE t FIELDS TERMINATED BY ',' IGNORE 1 LINES (a, b)",
        "EXPLAIN FORMAT=JSON SELECT COUNT(*) FROM t",
        "DESCRIBE t",
        "SELECT /*!40001 SQL_NO_CACHE */ * FROM `t`",
        "SET GLOBAL max_connections = 100",
        "SET PERSIST sort_buffer_size = 100000",
        "SET @@global.innodb_flush_log_at_trx_commit = 2",
        "SET PASSWORD = 'x'",
        "SET DEFAULT ROLE r TO bob",
        "SELECT 1; SELECT 2",
        "(SELECT 1) UNION (SELECT 2)",
        "SELECT 1 UNION ALL (SELECT 2 INTERSECT SELECT 3)",
        "TABLE t",
        "SELECT * FROM t FOR SYSTEM_TIME AS OF TIMESTAMP('2020-01-01')",
        "SELECT DATABASE(), USER(), CURRENT_USER(), VERSION(), UUID(), RAND()",
        "SELECT NEXTVAL(s), NEXT VALUE FOR s",
    ] {
        let traits = traits(sql);
        assert_eq!(traits.pin, None, "{sql}");
        assert!(!traits.explained, "{sql}");
    }
}

#[test]
fn what_pins() {
    for (sql, pin) in [
        ("SELECT @a", Pin::UserVariable),
        ("SELECT@a", Pin::UserVariable),
        ("SELECT @a := @a + 1 FROM t", Pin::UserVariable),
        ("SELECT @1", Pin::UserVariable),
        ("SELECT @'a b', @`c`", Pin::UserVariable),
        ("SELECT a INTO @x FROM t", Pin::UserVariable),
        ("SET @a = 1", Pin::UserVariable),
        ("SET @a := 1, sql_mode = ''", Pin::UserVariable),
        ("SET autocommit = 1, @'a' = 1", Pin::UserVariable),
        ("SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT", Pin::UserVariable),
        ("/*!40101 SET @saved_cs_client = @@character_set_client */;", Pin::UserVariable),
        ("INSERT INTO t VALUES (1, @a)", Pin::UserVariable),
        ("LOAD DATA INFILE 'x' INTO TABLE t (a, @b) SET c = UPPER(@b)", Pin::UserVariable),
        ("CREATE TEMPORARY TABLE t (a int)", Pin::TemporaryTable),
        ("create or replace temporary table t select 1", Pin::TemporaryTable),
        ("CREATE /*!32302 TEMPORARY */ TABLE t (a int)", Pin::Unclear),
        ("LOCK TABLES t READ, u WRITE", Pin::LockedTables),
        ("lock table t write", Pin::LockedTables),
        ("FLUSH TABLES WITH READ LOCK", Pin::FlushedTables),
        ("FLUSH LOCAL TABLES t, u FOR EXPORT", Pin::FlushedTables),
        ("LOCK INSTANCE FOR BACKUP", Pin::Backup),
        ("BACKUP STAGE START", Pin::Backup),
        ("SELECT GET_LOCK('a', 1)", Pin::NamedLock),
        ("SELECT 1 FROM t WHERE get_lock ( 'a', 1)", Pin::NamedLock),
        ("DO RELEASE_LOCK('a')", Pin::NamedLock),
        ("SELECT IS_FREE_LOCK('a'), RELEASE_ALL_LOCKS()", Pin::NamedLock),
        ("SELECT service_get_write_locks('n', 'l', 1)", Pin::NamedLock),
        ("PREPARE s FROM 'SELECT 1'", Pin::Prepare),
        ("EXECUTE s", Pin::Prepare),
        ("DEALLOCATE PREPARE s", Pin::Prepare),
        ("EXECUTE IMMEDIATE 'SELECT 1'", Pin::Prepare),
        ("HANDLER t OPEN", Pin::Handler),
        ("XA START 'x'", Pin::Xa),
        ("CALL p(1)", Pin::Routine),
        ("BEGIN NOT ATOMIC SELECT 1; END", Pin::Unknown),
        ("SELECT mine(1)", Pin::Function),
        ("SELECT shop.mine(1)", Pin::Function),
        ("SELECT `mine`(1)", Pin::Function),
        ("SELECT shop.count(1)", Pin::Function),
        ("SELECT * FROM t WHERE a = f(1)", Pin::Function),
        ("INSERT INTO t (a) VALUES (mine(1))", Pin::Function),
        ("INSERT INTO t SELECT mine(1)", Pin::Function),
        ("WITH a AS (SELECT 1) SELECT (1), mine(2)", Pin::Function),
        ("CREATE TABLE t AS SELECT mine(1)", Pin::Function),
        ("SELECT 1 AS a, mine(2)", Pin::Function),
        ("SET sql_mode = mine()", Pin::Function),
        ("SELECT count (x) FROM t", Pin::Function),
        ("SET sql_log_bin = 0", Pin::Variable),
        ("SET timestamp = 5, autocommit = 1", Pin::Variable),
        ("SET SESSION session_track_schema = OFF", Pin::Variable),
        ("SET insert_id = 5", Pin::Variable),
        ("SET sql_auto_is_null = 1", Pin::Variable),
        ("SET GLOBAL a = 1, insert_id = 5", Pin::Variable),
        ("SET x.y = 1", Pin::Variable),
        ("SET sql_mode", Pin::Variable),
        ("SET", Pin::Variable),
        ("SET ROLE r", Pin::Role),
        ("SET RESOURCE GROUP g", Pin::ResourceGroup),
        ("SET TRANSACTION READ ONLY", Pin::NextTransaction),
        ("SET @@transaction_isolation = 'SERIALIZABLE'", Pin::NextTransaction),
        ("FROB x", Pin::Unknown),
        ("BINLOG 'x'", Pin::Unknown),
        ("IF 1 THEN SELECT 1; END IF", Pin::Unknown),
        ("SELECT 'a", Pin::Unclear),
        ("SELECT `a", Pin::Unclear),
        ("SELECT 1 /* a", Pin::Unclear),
        ("SELECT 1 /*! a", Pin::Unclear),
        ("/*!99999 ' */ SELECT GET_LOCK('a',1) -- '", Pin::Unclear),
        ("SELECT /*+ # */ GET_LOCK('a', 1)", Pin::Unclear),
        ("SELECT GET_LOCK /*!99999 AS */ ('a', 1)", Pin::Unclear),
        ("SELECT 1; SET @a = 1; SELECT 2", Pin::UserVariable),
        ("LOCK TABLES t READ; SELECT @a", Pin::UserVariable),
    ] {
        assert_eq!(traits(sql).pin, Some(pin), "{sql}");
    }
}

#[test]
fn what_is_explained() {
    for sql in [
        "USE shop",
        "use `my shop`;",
        "SET NAMES utf8mb4",
        "set names 'utf8mb4' collate 'utf8mb4_unicode_ci'",
        "SET NAMES utf8, character_set_results = NULL",
        "/*!40101 SET NAMES utf8 */",
        "SET CHARACTER SET utf8",
        "SET CHARSET DEFAULT",
        "SET autocommit=0",
        "SET AUTOCOMMIT = 1;",
        "SET sql_mode='STRICT_TRANS_TABLES', time_zone = '+00:00'",
        "SET NAMES utf8mb4,  @@SESSION.sql_mode = CONCAT(CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), ',NO_AUTO_VALUE_ON_ZERO'),  @@SESSION.sql_auto_is_null = 0, @@SESSION.wait_timeout = 2147483",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET LOCAL TRANSACTION READ ONLY",
        "SET SESSION transaction_read_only = 1",
        "SET tx_isolation='READ-COMMITTED'",
        "SET @@sql_mode = DEFAULT",
        "SET @@`session`.`sql_mode` = ''",
        "SET @@session . sql_mode = ''",
        "SET LOCAL sql_mode := ANSI, foreign_key_checks = off",
        "SET NAMES utf8; USE a; SET sql_notes=0;",
    ] {
        assert!(traits(sql).explained, "{sql}: {:?}", traits(sql));
    }
    for sql in [
        "SET sql_mode = (SELECT 'x')",
        "SET NAMES utf8; SELECT 1",
        "SET GLOBAL sql_mode = '', SESSION sql_mode = ''",
        "SET STATEMENT max_statement_time = 1 FOR SELECT 1",
    ] {
        assert_eq!((traits(sql).explained, traits(sql).pin), (false, None), "{sql}");
    }
}

#[test]
fn what_is_asked_for() {
    const LAST: Diagnostics = Diagnostics::LAST_INSERT_ID;
    for (sql, asks) in [
        ("SHOW WARNINGS", Diagnostics::WARNINGS),
        ("show errors limit 5", Diagnostics::WARNINGS),
        ("SHOW COUNT(*) WARNINGS", Diagnostics::WARNINGS),
        ("SELECT @@warning_count", Diagnostics::WARNINGS),
        ("SELECT @@session.error_count", Diagnostics::WARNINGS),
        ("SELECT @@`session` . `error_count`", Diagnostics::WARNINGS),
        ("GET DIAGNOSTICS @a = NUMBER", Diagnostics::WARNINGS),
        ("SELECT FOUND_ROWS()", Diagnostics::FOUND_ROWS),
        ("SELECT ROW_COUNT()", Diagnostics::ROW_COUNT),
        ("SELECT LAST_INSERT_ID()", LAST),
        ("SELECT last_insert_id ( ) AS id", LAST),
        ("INSERT INTO t VALUES (LAST_INSERT_ID())", LAST),
        ("SELECT @@identity", LAST),
        ("SELECT LASTVAL(s), PREVIOUS VALUE FOR s", Diagnostics::LAST_VALUE),
        ("SELECT @@last_gtid", Diagnostics::LAST_GTID),
        ("SELECT FOUND_ROWS(), ROW_COUNT()", Diagnostics::FOUND_ROWS.and(Diagnostics::ROW_COUNT)),
        ("INSERT INTO t VALUES (1); SELECT LAST_INSERT_ID()", Diagnostics::NONE),
        ("SELECT LAST_INSERT_ID(); INSERT INTO t VALUES (1)", LAST),
        ("UPDATE t SET a = 1; SELECT LAST_INSERT_ID()", LAST),
        ("SELECT SQL_CALC_FOUND_ROWS a FROM t LIMIT 1; SELECT FOUND_ROWS()", Diagnostics::NONE),
        ("INSERT INTO t VALUES (1); SELECT ROW_COUNT(); SHOW WARNINGS", Diagnostics::NONE),
        ("VALUES (1), (2); SELECT FOUND_ROWS()", Diagnostics::FOUND_ROWS),
        ("WITH a AS (SELECT 1) DELETE FROM t; SELECT FOUND_ROWS()", Diagnostics::FOUND_ROWS),
        ("/*!99999 SELECT 1 */; SELECT FOUND_ROWS()", Diagnostics::FOUND_ROWS),
        ("SHOW CREATE TABLE warnings", Diagnostics::NONE),
        ("SELECT LAST_INSERT_ID(5)", Diagnostics::NONE),
        ("SELECT 'LAST_INSERT_ID()'", Diagnostics::NONE),
        ("SELECT warning_count FROM t", Diagnostics::NONE),
    ] {
        assert_eq!(traits(sql).asks, asks, "{sql}");
    }
    assert!(traits("INSERT INTO t VALUES (1); SELECT LAST_INSERT_ID()").asks_made_id);
    assert!(!traits("SELECT LAST_INSERT_ID(); INSERT INTO t VALUES (1)").asks_made_id);
    assert!(traits("SELECT SQL_CALC_FOUND_ROWS * FROM t").calc_found_rows);
    assert!(traits("UPDATE t SET id = LAST_INSERT_ID(id + 1)").sets_last_insert_id);
    assert!(traits("INSERT INTO t VALUES (1) RETURNING id").sets_last_insert_id);
    assert!(!traits("SELECT LAST_INSERT_ID()").sets_last_insert_id);
    assert!(
        traits("SELECT NEXT VALUE FOR s").takes_value && traits("SELECT nextval(s)").takes_value
    );
    assert!(traits("SELECT CONNECTION_ID()").connection_id);
    assert_eq!(
        format!("{:?}", traits("SELECT FOUND_ROWS(), ROW_COUNT()").asks),
        r#"{"FOUND_ROWS()", "ROW_COUNT()"}"#
    );
}

#[test]
fn what_sets_the_counters() {
    let both = Diagnostics::ROW_COUNT.and(Diagnostics::FOUND_ROWS);
    for sql in [
        "SELECT 1",
        "select a from t limit 0",
        "(SELECT 1) UNION (SELECT 2)",
        "SELECT a INTO @a FROM t",
        "SELECT /*!40001 SQL_NO_CACHE */ * FROM `t`",
        "SELECT mine(1)",
        "TABLE t",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "WITH RECURSIVE a (b) AS (SELECT 1), c AS (SELECT 2) SELECT * FROM a",
        "SET STATEMENT max_statement_time = 1 FOR SELECT a FROM t",
        "DO 1; SELECT 1; COMMIT",
    ] {
        assert_eq!(traits(sql).counts, both, "{sql}");
    }
    for sql in [
        "VALUES (1), (2)",
        "VALUES ROW(1)",
        "WITH a AS (SELECT 1) UPDATE t SET b = 1",
        "WITH a AS (SELECT 1), c AS (SELECT 2) DELETE FROM t",
        "INSERT INTO t SELECT 1",
        "INSERT INTO t VALUES (1) RETURNING a",
        "UPDATE t SET a = 1",
        "BEGIN",
        "begin work",
        "START TRANSACTION",
        "SET sql_mode = ''",
        "SET @a = (SELECT COUNT(*) FROM t)",
        "USE shop",
        "SHOW GRANTS",
        "SHOW TABLES",
        "DO (SELECT 1)",
        "CREATE TABLE t AS SELECT 1",
        "DROP TABLE t",
        "HELP 'select'",
        "CHECKSUM TABLE t",
        "HANDLER t READ FIRST",
    ] {
        assert_eq!(traits(sql).counts, Diagnostics::ROW_COUNT, "{sql}");
    }
    for sql in [
        "",
        "/* nothing */",
        "/*!99999 SELECT 1 */",
        "CALL p()",
        "EXECUTE p",
        "BEGIN NOT ATOMIC SELECT 1; END",
        "GET DIAGNOSTICS @a = NUMBER",
        "EXPLAIN FOR CONNECTION 5",
        "SHOW EXPLAIN FOR 5",
        "DESC t",
        "RESIGNAL",
        "SELECT 'a",
    ] {
        assert_eq!(traits(sql).counts, Diagnostics::NONE, "{sql}");
    }
}

#[test]
fn hints_are_in_comments_alone() {
    let hints = |sql: &str| -> Vec<(String, String)> {
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        traits(sql).hints(sql.as_bytes()).map(own).collect()
    };
    let replica = [("route".to_owned(), "replica".to_owned())];
    assert_eq!(hints("/* wiremesh: route=replica */ SELECT 1"), replica);
    assert_eq!(hints("SELECT 1 /*wiremesh:route=replica*/"), replica);
    assert_eq!(hints("SELECT 1 /* other */ /* wiremesh: route=replica */"), replica);
    for sql in [
        "SELECT '/* wiremesh: route=replica */'",
        "SELECT 1 -- /* wiremesh: route=replica */",
        "SELECT 1 /*! wiremesh: route=replica */",
        "SELECT 1 /* x wiremesh: route=replica */",
    ] {
        assert_eq!(hints(sql), [], "{sql}");
    }
}

#[test]
fn how_it_is_read() {
    let with = |sql: &[u8], reading: Reading| classify(sql, reading).pin;
    let plain = Reading::default();
    let spaced = Reading { ignore_space: true, ..plain };
    assert_eq!(with(b"SELECT count (x) FROM t", spaced), None);
    assert_eq!(with(b"SELECT 1", Reading { cut: true, ..plain }), Some(Pin::Cut));
    let guessed = Reading { guessed: true, ..plain };
    assert_eq!(with(br#"SELECT "a\"b""#, guessed), Some(Pin::Unclear));
    assert_eq!(with(br#"SELECT "a\"b""#, plain), None);
    assert_eq!(with(br#"SELECT "ab""#, guessed), None);
    let gbk = Dialect { charset: Charset::Gbk, ..Dialect::default() };
    let gbk = Reading { dialect: gbk, ..plain };
    assert_eq!(with(b"SELECT '\xbf\x5c'", gbk), Some(Pin::Unclear));
    assert_eq!(with(b"SELECT 'a'", gbk), None);
    assert_eq!(with("SELECT 'ä', ä FROM t".as_bytes(), plain), None);
    // A blank that does not break, in latin1.
    assert_eq!(with(b"FLUSH TABLES WITH\xa0READ LOCK", plain), Some(Pin::Unclear));
    assert_eq!(with(b"SELECT '\xa0' FROM t", plain), None);
    assert_eq!(with(b"CREATE FUNCTION f() RETURNS INT AS $$ ' $$", plain), Some(Pin::Unclear));
}

#[test]
fn nothing_is_allocated() {
    let rows = "(1, 'a', NOW(), -2.5), ".repeat(1000);
    for sql in [
        "SELECT c FROM sbtest1 WHERE id=4321",
        "SET NAMES utf8mb4, sql_mode = '', @@session.time_zone = '+00:00'",
        "SELECT @a, mine(1) /* wiremesh: route=replica */",
        &format!("INSERT INTO t (a, b, c, d) VALUES {rows}(1, 'a', NOW(), 2)"),
    ] {
        let allocated = allocation_counter::measure(|| {
            let traits = traits(sql);
            assert!(traits.hints(sql.as_bytes()).count() < 2);
        });
        assert_eq!(allocated.count_total, 0, "{sql}");
    }
}

/// Statements with a place, `{}`, for something that is only text.
const WITH_TEXT: [&str; 14] = [
    "SELECT 'x{}' FROM t",
    "SELECT \"{}\", a FROM t WHERE b = 1",
    "INSERT INTO t (a) VALUES ('{}'), ('b')",
    "SELECT a /* {} */ FROM t",
    "/* {} */ SET NAMES utf8",
    "SET sql_mode = '{}'",
    "SELECT a -- {}\n FROM t",
    "SELECT a # {}\n FROM t",
    "SELECT `{}` FROM t",
    "SELECT mine('{}')",
    "SELECT @a, '{}'",
    "USE `{}`",
    "SELECT LAST_INSERT_ID(), '{}'; SHOW WARNINGS",
    "CREATE TABLE t (a INT COMMENT '{}')",
];

/// What would matter outside of quotes and comments.
fn text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "@a",
        "@@warning_count",
        "GET_LOCK(",
        "mine(1)",
        "(",
        ")",
        ";",
        "FOR UPDATE",
        "INTO",
        "LAST_INSERT_ID()",
        "SQL_CALC_FOUND_ROWS",
        "/*!",
        "SET",
        "--",
        " ",
        ",",
        ".",
        ":=",
        "=",
        "XA",
        "/*",
        "#",
        "0x1",
        "\u{e4}",
        "{",
        "$",
    ]);
    let text = prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat());
    text.prop_filter("it would end a comment", |text| !text.contains("*/"))
}

/// Statements and parts of statements.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "SELECT",
        "SET",
        "INSERT INTO",
        "t",
        "(",
        ")",
        ",",
        ";",
        ".",
        "@",
        "@@",
        "@a",
        "=",
        ":=",
        "'",
        "\"",
        "`",
        "/*",
        "*/",
        "/*!",
        "/*+",
        "--",
        "\n",
        "#",
        "1",
        "NAMES",
        "SESSION",
        "GLOBAL",
        "TRANSACTION",
        "STATEMENT",
        "FOR",
        "AS",
        "WITH",
        "LAST_INSERT_ID",
        "USE",
        "\\",
        " ",
        "'x'",
    ]);
    let pieces = prop::collection::vec(piece, 0..40);
    prop_oneof![
        pieces.clone().prop_map(|pieces| pieces.join(" ").into_bytes()),
        pieces.prop_map(|pieces| pieces.concat().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..300),
    ]
}

proptest! {
    #[test]
    fn text_in_quotes_and_comments_changes_nothing(at in 0..WITH_TEXT.len(), text in text()) {
        let with = WITH_TEXT[at];
        prop_assert_eq!(traits(&with.replace("{}", &text)), traits(&with.replace("{}", "x")), "{} {}", with, text);
    }

    #[test]
    fn any_bytes_will_do(sql in anything(), ansi_quotes: bool, no_backslash_escapes: bool, guessed: bool, cut: bool) {
        let dialect = Dialect { ansi_quotes, no_backslash_escapes, ..Dialect::default() };
        let traits = classify(&sql, Reading { dialect, guessed, cut, ignore_space: guessed });
        prop_assert!(traits.pin.is_none() || !traits.explained && !traits.may_read);
        prop_assert!(!cut || traits.pin == Some(Pin::Cut));
        prop_assert!(traits.hints(&sql).count() <= 16);
        prop_assert!(traits.asks_at_all.has(traits.asks));
    }

    /// What one of several statements leaves behind is left behind.
    #[test]
    fn the_worst_counts(before in anything(), after in anything()) {
        let open = classify(&before, Reading::default()).pin == Some(Pin::Unclear);
        // What is not closed may hide the rest.
        let before = if open { &[] } else { &before[..] };
        let sql = [before, b"\n; SELECT GET_LOCK('a', 1), @a ;", &after].concat();
        prop_assert!(classify(&sql, Reading::default()).pin >= Some(Pin::UserVariable));
    }
}
