//! What servers tell of a session's state with their OK packets.

mod change;
mod track;

pub use change::{Change, Changes, Transaction};
pub use track::{Bounds, TrackError, Tracked};
