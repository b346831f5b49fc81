//! Numbers and strings as packets have them, and the packets' own heads.

mod read;
mod scan;
mod write;

pub use read::{Reader, Short};
pub use scan::{Passed, START, Scanner};
pub use write::{put_lenenc_bytes, put_lenenc_int, put_nul_bytes, put_packet};

/// The length of a packet's head: the body's length and the sequence number.
pub const HEAD: usize = 4;

/// The longest body of a packet. One that long is continued by the next packet, which may be empty.
pub const MAX_BODY: usize = 0xff_ffff;

/// A packet's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The length of the body, in bytes.
    pub len: usize,
    /// The sequence number.
    pub seq: u8,
}

impl Head {
    /// The head at the beginning of `bytes`; `None` where it is not all there.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        match *bytes {
            [a, b, c, seq, ..] => {
                let len = u32::from_le_bytes([a, b, c, 0]);
                Some(Self { len: usize::try_from(len).unwrap_or(MAX_BODY), seq })
            }
            _ => None,
        }
    }

    /// The head's bytes. Of the length, what does not fit into three bytes is lost.
    pub fn bytes(self) -> [u8; HEAD] {
        let [a, b, c, ..] = self.len.to_le_bytes();
        [a, b, c, self.seq]
    }

    /// Whether the next packet continues this one.
    pub fn is_continued(self) -> bool {
        self.len == MAX_BODY
    }
}
