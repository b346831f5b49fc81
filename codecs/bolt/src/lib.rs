//! The SOFA Bolt protocol, v1 and v2, as SOFABolt and SOFARPC speak it.
//!
//! [`Bolt`] is the [`Protocol`](wiremesh::Protocol); [`BoltFrame`] a message: its bytes as they came, a small parsed
//! head, and views that look things up when they are asked for. [`Builder`] makes messages from nothing.
//!
//! ```text
//! v1  proto=1 ......... type cmdcode(2) ver2 id(4) codec ...... timeout(4)|status(2) classLen(2) headerLen(2) contentLen(4)
//! v2  proto=2 ver1 .... type cmdcode(2) ver2 id(4) codec switch timeout(4)|status(2) classLen(2) headerLen(2) contentLen(4)
//!     then class, header and content; then a CRC-32 of all of it, when ver1 = 2 and bit 0 of the switch is set
//! ```
//!
//! All integers are big-endian. A request (type 1, or 2 for one-way) has the timeout, a response (type 0) the status.
//! Both versions may be mixed on one connection: each frame is read by its own first byte.

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

mod build;
mod decode;
mod frame;
mod head;
mod header;
mod hessian;
mod layout;
mod protocol;
mod reply;
mod status;
mod trace;
mod wire;

pub use build::Builder;
pub use decode::Progress;
pub use frame::BoltFrame;
pub use head::RequestHead;
pub use protocol::Bolt;
pub use status::ResponseStatus;
pub use wire::{Version, codec};
