//! The configuration: its model, how it is loaded and checked, and how changes of it are noticed.

mod model;
mod value;

pub use model::*;
pub use value::{Address, ByteSize, Cidr, Duration, LogPath, Matcher, Percent, Status};
