//! Whether a statement only reads, and may do so on a replica.

use std::collections::HashMap;

use sqlparser::{
    ast::{Query, SetExpr, Statement},
    dialect::MySqlDialect,
    parser::Parser,
};

use super::word::is_one_of;
use crate::digest::{
    DIGEST_MAX, Dialect,
    scan::{Scanner, Token},
};

/// A statement of more text, lists of literals and comments apart, is not parsed.
const TEXT_MAX: usize = 8 << 10;

/// Nor is one with more tokens: a chain of operators or `UNION`s becomes as deep a tree.
const TOKENS_MAX: usize = 1000;

/// The parser gives up on what is nested deeper. A level takes up to 80 KiB of stack where nothing is optimised, and threads have
/// 2 MiB.
const DEPTH_MAX: usize = 14;

/// What was found of statements, by digest. Bounded: when it is full, what was not asked for lately is forgotten.
#[derive(Debug)]
pub struct ReadCache {
    recent: HashMap<Box<[u8]>, bool>,
    before: HashMap<Box<[u8]>, bool>,
    half: usize,
    plain: Vec<u8>,
}

impl ReadCache {
    /// One of at most so many statements, each of up to 8 KiB; few are longer than their digest.
    pub fn new(statements: usize) -> Self {
        let half = statements.div_ceil(2).max(1);
        Self { recent: HashMap::new(), before: HashMap::new(), half, plain: Vec::new() }
    }

    /// Whether a statement is certainly a read that a replica may answer. To be asked only where
    /// [`Traits::may_read`](super::Traits::may_read) says that it may be one.
    ///
    /// `digest`: that of `text`, read by the same dialect. A statement is parsed when its digest is new.
    pub fn is_read(&mut self, digest: &[u8], text: &[u8], dialect: Dialect) -> bool {
        // Of two long statements the ends may differ where the digests do not show it. A short text is never cut.
        let cut = digest.ends_with(b" ...") && text.len() > DIGEST_MAX / 4;
        if !cut {
            return self.get(digest).unwrap_or_else(|| {
                let mut plain = std::mem::take(&mut self.plain);
                let read = write(text, dialect, &mut plain) && parse(&plain);
                self.plain = plain;
                self.put(digest.into(), read);
                read
            });
        }
        let mut plain = std::mem::take(&mut self.plain);
        let read = write(text, dialect, &mut plain)
            && self.get(&plain).unwrap_or_else(|| {
                let read = parse(&plain);
                self.put(plain.as_slice().into(), read);
                read
            });
        self.plain = plain;
        read
    }

