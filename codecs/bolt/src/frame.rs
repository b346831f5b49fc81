use std::{borrow::Cow, time::Duration};

use bytes::BytesMut;
use wiremesh::{EditError, Frame, HeaderView, Kind, Status, TraceContext, WriteBuf};

use crate::{
    Version,
    build::fits,
    header::{self, Index, Invoke},
    hessian,
    layout::Layout,
    status::ResponseStatus,
    trace,
    wire::{CRC_LEN, MAX_SHORT, SOFA_REQUEST, codec, patch, u16_at, u32_at},
};

/// `true` in a response of status 0 that is an error nevertheless.
pub(crate) const RESPONSE_ERROR: &str = "sofa_head_response_error";
/// The [neutral status](Status) of an answer of wiremesh's own, where Bolt's would read as another: the next wiremesh
/// on the way is to know it.
pub(crate) const OUR_STATUS: &str = "wiremesh_status";
/// The time left, in milliseconds, as text.
const DEADLINE: &str = "sofa_head_deadline_remain_time";

/// One Bolt message.
///
/// Holds the bytes as they came. Edits are made in them, and the CRC is brought up to date when the frame is encoded.
#[derive(Clone, Debug)]
pub struct BoltFrame {
    raw: BytesMut,
    layout: Layout,
    header: Index,
    /// The bytes have changed, and the CRC, if there is one, has not.
    stale: bool,
}

impl BoltFrame {
    pub(crate) fn new(raw: BytesMut, layout: Layout, header: Index) -> Self {
        Self { raw, layout, header, stale: false }
    }

    /// A frame whose CRC is not filled in.
    pub(crate) fn unsealed(raw: BytesMut, layout: Layout) -> Self {
        let mut frame = Self { raw, layout, header: Index::default(), stale: true };
        frame.header_changed();
        frame
    }

    /// Protocol code and `ver1`.
    pub fn version(&self) -> Version {
        self.layout.version()
    }

    /// Request id. A Java client counts from 1 and wraps through the negative numbers.
    #[inline]
    pub fn id(&self) -> u32 {
        u32_at(&self.raw, self.layout.id_at()).unwrap_or_default()
    }

    /// Replaces the request id.
    #[inline]
    pub fn set_id(&mut self, id: u32) {
        patch(&mut self.raw, self.layout.id_at(), &id.to_be_bytes());
        self.stale = true;
    }

    /// The serialisation of the content: see [`codec`].
    pub fn codec(&self) -> u8 {
        self.raw.get(self.layout.id_at().saturating_add(4)).copied().unwrap_or_default()
    }

    /// The switch byte, bit 0 of which asks for a CRC; `None` in v1.
    pub fn switch(&self) -> Option<u8> {
        self.layout.switch_at().and_then(|at| self.raw.get(at)).copied()
    }

    /// Replaces the switch byte, and appends or cuts off the CRC where that changes with it. v1 has none, and bit 7
    /// cannot be set.
    pub fn set_switch(&mut self, switch: u8) -> Result<(), EditError> {
        let Some(at) = self.layout.switch_at() else {
            return Err(EditError::Unsupported("the switch of a v1 frame"));
        };
        if switch & 0x80 != 0 {
            return Err(EditError::Unsupported("bit 7 of the switch"));
        }
        patch(&mut self.raw, at, &[switch]);
        let crc = self.version().has_crc(switch);
        if crc && !self.layout.crc() {
            self.raw.extend_from_slice(&[0; CRC_LEN]);
        } else if !crc && self.layout.crc() {
            self.raw.truncate(self.raw.len().saturating_sub(CRC_LEN));
        }
        self.layout = self.layout.with_crc(crc);
        self.stale = true;
        Ok(())
    }

    /// Whether a CRC follows the content.
    pub fn has_crc(&self) -> bool {
        self.layout.crc()
    }

    /// The status of a response; `None` in a request.
    pub fn response_status(&self) -> Option<ResponseStatus> {
        if !self.layout.is_response() {
            return None;
        }
        u16_at(&self.raw, self.layout.status_at()).map(Into::into)
    }

    /// The timeout field of a request, in milliseconds; `None` in a response.
    pub fn timeout_ms(&self) -> Option<i32> {
        if self.layout.is_response() {
            return None;
        }
        u32_at(&self.raw, self.layout.timeout_at()).map(u32::cast_signed)
    }

