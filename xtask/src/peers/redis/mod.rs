//! Redis: other projects' clients and servers, and random commands compared with a bare server.

mod bulk;
mod client;
mod differ;
mod install;
mod load;
mod mirror;
mod module;
mod proxy;
mod replicas;
mod server;
mod suite;
mod tls;
mod tools;
mod watch;

use client::{Bench, Cell};

use crate::report::Report;

/// Every client in both versions of RESP, direct and through the proxy; then random commands.
pub(super) async fn run_all(report: &mut Report, direct: bool) {
    let mut cells = Cell::all(direct);
    cells.retain(|cell| report.wants(&cell.name()));
    const OTHERS: [&str; 15] = [
        "redis-cli",
        "redis-benchmark",
        differ::NAME,
        differ::CLUSTER,
        "redis-load-planned",
        "redis-load-killed",
        "redis-load-transparent",
        tools::TRANSPARENT,
        "redis-pair",
        "redis-sentinel",
        bulk::NAME,
        module::NAME,
        mirror::NAME,
        watch::NAME,
        tls::NAME,
    ];
    let others = OTHERS.iter().any(|name| report.wants(name)) || suite::is_wanted(report);
    if cells.is_empty() && !others {
        return;
    }
    let mut ready = true;
    for (name, step) in install::all(direct) {
        ready = ready && report.must(name, step).await;
    }
    if !ready {
        return;
    }
    let mut bench = Bench::default();
    for cell in cells {
        report.check(&cell.name(), bench.run(&cell, direct)).await;
    }
    let tools = async {
        let (direct, proxied) = bench.addresses(direct).await?;
        tools::cli(direct, proxied).await
    };
    report.check("redis-cli", tools).await;
    let tools = async {
        let (direct, proxied) = bench.addresses(direct).await?;
        tools::benchmark(direct, proxied).await
    };
    report.check("redis-benchmark", tools).await;
    report.check(tools::TRANSPARENT, tools::transparent(direct)).await;
    report.check(differ::NAME, differ::run(direct)).await;
    report.check(differ::CLUSTER, differ::run_cluster(direct)).await;
    report.check(bulk::NAME, bulk::run(direct)).await;
    report.check("redis-load-planned", load::planned(direct)).await;
    report.check("redis-load-killed", load::killed(direct)).await;
    report.check("redis-load-transparent", load::transparent(direct)).await;
    report.check(module::NAME, module::run(direct)).await;
    report.check(watch::NAME, watch::run(direct)).await;
    report.check("redis-pair", replicas::pair(direct)).await;
    report.check("redis-sentinel", replicas::sentinel(direct)).await;
    report.check(mirror::NAME, mirror::run(direct)).await;
    report.check(tls::NAME, tls::run(direct)).await;
    suite::run_all(report, direct).await;
}
