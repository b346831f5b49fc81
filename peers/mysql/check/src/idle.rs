//! Very many clients of which few have something to say.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

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
    /// The most connections that the server may have then, beside the one that counts them; unless given, any number
    #[arg(long)]
    most: Option<usize>,
    /// What all is drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    ensure!(options.active > 0, "some have to ask");
    let login = Login::new(&options.user, &options.password);
    let mut counting = Conn::login(options.server.unwrap_or(options.address), &login)?;
    let before = connections(&mut counting)?;
    let started = Instant::now();
    let clients = spread(options.active, |number| {
        let mut clients = Vec::new();
        for client in (number..options.clients).step_by(options.active) {
            let conn = Conn::login(options.address, &login);
            let mut conn = conn.with_context(|| format!("client {client}"))?;
            ask(&mut conn, client, 0)?;
            clients.push((client, conn));
        }
        Ok(clients)
    })?;
    let count: usize = clients.iter().map(Vec::len).sum();
    println!("ok login: {count} clients, each answered once");
    eprintln!("logins: {} ms", started.elapsed().as_millis());
    let idle = connections(&mut counting)?;
    let (started, asked) = (Instant::now(), AtomicUsize::new(0));
    let clients: Vec<_> = clients.into_iter().map(Mutex::new).collect();
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
    let after = connections(&mut counting)?;
    let asked = asked.into_inner();
    println!("ok questions: {asked}, each with its own answer");
    eprintln!("questions: {} ms", started.elapsed().as_millis());
    println!(
        "connections of the server: {before} before, {idle} when all were idle, {after} after"
    );
    if options.most.is_some_and(|most| idle.max(after) > most + 1) {
        println!("FAIL connections: {} at the most were to be", options.most.unwrap_or_default());
        println!("FAILED 2 ok, 1 failed");
        return Ok(ExitCode::FAILURE);
    }
    println!("PASS 2 ok, 0 failed");
    Ok(ExitCode::SUCCESS)
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

fn connections(conn: &mut Conn) -> anyhow::Result<usize> {
    let value = match conn.statement("show status like 'Threads_connected'")? {
        Answer::Rows(table) => table.texts()?.swap_remove(0).swap_remove(1),
        other => bail!("{other:?}"),
    };
    Ok(value.context("it is counted")?.parse()?)
}
