//! The project's automation, run as `cargo xtask COMMAND`.

mod bench;
mod fuzz;
mod hermetic;
mod peers;
mod process;
mod redis_commands;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use report::Report;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's automation")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything that proves the project on this machine
    Test(TestArgs),
    /// wiremesh beside other proxies: throughput, latency, processor time and memory
    Bench(bench::BenchArgs),
    /// The Redis command table, and how the server judged command lines, written anew: needs redis-server 7.0
    RedisCommands,
    /// What MySQL and MariaDB servers and their clients say to each other, recorded into testdata/mysql
    MysqlCaptures {
        /// Only the conversations whose names contain this
        #[arg(long, default_value = "")]
        filter: String,
    },
}

/// What to test.
#[derive(clap::Args)]
struct TestArgs {
    /// One part instead of all three
    #[arg(long)]
    only: Option<Part>,
    /// Only the checks and cells whose names contain this
    #[arg(long, default_value = "")]
    filter: String,
    /// Real peers against each other, without the proxy between them
    #[arg(long)]
    direct: bool,
    /// Sessions and statements drawn at random to judge the proxy by: so many times more than usual
    #[arg(long, default_value_t = 1)]
    times: usize,
    /// How long each fuzz target runs
    #[arg(long, default_value_t = 10)]
    fuzz_seconds: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Format, lints, tests, documentation, sizes, licences: needs Rust alone
    Hermetic,
    /// Real clients and servers through the real proxy
    Peers,
    /// Every fuzz target for a while: needs a nightly toolchain
    Fuzz,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let done = async {
        match cli.command {
            Command::Test(args) => Ok(test(&args).await),
            Command::Bench(args) => bench::run_all(args).await,
            Command::RedisCommands => redis_commands::generate().await.map(|()| true),
            Command::MysqlCaptures { filter } => {
                peers::mysql::captures(&filter).await.map(|()| true)
            }
        }
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Leaving the select drops the run, and every process it started is killed with it.
    tokio::select! {
        passed = done => Ok(if passed? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
    }
}

async fn test(args: &TestArgs) -> bool {
    let mut report = Report::new(&args.filter);
    let wanted = |part| args.only.is_none_or(|only| only == part);
    if wanted(Part::Hermetic) {
        hermetic::run_all(&mut report).await;
    }
    if wanted(Part::Fuzz) {
        fuzz::run_all(&mut report, args.fuzz_seconds, args.only == Some(Part::Fuzz)).await;
    }
    if wanted(Part::Peers) {
        peers::run_all(&mut report, args.direct, args.times).await;
    }
    report.finish()
}

/// The folder that holds the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Where builds and logs go.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
