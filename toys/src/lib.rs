//! Small protocols that prove the trait, one of them the tutorial.

pub mod end_to_end;
pub mod inorder;
pub mod multiplexed;
pub mod samples;
pub mod server;
pub mod session;

pub use end_to_end::Call;
pub use inorder::Kv;
pub use multiplexed::Mx;
pub use session::Desk;
