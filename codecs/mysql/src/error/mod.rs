//! Errors: what those of servers mean, and those that the proxy makes itself.

mod class;
mod refusal;

pub use class::{class, is_partial, status};
pub use refusal::{Refusal, done, done_in, refusal};
