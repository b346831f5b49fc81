//! A primary and its replica change places while clients write through the proxy.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::conn::{Conn, Login};
use crate::reply::Answer;

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// The proxy, which has both servers
    proxy: SocketAddr,
    /// The server that takes writes at first
    source: SocketAddr,
    /// The server that follows it
    replica: SocketAddr,
    /// How many clients write
    #[arg(long, default_value_t = 8)]
    clients: u32,
    /// Seconds from one change to the next
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

/// How long servers may take to catch up, and clients to be served again.
const LONGEST: Duration = Duration::from_secs(30);

/// A write is one row, or two of a transaction; nothing but their count tells one that was done twice.
const TABLE: &str = "create table if not exists test.written \
    (id bigint auto_increment primary key, client int, n int, part int)";

/// What became of the writes of one client.
#[derive(Default)]
struct Written {
    /// By their numbers.
    acknowledged: Vec<(u32, Instant)>,
    /// Whether they were done nobody has said.
    unknown: HashSet<u32>,
    /// How often which error was the answer.
    errors: BTreeMap<u16, usize>,
    lost: usize,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let (mut a, mut b) = (Node::new(options.source)?, Node::new(options.replica)?);
    for node in [&mut a, &mut b] {
        node.read_only(false)?;
        node.statement(TABLE)?;
    }
    b.follow(&mut a, true)?;
    let stop = AtomicBool::new(false);
    let (written, changes) = scope(|scope| {
        let stop = &stop;
        let clients: Vec<_> = (0..options.clients)
            .map(|number| scope.spawn(move || write(options.proxy, number, stop)))
            .collect();
        let changes = change(&mut a, &mut b, options.seconds);
        stop.store(true, Ordering::Relaxed);
        let written: Result<Vec<_>, _> =
            clients.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        (written, changes)
    });
    let Ok(written) = written else { bail!("a client panicked") };
    let changes = changes?;
    let mut problems = judge(&mut a, &written)?;
    for (place, change) in changes.iter().enumerate() {
        let after = |written: &Written| {
            let next = written.acknowledged.iter().find(|(_, at)| *at >= change.done);
            next.map(|(_, at)| at.duration_since(change.done))
        };
        let served: Vec<_> = written.iter().map(after).collect();
        let Some(slowest) = served.iter().copied().collect::<Option<Vec<_>>>() else {
            problems.push(format!("change {place}: not all clients were served after it"));
            continue;
        };
        let slowest = slowest.into_iter().max().unwrap_or_default();
        println!(
            "ok change {place}: {} ms without a primary, all clients served {} ms after it",
            change.done.duration_since(change.begun).as_millis(),
            slowest.as_millis()
        );
    }
    if problems.is_empty() {
        println!("PASS {} ok, 0 failed", changes.len() + 1);
        return Ok(ExitCode::SUCCESS);
    }
    problems.iter().for_each(|problem| println!("FAIL {problem}"));
    println!("FAILED 0 ok, {} failed", problems.len());
    Ok(ExitCode::FAILURE)
}

/// When there was no primary.
struct Change {
    begun: Instant,
    done: Instant,
}

/// There, and back.
fn change(a: &mut Node, b: &mut Node, seconds: u64) -> anyhow::Result<Vec<Change>> {
    let mut changes = Vec::new();
    for there in [true, false] {
        sleep(Duration::from_secs(seconds));
        let (old, new) = if there { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
        let begun = Instant::now();
        old.read_only(true)?;
        new.has_all_of(old)?;
        new.stop()?;
        new.read_only(false)?;
        changes.push(Change { begun, done: Instant::now() });
        old.follow(new, false)?;
    }
    sleep(Duration::from_secs(seconds));
    Ok(changes)
}

/// Rows by themselves, and two in a transaction, by turns.
fn write(proxy: SocketAddr, client: u32, stop: &AtomicBool) -> Written {
    let mut written = Written::default();
    let mut conn = None;
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let Some(open) = &mut conn else {
            conn = Conn::login(proxy, &Login::new("nopw", "")).ok();
            sleep(Duration::from_millis(5));
            continue;
        };
        number += 1;
        match insert(open, client, number) {
            Ok(Outcome::Done) => written.acknowledged.push((number, Instant::now())),
            Ok(Outcome::Refused(error, certain)) => {
                *written.errors.entry(error).or_default() += 1;
                if !certain {
                    written.unknown.insert(number);
                }
                sleep(Duration::from_millis(5));
            }
            Err(_) => {
                written.lost += 1;
                written.unknown.insert(number);
                conn = None;
            }
        }
    }
    written
}

enum Outcome {
    Done,
    /// By this error; whether that means that nothing was done.
    Refused(u16, bool),
}

fn insert(conn: &mut Conn, client: u32, number: u32) -> anyhow::Result<Outcome> {
    let row = |part| {
        format!("insert into test.written (client, n, part) values ({client}, {number}, {part})")
    };
    let statements = match number % 2 {
        0 => vec![row(0)],
        _ => vec!["begin".into(), row(0), row(1), "commit".into()],
    };
    for statement in &statements {
        let Answer::Error(failure) = conn.statement(statement)? else { continue };
        let certain = matches!(failure.number, 1290 | 1836) && statement != "commit";
        if statements.len() > 1
            && let Answer::Error(failure) = conn.statement("rollback")?
        {
            bail!("rollback: error {}", failure.number);
        }
        return Ok(Outcome::Refused(failure.number, certain));
    }
    Ok(Outcome::Done)
}

