//! A stream under a protocol's own layer.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;
use wiremesh::correlation::Layer;

use super::Stream;

/// So much is received and unpacked at once, in bytes.
const ROOM: usize = 16 * 1024;

/// So much is packed at once, in bytes: the more, the smaller it gets.
const PIECE: usize = 64 * 1024;

/// What is said within a layer over a socket or TLS.
#[derive(Debug)]
pub struct Layered {
    stream: Stream,
    layer: Box<dyn Layer>,
    /// What was received and not unpacked.
    received: BytesMut,
    /// What was unpacked and not read.
    plain: BytesMut,
    /// What was packed and not sent.
    packed: BytesMut,
}

impl Layered {
    /// Begins a layer on a stream, of which `received` has been read already.
    pub fn new(stream: Stream, layer: Box<dyn Layer>, received: BytesMut) -> Self {
        Self { stream, layer, received, plain: BytesMut::new(), packed: BytesMut::new() }
    }

    /// The stream below.
    pub fn below(&self) -> &Stream {
        &self.stream
    }

    /// Whether there may be something to read: what was received before counts.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.plain.is_empty() && self.received.is_empty() {
            return self.stream.poll_read_ready(cx);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what was packed.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.packed.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.packed))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.packed.advance(sent),
            }
        }
        // Large replies are not to cost memory for as long as the connection is idle.
        if self.packed.capacity() > PIECE {
            self.packed = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn pack(&mut self, plain: &[u8]) -> usize {
        let piece = &plain[..plain.len().min(PIECE)];
        self.layer.pack(piece, &mut self.packed);
        piece.len()
    }
}

impl AsyncRead for Layered {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.plain.is_empty() {
            let Self { received, plain, .. } = this;
            let unpacked = this.layer.unpack(received, plain, ROOM);
            if unpacked.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))? {
                continue;
            }
            received.reserve(ROOM);
            if ready!(poll_read_buf(Pin::new(&mut this.stream), cx, received))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let len = this.plain.len().min(buf.remaining());
        buf.put_slice(&this.plain[..len]);
        this.plain.advance(len);
        for buffer in [&mut this.plain, &mut this.received] {
            if buffer.is_empty() {
                // What an idle connection holds is little.
                *buffer = BytesMut::new();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Layered {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Poll::Ready(Ok(this.pack(bytes)))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        let mut together = Vec::new();
        for slice in slices {
            let room = PIECE - together.len();
            together.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        Poll::Ready(Ok(this.pack(&together)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
