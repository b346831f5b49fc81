//! What is set in one session, made anew in another by what the server told and the text said: the two are to be the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use wiremesh_mysql::Command;
use wiremesh_mysql::collation::Collations;
use wiremesh_mysql::handshake::{ClientConfig, reset_connection};
use wiremesh_mysql::pooled::state::{Difference, LOGIN_COLLATION, Replay, State, VARIABLES, setup};
use wiremesh_mysql::session::Changes;
use wiremesh_mysql::wire::{Reader, put_packet};

use crate::client::{Server, Session, account, login};

/// They differ between any two sessions, or by what was asked last.
const OWN: [&str; 10] = [
    "error_count",
    "identity",
    "last_gtid",
    "last_insert_id",
    "pseudo_thread_id",
    "rand_seed1",
    "rand_seed2",
    "statement_id",
    "timestamp",
    "warning_count",
];

/// Values of what is neither a number nor a switch.
const WORDS: [(&str, &[&str]); 24] = [
    ("alter_algorithm", &["COPY", "INPLACE"]),
    ("block_encryption_mode", &["aes-256-cbc"]),
    ("character_set_filesystem", &["latin1"]),
    ("completion_type", &["CHAIN"]),
    ("default_regex_flags", &["DOTALL"]),
    ("default_storage_engine", &["MyISAM"]),
    ("default_tmp_storage_engine", &["MyISAM", "MEMORY"]),
    ("histogram_type", &["SINGLE_PREC_HB"]),
    ("lc_messages", &["de_DE"]),
    ("lc_time_names", &["de_DE"]),
    ("note_verbosity", &["basic"]),
    ("old_mode", &["NO_PROGRESS_INFO"]),
    ("old_alter_table", &["OFF", "COPY", "ON"]),
    ("optimizer_switch", &["mrr=off,semijoin=off", "mrr=on"]),
    ("sql_mode", &["ANSI,NO_BACKSLASH_ESCAPES", "TRADITIONAL", ""]),
    ("time_zone", &["+05:30", "-11:00"]),
    ("transaction_isolation", &["READ-COMMITTED", "SERIALIZABLE"]),
    ("tx_isolation", &["READ-UNCOMMITTED", "SERIALIZABLE"]),
    ("updatable_views_with_limit", &["NO"]),
    ("use_stat_tables", &["NEVER", "COMPLEMENTARY"]),
    ("eq_range_index_dive_limit", &["7"]),
    ("innodb_ft_user_stopword_table", &[""]),
    ("optimizer_use_condition_selectivity", &["1"]),
    ("max_length_for_sort_data", &["2048"]),
];

/// Statements beside the plain ones, each of which says enough.
const TEXTS: [&str; 27] = [
    "SET NAMES latin1",
    "SET NAMES utf8mb4",
    "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_bin'",
    "SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci, @@session.time_zone='+02:00'",
    "SET NAMES gbk",
    "SET character_set_results=NULL",
    "SET collation_connection=latin1_bin",
    "SET character_set_connection=utf8mb4",
    "SET collation_connection=utf8mb4_bin, character_set_connection=latin1",
    "SET character_set_connection=latin1, collation_connection=utf8mb4_bin",
    "SET character_set_client=latin1, character_set_results=utf8mb4",
    "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci",
    "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
    "SET SESSION TRANSACTION READ WRITE",
    "SET autocommit=0, sql_notes=0, unique_checks=0",
    "SET autocommit=1, unique_checks=1",
    "SET sql_notes=DEFAULT",
    "SET max_join_size=1000",
    "SET sql_big_selects=1",
    "SET max_join_size=2000",
    "SET max_join_size=DEFAULT",
    "SET @@session.sql_mode=CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')",
    "SET time_zone=@@global.time_zone",
    "SET innodb_lock_wait_timeout=7, sql_safe_updates=TRUE",
    "USE mysql",
    "USE test",
    "SET sql_mode=DEFAULT, innodb_lock_wait_timeout=DEFAULT, sql_safe_updates=FALSE",
];

/// Statements that change a session, which no text of these explains, and of which the server tells that much.
const PINS: [&str; 8] = [
    "SET @a=1",
    "CREATE TEMPORARY TABLE test.mine (a INT)",
    "PREPARE mine FROM 'select 1'",
    "SET time_zone='+07:00'",
    "SET NAMES latin2",
    "SET timestamp=5",
    "SET insert_id=5",
    "SET session_track_schema=OFF",
];

type Step = fn(&mut Bench) -> anyhow::Result<String>;

