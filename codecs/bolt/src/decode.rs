//! From bytes to a frame, with everything refused as early as the bytes show it.

use bytes::BytesMut;
use wiremesh::{DecodeError, Kind, Limits};

use crate::{
    BoltFrame, Version, header,
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
    header_checked: bool,
}

/// Takes a frame off `input` once it is complete.
pub(crate) fn decode(
    state: &mut Progress,
    limits: &Limits,
    input: &mut BytesMut,
) -> Result<Option<BoltFrame>, DecodeError> {
    if input.len() < state.need {
        return Ok(None);
    }
    let Some(layout) = Layout::parse(input)? else { return Ok(None) };
    let wire_len = layout.check(limits)?;

    let header_end = layout.header_at().saturating_add(layout.header_len());
    if !state.header_checked {
        let Some(header) = input.get(layout.header_at()..header_end) else {
            state.need = header_end;
            return Ok(None);
        };
        header::check(header)?;
        state.header_checked = true;
    }
    if input.len() < wire_len {
        state.need = wire_len;
        return Ok(None);
    }
    *state = Progress::default();

    let raw = input.split_to(wire_len);
    if layout.crc {
        check_crc(&raw)?;
    }
    Ok(Some(BoltFrame::new(raw, layout)))
}

fn check_crc(raw: &[u8]) -> Result<(), DecodeError> {
    let Some((bytes, trailer)) = raw.split_last_chunk::<CRC_LEN>() else {
        return Err(DecodeError::Malformed { what: "CRC-32" });
    };
    let (declared, computed) = (u32::from_be_bytes(*trailer), crc32fast::hash(bytes));
    if declared == computed { Ok(()) } else { Err(DecodeError::Checksum { declared, computed }) }
}

/// The fixed part of a frame: what the offsets of everything else follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) version: Version,
    pub(crate) kind: Kind,
    pub(crate) codec: u8,
    /// Zero in v1.
    pub(crate) switch: u8,
    /// Whether a CRC follows the content.
    pub(crate) crc: bool,
    /// Length of the fixed part: 20 or 22 in a response, 22 or 24 in a request.
    pub(crate) fixed: u8,
    pub(crate) class_len: u16,
    pub(crate) header_len: u16,
    pub(crate) content_len: u32,
}

impl Layout {
    /// Reads the fixed part from the front of `bytes`; `None` while it is not all there and nothing is wrong with what is.
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let Some(opening) = Opening::parse(bytes)? else { return Ok(None) };
        let Opening { version, kind, request } = opening;
        let (codec_at, mut fixed) = if version == Version::V1 { (9, 20u8) } else { (10, 22) };
        if request {
            fixed = fixed.saturating_add(2);
        }
        let Some(&codec) = bytes.get(codec_at) else { return Ok(None) };
        let switch = match version.switch_at().map(|at| bytes.get(at)) {
            None => 0,
            Some(None) => return Ok(None),
            Some(Some(&switch)) if switch & 0x80 != 0 => {
                return Err(DecodeError::Unknown { what: "switch", value: u64::from(switch) });
            }
            Some(Some(&switch)) => switch,
        };

        let lengths = usize::from(fixed).saturating_sub(8);
        let short = |at: usize, what| match u16_at(bytes, lengths.saturating_add(at)) {
            Some(len) if usize::from(len) > MAX_SHORT => {
                Err(DecodeError::limit(what, MAX_SHORT, usize::from(len)))
            }
            len => Ok(len),
        };
        let Some(class_len) = short(0, "classLen")? else { return Ok(None) };
        let Some(header_len) = short(2, "headerLen")? else { return Ok(None) };
        let Some(content_len) = u32_at(bytes, lengths.saturating_add(4)) else { return Ok(None) };
        if content_len > i32::MAX as u32 {
            return Err(DecodeError::Malformed { what: "contentLen" });
        }
        let crc = version.has_crc(switch);
        Ok(Some(Self {
            version,
            kind,
            codec,
            switch,
            crc,
            fixed,
            class_len,
            header_len,
            content_len,
        }))
    }

    /// The frame's whole length, if the limits allow it.
    #[inline]
    fn check(&self, limits: &Limits) -> Result<usize, DecodeError> {
        let names = usize::from(self.class_len).saturating_add(self.header_len());
        if names > limits.max_header {
            return Err(DecodeError::limit("max_header", limits.max_header, names));
        }
        let wire_len = self.wire_len();
        if wire_len > limits.max_frame {
            return Err(DecodeError::limit("max_frame", limits.max_frame, wire_len));
        }
        Ok(wire_len)
    }

    pub(crate) fn class_at(&self) -> usize {
        usize::from(self.fixed)
    }

    pub(crate) fn header_at(&self) -> usize {
        usize::from(self.fixed).saturating_add(usize::from(self.class_len))
    }

    pub(crate) fn header_len(&self) -> usize {
        usize::from(self.header_len)
    }

    pub(crate) fn content_at(&self) -> usize {
        self.header_at().saturating_add(self.header_len())
    }

    pub(crate) fn wire_len(&self) -> usize {
        let trailer = if self.crc { CRC_LEN } else { 0 };
        self.content_at().saturating_add(self.content_len as usize).saturating_add(trailer)
    }

    /// Whether it is laid out as a request: a timeout in place of a status.
    pub(crate) fn is_request(&self) -> bool {
        matches!(self.kind, Kind::Request | Kind::OneWay | Kind::Heartbeat | Kind::GoAway)
    }
}

/// The first bytes, which alone tell Bolt from other protocols.
pub(crate) struct Opening {
    pub(crate) version: Version,
    pub(crate) kind: Kind,
    pub(crate) request: bool,
}

impl Opening {
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
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
        let request = !matches!(kind, Kind::Response | Kind::HeartbeatReply);
        Ok(Some(Self { version, kind, request }))
    }
}
