//! What requests are to those who count and judge them by what they have executed.

/// What a [digest](crate::Protocol::digest) tells of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digested {
    /// There is none: the request has nothing executed that could have one.
    None,
    /// Of all that the request has executed.
    Whole,
    /// Of the beginning only: anything may follow.
    Beginning,
    /// There is none, though the request has something executed: what, is not known.
    Unknown,
}

impl Digested {
    /// Whether there is one.
    pub fn is_some(self) -> bool {
        matches!(self, Self::Whole | Self::Beginning)
    }
}

/// What a request does, to those who judge it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bearing {
    /// It has something executed.
    #[default]
    Execution,
    /// What it says is to be executed later.
    Preparation,
    /// It has nothing executed, and changes nothing but its own session: a login, a ping, the closing of something.
    Upkeep,
    /// Whatever is asked after it cannot be seen.
    Blindness,
}

/// What the proxy wants to know of the requests of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Their [digests](crate::Protocol::digest).
    pub digests: bool,
    /// Each of them: none may pass that is not seen.
    pub all: bool,
}
