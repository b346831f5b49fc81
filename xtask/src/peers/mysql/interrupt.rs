//! Ctrl-C in the command lines: they log in once more, have the server end the statement, and go on.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout};

use super::client::{Bench, Flavour, cli};
use super::pooled;
use super::server::Kind;
use super::sysbench::query;
use crate::process::command;
use crate::report::Outcome;

const LONGEST: Duration = Duration::from_secs(60);

/// So many rows that their product with themselves, and that with itself, takes hours.
const FILL: &str = "drop table if exists test.wm_long; create table test.wm_long(a int primary key); \
    insert into test.wm_long with recursive n as (select 1 as a union all select a + 1 from n where a < 500) select a from n";

/// With one server.
pub(super) struct Cell(Kind);

impl Cell {
    pub(super) fn all() -> Vec<Self> {
        Kind::ALL.map(Self).into()
    }

    /// For example `mysql-ctrl-c-mariadb10`.
    pub(super) fn name(&self) -> String {
        format!("mysql-ctrl-c-{}", self.0.name())
    }

    /// Both command lines, which have to print the same each way.
    pub(super) async fn run(&self, bench: &mut Bench, direct: bool) -> anyhow::Result<Outcome> {
        let (server, proxy) = bench.at(self.0, direct).await?;
        let at = server.address;
        query(at, FILL).await?;
        let mut proxies = Vec::new();
        if let Some(proxy) = proxy {
            proxies.push(("transparent", proxy));
        }
        let mut pooled = match direct {
            true => None,
            false => Some(pooled::through(server).await?),
        };
        proxies.extend(pooled.as_mut().map(|proxy| ("pooled", proxy)));
        let mut passed = 0;
        for flavour in [Flavour::Mysql, Flavour::Mariadb] {
            let bare = interrupted(flavour, at, at, "direct").await?;
            passed += 1;
            for (way, proxy) in &mut proxies {
                let said = interrupted(flavour, at, proxy.address, way).await?;
                proxy.check()?;
                ensure!(said == bare, "{flavour:?}\ndirect: {bare}\n{way}: {said}");
                passed += 1;
            }
        }
        query(at, "drop table test.wm_long").await?;
        Ok(Outcome { passed, failed: 0, detail: format!("{passed} statements ended") })
    }
}

/// What a command line says whose first statement is interrupted when the server is at it, and how it ends.
async fn interrupted(
    flavour: Flavour,
    server: SocketAddr,
    address: SocketAddr,
    way: &str,
) -> anyhow::Result<String> {
    // Tells this statement from all others.
    let mark = format!("{flavour:?}, {way}");
    let context = || mark.clone();
    let mut client = cli(flavour, address);
    client.args(["-unat", "-pnatpw", "--force", "--batch", "--skip-column-names", "test"]);
    client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = client.spawn()?;
    let mut stdin = client.stdin.take().context("its input is piped")?;
    let text = format!(
        "set time_zone = '+03:00';\n\
         select sum(a.a * b.a + c.a * d.a), '{mark}' from wm_long a, wm_long b, wm_long c, wm_long d;\n\
         select @@time_zone, 'goes on';\n"
    );
    stdin.write_all(text.as_bytes()).await?;
    drop(stdin);
    let running = format!(
        "select count(*) from information_schema.processlist where info like 'select sum%{mark}%'"
    );
    let end = Instant::now() + LONGEST;
    while query(server, &running).await? != "1\n" {
        ensure!(Instant::now() < end && client.try_wait()?.is_none(), "{mark}: it does not run");
        sleep(Duration::from_millis(20)).await;
    }
    let id = client.id().with_context(|| format!("{mark}: it has ended"))?;
    let killed = command("kill").args(["-INT", &id.to_string()]).status().await?;
    ensure!(killed.success(), "kill {id}: {killed}");
    let output = timeout(LONGEST, client.wait_with_output()).await.with_context(context)??;
    let (out, err) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    let out = String::from_utf8_lossy(&out).into_owned();
    let right = err.contains("ERROR 1317 (70100)") && out.ends_with("+03:00\tgoes on\n");
    ensure!(right, "{mark}: {}\n{out}{err}", output.status);
    Ok(format!("{}\n{out}{err}", output.status))
}
