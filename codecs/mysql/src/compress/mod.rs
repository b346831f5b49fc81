//! The layer that compresses, between the packets and TLS: in force from the OK of the login on.
//!
//! A *frame* is the length of what it holds (3 bytes), a sequence number of this layer (1 byte), the length of that when
//! unpacked (3 bytes), and as many bytes as the first length says: zlib or zstd data, complete in itself. An unpacked
//! length of zero means that the bytes are stored as they are, which both sides do with less than 50. Frames have nothing
//! to do with packets: one may hold parts of several.
//!
//! The layer's sequence numbers begin at zero with each command, as the packets' do, and a reply's go on from the
//! request's.
//!
//! Source: the compression chapter of MySQL's source documentation.

mod layer;
mod pack;
mod unpack;

use thiserror::Error;

pub use self::layer::Layer;
pub use self::pack::Compressor;
pub use self::unpack::Decompressor;
use crate::Capabilities;

/// The length of a frame's head.
pub const FRAME_HEAD: usize = 7;

/// The most that a frame holds, packed or unpacked.
pub const MAX_FRAME: usize = 0xff_ffff;

/// Less than this is stored.
pub const MIN_PACKED: usize = 50;

/// How frames are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// As in RFC 1950.
    Zlib,
    /// As in RFC 8878.
    Zstd,
}

