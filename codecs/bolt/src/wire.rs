//! Constants of the wire format, and reads and writes of integers at an offset.

/// `type`: a response.
pub(crate) const TYPE_RESPONSE: u8 = 0;
/// `type`: a request that is answered.
pub(crate) const TYPE_REQUEST: u8 = 1;
/// `type`: a request that is not answered.
pub(crate) const TYPE_ONEWAY: u8 = 2;

/// `cmdcode`: a heartbeat, or its answer.
pub(crate) const CMD_HEARTBEAT: u16 = 0;
/// `cmdcode`: a request.
pub(crate) const CMD_REQUEST: u16 = 1;
/// `cmdcode`: a response.
pub(crate) const CMD_RESPONSE: u16 = 2;
/// `cmdcode`: MOSN's go-away. SOFABolt for Java closes a connection on which it comes.
pub(crate) const CMD_GO_AWAY: u16 = 100;

/// The longest class name, and the longest header block, in bytes: Java reads both lengths as a signed 16-bit integer.
pub(crate) const MAX_SHORT: usize = 0x7fff;

/// Bit 0 of the switch byte: a CRC-32 follows the content, if `ver1` is 2.
pub(crate) const SWITCH_CRC: u8 = 0x01;
/// The length of that CRC-32.
pub(crate) const CRC_LEN: usize = 4;

/// Class name of a SOFARPC request.
pub(crate) const SOFA_REQUEST: &[u8] = b"com.alipay.sofa.rpc.core.request.SofaRequest";
/// Class name of a SOFARPC response.
pub(crate) const SOFA_RESPONSE: &[u8] = b"com.alipay.sofa.rpc.core.response.SofaResponse";

/// The `codec` byte: how the content is serialised. Other values are legal and pass as they are.
pub mod codec {
    /// Hessian 2 in SOFA's dialect (sofa-hessian 3.x).
    pub const HESSIAN2: u8 = 1;
    /// Protocol Buffers.
    pub const PROTOBUF: u8 = 11;
    /// JSON.
    pub const JSON: u8 = 12;
}

/// The protocol code and, for v2, the `ver1` byte. A Java server answers a whole connection in the version of the first
/// frame it read there, so requests of different versions need connections of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// Protocol code 1: neither `ver1`, switch nor CRC.
    V1,
    /// Protocol code 2, `ver1` 1: a switch byte, but never a CRC, whatever the switch says.
    V2,
    /// Protocol code 2, `ver1` 2: a CRC where the switch says so.
    V2Crc,
}

impl Version {
    /// All of them, by [`lane`](Self::lane).
    pub const ALL: [Self; 3] = [Self::V1, Self::V2, Self::V2Crc];

    /// The version as a [lane](wiremesh::Protocol::lane): 0, 1 or 2.
    pub fn lane(self) -> u32 {
        match self {
            Self::V1 => 0,
            Self::V2 => 1,
            Self::V2Crc => 2,
        }
    }

    /// The version of a lane.
    pub fn from_lane(lane: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(lane).ok()?).copied()
    }

    /// Whether frames of it have a CRC when bit 0 of `switch` is set.
    pub(crate) fn has_crc(self, switch: u8) -> bool {
        self == Self::V2Crc && switch & SWITCH_CRC != 0
    }
}

/// The integer at `at`, if the bytes reach that far.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|raw| u16::from_be_bytes(*raw))
}

/// The integer at `at`, if the bytes reach that far.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|raw| u32::from_be_bytes(*raw))
}

/// Overwrites what is at `at`.
pub(crate) fn patch(bytes: &mut [u8], at: usize, value: &[u8]) {
    let slot = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..value.len()));
    debug_assert!(slot.is_some(), "a patch lies within the frame");
    if let Some(slot) = slot {
        slot.copy_from_slice(value);
    }
}
