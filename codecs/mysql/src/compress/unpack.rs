use bytes::{Buf, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, Operation};

use super::{Algorithm, CompressError, FRAME_HEAD, MAX_FRAME};
use crate::wire::Reader;

/// Unpacks what is received, a piece at a time.
///
/// With zlib, no more than its window of 32 KiB is held. With zstd it is the window that the frame asks for, up to what it
/// unpacks to: at most 16 MiB, given back when the frame ends.
pub struct Decompressor {
    algorithm: Algorithm,
    /// None before the first packed frame, and after a large one.
    engine: Option<Engine>,
    frame: Option<Frame>,
    next: u8,
}

enum Engine {
    Zlib(Box<Decompress>),
    Zstd(Decoder<'static>),
}

/// The frame in progress.
#[derive(Clone, Copy)]
struct Frame {
    /// How much of its data has not been taken.
    input: usize,
    /// How much of what it holds has not been given; of a stored one, the same as `input`.
    output: usize,
    /// The whole of the latter, as it says; zero where it is stored.
    declared: usize,
    /// The data said that it is at its end.
    ended: bool,
}

/// The largest window that is taken, as a power of two: what a frame can hold.
const WINDOW: u32 = 24;

/// How much is unpacked at once, in bytes.
const STEP: usize = 16 << 10;

/// Frames of more than this make the engine hold memory that the usual ones do not need.
const LARGE: usize = 256 << 10;

impl Decompressor {
    /// Between two frames.
    pub fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, engine: None, frame: None, next: 0 }
    }

    /// The sequence number that follows the last frame's: a reply's first.
    pub fn next(&self) -> u8 {
        self.next
    }

    /// Whether the last frame is complete, so that the connection may end here.
    pub fn is_between_frames(&self) -> bool {
        self.frame.is_none()
    }

    /// Takes bytes off `input` and appends to `out` what they hold, until `out` has `room` bytes or more is needed. Answers
    /// whether anything was appended: whoever makes room asks again until it was not.
    ///
    /// # Errors
    /// [`CompressError`]. More than a frame says it holds is never appended.
    pub fn read(
        &mut self,
        input: &mut BytesMut,
        out: &mut BytesMut,
        room: usize,
    ) -> Result<bool, CompressError> {
        let before = out.len();
        loop {
            let frame = match self.frame {
                Some(frame) => frame,
                None => match self.head(input)? {
                    Some(frame) => frame,
                    None => return Ok(out.len() > before),
                },
            };
            let left = room.saturating_sub(out.len());
            let frame = if frame.declared == 0 {
                stored(frame, input, out, left)
            } else {
                self.packed(frame, input, out, left)?
            };
            let done = frame.input == 0 && (frame.declared == 0 || frame.ended);
            self.frame = (!done).then_some(frame);
            if done && frame.declared > LARGE {
                self.engine = None;
            }
            if !done && (input.is_empty() || out.len() >= room) {
                return Ok(out.len() > before);
            }
        }
    }

    fn head(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, CompressError> {
        let mut head = Reader::new(input);
        let (Ok(len), Ok(seq), Ok(declared)) = (head.u24(), head.u8(), head.u24()) else {
            return Ok(None);
        };
        input.advance(FRAME_HEAD);
        self.next = seq.wrapping_add(1);
        let size = |len: u32| usize::try_from(len).unwrap_or(MAX_FRAME);
        let (len, declared) = (size(len), size(declared));
        let output = if declared == 0 { len } else { declared };
        if declared > 0 {
            match &mut self.engine {
                Some(engine) => engine.restart()?,
                none => *none = Some(Engine::new(self.algorithm)?),
            }
        }
        Ok(Some(Frame { input: len, output, declared, ended: false }))
    }

    fn packed(
        &mut self,
        mut frame: Frame,
        input: &mut BytesMut,
        out: &mut BytesMut,
        mut left: usize,
    ) -> Result<Frame, CompressError> {
        let engine = self.engine.as_mut().ok_or(CompressError::Corrupt)?;
        let wrong = CompressError::Length { declared: frame.declared };
        loop {
            let room = frame.output.min(left).min(STEP);
            if room == 0 && frame.output > 0 {
                return Ok(frame);
            }
            let data = input.get(..frame.input.min(input.len())).unwrap_or_default();
            let starved = data.is_empty();
            let start = out.len();
            // Where all is out that should be, the data has to end: what it makes in this one byte is too much.
            out.resize(start.saturating_add(room.max(1)), 0);
            let step = engine.step(data, out.get_mut(start..).unwrap_or_default());
            let made = step.as_ref().map_or(0, |step| step.made);
            let fits = made <= frame.output;
            out.truncate(start.saturating_add(if fits { made } else { 0 }));
            let Step { taken, ended, .. } = step?;
            if !fits {
                return Err(wrong);
            }
            input.advance(taken);
            frame.input = frame.input.saturating_sub(taken);
            frame.output = frame.output.saturating_sub(made);
            left = left.saturating_sub(made);
            if ended {
                if frame.input > 0 || frame.output > 0 {
                    return Err(wrong);
                }
                frame.ended = true;
                return Ok(frame);
            }
            if taken == 0 && made == 0 {
                // The data is at its end, and should not be.
                let stuck = frame.input == 0 || !starved;
                return if stuck { Err(CompressError::Corrupt) } else { Ok(frame) };
            }
        }
    }
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor")
            .field("algorithm", &self.algorithm)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

struct Step {
    taken: usize,
    made: usize,
    ended: bool,
}

impl Engine {
    fn new(algorithm: Algorithm) -> Result<Self, CompressError> {
        Ok(match algorithm {
            Algorithm::Zlib => Self::Zlib(Box::new(Decompress::new(true))),
            Algorithm::Zstd => {
                let mut decoder = Decoder::new().map_err(|_| CompressError::Corrupt)?;
                let bounded = decoder.set_parameter(DParameter::WindowLogMax(WINDOW));
                bounded.map_err(|_| CompressError::Corrupt)?;
                Self::Zstd(decoder)
            }
        })
    }

    fn restart(&mut self) -> Result<(), CompressError> {
        match self {
            Self::Zlib(zlib) => {
                zlib.reset(true);
                Ok(())
            }
            Self::Zstd(zstd) => zstd.reinit().map_err(|_| CompressError::Corrupt),
        }
    }

    fn step(&mut self, data: &[u8], out: &mut [u8]) -> Result<Step, CompressError> {
        match self {
            Self::Zlib(zlib) => {
                let (took, made) = (zlib.total_in(), zlib.total_out());
                let status = zlib.decompress(data, out, FlushDecompress::None);
                let status = status.map_err(|_| CompressError::Corrupt)?;
                let since = |now: u64, then| usize::try_from(now.saturating_sub(then)).unwrap_or(0);
                Ok(Step {
                    taken: since(zlib.total_in(), took),
                    made: since(zlib.total_out(), made),
                    ended: status == Status::StreamEnd,
                })
            }
            Self::Zstd(zstd) => {
                let status = zstd.run_on_buffers(data, out).map_err(|_| CompressError::Corrupt)?;
                Ok(Step {
                    taken: status.bytes_read,
                    made: status.bytes_written,
                    ended: status.remaining == 0,
                })
            }
        }
    }
}

fn stored(mut frame: Frame, input: &mut BytesMut, out: &mut BytesMut, left: usize) -> Frame {
    let len = frame.input.min(input.len()).min(left);
    out.unsplit(input.split_to(len));
    frame.input = frame.input.saturating_sub(len);
    frame
}
