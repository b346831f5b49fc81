use wiremesh::DecodeError;

use super::{
    Outcome, Shape,
    progress::{Phase, Progress},
};
use crate::{Capabilities, wire::Scanner};

/// Says where a reply ends, in time linear in its packets, and without looking into rows.
///
/// It is given the upstream's bytes in any pieces, and keeps none of them but the beginning of a packet.
#[derive(Clone, Debug)]
pub struct Tracker {
    scanner: Scanner,
    progress: Progress,
    begun: bool,
}

impl Default for Tracker {
    fn default() -> Self {
        Self::new(Capabilities(0))
    }
}

impl Tracker {
    /// For a connection on which these capabilities were agreed on.
    pub fn new(capabilities: Capabilities) -> Self {
        let progress = Progress::new(capabilities);
        Self { scanner: Scanner::lenient(capabilities.is_compressed()), progress, begun: false }
    }

    /// A reply of this shape is to come, whose first packet has this sequence number: the one after the request's last,
    /// `None` while that is not known.
    pub fn begin(&mut self, shape: Shape, seq: Option<u8>) {
        self.progress.begin(shape);
        self.scanner.begin(seq);
        self.begun = false;
    }

    /// No reply will come after all.
    pub fn abandon(&mut self) {
        self.progress.phase = Phase::Done;
    }

    /// The client has sent something in the middle of the reply; the upstream's next packet has this sequence number.
    pub fn expect(&mut self, seq: Option<u8>) {
        if self.scanner.is_between() {
            self.scanner.expect(seq);
        }
    }

    /// The sequence number of the next packet, where it is known.
    pub fn next_seq(&self) -> Option<u8> {
        self.scanner.next_seq()
    }

    /// Whether the reply is complete, or none is due.
    pub fn is_done(&self) -> bool {
        self.progress.phase == Phase::Done
    }

    /// Whether any of the reply has come.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the upstream is not in the middle of a packet.
    pub fn is_between_packets(&self) -> bool {
        self.progress.phase != Phase::Relay && self.scanner.is_between()
    }

    /// Whether an exchange is going on, in which the client may have its turn.
    pub fn is_login(&self) -> bool {
        self.progress.phase == Phase::Login
    }

    /// Whether the client is to send a file.
    pub fn wants_file(&self) -> bool {
        self.progress.phase == Phase::Upload
    }

    /// What the reply has said so far.
    pub fn outcome(&self) -> &Outcome {
        &self.progress.outcome
    }

    /// Takes what has come from the upstream. Answers how much of it is the reply's: all, unless the reply ends in it.
    ///
    /// # Errors
    /// It is not a reply of the shape that is due, or its packets are not in sequence.
    pub fn feed(&mut self, input: &[u8]) -> Result<usize, DecodeError> {
        if self.progress.phase == Phase::Relay {
            self.begun |= !input.is_empty();
            return Ok(input.len());
        }
        let mut at = 0;
        while self.progress.phase != Phase::Done {
            let Some(packet) = self.scanner.next(input, &mut at)? else { break };
            self.progress.on_packet(packet)?;
        }
        self.begun |= at > 0;
        Ok(at)
    }
}
