use wiremesh::Kind;

use crate::{Version, wire::CRC_LEN};

/// Where the parts of a frame are.
///
/// One word, because a frame is moved often and a word moves in a register: bits 0-1 version, 2-4 kind, 5 CRC, 8-15
/// length of the fixed part, 16-31 classLen, 32-47 headerLen. The content is what is left of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout(u64);

impl Layout {
    /// Of a frame without class name and header.
    #[inline(always)]
    pub(crate) fn new(version: Version, kind: Kind, crc: bool) -> Self {
        let kind_bits = match kind {
            Kind::Request => 0,
            Kind::OneWay | Kind::Push => 1,
            Kind::Response => 2,
            Kind::Heartbeat => 3,
            Kind::HeartbeatReply => 4,
            Kind::GoAway => 5,
        };
        let fixed = match (version, kind) {
            (Version::V1, Kind::Response | Kind::HeartbeatReply) => 20,
            (Version::V1, _) | (_, Kind::Response | Kind::HeartbeatReply) => 22,
            _ => 24,
        };
        Self(u64::from(version.lane()) | kind_bits << 2 | u64::from(crc) << 5 | fixed << 8)
    }

    #[inline(always)]
    pub(crate) fn with_class_len(self, len: u16) -> Self {
        Self(self.0 & !(0xffff << 16) | u64::from(len) << 16)
    }

    #[inline(always)]
    pub(crate) fn with_header_len(self, len: u16) -> Self {
        Self(self.0 & !(0xffff << 32) | u64::from(len) << 32)
    }

    pub(crate) fn with_crc(self, crc: bool) -> Self {
        Self(self.0 & !(1 << 5) | u64::from(crc) << 5)
    }

    #[inline]
    pub(crate) fn version(self) -> Version {
        match self.0 & 0b11 {
            0 => Version::V1,
            1 => Version::V2,
            _ => Version::V2Crc,
        }
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        match self.0 >> 2 & 0b111 {
            0 => Kind::Request,
            1 => Kind::OneWay,
            2 => Kind::Response,
            3 => Kind::Heartbeat,
            4 => Kind::HeartbeatReply,
            _ => Kind::GoAway,
        }
    }

    /// Whether a CRC follows the content.
    #[inline]
    pub(crate) fn crc(self) -> bool {
        self.0 >> 5 & 1 == 1
    }

    /// Whether there is a status in place of the timeout.
    #[inline]
    pub(crate) fn is_response(self) -> bool {
        matches!(self.kind(), Kind::Response | Kind::HeartbeatReply)
    }

    /// Length of the fixed part: 20 or 22 in a response, 22 or 24 in a request.
    #[inline]
    pub(crate) fn fixed(self) -> usize {
        usize::from((self.0 >> 8) as u8)
    }

    #[inline]
    pub(crate) fn class_len(self) -> usize {
        usize::from((self.0 >> 16) as u16)
    }

    #[inline]
    pub(crate) fn header_len(self) -> usize {
        usize::from((self.0 >> 32) as u16)
    }

    /// Offset of the request id.
    #[inline]
    pub(crate) fn id_at(self) -> usize {
        if self.version() == Version::V1 { 5 } else { 6 }
    }

    /// Offset of the switch byte, where there is one.
    #[inline]
    pub(crate) fn switch_at(self) -> Option<usize> {
        (self.version() != Version::V1).then_some(11)
    }

    /// Offset of a request's timeout.
    pub(crate) fn timeout_at(self) -> usize {
        self.fixed().saturating_sub(12)
    }

    /// Offset of a response's status.
    pub(crate) fn status_at(self) -> usize {
        self.fixed().saturating_sub(10)
    }

    /// Offset of classLen, which headerLen and contentLen follow.
    #[inline]
    pub(crate) fn lengths_at(self) -> usize {
        self.fixed().saturating_sub(8)
    }

    #[inline]
    pub(crate) fn header_at(self) -> usize {
        self.fixed().saturating_add(self.class_len())
    }

    #[inline]
    pub(crate) fn content_at(self) -> usize {
        self.header_at().saturating_add(self.header_len())
    }

    /// The length of what follows the content.
    #[inline]
    pub(crate) fn trailer_len(self) -> usize {
        if self.crc() { CRC_LEN } else { 0 }
    }
}
