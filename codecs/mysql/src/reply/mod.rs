//! Where replies end.

mod packet;
mod progress;
mod shape;
mod sum;
mod tracker;

pub use packet::{ErrPacket, OkPacket};
pub use progress::Outcome;
pub(crate) use progress::{Part, Phase, Progress, Then};
pub use shape::Shape;
pub use sum::ReplySum;
pub use tracker::Tracker;
