//! What a reply came to.

use wiremesh::{
    DecodeError,
    correlation::{AnswerDigest, Digester},
};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::{Part, Phase, Progress, Shape};
use crate::{
    Capabilities, Mysql, MysqlFrame,
    wire::{HEAD, Head, Passed, Reader, Short},
};

/// Packets that are no rows are looked into up to here, in bytes. Descriptions are much shorter.
const MAX_LOOKED: usize = 4 << 10;

/// Of a description's flags, the one that is part of a column's type.
const UNSIGNED: u16 = 32;

/// Sums up a reply as a client gets it, in pieces of any size.
///
/// What counts: names and types of columns, rows, how many were changed, and which errors there are. What does not: in which
/// order rows come (it is up to the server where nothing says it, and among equals), and sequence numbers, status, warnings,
/// ids, texts of errors, and from which tables columns are.
pub struct ReplySum {
    progress: Progress,
    extended: bool,
    head: [u8; HEAD],
    head_len: usize,
    /// How much of the packet's part is still to come.
    left: usize,
    /// The next part continues the packet.
    continues: bool,
    packet: Packet,
    sum: AnswerDigest,
    broken: bool,
}

/// The packet that is passing.
enum Packet {
    /// Between two.
    None,
    /// Of this length, as much of it as is looked into.
    Looked(Vec<u8>, usize),
    Row(Box<Xxh3Default>),
}

impl ReplySum {
    /// Of a reply of this shape, to a client on whose connection these capabilities were agreed on.
    pub fn new(capabilities: Capabilities, shape: Shape) -> Self {
        let mut progress = Progress::new(capabilities);
        progress.begin(shape);
        Self {
            progress,
            extended: capabilities.has(Capabilities::MARIADB_EXTENDED_METADATA),
            head: [0; HEAD],
            head_len: 0,
            left: 0,
            continues: false,
            packet: Packet::None,
            sum: AnswerDigest::default(),
            broken: false,
        }
    }

    /// Takes what comes next.
    pub fn add(&mut self, bytes: &[u8]) {
        self.broken = self.broken || self.take(bytes).is_err();
    }

    /// What it came to. `None`: it has not come to its end, or is no such reply.
    pub fn finish(&self) -> Option<AnswerDigest> {
        let ended = self.progress.phase == Phase::Done && matches!(self.packet, Packet::None);
        (ended && !self.broken).then_some(self.sum)
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), DecodeError> {
        while !bytes.is_empty() {
            if let Some(rest) = self.whole_row(bytes) {
                bytes = rest;
                continue;
            }
            if self.left > 0 {
                let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
                (self.left, bytes) = (self.left.saturating_sub(part.len()), rest);
                self.piece(part);
            } else {
                let (byte, rest) = bytes.split_first().unwrap_or((&0, &[]));
                if let Some(place) = self.head.get_mut(self.head_len) {
                    *place = *byte;
                }
                (self.head_len, bytes) = (self.head_len.saturating_add(1), rest);
                if self.head_len < HEAD {
                    continue;
                }
                let head = Head::read(&self.head).unwrap_or(Head { len: 0, seq: 0 });
                if !self.continues {
                    self.packet = Packet::Looked(Vec::new(), head.len);
                }
                (self.head_len, self.left, self.continues) = (0, head.len, head.is_continued());
            }
            if self.left == 0 && self.head_len == 0 && !self.continues {
                self.end()?;
            }
        }
        Ok(())
    }

