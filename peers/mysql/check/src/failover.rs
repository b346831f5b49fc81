//! A primary and its replica change places while clients write through the proxy; then the primary is killed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::conn::{Conn, Login};
use crate::node::Node;
use crate::reply::{Answer, Failure};

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// The proxy, which has both servers
    proxy: SocketAddr,
    /// The server that takes writes at first
    source: SocketAddr,
    /// The server that follows it
    replica: SocketAddr,
    /// The process of the server that takes writes at first, which is killed in the end
    process: u32,
    /// How many clients write
    #[arg(long, default_value_t = 8)]
    clients: u32,
    /// Seconds from one change to the next
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

/// What a client may be told: that the server is read-only, and that it was lost.
const KNOWN: [&str; 3] = ["1290 HY000", "1836 HY000", "the proxy's 1158 08S01"];

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
    errors: BTreeMap<String, usize>,
    /// Why connections ended.
    lost: Vec<String>,
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
        let changes = change(&mut a, &mut b, options);
        stop.store(true, Ordering::Relaxed);
        let written: Result<Vec<_>, _> =
            clients.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        (written, changes)
    });
    let Ok(written) = written else { bail!("a client panicked") };
    let changes = changes?;
    let mut problems = judge(&mut b, &written)?;
    for change in &changes {
        let after = |written: &Written| {
            let next = written.acknowledged.iter().find(|(_, at)| *at >= change.done);
            next.map(|(_, at)| at.duration_since(change.done))
        };
        let served: Vec<_> = written.iter().map(after).collect();
        let Some(slowest) = served.iter().copied().collect::<Option<Vec<_>>>() else {
            problems.push(format!("{}: not all clients were served after it", change.what));
            continue;
        };
        let slowest = slowest.into_iter().max().unwrap_or_default();
        println!(
            "ok {}: {} ms without a primary, all clients served {} ms after it",
            change.what,
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
    what: &'static str,
    begun: Instant,
    done: Instant,
}

/// There, and back; then the first is killed, and the other takes its place.
fn change(a: &mut Node, b: &mut Node, options: &Options) -> anyhow::Result<Vec<Change>> {
    let mut changes = Vec::new();
    let load = || sleep(Duration::from_secs(options.seconds));
    for what in ["change there", "change back"] {
        load();
        let (old, new) = if changes.is_empty() { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
        let begun = Instant::now();
        old.read_only(true)?;
        new.has_all_of(old)?;
        new.stop()?;
        new.read_only(false)?;
        changes.push(Change { what, begun, done: Instant::now() });
        old.follow(new, false)?;
    }
    a.waits_for(b)?;
    let [before, alone] = a.acknowledged()?;
    load();
    let [after, alone_since] = a.acknowledged()?;
    ensure!(after > before, "the replica has acknowledged nothing");
    ensure!(alone == alone_since, "the primary has written without its replica");
    let begun = Instant::now();
    kill(options.process)?;
    b.has_all_received()?;
    b.stop()?;
    b.read_only(false)?;
    changes.push(Change { what: "kill", begun, done: Instant::now() });
    load();
    Ok(changes)
}

/// At once, in the middle of whatever it does.
fn kill(process: u32) -> anyhow::Result<()> {
    let status = Command::new("kill").args(["-KILL", &process.to_string()]).status()?;
    ensure!(status.success(), "kill {process}: {status}");
    Ok(())
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
            Ok(Outcome::Refused(failure, certain)) => {
                *written.errors.entry(kind(&failure)).or_default() += 1;
                if !certain {
                    written.unknown.insert(number);
                }
                sleep(Duration::from_millis(5));
            }
            Err(error) => {
                written.lost.push(format!("{error:#}"));
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
    Refused(Failure, bool),
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
            bail!("rollback: {failure}");
        }
        return Ok(Outcome::Refused(failure, certain));
    }
    Ok(Outcome::Done)
}

/// An error without what differs from time to time.
fn kind(failure: &Failure) -> String {
    let whose = if failure.text.starts_with("wiremesh ") { "the proxy's " } else { "" };
    format!("{whose}{} {}", failure.number, failure.state)
}

/// What is there has to be what was acknowledged, each once, and of the rest only what nobody knows of.
fn judge(primary: &mut Node, written: &[Written]) -> anyhow::Result<Vec<String>> {
    let Answer::Rows(table) =
        primary.answer("select client, n, count(*) from test.written group by client, n")?
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
    let mut errors: BTreeMap<&str, usize> = BTreeMap::new();
    for (error, count) in written.iter().flat_map(|it| &it.errors) {
        *errors.entry(error).or_default() += count;
    }
    let known = |error: &&&str| KNOWN.contains(error);
    problems.extend(errors.keys().filter(|it| !known(it)).map(|it| format!("error {it}")));
    let lost: Vec<_> = written.iter().flat_map(|it| &it.lost).collect();
    if lost.len() > written.len() {
        problems.push(format!("connections were lost without need: {lost:?}"));
    }
    println!(
        "ok writes: {acknowledged} acknowledged, each there once; {unknown} in doubt, of which {done} were done; errors {errors:?}, {} connections lost",
        lost.len()
    );
    Ok(problems)
}
