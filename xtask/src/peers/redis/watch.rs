//! What operators are shown of the traffic before a real server: what was slow, what is asked for most, what is largest.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::proxy::Proxy;
use super::server::{Server, ask};
use crate::peers::proxy::{free_address, page};
use crate::process::command;
use crate::report::Outcome;

pub(super) const NAME: &str = "redis-watch";

const LONGEST: Duration = Duration::from_secs(60);
const REQUESTS: usize = 40_000;
const KEYS: f64 = 1_000.0;
const LARGE: usize = 5 << 20;

/// A sleep and a long script are slow, waiting is not; the keys of a skewed load come in its order.
pub(super) async fn run(direct: bool) -> anyhow::Result<Outcome> {
    if direct {
        return Ok(Outcome { passed: 0, failed: 0, detail: "needs the proxy".into() });
    }
    let server = Server::start(&["--enable-debug-command", "yes"]).await?;
    let (admin, upstream) = (free_address()?, server.address);
    let mut proxy = Proxy::run(|address| {
        format!(
            "workers: 2\nadmin: {admin}\nlisteners:\n  - name: redis\n    address: {address}\n    \
             protocols: [redis]\n    slow_log: {{ threshold: 100ms }}\n    \
             sample: {{ every: 10, top: 20 }}\n    routes: [{{ name: all, cluster: all }}]\n\
             clusters:\n  - name: all\n    endpoints: [\"{upstream}\"]\n"
        )
    })
    .await?;
    let slow = slow(&proxy, admin, upstream).await?;
    let exact = load(proxy.address).await?;
    let large = "x".repeat(LARGE);
    let said = typed(proxy.address, &["-x", "SET", "large"], &large).await?;
    ensure!(said.trim() == "OK", "SET says {said}");
    let keys = page(admin, "/keys?format=text").await?;
    hottest(&keys, &exact)?;
    let (_, big) = keys.split_once("\n  big").context("no big keys")?;
    let first: Vec<_> = big.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    ensure!(first == ["large", "SET", "5.00MiB"], "{keys}");
    proxy.check()?;
    Ok(Outcome::pass(format!("{slow} slow requests, the hottest of {} keys", exact.len())))
}

async fn slow(proxy: &Proxy, admin: SocketAddr, upstream: SocketAddr) -> anyhow::Result<usize> {
    let script = "for i = 1, 1e8 do end return redis.call('SET', KEYS[1], ARGV[1])";
    for line in [
        &["DEBUG", "SLEEP", "0.3"][..],
        &["EVAL", script, "1", "k", "v"],
        &["BLPOP", "nothing", "0.5"],
        &["GET", "k"],
        &["CLIENT", "PAUSE", "400", "ALL"],
        &["AUTH", "nobody", "s3cret"],
    ] {
        ask(proxy.address, line).await?;
    }
    let slow = page(admin, "/slow?format=text").await?;
    for shown in ["  DEBUG SLEEP 0.3", "  EVAL \"for i = 1, 1e8", " 1 k v\n", "AUTH (redacted)"] {
        ensure!(slow.contains(shown), "no {shown:?} in\n{slow}");
    }
    ensure!(slow.contains(&upstream.to_string()), "{slow}");
    for other in ["BLPOP", "GET", "s3cret"] {
        ensure!(!slow.contains(other), "{other} in\n{slow}");
    }
    let metrics = page(admin, "/metrics").await?;
    let count = "wiremesh_slow_requests_total{listener=\"redis\",cluster=\"all\",service=\"\",\
                 method=\"DEBUG\"} 1\n";
    ensure!(metrics.contains(count), "no {count}");
    Ok(slow.lines().filter(|line| line.contains(&upstream.to_string())).count())
}

/// Reads of keys, the n-th of them in proportion to 1/n; how often each was read.
async fn load(address: SocketAddr) -> anyhow::Result<BTreeMap<String, usize>> {
    let (mut exact, mut lines, mut seed) = (BTreeMap::new(), String::new(), 7u64);
    for _ in 0..REQUESTS {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let chance = (seed >> 11) as f64 / (1u64 << 53) as f64;
        let key = format!("key:{}", KEYS.powf(chance) as usize);
        lines += &format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len());
        *exact.entry(key).or_default() += 1;
    }
    let said = typed(address, &["--pipe"], &lines).await?;
    ensure!(said.contains(&format!("errors: 0, replies: {REQUESTS}")), "--pipe says {said}");
    Ok(exact)
}

/// The first five shown are among the first eight, and the first two are in their places.
fn hottest(page: &str, exact: &BTreeMap<String, usize>) -> anyhow::Result<()> {
    let mut order: Vec<_> = exact.iter().collect();
    order.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let order: Vec<_> = order.into_iter().take(8).map(|(key, _)| key.as_str()).collect();
    let rows = page.lines().skip(2).map(|line| line.split_whitespace().next().unwrap_or_default());
    let shown: Vec<_> = rows.take(5).collect();
    if shown[..2] != order[..2] || !shown.iter().all(|key| order.contains(key)) {
        bail!("read most: {order:?}\n{page}");
    }
    Ok(())
}

async fn typed(address: SocketAddr, args: &[&str], input: &str) -> anyhow::Result<String> {
    let mut cli = command("redis-cli");
    cli.args(["-h", "127.0.0.1", "-p", &address.port().to_string()]).args(args);
    let mut child = cli.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("it is piped")?;
    let done = async {
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        child.wait_with_output().await
    };
    let output = timeout(LONGEST, done).await.context("redis-cli does not end")??;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
