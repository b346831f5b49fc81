//! RESP, the Redis serialisation protocol, versions 2 and 3.
//!
//! [`Scan`] finds where a value ends while its bytes arrive, [`RequestScan`] does so for what clients send; both go on
//! where they stopped, so that no byte is looked at twice. [`Value`] is a value taken apart, [`items`] its parts as they
//! stand, [`mod@write`] puts values together and [`translate`] carries a reply from one version into the other.
//!
//! ```text
//! +text :integer -error                          a line                  RESP2 and 3
//! $len bytes   $-1 (no value)                    bulk string             RESP2 and 3
//! *n values   *-1 (no value)                     array                   RESP2 and 3
//! _   #t #f   ,double   (big number              a line                  RESP3
//! !len bytes   =len bytes                        bulk error, verbatim    RESP3
//! %n pairs   ~n values   >n values               map, set, push          RESP3
//! |n pairs, and the value that they belong to    attributes              RESP3
//! ```
//!
//! The streamed forms of RESP3 (`$?`, `*?`, `%?`, `~?`) are refused: no server sends them.
//!
//! Facts from the specification of the protocol, and from what `redis-server` 7.0 takes and refuses.

mod head;
mod inline;
mod request;
mod rest;
mod scan;
pub mod translate;
mod value;
pub mod write;

pub use request::{Request, RequestScan, complaint};
pub use rest::{LONG, Rest};
pub use scan::{Reply, Scan};
pub use translate::Shape;
pub use value::{Items, Value, items};

/// Where the value begins in `bytes`: behind its attributes.
pub(crate) fn value_at(bytes: &[u8]) -> usize {
    bytes.len().saturating_sub(value::without_attributes(bytes).len())
}

/// The bulk string that `bytes` begin with, and what follows it.
#[inline]
pub(crate) fn bulk_of(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, head) = head::number(bytes.strip_prefix(b"$")?)?.ok()?;
    let rest = bytes.get(head.saturating_add(1)..)?;
    let (data, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    Some((data, rest.get(2..)?))
}

/// The protocol's version, which a client chooses by `HELLO`; 2 until it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Version {
    /// RESP2
    #[default]
    Resp2,
    /// RESP3
    Resp3,
}

/// The longest bulk string: 512 MiB, the server's `proto-max-bulk-len` unless it is configured.
pub const MAX_BULK: usize = 512 << 20;

/// The longest inline request, its end of line left out: 64 KiB.
pub const MAX_INLINE: usize = 64 << 10;
