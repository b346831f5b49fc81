//! What the tests share: recorded connections, and a decoder that is fed in pieces.

use wiremesh::{
    Peer, Protocol, WriteBuf,
    kit::{self, Recorded},
};
use wiremesh_redis::{Message, Redis};

/// A decoder of one direction of a connection.
pub(crate) type Decoder = kit::Decoder<Redis>;

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

fn recorded() -> Recorded {
    Recorded::in_folder(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/redis"))
}

/// The names of all connections that were recorded.
pub(crate) fn connections() -> Vec<String> {
    recorded().connections()
}

/// One direction of a recorded connection, in the pieces in which it was read.
pub(crate) fn pieces(connection: &str, from: Peer) -> Vec<Vec<u8>> {
    recorded().pieces(connection, from)
}

/// All messages of one direction of a recorded connection.
pub(crate) fn capture(connection: &str, from: Peer) -> Vec<Message> {
    recorded().frames::<Redis>(connection, from)
}
