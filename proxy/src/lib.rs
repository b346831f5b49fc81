//! The wiremesh proxy, as a library.

pub mod cluster;
pub mod config;
pub mod policy;
pub mod telemetry;
