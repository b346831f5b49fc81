//! `wiremesh demo`: a complete mesh inside one process, to watch. Three services with two endpoints each, the proxy with an
//! ordinary configuration, and clients that send real Bolt frames over loopback and check every answer; now and then an
//! endpoint is killed and comes back. Beside them a Redis server with clients of its own.

mod cache;
mod client;
mod config;
mod outside;
pub mod redis;
mod service;
mod tally;
mod traffic;
mod upstream;
mod view;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::time::MissedTickBehavior;

use crate::{
    cli::DemoArgs,
    cluster::Address,
    registry::Registry,
    server::{Handle, Server},
};
use traffic::{Listeners, Load, Mesh, Traffic};
use view::View;

/// How often what happens is shown.
const TICK: Duration = Duration::from_secs(1);

/// How often it is asked whether the traffic has ended.
const POLL: Duration = Duration::from_millis(10);

/// Runs the demo until its time is up or it is interrupted; false if a request was lost, failed or answered wrongly.
pub fn run(args: &DemoArgs) -> anyhow::Result<bool> {
    let mesh = Mesh::bind()?;
    let endpoints: Vec<_> = mesh.addresses().collect();
    let file = config::write(&endpoints)?;
    let proxy =
        Server::new(config::load(&file)?, Registry::bundled()).watch(file.clone()).start()?;
    let address = |listener: &str| match proxy.address(listener) {
        Some(Address::Tcp(address)) => Ok(*address),
        _ => bail!("listener {listener} has no address"),
    };
    let listeners = Listeners { bolt: address(config::BOLT)?, redis: address(config::REDIS)? };
    let started = Instant::now();
    let load = Load {
        connections: args.connections,
        rate: args.rate,
        end: args.duration.map(|duration| started + duration),
    };
    let mut view = View::new(started, endpoints, proxy.metrics().snapshot());
    view.introduce(&load, &listeners, proxy.admin(), &file);
    let mut traffic = mesh.start(listeners, load)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(watch(&mut view, &proxy, &mut traffic, load.end))?;

    view.note(traffic.events.try_iter());
    let took = started.elapsed();
    let tally = traffic.join()?;
    view.conclude(&proxy.metrics().snapshot(), &tally, took, &file);
    proxy.drain();
    proxy.join();
    if tally.right.get() == 0 {
        bail!("no request was answered");
    }
    Ok(tally.is_clean())
}

/// Shows what happens until the end, and then waits for the last answers.
async fn watch(
    view: &mut View,
    proxy: &Handle,
    traffic: &mut Traffic,
    end: Option<Instant>,
) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval_at((Instant::now() + TICK).into(), TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let interrupted = interrupted();
    tokio::pin!(interrupted);
    let ended = async {
        match end {
            Some(end) => tokio::time::sleep_until(end.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(ended);
    while !traffic.is_finished() {
        tokio::select! {
            _ = ticks.tick() => {
                view.note(traffic.events.try_iter());
                view.show(&proxy.metrics().snapshot(), &traffic.tally);
            }
            () = &mut ended => break,
            result = &mut interrupted => {
                result.context("no signals")?;
                break;
            }
        }
    }
    traffic.finish();
    while !traffic.is_finished() {
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn interrupted() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}
