//! The codec's handshakes and compression with real servers, and with real clients.

mod client;
mod link;
mod server;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Logs in at a server, every way there is, and prints `ok NAME` or `FAIL NAME: ...` for each, then `PASS n ok, 0 failed`
    Client {
        /// Where it listens
        address: SocketAddr,
        /// Which it is: mysql8, mariadb10 or mariadb11
        server: client::Server,
    },
    /// Lets clients log in and answers OK to whatever they say; prints `ready ADDRESS` when it listens, then a line for
    /// each login
    Server {
        /// A certificate, in PEM
        certificate: PathBuf,
        /// Its RSA key, in PEM
        key: PathBuf,
        /// The plugin that clients are greeted with
        #[arg(long, default_value = "caching_sha2_password")]
        plugin: String,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Client { address, server } => Ok(client::run(address, server)),
        Command::Server { certificate, key, plugin } => {
            server::run(&certificate, &key, &plugin).map(|()| ExitCode::SUCCESS)
        }
    }
}