    /// The Java class of the content.
    pub fn class_name(&self) -> Cow<'_, str> {
        lossy(self.class())
    }

    /// The content, in the serialisation that [`codec`](Self::codec) says.
    pub fn content(&self) -> &[u8] {
        let end = self.raw.len().saturating_sub(self.layout.trailer_len());
        self.raw.get(self.layout.content_at()..end).unwrap_or_default()
    }

    /// Whether it carries a SOFARPC request.
    pub fn is_sofa_request(&self) -> bool {
        self.class() == SOFA_REQUEST
    }

    /// The frame's bytes, CRC included, which is wrong after an edit until the frame is encoded.
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    pub(crate) fn encode(mut self, out: &mut WriteBuf) {
        if self.stale
            && self.layout.crc()
            && let Some((bytes, trailer)) = self.raw.split_last_chunk_mut::<CRC_LEN>()
        {
            *trailer = crc32fast::hash(bytes).to_be_bytes();
        }
        out.put(self.raw);
    }

    fn class(&self) -> &[u8] {
        let range = self.layout.fixed()..self.layout.header_at();
        self.raw.get(range).unwrap_or_default()
    }

    #[inline]
    fn header_block(&self) -> &[u8] {
        let range = self.layout.header_at()..self.layout.content_at();
        self.raw.get(range).unwrap_or_default()
    }

    fn header_changed(&mut self) {
        self.header = Index::of(self.header_block()).unwrap_or_default();
        self.stale = true;
    }

    pub(crate) fn invoke(&self) -> Invoke {
        self.header.invoke()
    }

    #[inline]
    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        header::find(self.header_block(), name.as_bytes()).map(lossy)
    }

    /// A string field of the SOFARPC request in the content.
    fn body_text(&self, field: &[u8]) -> Option<Cow<'_, str>> {
        if self.codec() != codec::HESSIAN2 || !self.is_sofa_request() {
            return None;
        }
        hessian::string_field(self.content(), field)
    }

    /// Whether the header block may take these, each in place of what has its name.
    pub(crate) fn has_room_for<'a>(
        &self,
        edits: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), EditError> {
        let size = edits.fold(self.layout.header_len(), |size, (name, value)| {
            let old = header::pairs(self.header_block())
                .filter(|pair| pair.name == name.as_bytes())
                .fold(0usize, |sum, pair| sum.saturating_add(pair.span.len()));
            size.saturating_add(header::size_of(name, value)).saturating_sub(old)
        });
        fits("the header", size, MAX_SHORT).map(|_| ())
    }

    /// Moves every pair of another name to the front of the block; says how long the block is then.
    fn drop_pairs(&mut self, name: &[u8]) -> usize {
        let (at, mut kept, mut read) = (self.layout.header_at(), 0usize, 0usize);
        loop {
            let rest = self.header_block().get(read..).unwrap_or_default();
            let found = header::pairs(rest).find(|pair| pair.name == name).map(|pair| pair.span);
            let Some(span) = found else { break };
            kept = self.move_back(at, read..read.saturating_add(span.start), kept);
            read = read.saturating_add(span.end);
        }
        self.move_back(at, read..self.layout.header_len(), kept)
    }

    fn move_back(&mut self, base: usize, from: std::ops::Range<usize>, to: usize) -> usize {
        let len = from.len();
        if from.start != to {
            let source = base.saturating_add(from.start)..base.saturating_add(from.end);
            self.raw.copy_within(source, base.saturating_add(to));
        }
        to.saturating_add(len)
    }

    /// Makes the block `new` bytes long, by moving what follows it.
    fn resize_block(&mut self, new: usize) {
        let (end, tail) = (self.layout.content_at(), self.raw.len());
        let to = self.layout.header_at().saturating_add(new);
        let len = to.saturating_add(tail.saturating_sub(end));
        if len > tail {
            self.raw.resize(len, 0);
        }
        self.raw.copy_within(end..tail, to);
        self.raw.truncate(len);
        self.layout = self.layout.with_header_len(new as u16);
        let at = self.layout.lengths_at().saturating_add(2);
        patch(&mut self.raw, at, &(new as u16).to_be_bytes());
    }
}

impl Frame for BoltFrame {
    #[inline]
    fn kind(&self) -> Kind {
        self.layout.kind()
    }

