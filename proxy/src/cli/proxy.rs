use std::process::ExitCode;

use anyhow::Context as _;

use super::args::ProxyArgs;
use crate::{
    config::{Cluster, Config, Endpoint, Listener, Route},
    registry::Registry,
    server::Server,
};

/// `wiremesh proxy`: the configuration that the arguments stand for, printed or run.
pub(super) fn proxy(registry: Registry, args: &ProxyArgs) -> anyhow::Result<ExitCode> {
    let yaml = config(args).to_short_yaml();
    // Arguments can make the same mistakes as a file, and are told them in the same words.
    let checked = Config::parse("arguments", &yaml, &|_| None, &registry.protocols());
    let config = match checked {
        Ok(config) => config,
        Err(report) => {
            for mistake in report.mistakes {
                eprintln!("error: {}", mistake.message);
            }
            eprintln!("\nFor more information, try 'wiremesh help proxy'.");
            return Ok(ExitCode::from(2));
        }
    };
    if args.print_config {
        return super::print(&yaml);
    }
    Server::new(config, registry).run().context("the proxy cannot run")?;
    Ok(ExitCode::SUCCESS)
}

fn config(args: &ProxyArgs) -> Config {
    let endpoints = args.upstreams.iter().cloned().map(Endpoint::from).collect();
    let mut cluster = Cluster::new("upstream", endpoints);
    cluster.balance = args.balance;
    let topology = args.cluster.then(|| "cluster".to_owned()).or_else(|| args.topology.clone());
    cluster.topology = topology.unwrap_or(cluster.topology);
    let mut listener = Listener::new(
        args.protocol.as_str(),
        args.listen.clone(),
        vec![args.protocol.clone()],
        vec![Route::to_cluster("all", "upstream")],
    );
    if !args.options.is_empty() {
        let options = args.options.iter().cloned().collect();
        listener.options.insert(args.protocol.clone(), options);
    }
    Config {
        workers: args.workers,
        admin: args.admin,
        listeners: vec![listener],
        clusters: vec![cluster],
        ..Config::default()
    }
}
