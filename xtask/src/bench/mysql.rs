//! MariaDB behind the proxy, sysbench before it.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::time::timeout;

use super::cell::{Cell, Kind, PATIENCE, Sample};
use super::subject::Request;
use crate::peers::mysql::{Flavour, Kind as Database, Server, cli, mariadb_plugins_there};
use crate::process::{answer, cpu_nanos, log, pinned, rss_kib, run};

/// The programs that it takes, and the Debian packages that have them.
pub(super) const PROGRAMS: [(&str, &str); 4] = [
    ("mariadbd", "mariadb-server-core"),
    ("mariadb", "mariadb-client-core"),
    ("openssl", "openssl"),
    ("sysbench", "sysbench"),
];

const TEST: &str = "oltp_point_select";
/// An account of the server's.
pub(super) const ACCOUNT: (&str, &str) = ("nat", "natpw");
const TABLES: usize = 4;
/// Rows of each.
const ROWS: usize = 20_000;

/// What the server needs beside its package.
pub(super) async fn install() -> anyhow::Result<()> {
    mariadb_plugins_there().await.map(drop)
}

/// Starts a server and fills its tables. Nothing that is measured changes them.
pub(super) async fn serve(cpus: &str) -> anyhow::Result<Server> {
    let server = Server::start(Database::Maria10, cpus).await?;
    let mut prepare = pinned(cpus, "sysbench");
    prepare.args(arguments(server.address, Request::Text, 1)).arg("prepare");
    run("bench-prepare", &mut prepare).await?;
    Ok(server)
}

/// The versions of client and server.
pub(super) async fn versions() -> Option<String> {
    // mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)
    let server = answer("mariadbd", &["--version"]).await?;
    let client = answer("sysbench", &["--version"]).await?;
    let server = server.split_whitespace().nth(2)?.replace("-MariaDB", "");
    Some(format!("MariaDB {server}; {}", client.trim()))
}

/// Warms the proxy up, and measures.
pub(super) async fn load(
    cell: &Cell<'_>,
    server: SocketAddr,
    target: SocketAddr,
    watch: Option<u32>,
) -> anyhow::Result<Sample> {
    const PROBE: &str = "select id, k, c from sbtest1 where id <= 20 order by id";
    let (right, probe) = (query(server, PROBE).await?, query(target, PROBE).await?);
    ensure!(right.lines().count() == 20 && probe == right, "another answer than the server's");
    let threads = match cell.case.kind {
        Kind::Load { connections, depth: 1 } => connections,
        kind => bail!("sysbench cannot do {kind}"),
    };
    let client = Client { cpus: cell.load_cpus, request: cell.case.request, threads };
    client.run(target, cell.peer.warm_up(cell.seconds), None).await.context("warm-up")?;

    let before = executed(server, cell.case.request).await?;
    let (report, cpu) = client.run(target, cell.seconds, watch).await?;
    let rss = watch.map_or(Ok(0), rss_kib)?;
    let executed = executed(server, cell.case.request).await?.saturating_sub(before);
    let Report { queries, rps, failed, p50, p95, p99 } = report;
    format!(
        "requests={queries} rps={rps:.1} p50_us={:.1} p95_us={:.1} p99_us={:.1} cpu_us={:.4} rss_kib={rss} wrong={failed} lost={}",
        p50 * 1e3,
        p95 * 1e3,
        p99 * 1e3,
        cpu as f64 / 1e3 / queries as f64,
        queries.saturating_sub(executed),
    )
    .parse()
}

/// How often the server did what is asked for, by its own account.
async fn executed(server: SocketAddr, request: Request) -> anyhow::Result<u64> {
    let name = if request == Request::Prepared { "Com_stmt_execute" } else { "Com_select" };
    let text = query(server, &format!("show global status like '{name}'")).await?;
    let count = text.split_whitespace().nth(1).and_then(|count| count.parse().ok());
    count.with_context(|| format!("no {name}: {text:?}"))
}

