//! Very many clients of which few have something to say.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use fastrand::Rng;

use crate::conn::{Conn, Login};
use crate::reply::Answer;

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// Where clients connect to
    address: SocketAddr,
    /// The server itself, for its count of connections; unless given, ADDRESS
    #[arg(long)]
    server: Option<SocketAddr>,
    /// An account
    #[arg(long, default_value = "nat")]
    user: String,
    /// Its password
    #[arg(long, default_value = "natpw")]
    password: String,
    /// Clients in all: each is a file descriptor
    #[arg(long, default_value_t = 10_000)]
    clients: usize,
    /// Of them, those that ask at a time
    #[arg(long, default_value_t = 50)]
    active: usize,
    /// Questions of each of these
    #[arg(long, default_value_t = 200)]
    questions: usize,
    /// The most connections that the server may have had at a time, beside the one that counts them; unless given, any number
    #[arg(long)]
    most: Option<usize>,
    /// Of three clients two set variables of their session, of which one a schema, too; all read back what theirs are
    #[arg(long)]
    state: bool,
    /// The proxy's process, whose memory is told
    #[arg(long)]
    process: Option<u32>,
    /// The most memory that it may need for a client, in KiB
    #[arg(long, default_value_t = 64)]
    most_memory: usize,
    /// What all is drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    ensure!(options.active > 0, "some have to ask");
    let mut login = Login::new(&options.user, &options.password);
    login.schema = "test".into();
    let mut counting = Conn::login(options.server.unwrap_or(options.address), &login)?;
    // From now on it counts the most that there have been.
    counting.statement("flush status")?;
    let before = memory(options.process)?;
    let started = Instant::now();
    let clients = log_in(options, &login)?;
    let count: usize = clients.iter().map(Vec::len).sum();
    let (took, memory) = (started.elapsed(), memory(options.process)?.saturating_sub(before));
    println!("ok login: {count} clients, each answered once");
    eprintln!("logins: {} ms, {} a second", took.as_millis(), per_second(count, took));
    let (clients, started) =
        (clients.into_iter().map(Mutex::new).collect::<Vec<_>>(), Instant::now());
    let asked = AtomicUsize::new(0);
    spread(options.active, |number| {
        let mut random = Rng::with_seed(options.seed.wrapping_mul(1_000_003) + number as u64);
        let mut mine = clients[number].lock().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        for question in 1..=options.questions {
            if mine.is_empty() {
                break;
            }
            let at = random.usize(..mine.len());
            let (client, conn) = &mut mine[at];
            ask(conn, *client, question)?;
            asked.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })?;
    let (asked, took) = (asked.into_inner(), started.elapsed());
    println!("ok questions: {asked}, each with its own answer");
    eprintln!("questions: {} ms, {} a second", took.as_millis(), per_second(asked, took));
    let started = Instant::now();
    spread(options.active, |number| {
        let mut mine = clients[number].lock().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        for (client, conn) in mine.iter_mut() {
            if options.state {
                read_back(conn, *client).with_context(|| format!("client {client}"))?;
            }
            ask(conn, *client, options.questions + 1)?;
        }
        Ok(())
    })?;
    let took = started.elapsed();
    let told = if options.state { ", with the state of its session" } else { "" };
    println!("ok round: {count} clients, each answered again{told}");
    eprintln!("round: {} ms, {} clients a second", took.as_millis(), per_second(count, took));
    let mut bounds = Vec::new();
    // One counts them.
    let connections = most_connections(&mut counting)?.saturating_sub(1);
    bounds.extend(options.most.map(|most| bounded("connections", connections, most)));
    let each = memory.div_ceil(count.max(1));
    let most = options.process.map(|_| options.most_memory);
    bounds.extend(most.map(|most| bounded("memory, KiB per client", each, most)));
    let failed = bounds.iter().filter(|kept| !**kept).count();
    let ok = 3 + bounds.len() - failed;
    if failed > 0 {
        println!("FAILED {ok} ok, {failed} failed");
        return Ok(ExitCode::FAILURE);
    }
    println!("PASS {ok} ok, 0 failed");
    Ok(ExitCode::SUCCESS)
}

