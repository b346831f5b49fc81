//! MySQL and MariaDB: other projects' clients and servers.

mod causal;
mod client;
mod failover;
mod idle;
mod install;
mod interrupt;
mod judges;
mod load;
mod login;
mod mirror;
mod pooled;
mod proxied;
mod record;
mod server;
mod sysbench;
mod tls;
mod tools;

use crate::report::Report;
use client::{Bench, Cell};

pub(crate) use client::{Flavour, cli};
pub(crate) use install::mariadb_plugins_there;
pub(crate) use record::captures;
pub(crate) use server::{Kind, Server};

/// Every client with every server, direct and through the proxy; then load.
pub(super) async fn run_all(report: &mut Report, direct: bool, times: usize) {
    let mut cells = Cell::all();
    cells.retain(|cell| report.wants(&cell.name()));
    let others: Vec<_> = load::NAMES.into_iter().filter(|name| report.wants(name)).collect();
    let mut tools = tools::Cell::all();
    tools.retain(|cell| report.wants(&cell.name()));
    let mut logins = login::Cell::all();
    logins.retain(|cell| report.wants(&cell.name()));
    let mut secured = tls::Cell::all();
    secured.retain(|cell| report.wants(&cell.name()));
    let mut judges = judges::Cell::all();
    judges.retain(|cell| report.wants(&cell.name()));
    let mut failovers = failover::Cell::all();
    failovers.retain(|cell| report.wants(&cell.name()));
    let mut causals = causal::Cell::all();
    causals.retain(|cell| report.wants(&cell.name()));
    let mut sysbenches = sysbench::Cell::all();
    sysbenches.retain(|cell| report.wants(&cell.name()));
    let mut interrupts = interrupt::Cell::all();
    interrupts.retain(|cell| report.wants(&cell.name()));
    let mirrors = report.wants(mirror::NAME);
    let (proxied, idle) = (report.wants(proxied::NAME), report.wants(idle::NAME));
    let none = cells.is_empty() && tools.is_empty() && others.is_empty() && logins.is_empty();
    let none = none && judges.is_empty() && failovers.is_empty() && causals.is_empty();
    let none = none && sysbenches.is_empty() && interrupts.is_empty() && secured.is_empty();
    if none && !proxied && !idle && !mirrors {
        return;
    }
    let mut languages: Vec<_> = cells.iter().map(Cell::language).collect();
    languages.extend(others.iter().map(|_| load::LANGUAGE));
    languages.extend(logins.iter().map(|_| login::LANGUAGE));
    languages.extend(secured.iter().flat_map(|_| tls::LANGUAGES));
    languages.sort_unstable();
    languages.dedup();
    let mut ready = true;
    let steps = install::servers(direct);
    for (name, step) in steps.into_iter().chain(languages.into_iter().filter_map(install::language))
    {
        ready = ready && report.must(name, step).await;
    }
    if !ready {
        return;
    }
    let mut bench = Bench::default();
    for cell in cells {
        report.check(&cell.name(), bench.run(&cell, direct)).await;
    }
    for cell in tools {
        report.check(&cell.name(), cell.run(&mut bench, direct)).await;
    }
    for cell in interrupts {
        report.check(&cell.name(), cell.run(&mut bench, direct)).await;
    }
    for cell in logins {
        report.check(&cell.name(), cell.run(&mut bench, direct)).await;
    }
    for cell in secured {
        report.check(&cell.name(), cell.run(&mut bench, direct)).await;
    }
    for cell in judges {
        report.check(&cell.name(), cell.run(&mut bench, direct, times)).await;
    }
    for cell in failovers {
        report.check(&cell.name(), cell.run(direct)).await;
    }
    for cell in causals {
        report.check(&cell.name(), cell.run(direct)).await;
    }
    if proxied {
        report.check(proxied::NAME, proxied::run(direct)).await;
    }
    if mirrors {
        report.check(mirror::NAME, mirror::run(direct)).await;
    }
    for cell in sysbenches {
        report.check(&cell.name(), cell.run(&mut bench, direct)).await;
    }
    if idle {
        report.check(idle::NAME, idle::run(&mut bench, direct)).await;
    }
    for name in others {
        report.check(name, load::run(name, &mut bench, direct)).await;
    }
}
