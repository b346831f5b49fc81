//! What a `SET` says, word for word. Far from all that servers take: what is not read here pins.

use super::follow::{Assignment, Literal};

/// What the text of a statement sets in its session, if it is one `SET`, or one `USE`, and written plainly.
///
/// That it is nothing but that is for others to say: of a value that is not plain it is not looked at what it does.
pub(super) fn assignments(text: &[u8]) -> Option<Vec<Assignment<'_>>> {
    let text = text.trim_ascii();
    let text = text.strip_suffix(b";").unwrap_or(text);
    // Of several statements each has a reply; in other character sets a quote may be half a letter.
    if !text.is_ascii() || text.contains(&b';') {
        return None;
    }
    let (first, rest) = word(text)?;
    if is(first, "use") {
        return Some(Vec::new());
    }
    let mut out = Vec::new();
    let mut items = is(first, "set").then(|| list(rest))??.into_iter();
    while let Some(item) = items.next() {
        let (first, rest) = word(item).unwrap_or((b"", b""));
        let (second, value) = word(rest).unwrap_or((b"", b""));
        let scoped = ["session", "local"].iter().any(|scope| is(first, scope));
        if is(first, "names") {
            names(rest, &mut out)?;
        } else if is(first, "charset") {
            character_set(rest, &mut out);
        } else if (is(first, "character") || is(first, "char")) && is(second, "set") {
            character_set(value, &mut out);
        } else if scoped && is(second, "transaction") {
            transaction(value, &mut out)?;
            // The rest of the list is about transactions.
            items.try_for_each(|item| transaction(item, &mut out))?;
        } else {
            let (name, value) = assigned(if scoped { rest } else { item })?;
            out.push(Assignment { name, value: literal(value) });
        }
    }
    Some(out)
}

/// `name = value`, `@@session.name := value`.
pub(super) fn assigned(item: &[u8]) -> Option<(&[u8], &[u8])> {
    let item = match item.strip_prefix(b"@@") {
        Some(item) => {
            let (first, rest) = word(item)?;
            let scoped = is(first, "session") || is(first, "local");
            if scoped { rest.strip_prefix(b".")? } else { item }
        }
        None => item,
    };
    let item = item.trim_ascii_start();
    let quoted = item.strip_prefix(b"`").and_then(|rest| {
        let end = memchr::memchr(b'`', rest)?;
        Some((rest.get(..end)?, rest.get(end.saturating_add(1)..)?))
    });
    let (name, rest) = quoted.or_else(|| word(item))?;
    let rest = rest.trim_ascii_start();
    let value = rest.strip_prefix(b":=").or_else(|| rest.strip_prefix(b"="))?;
    // `global.x`, `persist x` and the like have no `=` here.
    Some((name, value))
}

fn names<'a>(text: &'a [u8], out: &mut Vec<Assignment<'a>>) -> Option<()> {
    let text = text.trim_ascii();
    // A name in quotes, or not.
    let end = match text.first()? {
        quote @ (b'\'' | b'"') => {
            let rest = text.get(1..)?;
            memchr::memchr(*quote, rest)?.saturating_add(2)
        }
        _ => text.len().checked_sub(word(text)?.1.len())?,
    };
    let (charset, rest) = text.split_at_checked(end)?;
    let charset = literal(charset);
    let collation = match rest.trim_ascii() {
        // That of the server, whose name is not told.
        [] if charset == Literal::Default => Some(Literal::Other),
        [] => None,
        rest => {
            let (collate, name) = word(rest)?;
            let name = is(collate, "collate").then(|| literal(name))?;
            (name != Literal::Default).then_some(name)
        }
    };
    out.extend(Assignment::names(charset, collation));
    Some(())
}

/// Which makes the connection's that of the schema, whose collation is not told.
fn character_set<'a>(value: &'a [u8], out: &mut Vec<Assignment<'a>>) {
    out.extend(Assignment::names(literal(value), Some(Literal::Other)).map(|set| match set.name {
        b"character_set_connection" => Assignment { value: Literal::Other, ..set },
        _ => set,
    }));
}

