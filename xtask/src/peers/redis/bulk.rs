//! Values of 512 MiB through the proxy: whole, in little memory, and in nobody's way.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::proxy::Proxy;
use super::server::Server;
use crate::report::Outcome;

/// The name of the cell.
pub(super) const NAME: &str = "redis-bulk";

/// The longest that there is.
const VALUE: usize = 512 << 20;

/// What the proxy may have in memory beyond what it had before, in MiB. It passes the value on in pieces of 1 MiB or so,
/// and puts at most 64 MiB aside for slow readers.
const MOST: usize = 96;

/// How long a slow reader reads slowly, and how much in a second.
const SLOW: Duration = Duration::from_secs(10);
const PACE: usize = 1 << 20;

const LOST: Duration = Duration::from_secs(60);

pub(super) async fn run(direct: bool) -> anyhow::Result<Outcome> {
    if direct {
        return Ok(Outcome { passed: 0, failed: 0, detail: "needs the proxy".into() });
    }
    let server = Server::start(&[]).await?;
    // Parts of it differ, so that what changed places would be found.
    for n in 0..512 {
        let at = (n * (1 << 20) + n * 7).to_string();
        server.ask(&["SETRANGE", "big", &at, &format!("part {n}")]).await?;
    }
    server.ask(&["SETRANGE", "big", &(VALUE - 3).to_string(), "end"]).await?;
    let mut proxy = Proxy::start(&[server.address], &[]).await?;
    let before = proxy.memory()?;
    let mut peak = 0;
    let straight = get(server.address, Duration::ZERO, || Ok(())).await?;
    let proxied = get(proxy.address, Duration::ZERO, || {
        peak = peak.max(proxy.memory()?);
        Ok(())
    })
    .await?;
    ensure!(straight == proxied, "the value is another through the proxy");
    let (slow, others) = tokio::join!(
        get(proxy.address, SLOW, || {
            peak = peak.max(proxy.memory()?);
            Ok(())
        }),
        others(proxy.address),
    );
    ensure!(slow? == straight, "a slow reader has another value");
    let (others, worst) = others?;
    // Requests are held whole: who wants them as long says so.
    let mut roomy = Proxy::run(|address| {
        format!(
            "listeners:\n  - {{ name: r, address: {address}, protocols: [redis], limits: {{ max_frame: 513MiB }}, \
             routes: [{{ name: r, cluster: r }}] }}\nclusters:\n  - {{ name: r, endpoints: [{}], outlier: off }}\n",
            server.address
        )
    })
    .await?;
    let sent = set(roomy.address).await?;
    roomy.check()?;
    let stored = get(server.address, Duration::ZERO, || Ok(())).await?;
    ensure!(stored == sent, "another value was stored");
    proxy.check()?;
    let grown = peak.saturating_sub(before);
    ensure!(grown < MOST, "the proxy grew by {grown} MiB");
    let detail = format!("+{grown} MiB; beside a slow reader {others} requests, {worst:?} at most");
    Ok(Outcome { passed: 4, failed: 0, detail })
}

/// Gets the value, slowly at first; what it adds up to.
async fn get(
    address: SocketAddr,
    slow: Duration,
    mut look: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n").await?;
    let head = format!("${VALUE}\r\n");
    let mut got = vec![0; head.len()];
    timeout(LOST, stream.read_exact(&mut got)).await.context("no answer")??;
    ensure!(got == head.as_bytes(), "not the value: {}", String::from_utf8_lossy(&got));
    let (begun, mut at, mut sum) = (Instant::now(), 0usize, Sum::default());
    let mut buffer = vec![0; 1 << 20];
    while at < VALUE + 2 {
        let most = buffer.len().min(VALUE + 2 - at);
        let read = timeout(LOST, stream.read(&mut buffer[..most])).await;
        let len = read.context("the rest does not come")??;
        if len == 0 {
            bail!("closed after {at} bytes");
        }
        sum.add(at, &buffer[..len]);
        at += len;
        look()?;
        if begun.elapsed() < slow {
            sleep(Duration::from_secs_f64(len as f64 / PACE as f64)).await;
        }
    }
    Ok(sum.0)
}

/// Sets the value to another; what that adds up to.
async fn set(address: SocketAddr) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${VALUE}\r\n");
    stream.write_all(head.as_bytes()).await?;
    let (mut chunk, mut sum) = (vec![0; 1 << 20], Sum::default());
    for n in 0..VALUE / chunk.len() {
        chunk[..8].copy_from_slice(&(n as u64 + 1).to_le_bytes());
        sum.add(n * chunk.len(), &chunk);
        timeout(LOST, stream.write_all(&chunk)).await.context("the proxy takes no more")??;
    }
    sum.add(VALUE, b"\r\n");
    stream.write_all(b"\r\n").await?;
    let mut ok = [0; 5];
    timeout(LOST, stream.read_exact(&mut ok)).await.context("no answer to SET")??;
    ensure!(ok == *b"+OK\r\n", "{}", String::from_utf8_lossy(&ok));
    Ok(sum.0)
}

/// Which bytes were seen, and where.
#[derive(Default)]
struct Sum(u64);

impl Sum {
    fn add(&mut self, at: usize, bytes: &[u8]) {
        for (n, byte) in bytes.iter().enumerate().filter(|(_, byte)| **byte != 0) {
            let mixed = (self.0 ^ (at + n) as u64).wrapping_mul(0x0100_0000_01b3);
            self.0 = mixed ^ u64::from(*byte);
        }
    }
}

/// How many requests are answered beside the slow reader, and how long the slowest takes.
async fn others(address: SocketAddr) -> anyhow::Result<(usize, Duration)> {
    // Behind it in the same line they would wait for it.
    sleep(Duration::from_secs(1)).await;
    let (end, mut count, mut worst) = (Instant::now() + SLOW / 2, 0, Duration::ZERO);
    let mut stream = TcpStream::connect(address).await?;
    while Instant::now() < end {
        let asked = Instant::now();
        stream.write_all(b"*1\r\n$4\r\nPING\r\n").await?;
        let mut pong = [0; 7];
        timeout(LOST, stream.read_exact(&mut pong)).await.context("no answer beside it")??;
        ensure!(pong == *b"+PONG\r\n", "not a PONG");
        (count, worst) = (count + 1, worst.max(asked.elapsed()));
        sleep(Duration::from_millis(1)).await;
    }
    ensure!(worst < SLOW / 2 && count > 10, "{count} answers, the slowest after {worst:?}");
    Ok((count, worst))
}
