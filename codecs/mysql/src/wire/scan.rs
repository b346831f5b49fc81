use wiremesh::DecodeError;

use super::{HEAD, Head, MAX_BODY};

/// So much of a packet's beginning is kept where the packet comes in pieces: what an OK says, but for its texts.
pub const START: usize = 32;

/// Finds the ends of packets in bytes that come in any pieces, without keeping the packets.
///
/// One that is continued counts as one, whatever its parts begin with. Of each the beginning is shown.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    head: [u8; HEAD],
    head_len: usize,
    /// How much of the part's body is still to come.
    left: usize,
    /// The part continues the packet.
    continues: bool,
    /// Of the packet's first part.
    len: usize,
    start: [u8; START],
    start_len: usize,
    next_seq: Option<u8>,
    /// Gaps are none of ours.
    lenient: bool,
}

/// A packet that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed<'a> {
    /// The beginning of its body; the whole body where the packet came in one piece.
    pub start: &'a [u8],
    /// The length of its body, or of the first part of it: [`MAX_BODY`] says that it is that long or longer.
    pub len: usize,
}

impl Passed<'_> {
    /// The body's first byte.
    pub fn first(&self) -> Option<u8> {
        self.start.first().copied()
    }
}

impl Scanner {
    /// Does not care for sequence numbers: where packets are compressed servers take some from the layer below.
    pub fn lenient(lenient: bool) -> Self {
        Self { lenient, ..Self::default() }
    }

    /// Begins anew: the next part is to have this sequence number; any, where there is none to be had.
    pub fn begin(&mut self, next_seq: Option<u8>) {
        *self = Self { next_seq, lenient: self.lenient, ..Self::default() };
    }

    /// The next part is to have this sequence number; any, where there is none to be had.
    pub fn expect(&mut self, next_seq: Option<u8>) {
        self.next_seq = next_seq;
    }

    /// The sequence number of the next part, where it is known.
    pub fn next_seq(&self) -> Option<u8> {
        self.next_seq
    }

    /// Whether no packet has begun that has not ended.
    pub fn is_between(&self) -> bool {
        self.head_len == 0 && self.left == 0 && !self.continues
    }

    /// Passes over bytes of `input` from `at` on, up to the end of a packet, or of what is there.
    ///
    /// # Errors
    /// A sequence number is not the one that was due.
    pub fn next<'a>(
        &'a mut self,
        input: &'a [u8],
        at: &mut usize,
    ) -> Result<Option<Passed<'a>>, DecodeError> {
        if self.is_between()
            && let Some(rest) = input.get(*at..)
            && let Some(head) = Head::read(rest)
            && !head.is_continued()
            && let Some(start) = rest.get(HEAD..HEAD.saturating_add(head.len))
        {
            // The usual case: it is all there.
            self.check(head.seq)?;
            *at = at.saturating_add(HEAD).saturating_add(head.len);
            return Ok(Some(Passed { start, len: head.len }));
        }
        while let Some(rest) = input.get(*at..) {
            if self.left > 0 {
                let taken = rest.len().min(self.left);
                self.keep(rest);
                self.left = self.left.saturating_sub(taken);
                *at = at.saturating_add(taken);
                if self.left > 0 {
                    return Ok(None);
                }
                if self.end_of_part() {
                    return Ok(Some(self.passed()));
                }
                continue;
            }
            let [byte, ..] = rest else { return Ok(None) };
            if let Some(place) = self.head.get_mut(self.head_len) {
                *place = *byte;
            }
            self.head_len = self.head_len.saturating_add(1);
            *at = at.saturating_add(1);
            if self.head_len == HEAD && self.begin_part()? {
                return Ok(Some(self.passed()));
            }
        }
        Ok(None)
    }

    /// The head is all there. Whether the packet ends with it.
    fn begin_part(&mut self) -> Result<bool, DecodeError> {
        let Some(head) = Head::read(&self.head) else { return Ok(false) };
        self.check(head.seq)?;
        self.left = head.len;
        if !self.continues {
            (self.len, self.start_len) = (head.len, 0);
        }
        Ok(head.len == 0 && self.end_of_part())
    }

    /// The part is all there. Whether the packet is.
    fn end_of_part(&mut self) -> bool {
        self.continues = Head::read(&self.head).is_some_and(Head::is_continued);
        self.head_len = 0;
        !self.continues
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.continues {
            return;
        }
        let room = self.start.get_mut(self.start_len..).unwrap_or_default();
        let kept = room.len().min(bytes.len()).min(self.left);
        for (place, byte) in room.iter_mut().zip(bytes).take(kept) {
            *place = *byte;
        }
        self.start_len = self.start_len.saturating_add(kept);
    }

    fn passed(&self) -> Passed<'_> {
        let start = self.start.get(..self.start_len).unwrap_or_default();
        Passed { start, len: self.len.min(MAX_BODY) }
    }

    fn check(&mut self, seq: u8) -> Result<(), DecodeError> {
        if !self.lenient && self.next_seq.is_some_and(|due| due != seq) {
            return Err(DecodeError::Malformed { what: "sequence number" });
        }
        self.next_seq = Some(seq.wrapping_add(1));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::put_packet;

    /// Each packet's length and up to 5 bytes of its beginning, as found in pieces of these lengths in turn.
    fn scan(bytes: &[u8], pieces: &[usize]) -> Result<Vec<(usize, Vec<u8>)>, DecodeError> {
        let (mut scanner, mut found) = (Scanner::default(), Vec::new());
        scanner.begin(Some(3));
        let mut rest = bytes;
        let mut pieces = pieces.iter().cycle();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*pieces.next().unwrap()));
            let mut at = 0;
            while let Some(packet) = scanner.next(piece, &mut at)? {
                found.push((packet.len, packet.start.iter().copied().take(5).collect()));
            }
            assert_eq!(at, piece.len());
            rest = after;
        }
        assert!(scanner.is_between());
        Ok(found)
    }

    #[test]
    fn long_packets_are_one() {
        let lens = [5, MAX_BODY, 0, MAX_BODY + 7, 1];
        let (mut bytes, mut seq) = (BytesMut::new(), 3);
        for len in lens {
            seq = put_packet(&mut bytes, seq, &vec![0xfe; len]);
        }
        let expected: Vec<_> = lens.map(|len| (len.min(MAX_BODY), vec![0xfe; len.min(5)])).to_vec();
        for pieces in [&[usize::MAX][..], &[70_000], &[MAX_BODY + 20], &[1, 1, 1, 1, 1, 9_000_000]]
        {
            assert_eq!(scan(&bytes, pieces).as_ref(), Ok(&expected));
        }
    }

    #[test]
    fn gaps_are_seen() {
        let mut bytes = BytesMut::new();
        put_packet(&mut bytes, 3, b"a");
        put_packet(&mut bytes, 5, b"b");
        for pieces in [100, 1] {
            let what = "sequence number";
            assert_eq!(scan(&bytes, &[pieces]), Err(DecodeError::Malformed { what }));
        }
    }

    proptest! {
        #[test]
        fn any_pieces_give_the_same(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..40),
            pieces in prop::collection::vec(1..90usize, 1..20),
        ) {
            let (mut bytes, mut seq) = (BytesMut::new(), 3);
            for body in &bodies {
                seq = put_packet(&mut bytes, seq, body);
            }
            let expected: Vec<_> =
                bodies.iter().map(|body| (body.len(), body.iter().copied().take(5).collect())).collect();
            prop_assert_eq!(scan(&bytes, &pieces), Ok(expected));
        }
    }
}
