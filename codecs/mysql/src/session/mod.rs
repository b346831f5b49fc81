//! What servers tell of a session's state with their OK packets.

mod change;
mod gtid;
mod track;

pub use change::{Change, Changes, Transaction};
pub use gtid::Gtids;
pub use track::{Bounds, TrackError, Tracked};
