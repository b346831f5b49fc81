//! What the upstream was sent last and has to answer.

use crate::wire::{Head, Scanner};

/// A request, or a file within one: the packets that were sent, as the upstream counts them.
#[derive(Debug, Default)]
pub(super) struct Turn {
    packets: Scanner,
    /// The number of the first, where the rest have those behind it.
    first: Option<u8>,
}

impl Turn {
    /// Begins, with a packet of this number.
    pub fn begin(&mut self, first: u8) {
        self.packets.begin(Some(first));
        self.first = Some(first);
    }

    /// A request begins. Of what does not begin at 0 servers complain in their own way.
    pub fn begin_request(&mut self, bytes: &[u8]) {
        self.begin(0);
        self.sent(bytes);
    }

    /// More of it was sent.
    pub fn sent(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            if self.packets.next(bytes, &mut at).is_err() {
                self.first = None;
                return;
            }
        }
    }

    /// Whether a packet with this head, whose body begins so, may be what answers it, if it is `over`: it has the number behind
    /// the last packet. An error may be about a part, and was perhaps said before the rest was there.
    pub fn is_answered_by(&self, head: Head, body: Option<u8>, over: bool) -> bool {
        const ERR: Option<u8> = Some(0xff);
        let Some(first) = self.first else { return true };
        let next = self.packets.next_seq().filter(|_| over);
        let is_one = next == Some(first.wrapping_add(1));
        next == Some(head.seq) || body == ERR && !is_one
    }
}
