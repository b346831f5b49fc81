//! What the tests share: capture files, and a decoder that is fed in pieces.

use std::{fs, path::PathBuf};

use bytes::BytesMut;
use wiremesh::{DecodeError, Limits, Peer, Protocol, WriteBuf};
use wiremesh_redis::{Message, Progress, Redis};

/// A decoder of one direction of a connection.
pub(crate) struct Decoder {
    pub(crate) limits: Limits,
    from: Peer,
    state: Progress,
    input: BytesMut,
}

impl Decoder {
    pub(crate) fn new(from: Peer) -> Self {
        let (limits, state, input) = Default::default();
        Self { limits, from, state, input }
    }

    /// The messages that are complete with these bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Message>, DecodeError> {
        self.input.extend_from_slice(bytes);
        let mut messages = Vec::new();
        while let Some(message) =
            Redis::default().decode(self.from, &mut self.state, &self.limits, &mut self.input)?
        {
            messages.push(message);
        }
        Ok(messages)
    }

    /// How many bytes wait for more.
    pub(crate) fn waiting(&self) -> usize {
        self.input.len()
    }
}

/// The one message that the bytes are.
#[track_caller]
pub(crate) fn message(from: Peer, bytes: &[u8]) -> Message {
    let mut decoder = Decoder::new(from);
    let mut messages = decoder.feed(bytes).unwrap();
    assert_eq!((messages.len(), decoder.waiting()), (1, 0), "one whole message");
    messages.remove(0)
}

#[track_caller]
pub(crate) fn request(bytes: impl AsRef<[u8]>) -> Message {
    message(Peer::Client, bytes.as_ref())
}

#[track_caller]
pub(crate) fn reply(bytes: impl AsRef<[u8]>) -> Message {
    message(Peer::Upstream, bytes.as_ref())
}

/// The message's bytes on the wire.
pub(crate) fn encoded(message: &Message) -> Vec<u8> {
    let mut out = WriteBuf::default();
    Redis::default().encode(message.clone(), &mut out);
    out.to_bytes().to_vec()
}

pub(crate) fn capture_directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/redis"))
}

/// The names of all connections that were recorded.
pub(crate) fn connections() -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(capture_directory())
        .unwrap()
        .filter_map(|e| Some(e.unwrap().file_name().to_str()?.strip_suffix(".idx")?.to_owned()))
        .collect();
    names.sort();
    names
}

/// One direction of a recorded connection, in the pieces in which it was read.
pub(crate) fn pieces(connection: &str, from: Peer) -> Vec<Vec<u8>> {
    let direction = if from == Peer::Client { "c2s" } else { "s2c" };
    let read = |suffix: &str| {
        let path = capture_directory().join(format!("{connection}.{suffix}"));
        fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let bytes = read(&format!("{direction}.bin"));
    let index = String::from_utf8(read("idx")).unwrap();
    let mut pieces = Vec::new();
    for line in index.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        if fields[0] == direction {
            let (at, len): (usize, usize) =
                (fields[1].parse().unwrap(), fields[2].parse().unwrap());
            pieces.push(bytes[at..at + len].to_vec());
        }
    }
    assert_eq!(pieces.concat(), bytes, "{connection}.{direction}: the index covers every byte");
    pieces
}

/// All messages of one direction of a recorded connection.
pub(crate) fn capture(connection: &str, from: Peer) -> Vec<Message> {
    let mut decoder = Decoder::new(from);
    let mut messages = Vec::new();
    for piece in pieces(connection, from) {
        let what = format!("{connection}, {from:?}, message {}", messages.len());
        messages.extend(decoder.feed(&piece).unwrap_or_else(|e| panic!("{what}: {e}")));
    }
    assert_eq!(decoder.waiting(), 0, "{connection}, {from:?}: nothing is left over");
    messages
}