    /// How many statements are known.
    pub fn len(&self) -> usize {
        self.recent.len().saturating_add(self.before.len())
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn get(&mut self, key: &[u8]) -> Option<bool> {
        if let Some(read) = self.recent.get(key) {
            return Some(*read);
        }
        let (key, read) = self.before.remove_entry(key)?;
        self.put(key, read);
        Some(read)
    }

    fn put(&mut self, key: Box<[u8]>, read: bool) {
        if self.recent.len() >= self.half {
            self.before = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, read);
    }
}

/// Writes a statement for the parser, as the scanner reads it: without comments, with other literals in place of its own,
/// of several in a row the last. `false`: it is too long, or about the server that it is sent to.
fn write(text: &[u8], dialect: Dialect, out: &mut Vec<u8>) -> bool {
    out.clear();
    let mut scanner = Scanner::new(text, dialect);
    let (mut tokens, mut in_hints) = (0_usize, false);
    // Where the last literal begins, and whether a comma follows it.
    let mut literal: Option<(usize, bool)> = None;
    let (mut local, mut uncounted) = (false, 0_usize);
    while let Some(token) = scanner.next() {
        match token {
            Token::HintOpen => in_hints = true,
            Token::HintClose => in_hints = false,
            _ => {}
        }
        if in_hints || token == Token::HintClose {
            continue;
        }
        if matches!(token, Token::Literal | Token::Number)
            && let Some((at, true)) = literal
        {
            out.truncate(at);
            tokens = tokens.saturating_sub(2);
        }
        let start = out.len();
        match token {
            Token::Word(word) => {
                if is_one_of(word, &LOCAL) {
                    return false;
                }
                if is_one_of(word, &UNCOUNTED) {
                    uncounted = uncounted.saturating_add(1);
                }
                local = is_one_of(word, &SCHEMAS);
                out.extend_from_slice(word);
            }
            Token::Quoted(name) => {
                if name.iter().any(|byte| matches!(byte, b'`' | b'"')) {
                    return false;
                }
                local = is_one_of(name, &SCHEMAS);
                out.push(b'`');
                out.extend_from_slice(name);
                out.push(b'`');
            }
            Token::Number => out.push(b'1'),
            Token::Literal => out.extend_from_slice(b"'x'"),
            Token::Sign(sign) => out.push(sign),
            Token::Operator(operator) => out.extend_from_slice(operator),
            Token::Open => out.push(b'('),
            Token::Close => out.push(b')'),
            Token::Comma => out.push(b','),
            Token::Dot if local => return false,
            Token::Dot => out.push(b'.'),
            // It ends here: there is one statement.
            Token::Semicolon => {}
            Token::Variable(_) | Token::Address | Token::HintOpen | Token::HintClose => {
                return false;
            }
        }
        local &= matches!(token, Token::Word(_) | Token::Quoted(_));
        // Behind a dot the parser would take a blank for the end of the name; an `=` and a `>` would be two.
        if token != Token::Dot {
            out.push(b' ');
        }
        literal = match (token, literal) {
            (Token::Literal | Token::Number, _) => Some((start, false)),
            (Token::Comma, Some((at, false))) => Some((at, true)),
            _ => None,
        };
        tokens = tokens.saturating_add(1);
        if tokens > TOKENS_MAX || uncounted > UNCOUNTED_MAX || out.len() > TEXT_MAX {
            return false;
        }
    }
    true
}

/// Nor one with more words that the parser goes deeper for without counting.
const UNCOUNTED_MAX: usize = 20;

const UNCOUNTED: [&str; 3] = ["join", "straight_join", "div"];

/// Schemas whose tables are about the server they are on.
const SCHEMAS: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];

/// Functions that are about the server they are called on.
const LOCAL: [&str; 10] = [
    "binlog_gtid_pos",
    "load_file",
    "master_gtid_wait",
    "master_pos_wait",
    "ps_current_thread_id",
    "ps_thread_id",
    "sleep",
    "source_pos_wait",
    "uuid_short",
    "wait_for_executed_gtid_set",
];

fn parse(plain: &[u8]) -> bool {
    let plain = String::from_utf8_lossy(plain);
    let parsed = Parser::new(&MySqlDialect {})
        .with_recursion_limit(DEPTH_MAX)
        .try_with_sql(&plain)
        .and_then(|mut parser| parser.parse_statements());
    match parsed.as_deref() {
        Ok([Statement::Query(query)]) => is_read(query),
        _ => false,
    }
}

fn is_read(query: &Query) -> bool {
    let with = query.with.iter().flat_map(|with| &with.cte_tables);
    query.locks.is_empty()
        && query.for_clause.is_none()
        && query.settings.is_none()
        && query.format_clause.is_none()
        && query.pipe_operators.is_empty()
        && reads(&query.body)
        && with.into_iter().all(|table| is_read(&table.query))
}

