//! What is said before the first command: the server's greeting, what a client answers, and how it proves who it is.
//!
//! [`ClientHandshake`] logs in at a server, [`ServerHandshake`] has a client log in. They are told the packets' numbers and
//! bodies, and say what to send; sockets, TLS and randomness are their callers'.

mod attributes;
mod build;
mod change_user;
mod client;
mod error;
mod greeting;
mod response;
mod server;

pub use attributes::Attributes;
pub use build::MAX_ATTRIBUTES;
pub use change_user::ChangeUser;
pub use client::{
    ClientConfig, ClientHandshake, ClientStep, Established, TlsWish, reset_connection,
};
pub use error::{Denial, HandshakeError};
pub use greeting::Greeting;
pub use response::{Login, is_ssl_request};
pub use server::{ServerConfig, ServerHandshake, ServerStep, TlsOffer};

/// The longest packet of a handshake, or `COM_CHANGE_USER`, that is read, in bytes with its head. Servers take some 64 KiB of attributes, and little else.
pub const MAX_HANDSHAKE: usize = 128 * 1024;

#[cfg(test)]
mod tests;
