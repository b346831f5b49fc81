//! Replies of MySQL's, for clients of the server's own capabilities and of others.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use wiremesh_mysql::{
    Capabilities, StatusFlags, pooled::transcode::Transcoder, reply::Shape, wire::put_packet,
};

/// Rows of so many bytes, as MySQL 8 says them where everything is tracked.
fn reply(rows: usize, len: usize) -> BytesMut {
    let (mut out, row) = (BytesMut::new(), vec![b'r'; len]);
    let mut seq = put_packet(&mut out, 1, b"\x01");
    seq = put_packet(&mut out, seq, b"\x03def\x04shop\x01t\x01t\x01a\x01a");
    for _ in 0..rows {
        seq = put_packet(&mut out, seq, &row);
    }
    put_packet(&mut out, seq, b"\xfe\0\0\x02\x40\0\0\0\x12\0\x10\x0cstatement_id\x0236");
    out
}

fn transcode(criterion: &mut Criterion) {
    let (eof, track) = (Capabilities::DEPRECATE_EOF, Capabilities::SESSION_TRACK);
    let mut group = criterion.benchmark_group("transcode");
    for (size, rows, len) in [("a row", 1, 100), ("1000 rows", 1000, 100)] {
        let reply = reply(rows, len);
        for (name, client) in [("the same", eof | track), ("to EOF", Capabilities(0))] {
            let mut transcoder = Transcoder::new(eof | track, client);
            group.throughput(Throughput::Bytes(reply.len() as u64));
            group.bench_function(format!("{size}, {name}"), |bench| {
                let give = |mut input: BytesMut| {
                    transcoder.begin(Shape::Results, 1, StatusFlags::AUTOCOMMIT);
                    while let Ok(Some(bytes)) = transcoder.take(&mut input, &mut |_| ()) {
                        black_box(&bytes);
                    }
                    assert!(transcoder.is_done());
                    input
                };
                bench.iter_batched(|| reply.clone(), give, BatchSize::SmallInput);
            });
        }
    }
    group.finish();
}

criterion_group!(benches, transcode);
criterion_main!(benches);
