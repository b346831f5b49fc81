//! sysbench, in pooled mode over fewer upstream connections than it has threads: what it counts has to be what the tables
//! hold afterwards.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::process::Command;
use tokio::time::timeout;

use super::client::{Bench, Flavour, cli};
use super::pooled;
use super::server::Kind;
use crate::process::{command, finish};
use crate::report::Outcome;

const LONGEST: Duration = Duration::from_secs(90);

const TABLES: usize = 4;
/// Of each, so few that transactions get in each other's way.
const ROWS: usize = 500;
const THREADS: usize = 24;
const CONNECTIONS: usize = 8;

/// What the tests are given, what becomes of the tables, and how many transactions are enough, if a second is enough for them.
const TESTS: [(&str, Effect, usize); 11] = [
    ("oltp_point_select", Effect::None, 4000),
    ("oltp_read_only", Effect::None, 300),
    ("select_random_points", Effect::None, 3000),
    ("select_random_ranges", Effect::None, 1500),
    ("oltp_update_index", Effect::Adds, 2000),
    ("oltp_update_non_index", Effect::None, 2000),
    ("oltp_read_write --delete_inserts=0", Effect::Adds, 200),
    ("oltp_read_write", Effect::Replaces, 200),
    ("oltp_write_only", Effect::Replaces, 400),
    ("oltp_insert", Effect::Inserts, 2000),
    ("oltp_delete", Effect::Deletes, 4000),
];

/// What a test leaves of the number of rows, and of the sum of their column `k`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Effect {
    /// Both are as they were.
    None,
    /// Each transaction adds one to the sum.
    Adds,
    /// Each transaction adds a row.
    Inserts,
    /// Each statement that sysbench counts as a write has taken a row away: those that found none it does not count.
    Deletes,
    /// The number of rows is as it was; the sum is another.
    Replaces,
}

/// With one server, in one mode.
pub(super) struct Cell {
    server: Kind,
    pooled: bool,
}

impl Cell {
    pub(super) fn all() -> Vec<Self> {
        let both = |server| [false, true].map(|pooled| Self { server, pooled });
        Kind::ALL.into_iter().flat_map(both).collect()
    }

    /// For example `mysql-sysbench-mariadb10-pooled`.
    pub(super) fn name(&self) -> String {
        let mode = if self.pooled { "-pooled" } else { "" };
        format!("mysql-sysbench-{}{mode}", self.server.name())
    }

    /// Every test, as text and prepared. Nothing but a deadlock may be refused, and no connection may be lost.
    pub(super) async fn run(&self, bench: &mut Bench, direct: bool) -> anyhow::Result<Outcome> {
        if direct {
            return Ok(Outcome { passed: 0, failed: 0, detail: "needs the proxy".into() });
        }
        let (server, proxy) = bench.at(self.server, direct).await?;
        let mut own = match self.pooled {
            true => Some(pooled::over(CONNECTIONS, server).await?),
            false => None,
        };
        let proxy = own.as_mut().or(proxy).context("there is one")?;
        let (server, name) = (server.address, self.name());
        let size = format!("--table-size={ROWS}");
        once(&name, proxy.address, &["oltp_read_write", &size], "prepare").await?;
        query(server, "flush status").await?;
        let (mut passed, mut queries, mut deadlocks) = (0, 0, 0);
        for (test, effect, events) in TESTS {
            for mode in ["--db-ps-mode=disable", "--db-ps-mode=auto"] {
                let before = Tables::of(server).await?;
                let threads = format!("--threads={THREADS}");
                let events = format!("--events={events}");
                let mut arguments: Vec<_> = test.split(' ').collect();
                arguments.extend([mode, &threads, "--time=1", &events]);
                if effect != Effect::Deletes {
                    arguments.push(&size);
                }
                let text = once(&name, proxy.address, &arguments, "run").await?;
                proxy.check()?;
                let seen = Counts::of(&text).with_context(|| format!("{test}: {text}"))?;
                let context = || format!("{test} {mode}: {seen:?}");
                ensure!(seen.transactions > 0 && seen.reconnects == 0, "{}", context());
                let after = Tables::of(server).await?;
                after.check(&before, effect, &seen).with_context(context)?;
                passed += 1;
                queries += seen.queries;
                deadlocks += seen.ignored;
            }
        }
        let most = query(server, "show global status like 'Max_used_connections'").await?;
        let most: usize = most.split_whitespace().nth(1).context("no number")?.parse()?;
        let as_many = match self.pooled {
            // Those that ask the server itself count, too, and all do until it has noticed that they are closed.
            true => most <= CONNECTIONS + 4,
            false => most >= THREADS,
        };
        ensure!(as_many, "{most} connections");
        once(&name, proxy.address, &["oltp_read_write"], "cleanup").await?;
        let detail = format!(
            "{passed} runs of {THREADS} threads over {most} connections at the most, {queries} queries, {deadlocks} deadlocks"
        );
        Ok(Outcome { passed, failed: 0, detail })
    }
}

