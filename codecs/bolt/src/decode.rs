//! From bytes to a frame, with everything refused as early as the bytes show it.

use bytes::BytesMut;
use wiremesh::{DecodeError, Kind, Limits};

use crate::{
    BoltFrame, Version,
    header::Index,
    layout::Layout,
    wire::{
        CMD_GO_AWAY, CMD_HEARTBEAT, CMD_REQUEST, CMD_RESPONSE, CRC_LEN, MAX_SHORT, TYPE_ONEWAY,
        TYPE_REQUEST, TYPE_RESPONSE, u16_at, u32_at,
    },
};

/// What is known of a frame that is not complete yet.
#[derive(Debug, Default)]
pub struct Progress {
    /// Nothing new can be learned before this many bytes are there.
    need: usize,
    /// The header block was there already and is sound.
    header: Option<Index>,
}

/// Takes a frame off `input` once it is complete.
#[inline]
pub(crate) fn decode(
    state: &mut Progress,
    limits: &Limits,
    input: &mut BytesMut,
) -> Result<Option<BoltFrame>, DecodeError> {
    if input.len() < state.need {
        return Ok(None);
    }
    let Some((layout, content_len)) = fixed_part(input)? else { return Ok(None) };
    let wire_len = check_sizes(layout, content_len, limits)?;

    let header = match state.header {
        Some(index) => index,
        None => {
            let header_end = layout.content_at();
            let Some(block) = input.get(layout.header_at()..header_end) else {
                state.need = header_end;
                return Ok(None);
            };
            Index::of(block)?
        }
    };
    if input.len() < wire_len {
        *state = Progress { need: wire_len, header: Some(header) };
        return Ok(None);
    }
    if state.need > 0 {
        *state = Progress::default();
    }

    let raw = input.split_to(wire_len);
    if layout.crc() {
        check_crc(&raw)?;
    }
    Ok(Some(BoltFrame::new(raw, layout, header)))
}

/// Reads the fixed part from the front of `bytes`; `None` while it is not all there and nothing is wrong with what is.
#[inline]
fn fixed_part(bytes: &[u8]) -> Result<Option<(Layout, u32)>, DecodeError> {
    match bytes.first_chunk::<24>() {
        // The same again, without a check of bounds at every field.
        Some(whole) => fixed_part_of(whole),
        None => fixed_part_of(bytes),
    }
}

#[inline(always)]
fn fixed_part_of(bytes: &[u8]) -> Result<Option<(Layout, u32)>, DecodeError> {
    let Some((version, kind)) = opening(bytes)? else { return Ok(None) };
    let mut layout = Layout::new(version, kind, false);
    if let Some(at) = layout.switch_at() {
        let Some(&switch) = bytes.get(at) else { return Ok(None) };
        if switch & 0x80 != 0 {
            return Err(DecodeError::Unknown { what: "switch", value: u64::from(switch) });
        }
        layout = layout.with_crc(version.has_crc(switch));
    }

    let lengths = layout.lengths_at();
    let short = |at: usize, what| match u16_at(bytes, lengths.wrapping_add(at)) {
        Some(len) if usize::from(len) > MAX_SHORT => {
            Err(DecodeError::limit(what, MAX_SHORT, usize::from(len)))
        }
        len => Ok(len),
    };
    let Some(class_len) = short(0, "classLen")? else { return Ok(None) };
    let Some(header_len) = short(2, "headerLen")? else { return Ok(None) };
    let Some(content_len) = u32_at(bytes, lengths.wrapping_add(4)) else { return Ok(None) };
    if content_len > i32::MAX as u32 {
        return Err(DecodeError::Malformed { what: "contentLen" });
    }
    Ok(Some((layout.with_class_len(class_len).with_header_len(header_len), content_len)))
}

/// The first bytes, which alone tell Bolt from other protocols: protocol code, `ver1`, type and command.
#[inline(always)]
pub(crate) fn opening(bytes: &[u8]) -> Result<Option<(Version, Kind)>, DecodeError> {
    let unknown = |what, value| Err(DecodeError::Unknown { what, value });
    let (version, type_at, cmdcode_at) = match *bytes {
        [] | [2] => return Ok(None),
        [1, ..] => (Version::V1, 1, 2),
        [2, 1, ..] => (Version::V2, 2, 3),
        [2, 2, ..] => (Version::V2Crc, 2, 3),
        [2, ver1, ..] => return unknown("protocol version", u64::from(ver1)),
        [proto, ..] => return unknown("protocol code", u64::from(proto)),
    };
    let Some(&kind) = bytes.get(type_at) else { return Ok(None) };
    if !matches!(kind, TYPE_RESPONSE | TYPE_REQUEST | TYPE_ONEWAY) {
        return unknown("type", u64::from(kind));
    }
    let Some(cmdcode) = u16_at(bytes, cmdcode_at) else {
        // All of the known codes begin with a zero.
        return match bytes.get(cmdcode_at) {
            Some(&high) if high != 0 => unknown("cmdcode", u64::from(high) << 8),
            _ => Ok(None),
        };
    };
    let kind = match (kind, cmdcode) {
        (TYPE_RESPONSE, CMD_HEARTBEAT) => Kind::HeartbeatReply,
        (TYPE_RESPONSE, CMD_REQUEST | CMD_RESPONSE) => Kind::Response,
        (TYPE_REQUEST | TYPE_ONEWAY, CMD_HEARTBEAT) => Kind::Heartbeat,
        (TYPE_REQUEST | TYPE_ONEWAY, CMD_GO_AWAY) => Kind::GoAway,
        (TYPE_REQUEST, CMD_REQUEST | CMD_RESPONSE) => Kind::Request,
        (TYPE_ONEWAY, CMD_REQUEST | CMD_RESPONSE) => Kind::OneWay,
        _ => return unknown("cmdcode", u64::from(cmdcode)),
    };
    Ok(Some((version, kind)))
}

/// The frame's whole length, if the limits allow it.
#[inline]
fn check_sizes(layout: Layout, content_len: u32, limits: &Limits) -> Result<usize, DecodeError> {
    let names = layout.class_len().saturating_add(layout.header_len());
    if names > limits.max_header {
        return Err(DecodeError::limit("max_header", limits.max_header, names));
    }
    let content_end = layout.content_at().saturating_add(content_len as usize);
    let wire_len = content_end.saturating_add(layout.trailer_len());
    if wire_len > limits.max_frame {
        return Err(DecodeError::limit("max_frame", limits.max_frame, wire_len));
    }
    Ok(wire_len)
}

fn check_crc(raw: &[u8]) -> Result<(), DecodeError> {
    let Some((bytes, trailer)) = raw.split_last_chunk::<CRC_LEN>() else {
        return Err(DecodeError::Malformed { what: "CRC-32" });
    };
    let (declared, computed) = (u32::from_be_bytes(*trailer), crc32fast::hash(bytes));
    if declared == computed { Ok(()) } else { Err(DecodeError::Checksum { declared, computed }) }
}
