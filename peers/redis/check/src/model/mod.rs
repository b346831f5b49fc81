//! Clients that know what they have written, while servers fail over and slots move.

mod client;
mod key;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use client::Client;

#[derive(Args)]
pub(crate) struct Model {
    /// The proxy
    address: SocketAddr,
    #[arg(long, default_value_t = 16)]
    clients: usize,
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    #[arg(long)]
    seed: Option<u64>,
    /// Of a thousand answers, how many may be errors
    #[arg(long, default_value_t = 20)]
    errors: usize,
    /// Acknowledged writes may be gone again: a primary is killed
    #[arg(long)]
    lossy: bool,
    /// What a replica has is there for good: writes wait for one
    #[arg(long)]
    waits: bool,
}

/// What clients have seen.
#[derive(Default)]
struct Tally {
    answers: usize,
    /// By the first words.
    errors: BTreeMap<String, usize>,
    /// Writes that a replica has, too.
    copied: usize,
    /// Connections that ended.
    closed: usize,
    /// What must not be.
    wrong: Vec<String>,
    /// The longest time without a right answer.
    gap: Duration,
}

/// Prints what was seen, and fails if any of it was wrong.
pub(crate) fn run(args: &Model) -> ExitCode {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!("seed {seed}");
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let mut sum = Tally::default();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..args.clients)
            .map(|n| {
                let seed = seed.wrapping_add(n as u64);
                let client = Client::new(n, args.address, seed, args.lossy, args.waits);
                scope.spawn(move || client.run(end))
            })
            .collect();
        for client in clients {
            match client.join() {
                Ok(tally) => sum.add(tally),
                Err(_) => sum.wrong.push("a client panicked".into()),
            }
        }
    });
    let errors = sum.errors.values().sum::<usize>();
    for (error, count) in &sum.errors {
        println!("{count} times {error}");
    }
    if args.waits && sum.copied == 0 {
        sum.wrong.push("no replica has ever had a write".into());
    }
    for wrong in sum.wrong.iter().take(20) {
        println!("FAIL {wrong}");
    }
    let share = errors * 1000 / sum.answers.max(1);
    if share > args.errors {
        println!("FAIL {share} errors in a thousand answers, at most {}", args.errors);
    }
    let good = sum.wrong.is_empty() && share <= args.errors && sum.answers > 0;
    println!(
        "{} {} answers, {errors} errors, {} connections lost, {} copied writes, {} wrong, longest gap {} ms",
        if good { "PASS" } else { "FAILED" },
        sum.answers,
        sum.closed,
        sum.copied,
        sum.wrong.len(),
        sum.gap.as_millis()
    );
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.answers += other.answers;
        self.copied += other.copied;
        self.closed += other.closed;
        self.wrong.extend(other.wrong);
        self.gap = self.gap.max(other.gap);
        for (error, count) in other.errors {
            *self.errors.entry(error).or_default() += count;
        }
    }
}