/// What is there has to be what was acknowledged, each once, and of the rest only what nobody knows of.
fn judge(primary: &mut Node, written: &[Written]) -> anyhow::Result<Vec<String>> {
    let Answer::Rows(table) = primary
        .conn
        .statement("select client, n, count(*) from test.written group by client, n")?
    else {
        bail!("no rows");
    };
    let mut there: HashMap<(u32, u32), usize> = HashMap::new();
    for row in table.texts()? {
        let number = |at: usize| -> anyhow::Result<u32> {
            Ok(row.get(at).and_then(Option::as_deref).context("a number")?.parse()?)
        };
        there.insert((number(0)?, number(1)?), number(2)? as usize);
    }
    let mut problems = Vec::new();
    let (mut acknowledged, mut unknown, mut done) = (0, 0, 0);
    for (client, written) in (0..).zip(written) {
        for (number, _) in &written.acknowledged {
            acknowledged += 1;
            let (wanted, seen) = (1 + *number as usize % 2, there.remove(&(client, *number)));
            if seen != Some(wanted) {
                problems.push(format!("{client}/{number}: {seen:?} rows, acknowledged {wanted}"));
            }
        }
        unknown += written.unknown.len();
        for number in &written.unknown {
            if let Some(seen) = there.remove(&(client, *number)) {
                done += 1;
                if seen != 1 + *number as usize % 2 {
                    problems.push(format!("{client}/{number}: {seen} rows of a write in doubt"));
                }
            }
        }
    }
    problems.extend(there.keys().map(|(client, n)| format!("{client}/{n}: it was refused")));
    let mut errors: BTreeMap<u16, usize> = BTreeMap::new();
    for (error, count) in written.iter().flat_map(|it| &it.errors) {
        *errors.entry(*error).or_default() += count;
    }
    let lost: usize = written.iter().map(|it| it.lost).sum();
    println!(
        "ok writes: {acknowledged} acknowledged, each there once; {unknown} in doubt, of which {done} were done; errors {errors:?}, {lost} connections lost"
    );
    Ok(problems)
}

/// One of the two servers.
struct Node {
    address: SocketAddr,
    conn: Conn,
    mariadb: bool,
}

impl Node {
    fn new(address: SocketAddr) -> anyhow::Result<Self> {
        let conn = Conn::login(address, &Login::new("nat", "natpw"))?;
        let mariadb = conn.version().contains("MariaDB");
        Ok(Self { address, conn, mariadb })
    }

    fn statement(&mut self, text: &str) -> anyhow::Result<()> {
        match self.conn.statement(text)? {
            Answer::Error(failure) => bail!("{}: {text}: {}", self.address, failure.text),
            _ => Ok(()),
        }
    }

    fn value(&mut self, text: &str) -> anyhow::Result<String> {
        self.conn.statement(text)?.value()?.context("it is NULL")
    }

    fn read_only(&mut self, on: bool) -> anyhow::Result<()> {
        // Of MySQL's two the stronger one sets the other, and the weaker one clears it.
        let name = if on && !self.mariadb { "super_read_only" } else { "read_only" };
        self.statement(&format!("set global {name} = {}", u8::from(on)))
    }

    /// What it has executed.
    fn position(&mut self) -> anyhow::Result<String> {
        let name = if self.mariadb { "gtid_current_pos" } else { "gtid_executed" };
        Ok(self.value(&format!("select @@global.{name}"))?.replace('\n', ""))
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        self.statement("stop replica")?;
        self.statement("reset replica all")
    }

    /// Is a replica from now on; `anew`: whatever it had of its own is forgotten.
    fn follow(&mut self, source: &mut Self, anew: bool) -> anyhow::Result<()> {
        let port = source.address.port();
        // One that has taken writes itself goes on from where it was; what the other has written since is still to come.
        let position = if anew { source.position()? } else { self.position()? };
        let to = match self.mariadb {
            true => format!(
                "change master to master_host='127.0.0.1', master_port={port}, master_user='nat', \
                 master_password='natpw', master_use_gtid=slave_pos"
            ),
            false => format!(
                "change replication source to source_host='127.0.0.1', source_port={port}, \
                 source_user='nat', source_password='natpw', source_auto_position=1"
            ),
        };
        if anew {
            self.statement("reset master")?;
            if !self.mariadb {
                self.statement(&format!("set global gtid_purged='{position}'"))?;
            }
        }
        if self.mariadb {
            self.statement(&format!("set global gtid_slave_pos='{position}'"))?;
        }
        self.statement(&to)?;
        self.statement("start replica")?;
        self.read_only(true)
    }

    fn has_all_of(&mut self, source: &mut Self) -> anyhow::Result<()> {
        let (position, seconds) = (source.position()?, LONGEST.as_secs());
        let wait = if self.mariadb { "master_gtid_wait" } else { "wait_for_executed_gtid_set" };
        let done = self.value(&format!("select {wait}('{position}', {seconds})"))?;
        ensure!(done == "0", "{}: it has not got {position}", self.address);
        Ok(())
    }
}
