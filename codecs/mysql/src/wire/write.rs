use bytes::{BufMut, BytesMut};

use super::{Head, MAX_BODY};

/// Appends a length-encoded integer, in its shortest form.
pub fn put_lenenc_int(out: &mut BytesMut, value: u64) {
    match value {
        0..=250 => out.put_u8(value.to_le_bytes()[0]),
        251..=0xffff => {
            out.put_u8(0xfc);
            out.put_uint_le(value, 2);
        }
        0x1_0000..=0xff_ffff => {
            out.put_u8(0xfd);
            out.put_uint_le(value, 3);
        }
        _ => {
            out.put_u8(0xfe);
            out.put_u64_le(value);
        }
    }
}

/// Appends a string behind its length-encoded length.
pub fn put_lenenc_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_lenenc_int(out, bytes.len() as u64);
    out.put_slice(bytes);
}

/// Appends a string and a NUL. One within the string would end it.
pub fn put_nul_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_slice(bytes);
    out.put_u8(0);
}

/// Appends a body as a packet, or as several where it is longer than one may be. Answers the sequence number of the next.
pub fn put_packet(out: &mut BytesMut, mut seq: u8, mut body: &[u8]) -> u8 {
    loop {
        let (part, rest) = body.split_at_checked(MAX_BODY).unwrap_or((body, &[]));
        let head = Head { len: part.len(), seq };
        out.reserve(part.len().saturating_add(super::HEAD));
        out.put_slice(&head.bytes());
        out.put_slice(part);
        seq = seq.wrapping_add(1);
        if !head.is_continued() {
            return seq;
        }
        body = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{HEAD, Reader};

    #[test]
    fn integers_are_read_back() {
        for value in [0, 250, 251, 0xffff, 0x1_0000, 0xff_ffff, 0x100_0000, u64::MAX] {
            let mut out = BytesMut::new();
            put_lenenc_int(&mut out, value);
            let mut bytes = Reader::new(&out);
            assert_eq!((bytes.lenenc_int(), bytes.is_empty()), (Ok(value), true));
        }
    }

    #[test]
    fn strings_are_read_back() {
        let mut out = BytesMut::new();
        put_lenenc_bytes(&mut out, &[7; 300]);
        put_nul_bytes(&mut out, b"end");
        let mut bytes = Reader::new(&out);
        assert_eq!(bytes.lenenc_bytes(), Ok(&[7; 300][..]));
        assert_eq!((bytes.nul_bytes(), bytes.is_empty()), (Ok(&b"end"[..]), true));
    }

    #[test]
    fn long_bodies_are_continued() {
        for (len, packets) in [(0, 1), (5, 1), (MAX_BODY - 1, 1), (MAX_BODY, 2), (MAX_BODY + 1, 2)]
        {
            let mut out = BytesMut::new();
            let next = put_packet(&mut out, 255, &vec![1; len]);
            assert_eq!(next, 255_u8.wrapping_add(packets));
            assert_eq!(out.len(), len + HEAD * usize::from(packets));
            let first = Head::read(&out);
            assert_eq!(first, Some(Head { len: len.min(MAX_BODY), seq: 255 }));
            let last = Head::read(&out[out.len() - len % MAX_BODY - HEAD..]);
            assert_eq!(last, Some(Head { len: len % MAX_BODY, seq: next.wrapping_sub(1) }));
        }
        assert_eq!(Head::read(&[1, 0, 0]), None);
    }
}
