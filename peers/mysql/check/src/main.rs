//! The codec's handshakes and compression with real servers, and with real clients.

mod causal;
mod client;
mod conn;
mod differ;
mod entrance;
mod failover;
mod idle;
mod leak;
mod link;
mod naive;
mod node;
mod reply;
mod server;
mod state;
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
    /// Sets what a session may set, makes another session like it, and prints as `client` does
    State {
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
        /// The plugin that clients are greeted with; `pooled`: they log in as in the proxy's pooled mode
        #[arg(long, default_value = "caching_sha2_password")]
        plugin: String,
    },
    /// Many short sessions over a server or a proxy, each with state of its own, and none may see another's: prints `ok KIND:
    /// counts` or `FAIL KIND: counts`, then `PASS n ok, 0 failed`
    Leak(leak::Options),
    /// The same statements at a server and through a proxy: prints `ok CLIENT: counts` or `FAIL CLIENT: counts`, then
    /// `PASS n ok, 0 failed`
    Differ(differ::Options),
    /// Very many clients that log in and say one statement each, of which a few go on, and then all: prints `ok` lines, with how
    /// many connections the server had and how much memory the proxy needed, and `PASS n ok, 0 failed`
    Idle(idle::Options),
    /// Clients write through a proxy while two servers behind it change places, and back, and one is killed: what was
    /// acknowledged has to be there once. Prints `ok` lines and `PASS n ok, 0 failed`
    Failover(failover::Options),
    /// Clients write and read through a proxy that has a replica which is behind: prints `ok` lines, who has answered, and
    /// `PASS n ok, 0 failed`
    Causal(causal::Options),
    /// Prints the kinds of state that `leak` knows of every server, a line each
    Kinds,
    /// Shares connections of a server without care, so that `leak` has to fail; prints `ready ADDRESS` when it listens
    Naive(naive::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Client { address, server } => Ok(client::run(address, server)),
        Command::Causal(options) => causal::run(&options),
        Command::Leak(options) => leak::run(options),
        Command::Differ(options) => differ::run(options),
        Command::Failover(options) => failover::run(&options),
        Command::Idle(options) => idle::run(&options),
        Command::Kinds => {
            leak::kinds();
            Ok(ExitCode::SUCCESS)
        }
        Command::Naive(options) => naive::run(options).map(|()| ExitCode::SUCCESS),
        Command::State { address, server } => Ok(state::run(address, server)),
        Command::Server { certificate, key, plugin } if plugin == "pooled" => {
            entrance::run(&certificate, &key).map(|()| ExitCode::SUCCESS)
        }
        Command::Server { certificate, key, plugin } => {
            server::run(&certificate, &key, &plugin).map(|()| ExitCode::SUCCESS)
        }
    }
}