/// The clients of each of those that ask at a time, with their numbers.
fn log_in(options: &Options, login: &Login) -> anyhow::Result<Vec<Vec<(usize, Conn)>>> {
    spread(options.active, |number| {
        let mut clients = Vec::new();
        for client in (number..options.clients).step_by(options.active) {
            let conn = Conn::login(options.address, login);
            let mut conn = conn.with_context(|| format!("client {client}"))?;
            if options.state {
                set(&mut conn, client)?;
            }
            ask(&mut conn, client, 0)?;
            clients.push((client, conn));
        }
        Ok(clients)
    })
}

fn per_second(count: usize, took: Duration) -> u128 {
    count as u128 * 1000 / took.as_millis().max(1)
}

/// Tells of a bound, and whether it is kept.
fn bounded(name: &str, seen: usize, most: usize) -> bool {
    let kept = seen <= most;
    println!("{} {name}: {seen}, of {most} at the most", if kept { "ok" } else { "FAIL" });
    kept
}

/// The resident memory of a process, in KiB; of none, nothing.
fn memory(process: Option<u32>) -> anyhow::Result<usize> {
    let Some(process) = process else { return Ok(0) };
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let word = line.and_then(|line| line.split_whitespace().next());
    Ok(word.context("its memory is told")?.parse()?)
}

/// Of three clients one sets nothing, one a schema and a variable, and one another variable.
fn set(conn: &mut Conn, client: usize) -> anyhow::Result<()> {
    let statements = match client % 3 {
        0 => return Ok(()),
        1 => vec![format!("use {}", schema(client)), format!("set time_zone = '{}'", zone(client))],
        _ => vec![format!("set net_write_timeout = {}", timeout(client))],
    };
    for text in statements {
        match conn.statement(&text)? {
            Answer::Done(_) => {}
            other => bail!("{other:?} to {text}"),
        }
    }
    Ok(())
}

fn schema(client: usize) -> &'static str {
    match client % 6 {
        1 => "mysql",
        4 => "sys",
        _ => "test",
    }
}

fn zone(client: usize) -> String {
    match client % 3 {
        1 => format!("+{:02}:{:02}", client % 12, client % 60),
        _ => "SYSTEM".into(),
    }
}

fn timeout(client: usize) -> usize {
    if client % 3 == 2 { 100 + client } else { 60 }
}

/// The session is as it was set, and no stranger's.
fn read_back(conn: &mut Conn, client: usize) -> anyhow::Result<()> {
    let text = "select concat_ws(' ', database(), @@time_zone, @@net_write_timeout)";
    let seen = conn.statement(text)?.value()?;
    let right = format!("{} {} {}", schema(client), zone(client), timeout(client));
    ensure!(seen.as_deref() == Some(&right), "{seen:?}, and not {right:?}");
    Ok(())
}

/// The same in so many threads; the first error ends it.
fn spread<T: Send>(
    threads: usize,
    body: impl Fn(usize) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    std::thread::scope(|scope| {
        let body = &body;
        let threads: Vec<_> =
            (0..threads).map(|number| scope.spawn(move || body(number))).collect();
        threads
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(done) => done,
                Err(_) => bail!("a thread panicked"),
            })
            .collect()
    })
}

/// Every answer belongs to its question.
fn ask(conn: &mut Conn, client: usize, question: usize) -> anyhow::Result<()> {
    let text = format!("client {client} question {question}");
    let seen = conn.statement(&format!("select '{text}'"))?.value()?;
    ensure!(seen.as_deref() == Some(&text), "{seen:?} for {text:?}");
    Ok(())
}

/// That the server has had at a time, since its `FLUSH STATUS`.
fn most_connections(conn: &mut Conn) -> anyhow::Result<usize> {
    let value = match conn.statement("show global status like 'Max_used_connections'")? {
        Answer::Rows(table) => table.texts()?.swap_remove(0).swap_remove(1),
        other => bail!("{other:?}"),
    };
    Ok(value.context("it is counted")?.parse()?)
}
