use bytes::{BufMut, BytesMut};
use flate2::{Compress, Compression, FlushCompress, Status};
use zstd::zstd_safe::CCtx;

use super::{Algorithm, FRAME_HEAD, MIN_PACKED};

/// Packs what is sent.
pub struct Compressor {
    engine: Engine,
    next: u8,
    /// A packed frame, before it is known whether it has shrunk.
    scratch: Vec<u8>,
}

enum Engine {
    Zlib(Box<Compress>),
    Zstd(CCtx<'static>, i32),
}

/// The most that is packed into a frame, in bytes, so that less than the 16 MiB that one may hold has to be held.
pub(super) const PIECE: usize = 1 << 20;

/// What is kept for frames of the usual size, in bytes.
const KEPT: usize = 64 << 10;

impl Compressor {
    /// Packs at this level: 0 to 9 with zlib, where MySQL's own is 6; 1 to 22 with zstd, where it is 3. Others count as the
    /// nearest of these.
    pub fn new(algorithm: Algorithm, level: u8) -> Self {
        let engine = match algorithm {
            Algorithm::Zlib => {
                Engine::Zlib(Box::new(Compress::new(Compression::new(level.min(9).into()), true)))
            }
            Algorithm::Zstd => Engine::Zstd(CCtx::create(), level.clamp(1, 22).into()),
        };
        Self { engine, next: 0, scratch: Vec::new() }
    }

    /// The number of the next frame: zero at a command's beginning, the peer's [next](super::Decompressor::next) at a
    /// reply's.
    pub fn set_next(&mut self, seq: u8) {
        self.next = seq;
    }

    /// Appends frames that hold `plain`, which is packets or parts of such. Each call makes frames of its own: the more at
    /// once, the smaller they get.
    pub fn write(&mut self, plain: &[u8], out: &mut BytesMut) {
        for part in plain.chunks(PIECE) {
            self.frame(part, out);
        }
        if self.scratch.capacity() > KEPT {
            self.scratch = Vec::new();
        }
    }

    fn frame(&mut self, part: &[u8], out: &mut BytesMut) {
        // What does not get smaller is stored: room for more is not needed.
        let packed = part.len() >= MIN_PACKED && self.pack(part);
        let (body, len) = if packed { (&self.scratch[..], part.len()) } else { (part, 0) };
        out.reserve(body.len().saturating_add(FRAME_HEAD));
        out.put_uint_le(body.len() as u64, 3);
        out.put_u8(self.next);
        out.put_uint_le(len as u64, 3);
        out.put_slice(body);
        self.next = self.next.wrapping_add(1);
    }

    /// Whether `part` is now, smaller, in `scratch`.
    fn pack(&mut self, part: &[u8]) -> bool {
        self.scratch.clear();
        self.scratch.reserve(part.len());
        match &mut self.engine {
            Engine::Zlib(zlib) => {
                zlib.reset();
                let end = zlib.compress_vec(part, &mut self.scratch, FlushCompress::Finish);
                matches!(end, Ok(Status::StreamEnd)) && self.scratch.len() < part.len()
            }
            Engine::Zstd(zstd, level) => {
                let end = zstd.compress(&mut self.scratch, part, *level);
                end.is_ok() && self.scratch.len() < part.len()
            }
        }
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").field("next", &self.next).finish_non_exhaustive()
    }
}
