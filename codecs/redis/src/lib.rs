//! The Redis protocol, RESP2 and RESP3, and what a proxy must know of its commands.
//!
//! [`Redis`] is the [`Protocol`](wiremesh::Protocol), [`Message`] a request or a reply: its bytes as they came, and views
//! that look things up when they are asked for. [`resp`] is the grammar of both. [`command`] is the table of commands: where
//! their keys are, what they do, how they are spread over shards. [`slot`](mod@slot) says to which part of a cluster a key
//! belongs. [`topology`] learns which server holds what.
//!
//! A bulk string may be 512 MiB long. Frames longer than [`Limits::max_frame`](wiremesh::Limits), 32 MiB unless it is
//! configured, are refused: who stores larger values sets it to 513 MiB.

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

pub mod acl;
mod client;
pub mod command;
pub(crate) mod face;
mod lane;
mod learnt;
mod message;
mod protocol;
pub mod resp;
mod roster;
mod scripts;
mod show;
pub mod slot;
pub(crate) mod spread;
mod status;
pub mod topology;

pub use client::Client;
pub use lane::{Login, Setting};
pub use message::{Args, Indexed, Message};
pub use protocol::{Progress, Redis};
