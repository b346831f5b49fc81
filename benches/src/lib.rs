//! Load for the side-by-side benchmark: a client and a server that cost little, and check every answer.
//!
//! `cargo xtask bench` runs them as processes of their own around each proxy. A protocol joins by implementing [`Wire`]
//! and being listed in [`wire::by_name`].

pub mod client;
pub mod process;
pub mod server;
mod socket;
pub mod wire;

pub use wire::Wire;
