//! What is said before the first command: the server's greeting, and what a client answers.

mod attributes;
mod change_user;
mod greeting;
mod response;

pub use attributes::Attributes;
pub use change_user::ChangeUser;
pub use greeting::Greeting;
pub use response::{Login, is_ssl_request};

/// The longest packet of a handshake that is read. Servers take some 64 KiB of attributes, and little else.
pub const MAX_HANDSHAKE: usize = 128 * 1024;
