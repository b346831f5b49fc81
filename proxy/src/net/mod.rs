//! Sockets: TCP and Unix behind one type, listening, connecting.

mod listen;
mod stream;

pub use listen::{Bound, bind};
pub use stream::Stream;
