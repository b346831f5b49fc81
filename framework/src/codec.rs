//! A protocol as a [`tokio_util::codec`]: frames by `Framed`, for those who want a stream and a sink.
//!
//! ```
//! use wiremesh::{Peer, codec::Codec};
//! # use wiremesh::Protocol;
//! # fn example<P: Protocol>(protocol: P, socket: impl tokio::io::AsyncRead + tokio::io::AsyncWrite) {
//! let client = tokio_util::codec::Framed::new(socket, Codec::new(protocol, Peer::Upstream));
//! # }
//! ```

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use thiserror::Error;
use tokio_util::codec::{Decoder, Encoder};

use crate::{DecodeError, Limits, Peer, Protocol, WriteBuf};

/// Decodes what one peer sends, and encodes what it is sent.
#[derive(Debug)]
pub struct Codec<P: Protocol> {
    protocol: P,
    from: Peer,
    limits: Limits,
    state: P::State,
    out: WriteBuf,
}

impl<P: Protocol> Codec<P> {
    /// A codec for a connection whose other end is `from`, with the default [`Limits`].
    pub fn new(protocol: P, from: Peer) -> Self {
        let (limits, state, out) = (Limits::default(), P::State::default(), WriteBuf::default());
        Self { protocol, from, limits, state, out }
    }

    /// The same with these limits.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The protocol.
    pub fn protocol(&self) -> &P {
        &self.protocol
    }
}

/// Why no further frame can be read or written.
#[derive(Debug, Error)]
pub enum CodecError {
    /// The peer's bytes are not a frame.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The connection failed, or ended within a frame.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl<P: Protocol> Decoder for Codec<P> {
    type Item = P::Frame;
    type Error = CodecError;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<P::Frame>, CodecError> {
        // There is no frame of no bytes; a decoder is not asked for one.
        if input.is_empty() {
            return Ok(None);
        }
        Ok(self.protocol.decode(self.from, &mut self.state, &self.limits, input)?)
    }

    fn decode_eof(&mut self, input: &mut BytesMut) -> Result<Option<P::Frame>, CodecError> {
        match self.decode(input)? {
            None if !input.is_empty() => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            frame => Ok(frame),
        }
    }
}

impl<P: Protocol> Encoder<P::Frame> for Codec<P> {
    type Error = CodecError;

    fn encode(&mut self, frame: P::Frame, out: &mut BytesMut) -> Result<(), CodecError> {
        self.protocol.encode(frame, &mut self.out);
        out.reserve(self.out.len());
        while self.out.has_remaining() {
            let len = self.out.chunk().len();
            out.put_slice(self.out.chunk());
            self.out.advance(len);
        }
        Ok(())
    }
}
