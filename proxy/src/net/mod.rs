//! Sockets: TCP, Unix and TLS over them behind one type, listening, connecting.

mod dial;
mod listen;
mod stream;
pub mod tls;

pub use dial::{ConnectError, Dial};
pub use listen::{Bound, bind};
pub use stream::Stream;
