//! The same statements at a server and through a proxy, for the same answers.

mod exceptions;
mod play;
mod script;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use fastrand::Rng;
use wiremesh_mysql::Capabilities;

use crate::conn::{Conn, Login};
pub(crate) use exceptions::Mode;
use exceptions::excepted;
use play::{Heard, play};
use script::{Op, script};

#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// The server
    direct: SocketAddr,
    /// The proxy in front of it
    through: SocketAddr,
    /// An account that may make schemas
    #[arg(long, default_value = "nat")]
    user: String,
    /// Its password
    #[arg(long, default_value = "natpw")]
    password: String,
    /// What all is drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many sequences of statements
    #[arg(long, default_value_t = 100)]
    sequences: usize,
    /// So many at a time, each in a schema of its own
    #[arg(long, default_value_t = 8)]
    workers: usize,
    /// What the proxy does, which says what may differ
    #[arg(long, default_value = "transparent")]
    mode: Mode,
    /// So many differences are enough
    #[arg(long, default_value_t = 10)]
    enough: usize,
}

/// What clients ask for beside the necessary.
const CLIENTS: [(&str, Capabilities); 9] = [
    ("plain", RESULTS),
    ("without EOF", Capabilities(RESULTS.0 | Capabilities::DEPRECATE_EOF.0)),
    ("tracking", Capabilities(RESULTS.0 | Capabilities::SESSION_TRACK.0)),
    (
        "tracking, several statements, files",
        Capabilities(
            RESULTS.0
                | Capabilities::DEPRECATE_EOF.0
                | Capabilities::SESSION_TRACK.0
                | Capabilities::MULTI_STATEMENTS.0
                | Capabilities::LOCAL_FILES.0,
        ),
    ),
    (
        "attributes",
        Capabilities(
            RESULTS.0
                | Capabilities::DEPRECATE_EOF.0
                | Capabilities::MULTI_STATEMENTS.0
                | Capabilities::QUERY_ATTRIBUTES.0,
        ),
    ),
    (
        "attributes, tracking, EOF",
        Capabilities(RESULTS.0 | Capabilities::SESSION_TRACK.0 | Capabilities::QUERY_ATTRIBUTES.0),
    ),
    (
        "found rows, spaces",
        Capabilities(
            RESULTS.0
                | Capabilities::MULTI_STATEMENTS.0
                | Capabilities::FOUND_ROWS.0
                | Capabilities::IGNORE_SPACE.0,
        ),
    ),
    (
        "extended columns",
        Capabilities(
            RESULTS.0
                | Capabilities::DEPRECATE_EOF.0
                | Capabilities::SESSION_TRACK.0
                | Capabilities::MULTI_STATEMENTS.0
                | Capabilities::MARIADB_EXTENDED_METADATA.0,
        ),
    ),
    ("one result", Capabilities(0)),
];

const RESULTS: Capabilities =
    Capabilities(Capabilities::MULTI_RESULTS.0 | Capabilities::PS_MULTI_RESULTS.0);

/// What was compared.
#[derive(Clone, Copy, Default)]
struct Line {
    sequences: usize,
    answers: usize,
    /// Of them, errors.
    errors: usize,
    /// Connections that did not last to the end of their sequence.
    cut: usize,
    excepted: usize,
    differ: usize,
}

struct Shared {
    options: Options,
    next: AtomicUsize,
    lines: Mutex<[Line; CLIENTS.len()]>,
    /// Differences, and reasons of exceptions.
    said: Mutex<(Vec<String>, Vec<&'static str>)>,
}

pub(crate) fn run(options: Options) -> anyhow::Result<ExitCode> {
    let shared = Shared {
        next: AtomicUsize::new(0),
        lines: Mutex::default(),
        said: Mutex::default(),
        options,
    };
    std::thread::scope(|scope| {
        for worker in 0..shared.options.workers {
            let shared = &shared;
            scope.spawn(move || {
                if let Err(error) = shared.work(worker) {
                    shared.complain(format!("FAIL worker {worker}: {error:#}"));
                }
            });
        }
    });
    Ok(shared.tell())
}

impl Shared {
    fn work(&self, worker: usize) -> anyhow::Result<()> {
        let options = &self.options;
        let schema = format!("differ_{worker}");
        let login = Login::new(&options.user, &options.password);
        let mut admin = Conn::login(options.direct, &login)?;
        admin.query("set session lock_wait_timeout = 10")?;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let enough = self.said().0.len() >= options.enough;
            if number >= options.sequences || enough {
                return Ok(());
            }
            let client = number % CLIENTS.len();
            let wanted = CLIENTS[client].1;
            let login = Login { wanted, schema: schema.clone(), ..login.clone() };
            let seed = options.seed.wrapping_mul(1_000_003) + number as u64;
            let script = script(&mut Rng::with_seed(seed), &schema, options.mode);
            let mut heard = Vec::new();
            for address in [options.direct, options.through] {
                furnish(&mut admin, &schema)?;
                heard.push(play(address, &login, &script).context("no login")?);
            }
            self.compare(number, client, &script, &heard[0], &heard[1]);
        }
    }

