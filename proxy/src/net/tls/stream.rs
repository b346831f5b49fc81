//! A stream within a stream.

use std::{
    io::{self, IoSlice, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use rustls::ConnectionCommon;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::{Connecting, ServerTls};
use crate::net::Stream;

/// What is said under TLS over a socket.
#[derive(Debug)]
pub struct Tls {
    inner: TlsStream<Socket>,
    /// The other side has been told that nothing more comes.
    shut: bool,
}

/// A socket of which something was read before TLS began.
#[derive(Debug)]
struct Socket {
    before: BytesMut,
    stream: Stream,
}

impl Tls {
    /// Answers a client's handshake, of which `before` has been read already. With the error comes the socket: what it was
    /// told of the failure may be on its way still.
    pub async fn accept(
        stream: Stream,
        before: BytesMut,
        tls: &ServerTls,
    ) -> Result<Self, (io::Error, Stream)> {
        let accept = TlsAcceptor::from(tls.0.clone()).accept(Socket { before, stream });
        match accept.into_fallible().await {
            Ok(inner) => Ok(Self { inner: inner.into(), shut: false }),
            Err((error, socket)) => Err((error, socket.stream)),
        }
    }

    /// Begins TLS with a server.
    pub async fn connect(stream: Stream, tls: Connecting) -> io::Result<Self> {
        let socket = Socket { before: BytesMut::new(), stream };
        let connected = TlsConnector::from(tls.config).connect(tls.name, socket).await?;
        Ok(Self { inner: connected.into(), shut: false })
    }

    /// The socket below.
    pub fn below(&self) -> &Stream {
        &self.inner.get_ref().0.stream
    }

    /// Whether there may be something to read: what has been decrypted counts.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (socket, session) = self.inner.get_ref();
        if !session.wants_read() || !socket.before.is_empty() {
            return Poll::Ready(Ok(()));
        }
        socket.stream.poll_read_ready(cx)
    }
}

impl Drop for Tls {
    /// Tells the other side that nothing more comes, if it can be told at once.
    fn drop(&mut self) {
        if self.shut {
            return;
        }
        match &mut self.inner {
            TlsStream::Client(inner) => {
                let (socket, session) = inner.get_mut();
                say_goodbye(session, socket);
            }
            TlsStream::Server(inner) => {
                let (socket, session) = inner.get_mut();
                say_goodbye(session, socket);
            }
        }
    }
}

fn say_goodbye<S>(session: &mut ConnectionCommon<S>, socket: &Socket) {
    session.send_close_notify();
    let mut now = Now(&socket.stream);
    while session.wants_write() && session.write_tls(&mut now).is_ok_and(|n| n > 0) {}
}

/// Writes what the socket takes at once.
struct Now<'a>(&'a Stream);

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Tls {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)) {
            // Many close without saying so. All protocols here say themselves where a message ends, so that whoever cuts a
            // connection short gains nothing by it.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            read => Poll::Ready(read),
        }
    }
}

impl AsyncWrite for Tls {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.shut = true;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.before.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let count = this.before.len().min(buf.remaining());
        buf.put_slice(&this.before[..count]);
        this.before.advance(count);
        if this.before.is_empty() {
            this.before = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