    /// The usual case: a row that is all there. What is behind it.
    fn whole_row<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        if self.progress.phase != Phase::Rows || !matches!(self.packet, Packet::None) {
            return None;
        }
        let head = Head::read(bytes).filter(|head| self.head_len == 0 && !head.is_continued())?;
        let row = bytes.get(HEAD..)?.get(..head.len)?;
        if self.progress.part(row.first().copied(), head.len) != Part::Plain {
            return None;
        }
        self.row(xxh3_64(row));
        bytes.get(HEAD.saturating_add(head.len)..)
    }

    /// The sum of hashes is the same in whatever order they come.
    fn row(&mut self, hash: u64) {
        self.sum.items = self.sum.items.saturating_add(1);
        self.sum.content = self.sum.content.wrapping_add(hash);
    }

    /// More of the packet's body.
    fn piece(&mut self, part: &[u8]) {
        match &mut self.packet {
            Packet::None => {}
            Packet::Row(hash) => hash.update(part),
            Packet::Looked(body, len) => {
                let first = body.first().or_else(|| part.first()).copied();
                let rows = self.progress.phase == Phase::Rows;
                if rows && self.progress.part(first, *len) == Part::Plain {
                    let mut hash = Box::new(Xxh3Default::new());
                    hash.update(body);
                    hash.update(part);
                    self.packet = Packet::Row(hash);
                    return;
                }
                let room = MAX_LOOKED.saturating_sub(body.len()).min(part.len());
                body.extend_from_slice(part.get(..room).unwrap_or_default());
            }
        }
    }

    /// The packet is over.
    fn end(&mut self) -> Result<(), DecodeError> {
        let (body, len) = match std::mem::replace(&mut self.packet, Packet::None) {
            Packet::None => return Ok(()),
            Packet::Row(hash) => {
                self.row(hash.digest());
                return Ok(());
            }
            Packet::Looked(body, len) => (body, len),
        };
        let before = self.progress.phase;
        let part = self.progress.part(body.first().copied(), len);
        self.progress.on_packet(Passed { start: &body, len })?;
        match (part, before) {
            (Part::Plain, Phase::Definitions(..)) => {
                let (name, kind) = column(&body, self.extended)
                    .map_err(|Short| DecodeError::Malformed { what: "column" })?;
                self.form(&[b"column", name, &kind.to_le_bytes()]);
            }
            (Part::Plain, Phase::Rows) => self.row(xxh3_64(&body)),
            (Part::Ok, _) => {
                let affected = self.progress.outcome.affected;
                self.form(&[b"done", &affected.to_le_bytes()]);
            }
            (Part::Error, _) => {
                // Reports of how far it is are none.
                if let Some(error) = self.progress.outcome.error {
                    self.form(&[b"error", &error.number.to_le_bytes()]);
                }
            }
            (Part::End, _) => self.form(&[b"end"]),
            _ => {}
        }
        Ok(())
    }

    fn form(&mut self, parts: &[&[u8]]) {
        let mut hash = Xxh3Default::new();
        hash.update(&self.sum.form.to_le_bytes());
        for part in parts {
            hash.update(&part.len().to_le_bytes());
            hash.update(part);
        }
        self.sum.form = hash.digest();
    }
}

/// A column's name and type, by its description.
fn column(body: &[u8], extended: bool) -> Result<(&[u8], u32), Short> {
    let mut body = Reader::new(body);
    // Catalog, schema, table, and the table's own name.
    for _ in 0..4 {
        body.lenenc_bytes()?;
    }
    let name = body.lenenc_bytes()?;
    body.lenenc_bytes()?;
    if extended {
        body.lenenc_bytes()?;
    }
    // Of a fixed length from here on; the character set and the length.
    body.take(7)?;
    let kind = body.u8()?;
    let unsigned = body.u16()? & UNSIGNED;
    Ok((name, u32::from(unsigned) << 8 | u32::from(kind)))
}

impl Digester<Mysql> for ReplySum {
    fn add(&mut self, frame: &MysqlFrame) {
        Self::add(self, &frame.bytes);
    }

