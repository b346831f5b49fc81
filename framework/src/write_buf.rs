use std::{collections::VecDeque, io::IoSlice, mem};

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Frames at least this long are queued as they are, shorter ones are copied behind one another: below it copying is
/// cheaper than one more segment in the vectored write.
const COPY_BELOW: usize = 16 * 1024;

/// Bytes on their way to a socket: one run of copied small frames, and between such runs the large frames themselves.
#[derive(Debug, Default)]
pub struct WriteBuf {
    segments: VecDeque<Bytes>,
    segments_len: usize,
    tail: Vec<u8>,
    /// How much of `tail` is written already. Zero unless `segments` is empty.
    written: usize,
}

impl WriteBuf {
    /// Copies bytes to the end.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    /// Moves bytes to the end, copying them only when they are few.
    pub fn put(&mut self, bytes: BytesMut) {
        if bytes.len() < COPY_BELOW {
            self.tail.extend_from_slice(&bytes);
        } else {
            self.seal();
            self.segments_len = self.segments_len.saturating_add(bytes.len());
            self.segments.push_back(bytes.freeze());
        }
    }

    /// How many bytes wait to be written.
    pub fn len(&self) -> usize {
        self.segments_len.saturating_add(self.tail.len()).saturating_sub(self.written)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives up the storage when nothing waits, for an idle connection to cost nothing. The caller may pool it.
    pub fn take_storage(&mut self) -> Option<Vec<u8>> {
        (self.is_empty() && self.tail.capacity() > 0).then(|| {
            self.written = 0;
            let mut storage = mem::take(&mut self.tail);
            storage.clear();
            storage
        })
    }

    /// Puts pooled storage in, where there is none.
    pub fn give_storage(&mut self, storage: Vec<u8>) {
        if self.tail.capacity() == 0 {
            self.tail = storage;
        }
    }

    /// Whether it holds storage of its own.
    pub fn has_storage(&self) -> bool {
        self.tail.capacity() > 0
    }

    /// All waiting bytes in one piece. For tests and small tools.
    pub fn to_bytes(&self) -> BytesMut {
        let mut all = BytesMut::with_capacity(self.len());
        self.segments.iter().for_each(|s| all.put_slice(s));
        all.put_slice(self.tail.get(self.written..).unwrap_or_default());
        all
    }

    fn seal(&mut self) {
        if self.tail.len() > self.written {
            let mut sealed = Bytes::from(mem::take(&mut self.tail));
            sealed.advance(self.written);
            self.segments_len = self.segments_len.saturating_add(sealed.len());
            self.segments.push_back(sealed);
        } else {
            self.tail.clear();
        }
        self.written = 0;
    }
}

impl Buf for WriteBuf {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        match self.segments.front() {
            Some(segment) => segment,
            None => self.tail.get(self.written..).unwrap_or_default(),
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = self.tail.get(self.written..).filter(|t| !t.is_empty());
        let chunks = self.segments.iter().map(|s| &s[..]).chain(tail);
        let mut filled = 0usize;
        for (slot, chunk) in slices.iter_mut().zip(chunks) {
            *slot = IoSlice::new(chunk);
            filled = filled.saturating_add(1);
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(front) = self.segments.front_mut() {
            if count < front.len() {
                front.advance(count);
                self.segments_len = self.segments_len.saturating_sub(count);
                return;
            }
            count = count.saturating_sub(front.len());
            self.segments_len = self.segments_len.saturating_sub(front.len());
            self.segments.pop_front();
        }
        self.written = self.written.saturating_add(count).min(self.tail.len());
        if self.written == self.tail.len() {
            self.tail.clear();
            self.written = 0;
        } else if self.written >= COPY_BELOW && self.written >= self.tail.len() / 2 {
            // A reader that is never quite done must not make the buffer grow for ever.
            self.tail.drain(..self.written);
            self.written = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(buf: &mut WriteBuf, step: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while buf.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 4];
            let filled = buf.chunks_vectored(&mut slices);
            let flat: Vec<u8> =
                slices[..filled].iter().flat_map(|s| s.iter().copied()).take(step).collect();
            buf.advance(flat.len());
            got.extend(flat);
        }
        got
    }

    #[test]
    fn order_is_kept_between_copied_and_moved_frames() {
        for step in [1, 7, 1000, 20_000, usize::MAX] {
            let (mut buf, mut want) = (WriteBuf::default(), Vec::new());
            for (i, len) in
                [3, COPY_BELOW, 5, COPY_BELOW - 1, 2 * COPY_BELOW, 1].into_iter().enumerate()
            {
                let frame = vec![i as u8; len];
                want.extend_from_slice(&frame);
                buf.put(BytesMut::from(&frame[..]));
            }
            assert_eq!(buf.len(), want.len());
            assert_eq!(&buf.to_bytes()[..], &want[..]);
            assert!(drain(&mut buf, step) == want, "step {step}");
            assert_eq!(buf.len(), 0);
        }
    }

    #[test]
    fn appending_after_a_partial_write_keeps_what_is_left() {
        let mut buf = WriteBuf::default();
        buf.put_slice(b"abcdef");
        buf.advance(4);
        buf.put(BytesMut::from(&vec![b'x'; COPY_BELOW][..]));
        buf.put_slice(b"gh");
        assert_eq!(buf.len(), 2 + COPY_BELOW + 2);
        let got = drain(&mut buf, usize::MAX);
        assert_eq!(&got[..2], b"ef");
        assert_eq!(&got[got.len() - 2..], b"gh");
    }

    #[test]
    fn storage_is_given_up_only_when_empty() {
        let mut buf = WriteBuf::default();
        buf.put_slice(b"abc");
        assert!(buf.take_storage().is_none());
        buf.advance(3);
        assert!(buf.take_storage().is_some());
        assert!(!buf.has_storage());
    }
}
