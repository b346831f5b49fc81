//! Clients of many over upstream connections of few: the parts of the pooled mode.

pub mod state;
pub mod statements;
pub mod transcode;
