//! redis-server behind the proxy, redis-benchmark before it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::process::Child;
use tokio::time::timeout;

use super::cell::{Cell, Kind, PATIENCE, Sample, free, listening};
use super::subject::{Request, VALUE};
use crate::process::{answer, cpu_nanos, log, pinned, rss_kib};

/// The programs that it takes, and the Debian packages that have them.
pub(super) const PROGRAMS: [(&str, &str); 2] =
    [("redis-server", "redis-server"), ("redis-benchmark", "redis-tools")];

/// Keys that requests choose from.
const KEYS: usize = 10_000;

/// Starts a server that keeps nothing on disk.
pub(super) async fn serve(cpus: &str) -> anyhow::Result<(Child, SocketAddr)> {
    let listen = free().await?;
    let (output, path) = log("bench-server")?;
    let mut server = pinned(cpus, "redis-server");
    server.args(["--bind", &listen.ip().to_string(), "--port", &listen.port().to_string()]);
    server.args(["--save", "", "--appendonly", "no"]);
    let mut server = server.stdout(output.try_clone()?).stderr(output).spawn()?;
    listening(&mut server, listen, &path).await?;
    Ok((server, listen))
}

/// The versions of client and server.
pub(super) async fn versions() -> Option<String> {
    let server = answer("redis-server", &["--version"]).await?;
    let client = answer("redis-benchmark", &["--version"]).await?;
    let server = server.split("v=").nth(1)?.split(' ').next()?.to_owned();
    Some(format!("redis-server {server}; {}", client.trim()))
}

/// Fills the server, warms the proxy up, and measures.
pub(super) async fn load(
    cell: &Cell<'_>,
    server: SocketAddr,
    target: SocketAddr,
    watch: Option<u32>,
) -> anyhow::Result<Sample> {
    ensure!(cli(target, &["set", "key:probe", "right"]).await?.trim() == "OK", "no answer to SET");
    ensure!(cli(target, &["get", "key:probe"]).await?.trim() == "right", "no answer to GET");
    let (connections, depth) = match cell.case.kind {
        Kind::Load { connections, depth } => (connections, depth),
        Kind::Idle { .. } => bail!("redis-benchmark has no idle connections"),
    };
    let client = Client { cpus: cell.load_cpus, connections, depth, seconds: cell.seconds };
    let filling = Client { connections: 10, depth: 100, ..client };
    filling.run(server, Request::Set, 10 * KEYS).await.context("filling")?;
    // Every connection has a part in it; what it shows is the rate.
    let enough = (connections * depth * 4).max(2000 * depth.min(20));
    let warm = client.run(target, cell.case.request, enough).await.context("warm-up")?;
    let count = ((warm.rps * cell.seconds) as usize).max(enough);

    cli(server, &["config", "resetstat"]).await?;
    let before = watch.map_or(Ok(0), cpu_nanos)?;
    let report = client.run(target, cell.case.request, count).await?;
    let cpu = watch.map_or(Ok(0), cpu_nanos)?.saturating_sub(before);
    let rss = watch.map_or(Ok(0), rss_kib)?;
    let executed = Executed::of(&cli(server, &["info", "commandstats"]).await?, cell.case.request);
    let Report { rps, p50, p99, p999 } = report;
    format!(
        "requests={count} rps={rps:.1} p50_us={:.1} p99_us={:.1} p999_us={:.1} cpu_us={:.4} rss_kib={rss} wrong={} lost={}",
        p50 * 1e3,
        p99 * 1e3,
        p999 * 1e3,
        cpu as f64 / 1e3 / count as f64,
        executed.failed,
        (count as u64).saturating_sub(executed.calls),
    )
    .parse()
}

async fn cli(at: SocketAddr, args: &[&str]) -> anyhow::Result<String> {
    let (ip, port) = (at.ip().to_string(), at.port().to_string());
    let all = [&["-h", &ip, "-p", &port], args].concat();
    let answered = timeout(PATIENCE, answer("redis-cli", &all)).await;
    answered.ok().flatten().with_context(|| format!("redis-cli {}", all.join(" ")))
}

/// redis-benchmark and how it is called.
#[derive(Clone, Copy)]
struct Client<'a> {
    cpus: &'a str,
    connections: usize,
    depth: usize,
    seconds: f64,
}

