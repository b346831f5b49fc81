//! One end of a measured path: `load serve` is the upstream, `load run` and `load idle` are the client.

use std::{net::SocketAddr, process::ExitCode, rc::Rc, time::Duration};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tokio::{net::TcpListener, task::LocalSet};
use wiremesh_benches::{
    client::{self, Load},
    server, wire,
};

#[derive(Parser)]
#[command(about = "Load for `cargo xtask bench`")]
struct Cli {
    /// The protocol spoken
    protocol: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer every request with its own body; prints the address
    Serve,
    /// Keep requests in flight and check their answers; prints what was measured
    Run(LoadArgs),
    /// Hold idle connections; prints the memory of the watched process before and after
    Idle(LoadArgs),
}

#[derive(Args)]
struct LoadArgs {
    target: SocketAddr,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Requests in flight on each connection
    #[arg(long, default_value_t = 1)]
    depth: usize,
    /// Length of a body, in bytes
    #[arg(long, default_value_t = 128)]
    body: usize,
    /// Seconds before it is measured
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// The process whose processor time and memory are measured
    #[arg(long)]
    watch: Option<u32>,
}

impl LoadArgs {
    fn load(&self) -> Load {
        Load {
            target: self.target,
            connections: self.connections,
            depth: self.depth,
            body: self.body,
            warm_up: Duration::from_secs_f64(self.warm_up),
            duration: Duration::from_secs_f64(self.seconds),
            watch: self.watch,
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let wire: Rc<dyn wiremesh_benches::Wire> =
        wire::by_name(&cli.protocol).context("no such protocol")?.into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let (text, faults) = match &cli.command {
            Command::Serve => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                println!("{}", listener.local_addr()?);
                server::serve(listener, wire).await?;
                return Ok(ExitCode::SUCCESS);
            }
            Command::Run(args) => {
                let outcome = client::run(wire, &args.load()).await?;
                (outcome.to_string(), outcome.wrong + outcome.lost)
            }
            Command::Idle(args) => {
                let idle = client::idle(wire, &args.load()).await?;
                (idle.to_string(), idle.wrong + idle.lost)
            }
        };
        println!("{text}");
        Ok(if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}
