//! What the tests share: capture files, and a decoder that is fed in pieces.

use std::{fs, path::PathBuf};

use bytes::BytesMut;
use wiremesh::{DecodeError, Limits, Peer, Protocol, WriteBuf};
use wiremesh_bolt::{Bolt, BoltFrame, Progress};

/// A decoder of one direction of a connection.
#[derive(Default)]
pub(crate) struct Decoder {
    pub(crate) limits: Limits,
    state: Progress,
    input: BytesMut,
}

impl Decoder {
    /// The frames that are complete with these bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<BoltFrame>, DecodeError> {
        self.input.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while let Some(frame) =
            Bolt::default().decode(Peer::Client, &mut self.state, &self.limits, &mut self.input)?
        {
            frames.push(frame);
        }
        Ok(frames)
    }

    /// How many bytes wait for more.
    pub(crate) fn waiting(&self) -> usize {
        self.input.len()
    }
}

/// The one frame that the bytes are.
pub(crate) fn frame(bytes: &[u8]) -> BoltFrame {
    let mut decoder = Decoder::default();
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

pub(crate) fn capture_directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/bolt"))
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

/// One direction of a recorded connection, `c2s` or `s2c`, in the pieces in which it was read.
pub(crate) fn pieces(connection: &str, direction: &str) -> Vec<Vec<u8>> {
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

/// All frames of one direction of a recorded connection.
pub(crate) fn capture(connection: &str, direction: &str) -> Vec<BoltFrame> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in pieces(connection, direction) {
        let what = format!("{connection}.{direction}, frame {}", frames.len());
        frames.extend(decoder.feed(&piece).unwrap_or_else(|e| panic!("{what}: {e}")));
    }
    assert_eq!(decoder.waiting(), 0, "{connection}.{direction}: nothing is left over");
    frames
}
