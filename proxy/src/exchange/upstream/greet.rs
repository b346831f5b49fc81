//! What is said on an upstream connection before its first request.

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use wiremesh::{
    Limits, Peer, Protocol, WriteBuf,
    correlation::{Handshake, Progress},
};

use crate::net::Stream;

/// A connection that is ready for requests, and what was received on it already.
pub(super) struct Opened<P: Protocol> {
    pub(super) stream: Stream,
    pub(super) input: BytesMut,
    pub(super) decoder: P::State,
    /// [`Handshake::number`].
    pub(super) number: Option<u64>,
}

/// Why there is no connection.
pub(super) struct Refused<P: Protocol> {
    /// For the log, and for clients who are not told anything else.
    pub(super) why: String,
    /// What the upstream said to it, for the clients that wait.
    pub(super) told: Option<P::Frame>,
}

impl<P: Protocol> From<std::io::Error> for Refused<P> {
    fn from(error: std::io::Error) -> Self {
        Self { why: error.to_string(), told: None }
    }
}

/// Holds the handshake, where there is one.
pub(super) async fn greet<P: Protocol>(
    protocol: &P,
    handshake: Option<Box<dyn Handshake<P>>>,
    mut stream: Stream,
    limits: &Limits,
) -> Result<Opened<P>, Refused<P>> {
    let (mut input, mut decoder) = (BytesMut::new(), P::State::default());
    let Some(mut handshake) = handshake else {
        return Ok(Opened { stream, input, decoder, number: None });
    };
    let mut progress = handshake.start(protocol);
    loop {
        let (frame, done) = match progress {
            Progress::Continue(frame) => (frame, false),
            Progress::Done(frame) => (frame, true),
            Progress::StartTls(told) => {
                return Err(Refused { why: "TLS within the handshake".into(), told });
            }
            Progress::Refused(told, why) => return Err(Refused { why: why.into(), told }),
        };
        if let Some(frame) = frame {
            let mut out = WriteBuf::default();
            protocol.encode(frame, &mut out);
            stream.write_all_buf(&mut out).await?;
            stream.flush().await?;
        }
        if done {
            return Ok(Opened { stream, input, decoder, number: handshake.number() });
        }
        let frame = loop {
            let decoded = protocol.decode(Peer::Upstream, &mut decoder, limits, &mut input);
            match decoded.map_err(|error| Refused { why: error.to_string(), told: None })? {
                Some(frame) => break frame,
                None => {
                    if tokio_util::io::read_buf(&mut stream, &mut input).await? == 0 {
                        let why = "closed by the upstream during the handshake".to_owned();
                        return Err(Refused { why, told: None });
                    }
                }
            }
        };
        progress = handshake.on_frame(protocol, frame);
    }
}
