//! One trait, implemented once per wire protocol, that buys the protocol what a service mesh offers.
//!
//! A protocol's author writes [`Protocol`] and [`Frame`], names one of three [`correlation`]s, and gets correlation of
//! replies, keepalive, limits, local error replies, a conformance suite, a fuzz target and a benchmark, and a place in
//! the `wiremesh` proxy.
//!
//! Everything here is sans-IO: no socket, clock, thread or random number. Bytes and time come in as arguments.

#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

#[cfg(feature = "tokio-codec")]
pub mod codec;
pub mod correlation;
mod detect;
mod digest;
pub mod engine;
mod error;
mod frame;
pub mod framing;
mod header;
#[cfg(feature = "kit")]
pub mod kit;
mod limits;
mod protocol;
mod status;
mod summary;
pub mod topology;
mod user;
mod write_buf;

pub use detect::Detection;
pub use digest::{Bearing, Digested, Wanted};
pub use error::{Blame, DecodeError, EditError, OptionError, Peer, Retry, Scope, Side};
pub use frame::{Frame, Kind, Piece};
pub use header::{HeaderSupport, HeaderView, TraceContext};
pub use limits::Limits;
pub use protocol::{Lane, Protocol};
pub use status::{Failure, Reason, Status};
pub use summary::{Subject, Summary, write_escaped};
pub use user::{Credentials, Password, User, UserSecret};
pub use write_buf::WriteBuf;
