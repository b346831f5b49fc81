use std::{
    cell::{Cell, RefCell},
    mem,
    rc::Rc,
};

use bytes::BytesMut;
use wiremesh::WriteBuf;

/// How much one read may bring.
pub const READ_CHUNK: usize = 64 * 1024;

/// What is left of a read is kept in place when it is more than this, and copied out when it is less.
const COPY_REST: usize = 16 * 1024;

/// Buffers that a worker's connections share, so that an idle connection holds none.
///
/// All connections read into the same chunk, which therefore stays in the core's cache; only a half-received frame is
/// moved to a buffer of the connection's own.
pub struct Buffers {
    chunk: RefCell<BytesMut>,
    /// What waits to be written to clients.
    pub to_clients: Pool,
    /// What waits to be written to upstreams: few, and far larger.
    pub to_upstreams: Pool,
    /// Bytes of clients' messages that have not come whole.
    partial: Rc<Cell<usize>>,
}

/// What one connection holds of a message that has not come whole, counted among those of its worker.
pub struct Partial {
    total: Rc<Cell<usize>>,
    own: usize,
}

/// A worker's clients may send parts of messages of this size at the same time, or of two of the largest.
const PARTIAL_MAX: usize = 256 << 20;

/// Storage of output buffers.
pub struct Pool {
    storage: RefCell<Vec<Vec<u8>>>,
    /// How many are kept for reuse.
    most: usize,
    /// Storage larger than this goes back to the allocator.
    largest: usize,
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            chunk: RefCell::default(),
            to_clients: Pool::new(256, 256 * 1024),
            to_upstreams: Pool::new(32, 1024 * 1024),
            partial: Rc::default(),
        }
    }
}

impl Buffers {
    /// A connection's part in what is held of messages that have not come whole.
    pub fn partial(&self) -> Partial {
        Partial { total: self.partial.clone(), own: 0 }
    }

    /// A buffer to read into, with what is left of the last read at its front: the shared one, unless that is much.
    pub fn begin_read(&self, own: &mut BytesMut) -> BytesMut {
        if own.len() > COPY_REST {
            let mut buffer = mem::take(own);
            buffer.reserve(READ_CHUNK);
            return buffer;
        }
        let mut buffer = mem::take(&mut *self.chunk.borrow_mut());
        buffer.reserve(COPY_REST + READ_CHUNK);
        buffer.extend_from_slice(own);
        own.clear();
        buffer
    }

    /// Gives the buffer back; what was not decoded stays with the connection.
    pub fn end_read(&self, mut buffer: BytesMut, own: &mut BytesMut) {
        if buffer.len() > COPY_REST {
            *own = buffer;
            return;
        }
        if buffer.is_empty() {
            *own = BytesMut::new();
        } else {
            own.extend_from_slice(&buffer);
            buffer.clear();
        }
        // A buffer grown by one huge frame is not kept for ever.
        if buffer.capacity() <= 4 * READ_CHUNK {
            *self.chunk.borrow_mut() = buffer;
        }
    }
}

impl Partial {
    /// Notes how many bytes are held now. Where that is more than all together may have, whose messages have at most
    /// `max_frame` bytes each, says how many they have and may have.
    pub fn note(&mut self, held: usize, max_frame: usize) -> Option<(usize, usize)> {
        // Little of each is in the size of a connection.
        let held = if held > READ_CHUNK { held } else { 0 };
        if held == self.own {
            return None;
        }
        let grows = held > self.own;
        self.total.set((self.total.get() + held).saturating_sub(self.own));
        self.own = held;
        let most = max_frame.saturating_mul(2).max(PARTIAL_MAX);
        (grows && self.total.get() > most).then(|| (self.total.get(), most))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.total.set(self.total.get().saturating_sub(self.own));
    }
}

impl Pool {
    fn new(most: usize, largest: usize) -> Self {
        Self { storage: RefCell::default(), most, largest }
    }

    /// Provides `out` with storage before something is appended.
    pub fn lend(&self, out: &mut WriteBuf) {
        if !out.has_storage()
            && let Some(storage) = self.storage.borrow_mut().pop()
        {
            out.give_storage(storage);
        }
    }

    /// Takes the storage of an output buffer that is empty.
    pub fn reclaim(&self, out: &mut WriteBuf) {
        if let Some(storage) = out.take_storage() {
            let mut pool = self.storage.borrow_mut();
            if storage.capacity() <= self.largest && pool.len() < self.most {
                pool.push(storage);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_read_comes_first_in_the_next() {
        let buffers = Buffers::default();
        for left in [0, 1, COPY_REST, COPY_REST + 1, 3 * READ_CHUNK] {
            let (mut one, mut other) = (BytesMut::new(), BytesMut::new());
            let mut buffer = buffers.begin_read(&mut one);
            buffer.extend_from_slice(&vec![1; 10 + left]);
            let frame = buffer.split_to(10);
            buffers.end_read(buffer, &mut one);
            // Meanwhile another connection reads.
            let mut buffer = buffers.begin_read(&mut other);
            assert!(buffer.is_empty() && buffer.capacity() >= READ_CHUNK);
            buffer.extend_from_slice(&[2; 100]);
            buffer.clear();
            buffers.end_read(buffer, &mut other);
            let buffer = buffers.begin_read(&mut one);
            assert!(buffer == vec![1; left] && buffer.capacity() - buffer.len() >= READ_CHUNK);
            assert_eq!(frame[..], [1; 10]);
            buffers.end_read(buffer, &mut one);
            assert_eq!(one.len(), left);
        }
    }

    #[test]
    fn a_connection_that_owes_nothing_holds_nothing() {
        let (buffers, mut own) = (Buffers::default(), BytesMut::new());
        let mut buffer = buffers.begin_read(&mut own);
        buffer.extend_from_slice(b"half a frame");
        buffers.end_read(buffer, &mut own);
        let mut buffer = buffers.begin_read(&mut own);
        buffer.clear();
        buffers.end_read(buffer, &mut own);
        assert_eq!(own.capacity(), 0);
    }

    #[test]
    fn parts_of_messages_have_a_bound_together() {
        let buffers = Buffers::default();
        let (mut one, mut other, mut small) =
            (buffers.partial(), buffers.partial(), buffers.partial());
        assert_eq!(one.note(PARTIAL_MAX, 1), None);
        assert_eq!(small.note(READ_CHUNK, 1), None);
        let more = READ_CHUNK + 1;
        assert_eq!(other.note(more, 1), Some((PARTIAL_MAX + more, PARTIAL_MAX)));
        assert_eq!(other.note(more + 1, PARTIAL_MAX), None, "two of the largest fit in");
        assert_eq!(one.note(PARTIAL_MAX - 1, 1), None, "it does not grow");
        drop(one);
        assert_eq!(other.note(PARTIAL_MAX, 1), None);
        assert_eq!(other.note(0, 1), None);
        assert_eq!(buffers.partial.get(), 0);
    }
}
