//! Fixed layouts: numbers at fixed offsets, and frames cut off a stream by a length among them.
//!
//! A layout is written down as constants, much as a specification's table would say it:
//!
//! ```
//! use bytes::BytesMut;
//! use wiremesh::{Limits, framing::{Field, Layout}};
//!
//! const ID: Field = Field::u32(0);
//! // A head of 7 bytes; the length at 4 counts what follows it, and of that the name takes as many bytes as 6 says.
//! const LAYOUT: Layout<1> = Layout::new(7, Field::u16(4)).parts([Field::u8(6)]);
//!
//! let mut input = BytesMut::from(&b"\0\0\0\x07\0\x05\x03addhi and more"[..]);
//! let frame = LAYOUT.take(&Limits::default(), &mut input)?.expect("it is all there");
//! assert_eq!((ID.get(&frame), LAYOUT.part(&frame, 0), LAYOUT.rest(&frame)), (7, &b"add"[..], &b"hi"[..]));
//! assert_eq!(&input[..], b" and more");
//! # Ok::<(), wiremesh::DecodeError>(())
//! ```

use std::borrow::Cow;

use bytes::BytesMut;

use crate::{DecodeError, Detection, EditError, Frame, HeaderView, Kind, Limits, Status};

/// How frames of a fixed layout are cut off a stream and put together: a head of fixed length that holds the frame's
/// length, `N` parts whose lengths stand in the head too, and the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout<const N: usize> {
    head: usize,
    length: Field,
    counts_from: usize,
    magic: &'static [u8],
    parts: [Field; N],
}

impl Layout<0> {
    /// A head of `head` bytes, in which `length` counts what follows it.
    pub const fn new(head: usize, length: Field) -> Self {
        Self { head, length, counts_from: head, magic: &[], parts: [] }
    }

    /// Behind the head come parts of these lengths, in this order, and then the rest.
    pub const fn parts<const N: usize>(self, parts: [Field; N]) -> Layout<N> {
        let Self { head, length, counts_from, magic, .. } = self;
        Layout { head, length, counts_from, magic, parts }
    }
}

impl<const N: usize> Layout<N> {
    /// The length counts from this offset on instead: 0 where it counts the whole frame.
    pub const fn counts_from(self, offset: usize) -> Self {
        Self { counts_from: offset, ..self }
    }

    /// Every frame begins with these bytes.
    pub const fn magic(self, magic: &'static [u8]) -> Self {
        Self { magic, ..self }
    }

    /// What a connection's first bytes say, as far as the magic tells.
    pub fn detect(&self, prefix: &[u8]) -> Detection {
        detect_any(&[self.magic], prefix)
    }

    /// Takes one whole frame off `input`, or answers `None` and leaves `input` as it is until more is there.
    ///
    /// Wrong magic, a length over [`Limits::max_frame`], and a length too short for the head are refused as soon as
    /// their own bytes are there; nothing is ever reserved by a length. In a frame that is returned, head and parts are
    /// whole.
    pub fn take(
        &self,
        limits: &Limits,
        input: &mut BytesMut,
    ) -> Result<Option<BytesMut>, DecodeError> {
        if self.detect(input) == Detection::Mismatch {
            return Err(DecodeError::Malformed { what: "magic" });
        }
        if input.len() < self.length.end() {
            return Ok(None);
        }
        let seen = self.length.get(input).saturating_add(self.counts_from as u64);
        let max = limits.max_frame as u64;
        if seen > max {
            return Err(DecodeError::Limit { limit: "max_frame", max, seen });
        }
        let len = usize::try_from(seen).unwrap_or(usize::MAX);
        if len < self.head {
            return Err(DecodeError::Malformed { what: "length" });
        }
        if input.len() < len {
            return Ok(None);
        }
        if self.start(input, N) > len {
            return Err(DecodeError::Malformed { what: "length of a part" });
        }
        Ok(Some(input.split_to(len)))
    }

    /// Puts a frame together of these numbers in its head, its parts and the rest. Magic and lengths are set, what
    /// nobody sets is zero.
    pub fn build(
        &self,
        head: &[(Field, u64)],
        parts: [&[u8]; N],
        rest: &[u8],
    ) -> Result<BytesMut, EditError> {
        let tail = parts.iter().fold(rest.len(), |sum, part| sum.saturating_add(part.len()));
        let mut frame = BytesMut::with_capacity(self.head.saturating_add(tail));
        frame.resize(self.head, 0);
        if let Some(magic) = frame.get_mut(..self.magic.len()) {
            magic.copy_from_slice(self.magic);
        }
        head.iter().for_each(|(field, value)| field.set(&mut frame, *value));
        for (field, part) in self.parts.iter().zip(parts) {
            field.try_set(&mut frame, part.len(), "a part")?;
            frame.extend_from_slice(part);
        }
        frame.extend_from_slice(rest);
        let counted = frame.len().saturating_sub(self.counts_from);
        self.length.try_set(&mut frame, counted, "the frame")?;
        Ok(frame)
    }

