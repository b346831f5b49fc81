//! Is a Redis proxy what it says it is? `redis-check differ` compares it with a bare server,
//! `redis-check model` checks every answer under load.

mod compare;
mod conn;
mod exceptions;
mod generate;
mod model;
mod resp;
mod run;
mod shrink;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use conn::Conn;
use generate::{Kind, Step, sequence};
use model::Model;
use run::{Difference, Target};

/// No command here takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Parser)]
#[command(name = "redis-check", about = "Checks a Redis proxy against a bare redis-server")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Random commands to both; every answer has to be the same
    Differ(Differ),
    /// Load whose every answer is compared with what it has to be
    Model(Model),
}

#[derive(Args)]
struct Differ {
    /// A bare server, of which nothing is left
    control: SocketAddr,
    /// The proxy, or a second bare server
    subject: SocketAddr,
    /// The server behind the proxy, of which nothing is left; of a cluster, its primaries
    #[arg(long)]
    behind: Vec<SocketAddr>,
    /// Behind the proxy is a cluster: all keys are of one slot
    #[arg(long)]
    one_slot: bool,
    /// The first sequence; by default another each time
    #[arg(long)]
    seed: Option<u64>,
    /// How many sequences; by default as many as there is time for
    #[arg(long)]
    count: Option<u64>,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Go on after a difference, and show this many
    #[arg(long, default_value_t = 1)]
    differences: usize,
    /// Only commands that leave a connection as it is
    #[arg(long)]
    plain: bool,
    /// Print what is sent
    #[arg(long)]
    show: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Differ(args) => differ(&args),
        Command::Model(args) => Ok(model::run(&args)),
    }
}

fn differ(args: &Differ) -> anyhow::Result<ExitCode> {
    let target = |address, servers| Target { address, servers, patience: PATIENCE };
    let control = target(args.control, vec![args.control]);
    let behind = if args.behind.is_empty() { vec![args.subject] } else { args.behind.clone() };
    let subject = target(args.subject, behind);
    let kind = Kind { plain: args.plain, one_slot: args.one_slot };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let first = args.seed.unwrap_or(now.as_millis() as u64);
    println!("seed {first}");
    let dumps = dumps(args.control)?;
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let (mut sequences, mut commands, mut differences) = (0, 0, 0);
    let mut seen = BTreeSet::new();
    while Instant::now() < end && args.count.is_none_or(|count| sequences < count) {
        let seed = first.wrapping_add(sequences);
        let steps = sequence(seed, &dumps, kind);
        if args.show {
            show(&steps);
        }
        sequences += 1;
        commands += steps.iter().map(Step::len).sum::<usize>();
        let different = run::compare(&control, &subject, &steps);
        let Some(difference) = different.with_context(|| format!("seed {seed}"))? else {
            continue;
        };
        differences += 1;
        if let Some(class) = report(&control, &subject, &steps, seed, difference, &seen) {
            seen.insert(class);
        }
        if seen.len() >= args.differences {
            break;
        }
    }
    let verdict = if differences == 0 { "PASS" } else { "FAILED" };
    println!("{verdict} {sequences} sequences, {commands} commands, {differences} differences");
    Ok(if differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says what differs, and with how little, if it is new. Returns its class.
fn report(
    control: &Target,
    subject: &Target,
    steps: &[Step],
    seed: u64,
    difference: Difference,
    seen: &BTreeSet<String>,
) -> Option<String> {
    if seen.contains(&difference.class) {
        return None;
    }
    let first = difference.to_string();
    let steps = steps[..=difference.step].to_vec();
    let mut last = difference;
    let subject = Target { patience: PATIENCE / 5, ..subject.clone() };
    let fails = |steps: &[Step]| match run::compare(control, &subject, steps) {
        Ok(Some(difference)) => {
            last = difference;
            true
        }
        _ => false,
    };
    let steps = shrink::shrink(steps, fails, 300);
    if !seen.contains(&last.class) {
        println!("FAIL seed {seed}: {first}");
        println!("the least of it that still differs:");
        show(&steps);
        println!("{last}");
    }
    Some(last.class)
}

fn show(steps: &[Step]) {
    for step in steps {
        match step {
            Step::Burst(conn, cmds) => println!("  {conn}: {cmds:?}"),
            Step::Together(bursts) => {
                println!("  at the same time:");
                for (conn, cmds) in bursts {
                    println!("    {conn}: {cmds:?}");
                }
            }
            Step::Blocked { conn, cmd, waker, wakers } => {
                println!("  {conn}: [{cmd:?}] waits; {waker}: {wakers:?}");
            }
        }
    }
}

/// What DUMP makes of a value of each type, for RESTORE.
fn dumps(server: SocketAddr) -> anyhow::Result<Vec<Vec<u8>>> {
    const MAKERS: [&[&str]; 5] = [
        &["SET", "dump", "text"],
        &["RPUSH", "dump", "a", "b"],
        &["SADD", "dump", "1", "2"],
        &["ZADD", "dump", "1", "a"],
        &["HSET", "dump", "f", "v"],
    ];
    let mut conn = Conn::open(server, PATIENCE)?;
    conn.ask(&["FLUSHALL"])?;
    let mut dumps = Vec::new();
    for maker in MAKERS {
        conn.ask(&["DEL", "dump"])?;
        conn.ask(maker)?;
        let dump = conn.ask(&["DUMP", "dump"])?;
        dumps.push(dump.text().context("a dump")?.to_vec());
    }
    Ok(dumps)
}