    fn compare(&self, number: usize, client: usize, script: &[Op], a: &[Heard], b: &[Heard]) {
        let mut line = Line { sequences: 1, ..Line::default() };
        for at in 0..a.len().max(b.len()) {
            let (direct, through) = (a.get(at), b.get(at));
            line.answers += 1;
            match direct {
                Some(Ok(reply)) if reply.iter().any(|one| one.failure().is_some()) => {
                    line.errors += 1;
                }
                Some(Err(_)) => line.cut += 1,
                _ => {}
            }
            if direct == through {
                continue;
            }
            // The first is the login's.
            let op = at.checked_sub(1).and_then(|at| script.get(at));
            if let Some(reasons) = excepted(self.options.mode, &script[..at], direct, through) {
                line.excepted += 1;
                let known = &mut self.said().1;
                known.extend(reasons);
                known.sort_unstable();
                known.dedup();
                continue;
            }
            line.differ += 1;
            let before: Vec<_> = script[..at.saturating_sub(1)]
                .iter()
                .skip(at.saturating_sub(12))
                .map(|op| format!("{op:?}"))
                .collect();
            self.complain(format!(
                "FAIL seed {} sequence {number} of a client {}, {}:\n  direct:  {}\n  through: {}\n  after: {}",
                self.options.seed,
                CLIENTS[client].0,
                op.map_or_else(|| "login".into(), |op| format!("{op:?}")),
                shown(direct),
                shown(through),
                before.join("; ")
            ));
            // What comes behind follows from it.
            break;
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut lines[client];
        known.sequences += line.sequences;
        known.answers += line.answers;
        known.errors += line.errors;
        known.cut += line.cut;
        known.excepted += line.excepted;
        known.differ += line.differ;
    }

    fn said(&self) -> std::sync::MutexGuard<'_, (Vec<String>, Vec<&'static str>)> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complain(&self, what: String) {
        self.said().0.push(what);
    }

    /// A line for each kind of client, then the verdict.
    fn tell(self) -> ExitCode {
        let lines = self.lines.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (complaints, reasons) = self.said.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (mut passed, mut failed) = (0, 0);
        for ((name, _), line) in CLIENTS.iter().zip(lines) {
            let Line { sequences, answers, errors, cut, excepted, differ } = line;
            let said = format!(
                "{sequences} sequences, {cut} cut, {answers} answers, {errors} errors, \
                 {excepted} excepted, {differ} differ"
            );
            match differ > 0 || answers == 0 {
                true => {
                    failed += 1;
                    println!("FAIL {name}: {said}");
                }
                false => {
                    passed += 1;
                    println!("ok {name}: {said}");
                }
            }
        }
        failed += usize::from(failed == 0 && !complaints.is_empty());
        for complaint in complaints {
            println!("{complaint}");
        }
        for reason in reasons {
            println!("excepted: {reason}");
        }
        if failed > 0 {
            println!("FAILED {passed} ok, {failed} failed");
            return ExitCode::FAILURE;
        }
        println!("PASS {passed} ok, 0 failed");
        ExitCode::SUCCESS
    }
}

fn shown(heard: Option<&Heard>) -> String {
    let shown = heard.map_or_else(|| "nothing".into(), |heard| format!("{heard:?}"));
    let end = shown.char_indices().nth(1500).map_or(shown.len(), |(at, _)| at);
    shown[..end].to_owned()
}

/// The same content each time.
fn furnish(admin: &mut Conn, schema: &str) -> anyhow::Result<()> {
    for text in [
        "drop database if exists SCHEMA",
        "create database SCHEMA character set utf8mb4",
        "create table SCHEMA.t (id int auto_increment primary key, name varchar(20) unique, n int not null \
         default 7, price decimal(8,2), at datetime(3), b blob, e enum('a','b'), f double)",
        "insert into SCHEMA.t (name, n, price, at, b, e, f) values \
         ('one', 1, 1.25, '2020-01-02 03:04:05.678', 'bytes', 'a', 0.5), \
         ('two', 2, null, null, x'00ff', 'b', -1e10), ('three', 3, -7, '1999-12-31', '', null, null)",
        "create table SCHEMA.u (a int, v text)",
        "create procedure SCHEMA.p(in x int, out y int) \
         begin select x as first; select id, name from t where id <= x order by id; set y = x + 1; end",
        "create procedure SCHEMA.q() begin insert into u values (1, 'q'); set @q = 5; end",
        "create function SCHEMA.twice(x int) returns int deterministic return x * 2",
        "create view SCHEMA.w as select id, name from SCHEMA.t where n > 1",
    ] {
        let text = text.replace("SCHEMA", schema);
        let answer = admin.statement(&text)?;
        ensure!(answer.failure().is_none(), "{text}: {answer:?}");
    }
    Ok(())
}