pub(crate) fn run(address: SocketAddr, server: Server) -> ExitCode {
    let steps: [(&str, Step); 7] = [
        ("collations", collations),
        ("logins", logins),
        ("variables", variables),
        ("variables once more", variables),
        ("texts", texts),
        ("what pins", pins),
        ("other variables", others),
    ];
    let mut failed = 0;
    let mut bench = Bench { address, server };
    for (name, step) in &steps {
        match step(&mut bench) {
            Ok(seen) => println!("ok {name}: {seen}"),
            Err(error) => {
                failed += 1;
                println!("FAIL {name}: {error:#}");
            }
        }
    }
    let passed = steps.len() - failed;
    if failed > 0 {
        println!("FAILED {passed} ok, {failed} failed");
        return ExitCode::FAILURE;
    }
    println!("PASS {passed} ok, 0 failed");
    ExitCode::SUCCESS
}

struct Bench {
    address: SocketAddr,
    server: Server,
}

impl Bench {
    fn collations(&self) -> Collations {
        match self.server {
            Server::Mysql8 => Collations::Mysql8,
            Server::Mariadb10 => Collations::Mariadb10,
            Server::Mariadb11 => Collations::Mariadb11,
        }
    }

    /// An upstream connection as the proxy has them.
    fn place(&self) -> anyhow::Result<Place> {
        let mut place = self.bare(u8::try_from(LOGIN_COLLATION.id)?)?;
        place.set_up()?;
        Ok(place)
    }

    fn bare(&self, collation: u8) -> anyhow::Result<Place> {
        let config = ClientConfig { collation, ..account("nat", "natpw") };
        Ok(Place { session: login(self.address, config)?, state: State::set_up(b"test") })
    }
}

struct Place {
    session: Session,
    state: State,
}

impl Place {
    fn set_up(&mut self) -> anyhow::Result<()> {
        let statement = setup(&self.session.established.greeting.version);
        self.ask(Command::Query, statement.as_bytes())?;
        Ok(())
    }

    /// What is answered by OK.
    fn ask(&mut self, command: Command, text: &[u8]) -> anyhow::Result<BytesMut> {
        let mut out = BytesMut::new();
        put_packet(&mut out, 0, &[&[command as u8], text].concat());
        self.session.link.ask(&out)?;
        self.ok()
    }

    fn ok(&mut self) -> anyhow::Result<BytesMut> {
        let (_, body) = self.session.link.packet()?.context("it has left")?;
        ensure!(body.first() == Some(&0), "{}", String::from_utf8_lossy(&body));
        Ok(body)
    }

    /// A statement that is explained by its text.
    fn set(&mut self, text: &str) -> anyhow::Result<()> {
        let ok = self.ask(Command::Query, text.as_bytes())?;
        let told = Changes::of_ok(&ok, self.session.established.agreed)?;
        let shown = told.clone();
        self.state
            .follow_text(told, text.as_bytes())
            .with_context(|| format!("{text}: told {:?}", shown.collect::<Vec<_>>()))
    }

    /// Makes it like another.
    fn replay(&mut self, state: &State) -> anyhow::Result<()> {
        let Difference { schema, set, set_first } = match state.replay_on(&self.state) {
            Replay::Fits => return Ok(()),
            Replay::First(difference) => difference,
            Replay::Unfit => bail!("it does not fit"),
        };
        ensure!(!set_first, "these are ASCII");
        if let Some(schema) = schema {
            self.ask(Command::InitDb, &schema)?;
        }
        if let Some(set) = set {
            self.ask(Command::Query, set.as_bytes()).context(set)?;
        }
        self.state = state.clone();
        Ok(())
    }

    /// All variables, as the server shows them, and the schema.
    fn shown(&mut self) -> anyhow::Result<BTreeMap<String, String>> {
        let mut all = BTreeMap::new();
        // Unlike `SHOW VARIABLES`, which is in the session's language.
        for row in rows(self, "SHOW SESSION VARIABLES")? {
            let [name, value] = &row[..] else { bail!("{} columns", row.len()) };
            if !OWN.contains(&&**name) {
                all.insert(name.clone(), value.clone());
            }
        }
        let schema = rows(self, "SELECT IFNULL(DATABASE(), '')")?;
        all.insert("database()".into(), schema.concat().concat());
        Ok(all)
    }
}

