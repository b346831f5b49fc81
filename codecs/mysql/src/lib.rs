//! The MySQL client/server protocol, as MySQL and MariaDB speak it.
//!
//! All integers are little-endian. A *packet* is a length (3 bytes), a sequence number (1 byte) and as many bytes as the
//! length says; one of 0xffffff bytes is continued by the next. The server speaks first.
//!
//! Sources: the protocol chapters of MySQL's source documentation and of MariaDB's knowledge base.

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

mod attributes;
pub mod auth;
mod capability;
pub mod classify;
pub mod collation;
mod command;
pub mod compress;
pub mod digest;
pub mod error;
mod frame;
pub mod handshake;
mod identity;
mod machine;
pub mod pooled;
mod protocol;
pub mod reply;
pub mod session;
mod statement;
mod status;
mod topology;
mod transparent;
pub mod wire;

pub use attributes::{QueryAttributes, Value};
pub use capability::Capabilities;
pub use command::Command;
pub use frame::{MysqlFrame, What};
pub use identity::Identity;
pub use machine::Machine;
pub use protocol::{Hail, Mode, Mysql, RequestHead};
pub use statement::text_offset;
pub use status::StatusFlags;
pub use transparent::Transparent;
