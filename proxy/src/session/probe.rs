//! Health checks of session protocols: an endpoint is well when it completes the handshake.

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use wiremesh::{
    Limits, Peer, WriteBuf,
    correlation::{Departure, Handshake, Progress, Sessioned},
};

use crate::net::{Dial, Stream, tls};

/// Connects and speaks the handshake; says what went wrong, if anything did.
pub async fn probe<P: Sessioned>(protocol: P, dial: Dial) -> Result<(), String> {
    let mut later = None;
    let mut dial = dial;
    if P::STARTS_TLS {
        later = dial.tls.take();
    }
    let mut stream = Stream::connect(dial).await.map_err(|e| e.to_string())?;
    let mut handshake = protocol.probe_handshake(Departure {
        random: tls::random(),
        tls: later.is_some(),
        private: stream.is_private(),
    });
    let mut progress = handshake.start(&protocol);
    let (mut input, mut decoder) = (BytesMut::new(), P::State::default());
    loop {
        let (frame, secure) = match progress {
            Progress::Done(_) => return Ok(()),
            Progress::Refused(_, why) => return Err(why.into()),
            Progress::Continue(frame) => (frame, false),
            Progress::StartTls(frame) => (frame, true),
        };
        if let Some(frame) = frame {
            let mut out = WriteBuf::default();
            protocol.encode(frame, &mut out);
            stream.write_all_buf(&mut out).await.map_err(|e| e.to_string())?;
            stream.flush().await.map_err(|e| e.to_string())?;
        }
        if secure {
            let tls = later.take().ok_or("TLS is not configured")?;
            stream = stream.start_tls(tls).await.map_err(|e| e.to_string())?;
            progress = handshake.on_secured(&protocol);
            continue;
        }
        let frame = loop {
            let limits = Limits::default();
            let decoded = protocol.decode(Peer::Upstream, &mut decoder, &limits, &mut input);
            if let Some(frame) = decoded.map_err(|e| e.to_string())? {
                break frame;
            }
            let read = tokio_util::io::read_buf(&mut stream, &mut input).await;
            if read.map_err(|e| e.to_string())? == 0 {
                return Err("closed during the handshake".into());
            }
        };
        progress = handshake.on_frame(&protocol, frame);
    }
}
