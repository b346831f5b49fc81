use bytes::{BufMut, BytesMut};

use crate::wire::{HEAD, Head, MAX_BODY};

/// Cuts a command of several packets anew: something was put in near its beginning, and a packet of the longest kind takes
/// no more; or something was left out, and one that another follows must be of that kind.
///
/// What does not fit goes over into the next packet, whose head can only be written when it is known how long it is: until
/// the client's next head comes as many bytes are kept as were put in. Where something was left out that is a whole packet.
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
    /// Of a command whose first packet has this head, and is `len` bytes long now.
    pub(super) fn new(head: Head, len: usize) -> Self {
        Self {
            head: [0; HEAD],
            head_len: 0,
            left: len,
            continued: head.is_continued(),
            due: len,
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
        self.put_body(&[], out);
        if !self.continued && self.due == 0 {
            if self.full {
                self.put_head(0, out);
            }
            self.done = true;
        }
    }

    fn put_body(&mut self, body: &[u8], out: &mut BytesMut) {
        if self.room == 0 && !self.is_known() {
            return self.kept.extend_from_slice(body);
        }
        // In the order in which they came.
        let kept = self.kept.split();
        for mut bytes in [&kept[..], body] {
            while !bytes.is_empty() {
                if self.room == 0 {
                    if !self.is_known() {
                        self.kept.extend_from_slice(bytes);
                        break;
                    }
                    self.put_head(self.due.min(MAX_BODY), out);
                }
                let (part, rest) = bytes.split_at_checked(self.room).unwrap_or((bytes, &[]));
                out.put_slice(part);
                self.room = self.room.saturating_sub(part.len());
                self.due = self.due.saturating_sub(part.len());
                bytes = rest;
            }
        }
    }

    /// Whether it is known how long the next packet is.
    fn is_known(&self) -> bool {
        self.due >= MAX_BODY || !self.continued
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

    /// So many bytes are put in, and so many left out, at the beginning.
    fn check(len: usize, more: usize, less: usize, pieces: &[usize]) {
        let body: Vec<u8> = (0..len).map(|n| (n * 31 / 7) as u8).collect();
        let inserted = vec![0xaa; more];
        let mut sent = BytesMut::new();
        put_packet(&mut sent, 0, &body);
        let first = Head::read(&sent).unwrap();
        let mut input = inserted.clone();
        input.extend_from_slice(&sent[HEAD + less..]);
        let mut expected = BytesMut::new();
        let seq = put_packet(&mut expected, 0, &[&inserted[..], &body[less..]].concat());

        let now = first.len + more - less;
        let (mut recut, mut out, mut rest) = (Recut::new(first, now), BytesMut::new(), &input[..]);
        let most = if less > more { MAX_BODY } else { more };
        let mut pieces = pieces.iter().cycle();
        while !rest.is_empty() {
            assert!(!recut.is_done());
            let (piece, after) = rest.split_at(rest.len().min(*pieces.next().unwrap()));
            recut.put(piece, &mut out);
            assert!(recut.kept.len() <= most, "{} bytes are kept", recut.kept.len());
            rest = after;
        }
        assert!(recut.is_done());
        assert_eq!(recut.next_seq(), seq);
        assert!(out == expected, "{len} bytes, {more} more and {less} less");
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
            check(len, more, 0, &[16_389, usize::MAX]);
            check(len, more, 0, &[MAX_BODY + more, 1, 1, 1, 1, 3, 5_000_000]);
        }
        for (len, more, less) in [
            (MAX_BODY, 0, 3),
            (MAX_BODY + 2, 0, 2),
            (MAX_BODY + 2, 0, 3),
            (MAX_BODY + 1, 5, 7),
            (2 * MAX_BODY, 0, 1),
            (2 * MAX_BODY + 20, 0, 40_000),
        ] {
            check(len, more, less, &[16_389]);
            check(len, more, less, &[MAX_BODY - less, 1, 1, 1, 1, 3, 5_000_000]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_pieces(
            over in -40_000..40_000_i64,
            more in 0..40_000_usize,
            less in 0..40_000_usize,
            pieces in prop::collection::vec(1..3_000_000_usize, 1..9),
        ) {
            let len = usize::try_from(MAX_BODY as i64 + over).unwrap();
            prop_assume!(more != less && (len >= MAX_BODY || len + more - less >= MAX_BODY));
            check(len, more, less, &pieces);
        }
    }
}