/// Rows of texts; `NULL` is one, too.
fn rows(place: &mut Place, query: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    for row in place.session.link.query(query)? {
        let (mut row, mut fields) = (Reader::new(&row), Vec::new());
        while !row.is_empty() {
            if row.clone().u8()? == 0xfb {
                row.u8()?;
                fields.push("NULL".into());
            } else {
                fields.push(String::from_utf8_lossy(row.lenenc_bytes()?).into_owned());
            }
        }
        rows.push(fields);
    }
    Ok(rows)
}

/// Both have the same.
fn same(left: &mut Place, right: &mut Place, after: &str) -> anyhow::Result<()> {
    let (left, right) = (left.shown()?, right.shown()?);
    let differ = left.iter().filter(|(name, value)| right.get(*name) != Some(value));
    let differ: Vec<_> =
        differ.map(|(name, value)| format!("{name}: {value:?}, {:?}", right.get(name))).collect();
    ensure!(differ.is_empty(), "after {after}: {}", differ.join("; "));
    Ok(())
}

/// The table is what the server says.
fn collations(bench: &mut Bench) -> anyhow::Result<String> {
    let query = match bench.server {
        Server::Mysql8 => {
            "SELECT id, collation_name, character_set_name FROM information_schema.collations"
        }
        Server::Mariadb10 | Server::Mariadb11 => {
            "SELECT id, full_collation_name, character_set_name \
             FROM information_schema.collation_character_set_applicability"
        }
    };
    let mut there = BTreeMap::new();
    for row in rows(&mut bench.place()?, query)? {
        there.insert(row[0].parse::<u16>()?, (row[1].clone(), row[2].clone()));
    }
    for id in 0..=u16::MAX {
        let ours = bench.collations().get(id);
        let ours = ours.map(|ours| (ours.name.to_string(), ours.charset().to_string()));
        let theirs = there.get(&id).cloned();
        ensure!(ours == theirs, "{id}: {ours:?} for {theirs:?}");
    }
    Ok(format!("{} as the server has them", there.len()))
}

/// What a login asks for is what its session begins with; after a reset, and when it is set up, all are alike.
fn logins(bench: &mut Bench) -> anyhow::Result<String> {
    let mut fresh = bench.place()?;
    // Not what servers have by themselves.
    fresh.ask(Command::Query, b"CREATE DATABASE IF NOT EXISTS narrow CHARACTER SET latin2")?;
    let ids = [8, 9, 28, 33, 45, 46, 63, 83, 192, 224, 246, 255, 0, 100];
    for id in ids {
        let collation = bench.collations().at_login(id.into());
        let mut place = bench.bare(id)?;
        let query = "SELECT @@character_set_client, @@character_set_results, \
                     @@character_set_connection, @@collation_connection";
        let charset = collation.charset();
        let expected = [charset, charset, charset, collation.name];
        let seen = rows(&mut place, query)?.concat();
        ensure!(seen == expected, "{id}: {seen:?} for {collation:?}");
        // The same by replay.
        let state = State::begun(b"test", &collation);
        fresh.replay(&state)?;
        let seen = rows(&mut fresh, query)?.concat();
        ensure!(seen == expected, "{id}, replayed: {seen:?} for {collation:?}");
        place.set("USE narrow")?;
        place.set("SET time_zone='+03:00', NAMES latin1")?;
        place.session.link.ask(&reset_connection())?;
        place.ok()?;
        place.set_up()?;
        place.state = State::after_reset(b"narrow");
        for place in [&mut place, &mut fresh] {
            place.replay(&State::set_up(b"narrow"))?;
        }
        same(&mut place, &mut fresh, &format!("a reset, login with {id}"))?;
    }
    Ok(format!("{} collations", ids.len()))
}

/// Each variable of the table that the server has, all on one connection, one after the other.
fn variables(bench: &mut Bench) -> anyhow::Result<String> {
    let (mut first, mut second) = (bench.place()?, bench.place()?);
    let shown = first.shown()?;
    let mut tried = 0;
    for name in VARIABLES {
        let Some(value) = shown.get(name) else { continue };
        let mut wanted = candidates(name, value);
        let mut set = 0;
        while let Some(candidate) = wanted.pop() {
            let text = format!("SET SESSION {name}={candidate}");
            // Not all that is tried is allowed.
            let Ok(ok) = first.ask(Command::Query, text.as_bytes()) else { continue };
            let told = Changes::of_ok(&ok, first.session.established.agreed)?;
            let shown = told.clone();
            first
                .state
                .follow_text(told, text.as_bytes())
                .with_context(|| format!("{text}: told {:?}", shown.collect::<Vec<_>>()))?;
            if first.shown()?.get(name) == Some(value) {
                continue;
            }
            second.replay(&first.state).with_context(|| text.clone())?;
            same(&mut first, &mut second, &text)?;
            set += 1;
            if set == 2 {
                break;
            }
        }
        ensure!(set > 0, "{name} is {value}, and takes nothing else");
        tried += 1;
    }
    ensure!(tried > 70, "{tried} only");
    // And back to what a session begins with.
    second.replay(&State::set_up(b"test"))?;
    same(&mut second, &mut bench.place()?, "all were unset")?;
    Ok(format!("{tried} of {}", VARIABLES.len()))
}

