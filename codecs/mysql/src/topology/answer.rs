//! A server's answer to a question of the proxy's own: a text result set, whole.

use crate::{
    MysqlFrame,
    reply::ErrPacket,
    wire::{HEAD, Reader, Short},
};

/// An answer has so many packets at most. `SHOW REPLICA STATUS` has 60 columns and a row for each source.
const MAX_PACKETS: usize = 1024;

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// These rows.
    Rows(Vec<Row<'a>>),
    /// Nothing but that it is done.
    Done,
    /// An error of this number.
    Error(u16),
}

/// The fields of a row, by the names of their columns.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row<'a>(Vec<(&'a [u8], Option<&'a [u8]>)>);

/// How many of the packets are the first answer's; `None`: there is more to come.
pub(super) fn len(frames: &[MysqlFrame]) -> Option<usize> {
    let first = body(frames.first()?);
    let columns = columns(first).unwrap_or(0);
    if columns == 0 {
        return Some(1);
    }
    // After the first EOF come the rows, and another.
    let rows = columns.saturating_add(2);
    let ends = |frame: &MysqlFrame| is_end(body(frame)) || body(frame).first() == Some(&0xff);
    match frames.iter().take(MAX_PACKETS).skip(rows).position(ends) {
        Some(end) => Some(rows.saturating_add(end).saturating_add(1)),
        None => (frames.len() >= MAX_PACKETS).then_some(MAX_PACKETS),
    }
}

/// Reads the packets of one answer.
pub(super) fn read(frames: &[MysqlFrame]) -> Result<Answer<'_>, String> {
    let first = frames.first().map(body).unwrap_or_default();
    match first.first() {
        Some(0x00) => return Ok(Answer::Done),
        Some(0xff) => {
            let error = ErrPacket::parse(first).map_err(garbled)?;
            return Ok(Answer::Error(error.number));
        }
        _ => {}
    }
    let columns = columns(first).map_err(garbled)?;
    let mut packets = frames.iter().skip(1).map(body);
    let names: Vec<_> =
        packets.by_ref().take(columns).map(name).collect::<Result<_, _>>().map_err(garbled)?;
    let is_whole = names.len() == columns && packets.next().is_some_and(is_end);
    if !is_whole {
        return Err("its answer is no text result".into());
    }
    let mut rows = Vec::new();
    for packet in packets {
        if packet.first() == Some(&0xff) {
            let error = ErrPacket::parse(packet).map_err(garbled)?;
            return Ok(Answer::Error(error.number));
        }
        if is_end(packet) {
            return Ok(Answer::Rows(rows));
        }
        rows.push(Row::read(&names, packet).map_err(garbled)?);
    }
    Err("its answer is too long".into())
}

impl<'a> Row<'a> {
    fn read(names: &[&'a [u8]], packet: &'a [u8]) -> Result<Self, Short> {
        let mut packet = Reader::new(packet);
        let field = |name: &&'a [u8]| {
            if packet.rest().first() == Some(&0xfb) {
                return packet.u8().map(|_| (*name, None));
            }
            packet.lenenc_bytes().map(|value| (*name, Some(value)))
        };
        names.iter().map(field).collect::<Result<_, _>>().map(Self)
    }

    /// The field of the column of one of these names; `None`: it is NULL, or there is none.
    pub(super) fn get(&self, names: &[&str]) -> Option<&'a str> {
        let named = |(name, _): &&(&[u8], _)| {
            names.iter().any(|wanted| name.eq_ignore_ascii_case(wanted.as_bytes()))
        };
        std::str::from_utf8(self.0.iter().find(named)?.1?).ok()
    }
}

fn body(frame: &MysqlFrame) -> &[u8] {
    frame.bytes.get(HEAD..).unwrap_or_default()
}

/// How many columns there are, if the answer begins with that.
fn columns(first: &[u8]) -> Result<usize, Short> {
    if matches!(first.first(), Some(0x00 | 0xff)) {
        return Ok(0);
    }
    Reader::new(first).lenenc_int().and_then(|count| usize::try_from(count).map_err(|_| Short))
}

/// The name of a column: the fifth of the texts that define it.
fn name(definition: &[u8]) -> Result<&[u8], Short> {
    let mut definition = Reader::new(definition);
    for _ in 0..4 {
        definition.lenenc_bytes()?;
    }
    definition.lenenc_bytes()
}

fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

fn garbled(_: Short) -> String {
    "its answer ends too early".into()
}
