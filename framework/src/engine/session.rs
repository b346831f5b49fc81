/// What came of asking for an upstream connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquire {
    /// This connection is the client's until it is released.
    Ready(usize),
    /// The client waits; the caller opens one more connection.
    Connect,
    /// The client waits for a connection to be released.
    Wait,
    /// Too many wait already.
    Full,
}

/// Lends upstream connections to clients, one client a connection, none but clean ones.
#[derive(Debug)]
pub struct SessionPool;
