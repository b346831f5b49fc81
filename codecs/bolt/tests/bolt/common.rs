//! What the tests share: recorded connections, and a decoder that is fed in pieces.

use wiremesh::{
    Peer, Protocol, WriteBuf,
    kit::{self, Recorded},
};
use wiremesh_bolt::{Bolt, BoltFrame};

/// A decoder. Both sides of a connection speak alike.
pub(crate) type Decoder = kit::Decoder<Bolt>;

pub(crate) fn decoder() -> Decoder {
    Decoder::new(Peer::Client)
}

/// The one frame that the bytes are.
pub(crate) fn frame(bytes: &[u8]) -> BoltFrame {
    let mut decoder = decoder();
    let mut frames = decoder.feed(bytes).unwrap();
    assert_eq!((frames.len(), decoder.waiting()), (1, 0), "one whole frame");
    frames.remove(0)
}

/// The frame's bytes on the wire.
pub(crate) fn encoded(frame: &BoltFrame) -> Vec<u8> {
    let mut out = WriteBuf::default();
    Bolt::default().encode(frame.clone(), &mut out);
    out.to_bytes().to_vec()
}

/// The frame after a journey over the wire, which proves lengths and CRC.
pub(crate) fn sent(frame: &BoltFrame) -> BoltFrame {
    self::frame(&encoded(frame))
}

/// Bytes from hex, white space ignored, text in double quotes taken as it is.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, part) in text.split('"').enumerate() {
        if i % 2 == 1 {
            out.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        out.extend(digits.chunks(2).map(byte));
    }
    out
}

fn recorded() -> Recorded {
    Recorded::in_folder(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/bolt"))
}

/// The names of all connections that were recorded.
pub(crate) fn connections() -> Vec<String> {
    recorded().connections()
}

/// One direction of a recorded connection, in the pieces in which it was read.
pub(crate) fn pieces(connection: &str, from: Peer) -> Vec<Vec<u8>> {
    recorded().pieces(connection, from)
}

/// All frames of one direction of a recorded connection.
pub(crate) fn capture(connection: &str, from: Peer) -> Vec<BoltFrame> {
    recorded().frames::<Bolt>(connection, from)
}
