use std::hint::black_box;

use bytes::{Buf, BytesMut};
use criterion::{BatchSize, Criterion, Throughput};

use super::{Sample, Samples, probe::roomy};
use crate::{Protocol, WriteBuf};

/// A batch is about this long, in bytes, and few are prepared at a time, so that they stay in the caches as a connection's
/// buffers do.
const BATCH: usize = 64 * 1024;
const BATCHES: BatchSize = BatchSize::NumIterations(4);

/// Measures decoding and encoding of every sample, in frames and bytes per second, beside a copy of the same bytes.
///
/// The whole of an author's bench is
///
/// ```ignore
/// criterion_group!(benches, |c: &mut Criterion| wiremesh::kit::bench(c, &MyProtocol::default(), &samples()));
/// criterion_main!(benches);
/// ```
pub fn bench<P: Protocol>(criterion: &mut Criterion, protocol: &P, samples: &Samples) {
    for sample in samples.own() {
        let copies = (BATCH / sample.bytes.len().max(1)).clamp(1, 256);
        let frames = decode(protocol, sample, &mut BytesMut::from(&sample.bytes[..]));
        if frames.is_empty() {
            continue;
        }
        let batch: Vec<_> = (0..copies).flat_map(|_| frames.iter().cloned()).collect();
        let mut group = criterion.benchmark_group(format!("{}/{}", P::NAME, sample.name));
        group.throughput(Throughput::ElementsAndBytes {
            elements: batch.len() as u64,
            bytes: (sample.bytes.len() * copies) as u64,
        });

        let bytes = sample.bytes.repeat(copies);
        group.bench_function("decode", |b| {
            b.iter_batched_ref(
                || BytesMut::from(&bytes[..]),
                |input| {
                    for _ in 0..copies {
                        decode_all(protocol, sample, input, frames.len());
                    }
                },
                BATCHES,
            );
        });
        let mut out = WriteBuf::default();
        group.bench_function("encode", |b| {
            b.iter_batched(
                || batch.clone(),
                |batch| {
                    batch.into_iter().for_each(|frame| protocol.encode(frame, &mut out));
                    out.advance(out.len());
                },
                BATCHES,
            );
        });
        let mut copy = Vec::with_capacity(bytes.len());
        group.bench_function("memcpy", |b| {
            b.iter(|| {
                copy.clear();
                for one in bytes.chunks(sample.bytes.len() / frames.len()) {
                    copy.extend_from_slice(black_box(one));
                }
                black_box(&copy);
            });
        });
        group.finish();
    }
}

fn decode<P: Protocol>(protocol: &P, sample: &Sample, input: &mut BytesMut) -> Vec<P::Frame> {
    let mut state = P::State::default();
    let next = || protocol.decode(sample.from, &mut state, &roomy(), input).ok().flatten();
    std::iter::from_fn(next).collect()
}

fn decode_all<P: Protocol>(protocol: &P, sample: &Sample, input: &mut BytesMut, frames: usize) {
    let (mut state, limits) = (P::State::default(), roomy());
    for _ in 0..frames {
        black_box(protocol.decode(sample.from, &mut state, &limits, input).ok().flatten());
    }
}
