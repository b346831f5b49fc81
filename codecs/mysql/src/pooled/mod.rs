//! Clients of many over upstream connections of few: the parts of the pooled mode.

mod accounts;
mod entrance;
mod lane;
mod login;
mod machine;
mod place;
pub mod state;
pub mod statements;
pub mod transcode;

pub use accounts::{Account, Accounts, Upstream};
pub use entrance::{Admitted, Entrance, OFFERED};
pub use lane::Lane;
pub(crate) use login::query;
pub use login::{LoggedIn, Tracking, UpstreamLogin};
pub use machine::Pooled;
pub(crate) use machine::packet;
pub use place::Place;
