/// What the first bytes of a connection say about its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    /// These bytes begin a frame of this protocol.
    Match,
    /// No continuation of these bytes is this protocol.
    Mismatch,
    /// Undecided until at least this many bytes, counted from the start, are there.
    NeedMore(usize),
}