    #[inline]
    fn wire_len(&self) -> usize {
        self.raw.len()
    }

    fn status(&self) -> Status {
        if self.layout.kind() != Kind::Response {
            return Status::Ok;
        }
        let status = self.response_status().map_or(Status::Unknown, ResponseStatus::neutral);
        let block = self.header_block();
        if block.is_empty() {
            return status;
        }
        let named = |name: &[u8]| Status::ALL.into_iter().find(|s| s.as_str().as_bytes() == name);
        if let Some(told) = header::find(block, OUR_STATUS.as_bytes()).and_then(named) {
            return told;
        }
        let failed = || header::find(block, RESPONSE_ERROR.as_bytes()) == Some(b"true");
        if status == Status::Ok && failed() {
            return Status::AppError;
        }
        status
    }

    fn service(&self) -> Option<Cow<'_, str>> {
        let named = self.header.service(self.header_block()).map(lossy);
        named.or_else(|| self.body_text(b"targetServiceUniqueName"))
    }

    fn method(&self) -> Option<Cow<'_, str>> {
        let named = self.header.method(self.header_block()).map(lossy);
        named.or_else(|| self.body_text(b"methodName"))
    }

    fn timeout(&self) -> Option<Duration> {
        let ms = self.timeout_ms().and_then(|ms| u64::try_from(ms).ok()).filter(|&ms| ms > 0);
        ms.map(Duration::from_millis)
    }

    fn set_timeout(&mut self, timeout: Duration) {
        if !matches!(self.layout.kind(), Kind::Request | Kind::OneWay) {
            return;
        }
        // Zero would stand for "none".
        let ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX).max(1);
        let at = self.layout.timeout_at();
        patch(&mut self.raw, at, &ms.to_be_bytes());
        self.stale = true;
        if header::find(self.header_block(), DEADLINE.as_bytes()).is_some() {
            // Where there is no room for it, the field above still says it.
            let _ = self.set_header(DEADLINE, &ms.to_string());
        }
    }
}

impl HeaderView for BoltFrame {
    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.text(name)
    }

    fn for_each_header(&self, each: &mut dyn FnMut(&str, &str)) {
        for pair in header::pairs(self.header_block()) {
            each(&lossy(pair.name), &lossy(pair.value));
        }
    }

    fn set_header(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        let (mut old, mut count, mut value_end, mut value_len) = (0usize, 0usize, 0usize, 0usize);
        for pair in header::pairs(self.header_block()).filter(|p| p.name == name.as_bytes()) {
            old = old.saturating_add(pair.span.len());
            count = count.saturating_add(1);
            (value_end, value_len) = (pair.span.end, pair.value.len());
        }
        if count == 1 && value_len == value.len() {
            let at = self.layout.header_at().saturating_add(value_end).saturating_sub(value_len);
            patch(&mut self.raw, at, value.as_bytes());
            self.header_changed();
            return Ok(());
        }

        let pair = header::size_of(name, value);
        let size = self.layout.header_len().saturating_sub(old).saturating_add(pair);
        let size = fits("the header", size, MAX_SHORT)?;
        let kept = self.drop_pairs(name.as_bytes());
        self.resize_block(size);
        let mut at = self.layout.header_at().saturating_add(kept);
        for text in [name, value] {
            patch(&mut self.raw, at, &(text.len() as u32).to_be_bytes());
            at = at.saturating_add(4);
            patch(&mut self.raw, at, text.as_bytes());
            at = at.saturating_add(text.len());
        }
        self.header_changed();
        Ok(())
    }

    fn remove_header(&mut self, name: &str) -> Result<bool, EditError> {
        if header::find(self.header_block(), name.as_bytes()).is_none() {
            return Ok(false);
        }
        let kept = self.drop_pairs(name.as_bytes());
        self.resize_block(kept);
        self.header_changed();
        Ok(true)
    }

    fn trace(&self) -> Option<TraceContext<'_>> {
        trace::read(self)
    }

    fn set_trace(&mut self, trace: &TraceContext<'_>) -> Result<(), EditError> {
        trace::write(self, trace)
    }

    fn caller(&self) -> Option<Cow<'_, str>> {
        self.text("app").or_else(|| self.text(trace::CALLER_APP))
    }
}

/// As [`String::from_utf8_lossy`], which looks at every byte by itself where this, for what is sound, takes words.
#[inline]
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}
