//! What the load generator has to know of a protocol.

mod bolt;

use std::fmt;

pub use bolt::Bolt;

/// A protocol, as far as an echo client and an echo server speak it.
pub trait Wire {
    /// The length of the message that `input` begins with, or `None` while that cannot be told.
    fn message_len(&self, input: &[u8]) -> Result<Option<usize>, Garbled>;

    /// Appends a request with this body. `id` is one of a few dense numbers that are not in use on the connection.
    fn put_request(&self, id: u32, body: &[u8], out: &mut Vec<u8>);

    /// Appends a successful answer to `request` with the same body.
    fn put_reply(&self, request: &[u8], out: &mut Vec<u8>) -> Result<(), Garbled>;

    /// Reads an answer; an error where it says that the request failed.
    fn read_reply<'a>(&self, reply: &'a [u8]) -> Result<Reply<'a>, Garbled>;
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The request's id; `None` where answers come in the order of the requests.
    pub id: Option<u32>,
    /// The body.
    pub body: &'a [u8],
}

/// Bytes that are not what was expected, and what they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbled(pub &'static str);

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not {}", self.0)
    }
}

impl std::error::Error for Garbled {}

/// The protocol of that name.
pub fn by_name(name: &str) -> Option<Box<dyn Wire>> {
    match name {
        "bolt" => Some(Box::new(Bolt)),
        _ => None,
    }
}
