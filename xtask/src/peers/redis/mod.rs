//! Redis: other projects' clients and servers, and random commands compared with a bare server.
#![allow(dead_code, reason = "more peers are on their way")]

mod client;
mod differ;
mod install;
mod proxy;
mod server;

use client::{Bench, Cell};

use crate::report::Report;

/// Every client in both versions of RESP, direct and through the proxy; then random commands.
pub(super) async fn run_all(report: &mut Report, direct: bool) {
    let mut cells = Cell::all();
    cells.retain(|cell| report.wants(&cell.name()));
    let differs = report.wants(differ::NAME);
    if cells.is_empty() && !differs {
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
    report.check(differ::NAME, differ::run(direct)).await;
}