impl Algorithm {
    /// What two sides use that agreed on these capabilities: zlib, where it is both.
    pub fn of(agreed: Capabilities) -> Option<Self> {
        match agreed {
            _ if agreed.has(Capabilities::COMPRESS) => Some(Self::Zlib),
            _ if agreed.has(Capabilities::ZSTD) => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Why frames cannot be unpacked. What came before was right; the connection is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CompressError {
    /// A frame's data is not what the algorithm makes.
    #[error("a compressed frame cannot be unpacked")]
    Corrupt,
    /// A frame's data unpacks to more or less than the frame says.
    #[error("a compressed frame says it is of {declared} bytes, and is not")]
    Length {
        /// As the frame says.
        declared: usize,
    },
}

#[cfg(test)]
mod tests {
    use bytes::{Buf, BytesMut};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::put_packet;

    const BOTH: [Algorithm; 2] = [Algorithm::Zlib, Algorithm::Zstd];

    #[test]
    fn zlib_wins() {
        let both = Capabilities::COMPRESS | Capabilities::ZSTD;
        assert_eq!(Algorithm::of(both), Some(Algorithm::Zlib));
        assert_eq!(Algorithm::of(Capabilities::ZSTD), Some(Algorithm::Zstd));
        assert_eq!(Algorithm::of(Capabilities::SSL), None);
    }

    fn packed(algorithm: Algorithm, plain: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        Compressor::new(algorithm, 3).write(plain, &mut out);
        out
    }

    /// Unpacks `input` as it comes in pieces of `chunk` bytes, a little at a time.
    fn unpacked(
        algorithm: Algorithm,
        input: &[u8],
        chunk: usize,
        room: usize,
    ) -> Result<Vec<u8>, CompressError> {
        let mut unpack = Decompressor::new(algorithm);
        let (mut input, mut out, mut all) = (BytesMut::from(input), BytesMut::new(), Vec::new());
        let mut there = BytesMut::new();
        loop {
            let len = chunk.min(input.len());
            there.extend_from_slice(&input.split_to(len));
            while unpack.read(&mut there, &mut out, room)? {
                assert!(out.len() <= room);
                all.extend_from_slice(&out);
                out.clear();
            }
            if input.is_empty() {
                assert!(there.is_empty() && unpack.is_between_frames());
                return Ok(all);
            }
        }
    }

    #[test]
    fn little_is_stored() {
        for algorithm in BOTH {
            let out = packed(algorithm, &[b'x'; 49]);
            assert_eq!(out[..7], [49, 0, 0, 0, 0, 0, 0]);
            assert_eq!(out.len(), 7 + 49);
            let out = packed(algorithm, &[b'x'; 50]);
            assert_eq!((&out[3..7], out.len() < 7 + 50), (&[0, 50, 0, 0][..], true));
        }
    }

    #[test]
    fn what_does_not_shrink_is_stored() {
        let noise = noise(1000);
        for algorithm in BOTH {
            let out = packed(algorithm, &noise);
            assert_eq!(out[..7], [0xe8, 3, 0, 0, 0, 0, 0]);
            assert_eq!(out[7..], noise);
        }
    }

    #[test]
    fn long_runs_are_several_frames() {
        let mut plain = BytesMut::new();
        put_packet(&mut plain, 0, &vec![b'x'; MAX_FRAME + 10]);
        for algorithm in BOTH {
            let out = packed(algorithm, &plain);
            assert_eq!(out[3..7], [0, 0, 0, 0x10], "1 MiB at once");
            assert_eq!(unpacked(algorithm, &out, 4096, 8192).expect("it is whole"), plain);
        }
    }

    #[test]
    fn numbers_go_on_until_they_are_set() {
        let mut pack = Compressor::new(Algorithm::Zlib, 6);
        let mut out = BytesMut::new();
        pack.set_next(254);
        for seq in [254, 255, 0] {
            pack.write(b"x", &mut out);
            assert_eq!(out[3], seq);
            out.clear();
        }
        let mut unpack = Decompressor::new(Algorithm::Zlib);
        pack.set_next(7);
        pack.write(b"x", &mut out);
        let mut plain = BytesMut::new();
        assert_eq!(unpack.read(&mut out, &mut plain, 10), Ok(true));
        assert_eq!(unpack.next(), 8, "of a reply to this");
    }

    #[test]
    fn a_frame_that_lies_is_refused() {
        for algorithm in BOTH {
            let out = packed(algorithm, &[b'x'; 1000]);
            // Fewer than there are, more than there are, none of the algorithm's.
            for (at, with) in [(4, 0xe7), (4, 0xe9), (7, 0xff)] {
                let mut out = out.clone();
                out[at] = with;
                let error = unpacked(algorithm, &out, 10_000, 10_000).expect_err("it lies");
                let declared = usize::from(with) + 0x300;
                let told = if at == 4 {
                    CompressError::Length { declared }
                } else {
                    CompressError::Corrupt
                };
                assert_eq!(error, told, "{algorithm:?}");
            }
            // Bytes behind the end of the data.
            let mut out = out.clone();
            out[0] += 1;
            out.extend_from_slice(b"z");
            assert!(unpacked(algorithm, &out, 10_000, 10_000).is_err(), "{algorithm:?}");
        }
    }

    #[test]
    fn a_bomb_costs_what_it_says() {
        // 1 MiB of one byte, in a frame that says that it is 100 bytes.
        for algorithm in BOTH {
            let mut out = packed(algorithm, &vec![b'x'; 1 << 20]);
            out[4..7].copy_from_slice(&[100, 0, 0]);
            let mut plain = BytesMut::new();
            let mut unpack = Decompressor::new(algorithm);
            let error = loop {
                match unpack.read(&mut out, &mut plain, 1 << 20) {
                    Ok(more) => assert!(more, "it must be refused"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error, CompressError::Length { declared: 100 });
            assert!(plain.len() <= 100);
        }
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        for algorithm in BOTH {
            assert!(packed(algorithm, b"").is_empty());
            // A frame may hold nothing.
            assert_eq!(unpacked(algorithm, &[0; 14], 3, 1), Ok(Vec::new()));
        }
    }

    proptest! {
        #[test]
        fn any_packets_in_any_chunks(
            zstd: bool,
            bodies in vec((0_usize..5000, any::<bool>()), 1..8),
            per_write in 1_usize..9000,
            chunk in 1_usize..700,
            room in 1_usize..5000,
        ) {
            let algorithm = if zstd { Algorithm::Zstd } else { Algorithm::Zlib };
            let mut plain = BytesMut::new();
            for (len, noisy) in bodies {
                let body = if noisy { noise(len) } else { vec![b'x'; len] };
                put_packet(&mut plain, 0, &body);
            }
            let mut pack = Compressor::new(algorithm, 1);
            let (mut out, mut rest) = (BytesMut::new(), &plain[..]);
            while rest.has_remaining() {
                let (part, more) = rest.split_at(per_write.min(rest.len()));
                pack.write(part, &mut out);
                rest = more;
            }
            prop_assert_eq!(unpacked(algorithm, &out, chunk, room), Ok(plain.to_vec()));
        }

        #[test]
        fn any_bytes_are_survived(zstd: bool, bytes in vec(any::<u8>(), 0..300)) {
            let algorithm = if zstd { Algorithm::Zstd } else { Algorithm::Zlib };
            let mut unpack = Decompressor::new(algorithm);
            let (mut input, mut out) = (BytesMut::from(&bytes[..]), BytesMut::new());
            while let Ok(true) = unpack.read(&mut input, &mut out, 64) {
                out.clear();
            }
        }
    }

    /// Bytes that do not shrink, the same each time.
    fn noise(len: usize) -> Vec<u8> {
        let step = |state: &mut u64| {
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            state.to_le_bytes()[3]
        };
        let mut state = 0x9e37_79b9_7f4a_7c15;
        (0..len).map(|_| step(&mut state)).collect()
    }
}