/// The rows, a line each.
async fn query(at: SocketAddr, statement: &str) -> anyhow::Result<String> {
    let mut mariadb = cli(Flavour::Mariadb, at);
    mariadb.args(["-u", ACCOUNT.0, &format!("-p{}", ACCOUNT.1), "-D", "test"]);
    mariadb.args(["--batch", "--skip-column-names", "-e", statement]);
    let output = timeout(PATIENCE, mariadb.output()).await.context("no answer in time")??;
    if !output.status.success() {
        bail!("{statement}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn arguments(at: SocketAddr, request: Request, threads: usize) -> Vec<String> {
    let mode = if request == Request::Prepared { "auto" } else { "disable" };
    vec![
        TEST.into(),
        format!("--mysql-host={}", at.ip()),
        format!("--mysql-port={}", at.port()),
        format!("--mysql-user={}", ACCOUNT.0),
        format!("--mysql-password={}", ACCOUNT.1),
        "--mysql-db=test".into(),
        format!("--tables={TABLES}"),
        format!("--table-size={ROWS}"),
        format!("--db-ps-mode={mode}"),
        format!("--threads={threads}"),
    ]
}

/// sysbench and how it is called.
struct Client<'a> {
    cpus: &'a str,
    request: Request,
    threads: usize,
}

impl Client<'_> {
    /// What it reports, and the processor time that a process spent, from when all of its threads are connected until it
    /// reports, in nanoseconds.
    async fn run(
        &self,
        at: SocketAddr,
        seconds: f64,
        watch: Option<u32>,
    ) -> anyhow::Result<(Report, u64)> {
        // It counts in whole seconds.
        let seconds = seconds.ceil().max(1.0) as u64;
        let (errors, path) = log("bench-client")?;
        let mut sysbench = pinned(self.cpus, "sysbench");
        sysbench.args(arguments(at, self.request, self.threads));
        sysbench.args([&format!("--time={seconds}"), "--histogram=on", "run"]);
        let mut sysbench = sysbench.stdout(Stdio::piped()).stderr(errors).spawn()?;
        let stdout = sysbench.stdout.take().context("no output")?;
        let patience = 2 * PATIENCE + Duration::from_secs(2 * seconds);
        let ended = async {
            let (text, cpu) = listen(stdout, || watch.map_or(Ok(0), cpu_nanos)).await?;
            anyhow::Ok((text, cpu, sysbench.wait().await?))
        };
        let (text, cpu, status) = timeout(patience, ended)
            .await
            .with_context(|| format!("sysbench did not end within {patience:?}"))??;
        if !status.success() {
            let fatal: Vec<_> = text.lines().filter(|line| line.starts_with("FATAL")).collect();
            bail!("sysbench: {status}: {}, see {}", fatal.join("; "), path.display());
        }
        Ok((Report::of(&text).with_context(|| format!("no figures: {text}"))?, cpu))
    }
}

/// Reads everything, and by how much a meter went on between the start of the threads and what is said next.
async fn listen(
    output: impl AsyncRead + Unpin,
    meter: impl Fn() -> anyhow::Result<u64>,
) -> anyhow::Result<(String, u64)> {
    let mut output = BufReader::new(output);
    let mut text = String::new();
    let (mut before, mut used) = (None, 0);
    loop {
        let start = text.len();
        if output.read_line(&mut text).await? == 0 {
            return Ok((text, used));
        }
        let line = text[start..].trim();
        match before {
            None if line == "Threads started!" => before = Some(meter()?),
            Some(before) if !line.is_empty() => {
                used = meter()?.saturating_sub(before);
                output.read_to_string(&mut text).await?;
                return Ok((text, used));
            }
            _ => (),
        }
    }
}

/// What sysbench printed; latencies in milliseconds.
#[derive(Debug, PartialEq)]
struct Report {
    queries: u64,
    rps: f64,
    /// Queries that were tried again, and connections that were made anew.
    failed: u64,
    p50: f64,
    p95: f64,
    p99: f64,
}

