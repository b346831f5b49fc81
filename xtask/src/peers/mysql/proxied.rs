//! PROXY headers: from haproxy, and to a MariaDB that says whom it takes its clients for.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::client::{Flavour, cli};
use super::server::{Kind, Server};
use crate::peers::proxy::{Proxy, free_address};
use crate::process::{command, finish, log};
use crate::report::Outcome;
use crate::target;

pub(super) const NAME: &str = "mysql-proxy-protocol";

const LONGEST: Duration = Duration::from_secs(60);

/// Where clients come from: another address than that of the proxies.
const CLIENT: &str = "127.0.0.2";

/// Headers are believed of whoever is on this machine, and there must be one.
const TRUSTING: &str = "proxy_protocol: { trusted: [127.0.0.0/8] }";

/// MariaDB is told by the proxy, which is told by haproxy, by each of their headers.
pub(super) async fn run(direct: bool) -> anyhow::Result<Outcome> {
    if direct {
        return Ok(Outcome { passed: 0, failed: 0, detail: "needs the proxy".into() });
    }
    // Addresses are not to be looked up.
    let settings = "proxy-protocol-networks=127.0.0.1/32\nskip-name-resolve\n";
    let server = Server::start_with(Kind::Maria10, "", settings).await?;
    let tls = format!("tls: {{ ca: {} }}", server.ca().display());
    let mut passed = 0;
    let plain = through(server.address, "", "").await?;
    let seen = ask(plain.address).await?;
    ensure!(seen == "nat@127.0.0.1 127.0.0.1 clear", "without headers: {seen}");
    for version in ["v1", "v2"] {
        for (tls, way) in [("", "clear"), (tls.as_str(), "TLS")] {
            let cluster = format!("proxy_protocol: {version}\n    {tls}");
            let expected = format!("nat@{CLIENT} {CLIENT} {way}");
            let mut proxy = through(server.address, "", &cluster).await?;
            let seen = ask(proxy.address).await.context(cluster.clone())?;
            ensure!(seen == expected, "{version}, {way}: {seen}");
            proxy.check()?;
            let mut proxy = through(server.address, TRUSTING, &cluster).await?;
            for header in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c"] {
                let (_haproxy, address) = haproxy(proxy.address, header).await?;
                let seen = ask(address).await.with_context(|| format!("{header}, {cluster}"))?;
                ensure!(seen == expected, "{header}, {version}, {way}: {seen}");
            }
            proxy.check()?;
            passed += 4;
        }
    }
    Ok(Outcome::pass(format!("{passed} ways")))
}

/// A proxy before the server, with these settings of its listener and its cluster. Without a header that the server takes
/// it would not be well.
async fn through(server: SocketAddr, listener: &str, cluster: &str) -> anyhow::Result<Proxy> {
    let health = "health: { interval: 100ms, timeout: 100ms, unhealthy: 1 }";
    Proxy::run(|address| {
        format!(
            "workers: 1
listeners:
  - name: mysql
    address: {address}
    protocols: [mysql]
    {listener}
    routes: [{{ name: all, cluster: servers }}]
clusters:
  - name: servers
    endpoints: [\"{server}\"]
    {health}
    {cluster}
"
        )
    })
    .await
}

/// Passes connections on with this header. Health checks have it, too.
async fn haproxy(to: SocketAddr, header: &str) -> anyhow::Result<(Child, SocketAddr)> {
    let address = free_address()?;
    let path = target().join("xtask").join(format!("haproxy-{}.cfg", address.port()));
    let config = format!(
        "defaults
    mode tcp
    timeout connect 3s
    timeout client 1m
    timeout server 1m
listen mysql
    bind {address}
    server proxy {to} {header} check check-send-proxy inter 50ms
"
    );
    fs::write(&path, config)?;
    let (output, log) = log(&format!("haproxy-{}", address.port()))?;
    let mut haproxy = command("haproxy");
    haproxy.args(["-db", "-f"]).arg(path).stdout(output.try_clone()?).stderr(output);
    let mut child = haproxy.spawn()?;
    let end = Instant::now() + LONGEST;
    while TcpStream::connect(address).await.is_err() {
        let ended = child.try_wait()?.is_some();
        ensure!(!ended && Instant::now() < end, "it does not listen; see {}", log.display());
        sleep(Duration::from_millis(20)).await;
    }
    Ok((child, address))
}

/// Whom the server takes its client for, where its connection comes from, and whether that has TLS.
async fn ask(address: SocketAddr) -> anyhow::Result<String> {
    const STATEMENT: &str = "select user(), substring_index(host, ':', 1), \
        if((select variable_value from information_schema.session_status where variable_name = 'Ssl_cipher') = '', \
        'clear', 'TLS') from information_schema.processlist where id = connection_id()";
    let mut client = cli(Flavour::Mysql, address);
    client.args(["--bind-address", CLIENT, "-unat", "-pnatpw", "--skip-column-names"]);
    client.args(["--execute", STATEMENT]);
    let done = timeout(LONGEST, finish(NAME, &mut client)).await.context("no end")??;
    ensure!(done.status.success(), "{:#}", done.error(&done.text));
    let row = done.text.lines().find(|line| line.contains('\t')).context("no row")?;
    Ok(row.replace('\t', " "))
}