/// Runs it to its end; what it printed.
pub(super) async fn once(
    name: &str,
    at: SocketAddr,
    arguments: &[&str],
    what: &str,
) -> anyhow::Result<String> {
    let mut sysbench = sysbench(at);
    sysbench.args(arguments).arg(what);
    let done = timeout(LONGEST, finish(name, &mut sysbench)).await;
    let done = done.with_context(|| format!("no end of {arguments:?}; see {name}.log"))??;
    if !done.status.success() {
        let fatal = done.text.lines().filter(|line| line.starts_with("FATAL"));
        let fatal: Vec<_> = fatal.take(5).collect();
        bail!("{arguments:?} {what}: {:#}", done.error(&fatal.join("\n")));
    }
    Ok(done.text)
}

fn sysbench(at: SocketAddr) -> Command {
    let mut sysbench = command("sysbench");
    sysbench.args([
        &format!("--mysql-host={}", at.ip()),
        &format!("--mysql-port={}", at.port()),
        "--mysql-user=nat",
        "--mysql-password=natpw",
        "--mysql-db=test",
        // Deadlocks are tried again; it stops at any other error.
        "--mysql-ignore-errors=1213",
        "--rand-seed=1",
        &format!("--tables={TABLES}"),
    ]);
    sysbench
}

/// What a run has counted.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    /// Statements that have changed something.
    writes: u64,
    transactions: u64,
    queries: u64,
    /// Transactions that were tried again.
    ignored: u64,
    reconnects: u64,
}

impl Counts {
    fn of(text: &str) -> Option<Self> {
        // transactions:                        54     (26.50 per sec.)
        let count = |name: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        Some(Self {
            writes: count("write:")?,
            transactions: count("transactions:")?,
            queries: count("queries:")?,
            ignored: count("ignored errors:")?,
            reconnects: count("reconnects:")?,
        })
    }
}

/// What all tables hold.
#[derive(Debug, PartialEq, Eq)]
struct Tables {
    rows: u64,
    sum: u64,
}

impl Tables {
    /// Every value has to be of its column's kind.
    async fn of(server: SocketAddr) -> anyhow::Result<Self> {
        let table = |number| {
            format!(
                "select k, c rlike '^[0-9]{{11}}(-[0-9]{{11}}){{9}}$' \
                 and pad rlike '^[0-9]{{11}}(-[0-9]{{11}}){{4}}$' as its_own from test.sbtest{number}"
            )
        };
        let tables: Vec<_> = (1..=TABLES).map(table).collect();
        let text = format!(
            "select count(*), sum(k), count(*) - sum(its_own) from ({}) t",
            tables.join(" union all ")
        );
        let said = query(server, &text).await?;
        let numbers: Result<Vec<u64>, _> = said.split_whitespace().map(str::parse).collect();
        let numbers = numbers.with_context(|| said.clone())?;
        let [rows, sum, wrong] = numbers[..] else { bail!("{said}") };
        ensure!(wrong == 0, "{wrong} rows are not as sysbench writes them");
        Ok(Self { rows, sum })
    }

    fn check(&self, before: &Self, effect: Effect, seen: &Counts) -> anyhow::Result<()> {
        let Self { rows, sum } = *before;
        // Of what was inserted or taken away nobody says which `k` it had.
        let (rows, sum) = match effect {
            Effect::None => (rows, sum),
            Effect::Adds => (rows, sum + seen.transactions),
            Effect::Inserts => (rows + seen.transactions, self.sum),
            Effect::Deletes => (rows.saturating_sub(seen.writes), self.sum),
            Effect::Replaces => (rows, self.sum),
        };
        ensure!(*self == Self { rows, sum }, "{effect:?} of {before:?}: {self:?}");
        Ok(())
    }
}

/// The rows, a line each.
pub(super) async fn query(at: SocketAddr, statement: &str) -> anyhow::Result<String> {
    let mut mariadb = cli(Flavour::Mariadb, at);
    mariadb.args(["-unat", "-pnatpw", "--batch", "--skip-column-names", "-e", statement]);
    let output = timeout(LONGEST, mariadb.output()).await.context("no answer in time")??;
    if !output.status.success() {
        bail!("{statement}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "SQL statistics:\n    queries performed:\n        read:  0\n        write:                           40\n\
        \x20       other:                           14\n        total:                           54\n\
        \x20   transactions:                        50     (26.50 per sec.)\n\
        \x20   queries:                             54     (26.50 per sec.)\n\
        \x20   ignored errors:                      2      (0.00 per sec.)\n\
        \x20   reconnects:                          1      (0.00 per sec.)\n";

    #[test]
    fn counts_are_read() {
        let want = Counts { writes: 40, transactions: 50, queries: 54, ignored: 2, reconnects: 1 };
        assert_eq!(Counts::of(SAID), Some(want));
        assert_eq!(Counts::of(&SAID.replace("write:", "wrote:")), None);
    }

    #[test]
    fn tables_have_to_hold_what_was_counted() {
        let seen = Counts::of(SAID).unwrap();
        let before = Tables { rows: 100, sum: 1000 };
        let holds = |rows, sum, effect| Tables { rows, sum }.check(&before, effect, &seen).is_ok();
        assert!(holds(100, 1000, Effect::None) && !holds(100, 1001, Effect::None));
        assert!(holds(100, 1050, Effect::Adds) && !holds(100, 1049, Effect::Adds));
        assert!(holds(150, 7, Effect::Inserts) && !holds(151, 7, Effect::Inserts));
        assert!(holds(60, 7, Effect::Deletes) && !holds(50, 7, Effect::Deletes));
        assert!(holds(100, 7, Effect::Replaces) && !holds(101, 7, Effect::Replaces));
    }
}
