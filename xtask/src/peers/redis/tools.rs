//! Redis's own tools: redis-cli and redis-benchmark, direct and through the proxy.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::proxy::Proxy;
use super::server::{Cluster, Server};
use crate::peers::proxy::free_address;
use crate::process::{command, finish};
use crate::report::Outcome;

const LONGEST: Duration = Duration::from_secs(60);

/// What of the output has to be the same both ways.
#[derive(Clone, Copy)]
enum Compare {
    /// All of it.
    All,
    /// The lines, in any order.
    Lines,
    /// The lines of the summary; which of several keys is the biggest is up to chance.
    Summary,
    /// All but the line with the connection's number.
    WithoutId,
    /// How many words there are.
    Words,
}

use Compare::{All, Lines, Summary, WithoutId, Words};

/// A name, the arguments, what is typed, and what is compared.
type Use = (&'static str, &'static [&'static str], &'static str, Compare);

const USES: &[Use] = &[
    ("arguments", &["set", "greeting", "hello"], "", All),
    ("value from input", &["-x", "set", "x"], "typed", All),
    ("read it", &["get", "x"], "", All),
    ("repeat", &["-r", "5", "incr", "n"], "", All),
    (
        "session",
        &[],
        "select 3\nset a 1\nget a\nmulti\nincr a\nnope\nexec\nmulti\nincr a\nexec\nselect 0\nget a\n\
         hello 3\nhset h f v\nhgetall h\nclient setname me\nclient getname\nreset\nclient getname\n",
        WithoutId,
    ),
    ("database", &["-n", "5", "set", "five", "5"], "", All),
    ("its keys", &["-n", "5", "keys", "*"], "", All),
    ("RESP3", &["-3", "config", "get", "maxmemory"], "", All),
    ("JSON", &["-3", "--json", "hgetall", "h"], "", All),
    ("CSV", &["--csv", "hgetall", "h"], "", All),
    ("error", &["-e", "lpush", "x", "1"], "", All),
    ("no password", &["-a", "wrong", "--no-auth-warning", "ping"], "", All),
    ("no user", &["--user", "nobody", "--pass", "x", "--no-auth-warning", "ping"], "", All),
    ("scan", &["--scan", "--pattern", "key:*"], "", Lines),
    ("big keys", &["--bigkeys"], "", Summary),
    ("memory", &["--memkeys"], "", Summary),
    ("latency", &["--latency", "--raw"], "", Words),
    ("help", &["command", "help"], "", All),
    ("end", &["flushall"], "", All),
];

/// redis-cli in every way that people use it.
pub(super) async fn cli(
    direct: SocketAddr,
    proxied: Option<SocketAddr>,
) -> anyhow::Result<Outcome> {
    cli_with(direct, proxied, &[]).await
}

/// The same with further arguments for who does not go direct.
pub(super) async fn cli_with(
    direct: SocketAddr,
    proxied: Option<SocketAddr>,
    flags: &[&str],
) -> anyhow::Result<Outcome> {
    let bare = cli_all(direct, &[]).await?;
    let mut complaints = Vec::new();
    if let Some(proxied) = proxied {
        let through = cli_all(proxied, flags).await?;
        for (((name, ..), bare), through) in USES.iter().zip(&bare).zip(through) {
            if *bare != through {
                complaints.push(format!("{name}\ndirect:  {bare}\nproxied: {through}"));
            }
        }
    }
    let passed = USES.len() - complaints.len();
    Ok(Outcome { passed, failed: complaints.len(), detail: detail(&complaints, passed) })
}

/// One use after the other, since each builds on those before; and what came out.
async fn cli_all(address: SocketAddr, flags: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut bulk = String::new();
    for n in 0..3000 {
        let key = format!("key:{n}");
        bulk += &format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$1\r\nx\r\n", key.len());
    }
    cli_once(address, &[flags, &["flushall"]].concat(), "", All).await?;
    let said = cli_once(address, &[flags, &["--pipe"]].concat(), &bulk, All).await?;
    if !said.ends_with("errors: 0, replies: 3000") {
        bail!("--pipe says {said}");
    }
    let mut seen = Vec::new();
    for (_, args, input, compare) in USES {
        seen.push(cli_once(address, &[flags, args].concat(), input, *compare).await?);
    }
    Ok(seen)
}

async fn cli_once(
    address: SocketAddr,
    args: &[&str],
    input: &str,
    compare: Compare,
) -> anyhow::Result<String> {
    let mut cli = command("redis-cli");
    cli.args(["-h", "127.0.0.1", "-p", &address.port().to_string()]).args(args);
    cli.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    let mut child = cli.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    let output = timeout(LONGEST, child.wait_with_output()).await;
    let output = output.with_context(|| format!("redis-cli {args:?} does not end"))??;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let mut lines: Vec<_> = text.trim_end().lines().map(str::to_owned).collect();
    match compare {
        All => {}
        Lines => lines.sort(),
        Summary => lines.retain(|line| line.contains(" with ") && !line.contains("found")),
        WithoutId => {
            if let Some(n) = lines.iter().position(|line| line.starts_with("id ")) {
                lines[n] = "id".into();
            }
        }
        Words => lines = vec![text.split_whitespace().count().to_string()],
    }
    if lines.is_empty() {
        bail!("redis-cli {args:?} says nothing");
    }
    Ok(lines.join("\n"))
}

/// Every test of redis-benchmark, one by one and pipelined; none of its replies may be an error.
pub(super) async fn benchmark(
    direct: SocketAddr,
    proxied: Option<SocketAddr>,
) -> anyhow::Result<Outcome> {
    benchmark_with(proxied.unwrap_or(direct), &[]).await
}

/// The same at one address, with further arguments.
pub(super) async fn benchmark_with(address: SocketAddr, flags: &[&str]) -> anyhow::Result<Outcome> {
    const RUNS: [(&str, &[&str]); 4] = [
        ("plain", &["-n", "5000", "-c", "50"]),
        ("pipelined", &["-n", "20000", "-c", "20", "-P", "16"]),
        ("resp3", &["-3", "-n", "5000", "-c", "10", "-P", "4"]),
        ("big", &["-n", "2000", "-c", "20", "-d", "100000", "-t", "set,get", "-r", "100"]),
    ];
    let (mut passed, mut complaints) = (0, Vec::new());
    for (name, args) in RUNS {
        let mut tool = command("redis-benchmark");
        tool.args(["-h", "127.0.0.1", "-p", &address.port().to_string(), "--csv"]);
        tool.args(flags).args(args);
        let done = timeout(LONGEST, finish(&format!("redis-benchmark-{name}"), &mut tool)).await;
        let done = done.with_context(|| format!("{name}: no end"))??;
        let results = done.text.lines().filter(|line| line.starts_with('"')).count();
        // The first line names the columns.
        let wanted = if name == "big" { 3 } else { 21 };
        let errors: Vec<_> = done.text.lines().filter(|line| line.contains("rror")).collect();
        if !done.status.success() || results < wanted || !errors.is_empty() {
            complaints.push(format!("{name}: {:#}", done.error(&errors.join("\n"))));
        }
        passed += results.saturating_sub(1);
    }
    Ok(Outcome { passed, failed: complaints.len(), detail: detail(&complaints, passed) })
}

/// The cell with the tools before what looks like a cluster of one node.
pub(super) const TRANSPARENT: &str = "redis-tools-transparent";

/// What redis-cli says of a cluster, and in its cluster mode; each line is typed as it stands, with the node's address and
/// port.
const CLUSTER_USES: &[&str] = &[
    "-c -p PORT flushall",
    "-c -p PORT set foo bar",
    "-c -p PORT mget foo {foo}a",
    "-c -p PORT eval return(redis.call('incr',KEYS[1])) 1 n",
    "-c -p PORT evalsha a79a73d4efb6d4d8861290b54f6770d6422c2144 1 m",
    "-c -p PORT rename foo a",
    "-c -p PORT select 1",
    "-c -p PORT cluster info",
    "-c -p PORT cluster keyslot foo",
    "--cluster info ADDRESS",
    "--cluster check ADDRESS",
    "--cluster check ADDRESS --cluster-search-multiple-owners",
    "--cluster call ADDRESS ping",
    "--cluster call ADDRESS dbsize",
    "--cluster call ADDRESS get foo --cluster-only-masters",
    "--cluster call ADDRESS get foo --cluster-only-replicas",
    "--cluster rebalance ADDRESS",
    "--cluster fix ADDRESS",
    "--cluster del-node ADDRESS ID",
];

/// A cluster behind the proxy is to the tools what a cluster of one node is without it.
pub(super) async fn transparent(direct: bool) -> anyhow::Result<Outcome> {
    let bus = free_address()?.port().to_string();
    let one = Server::start(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await?;
    one.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await?;
    one.wait(&["CLUSTER", "INFO"], |seen| seen.contains("cluster_state:ok")).await?;
    let bare = cluster_all(one.address).await?;
    if direct {
        return Ok(Outcome { passed: bare.len(), failed: 0, detail: detail(&[], bare.len()) });
    }
    let cluster = Cluster::start().await?;
    let options = ["--cluster", "--option", "face=transparent"];
    let mut proxy = Proxy::start(&cluster.seeds()[..2], &options).await?;
    let proxied = cluster_all(proxy.address).await?;
    let mut complaints = Vec::new();
    for ((line, bare), through) in CLUSTER_USES.iter().zip(&bare).zip(&proxied) {
        if bare != through {
            complaints.push(format!("{line}\ndirect:  {bare}\nproxied: {through}"));
        }
    }
    // Of one node, whoever it is, it wants no cluster mode. It needs none: the proxy follows.
    for address in [one.address, proxy.address] {
        let mut tool = command("redis-benchmark");
        tool.args(["--cluster", "-h", "127.0.0.1", "-p", &address.port().to_string()]);
        let said = finish("redis-benchmark-cluster", &mut tool).await?;
        ensure!(said.text.contains("Invalid cluster: 1 node(s)."), "{:#}", said.error(""));
    }
    let mut outcome = benchmark(proxy.address, None).await?;
    proxy.check()?;
    outcome.passed += CLUSTER_USES.len() - complaints.len();
    outcome.failed += complaints.len();
    outcome.detail = detail(&complaints, outcome.passed);
    Ok(outcome)
}

/// One use after the other, and what came out, whatever the node is called.
async fn cluster_all(address: SocketAddr) -> anyhow::Result<Vec<String>> {
    let (text, port) = (address.to_string(), address.port().to_string());
    let id = cli_once(address, &["cluster", "myid"], "", All).await?;
    let mut seen = Vec::new();
    for line in CLUSTER_USES {
        let words = line.split(' ').map(|word| match word {
            "ADDRESS" => &text,
            "PORT" => &port,
            "ID" => &id,
            word => word,
        });
        let mut cli = command("redis-cli");
        let output = timeout(LONGEST, cli.args(words).output()).await;
        let output = output.with_context(|| format!("redis-cli {line} does not end"))??;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let short = id.get(..8).context("an id is long")?;
        let said = said.replace(&text, "NODE").replace(&id, "ID").replace(short, "ID");
        seen.push(said.trim_end().to_owned());
    }
    Ok(seen)
}

fn detail(complaints: &[String], passed: usize) -> String {
    if complaints.is_empty() { format!("{passed} uses") } else { complaints.join("\n") }
}
