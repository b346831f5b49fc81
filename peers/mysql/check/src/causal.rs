//! Reads on a replica that is behind: what a session has written it has to see, where that was asked for.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use wiremesh_mysql::{Capabilities, Command};

use crate::conn::{Conn, Execution, Login};
use crate::node::{LONGEST, Node};
use crate::reply::{Answer, prepared};

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// The server that takes writes
    source: SocketAddr,
    /// The server that follows it
    replica: SocketAddr,
    /// The proxy, which prefers the replica for reads, where nothing is waited for
    plain: SocketAddr,
    /// The same, where reads wait as long as it takes
    causal: SocketAddr,
    /// The same, where they wait for less than the replica takes
    hasty: SocketAddr,
    /// The same as `causal`, with one connection to each server
    narrow: SocketAddr,
    /// The same as `plain`, but that the replica is left out when it is more than 3 s behind
    strict: SocketAddr,
    /// How many clients write and read where they wait
    #[arg(long, default_value_t = 32)]
    clients: u32,
}

/// How far behind a replica may be, where it is strict.
const MAX_LAG: u64 = 3;

/// Where it is read from: the one table whose rows are not the same on both.
const HERE: &str = "select name from test.here";

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let (mut source, mut replica) = (Node::new(options.source)?, Node::new(options.replica)?);
    for (node, name) in [(&mut source, "source"), (&mut replica, "replica")] {
        node.read_only(false)?;
        node.statement("create table test.here (name varchar(10))")?;
        node.statement(&format!("insert into test.here values ('{name}')"))?;
        node.statement("create table test.counted (id int primary key, n int)")?;
        for id in 0..options.clients {
            node.statement(&format!("insert into test.counted values ({id}, 0)"))?;
        }
    }
    replica.follow(&mut source, true)?;
    replica.delay(1)?;
    let mut client = Client::new(options.plain)?;
    client.reads_from("replica")?;

    let seen = write_and_read(options.plain, 8, 10)?;
    ensure!(seen.stale > 0, "with nothing waited for, no read of {} was behind", seen.reads());
    println!("ok plain: {seen}");
    let seen = write_and_read(options.causal, options.clients, 4)?;
    ensure!(seen.stale == 0 && seen.source == 0, "with waits: {seen}");
    println!("ok causal: {seen}");
    let seen = write_and_read(options.hasty, 8, 4)?;
    ensure!(seen.stale == 0 && seen.source > 0, "with short waits: {seen}");
    println!("ok hasty: {seen}");

    let told = aliased(options.source)?;
    let mut one = Client::new(options.narrow)?;
    one.conn.statement("set timestamp = 5")?;
    one.conn.simple(Command::ResetConnection, &[])?;
    let mut seen = Seen::default();
    (1..=3).try_for_each(|n| one.write_and_read(0, 1000 + n, &mut seen))?;
    ensure!(seen.stale == 0 && seen.source == 0, "behind a timestamp: {seen}");
    println!("ok after a timestamp, what was written is told as {told}: {seen}");

    println!("ok hints: {}", hints(&mut client, options)?);
    println!("ok lag: {}", lag(options.strict, &mut replica)?);
    replica.statement("stop replica sql_thread")?;
    client.reads_from("source")?;
    replica.statement("start replica sql_thread")?;
    client.reads_from("replica")?;
    println!("ok threads: left out while one does not run");
    println!("PASS 7 ok, 0 failed");
    Ok(ExitCode::SUCCESS)
}

/// Of reads that follow a write.
#[derive(Default)]
struct Seen {
    /// They do not show what was written.
    stale: u64,
    /// By whom they were answered.
    source: u64,
    replica: u64,
    slowest: Duration,
}

impl Seen {
    fn reads(&self) -> u64 {
        self.source + self.replica
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { stale, source, replica, slowest } = self;
        write!(f, "{} reads, {stale} stale, {replica} by the replica, ", self.reads())?;
        write!(f, "{source} by the source, {} ms the slowest", slowest.as_millis())
    }
}

fn write_and_read(proxy: SocketAddr, clients: u32, rounds: u32) -> anyhow::Result<Seen> {
    // No two runs may write the same, or what is read cannot be told apart.
    let first = u32::from(proxy.port()) * 1000;
    let client = move |id| -> anyhow::Result<Seen> {
        let (mut client, mut seen) = (Client::new(proxy)?, Seen::default());
        (1..=rounds).try_for_each(|round| client.write_and_read(id, first + round, &mut seen))?;
        Ok(seen)
    };
    let mut all = Seen::default();
    scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|id| scope.spawn(move || client(id))).collect();
        for client in clients {
            let Ok(seen) = client.join() else { bail!("a client panicked") };
            let seen = seen?;
            all.stale += seen.stale;
            all.source += seen.source;
            all.replica += seen.replica;
            all.slowest = all.slowest.max(seen.slowest);
        }
        Ok(())
    })?;
    Ok(all)
}

struct Client {
    conn: Conn,
}