fn transaction<'a>(text: &'a [u8], out: &mut Vec<Assignment<'a>>) -> Option<()> {
    let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let mut next = || words.next().map(<[u8]>::to_ascii_uppercase).unwrap_or_default();
    let words = [next(), next(), next(), next(), next()];
    let words: [&[u8]; 5] = [&words[0], &words[1], &words[2], &words[3], &words[4]];
    let (name, value): (&[u8], &[u8]) = match words {
        [b"READ", b"ONLY", b"", ..] => (b"transaction_read_only", b"ON"),
        [b"READ", b"WRITE", b"", ..] => (b"transaction_read_only", b"OFF"),
        [b"ISOLATION", b"LEVEL", b"READ", b"COMMITTED", b""] => (ISOLATION, b"READ-COMMITTED"),
        [b"ISOLATION", b"LEVEL", b"READ", b"UNCOMMITTED", b""] => (ISOLATION, b"READ-UNCOMMITTED"),
        [b"ISOLATION", b"LEVEL", b"REPEATABLE", b"READ", b""] => (ISOLATION, b"REPEATABLE-READ"),
        [b"ISOLATION", b"LEVEL", b"SERIALIZABLE", b"", _] => (ISOLATION, b"SERIALIZABLE"),
        _ => return None,
    };
    out.push(Assignment { name, value: Literal::Plain(value) });
    Some(())
}

const ISOLATION: &[u8] = b"transaction_isolation";

fn literal(value: &[u8]) -> Literal<'_> {
    let value = value.trim_ascii();
    let inner = match value {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => {
            let plain = inner.iter().all(|byte| !b"'\"\\`".contains(byte));
            return if plain { Literal::Plain(inner) } else { Literal::Other };
        }
        [b'-', digits @ ..] => digits,
        value => value,
    };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.".contains(byte);
    if is(value, "default") {
        Literal::Default
    } else if is(value, "null") {
        Literal::Null
    } else if !inner.is_empty() && inner.iter().all(plain) {
        Literal::Plain(value)
    } else {
        Literal::Other
    }
}

/// The items between commas that are in no quotes or parentheses. `None` where there are comments.
pub(super) fn list(text: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut items, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    let mut at = 0_usize;
    while let Some(byte) = text.get(at) {
        let rest = text.get(at.saturating_add(1)..)?;
        match byte {
            // Where a quote ends is only certain without what escapes one.
            b'\'' | b'"' | b'`' => {
                let end = memchr::memchr(*byte, rest)?;
                let inner = rest.get(..end)?;
                if inner.contains(&b'\\') {
                    return None;
                }
                at = at.saturating_add(end).saturating_add(1);
            }
            b'#' => return None,
            b'-' if rest.starts_with(b"-") => return None,
            b'/' if rest.starts_with(b"*") => return None,
            b'(' => depth = depth.saturating_add(1),
            b')' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                items.push(text.get(start..at)?.trim_ascii());
                start = at.saturating_add(1);
            }
            _ => {}
        }
        at = at.saturating_add(1);
    }
    items.push(text.get(start..)?.trim_ascii());
    (depth == 0).then_some(items)
}

/// The word that a text begins with, and what follows it.
pub(super) fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
    let end = text.iter().position(|byte| !is_part(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at_checked(end))?
}

