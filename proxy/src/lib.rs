//! The wiremesh proxy, as a library.

pub mod admin;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod demo;
mod exchange;
pub mod net;
pub mod policy;
pub mod registry;
pub mod server;
mod session;
pub mod snapshot;
mod stations;
mod talk;
pub mod telemetry;
mod worker;

/// The code in the tutorial, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/tutorial.md")]
pub mod tutorial {}

/// The code in the page on embedding, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
pub mod embedding {}
