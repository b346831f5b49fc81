//! The command line: the same for the `wiremesh` binary and for one with protocols of its own.

mod args;
mod commands;
mod proxy;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;

pub use args::DemoArgs;

use crate::{config::Config, registry::Registry};
use args::{Cli, Command};

/// Does what the process's arguments say. The exit code is 0 for success, 1 for failure (a configuration with mistakes,
/// lost requests, an error while running), 2 for arguments that cannot be understood.
pub fn main(registry: Registry) -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run { config } => commands::run(registry, config),
        Command::Check { files } => commands::check(&registry.protocols(), &files),
        Command::Schema => print(&Config::json_schema()),
        Command::Protocols => print(&commands::protocols(&registry.protocols())),
        Command::Demo(args) => crate::demo::run(&args).map(exit_code),
        Command::Proxy(args) => proxy::proxy(registry, &args),
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
