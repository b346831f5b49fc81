//! Clients that have what other clients do ended.

/// What a client wants to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// Whose: the [number](super::Arrival::number) of its connection.
    pub number: u64,
    /// How much.
    pub extent: Extent,
    /// Nothing is to be left half done.
    pub gently: bool,
}

/// How much of what a client does is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The request in progress, if there is one.
    Request,
    /// The client's connection, with all that it has begun.
    Connection,
}

/// What came of a [`Cancel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It was ended, or there was nothing to end.
    Done,
    /// It is the client itself that was meant. Where its connection was, that is closed with the answer.
    Own,
    /// No client of the listener's has this number.
    Unknown,
    /// The client that has it has another [owner](super::SessionMachine::owner).
    Denied,
}
