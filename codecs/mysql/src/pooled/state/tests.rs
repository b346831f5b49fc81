//! A session followed at one server of a model, and made anew at another.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::collation::Collations;
use crate::session::Changes;

/// What a session is, at the server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    schema: String,
    variables: BTreeMap<String, String>,
}

/// Whose server: MySQL tells all but the collation of `SET NAMES`; MariaDB 11.4 tells a switch as `autocommit`, the
/// collation as the character set, and others not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Mysql,
    Mariadb,
}

/// Switches that are bits of one word.
const BITS: [&str; 4] = ["autocommit", "sql_big_selects", "sql_notes", "unique_checks"];
/// Told by nobody, on MariaDB 11.4.
const UNTOLD: &str = "innodb_lock_wait_timeout";
const DEFAULTS: [(&str, &str); 8] = [
    ("autocommit", "ON"),
    ("innodb_lock_wait_timeout", "50"),
    ("max_join_size", "18446744073709551615"),
    ("sql_big_selects", "ON"),
    ("sql_mode", "STRICT_TRANS_TABLES"),
    ("sql_notes", "ON"),
    ("time_zone", "SYSTEM"),
    ("unique_checks", "ON"),
];

impl Session {
    fn begun(schema: &str, collation: &Collation) -> Self {
        let mut variables: BTreeMap<_, _> =
            DEFAULTS.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        for name in ["character_set_client", "character_set_results", "character_set_connection"] {
            variables.insert(name.into(), collation.charset().into());
        }
        variables.insert("collation_connection".into(), collation.name.into());
        Self { schema: schema.into(), variables }
    }

    /// `None`: the default. Answers what is stored.
    fn set(&mut self, name: &str, value: Option<&str>) -> String {
        let default = DEFAULTS.into_iter().find(|(known, _)| *known == name);
        let value = value.or_else(|| default.map(|(_, value)| value)).expect("it has a default");
        let value = match value {
            "0" if BITS.contains(&name) => "OFF",
            "1" if BITS.contains(&name) => "ON",
            "NULL" => "",
            value => value,
        };
        match name {
            "max_join_size" => {
                let selects = if value == "18446744073709551615" { "ON" } else { "OFF" };
                self.variables.insert("sql_big_selects".into(), selects.into());
            }
            "character_set_connection" => {
                let collation = format!("{value}_general_ci");
                self.variables.insert("collation_connection".into(), collation);
            }
            "collation_connection" => {
                let charset = value.split('_').next().expect("it has one");
                self.variables.insert("character_set_connection".into(), charset.into());
            }
            _ => {}
        }
        let known = self.variables.insert(name.into(), value.into());
        assert!(known.is_some(), "the server has no {name}");
        value.into()
    }

    /// A statement of ours.
    fn execute(&mut self, statement: &str) {
        let list = statement.strip_prefix("SET ").expect("it is a SET");
        for item in list.split(", ") {
            let unquoted = |text: &str| text.trim_matches('\'').to_string();
            if let Some(names) = item.strip_prefix("NAMES ") {
                let mut names = names.split(" COLLATE ").map(unquoted);
                let charset = names.next().expect("it names one");
                for name in
                    ["character_set_client", "character_set_results", "character_set_connection"]
                {
                    self.set(name, Some(&charset));
                }
                if let Some(collation) = names.next() {
                    self.set("collation_connection", Some(&collation));
                }
                continue;
            }
            let item = item.strip_prefix("@@session.").expect("it has a scope");
            let (name, value) = item.split_once('=').expect("it sets something");
            let value = unquoted(value);
            let default = value.strip_prefix("@@global.");
            assert!(default.is_none_or(|default| default == name), "{statement}");
            self.set(name, default.is_none().then_some(&*value));
        }
    }
}

fn lenenc(text: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::try_from(text.len()).expect("it is short")];
    out.extend(text);
    out
}

fn entry(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let data: Vec<u8> = parts.iter().flat_map(|part| lenenc(part)).collect();
    [vec![kind], lenenc(&data)].concat()
}

