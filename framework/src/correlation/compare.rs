use std::fmt;

use crate::Protocol;

/// Sums up an answer as it passes, without keeping it, so that it can be compared with that of another server to the same
/// request.
///
/// What may differ between two servers of the same data does not count: the order of what has none, notices, numbers of
/// connections.
pub trait Digester<P: Protocol> {
    /// Takes the answer's next frame, as the client is to get it.
    fn add(&mut self, frame: &P::Frame);

    /// What the answer came to, all of which was taken. `None`: it could not be read.
    fn finish(&mut self) -> Option<AnswerDigest>;
}

/// What an answer came to. Two that are equal are taken to be the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AnswerDigest {
    /// A hash of how the answer is made: columns and their types, or which error it is.
    pub form: u64,
    /// How many things (rows) there are in it.
    pub items: u64,
    /// A hash of them.
    pub content: u64,
}

impl fmt::Display for AnswerDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}/{}/{:016x}", self.form, self.items, self.content)
    }
}
