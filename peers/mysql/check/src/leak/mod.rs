//! Many short sessions, each of which sets and reads back whatever a session can have of its own: a stranger's value that
//! is seen is a failure.

mod counted;
mod defaults;
mod diagnostics;
mod kind;
mod model;
mod prepared;
mod session;
mod state;
mod steps;
mod transactions;
mod variables;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::conn::{Conn, Login};
use counted::Counted;
use defaults::Defaults;
pub(crate) use kind::Kind;
use session::{Client, LockWatch};

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// Where sessions connect to
    address: SocketAddr,
    /// The server itself: its tables are made there, and fresh sessions looked at; unless given, ADDRESS
    #[arg(long)]
    server: Option<SocketAddr>,
    /// An account that may make schemas
    #[arg(long, default_value = "nat")]
    user: String,
    /// Its password
    #[arg(long, default_value = "natpw")]
    password: String,
    /// Sessions at a time
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Sessions in all
    #[arg(long, default_value_t = 2000)]
    sessions: usize,
    /// What all is drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The longest that a session pauses, which it does now and then, in milliseconds
    #[arg(long, default_value_t = 20)]
    pause: u64,
    /// Only these kinds of state
    #[arg(long, value_delimiter = ',')]
    only: Vec<Kind>,
    /// Answers that are refused by a proxy are wrong, too
    #[arg(long)]
    strict: bool,
    /// So many wrong answers are enough
    #[arg(long, default_value_t = 10)]
    enough: usize,
}

/// What all clients know.
struct Shared {
    options: Options,
    kinds: Vec<Kind>,
    defaults: Defaults,
    maria: bool,
    /// The user locks of all clients, by client.
    locks: Vec<LockWatch>,
    begun: AtomicUsize,
    complaints: Mutex<Vec<String>>,
    stop: AtomicBool,
}

pub(crate) fn run(options: Options) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let counted = judge(&options)?;
    Ok(counted.tell(&options, started.elapsed()))
}

/// As `--only` has them.
pub(crate) fn kinds() {
    for kind in Kind::wanted(&[], false) {
        if let Some(name) = clap::ValueEnum::to_possible_value(&kind) {
            println!("{}", name.get_name());
        }
    }
}

/// All sessions, and what they have seen.
fn judge(options: &Options) -> anyhow::Result<Counted> {
    let server = options.server.unwrap_or(options.address);
    let login = Login::new(&options.user, &options.password);
    let mut admin = Conn::login(server, &login).context("the server")?;
    let version = admin.statement("select version()")?.value()?.unwrap_or_default();
    let maria = version.contains("MariaDB");
    defaults::furnish(&mut admin, maria).context("making the tables")?;
    drop(admin);
    let shared = Shared {
        kinds: Kind::wanted(&options.only, maria),
        defaults: Defaults::of(server, &login, maria).context("looking at fresh sessions")?,
        maria,
        locks: (0..options.clients).map(|_| LockWatch::default()).collect(),
        begun: AtomicUsize::new(0),
        complaints: Mutex::default(),
        stop: AtomicBool::new(false),
        options: options.clone(),
    };
    let mut counted = Counted::default();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..options.clients)
            .map(|number| {
                let shared = &shared;
                scope.spawn(move || Client::new(shared, number).run())
            })
            .collect();
        for client in clients {
            match client.join() {
                Ok(seen) => counted.add(&seen),
                Err(_) => shared.complain("a client panicked".into()),
            }
        }
    });
    counted.sessions = shared.begun.load(Ordering::Relaxed);
    counted.kinds = shared.kinds;
    counted.complaints = shared.complaints.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(counted)
}

impl Shared {
    fn complain(&self, what: String) {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        complaints.push(what);
        if complaints.len() >= self.options.enough {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// As long as a server may need to notice that a client has left.
const NOTICE: Duration = Duration::from_secs(15);