impl Client {
    fn new(proxy: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { conn: Conn::login(proxy, &Login::new("nopw", ""))? })
    }

    /// The row of a statement.
    fn row(&mut self, text: &str) -> anyhow::Result<Vec<String>> {
        match self.conn.statement(text)? {
            Answer::Rows(table) => {
                let row = table.texts()?.pop().with_context(|| format!("{text}: no row"))?;
                row.into_iter().map(|value| value.context("it is NULL")).collect()
            }
            other => bail!("{text}: {other:?}"),
        }
    }

    fn here(&mut self, text: &str) -> anyhow::Result<String> {
        Ok(self.row(text)?.concat())
    }

    fn write_and_read(&mut self, id: u32, n: u32, seen: &mut Seen) -> anyhow::Result<()> {
        let update = format!("update test.counted set n = {n} where id = {id}");
        if let Answer::Error(failure) = self.conn.statement(&update)? {
            bail!("{update}: {failure}");
        }
        let asked = Instant::now();
        let row =
            self.row(&format!("select name, n from test.here, test.counted where id = {id}"))?;
        seen.slowest = seen.slowest.max(asked.elapsed());
        match row[0].as_str() {
            "source" => seen.source += 1,
            _ => seen.replica += 1,
        }
        seen.stale += u64::from(row[1] != n.to_string());
        Ok(())
    }

    /// Waits until reads go there.
    fn reads_from(&mut self, name: &str) -> anyhow::Result<()> {
        let end = Instant::now() + LONGEST;
        while self.here(HERE)? != name {
            ensure!(Instant::now() < end, "reads do not go to the {name}");
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// The name under which a server tells what was written on a connection where `timestamp` was set before.
fn aliased(server: SocketAddr) -> anyhow::Result<&'static str> {
    let mut login = Login::new("nat", "natpw");
    login.wanted = login.wanted | Capabilities::SESSION_TRACK;
    let mut conn = Conn::login(server, &login)?;
    let mut told = Vec::new();
    for text in [
        "set session_track_system_variables = '*', session_track_gtids = 'OWN_GTID'",
        "set session_track_system_variables = '*'",
        "set timestamp = 5",
        "set timestamp = default",
        "update test.counted set n = -1 where id = 0",
    ] {
        match conn.statement(text)? {
            Answer::Done(done) => told = done.changes,
            // MariaDB has one of these variables only.
            Answer::Error(failure) if failure.number == 1193 => {}
            other => bail!("{text}: {other:?}"),
        }
    }
    let has = |name: &[u8]| told.windows(name.len()).any(|it| it == name);
    let name = match () {
        () if has(b"timestamp") => "timestamp",
        () if has(b"last_gtid") => "last_gtid",
        () => "a GTID",
    };
    let expected = match conn.version() {
        version if version.contains("11.4") => "timestamp",
        version if version.contains("MariaDB") => "last_gtid",
        _ => "a GTID",
    };
    ensure!(name == expected, "what was written is told as [{}]", told.escape_ascii());
    Ok(name)
}

fn hints(client: &mut Client, options: &Options) -> anyhow::Result<String> {
    let [source, replica] = [options.source, options.replica].map(|at| at.port().to_string());
    let steps = [
        ("/* wiremesh: route=primary */ select name from test.here", "source"),
        ("select name from test.here /* wiremesh: ROUTE=Primary */", "source"),
        // No statement that certainly only reads: it is about the server.
        ("select @@port", &source),
        ("select /* wiremesh: route=replica */ @@port", &replica),
        // It locks, whatever it is hinted to be.
        ("/* wiremesh: route=replica */ select name from test.here for update", "source"),
        (HERE, "replica"),
    ];
    for (text, expected) in steps {
        let seen = client.here(text)?;
        ensure!(seen == expected, "{text}: answered by {seen}, not by {expected}");
    }
    for (text, expected) in [(HERE, "replica"), (steps[0].0, "source")] {
        let id = prepared(&client.conn.prepare(text)?)?.id;
        let what = Execution { id, parameters: &[], types: false, cursor: false };
        let Some(Answer::Rows(table)) = client.conn.execute(what)?.pop() else {
            bail!("{text}: no rows")
        };
        let seen = table.strings()?.concat();
        ensure!(seen == [Some(expected.to_owned())], "{text}: executed by {seen:?}");
    }
    client.conn.statement("begin")?;
    let seen = client.here(HERE)?;
    client.conn.statement("commit")?;
    ensure!(seen == "source", "in a transaction it is read from the {seen}");
    Ok(format!("{} statements, 2 prepared, 1 in a transaction", steps.len()))
}

fn lag(proxy: SocketAddr, replica: &mut Node) -> anyhow::Result<String> {
    let mut client = Client::new(proxy)?;
    replica.delay(3 * MAX_LAG)?;
    client.conn.statement("update test.counted set n = -2 where id = 0")?;
    // Its threads have just begun again, and it may have been left out for that.
    let end = Instant::now() + LONGEST;
    while replica.behind()?.is_none_or(|late| late <= MAX_LAG) {
        ensure!(Instant::now() < end, "it does not fall behind");
        sleep(Duration::from_millis(20));
    }
    client.reads_from("source")?;
    let late = replica.behind()?.context("its threads do not run")?;
    ensure!(late > MAX_LAG, "left out with {late} s");
    replica.delay(0)?;
    client.reads_from("replica")?;
    Ok(format!("left out {late} s behind, and back when it had caught up"))
}