    fn finish(&mut self) -> Option<AnswerDigest> {
        Self::finish(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{put_lenenc_bytes, put_packet};

    const OLD: Capabilities = Capabilities::PROTOCOL_41;
    const NEW: Capabilities = Capabilities(OLD.0 | Capabilities::DEPRECATE_EOF.0);

    /// A column's description.
    fn described(table: &str, name: &str, kind: u8, flags: u8) -> Vec<u8> {
        let mut body = bytes::BytesMut::new();
        for text in ["def", "shop", table, "own", name, name] {
            put_lenenc_bytes(&mut body, text.as_bytes());
        }
        body.extend([12, 45, 0, 4, 0, 0, 0, kind, flags, 0, 0, 0, 0]);
        body.to_vec()
    }

    /// The end of rows or descriptions.
    fn eof(capabilities: Capabilities, status: u8, warnings: u8) -> Vec<u8> {
        match capabilities {
            NEW => vec![0xfe, 0, 0, status, 0, warnings, 0],
            _ => vec![0xfe, warnings, 0, status, 0],
        }
    }

    /// A result of one column.
    fn result(capabilities: Capabilities, column: &[u8], rows: &[&str]) -> Vec<Vec<u8>> {
        let mut packets = vec![vec![1], column.to_vec()];
        if capabilities == OLD {
            packets.push(eof(OLD, 2, 0));
        }
        packets.extend(rows.iter().map(|row| {
            let mut body = bytes::BytesMut::new();
            put_lenenc_bytes(&mut body, row.as_bytes());
            body.to_vec()
        }));
        packets.push(eof(capabilities, 2, 0));
        packets
    }

    fn bytes(packets: &[Vec<u8>], seq: u8) -> bytes::BytesMut {
        let mut out = bytes::BytesMut::new();
        for (n, packet) in (seq..).zip(packets) {
            put_packet(&mut out, n, packet);
        }
        out
    }

    fn sum(capabilities: Capabilities, packets: &[Vec<u8>]) -> Option<AnswerDigest> {
        let mut sum = ReplySum::new(capabilities, Shape::Results);
        sum.add(&bytes(packets, 1));
        sum.finish()
    }

    fn simple(rows: &[&str]) -> AnswerDigest {
        sum(NEW, &result(NEW, &described("t", "a", 3, 0), rows)).expect("a result")
    }

    #[test]
    fn rows_count_and_their_order_does_not() {
        let one = simple(&["x", "y", "yy"]);
        assert_eq!(one.items, 3);
        assert_eq!(one, simple(&["yy", "x", "y"]));
        for other in
            [&["x", "y", "yz"][..], &["x", "y"], &["x", "y", "yy", "yy"], &["xy", "", "yy"]]
        {
            assert_ne!(one, simple(other), "{other:?}");
        }
        assert_ne!(simple(&["x", "x"]), simple(&["y", "y"]));
    }

    #[test]
    fn columns_count_by_name_and_type() {
        let of = |column: Vec<u8>| sum(NEW, &result(NEW, &column, &["1"])).expect("a result");
        let one = of(described("t", "a", 3, 0));
        assert_eq!(one, of(described("other", "a", 3, 1)));
        for column in
            [described("t", "b", 3, 0), described("t", "a", 8, 0), described("t", "a", 3, 32)]
        {
            let other = of(column);
            assert_ne!(one.form, other.form);
            assert_eq!(one.content, other.content);
        }
    }

    #[test]
    fn the_way_it_is_told_does_not_count() {
        let column = described("t", "a", 3, 0);
        let old = sum(OLD, &result(OLD, &column, &["1", "2"])).expect("a result");
        assert_eq!(old, simple(&["1", "2"]));
        let mut other = result(NEW, &column, &["1", "2"]);
        *other.last_mut().expect("an end") = eof(NEW, 34, 7);
        let mut shifted = ReplySum::new(NEW, Shape::Results);
        shifted.add(&bytes(&other, 77));
        assert_eq!(shifted.finish(), Some(old));
    }

    #[test]
    fn pieces_of_any_size_come_to_the_same() {
        let long = "r".repeat(70_000);
        let packets = result(OLD, &described("t", "a", 3, 0), &["1", &long, "", "end"]);
        let whole = sum(OLD, &packets).expect("a result");
        assert_eq!(whole.items, 4);
        let bytes = bytes(&packets, 1);
        for size in [1, 3, 5, 1000, 65_537] {
            let mut sum = ReplySum::new(OLD, Shape::Results);
            bytes.chunks(size).for_each(|piece| sum.add(piece));
            assert_eq!(sum.finish(), Some(whole), "{size}");
        }
    }

    #[test]
    fn errors_are_told_apart_by_their_numbers() {
        let error = |number: u8, text: &str| {
            let body = [&[0xff, number, 4][..], b"#42000", text.as_bytes()].concat();
            sum(NEW, &[body]).expect("an error")
        };
        assert_eq!(error(10, "one"), error(10, "another"));
        assert_ne!(error(10, "one"), error(11, "one"));
        // In the middle of rows, too.
        let mut broken = result(NEW, &described("t", "a", 3, 0), &["1"]);
        *broken.last_mut().expect("an end") = b"\xff\x0a\x04#42000no".to_vec();
        assert_ne!(sum(NEW, &broken).expect("a result").form, simple(&["1"]).form);
    }

    #[test]
    fn what_is_cut_or_no_reply_comes_to_nothing() {
        let packets = result(NEW, &described("t", "a", 3, 0), &["1"]);
        let bytes = bytes(&packets, 1);
        for end in 0..bytes.len() {
            let mut sum = ReplySum::new(NEW, Shape::Results);
            sum.add(&bytes[..end]);
            assert_eq!(sum.finish(), None, "{end}");
        }
        assert_eq!(sum(NEW, &[vec![1], b"\x03def".to_vec()]), None);
    }

    #[test]
    fn rows_of_several_packets_are_one() {
        let row = |byte: u8| {
            // A text of 16 MiB and a bit, in a packet of the most that fits and what is left.
            let mut body = bytes::BytesMut::new();
            put_lenenc_bytes(&mut body, &vec![byte; 1 << 24]);
            body.to_vec()
        };
        let of = |byte| {
            let mut packets = result(NEW, &described("t", "a", 3, 0), &["1"]);
            packets.insert(2, row(byte));
            sum(NEW, &packets).expect("a result")
        };
        let (one, other) = (of(b'x'), of(b'y'));
        assert_eq!((one.items, other.items), (2, 2));
        assert_ne!(one.content, other.content);
    }
}