fn told(variables: &[(&str, &str)]) -> Vec<u8> {
    let mut block: Vec<u8> = variables
        .iter()
        .flat_map(|(name, value)| entry(0, &[name.as_bytes(), value.as_bytes()]))
        .collect();
    block.extend(b"\x02\x011");
    block
}

/// One statement of a client's.
#[derive(Clone, Debug)]
enum Step {
    Set(Vec<(&'static str, Option<String>)>),
    Names(String, Option<String>),
    Use(String),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let variable = prop_oneof![
        (prop::sample::select(BITS.to_vec()), prop::sample::select(vec!["0", "1"])),
        (
            Just("time_zone"),
            prop::sample::select(vec!["SYSTEM", "+05:00", "Europe/Berlin", "-3:30"])
        ),
        (Just("sql_mode"), prop::sample::select(vec!["ANSI_QUOTES", "NO_BACKSLASH_ESCAPES,ANSI"])),
        (Just(UNTOLD), prop::sample::select(vec!["7", "50"])),
        (Just("max_join_size"), prop::sample::select(vec!["100", "200", "18446744073709551615"])),
        (Just("character_set_results"), prop::sample::select(vec!["NULL", "latin1", "utf8mb4"])),
        (Just("character_set_client"), prop::sample::select(vec!["latin1", "utf8mb4"])),
        (Just("character_set_connection"), prop::sample::select(vec!["latin1", "utf8mb4"])),
        (Just("collation_connection"), prop::sample::select(vec!["latin1_bin", "utf8mb4_bin"])),
    ];
    let item = (variable, 0..6u8).prop_map(|((name, value), roll)| {
        let is_plain = name.starts_with('c');
        (name, (is_plain || roll > 0).then(|| value.to_string()))
    });
    let step = prop_oneof![
        4 => prop::collection::vec(item, 1..4).prop_map(|mut items| {
            let joins = ["max_join_size", "sql_big_selects"];
            if items.iter().filter(|(name, _)| joins.contains(name)).count() > 1 {
                items.retain(|(name, _)| !joins.contains(name));
            }
            Step::Set(items)
        }),
        1 => (prop::sample::select(vec!["latin1", "utf8mb4"]), any::<bool>()).prop_map(
            |(charset, collate)| Step::Names(charset.into(), collate.then(|| format!("{charset}_bin")))
        ),
        1 => prop::sample::select(vec!["test", "mysql", "z\u{fc}"]).prop_map(|name| Step::Use(name.into())),
    ];
    prop::collection::vec(step, 0..8)
}

/// Has a session do this, and follows it. Whether it can go on elsewhere.
fn run(kind: Kind, session: &mut Session, state: &mut State, steps: &[Step]) -> bool {
    for step in steps {
        let mut sets: Vec<(&str, Option<String>)> = Vec::new();
        let mut tells: Vec<(&str, String)> = Vec::new();
        let assignments: Vec<_> = match step {
            Step::Use(name) => {
                session.schema.clone_from(name);
                let block = [entry(1, &[name.as_bytes()]), b"\x02\x011".to_vec()].concat();
                state.follow_set(Changes::new(&block), []).expect("it is explained");
                continue;
            }
            Step::Set(items) => {
                sets.extend(items.iter().cloned());
                let literal = |value: &'_ Option<String>| match value.as_deref() {
                    None => Literal::Default,
                    Some("NULL") => Literal::Null,
                    Some(_) => Literal::Other,
                };
                sets.iter()
                    .map(|(name, value)| {
                        let value = match (literal(value), value) {
                            (Literal::Other, Some(value)) => Literal::Plain(value.as_bytes()),
                            (literal, _) => literal,
                        };
                        Assignment { name: name.as_bytes(), value }
                    })
                    .collect()
            }
            Step::Names(charset, collation) => {
                for name in
                    ["character_set_client", "character_set_results", "character_set_connection"]
                {
                    sets.push((name, Some(charset.clone())));
                }
                if collation.is_some() {
                    sets.push(("collation_connection", collation.clone()));
                }
                let collation = collation.as_ref().map(|name| Literal::Plain(name.as_bytes()));
                Assignment::names(Literal::Plain(charset.as_bytes()), collation).collect()
            }
        };
        for (name, value) in &sets {
            session.set(name, value.as_deref());
        }
        // Each is told with what it has in the end.
        for (name, _) in &sets {
            let name = match kind {
                Kind::Mysql
                    if matches!(step, Step::Names(..)) && *name == "collation_connection" =>
                {
                    continue;
                }
                Kind::Mysql => *name,
                Kind::Mariadb if BITS.contains(name) => "autocommit",
                Kind::Mariadb if *name == UNTOLD => continue,
                Kind::Mariadb if *name == "collation_connection" => "character_set_connection",
                Kind::Mariadb => *name,
            };
            tells.push((name, session.variables[name].clone()));
        }
        let tells: Vec<_> = tells.iter().map(|(name, value)| (*name, &**value)).collect();
        let block = told(&tells);
        let default = ("sql_big_selects", None);
        let pins = kind == Kind::Mariadb
            && sets.contains(&default)
            && state.variable("max_join_size").is_some();
        let followed = state.follow_set(Changes::new(&block), assignments);
        if pins {
            assert_eq!(followed, Err(Pin::Value(default.0.as_bytes().into())));
            return false;
        }
        followed.expect("it is explained");
    }
    true
}

proptest! {
    #[test]
    fn a_session_goes_on_elsewhere(
        mariadb: bool,
        first in steps(),
        other in steps(),
        more in steps(),
        latin: bool,
    ) {
        let kind = if mariadb { Kind::Mariadb } else { Kind::Mysql };
        let collation = Collations::Mysql8.at_login(if latin { 47 } else { 45 });
        let (mut session, mut state) = (Session::begun("a", &collation), State::begun(b"a", &collation));
        prop_assume!(run(kind, &mut session, &mut state, &first));
        let mut place = Session::begun("b", &LOGIN_COLLATION);
        let mut set = State::set_up(b"b");
        prop_assume!(run(kind, &mut place, &mut set, &other));
        // To and fro.
        for steps in [&more[..], &[]] {
            match state.replay_on(&set) {
                Replay::Unfit => prop_assert!(false, "both have a schema"),
                Replay::Fits => {}
                Replay::First(Difference { schema, set, .. }) => {
                    if let Some(schema) = schema {
                        place.schema = String::from_utf8(schema.into()).expect("it is UTF-8");
                    }
                    if let Some(set) = set {
                        place.execute(&set);
                    }
                }
            }
            prop_assert_eq!(&place, &session);
            set = state.clone();
            prop_assert_eq!(state.replay_on(&set), Replay::Fits);
            prop_assume!(run(kind, &mut session, &mut state, steps));
        }
    }
}

fn session() -> State {
    State::set_up(b"test")
}

fn difference(want: &State, has: &State) -> Difference {
    match want.replay_on(has) {
        Replay::First(difference) => difference,
        other => panic!("{other:?}"),
    }
}

fn statement(want: &State, has: &State) -> String {
    difference(want, has).set.expect("there is one")
}

#[test]
fn what_is_set_is_set_and_what_is_not_is_unset() {
    let (mut want, mut has) = (session(), session());
    let block = told(&[("time_zone", "+05:00"), ("autocommit", "OFF"), ("sql_select_limit", "10")]);
    let text = ["time_zone", "autocommit", "sql_select_limit"]
        .map(|name| Assignment { name: name.as_bytes(), value: Literal::Other });
    want.follow_set(Changes::new(&block), text).expect("it is told");
    let expected = "SET @@session.autocommit='OFF', @@session.sql_select_limit=10, @@session.time_zone='+05:00'";
    assert_eq!(statement(&want, &has), expected);
    assert_eq!(
        statement(&has, &want),
        "SET @@session.autocommit=@@global.autocommit, @@session.sql_select_limit=@@global.sql_select_limit, \
         @@session.time_zone=@@global.time_zone"
    );
    has = want.clone();
    assert_eq!(want.replay_on(&has), Replay::Fits);
    assert_eq!(want.variable("time_zone"), Some(&b"+05:00"[..]));
    assert_eq!(want.variable("sql_mode"), None);
}

#[test]
fn schemas() {
    let (none, some) = (State::set_up(b""), session());
    assert_eq!(none.replay_on(&some), Replay::Unfit);
    let schema = difference(&some, &none);
    assert_eq!(
        schema,
        Difference { schema: Some(b"test"[..].into()), set: None, set_first: false }
    );
    // After a reset it is said again.
    let mut stale = State::after_reset(b"test");
    assert_eq!(difference(&some, &stale), schema);
    assert_eq!(none.replay_on(&stale), Replay::Unfit);
    assert_eq!(none.replay_on(&State::after_reset(b"")), Replay::Fits);
    stale.set_schema(b"test");
    assert_eq!(some.replay_on(&stale), Replay::Fits);
    // Its name is understood in UTF-8 alone.
    let latin1 = Collations::Mysql8.at_login(8);
    let umlaut = State::set_up("z\u{fc}".as_bytes());
    assert!(difference(&umlaut, &State::begun(b"test", &latin1)).set_first);
    assert!(!difference(&umlaut, &some).set_first);
}

#[test]
fn character_sets() {
    let latin1 = State::begun(b"test", &Collations::Mysql8.at_login(8));
    assert_eq!(statement(&latin1, &session()), "SET NAMES 'latin1' COLLATE 'latin1_swedish_ci'");
    let mut null = latin1.clone();
    let block = told(&[("character_set_results", "")]);
    null.follow_set(
        Changes::new(&block),
        [Assignment { name: b"character_set_results", value: Literal::Null }],
    )
    .expect("it is told");
    assert_eq!(
        statement(&null, &session()),
        "SET @@session.character_set_client='latin1', @@session.character_set_results=NULL, \
         @@session.character_set_connection='latin1', @@session.collation_connection='latin1_swedish_ci'"
    );
    // A short name of MariaDB's.
    let mut short = session();
    let block = told(&[("character_set_connection", "utf8mb4")]);
    let assignment =
        Assignment { name: b"COLLATION_connection", value: Literal::Plain(b"uca1400_as_cs") };
    short.follow_set(Changes::new(&block), [assignment]).expect("the text says it");
    assert_eq!(statement(&short, &session()), "SET NAMES 'utf8mb4' COLLATE 'uca1400_as_cs'");
    assert!(session().is_bytewise());
    assert!(!State::begun(b"", &Collations::Mysql8.at_login(28)).is_bytewise());
}

#[test]
fn one_variable_by_two_names() {
    let mut state = session();
    for (tells, text) in
        [("tx_isolation", "tx_isolation"), ("transaction_isolation", "TX_isolation")]
    {
        let block = told(&[(tells, "SERIALIZABLE")]);
        let text = Assignment { name: text.as_bytes(), value: Literal::Other };
        state.follow_set(Changes::new(&block), [text]).expect("it is told");
        let expected = format!("SET @@session.{tells}='SERIALIZABLE'");
        assert_eq!(statement(&state, &session()), expected);
    }
}

#[test]
fn what_pins() {
    let follow = |block: &[u8]| session().follow(Changes::new(block));
    let variable = |name: &str| Err(Pin::Variable(name.as_bytes().into()));
    // `SET @a = 1`, a temporary table, a trigger that sets a variable.
    assert_eq!(follow(b"\x02\x011"), Err(Pin::Unexplained));
    assert_eq!(follow(&told(&[("time_zone", "+01:00")])), Err(Pin::Unexplained));
    assert_eq!(follow(&told(&[("timestamp", "5.000000")])), variable("timestamp"));
    assert_eq!(follow(&told(&[("sql_log_bin", "OFF")])), variable("sql_log_bin"));
    assert_eq!(follow(&entry(0, &[b"sql_log_bin", b"OFF"])), variable("sql_log_bin"));
    assert_eq!(follow(b"\x00\x05\x01a"), Err(Pin::Malformed));
    // A transaction that was written, a statement's number, a schema that was dropped, switches of tracking.
    assert_eq!(follow(&entry(0, &[b"timestamp", b"5.000000"])), Ok(()));
    assert_eq!(follow(&entry(0, &[b"last_gtid", b"0-1-2"])), Ok(()));
    assert_eq!(follow(&entry(0, &[b"statement_id", b"7"])), Ok(()));
    assert_eq!(follow(&entry(1, &[b""])), Ok(()));
    assert_eq!(follow(b"\x02\x010"), Ok(()));
    assert_eq!(follow(b""), Ok(()));
}

#[test]
fn what_pins_though_the_text_says_what_is_set() {
    let set = |block: &[u8], name: &'static str, value: Literal<'_>| {
        let assignment = Assignment { name: name.as_bytes(), value };
        session().follow_set(Changes::new(block), [assignment])
    };
    let value = |name: &str| Err(Pin::Value(name.as_bytes().into()));
    let nothing = told(&[]);
    assert_eq!(set(&nothing, "sql_notes", Literal::Plain(b"FALSE")), Ok(()));
    assert_eq!(set(&nothing, "sql_notes", Literal::Default), Ok(()));
    assert_eq!(set(&nothing, "sql_notes", Literal::Other), value("sql_notes"));
    assert_eq!(set(&nothing, "sql_mode", Literal::Plain(b"a'b")), value("sql_mode"));
    assert_eq!(set(&nothing, "sql_mode", Literal::Plain(b"a\\b")), value("sql_mode"));
    assert_eq!(set(&nothing, "sql_mode", Literal::Plain(&[b'a'; 5000])), value("sql_mode"));
    assert_eq!(set(&nothing, "sql_mode", Literal::Null), value("sql_mode"));
    let collation = "collation_connection";
    assert_eq!(set(&nothing, collation, Literal::Default), value(collation));
    // It is told nowhere, and stands in the way of what was to be told.
    for name in ["rand_seed1", "session_track_schema", "timestamp"] {
        let expected = Err(Pin::Variable(name.as_bytes().into()));
        assert_eq!(set(&nothing, name, Literal::Plain(b"1")), expected);
        assert_eq!(set(&told(&[(name, "1")]), name, Literal::Other), expected);
    }
    // It is told, and cannot be written down.
    assert_eq!(set(&told(&[("sql_mode", "a'b")]), "sql_mode", Literal::Other), value("sql_mode"));
    let unplain = told(&[(collation, "utf8mb4'")]);
    assert_eq!(set(&unplain, collation, Literal::Plain(b"utf8mb4_bin")), value(collation));
    // Which came last is not known.
    let both = ["sql_big_selects", "max_join_size"];
    let told_both = told(&[("max_join_size", "7"), ("sql_big_selects", "ON")]);
    let text = both.map(|name| Assignment { name: name.as_bytes(), value: Literal::Plain(b"1") });
    assert_eq!(session().follow_set(Changes::new(&told_both), text), value("max_join_size"));
    // Its default is not what it would be by the other alone.
    let mut joins = session();
    assert_eq!(
        joins.follow_text(Changes::new(&told(&[("max_join_size", "7")])), b"SET max_join_size=7"),
        Ok(())
    );
    let text = b"SET sql_big_selects=DEFAULT";
    assert_eq!(joins.clone().follow_text(Changes::new(&nothing), text), value("sql_big_selects"));
    let told_selects = told(&[("sql_big_selects", "ON")]);
    assert_eq!(joins.follow_text(Changes::new(&told_selects), text), Ok(()));
    assert_eq!(joins.variable("sql_big_selects"), Some(&b"ON"[..]));
    assert_eq!(session().follow_text(Changes::new(&nothing), text), Ok(()));
    // Told as another, of the same word.
    let alias = told(&[("timestamp", "5.000000")]);
    assert_eq!(set(&alias, "innodb_lock_wait_timeout", Literal::Plain(b"7")), Ok(()));
}

#[test]
fn to_compare_costs_nothing() {
    let mut state = session();
    let block = told(&[("time_zone", "+05:00"), ("sql_mode", "ANSI")]);
    let text = ["time_zone", "sql_mode"]
        .map(|name| Assignment { name: name.as_bytes(), value: Literal::Other });
    state.follow_set(Changes::new(&block), text).expect("it is told");
    let mut equal = session();
    equal.follow_set(Changes::new(&block), text).expect("it is told");
    let told = entry(0, &[b"statement_id", b"7"]);
    let count = allocation_counter::measure(|| {
        let mut shared = state.clone();
        assert_eq!(shared.replay_on(&equal), Replay::Fits);
        assert_eq!(shared.replay_on(&state), Replay::Fits);
        shared.follow(Changes::new(&told)).expect("it is nothing");
        shared.follow(Changes::new(b"")).expect("it is nothing");
    });
    assert_eq!(count.count_total, 0);
}

#[test]
fn fingerprints() {
    let state = |variables: &[(&'static str, &str)]| {
        let mut state = session();
        let text = variables
            .iter()
            .map(|(name, _)| Assignment { name: name.as_bytes(), value: Literal::Other });
        state.follow_set(Changes::new(&told(variables)), text).expect("it is told");
        state
    };
    let ansi = state(&[("sql_mode", "ANSI")]);
    assert_eq!(ansi.fingerprint(), state(&[("sql_mode", "ANSI")]).fingerprint());
    let mut elsewhere = ansi.clone();
    elsewhere.set_schema(b"mysql");
    assert_eq!(ansi.fingerprint(), elsewhere.fingerprint());
    assert_ne!(ansi, elsewhere);
    for other in [
        session(),
        state(&[("sql_mode", "ANSI_QUOTES")]),
        state(&[("sql_mode", "ANSI"), ("character_set_results", "")]),
    ] {
        assert_ne!(ansi.fingerprint(), other.fingerprint());
    }
    let quiet = state(&[("sql_mode", "ANSI"), ("sql_notes", "OFF")]);
    assert_eq!(ansi.fingerprint(), quiet.fingerprint(), "the text means the same");
}

#[test]
fn a_text_is_read_as_elsewhere_and_transactions_go_on() {
    let state = |variables: &[(&'static str, &str)], schema: &[u8]| {
        let mut state = session();
        let text = variables
            .iter()
            .map(|(name, _)| Assignment { name: name.as_bytes(), value: Literal::Other });
        state.follow_set(Changes::new(&told(variables)), text).expect("it is told");
        state.set_schema(schema);
        state
    };
    let now = state(&[("autocommit", "OFF"), ("sql_mode", "ANSI")], b"here");
    let then = state(&[("autocommit", "ON"), ("character_set_client", "latin1")], b"there");
    let both = now.reading_as(&then);
    assert_eq!(both.fingerprint(), then.fingerprint());
    assert_eq!((both.schema(), both.charset()), (&b"there"[..], &b"latin1"[..]));
    assert_eq!(both.variable("sql_mode"), None);
    // To set it would end the transaction that is open.
    assert_eq!(both.variable("autocommit"), Some(&b"OFF"[..]));
}

#[test]
fn what_switches_tracking_on() {
    assert!(setup(b"8.0.33").ends_with("@@session.session_track_gtids='OWN_GTID'"));
    assert!(!setup(b"11.4.5-MariaDB-log").contains("gtids"));
    let names = format!("SET NAMES utf8mb4 COLLATE {}, @@session.", LOGIN_COLLATION.name);
    assert!(setup(b"8.0.33").starts_with(&names));
    assert_eq!(Collations::Mysql8.get(LOGIN_COLLATION.id), Some(LOGIN_COLLATION));
}
