//! Relays with PROXY headers: before a proxy, and between a proxy and a server.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use super::thread::ServerThread;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 1 for these addresses.
pub fn v1(source: &str, destination: &str) -> Vec<u8> {
    let (from, to) = (parsed(source), parsed(destination));
    let kind = if from.is_ipv4() { 4 } else { 6 };
    let (ips, ports) = ((from.ip(), to.ip()), (from.port(), to.port()));
    format!("PROXY TCP{kind} {} {} {} {}\r\n", ips.0, ips.1, ports.0, ports.1).into_bytes()
}

/// A header of version 2 for these addresses, with this behind them.
pub fn v2(source: &str, destination: &str, fields: &[u8]) -> Vec<u8> {
    let (from, to) = (parsed(source), parsed(destination));
    let mut said = Vec::new();
    for address in [from, to] {
        match address.ip() {
            IpAddr::V4(ip) => said.extend(ip.octets()),
            IpAddr::V6(ip) => said.extend(ip.octets()),
        }
    }
    said.extend(from.port().to_be_bytes());
    said.extend(to.port().to_be_bytes());
    said.extend(fields);
    let len = u16::try_from(said.len()).expect("short").to_be_bytes();
    let kind = if from.is_ipv4() { 0x11 } else { 0x21 };
    [SIGNATURE, &[0x21, kind], &len, &said].concat()
}

/// A header of version 2 whose sender speaks for itself.
pub fn local() -> Vec<u8> {
    [SIGNATURE, &[0x20, 0, 0, 0]].concat()
}

fn parsed(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

/// Reads a header, and nothing behind it; `None`: there is none, or not a whole one.
pub async fn read_header(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut header = Vec::new();
    loop {
        header.push(stream.read_u8().await.ok()?);
        let len = header.len();
        match header.get(14..16) {
            Some(said) if header.starts_with(SIGNATURE) => {
                if len == 16 + usize::from(u16::from_be_bytes([said[0], said[1]])) {
                    return Some(header);
                }
            }
            _ if header.starts_with(b"PROXY ") && header.ends_with(b"\r\n") => return Some(header),
            _ => {
                let begin = [b"PROXY ", SIGNATURE];
                let begins = |with: &[u8]| header.iter().zip(with).all(|(a, b)| a == b);
                if !begin.into_iter().any(begins) {
                    return None;
                }
            }
        }
    }
}

/// Passes connections on, each with a header before it.
pub struct Front {
    pub address: SocketAddr,
    _thread: ServerThread,
}

impl Front {
    /// Says this to a server at first, so many bytes at a time.
    pub fn before(server: SocketAddr, header: Vec<u8>, at_once: usize) -> Self {
        let thread = relay(move |mut client| {
            let header = header.clone();
            async move {
                let mut server = TcpStream::connect(server).await?;
                server.set_nodelay(true)?;
                for part in header.chunks(at_once) {
                    server.write_all(part).await?;
                    tokio::task::yield_now().await;
                }
                copy_bidirectional(&mut client, &mut server).await
            }
        });
        Self { address: thread.address, _thread: thread }
    }
}

/// Passes connections on without the header that they must begin with.
pub struct Back {
    pub address: SocketAddr,
    headers: Arc<Mutex<Vec<Vec<u8>>>>,
    _thread: ServerThread,
}

impl Back {
    /// To this server.
    pub fn before(server: SocketAddr) -> Self {
        let headers = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let seen = headers.clone();
        let thread = relay(move |mut client| {
            let seen = seen.clone();
            async move {
                let header = read_header(&mut client).await;
                seen.lock().expect("not poisoned").push(header.clone().unwrap_or_default());
                let header = header.ok_or(std::io::ErrorKind::InvalidData)?;
                assert!(!header.is_empty());
                let mut server = TcpStream::connect(server).await?;
                server.set_nodelay(true)?;
                copy_bidirectional(&mut client, &mut server).await
            }
        });
        Self { address: thread.address, headers, _thread: thread }
    }

    /// What connections have begun with, in their order; nothing of those without a header.
    pub fn headers(&self) -> Vec<Vec<u8>> {
        self.headers.lock().expect("not poisoned").clone()
    }
}

fn relay<F>(each: impl Fn(TcpStream) -> F + Send + 'static) -> ServerThread
where
    F: Future<Output = std::io::Result<(u64, u64)>> + 'static,
{
    let any = "127.0.0.1:0".parse().expect("an address");
    ServerThread::start(any, move |listener: TcpListener| async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accept");
            stream.set_nodelay(true).expect("nodelay");
            tokio::task::spawn_local(each(stream));
        }
    })
}
