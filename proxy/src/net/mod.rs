//! Sockets: TCP, Unix and TLS over them behind one type, listening, connecting.

mod dial;
mod layered;
mod listen;
mod proxy_header;
mod stream;
pub mod tls;

pub use dial::{ConnectError, Dial};
pub use layered::Layered;
pub use listen::{Bound, bind};
pub use proxy_header::{
    Addresses, HeaderError, Introduction, LONGEST, Reading, read as read_proxy_header,
};
pub use stream::Stream;