impl Report {
    fn of(text: &str) -> Option<Self> {
        // queries:                             54     (26.50 per sec.)
        let counted = |name: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name))?;
            let (count, rate) = line.trim().split_once('(')?;
            let rate = rate.split(' ').next()?.parse::<f64>().ok()?;
            Some((count.trim().parse::<u64>().ok()?, rate))
        };
        let (queries, rps) = counted("queries:")?;
        let failed = counted("ignored errors:")?.0 + counted("reconnects:")?.0;
        let (_, histogram) = text.split_once("Latency histogram (values are in milliseconds)")?;
        // 0.147 |*******                                  1
        let bucket = |line: &str| {
            let (value, rest) = line.split_once('|')?;
            let count = rest.trim_start_matches('*').trim().parse::<u64>().ok()?;
            Some((value.trim().parse::<f64>().ok()?, count))
        };
        let rows = histogram.lines().skip(2).take_while(|line| !line.trim().is_empty());
        let buckets: Vec<_> = rows.map(bucket).collect::<Option<_>>()?;
        let all: u64 = buckets.iter().map(|(_, count)| count).sum();
        // As sysbench has it, which tells of one only.
        let percentile = |percent: f64| {
            let rank = (all as f64 * percent / 100.0).round() as u64;
            let mut seen = 0;
            buckets.iter().find_map(|(value, count)| {
                seen += count;
                (seen >= rank).then_some(*value)
            })
        };
        let (p50, p95, p99) = (percentile(50.0)?, percentile(95.0)?, percentile(99.0)?);
        (queries > 0).then_some(Self { queries, rps, failed, p50, p95, p99 })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SAID: &str = "sysbench 1.0.20 (using system LuaJIT 2.1.0-beta3)\n\n\
        Running the test with following options:\nNumber of threads: 3\n\n\n\
        Initializing worker threads...\n\nThreads started!\n\n\
        Latency histogram (values are in milliseconds)\n\
        \x20      value  ------------- distribution ------------- count\n\
        \x20      0.147 |*******                                  21\n\
        \x20      0.402 |********************                     25\n\
        \x20      0.576 |*******                                  5\n\
        \x20      0.587 |*                                        1\n\
        \x20      0.597 |*                                        1\n\
        \x20      0.782 |                                         1\n \n\
        SQL statistics:\n    queries performed:\n        read:                            54\n\
        \x20       total:                           54\n\
        \x20   transactions:                        54     (26.50 per sec.)\n\
        \x20   queries:                             54     (26.50 per sec.)\n\
        \x20   ignored errors:                      2      (0.00 per sec.)\n\
        \x20   reconnects:                          1      (0.00 per sec.)\n\n\
        Latency (ms):\n         95th percentile:                        0.58\n\n";

    #[test]
    fn a_report_is_read() {
        let want = Report { queries: 54, rps: 26.5, failed: 3, p50: 0.402, p95: 0.576, p99: 0.597 };
        assert_eq!(Report::of(SAID), Some(want));
    }

    #[test]
    fn what_is_no_report_is_none() {
        assert_eq!(Report::of("FATAL: unable to connect to MySQL server"), None);
        assert_eq!(Report::of(&SAID.replace("queries:   ", "queries: x ")), None);
        assert_eq!(Report::of(&SAID.replace("  25\n", "  -\n")), None, "a bucket without a count");
        assert_eq!(Report::of(&SAID.replace(" 54 ", " 0 ")), None, "nothing was asked");
    }

    #[tokio::test]
    async fn time_counts_from_when_all_threads_are_there() {
        let read = Cell::new(0);
        let meter = || Ok(read.replace(read.get() + 7));
        let (text, used) = listen(SAID.as_bytes(), meter).await.unwrap();
        assert_eq!((text.as_str(), used, read.get()), (SAID, 7, 14));

        let fatal = "Initializing worker threads...\n\nFATAL: thread_init\n";
        let never = || anyhow::bail!("it was not to be read");
        assert_eq!(listen(fatal.as_bytes(), never).await.unwrap(), (fatal.into(), 0));
    }
}
