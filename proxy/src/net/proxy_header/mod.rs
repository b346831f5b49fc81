//! The header of the [PROXY protocol](https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt), versions 1 and 2:
//! what somebody who passes a connection on says of it, before all else.
//!
//! Own code, since of the crates that read it none bounds it and verifies its checksum, and that is a good part of it.

mod read;
mod write;

use std::net::SocketAddr;

pub use read::{HeaderError, LONGEST, Reading, read};
pub use write::Introduction;

/// What a header of version 1 begins with.
const TEXT: &[u8] = b"PROXY ";

/// What a header of version 2 begins with: what no protocol begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The bytes of version 2 before what is said of the addresses.
const FIXED: usize = 16;

/// Version 2, and that the connection is passed on for somebody else.
const PROXIED: u8 = 0x21;

/// Version 2, and that the sender speaks for itself: a health check, say.
const LOCAL: u8 = 0x20;

/// The kind of the field that has the header's checksum.
const CHECKSUM: u8 = 3;

/// Where a connection comes from, and where it was made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client's address.
    pub source: SocketAddr,
    /// The address that the client has connected to.
    pub destination: SocketAddr,
}

/// CRC-32C, with Castagnoli's polynomial.
fn crc32c(bytes: impl IntoIterator<Item = u8>) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    let byte = |crc: u32, byte: u8| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc));
    !bytes.into_iter().fold(!0, byte)
}

#[cfg(test)]
mod tests;
