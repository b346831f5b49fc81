//! Three small protocols that prove the trait, one of them the tutorial.

pub mod multiplexed;
pub mod server;

pub use multiplexed::Mx;
