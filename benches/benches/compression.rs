//! MySQL's compressed layer: frames of rows, packed and unpacked, beside a copy of the same bytes.

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use wiremesh_mysql::compress::{Algorithm, Compressor, Decompressor};
use wiremesh_mysql::wire::put_packet;

/// How many bytes of packets are sent at once.
const LENS: [usize; 3] = [256, 16 << 10, 1 << 20];

fn compression(criterion: &mut Criterion) {
    for len in LENS {
        let rows = rows(len);
        let mut group = criterion.benchmark_group(format!("mysql compression, {len} B"));
        group.throughput(Throughput::Bytes(rows.len() as u64));
        group.bench_function("copy", |bencher| bencher.iter(|| BytesMut::from(&rows[..])));
        for (name, algorithm, level) in [
            ("zlib 6", Algorithm::Zlib, 6),
            ("zlib 1", Algorithm::Zlib, 1),
            ("zstd 3", Algorithm::Zstd, 3),
        ] {
            let (mut pack, mut frames) = (Compressor::new(algorithm, level), BytesMut::new());
            pack.write(&rows, &mut frames);
            let ratio = rows.len() as f64 / frames.len() as f64;
            println!("{name}, {len} B: {ratio:.1} to 1");
            group.bench_function(format!("{name}, pack"), |bencher| {
                let mut out = BytesMut::new();
                bencher.iter(|| {
                    out.clear();
                    pack.write(&rows, &mut out);
                });
            });
            group.bench_function(format!("{name}, unpack"), |bencher| {
                let (mut unpack, mut out) = (Decompressor::new(algorithm), BytesMut::new());
                let copy = || frames.clone();
                bencher.iter_batched_ref(
                    copy,
                    |input| {
                        out.clear();
                        unpack.read(input, &mut out, usize::MAX)
                    },
                    BatchSize::SmallInput,
                );
                assert_eq!(out, rows);
            });
        }
    }
}

/// Rows as of a table that people measure with.
fn rows(len: usize) -> BytesMut {
    let mut out = BytesMut::new();
    let mut state = 0x9e37_79b9_u32;
    for id in 0.. {
        if out.len() >= len {
            break;
        }
        let mut row = BytesMut::new();
        for _ in 0..10 {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            row.extend_from_slice(format!("{:08}-", state % 100_000_000).as_bytes());
        }
        let row = [format!("{id}").as_bytes(), &row].concat();
        put_packet(&mut out, 1, &row);
    }
    out.truncate(len);
    out
}

criterion_group!(benches, compression);
criterion_main!(benches);