pub(super) fn is(word: &[u8], other: &str) -> bool {
    word.eq_ignore_ascii_case(other.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<String>> {
        let sets = assignments(text.as_bytes())?;
        let show = |set: Assignment<'_>| {
            let value = match set.value {
                Literal::Default => "DEFAULT".into(),
                Literal::Null => "NULL".into(),
                Literal::Other => "?".into(),
                Literal::Plain(value) => format!("'{}'", value.escape_ascii()),
            };
            format!("{}={value}", set.name.escape_ascii())
        };
        Some(sets.into_iter().map(show).collect())
    }

    #[test]
    fn one_or_several() {
        for (text, expected) in [
            ("SET autocommit=0", &["autocommit='0'"][..]),
            (" set  Autocommit := ON ;", &["Autocommit='ON'"]),
            ("SET sql_mode=''", &["sql_mode=''"]),
            ("SET sql_mode=\"ANSI,TRADITIONAL\"", &["sql_mode='ANSI,TRADITIONAL'"]),
            ("SET SESSION a=1, LOCAL b=-2,@@c=3.5", &["a='1'", "b='-2'", "c='3.5'"]),
            ("SET @@session.a=x, @@local.`b`=default", &["a='x'", "b=DEFAULT"]),
            ("SET a=concat(@@a, ',b'), b=1", &["a=?", "b='1'"]),
            ("SET a=@@global.a, `b`=1+1, c = b'1'", &["a=?", "b=?", "c=?"]),
            ("SET time_zone='it''s'", &["time_zone=?"]),
            ("USE test", &[]),
            ("use `a,b`", &[]),
        ] {
            let expected = expected.iter().map(ToString::to_string).collect();
            assert_eq!(read(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn character_sets() {
        let names = |value: &str, more: &[&str]| {
            let names = ["client", "results", "connection"];
            let names = names.map(|name| format!("character_set_{name}={value}"));
            Some(names.into_iter().chain(more.iter().map(ToString::to_string)).collect())
        };
        assert_eq!(read("SET NAMES utf8mb4"), names("'utf8mb4'", &[]));
        assert_eq!(read("set names 'latin1'"), names("'latin1'", &[]));
        let bin = &["collation_connection='utf8mb4_bin'"];
        assert_eq!(read("SET NAMES utf8mb4 COLLATE utf8mb4_bin"), names("'utf8mb4'", bin));
        assert_eq!(read("SET NAMES 'utf8mb4'COLLATE 'utf8mb4_bin'"), names("'utf8mb4'", bin));
        assert_eq!(read("SET NAMES utf8mb4 COLLATE DEFAULT"), names("'utf8mb4'", &[]));
        assert_eq!(read("SET NAMES default"), names("DEFAULT", &["collation_connection=?"]));
        let database = [
            "character_set_client='latin1'",
            "character_set_results='latin1'",
            "character_set_connection=?",
            "collation_connection=?",
        ];
        let database = Some(database.map(String::from).to_vec());
        assert_eq!(read("SET CHARACTER SET latin1"), database);
        assert_eq!(read("SET charset 'latin1'"), database);
        let and = read("SET NAMES utf8mb4, time_zone='+00:00'");
        assert_eq!(and, names("'utf8mb4'", &["time_zone='+00:00'"]));
    }

    #[test]
    fn transactions() {
        let both = ["transaction_isolation='READ-COMMITTED'", "transaction_read_only='ON'"];
        assert_eq!(
            read("SET SESSION TRANSACTION ISOLATION LEVEL read  COMMITTED, READ ONLY"),
            Some(both.map(String::from).to_vec())
        );
        let one = "transaction_isolation='SERIALIZABLE'".to_string();
        let text = "set local transaction isolation level serializable";
        assert_eq!(read(text), Some(vec![one]));
        assert_eq!(read("SET SESSION TRANSACTION SNAPSHOT"), None);
    }

    #[test]
    fn what_is_not_plain() {
        for text in [
            "",
            "SELECT 1",
            "SET",
            "SET @a=1",
            "SET GLOBAL a=1",
            "SET @@global.a=1",
            "SET PERSIST a=1",
            "SET a=1; SET b=2",
            "SET a=1 /* b */",
            "SET a=1 -- b",
            "SET a=1 # b",
            "SET a='\\', b=1, c='",
            "SET a='b",
            "SET a=(1",
            "SET a=1)",
            "SET a='z\u{fc}'",
            "SET STATEMENT a=1 FOR SELECT 1",
            "SET PASSWORD = 'x', a.b=1",
            "SET TRANSACTION READ ONLY",
            "SET NAMES",
            "SET NAMES utf8 utf8",
            "SET ROLE NONE",
            "SET a=1,",
        ] {
            let read = read(text);
            // Not a variable, whatever it looks like.
            let password = read.as_ref().is_some_and(|sets| sets[0].starts_with("PASSWORD"));
            assert!(read.is_none() || password, "{text}: {read:?}");
        }
    }
}