    /// The bytes of the n-th part, counted from 0.
    pub fn part<'a>(&self, frame: &'a [u8], n: usize) -> &'a [u8] {
        let (start, end) = (self.start(frame, n), self.start(frame, n.saturating_add(1)));
        frame.get(start..end).unwrap_or_default()
    }

    /// The n-th part as text, with replacement characters for what is not UTF-8.
    pub fn text<'a>(&self, frame: &'a [u8], n: usize) -> Cow<'a, str> {
        String::from_utf8_lossy(self.part(frame, n))
    }

    /// What follows the last part.
    pub fn rest<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(self.start(frame, N)..).unwrap_or_default()
    }

    /// The offset at which the n-th part begins.
    fn start(&self, frame: &[u8], n: usize) -> usize {
        let len = |field: &Field| usize::try_from(field.get(frame)).unwrap_or(usize::MAX);
        self.parts.iter().take(n).fold(self.head, |at, field| at.saturating_add(len(field)))
    }
}

/// An unsigned number at a fixed offset of a frame's head. Big-endian unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    offset: usize,
    width: usize,
    little: bool,
}

impl Field {
    /// One byte at `offset`.
    pub const fn u8(offset: usize) -> Self {
        Self { offset, width: 1, little: false }
    }

    /// Two bytes at `offset`.
    pub const fn u16(offset: usize) -> Self {
        Self { offset, width: 2, little: false }
    }

    /// Three bytes at `offset`.
    pub const fn u24(offset: usize) -> Self {
        Self { offset, width: 3, little: false }
    }

    /// Four bytes at `offset`.
    pub const fn u32(offset: usize) -> Self {
        Self { offset, width: 4, little: false }
    }

    /// Eight bytes at `offset`.
    pub const fn u64(offset: usize) -> Self {
        Self { offset, width: 8, little: false }
    }

    /// The same bytes, the lowest first.
    pub const fn little_endian(self) -> Self {
        Self { little: true, ..self }
    }

    /// The offset of the byte behind it.
    pub const fn end(self) -> usize {
        self.offset.saturating_add(self.width)
    }

    /// The largest value it holds.
    pub const fn max(self) -> u64 {
        u64::MAX >> 64_usize.saturating_sub(self.width.saturating_mul(8))
    }

    /// Its value; 0 in a frame that ends before it does.
    pub fn get(self, frame: &[u8]) -> u64 {
        let bytes = frame.get(self.offset..self.end()).unwrap_or_default();
        let push = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        if self.little { bytes.iter().rev().fold(0, push) } else { bytes.iter().fold(0, push) }
    }

    /// The meaning that stands in `table` at the place of its value; `what` is for the error when none does.
    pub fn look_up<T: Copy>(
        self,
        frame: &[u8],
        table: &[T],
        what: &'static str,
    ) -> Result<T, DecodeError> {
        let value = self.get(frame);
        let place = usize::try_from(value).unwrap_or(usize::MAX);
        table.get(place).copied().ok_or(DecodeError::Unknown { what, value })
    }

    /// Writes the low bytes of `value`; a frame that ends before the field does stays as it is.
    pub fn set(self, frame: &mut [u8], value: u64) {
        let (big, little) = (value.to_be_bytes(), value.to_le_bytes());
        let from = if self.little {
            little.get(..self.width)
        } else {
            big.get(8_usize.saturating_sub(self.width)..)
        };
        if let (Some(to), Some(from)) = (frame.get_mut(self.offset..self.end()), from) {
            to.copy_from_slice(from);
        }
    }

    fn try_set(self, frame: &mut [u8], size: usize, what: &'static str) -> Result<(), EditError> {
        if size as u64 > self.max() {
            let max = usize::try_from(self.max()).unwrap_or(usize::MAX);
            return Err(EditError::TooLong { what, size, max });
        }
        self.set(frame, size as u64);
        Ok(())
    }
}

/// A frame that is nothing but its bytes, for protocols that name no service or method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// What it is for.
    pub kind: Kind,
    /// What it says of its request.
    pub status: Status,
    /// All of it.
    pub bytes: BytesMut,
}

impl HeaderView for RawFrame {}

impl Frame for RawFrame {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn wire_len(&self) -> usize {
        self.bytes.len()
    }

    fn status(&self) -> Status {
        self.status
    }
}

