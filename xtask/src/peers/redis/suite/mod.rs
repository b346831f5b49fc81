//! Redis's own test suite, in the mode in which it tests a server that it has not started: against a bare server, and against
//! the same kind of server through the proxy. What passes without the proxy must pass with it, but for a list with reasons.

mod exceptions;
mod results;
mod source;

use std::time::Duration;

use anyhow::bail;
use tokio::time::timeout;

use self::results::{Results, compare};
use super::proxy::Proxy;
use super::server::Server;
use crate::peers::peer::free_address;
use crate::process::{command, finish};
use crate::report::{Outcome, Report};

/// The files of the suite that CI runs, of those that say anything without control over the server's process.
const UNITS: &[&str] = &[
    "unit/protocol",
    "unit/keyspace",
    "unit/scan",
    "unit/info-command",
    "unit/type/string",
    "unit/type/incr",
    "unit/type/list",
    "unit/type/list-3",
    "unit/type/set",
    "unit/type/zset",
    "unit/type/hash",
    "unit/type/stream",
    "unit/type/stream-cgroups",
    "unit/sort",
    "unit/expire",
    "unit/dump",
    "unit/bitops",
    "unit/bitfield",
    "unit/geo",
    "unit/hyperloglog",
    "unit/other",
    "unit/multi",
    "unit/quit",
    "unit/pubsub",
    "unit/tracking",
    "unit/scripting",
    "unit/functions",
    "unit/introspection",
    "unit/introspection-2",
    "unit/latency-monitor",
    "unit/slowlog",
    "unit/pause",
    "unit/lazyfree",
    "unit/violations",
    "unit/replybufsize",
];

/// As the suite's own automation starts the server that it tests.
const OPTIONS: [&str; 6] = [
    "--enable-debug-command",
    "yes",
    "--enable-protected-configs",
    "yes",
    "--enable-module-command",
    "yes",
];

/// All that a unit may take.
const LONGEST: Duration = Duration::from_secs(500);

/// A test that takes so many seconds will not end.
const HANGS: &str = "180";

/// Fewer tests than this have never been compared: something else is wrong then.
const LEAST: usize = 1750;

/// For example `redis-suite-type-list`.
fn name(unit: &str) -> String {
    let unit = unit.trim_start_matches("unit/").trim_start_matches("integration/");
    format!("redis-suite-{}", unit.replace('/', "-"))
}

/// Whether any of it is asked for.
pub(super) fn is_wanted(report: &Report) -> bool {
    UNITS.iter().any(|unit| report.wants(&name(unit)))
}

/// One unit after the other.
pub(super) async fn run_all(report: &mut Report, direct: bool) {
    if !is_wanted(report) || !report.must("redis: its own suite", source::fetch()).await {
        return;
    }
    let (mut compared, mut units) = (0, 0);
    for unit in UNITS.iter().filter(|unit| report.wants(&name(unit))).collect::<Vec<_>>() {
        let run = async {
            let outcome = run(unit, direct).await?;
            compared += outcome.passed;
            Ok(outcome)
        };
        report.check(&name(unit), run).await;
        units += 1;
    }
    if units == UNITS.len() {
        let total = async {
            if compared < LEAST {
                bail!("{compared} tests were compared, there were at least {LEAST} before");
            }
            Ok(Outcome {
                passed: 0,
                failed: 0,
                detail: format!("{compared} tests in {units} units"),
            })
        };
        report.check("redis-suite-total", total).await;
    }
}

async fn run(unit: &str, direct: bool) -> anyhow::Result<Outcome> {
    if direct {
        let bare = bare(unit).await?;
        return Ok(Outcome { passed: bare.passed(), failed: 0, detail: bare.to_string() });
    }
    let (bare, proxied) = tokio::join!(bare(unit), proxied(unit));
    let (bare, mut proxied) = (bare?, proxied?);
    let mut compared = compare(unit, &bare, &proxied);
    if !compared.complaints.is_empty() {
        // Many tests are about time, of which a busy machine has too little now and then.
        proxied.merge(self::proxied(unit).await?);
        compared = compare(unit, &bare, &proxied);
    }
    Ok(compared.outcome())
}

async fn bare(unit: &str) -> anyhow::Result<Results> {
    let server = Server::start(&OPTIONS).await?;
    suite(unit, server.address.port(), "direct").await
}

async fn proxied(unit: &str) -> anyhow::Result<Results> {
    let server = Server::start(&OPTIONS).await?;
    let mut proxy = Proxy::start(&[server.address], &[]).await?;
    let results = suite(unit, proxy.address.port(), "proxied").await;
    proxy.check()?;
    results
}

async fn suite(unit: &str, port: u16, way: &str) -> anyhow::Result<Results> {
    let mut tcl = command("tclsh");
    tcl.arg("tests/test_helper.tcl").current_dir(source::folder()).env_remove("TERM");
    tcl.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--single", unit]);
    tcl.args(["--tags", "-slow -needs:repl", "--durable", "--dont-clean", "--timeout", HANGS]);
    tcl.args(["--baseport", &(own_port()? + 32).to_string()]);
    for test in exceptions::skipped(unit) {
        tcl.args(["--skiptest", test]);
    }
    let log = format!("{}-{way}", name(unit));
    let Ok(done) = timeout(LONGEST, finish(&log, &mut tcl)).await else {
        bail!("{way}: no end after {} s; see {log}.log", LONGEST.as_secs());
    };
    let done = done?;
    let results = Results::read(&done.text);
    if results.is_empty() {
        bail!("{way}: no test was run: {:#}", done.error(""));
    }
    Ok(results)
}

/// The suite's processes talk on the first free port of the 32 below its base port.
fn own_port() -> anyhow::Result<u16> {
    for _ in 0..100 {
        // It wants the one 10,000 higher to be free, too.
        let port = free_address()?.port();
        if port < 50_000 {
            return Ok(port);
        }
    }
    bail!("no free port below 50,000")
}
