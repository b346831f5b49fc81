use std::{cell::RefCell, mem};

use bytes::BytesMut;
use wiremesh::WriteBuf;

/// How much one read may bring.
pub const READ_CHUNK: usize = 64 * 1024;

/// What is left of a read is kept in place when it is more than this, and copied out when it is less.
const COPY_REST: usize = 16 * 1024;

/// Output storage larger than this goes back to the allocator.
const POOLED_MAX: usize = 256 * 1024;

/// How many output buffers a worker keeps for reuse.
const POOLED_BUFFERS: usize = 256;

/// Buffers that a worker's connections share, so that an idle connection holds none.
///
/// All connections read into the same chunk, which therefore stays in the core's cache; only a half-received frame is
/// moved to a buffer of the connection's own.
#[derive(Default)]
pub struct Buffers {
    chunk: RefCell<BytesMut>,
    storage: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// A buffer to read into: the connection's own when it holds half a frame, else the shared one.
    pub fn begin_read(&self, own: &mut BytesMut) -> BytesMut {
        let mut buffer =
            if own.is_empty() { mem::take(&mut *self.chunk.borrow_mut()) } else { mem::take(own) };
        buffer.reserve(READ_CHUNK);
        buffer
    }

    /// Gives the buffer back; what was not decoded stays with the connection.
    pub fn end_read(&self, buffer: BytesMut, own: &mut BytesMut) {
        if buffer.is_empty() {
            // A buffer grown by one huge frame is not kept for ever.
            if buffer.capacity() <= 4 * READ_CHUNK {
                *self.chunk.borrow_mut() = buffer;
            }
        } else if buffer.len() > COPY_REST {
            *own = buffer;
        } else {
            *own = BytesMut::from(&buffer[..]);
            let mut buffer = buffer;
            buffer.clear();
            *self.chunk.borrow_mut() = buffer;
        }
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
            if storage.capacity() <= POOLED_MAX && pool.len() < POOLED_BUFFERS {
                pool.push(storage);
            }
        }
    }
}
