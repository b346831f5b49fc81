use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
use wiremesh::HeaderSupport;

use super::{Cli, exit_code};
use crate::{
    config::{Config, ProtocolInfo, check_users},
    net::tls,
    registry::Registry,
    server::Server,
};

pub(super) fn run(registry: Registry, file: PathBuf) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&file, &registry.protocols()) else { return Ok(ExitCode::FAILURE) };
    Server::new(config, registry).watch(file).run().context("the proxy cannot run")?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn check(protocols: &[ProtocolInfo], files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let mut fine = true;
    for file in files {
        match load(file, protocols) {
            Some(config) if !other_files(file, &config) => fine = false,
            Some(config) => {
                let listeners = count(config.listeners.len(), "listener");
                let clusters = count(config.clusters.len(), "cluster");
                super::print(&format!("{}: ok ({listeners}, {clusters})\n", file.display()))?;
            }
            None => fine = false,
        }
    }
    Ok(exit_code(fine))
}

/// Whether the files that the configuration names can be used; what is wrong with them goes to standard error.
fn other_files(file: &Path, config: &Config) -> bool {
    let mut mistakes = tls::check(config);
    mistakes.extend(check_users(config));
    mistakes.iter().for_each(|mistake| eprintln!("{}: {mistake}", file.display()));
    mistakes.is_empty()
}

/// The file's configuration; its mistakes go to standard error.
fn load(file: &Path, protocols: &[ProtocolInfo]) -> Option<Config> {
    Config::load(file, protocols)
        .map_err(|report| {
            eprintln!("{report}");
            if report.mistakes.len() > 1 {
                eprintln!("{}: {} mistakes", file.display(), report.mistakes.len());
            }
        })
        .ok()
}

pub(super) fn protocols(protocols: &[ProtocolInfo]) -> String {
    let header = ["PROTOCOL", "REPLIES", "HEADERS", "HEARTBEAT", "DETECTION"].map(str::to_owned);
    let rows = protocols.iter().map(|protocol| {
        let headers = match protocol.headers {
            HeaderSupport::None => "none",
            HeaderSupport::Read => "read",
            HeaderSupport::Edit => "read, edit",
        };
        let heartbeat = if protocol.heartbeat { "yes" } else { "no" };
        let detection =
            if protocol.server_first { "no: the server speaks first" } else { "first bytes" };
        [protocol.name, protocol.correlation, headers, heartbeat, detection].map(str::to_owned)
    });
    let rows: Vec<[String; 5]> = std::iter::once(header).chain(rows).collect();
    let mut table = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
            let _ = write!(line, "{cell:width$}   ");
        }
        let _ = writeln!(table, "{}", line.trim_end());
    }
    table
}

pub(super) fn completions(shell: Shell) -> String {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
