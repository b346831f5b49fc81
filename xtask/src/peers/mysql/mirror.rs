//! Copies of what is read for another kind of server: the same answers where the data is the same.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::time::{Instant, sleep};

use super::server::{Kind, Server};
use super::sysbench::{once, query};
use crate::peers::proxy::{Proxy, free_address, page};
use crate::report::Outcome;

pub(super) const NAME: &str = "mysql-mirror";

const LONGEST: Duration = Duration::from_secs(60);

const ROWS: &str = "500";

/// How often clients ask, in each mode: what `oltp_read_only` reads in a transaction of its is 14 statements.
const READS: u64 = 2 * 40 * 14;

/// As text, and prepared.
const MODES: [&str; 2] = ["--db-ps-mode=disable", "--db-ps-mode=auto"];

/// What the proxy has counted.
#[derive(Debug, Default)]
struct Counts {
    answered: u64,
    dropped: u64,
    equal: u64,
    different: u64,
    failed: u64,
    skipped: u64,
}

impl Counts {
    async fn of(admin: SocketAddr) -> anyhow::Result<Self> {
        let text = page(admin, "/metrics").await?;
        let count = |name: &str, label: &str| {
            let of = |line: &&str| line.starts_with(name) && line.contains(label);
            let line = text.lines().find(of)?;
            line.rsplit(' ').next()?.parse().ok()
        };
        let copies = |kind: &str| {
            count("wiremesh_mirror_copies_total", &format!("outcome=\"{kind}\""))
                .context("no count")
        };
        let compared = |kind: &str| {
            count("wiremesh_mirror_compared_total", &format!("result=\"{kind}\""))
                .context("no count")
        };
        Ok(Self {
            answered: copies("answered")?,
            dropped: copies("dropped")?,
            equal: compared("equal")?,
            different: compared("different")?,
            failed: compared("failed")?,
            skipped: compared("skipped")?,
        })
    }

    /// Those that are wanted, as soon as they are there.
    async fn wait(
        admin: SocketAddr,
        what: &str,
        wanted: impl Fn(&Self) -> bool,
    ) -> anyhow::Result<Self> {
        let end = Instant::now() + LONGEST;
        loop {
            let counts = Self::of(admin).await?;
            if wanted(&counts) {
                return Ok(counts);
            }
            if Instant::now() > end {
                bail!("{what}: {counts:?}");
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// MySQL 8.0 with MariaDB 10.11 as its mirror: with the same data, with other data, and when the mirror is gone.
pub(super) async fn run(direct: bool) -> anyhow::Result<Outcome> {
    if direct {
        return Ok(Outcome { passed: 0, failed: 0, detail: "needs the proxy".into() });
    }
    let live = Server::start(Kind::Mysql, "").await?;
    let shadow = Server::start(Kind::Maria10, "").await?;
    for server in [&live, &shadow] {
        for table in 1..=4 {
            let name = format!("test.sbtest{table}");
            let columns = "id int primary key, k int not null, c char(120) not null, pad char(60)";
            query(server.address, &format!("create table {name} ({columns})")).await?;
            let rows = format!(
                "insert into {name} with recursive s (n) as (select 1 union all select n + 1 from s where n < {ROWS}) \
                 select n, n * 7 % 100, concat(n * 31 % 97, '-', n), if(n % 5 = 0, null, n) from s"
            );
            query(server.address, &rows).await?;
        }
    }
    let admin = free_address()?;
    let (of, to) = (live.address, shadow.address);
    let mut proxy = Proxy::run(|address| {
        format!(
            "workers: 2\n\
             admin: {admin}\n\
             listeners:\n\
             - name: mysql\n  \
               address: {address}\n  \
               protocols: [mysql]\n  \
               options: {{ mysql: {{ mode: pooled }} }}\n  \
               users: [{{ name: nat, password: natpw }}]\n  \
               routes: [{{ name: all, cluster: live, timeout: 20s, mirror: {{ cluster: shadow, compare: true }} }}]\n\
             clusters:\n\
             - {{ name: live, endpoints: [\"{of}\"], max_connections: 8 }}\n\
             - {{ name: shadow, endpoints: [\"{to}\"], max_connections: 8 }}\n"
        )
    })
    .await?;
    read(&proxy).await?;
    let all = |it: &Counts| it.equal == READS;
    let same = Counts::wait(admin, "answers of the same data", all).await?;
    ensure!(same.answered == READS, "{same:?}");
    for table in 1..=4 {
        let text = format!("update test.sbtest{table} set c = concat(c, '!'), k = k + 1");
        query(shadow.address, &text).await?;
    }
    read(&proxy).await?;
    let other = |it: &Counts| it.different == READS;
    let differ = Counts::wait(admin, "answers of other data", other).await?;
    ensure!(differ.equal == READS && differ.answered == 2 * READS, "{differ:?}");
    drop(shadow);
    read(&proxy).await?;
    // On connections of which nobody has noticed yet that they are gone some are sent.
    let gone = |it: &Counts| it.skipped + it.failed == READS && it.skipped > 0;
    let gone = Counts::wait(admin, "a mirror that is gone", gone).await?;
    ensure!(gone.answered == 2 * READS && gone.dropped == gone.skipped, "{gone:?}");
    proxy.check()?;
    let detail = format!(
        "{READS} copies answered alike by MySQL and MariaDB, {READS} of other data told apart, {} of {READS} dropped when MariaDB was gone",
        gone.dropped
    );
    Ok(Outcome { passed: 3, failed: 0, detail })
}

/// Reads what clients must be given, whatever becomes of the copies.
async fn read(proxy: &Proxy) -> anyhow::Result<()> {
    for mode in MODES {
        let size = format!("--table-size={ROWS}");
        let test = ["oltp_read_only", "--skip-trx=on", mode, &size];
        let amount = ["--threads=4", "--events=40", "--time=0"];
        let arguments: Vec<_> = test.into_iter().chain(amount).collect();
        once(NAME, proxy.address, &arguments, "run").await?;
    }
    Ok(())
}
