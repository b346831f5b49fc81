//! The wiremesh proxy, as a library.

pub mod config;
