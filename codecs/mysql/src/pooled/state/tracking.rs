//! What a client sets of the session tracking, which in pooled mode is the proxy's: MariaDB Connector/J does with every login.

use super::Text;
use super::text::{assigned, is, list, word};

/// Of the names that a client wants to be told of, so many at most.
const MAX_NAMES: usize = 64;
/// What the proxy has set on all of its connections. (`session_track_gtids` is MySQL's alone, and nobody's here.)
const OURS: [&str; 4] = [
    "session_track_schema",
    "session_track_state_change",
    "session_track_system_variables",
    "session_track_transaction_info",
];
/// A statement that changes nothing, for those that would set nothing else: upstream connections have it so.
const NOTHING: &str = "SET @@session.session_track_schema=ON";
/// Functions that leave nothing behind.
const FUNCTIONS: [&str; 8] =
    ["concat", "concat_ws", "if", "find_in_set", "locate", "lower", "replace", "upper"];

/// What is left of a `SET` without the session tracking, and what was wanted of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracking {
    /// The statement to be sent in its place.
    pub text: String,
    /// The variables that the client wants to be told of, and perhaps others that were named beside them; `*`: all.
    pub names: Vec<Text>,
}

/// Takes what it sets of the session tracking out of a statement, if that is one `SET`, written plainly, and does.
pub fn without_tracking(text: &[u8]) -> Option<Tracking> {
    const PREFIX: &[u8] = b"session_track_";
    let text = text.trim_ascii();
    let text = text.strip_suffix(b";").unwrap_or(text);
    let (first, rest) = word(text)?;
    if !is(first, "set") || !text.windows(PREFIX.len()).any(|at| at.eq_ignore_ascii_case(PREFIX)) {
        return None;
    }
    // Everything in it has to be understood, and nothing else to be a statement.
    super::text::assignments(text)?;
    let (mut others, mut names, mut found) = (Vec::new(), Vec::new(), false);
    for item in list(rest)? {
        let scoped = word(item).filter(|(scope, _)| is(scope, "session") || is(scope, "local"));
        let (name, value) = match assigned(scoped.map_or(item, |(_, rest)| rest)) {
            Some((name, value)) if OURS.iter().any(|ours| is(name, ours)) => (name, value),
            _ => {
                others.push(item);
                continue;
            }
        };
        found = true;
        let named = wanted(value)?;
        if is(name, "session_track_system_variables") {
            names.extend(named);
        }
    }
    names.truncate(MAX_NAMES);
    let text = match others.is_empty() {
        true => NOTHING.to_owned(),
        false => format!("SET {}", std::str::from_utf8(&others.join(&b", "[..])).ok()?),
    };
    found.then_some(Tracking { text, names })
}

/// The names that a value has between quotes; `None` if to work it out might leave something behind.
fn wanted(value: &[u8]) -> Option<Vec<Text>> {
    let value = value.trim_ascii();
    let (mut names, mut rest) = (Vec::new(), value);
    while let Some(byte) = rest.first() {
        let after = rest.get(1..)?;
        rest = match byte {
            b'\'' | b'"' => {
                let (inner, after) = after.split_at_checked(memchr::memchr(*byte, after)?)?;
                // What is compared with `*` does not ask for all.
                let all = inner == b"*" && inner.len().saturating_add(2) == value.len();
                let parts = inner.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                let is_name = |name: &&[u8]| {
                    let part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                    all || !name.is_empty() && name.iter().all(part)
                };
                names.extend(parts.filter(is_name).map(|name| name.to_ascii_lowercase().into()));
                after.get(1..)?
            }
            byte if byte.is_ascii_alphabetic() => {
                let (name, after) = word(rest)?;
                let calls = after.trim_ascii_start().starts_with(b"(");
                let plain = !is(name, "select");
                if !plain || calls && !FUNCTIONS.iter().any(|function| is(name, function)) {
                    return None;
                }
                after
            }
            byte if byte.is_ascii_alphanumeric() || b"@_.,()=<>+- \t\r\n".contains(byte) => after,
            _ => return None,
        };
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, Vec<String>)> {
        let Tracking { text, names } = without_tracking(text.as_bytes())?;
        let names = names.iter().map(|name| String::from_utf8(name.to_vec()).unwrap());
        Some((text, names.collect()))
    }

    #[test]
    fn what_mariadb_connector_j_says() {
        let text = "set session_track_schema=1,session_track_system_variables=CONCAT('transaction_isolation,\
                    autocommit',IF(LOCATE('*',@@session_track_system_variables)>0 OR FIND_IN_SET('last_gtid',\
                    LOWER(REPLACE(@@session_track_system_variables,' ','')))>0,',last_gtid','')), \
                    sql_mode=CONCAT(@@sql_mode,',STRICT_TRANS_TABLES'), autocommit=1";
        let (text, names) = read(text).unwrap();
        let rest = "SET sql_mode=CONCAT(@@sql_mode,',STRICT_TRANS_TABLES'), autocommit=1";
        assert_eq!(text, rest);
        assert_eq!(names, ["transaction_isolation", "autocommit", "last_gtid", "last_gtid"]);
    }

    #[test]
    fn nothing_else_is_lost() {
        for (text, left, names) in [
            ("SET SESSION session_track_schema = OFF;", NOTHING, &[][..]),
            ("SET @@session.session_track_system_variables='*'", NOTHING, &["*"]),
            ("SET `Session_Track_System_Variables` = \"a, B\"", NOTHING, &["a", "b"]),
            ("SET session_track_schema=on, a='x,y', local b=1", "SET a='x,y', local b=1", &[]),
            ("SET NAMES utf8mb4, session_track_state_change=1", "SET NAMES utf8mb4", &[]),
        ] {
            let names = names.iter().map(ToString::to_string).collect();
            assert_eq!(read(text), Some((left.to_owned(), names)), "{text}");
        }
    }

    #[test]
    fn what_is_not_certain_stays() {
        for text in [
            "",
            "SET a=1",
            "SELECT 'set session_track_schema=1'",
            "SET a='session_track_schema=1'",
            "SET session_track_gtids=OWN_GTID",
            "SET GLOBAL session_track_schema=1",
            "SET PERSIST session_track_schema=1",
            "SET @@global.session_track_schema=1",
            "SET session_track_schema=1, @a=1",
            "SET session_track_schema=1; SELECT 1",
            "SET session_track_schema=1 -- x",
            "SET session_track_system_variables=(select 'a')",
            "SET session_track_system_variables=f('a')",
            "SET session_track_system_variables=get_lock('a', 1)",
            "SET session_track_system_variables=@a:='b'",
            "SET session_track_system_variables='a",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
