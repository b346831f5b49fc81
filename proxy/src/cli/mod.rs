//! The command line: the same for the `wiremesh` binary and for one with protocols of its own.

mod args;
mod commands;
mod proxy;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser as _;

pub use args::DemoArgs;

use crate::config::{Config, ProtocolInfo};
use args::{Cli, Command};

/// What the command line needs of the program that it belongs to.
pub trait Program {
    /// The protocols that it speaks.
    fn protocols(&self) -> Vec<ProtocolInfo>;

    /// Runs the proxy until it has been told to stop and has drained. `source` is the file to reload from.
    fn run(self, config: Config, source: Option<PathBuf>) -> anyhow::Result<()>;

    /// Runs the demo; false if a request was lost or wrong.
    fn demo(self, args: DemoArgs) -> anyhow::Result<bool>;
}

/// Does what the process's arguments say. The exit code is 0 for success, 1 for failure (a configuration with mistakes,
/// lost requests, an error while running), 2 for arguments that cannot be understood.
pub fn main(program: impl Program) -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run { config } => commands::run(program, config),
        Command::Check { files } => commands::check(&program.protocols(), &files),
        Command::Schema => print(&Config::json_schema()),
        Command::Protocols => print(&commands::protocols(&program.protocols())),
        Command::Demo(args) => program.demo(args).map(exit_code),
        Command::Proxy(args) => proxy::proxy(program, &args),
        Command::Completions { shell } => print(&commands::completions(shell)),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn exit_code(fine: bool) -> ExitCode {
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints to standard output. That nobody reads to the end (`| head`) is no failure.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
