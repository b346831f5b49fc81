use std::collections::BTreeMap;

use crate::{Peer, Protocol, Status, WriteBuf};

/// What one peer says from the beginning of a connection on: one frame, or several where later ones lean on earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its name in reports.
    pub name: String,
    /// Who says it.
    pub from: Peer,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What the kit works on: bytes that are the protocol's, best captured from real peers, and bytes that are not.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    pub(super) own: Vec<Sample>,
    pub(super) foreign: Vec<(String, Vec<u8>)>,
    pub(super) reads_as: BTreeMap<Status, Status>,
}

impl Samples {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what a client says.
    pub fn client(self, name: impl Into<String>, bytes: impl AsRef<[u8]>) -> Self {
        self.with(name.into(), Peer::Client, bytes.as_ref().to_vec())
    }

    /// Adds what an upstream says.
    pub fn upstream(self, name: impl Into<String>, bytes: impl AsRef<[u8]>) -> Self {
        self.with(name.into(), Peer::Upstream, bytes.as_ref().to_vec())
    }

    /// Adds a frame that the protocol itself encodes.
    pub fn frame<P: Protocol>(
        self,
        name: impl Into<String>,
        from: Peer,
        protocol: &P,
        frame: P::Frame,
    ) -> Self {
        let mut out = WriteBuf::default();
        protocol.encode(frame, &mut out);
        self.with(name.into(), from, out.to_bytes().to_vec())
    }

    /// Adds the beginning of another protocol's connection.
    pub fn foreign(mut self, name: impl Into<String>, bytes: impl AsRef<[u8]>) -> Self {
        self.foreign.push((name.into(), bytes.as_ref().to_vec()));
        self
    }

    /// Says that the protocol has no way to express `status`, and expresses it as `read`.
    pub fn reads_as(mut self, status: Status, read: Status) -> Self {
        self.reads_as.insert(status, read);
        self
    }

    /// All of the protocol's own.
    pub fn own(&self) -> &[Sample] {
        &self.own
    }

    fn with(mut self, name: String, from: Peer, bytes: Vec<u8>) -> Self {
        self.own.push(Sample { name, from, bytes });
        self
    }
}