impl Client<'_> {
    async fn run(&self, at: SocketAddr, ask: Request, count: usize) -> anyhow::Result<Report> {
        let mut benchmark = pinned(self.cpus, "redis-benchmark");
        benchmark.args(["-h", &at.ip().to_string(), "-p", &at.port().to_string()]);
        let number = |name: &str, value: usize| [name.to_owned(), value.to_string()];
        benchmark.args(number("-n", count)).args(number("-c", self.connections));
        benchmark.args(number("-P", self.depth)).args(number("-d", VALUE));
        benchmark.args(number("-r", KEYS)).args(["-t", &ask.to_string().to_lowercase()]);
        let patience = PATIENCE + Duration::from_secs_f64(4.0 * self.seconds);
        let output = timeout(patience, benchmark.output())
            .await
            .with_context(|| format!("redis-benchmark did not end within {patience:?}"))??;
        let (text, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // It goes on after an error answer, and ends well.
        if !output.status.success() || errors.contains("Error") {
            bail!("redis-benchmark: {}: {}", output.status, errors.trim());
        }
        Report::of(&text).with_context(|| format!("no figures: {text}"))
    }
}

/// What redis-benchmark printed; latencies in milliseconds.
#[derive(Debug, PartialEq)]
struct Report {
    rps: f64,
    p50: f64,
    p99: f64,
    p999: f64,
}

impl Report {
    /// Reads the long form: the CSV has no p99.9.
    fn of(text: &str) -> Option<Self> {
        let mut lines = text.split(['\r', '\n']).map(str::trim);
        let first_number = |line: &str| line.split([' ', '%']).next()?.parse::<f64>().ok();
        let high = lines.find(|l| l.contains("% <= ") && first_number(l) >= Some(99.9))?;
        let p999 = first_number(high.split("% <= ").nth(1)?)?;
        let rps = lines.find_map(|l| l.strip_prefix("throughput summary: "))?;
        let heads = lines.find(|l| l.starts_with("avg ") && l.contains(" p99 "))?;
        let figures: Vec<f64> =
            lines.next()?.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let figure = |name| {
            let index = heads.split_whitespace().position(|head| head == name)?;
            figures.get(index).copied()
        };
        Some(Self { rps: first_number(rps)?, p50: figure("p50")?, p99: figure("p99")?, p999 })
    }
}

/// What the server says that it did.
#[derive(Debug, PartialEq)]
struct Executed {
    calls: u64,
    /// Refused before or failed while they were executed.
    failed: u64,
}

impl Executed {
    fn of(stats: &str, request: Request) -> Self {
        let name = format!("cmdstat_{}:", request.to_string().to_lowercase());
        let line = stats.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_default();
        let figure = |name: &str| {
            let of = line.trim().split(',').find_map(|pair| pair.strip_prefix(name));
            of.and_then(|value| value.strip_prefix('=')?.parse().ok()).unwrap_or(0)
        };
        Self { calls: figure("calls"), failed: figure("rejected_calls") + figure("failed_calls") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let text = "GET: rps=0.0 (overall: 0.0)\r====== GET ======\n\nLatency by percentile distribution:\n\
                    50.000% <= 0.943 milliseconds (cumulative count 5)\n\
                    99.805% <= 1.943 milliseconds (cumulative count 8)\n\
                    99.902% <= 1.991 milliseconds (cumulative count 9)\n\n\
                    Cumulative distribution of latencies:\n99.920% <= 2.007 milliseconds (cumulative count 9)\n\n\
                    Summary:\n  throughput summary: 751879.69 requests per second\n  latency summary (msec):\n\
                    \x20         avg       min       p50       p95       p99       max\n\
                    \x20       0.960     0.296     0.943     1.335     1.607     2.103\n";
        let want = Report { rps: 751_879.69, p50: 0.943, p99: 1.607, p999: 1.991 };
        assert_eq!(Report::of(text), Some(want));
        assert_eq!(Report::of("Could not connect to Redis"), None);
    }

    #[test]
    fn what_the_server_did_not_do_is_seen() {
        let stats =
            "# Commandstats\r\ncmdstat_get:calls=40,usec=17,rejected_calls=1,failed_calls=2\r\n";
        assert_eq!(Executed::of(stats, Request::Get), Executed { calls: 40, failed: 3 });
        assert_eq!(Executed::of(stats, Request::Set), Executed { calls: 0, failed: 0 });
    }
}
