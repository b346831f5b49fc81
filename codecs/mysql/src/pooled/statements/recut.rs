use bytes::{BufMut, BytesMut};

use crate::wire::{HEAD, Head, MAX_BODY};

/// Cuts a command of several packets anew: something was put in near its beginning, and a packet of the longest kind takes
/// no more.
///
/// What does not fit goes over into the next packet, whose head can only be written when it is known how long it is: until
/// the client's next head comes as many bytes are kept as were put in.
#[derive(Debug)]
pub(super) struct Recut {
    /// The client's packet: its head as far as it has come, how much of its body is still to come, and whether another
    /// follows.
    head: [u8; HEAD],
    head_len: usize,
    left: usize,
    continued: bool,
    /// How many bytes are known to be due, and have not been put out.
    due: usize,
    /// Of them those that have come.
    kept: BytesMut,
    /// How much of them the packet takes that was begun.
    room: usize,
    /// The packet that was begun last is of the longest kind.
    full: bool,
    seq: u8,
    done: bool,
}

impl Recut {
    /// Of a command whose first packet has this head, and was made longer by `more` bytes.
    pub(super) fn new(head: Head, more: usize) -> Self {
        let due = head.len.saturating_add(more);
        Self {
            head: [0; HEAD],
            head_len: 0,
            // What was put in comes with the first packet.
            left: due,
            continued: head.is_continued(),
            due,
            kept: BytesMut::new(),
            room: 0,
            full: false,
            seq: head.seq,
            done: false,
        }
    }

    /// The sequence number of what follows the command.
    pub(super) fn next_seq(&self) -> u8 {
        self.seq
    }

    /// Whether the command is at its end.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Takes what the client sends: the first packet without its head, then packets with theirs, in any pieces.
    pub(super) fn put(&mut self, mut bytes: &[u8], out: &mut BytesMut) {
        while !bytes.is_empty() && !self.done {
            if self.left > 0 {
                let (body, rest) = bytes.split_at_checked(self.left).unwrap_or((bytes, &[]));
                self.left = self.left.saturating_sub(body.len());
                self.put_body(body, out);
                bytes = rest;
            } else if let Some((byte, rest)) = bytes.split_first() {
                if let Some(place) = self.head.get_mut(self.head_len) {
                    *place = *byte;
                }
                self.head_len = self.head_len.saturating_add(1);
                bytes = rest;
                if self.head_len == HEAD {
                    self.begin();
                }
            }
            if self.left == 0 && self.head_len == 0 {
                self.flush(out);
            }
        }
    }

    /// The client's next packet begins.
    fn begin(&mut self) {
        self.head_len = 0;
        let Some(head) = Head::read(&self.head) else { return };
        self.left = head.len;
        self.continued = head.is_continued();
        self.due = self.due.saturating_add(head.len);
    }

    /// Puts out what is kept, as far as it is known how long the packet is.
    fn flush(&mut self, out: &mut BytesMut) {
        let kept = self.kept.split();
        self.put_body(&kept, out);
        if !self.continued && self.due == 0 {
            if self.full {
                self.put_head(0, out);
            }
            self.done = true;
        }
    }

    fn put_body(&mut self, body: &[u8], out: &mut BytesMut) {
        // In the order in which they came.
        let kept = self.kept.split();
        for mut bytes in [&kept[..], body] {
            while !bytes.is_empty() {
                if self.room == 0 && !self.open(out) {
                    self.kept.extend_from_slice(bytes);
                    break;
                }
                let (part, rest) = bytes.split_at_checked(self.room).unwrap_or((bytes, &[]));
                out.put_slice(part);
                self.room = self.room.saturating_sub(part.len());
                self.due = self.due.saturating_sub(part.len());
                bytes = rest;
            }
        }
    }

    /// Begins a packet, if it is known how long it is.
    fn open(&mut self, out: &mut BytesMut) -> bool {
        if self.due < MAX_BODY && self.continued {
            return false;
        }
        self.put_head(self.due.min(MAX_BODY), out);
        true
    }

    fn put_head(&mut self, len: usize, out: &mut BytesMut) {
        out.put_slice(&Head { len, seq: self.seq }.bytes());
        self.seq = self.seq.wrapping_add(1);
        self.room = len;
        self.full = len == MAX_BODY;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::put_packet;

    fn check(len: usize, more: usize, pieces: &[usize]) {
        let body: Vec<u8> = (0..len).map(|n| (n * 31 / 7) as u8).collect();
        let inserted = vec![0xaa; more];
        let mut sent = BytesMut::new();
        put_packet(&mut sent, 0, &body);
        let first = Head::read(&sent).unwrap();
        let mut input = inserted.clone();
        input.extend_from_slice(&sent[HEAD..]);
        let mut expected = BytesMut::new();
        let seq = put_packet(&mut expected, 0, &[&inserted[..], &body].concat());

        let (mut recut, mut out, mut rest) = (Recut::new(first, more), BytesMut::new(), &input[..]);
        let mut pieces = pieces.iter().cycle();
        while !rest.is_empty() {
            assert!(!recut.is_done());
            let (piece, after) = rest.split_at(rest.len().min(*pieces.next().unwrap()));
            recut.put(piece, &mut out);
            assert!(recut.kept.len() <= more, "{} bytes are kept", recut.kept.len());
            rest = after;
        }
        assert!(recut.is_done());
        assert_eq!(recut.next_seq(), seq);
        assert!(out == expected, "{len} bytes and {more} more");
    }

    #[test]
    fn around_the_longest_packet() {
        for (len, more) in [
            (MAX_BODY - 1, 1),
            (MAX_BODY - 5, 7),
            (MAX_BODY, 3),
            (MAX_BODY + 1, 1000),
            (2 * MAX_BODY - 3, 3),
            (2 * MAX_BODY - 3, 2),
            (2 * MAX_BODY - 3, 4),
            (2 * MAX_BODY, 131_070),
        ] {
            check(len, more, &[16_389, usize::MAX]);
            check(len, more, &[MAX_BODY + more, 1, 1, 1, 1, 3, 5_000_000]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_pieces(
            over in -40_000..40_000_i64,
            more in 1..40_000_usize,
            pieces in prop::collection::vec(1..3_000_000_usize, 1..9),
        ) {
            let len = usize::try_from(MAX_BODY as i64 + over).unwrap();
            prop_assume!(len + more >= MAX_BODY);
            check(len, more, &pieces);
        }
    }
}
