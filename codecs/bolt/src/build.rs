use bytes::{BufMut, BytesMut};
use wiremesh::{EditError, Kind};

use crate::{
    BoltFrame, Version,
    header::size_of,
    layout::Layout,
    wire::{
        CMD_GO_AWAY, CMD_HEARTBEAT, CMD_REQUEST, CMD_RESPONSE, CRC_LEN, MAX_SHORT, TYPE_ONEWAY,
        TYPE_REQUEST, TYPE_RESPONSE, codec,
    },
};

/// Makes a frame from its parts.
#[derive(Clone, Debug)]
pub struct Builder<'a> {
    /// Protocol code and `ver1`.
    pub version: Version,
    /// What the frame is for. [`Kind::Push`] does not exist in Bolt and is made a one-way request.
    pub kind: Kind,
    /// Request id.
    pub id: u32,
    /// Serialisation of the content.
    pub codec: u8,
    /// Switch byte, 0 to 127; not used in v1.
    pub switch: u8,
    /// Of requests: timeout in milliseconds, none when not positive.
    pub timeout: i32,
    /// Of responses: status code.
    pub status: u16,
    /// Class name of the content.
    pub class: &'a [u8],
    /// Header names and values.
    pub headers: &'a [(&'a str, &'a str)],
    /// Content.
    pub content: &'a [u8],
}

impl Default for Builder<'_> {
    /// An empty v1 request of id 0 in hessian2, without a timeout.
    fn default() -> Self {
        Self {
            version: Version::V1,
            kind: Kind::Request,
            id: 0,
            codec: codec::HESSIAN2,
            switch: 0,
            timeout: -1,
            status: 0,
            class: &[],
            headers: &[],
            content: &[],
        }
    }
}

impl Builder<'_> {
    /// The frame; an error where class name, header or content is longer than the wire format allows, or the switch
    /// has bit 7 set.
    pub fn build(&self) -> Result<BoltFrame, EditError> {
        let header_len = self
            .headers
            .iter()
            .fold(0usize, |sum, (name, value)| sum.saturating_add(size_of(name, value)));
        let v1 = self.version == Version::V1;
        if !v1 && self.switch & 0x80 != 0 {
            return Err(EditError::Unsupported("bit 7 of the switch"));
        }
        let switch = if v1 { 0 } else { self.switch };
        let (kind, cmdcode) = match self.kind {
            Kind::Request => (TYPE_REQUEST, CMD_REQUEST),
            Kind::OneWay | Kind::Push => (TYPE_ONEWAY, CMD_REQUEST),
            Kind::Response => (TYPE_RESPONSE, CMD_RESPONSE),
            Kind::Heartbeat => (TYPE_REQUEST, CMD_HEARTBEAT),
            Kind::HeartbeatReply => (TYPE_RESPONSE, CMD_HEARTBEAT),
            Kind::GoAway => (TYPE_REQUEST, CMD_GO_AWAY),
        };
        let class_len = fits("the class name", self.class.len(), MAX_SHORT)? as u16;
        let header_len = fits("the header", header_len, MAX_SHORT)? as u16;
        let content_len = fits("the content", self.content.len(), i32::MAX as usize)?;
        let crc = self.version.has_crc(switch);
        let layout = Layout::new(self.version, self.kind, crc)
            .with_class_len(class_len)
            .with_header_len(header_len);

        let mut raw = BytesMut::with_capacity(
            layout.content_at().saturating_add(content_len).saturating_add(CRC_LEN),
        );
        match self.version {
            Version::V1 => raw.put_u8(1),
            Version::V2 => raw.put_slice(&[2, 1]),
            Version::V2Crc => raw.put_slice(&[2, 2]),
        }
        raw.put_u8(kind);
        raw.put_u16(cmdcode);
        raw.put_u8(1);
        raw.put_u32(self.id);
        raw.put_u8(self.codec);
        if !v1 {
            raw.put_u8(switch);
        }
        if kind == TYPE_RESPONSE {
            raw.put_u16(self.status);
        } else {
            raw.put_i32(self.timeout);
        }
        raw.put_u16(class_len);
        raw.put_u16(header_len);
        raw.put_u32(content_len as u32);
        raw.put_slice(self.class);
        for text in self.headers.iter().flat_map(|(name, value)| [name, value]) {
            raw.put_u32(text.len() as u32);
            raw.put_slice(text.as_bytes());
        }
        raw.put_slice(self.content);
        if crc {
            raw.put_bytes(0, CRC_LEN);
        }
        Ok(BoltFrame::unsealed(raw, layout))
    }
}

/// `size`, if it is at most `max`.
pub(crate) fn fits(what: &'static str, size: usize, max: usize) -> Result<usize, EditError> {
    if size <= max { Ok(size) } else { Err(EditError::TooLong { what, size, max }) }
}
