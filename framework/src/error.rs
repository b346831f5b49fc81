//! Errors, and whom they are to be laid on.

use std::borrow::Cow;

use thiserror::Error;

/// The sender of the bytes that are being decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The side that opened the connection.
    Client,
    /// The side that accepted it.
    Upstream,
}

/// Where the cause of an error lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client sent or did something wrong, or left.
    Client,
    /// The upstream did.
    Upstream,
    /// The proxy decided it (a limit, a route, a drain).
    Proxy,
}

/// How much an error takes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This request only.
    Request,
    /// The connection, and every request on it.
    Connection,
    /// The endpoint: other connections to it are likely to meet the same.
    Endpoint,
}

/// Whether the request may be tried again elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Another try would meet the same, or must not be made.
    Never,
    /// Safe: the request was certainly not executed.
    IfUnsent,
    /// The request may have been executed: only when that does no harm.
    IfIdempotent,
}

/// Side, scope and retry of an error, together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Blame {
    /// Where the cause lies.
    pub side: Side,
    /// How much it takes with it.
    pub scope: Scope,
    /// Whether another try may be made.
    pub retry: Retry,
}

/// Why bytes are not a frame. Always fatal to the connection: where the next frame would begin is not known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A size is over one of the [`Limits`](crate::Limits).
    #[error("{limit} is limited to {max}, the peer sent {seen}")]
    Limit {
        /// The limit's name.
        limit: &'static str,
        /// Its value.
        max: u64,
        /// What was declared or seen.
        seen: u64,
    },
    /// The bytes break the protocol's grammar.
    #[error("malformed {what}")]
    Malformed {
        /// The part that is broken, in the specification's terms.
        what: &'static str,
    },
    /// A code that this implementation does not know.
    #[error("unknown {what} {value:#x}")]
    Unknown {
        /// What the code is for, in the specification's terms.
        what: &'static str,
        /// The code.
        value: u64,
    },
    /// The frame's checksum is wrong.
    #[error("checksum is {declared:#010x} on the wire, {computed:#010x} over the bytes")]
    Checksum {
        /// As the frame says.
        declared: u32,
        /// As computed over its bytes.
        computed: u32,
    },
}

impl DecodeError {
    /// A [`DecodeError::Limit`], from sizes.
    pub fn limit(limit: &'static str, max: usize, seen: usize) -> Self {
        Self::Limit { limit, max: max as u64, seen: seen as u64 }
    }

    /// Whom to lay the error on, given who sent the bytes.
    pub fn blame(&self, from: Peer) -> Blame {
        match from {
            Peer::Client => {
                Blame { side: Side::Client, scope: Scope::Connection, retry: Retry::Never }
            }
            // The upstream has executed something; what it said of it cannot be read.
            Peer::Upstream => {
                Blame { side: Side::Upstream, scope: Scope::Connection, retry: Retry::IfIdempotent }
            }
        }
    }
}

/// Why a frame could not be edited. The frame is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EditError {
    /// The protocol, or this kind of frame, has no place for it.
    #[error("{0} cannot be set in this protocol")]
    Unsupported(&'static str),
    /// The result would not fit the wire format.
    #[error("{what} would be {size} bytes, the wire format allows {max}")]
    TooLong {
        /// The part that would be too long.
        what: &'static str,
        /// How long it would be, in bytes.
        size: usize,
        /// How long it may be.
        max: usize,
    },
}

/// Why a protocol's option from the configuration was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OptionError {
    /// The protocol has no such option.
    #[error("no such option; {0}")]
    Unknown(&'static str),
    /// The value does not fit the option.
    #[error("{0}")]
    Value(Cow<'static, str>),
}
