//! Three small protocols that prove the trait, one of them the tutorial.

pub mod inorder;
pub mod multiplexed;
pub mod samples;
pub mod server;
pub mod session;

pub use inorder::Kv;
pub use multiplexed::Mx;
pub use session::Desk;
