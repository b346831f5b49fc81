use std::{net::SocketAddr, path::PathBuf, time};

use clap::{Args, Parser, Subcommand, value_parser};
use clap_complete::Shell;

use crate::config::{Address, Balance, Duration};

/// A service mesh proxy for RPC, database, cache and message protocols.
///
/// It understands the frames of a protocol, and so routes, balances, retries, limits and observes single requests,
/// whatever the protocol.
#[derive(Parser)]
#[command(name = "wiremesh", version = env!("WIREMESH_VERSION"), max_term_width = 100, after_help = "\
Getting started:
  wiremesh demo                                             a complete mesh in one process, to watch
  wiremesh proxy bolt 127.0.0.1:12220 127.0.0.1:12200       a proxy without a configuration file
  wiremesh proxy bolt 127.0.0.1:12220 127.0.0.1:12200 --print-config > wiremesh.yaml
  wiremesh check wiremesh.yaml && wiremesh run -c wiremesh.yaml

`wiremesh help COMMAND` tells more about a command.")]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Run the proxy that a configuration file describes
    ///
    /// The file is read again when it changes and on SIGHUP, without losing a request; one with mistakes is refused, and
    /// the proxy goes on as it was. SIGTERM and SIGINT drain: nothing new is accepted, what is in flight is finished.
    #[command(after_help = "\
Examples:
  wiremesh run -c wiremesh.yaml
  HELLO=10.0.0.7 wiremesh run -c wiremesh.yaml      fills in ${HELLO} in the file
  kill -HUP $(pidof wiremesh)                       reads the file again
  kill -TERM $(pidof wiremesh)                      drains and ends

Exit codes: 0 after a drain, 1 if the file has mistakes or the proxy cannot start.")]
    Run {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check configuration files, and tell every mistake in them
    ///
    /// Each mistake is told with file, line and column and how to put it right. Variables (${NAME}, ${NAME:-default}) are
    /// filled in from the environment, as `run` would.
    #[command(after_help = "\
Examples:
  wiremesh check wiremesh.yaml
  wiremesh check conf.d/*.yaml

Exit codes: 0 if all are right, 1 if there are mistakes.")]
    Check {
        /// The files to check
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print the JSON Schema of configuration files
    ///
    /// Editors complete and explain settings with it.
    #[command(after_help = "\
Example:
  wiremesh schema > wiremesh.schema.json
and as the first line of a configuration file, for the YAML language server:
  # yaml-language-server: $schema=wiremesh.schema.json")]
    Schema,
    /// List the protocols that this binary speaks
    #[command(after_help = "\
Columns:
  PROTOCOL     the name used in configuration
  REPLIES      how a reply finds its request: by id, in order, or by session
  HEADERS      what routes can do with headers: nothing, read, or read and edit
  HEARTBEAT    whether connections are kept alive and checked by the protocol's own heartbeat
  DETECTION    whether it can share a port with others")]
    Protocols,
    /// Watch a complete mesh at work in one process
    #[command(after_help = "\
Examples:
  wiremesh demo               until Ctrl-C
  wiremesh demo --for 10s     ends by itself

Exit codes: 0 if every request was answered rightly, 1 if one was lost or wrong.")]
    Demo(DemoArgs),
    /// Run a proxy without a configuration file
    ///
    /// Everything else has the defaults of the configuration file; --print-config shows the file that it stands for.
    #[command(after_help = "\
Examples:
  wiremesh proxy bolt 127.0.0.1:12220 127.0.0.1:12200
  wiremesh proxy bolt 127.0.0.1:12220 10.0.0.1:12200 10.0.0.2:12200 --balance peak_ewma
  wiremesh proxy bolt unix:/run/mesh.sock hello.svc.local:12200 --print-config
  wiremesh proxy mysql 127.0.0.1:3307 127.0.0.1:3306
  wiremesh proxy redis 127.0.0.1:6380 127.0.0.1:6379
  wiremesh proxy redis 127.0.0.1:6380 10.0.0.1:6379 10.0.0.2:6379 --cluster
  wiremesh proxy redis 127.0.0.1:6380 10.0.0.1:6379 --cluster --option face=transparent")]
    Proxy(ProxyArgs),
    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  wiremesh completions bash > /etc/bash_completion.d/wiremesh
  wiremesh completions zsh > ~/.zfunc/_wiremesh
  wiremesh completions fish > ~/.config/fish/completions/wiremesh.fish")]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// Arguments of `wiremesh demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// End after this long, such as 10s; without it, on Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub duration: Option<time::Duration>,
    /// How many client connections
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = value_parser!(u32).range(1..=5_000))]
    pub connections: u32,
    /// How many requests per second, of all clients together
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = value_parser!(u32).range(1..))]
    pub rate: u32,
}

#[derive(Args)]
pub(super) struct ProxyArgs {
    /// What is spoken; `wiremesh protocols` lists the names
    pub(super) protocol: String,
    /// Where clients connect: IP:PORT, [IPV6]:PORT or unix:PATH
    pub(super) listen: Address,
    /// Where requests go: HOST:PORT, [IPV6]:PORT or unix:PATH
    #[arg(required = true, value_name = "UPSTREAM")]
    pub(super) upstreams: Vec<Address>,
    /// How many worker threads carry traffic [default: available cores]
    #[arg(long, value_name = "N")]
    pub(super) workers: Option<usize>,
    /// Where the admin pages are served, such as 127.0.0.1:9901
    #[arg(long, value_name = "ADDR")]
    pub(super) admin: Option<SocketAddr>,
    /// How an endpoint is picked for a request
    #[arg(long, value_enum, default_value_t)]
    pub(super) balance: Balance,
    /// What the protocol learns from the upstreams about who serves what, such as replicated [default: static]
    #[arg(long, value_name = "KIND")]
    pub(super) topology: Option<String>,
    /// The upstreams are seeds of a cluster: the same as --topology cluster
    #[arg(long, conflicts_with = "topology")]
    pub(super) cluster: bool,
    /// An option of the protocol, such as face=transparent; may be given several times
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = option)]
    pub(super) options: Vec<(String, String)>,
    /// Print the configuration that this stands for, and end
    #[arg(long)]
    pub(super) print_config: bool,
}

fn duration(text: &str) -> Result<time::Duration, String> {
    text.parse().map(|Duration(duration)| duration)
}

fn option(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