/// What may be tried, the best last.
fn candidates(name: &str, value: &str) -> Vec<String> {
    if let Some((_, words)) = WORDS.iter().find(|(known, _)| *known == name) {
        let is_number = |word: &&&str| word.bytes().all(|b| b.is_ascii_digit()) && !word.is_empty();
        let quoted = |word: &&str| match is_number(&word) {
            true => word.to_string(),
            false => format!("'{word}'"),
        };
        return words.iter().map(quoted).collect();
    }
    match value {
        "ON" => vec!["OFF".into()],
        "OFF" => vec!["ON".into(), "1".into()],
        value => {
            let Ok(number) = value.parse::<f64>() else { return Vec::new() };
            let number = number as u64;
            let around =
                [1, number.saturating_add(1), 4096, 65536, number / 2, number.saturating_mul(2)];
            around.map(|number| number.to_string()).to_vec()
        }
    }
}

/// Statements of other forms.
fn texts(bench: &mut Bench) -> anyhow::Result<String> {
    let (mut first, mut second) = (bench.place()?, bench.place()?);
    for text in TEXTS {
        first.set(text)?;
        second.replay(&first.state).context(text)?;
        same(&mut first, &mut second, text)?;
        // One that has been something else before.
        let mut other = bench.place()?;
        other.set("SET NAMES utf8mb4 COLLATE utf8mb4_bin, sql_notes=0, autocommit=0")?;
        other.set("SET max_join_size=77, time_zone='-05:00'")?;
        other.replay(&first.state).context(text)?;
        same(&mut first, &mut other, text)?;
    }
    Ok(format!("{} statements", TEXTS.len()))
}

/// Without an explanation the server's word is enough.
fn pins(bench: &mut Bench) -> anyhow::Result<String> {
    for text in PINS {
        let mut place = bench.place()?;
        let ok = place.ask(Command::Query, text.as_bytes())?;
        let told = Changes::of_ok(&ok, place.session.established.agreed)?;
        let shown = told.clone();
        ensure!(place.state.follow(told).is_err(), "{text}: told {:?}", shown.collect::<Vec<_>>());
    }
    // What writes, and changes nothing of the session's.
    let mut place = bench.place()?;
    for text in [
        "CREATE TABLE IF NOT EXISTS test.written (a INT)",
        "INSERT INTO test.written VALUES (1)",
        "DROP TABLE test.written",
        "BEGIN",
        "COMMIT",
        "DO 1",
    ] {
        let ok = place.ask(Command::Query, text.as_bytes())?;
        let told = Changes::of_ok(&ok, place.session.established.agreed)?;
        place.state.follow(told).context(text)?;
    }
    ensure!(place.state == State::set_up(b"test"), "nothing was set");
    Ok(format!("{} statements", PINS.len()))
}

/// Every other variable that a session may set: the text pins, and of most the server tells.
fn others(bench: &mut Bench) -> anyhow::Result<String> {
    let names: Vec<_> = bench.place()?.shown()?.into_keys().collect();
    let (mut tried, mut untold) = (0, Vec::new());
    for name in names.iter().map(String::as_str).chain(OWN) {
        let charset = ["character_set_client", "character_set_results", "character_set_connection"];
        if VARIABLES.contains(&name) || charset.contains(&name) || name == "collation_connection" {
            continue;
        }
        let mut place = bench.place()?;
        let text = format!("SET SESSION {name}=@@session.{name}");
        let Ok(ok) = place.ask(Command::Query, text.as_bytes()) else { continue };
        tried += 1;
        let told = Changes::of_ok(&ok, place.session.established.agreed)?;
        let mut state = place.state.clone();
        ensure!(state.follow_text(told.clone(), text.as_bytes()).is_err(), "{name} does not pin");
        if place.state.follow(told).is_ok() {
            untold.push(name);
        }
    }
    Ok(format!("{tried} pin, not told: {}", untold.join(" ")))
}
