//! Copies of everything that is written: the other server must have the same data in the end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::time::timeout;

use super::proxy::Proxy;
use super::server::{Server, ask};
use crate::process::{command, finish};
use crate::report::Outcome;

pub(super) const NAME: &str = "redis-mirror";

const LONGEST: Duration = Duration::from_secs(60);

/// What clients write, each to keys of its own: copies of different clients' may change places.
const LOADS: [&[&str]; 6] = [
    &["SET", "a:__rand_int__", "v-__rand_int__"],
    &["RPUSH", "b:__rand_int__", "v-__rand_int__"],
    &["APPEND", "c:__rand_int__", "__rand_int__,"],
    &["HSET", "d:__rand_int__", "f-__rand_int__", "__rand_int__"],
    &["MSET", "e:__rand_int__", "__rand_int__", "f:__rand_int__", "__rand_int__"],
    &["LPOP", "g:__rand_int__"],
];

const EACH: usize = 10_000;

/// A load of writes, once to a shadow that is well and once to one that hangs.
pub(super) async fn run(direct: bool) -> anyhow::Result<Outcome> {
    if direct {
        return Ok(Outcome { passed: 0, failed: 0, detail: "needs the proxy".into() });
    }
    let debug = ["--enable-debug-command", "local"];
    let (live, shadow) = (Server::start(&debug).await?, Server::start(&debug).await?);
    let mut proxy = Proxy::run(|address| {
        format!(
            "workers: 2\n\
             listeners:\n\
             - name: redis\n  \
               address: {address}\n  \
               protocols: [redis]\n  \
               routes:\n  \
               - {{ name: all, cluster: live, mirror: {{ cluster: shadow, only: writes }} }}\n\
             clusters:\n\
             - {{ name: live, endpoints: [\"{}\"], outlier: off }}\n\
             - {{ name: shadow, endpoints: [\"{}\"], outlier: off }}\n",
            live.address, shadow.address
        )
    })
    .await?;
    for n in 0..100 {
        let key = format!("g:{n:012}");
        ask(proxy.address, &["RPUSH", &key, "1", "2", "3", "4", "5"]).await?;
    }
    load(proxy.address).await?;
    let digest = live.ask(&["DEBUG", "DIGEST"]).await?;
    ensure!(digest.len() == 40 && digest.bytes().any(|byte| byte != b'0'), "{digest}");
    shadow.wait(&["DEBUG", "DIGEST"], |seen| seen == digest).await?;
    let keys = live.ask(&["DBSIZE"]).await?;
    // Nobody notices one that hangs.
    shadow.pause().await?;
    load(proxy.address).await?;
    let grown = live.ask(&["DEBUG", "DIGEST"]).await?;
    ensure!(grown != digest, "nothing was written");
    shadow.resume().await?;
    // And from an empty start, which is copied too, both are the same again.
    shadow.wait(&["PING"], |seen| seen == "PONG").await?;
    let end = tokio::time::Instant::now() + LONGEST;
    loop {
        ask(proxy.address, &["FLUSHALL"]).await?;
        ask(proxy.address, &["SET", "again", "1"]).await?;
        let seen = shadow.ask(&["KEYS", "*"]).await?;
        if seen == "again" {
            break;
        }
        if tokio::time::Instant::now() > end {
            bail!("copies do not arrive again: {seen}");
        }
    }
    load(proxy.address).await?;
    let digest = live.ask(&["DEBUG", "DIGEST"]).await?;
    shadow.wait(&["DEBUG", "DIGEST"], |seen| seen == digest).await?;
    proxy.check()?;
    let writes = LOADS.len() * EACH;
    Ok(Outcome {
        passed: 3,
        failed: 0,
        detail: format!("{keys} keys the same after {writes} writes"),
    })
}

/// All of the loads at once.
async fn load(address: SocketAddr) -> anyhow::Result<()> {
    let port = address.port().to_string();
    let mut all = tokio::task::JoinSet::new();
    for (n, load) in LOADS.iter().enumerate() {
        let mut tool = command("redis-benchmark");
        let count = EACH.to_string();
        tool.args(["-h", "127.0.0.1", "-p", &port, "-c", "1", "-P", "16", "-r", "100", "--csv"]);
        tool.args(["-n", &count]).args(*load);
        all.spawn(async move {
            let done = timeout(LONGEST, finish(&format!("{NAME}-{n}"), &mut tool)).await;
            let done = done.with_context(|| format!("{load:?}: no end"))??;
            let said = done.text.lines().any(|line| line.starts_with('"'));
            if !done.status.success() || !said || done.text.contains("rror") {
                bail!("{load:?}: {:#}", done.error(&done.text));
            }
            Ok(())
        });
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    Ok(())
}
