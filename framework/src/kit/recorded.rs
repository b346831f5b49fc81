//! Connections that were recorded, and a decoder that is fed as they came.

#![allow(clippy::panic, clippy::expect_used, reason = "for tests, where a panic is a failure")]

use std::{fs, path::PathBuf};

use bytes::BytesMut;

use crate::{DecodeError, Limits, Peer, Protocol};

/// A folder of recorded connections, of three files each: `NAME.c2s.bin` is what the client sent, `NAME.s2c.bin` what it was
/// sent, and `NAME.idx` has a line `direction offset length seconds` for each piece as it came.
///
/// Everything here panics where the files are not so.
#[derive(Clone, Debug)]
pub struct Recorded(PathBuf);

impl Recorded {
    /// Those in this folder.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// Their names, in order.
    pub fn connections(&self) -> Vec<String> {
        let files = fs::read_dir(&self.0).unwrap_or_else(|e| panic!("{}: {e}", self.0.display()));
        let name =
            |file: fs::DirEntry| Some(file.file_name().to_str()?.strip_suffix(".idx")?.to_owned());
        let mut names: Vec<_> = files.filter_map(|file| name(file.expect("an entry"))).collect();
        names.sort();
        names
    }

    /// What one side of a connection sent, in the pieces in which it came.
    pub fn pieces(&self, connection: &str, from: Peer) -> Vec<Vec<u8>> {
        let direction = if from == Peer::Client { "c2s" } else { "s2c" };
        let read = |suffix: &str| {
            let path = self.0.join(format!("{connection}.{suffix}"));
            fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        let bytes = read(&format!("{direction}.bin"));
        let index = String::from_utf8(read("idx")).expect("the index is text");
        let mut pieces = Vec::new();
        for line in index.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            if fields[0] == direction {
                let number = |n: usize| fields[n].parse::<usize>().expect("a number");
                pieces.push(bytes[number(1)..number(1) + number(2)].to_vec());
            }
        }
        assert_eq!(pieces.concat(), bytes, "{connection}.{direction}: the index covers every byte");
        pieces
    }

    /// The frames that one side of a connection sent.
    pub fn frames<P: Protocol + Default>(&self, connection: &str, from: Peer) -> Vec<P::Frame> {
        let mut decoder = Decoder::<P>::new(from);
        let mut frames = Vec::new();
        for piece in self.pieces(connection, from) {
            let what = format!("{connection}, {from:?}, frame {}", frames.len());
            frames.extend(decoder.feed(&piece).unwrap_or_else(|e| panic!("{what}: {e}")));
        }
        assert_eq!(decoder.waiting(), 0, "{connection}, {from:?}: nothing is left over");
        frames
    }
}

/// A decoder of one direction of a connection, that is fed in pieces.
pub struct Decoder<P: Protocol> {
    /// What it takes.
    pub limits: Limits,
    protocol: P,
    from: Peer,
    state: P::State,
    input: BytesMut,
}

impl<P: Protocol + Default> Decoder<P> {
    /// Of what this side sends.
    pub fn new(from: Peer) -> Self {
        let (limits, protocol, state, input) = Default::default();
        Self { limits, protocol, from, state, input }
    }

    /// The frames that are complete with these bytes.
    ///
    /// # Errors
    /// As [`Protocol::decode`]. Frames before the error are lost.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<P::Frame>, DecodeError> {
        self.input.extend_from_slice(bytes);
        let mut frames = Vec::new();
        let (from, limits) = (self.from, &self.limits);
        while let Some(frame) =
            self.protocol.decode(from, &mut self.state, limits, &mut self.input)?
        {
            frames.push(frame);
        }
        Ok(frames)
    }

    /// How many bytes wait for more.
    pub fn waiting(&self) -> usize {
        self.input.len()
    }
}
