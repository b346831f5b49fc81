use std::{
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpStream, UnixStream},
};

use bytes::Buf;
use wiremesh::WriteBuf;

use super::{Addresses, Layered, tls::Tls};
use crate::cluster::Address;

/// How long a closed connection waits for its peer to close it, too.
const LINGER: Duration = Duration::from_secs(1);

/// A connected socket of either kind, TLS over one, or a protocol's own layer over any of these.
///
/// TLS and layers have buffers of their own: what [`poll_write`](AsyncWrite::poll_write) took may not have left before
/// [`poll_flush`](AsyncWrite::poll_flush) says so, which costs nothing otherwise.
#[derive(Debug)]
pub enum Stream {
    /// TCP, with Nagle's algorithm off.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
    /// TLS over one of these.
    Tls(Box<Tls>),
    /// A [layer](wiremesh::correlation::Layer) over one of these.
    Layered(Box<Layered>),
}

impl Stream {
    /// Whether nobody else can read it: TLS, or a socket of this machine.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            Self::Unix(_) | Self::Tls(_) => true,
            Self::Layered(layered) => layered.below().is_private(),
        }
    }

    /// Connects a socket.
    pub async fn open(address: &Address) -> io::Result<Self> {
        Ok(match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Self::Tcp(stream)
            }
            Address::Unix(path) => Self::Unix(UnixStream::connect(path).await?),
        })
    }

    /// Says that nothing more will come and, unless the peer has said the same, waits a little until it does: closing
    /// with bytes of its unread would reset the connection, and could take with it what was written last.
    pub async fn linger(&mut self, eof: bool) {
        let end = async {
            if self.shutdown().await.is_err() || eof {
                return;
            }
            let mut rest = [0; 1024];
            while matches!(self.read(&mut rest).await, Ok(n) if n > 0) {}
        };
        let _ = tokio::time::timeout(LINGER, end).await;
    }

    /// Whether there may be something to read. Cheaper than a read in vain.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
            Self::Tls(tls) => tls.poll_read_ready(cx),
            Self::Layered(layered) => layered.poll_read_ready(cx),
        }
    }

    /// Writes what the socket below takes at once.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Tls(tls) => tls.below().try_write(bytes),
            Self::Layered(layered) => layered.below().try_write(bytes),
        }
    }

    /// Writes of `out` what one system call takes.
    pub fn poll_write_out(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut WriteBuf,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); 16];
        let written = match out.chunks_vectored(&mut slices) {
            0 | 1 => Pin::new(self).poll_write(cx, out.chunk()),
            filled => Pin::new(self).poll_write_vectored(cx, &slices[..filled]),
        };
        let written = ready!(written)?;
        out.advance(written);
        Poll::Ready(Ok(written))
    }

    /// The peer's IP address; `None` for Unix sockets.
    pub fn peer_ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok().map(|a| a.ip().to_canonical()),
            Self::Unix(_) => None,
            Self::Tls(tls) => tls.below().peer_ip(),
            Self::Layered(layered) => layered.below().peer_ip(),
        }
    }

    /// Both addresses, those of an IPv4 client of an IPv6 socket as IPv4; `None` for Unix sockets.
    pub fn addresses(&self) -> Option<Addresses> {
        let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        match self {
            Self::Tcp(stream) => Some(Addresses {
                source: canonical(stream.peer_addr().ok()?),
                destination: canonical(stream.local_addr().ok()?),
            }),
            Self::Unix(_) => None,
            Self::Tls(tls) => tls.below().addresses(),
            Self::Layered(layered) => layered.below().addresses(),
        }
    }

    /// The address that the peer connected to, as text.
    pub fn local_text(&self) -> String {
        match self {
            Self::Tcp(stream) => stream.local_addr().map_or_else(|_| "-".into(), |a| a.to_string()),
            Self::Unix(_) => "unix".into(),
            Self::Tls(tls) => tls.below().local_text(),
            Self::Layered(layered) => layered.below().local_text(),
        }
    }

    /// The peer's address as text, for logs.
    pub fn peer_text(&self) -> String {
        match self {
            Self::Tcp(stream) => stream.peer_addr().map_or_else(|_| "-".into(), |a| a.to_string()),
            Self::Unix(_) => "unix".into(),
            Self::Tls(tls) => tls.below().peer_text(),
            Self::Layered(layered) => layered.below().peer_text(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
            Self::Layered(layered) => Pin::new(layered).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
            Self::Layered(layered) => Pin::new(layered).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // For one piece, as small frames always are, send(2) is cheaper than writev(2).
        if let [only] = slices {
            return self.poll_write(cx, only);
        }
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
            Self::Layered(layered) => Pin::new(layered).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Self::Layered(layered) => Pin::new(layered).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Layered(layered) => Pin::new(layered).poll_shutdown(cx),
        }
    }
}
