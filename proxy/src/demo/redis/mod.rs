//! A Redis server in memory, for the demo and for tests: the commonest commands in both versions of RESP, with
//! transactions, blocking commands and subscriptions. It answers in the words of the real one; it saves nothing, and holds
//! no more than [`Habits::max_memory`] bytes.
//!
//! Of a cluster it can be one node. What else a test may want of it, [`Habits`] tell.

mod cluster;
mod connection;
mod habits;
mod hub;
mod keys;
mod lists;
mod out;
mod server;
mod session;
mod store;
mod strings;
mod tables;
mod transaction;

pub use cluster::{Cluster, Said};
pub use habits::Habits;
pub use server::serve;