/// What a connection's first bytes say, where it begins with one of these.
pub fn detect_any<T: AsRef<[u8]>>(magics: &[T], prefix: &[u8]) -> Detection {
    let agrees = |magic: &&[u8]| magic.iter().zip(prefix).all(|(want, got)| want == got);
    match magics.iter().map(AsRef::as_ref).filter(agrees).map(<[u8]>::len).min() {
        None => Detection::Mismatch,
        Some(len) if len > prefix.len() => Detection::NeedMore(len),
        Some(_) => Detection::Match,
    }
}

/// Takes one line off `input`, its `\n` included, or answers `None` and leaves `input` as it is until more is there.
///
/// `searched` is the part of `input` known to hold no end of line: the connection's state, 0 at first. A line over
/// [`Limits::max_frame`] is refused as soon as so many bytes are there.
pub fn take_line(
    limits: &Limits,
    searched: &mut usize,
    input: &mut BytesMut,
) -> Result<Option<BytesMut>, DecodeError> {
    let fresh = input.iter().skip(*searched).position(|byte| *byte == b'\n');
    let seen = fresh.map_or(input.len(), |at| searched.saturating_add(at).saturating_add(1));
    if seen > limits.max_frame {
        return Err(DecodeError::limit("max_frame", limits.max_frame, seen));
    }
    *searched = if fresh.is_some() { 0 } else { input.len() };
    Ok(fresh.map(|_| input.split_to(seen)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits { max_frame: 100, max_header: 100, max_depth: 1, max_elements: 1 };

    fn take<const N: usize>(
        layout: Layout<N>,
        bytes: &[u8],
    ) -> Result<Option<BytesMut>, DecodeError> {
        let mut input = BytesMut::from(bytes);
        let taken = layout.take(&SMALL, &mut input);
        let left = bytes.len() - taken.as_ref().map_or(0, |f| f.as_ref().map_or(0, BytesMut::len));
        assert_eq!(&input[..], &bytes[bytes.len() - left..]);
        assert!(input.capacity() <= bytes.len(), "reserved {}", input.capacity());
        taken
    }

    #[test]
    fn fields_of_every_width_and_order_round_trip_and_touch_nothing_else() {
        let fields = [Field::u8(3), Field::u16(3), Field::u24(3), Field::u32(3), Field::u64(3)];
        for (field, width) in fields.into_iter().zip([1, 2, 3, 4, 8]) {
            let value = 0x0102_0304_0506_0708_u64;
            let mut frame = [0xee; 12];
            field.set(&mut frame, value);
            assert_eq!(field.get(&frame), value & field.max(), "{field:?}");
            assert_eq!(frame[3..3 + width], value.to_be_bytes()[8 - width..]);
            field.little_endian().set(&mut frame, value);
            assert_eq!(field.little_endian().get(&frame), value & field.max(), "{field:?}");
            assert_eq!(frame[3..3 + width], value.to_le_bytes()[..width]);
            assert!(frame[..3].iter().chain(&frame[3 + width..]).all(|b| *b == 0xee), "{field:?}");
        }
        assert_eq!(Field::u8(0).max(), 0xff);
        assert_eq!(Field::u24(0).max(), 0xff_ffff);
        assert_eq!(Field::u64(0).max(), u64::MAX);
    }

    #[test]
    fn a_field_beyond_the_end_reads_zero_and_writes_nothing() {
        let mut frame = [1, 2, 3];
        Field::u16(2).set(&mut frame, 9);
        assert_eq!((Field::u16(2).get(&frame), frame), (0, [1, 2, 3]));
        assert_eq!(Field::u64(usize::MAX).get(&frame), 0);
    }

    #[test]
    fn a_code_without_a_meaning_is_refused() {
        let field = Field::u8(0);
        assert_eq!(field.look_up(&[1], &["a", "b"], "kind"), Ok("b"));
        let unknown = DecodeError::Unknown { what: "kind", value: 2 };
        assert_eq!(field.look_up(&[2], &["a", "b"], "kind"), Err(unknown));
    }

    #[test]
    fn a_length_counts_from_where_it_is_told() {
        let layout = Layout::new(6, Field::u16(2));
        for (layout, declared) in
            [(layout, 4), (layout.counts_from(0), 10), (layout.counts_from(4), 6)]
        {
            let frame = layout.build(&[], [], b"1234").unwrap();
            assert_eq!(&frame[..], [0, 0, 0, declared, 0, 0, b'1', b'2', b'3', b'4']);
            for cut in 0..frame.len() {
                assert_eq!(take(layout, &frame[..cut]), Ok(None), "cut {cut}");
            }
            assert_eq!(take(layout, &[&frame[..], b"next"].concat()), Ok(Some(frame)));
        }
    }

    #[test]
    fn parts_lie_behind_one_another() {
        let layout = Layout::new(6, Field::u16(0)).parts([Field::u8(2), Field::u16(3)]);
        let frame = layout.build(&[(Field::u8(5), 7)], [b"ab", b"cde"], b"rest").unwrap();
        assert_eq!(&frame[..], b"\0\x09\x02\0\x03\x07abcderest");
        assert_eq!(layout.part(&frame, 0), b"ab");
        assert_eq!(layout.text(&frame, 1), "cde");
        assert_eq!(layout.part(&frame, 2), b"");
        assert_eq!(layout.rest(&frame), b"rest");
        let mut lie = frame.clone();
        Field::u16(3).set(&mut lie, 8);
        let malformed = DecodeError::Malformed { what: "length of a part" };
        assert_eq!(take(layout, &lie), Err(malformed));
        Field::u16(3).set(&mut lie, 7);
        assert_eq!(take(layout, &lie), Ok(Some(lie.clone())));
        assert_eq!((layout.part(&lie, 1), layout.rest(&lie)), (&b"cderest"[..], &b""[..]));
    }

    #[test]
    fn a_lie_is_refused_as_soon_as_it_is_read() {
        let layout = Layout::new(8, Field::u64(0));
        for declared in [93, u64::from(u32::MAX), u64::MAX - 8, u64::MAX] {
            let seen = declared.saturating_add(8);
            let refused = DecodeError::Limit { limit: "max_frame", max: 100, seen };
            assert_eq!(take(layout, &declared.to_be_bytes()), Err(refused));
        }
        assert_eq!(take(layout, &92u64.to_be_bytes()), Ok(None));
    }

    #[test]
    fn a_length_shorter_than_the_head_is_malformed() {
        let malformed = DecodeError::Malformed { what: "length" };
        assert_eq!(take(Layout::new(4, Field::u8(0)).counts_from(0), &[3]), Err(malformed));
    }

    #[test]
    fn what_does_not_fit_its_length_is_refused() {
        let layout = Layout::new(2, Field::u8(0)).parts([Field::u8(1)]);
        let too_long = |what, size| Err::<BytesMut, _>(EditError::TooLong { what, size, max: 255 });
        assert!(layout.build(&[], [b"x"], &[0; 254]).is_ok());
        assert_eq!(layout.build(&[], [b"x"], &[0; 255]), too_long("the frame", 256));
        assert_eq!(layout.build(&[], [&[0; 256]], b""), too_long("a part", 256));
    }

    #[test]
    fn magic_decides_as_soon_as_it_can() {
        let layout = Layout::new(3, Field::u8(2)).magic(b"mx");
        for (prefix, want) in [
            (&b""[..], Detection::NeedMore(2)),
            (b"m", Detection::NeedMore(2)),
            (b"x", Detection::Mismatch),
            (b"mx", Detection::Match),
            (b"my", Detection::Mismatch),
            (b"mx...", Detection::Match),
        ] {
            assert_eq!(layout.detect(prefix), want, "{prefix:?}");
        }
        assert_eq!(take(layout, b"n"), Err(DecodeError::Malformed { what: "magic" }));
        assert_eq!(take(layout, b"m"), Ok(None));
    }

    #[test]
    fn several_magics_need_no_more_than_the_shortest_that_is_left() {
        let magics = ["GET ", "GO", "PUT "];
        for (prefix, want) in [
            (&b""[..], Detection::NeedMore(2)),
            (b"G", Detection::NeedMore(2)),
            (b"GE", Detection::NeedMore(4)),
            (b"GO", Detection::Match),
            (b"P", Detection::NeedMore(4)),
            (b"PUT /", Detection::Match),
            (b"X", Detection::Mismatch),
        ] {
            assert_eq!(detect_any(&magics, prefix), want, "{prefix:?}");
        }
    }

    #[test]
    fn lines_come_one_by_one_and_no_byte_is_searched_twice() {
        let (mut input, mut searched) = (BytesMut::from("abc"), 0);
        assert_eq!(take_line(&SMALL, &mut searched, &mut input), Ok(None));
        assert_eq!(searched, 3);
        input.extend_from_slice(b"d\n\nx");
        for (want, after) in [(Some("abcd\n"), 0), (Some("\n"), 0), (None, 1)] {
            assert_eq!(take_line(&SMALL, &mut searched, &mut input), Ok(want.map(BytesMut::from)));
            assert_eq!(searched, after);
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused_at_the_limit() {
        for (line, whole) in [("x".repeat(100), None), ("x".repeat(99) + "\n", Some(100))] {
            let taken = take_line(&SMALL, &mut 0, &mut BytesMut::from(&line[..]));
            assert_eq!(taken.map(|line| line.map(|line| line.len())), Ok(whole));
        }
        for line in ["x".repeat(101), "x".repeat(100) + "\n"] {
            let refused = DecodeError::limit("max_frame", 100, 101);
            assert_eq!(take_line(&SMALL, &mut 0, &mut BytesMut::from(&line[..])), Err(refused));
        }
    }
}