fn reads(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select.into.is_none(),
        SetExpr::Query(query) => is_read(query),
        SetExpr::SetOperation { left, right, .. } => reads(left) && reads(right),
        SetExpr::Values(_) | SetExpr::Table(_) => true,
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        classify::{Reading, classify},
        digest::digest,
    };

    fn ask(cache: &mut ReadCache, sql: &str) -> bool {
        let dialect = Dialect::default();
        let mut short = Vec::new();
        digest(sql.as_bytes(), dialect, true, &mut short);
        classify(sql.as_bytes(), Reading::default()).may_read
            && cache.is_read(&short, sql.as_bytes(), dialect)
    }

    fn is_read(sql: &str) -> bool {
        ask(&mut ReadCache::new(4), sql)
    }

    #[test]
    fn what_only_reads() {
        for sql in [
            "SELECT 1",
            "select c from sbtest1 where id=4321;",
            "SELECT DISTINCT c FROM sbtest1 WHERE id BETWEEN 1 AND 100 ORDER BY c LIMIT 5, 10",
            "SELECT `t`.`a` AS `b`, COUNT(*) FROM `shop`.`t` LEFT JOIN u ON t.id = u.id WHERE u.a IN (1,2,3) GROUP BY 1 HAVING COUNT(*) > 2",
            "(SELECT a FROM t) UNION ALL (SELECT b FROM u) ORDER BY 1",
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n",
            "SELECT * FROM t WHERE d > DATE '2026-01-01' AND e < NOW() - INTERVAL 1 DAY",
            "SELECT * FROM t WHERE a = ? AND b LIKE ? LIMIT ?",
            "SELECT CAST(a AS DECIMAL(10,2)), IF(a IS NULL, 'x', \"y\") FROM t USE INDEX (i)",
            "SELECT /*+ MAX_EXECUTION_TIME(1000) */ a FROM t",
            "SELECT SQL_NO_CACHE a, x'4D' FROM t AS u WHERE u.a <=> NULL AND a->>'$.b' = 'c'",
            "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id) -- x",
            "SELECT ROW_NUMBER() OVER (PARTITION BY a ORDER BY b) FROM t",
            "SELECT MATCH (a) AGAINST ('x' IN BOOLEAN MODE) FROM t",
            "SELECT GROUP_CONCAT(DISTINCT a ORDER BY b SEPARATOR ',') FROM t",
            "SELECT a FROM `größe` WHERE ä = 'ö'",
            "VALUES ROW(1, 2), ROW(3, 4)",
        ] {
            assert!(is_read(sql), "{sql}");
        }
    }

    #[test]
    fn what_does_not() {
        for sql in [
            "",
            "SELECT a FROM t FOR UPDATE",
            "SELECT a FROM t WHERE b IN (SELECT c FROM u FOR SHARE)",
            "SELECT a FROM t LOCK IN SHARE MODE",
            "SELECT a FROM t INTO OUTFILE 'x'",
            "SELECT @a",
            "SELECT @@read_only",
            "SELECT LAST_INSERT_ID()",
            "SELECT LAST_INSERT_ID(5)",
            "SELECT SQL_CALC_FOUND_ROWS a FROM t",
            "SELECT FOUND_ROWS()",
            "SELECT GET_LOCK('a', 1)",
            "SELECT mine(1)",
            "SELECT NEXTVAL(s)",
            "SELECT NEXT VALUE FOR s",
            "SELECT CONNECTION_ID()",
            "SELECT LOAD_FILE('x')",
            "SELECT * FROM information_schema.processlist",
            "SELECT * FROM `performance_schema` . threads",
            "SELECT 1; SELECT 2",
            "INSERT INTO t VALUES (1)",
            "WITH a AS (SELECT 1) UPDATE t SET b = 1",
            "WITH a AS (SELECT 1) DELETE FROM t",
            "SHOW TABLES",
            "EXPLAIN SELECT 1",
            "SELECT FROM WHERE",
            "SELECT 'a",
            "SELECT a b c d FROM t",
        ] {
            assert!(!is_read(sql), "{sql}");
        }
    }

    /// Statements that begin alike, so that their digests are the same.
    #[test]
    fn the_ends_of_long_statements_count() {
        let long = format!("SELECT {} a FROM t", "some_long_column, ".repeat(200));
        let mut cache = ReadCache::new(8);
        assert!(ask(&mut cache, &long));
        assert!(ask(&mut cache, &format!("{long} WHERE b = 1")));
        let dialect = Dialect::default();
        let (locks, mut short) = (format!("{long} FOR UPDATE"), Vec::new());
        digest(locks.as_bytes(), dialect, true, &mut short);
        assert!(short.ends_with(b" ..."));
        assert!(!cache.is_read(&short, locks.as_bytes(), dialect));
        assert_eq!(cache.len(), 3);
        // However many literals, it is one.
        let list = |n: usize| format!("{long} WHERE b IN ({})", vec!["1"; n].join(","));
        assert!(ask(&mut cache, &list(3)) && ask(&mut cache, &list(50_000)));
        assert_eq!(cache.len(), 4);
    }

    #[test]
    fn what_is_too_much_for_the_parser_is_no_read() {
        // Some of these nest in more than one way at once; those that parse become deep trees.
        let of = |before: &str, middle: &str, after: &str, n: usize| {
            format!("SELECT {}{middle}{}", before.repeat(n), after.repeat(n))
        };
        let mut cases = Vec::new();
        for n in [20, 90, 400, 5000] {
            cases.extend([
                of("(", "1", ")", n),
                of("(SELECT ", "1", ")", n),
                of("NOT ", "1", "", n),
                of("- ", "a", "", n),
                of("CASE WHEN ", "1", " THEN 1 END", n),
                of("CASE 1 WHEN (SELECT ", "1", ") THEN 1 END", n),
                of("1 IN (SELECT 1 WHERE ", "1", ")", n),
                of("IF(a, ", "1", ", 2)", n),
                of("a BETWEEN ", "1", " AND 2", n),
                format!("SELECT 1 FROM {}", of("(SELECT 1 FROM ", "t", ") x", n)),
                format!("SELECT 1 FROM {} t", "(".repeat(n)),
                format!("{}SELECT 1{}", "(".repeat(n), ")".repeat(n)),
                format!("{}SELECT 1{}", "WITH a AS (".repeat(n), ") SELECT 1".repeat(n)),
            ]);
        }
        for sql in &cases {
            let shallow = sql.len() < 600;
            assert!(!is_read(sql) || shallow, "{}", &sql[..20]);
        }
        // What it does not count, at the bottom of what it does.
        for part in ["JOIN t ", "DIV a "] {
            for n in [3, 6, 10, 14] {
                let inner = format!("(SELECT 1 FROM t {}", part.repeat(20));
                is_read(&format!(
                    "SELECT {}1 {}{}",
                    "(SELECT ".repeat(n),
                    inner,
                    ")".repeat(n + 1)
                ));
                is_read(&format!("SELECT {}1 {}{}", "(".repeat(n), part.repeat(20), ")".repeat(n)));
            }
        }
        // What the parser does without going deeper.
        for (before, part) in [
            ("SELECT 1 ", "+ a "),
            ("SELECT 1 ", "AND b "),
            ("SELECT 1 ", "UNION SELECT 1 "),
            ("SELECT 1 FROM t ", "JOIN t "),
            ("SELECT 1 ", "DIV a "),
            ("SELECT a", ".a"),
            ("SELECT a ", "->'x' "),
        ] {
            for n in [100, 200, 300, 400, 480, 5000] {
                is_read(&format!("{before}{}", part.repeat(n)));
            }
        }
        assert!(!is_read(&format!("SELECT 1 {}", "+ a ".repeat(5000))));
        assert!(is_read(&format!("SELECT 1 {}", "+ a ".repeat(480))));
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_asked_for() {
        let mut cache = ReadCache::new(10);
        for n in 0..1000 {
            assert!(ask(&mut cache, "SELECT often"));
            assert!(ask(&mut cache, &format!("SELECT c{n}")));
            assert!(cache.len() <= 10, "{}", cache.len());
            assert!(
                cache.recent.keys().chain(cache.before.keys()).any(|key| key.ends_with(b"often"))
            );
        }
    }
}
