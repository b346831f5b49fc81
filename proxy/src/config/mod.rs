//! The configuration: its model, how it is loaded and checked, and how changes of it are noticed.

mod check;
mod load;
mod model;
mod protocol;
mod report;
mod secret;
mod shape;
mod source;
mod tree;
mod users;
mod value;
mod watch;

pub use model::*;
pub use protocol::{Copies, DigestOf, EndToEnd, OptionCheck, ProtocolInfo, TopologyCheck};
pub use report::{Mistake, Report};
pub use secret::Secret;
pub use users::check_users;
pub use value::{Address, ByteSize, Cidr, Duration, LogPath, Matcher, Percent, Status};
pub use watch::Watch;
