//! The Redis protocol, RESP2 and RESP3, and what a proxy must know of its commands.
//!
//! [`command`] is the table of commands: where their keys are, what they do, how they are spread over shards.
//! [`slot`](mod@slot) says to which part of a cluster a key belongs.

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

pub mod command;
pub mod slot;
