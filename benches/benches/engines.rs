//! The engines: what it costs to match one reply to its request.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wiremesh::correlation::{Expect, Multiplexed};
use wiremesh::engine::{Engine, Mux, Pipeline, Received};
use wiremesh::{Kind, Status};
use wiremesh_toys::{Kv, Mx, inorder::Line, multiplexed::Message};

/// Requests in flight at once.
const DEPTHS: [usize; 3] = [1, 64, 1024];

fn mux(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mux");
    for (depth, deadlines) in DEPTHS.into_iter().flat_map(|depth| [(depth, false), (depth, true)]) {
        let mut mux = <Mux<u64> as Engine<Mx, u64>>::with_capacity(depth);
        let mut message = Message::new(Kind::Request, Status::Ok, 7, ["s", "m"], b"");
        let deadline = deadlines.then(|| Instant::now() + Duration::from_secs(3));
        let mut ids = Vec::with_capacity(depth);
        group.throughput(Throughput::Elements(depth as u64));
        let with = if deadlines { "with deadlines" } else { "without deadlines" };
        group.bench_function(format!("send and receive, {depth} in flight, {with}"), |b| {
            b.iter(|| {
                for token in 0..depth as u64 {
                    mux.send(&Mx, &mut message, Expect::One, deadline, token).expect("room");
                    ids.push(Mx.id(&message));
                }
                for id in ids.drain(..) {
                    Mx.set_id(&mut message, id);
                    let received = mux.receive(&Mx, &mut message);
                    assert!(matches!(black_box(received), Received::Last(_)));
                }
            });
        });
    }
    group.finish();
}

fn pipeline(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pipeline");
    for depth in DEPTHS {
        let mut pipeline = <Pipeline<u64> as Engine<Kv, u64>>::with_capacity(depth);
        let mut request = Line::new(Kind::Request, "GET a");
        let mut reply = Line::new(Kind::Response, "VALUES 1");
        group.throughput(Throughput::Elements(depth as u64));
        group.bench_function(format!("send and receive, {depth} in flight"), |b| {
            b.iter(|| {
                for token in 0..depth as u64 {
                    pipeline.send(&Kv, &mut request, Expect::One, None, token).expect("room");
                }
                for _ in 0..depth {
                    let received = pipeline.receive(&Kv, &mut reply);
                    assert!(matches!(black_box(received), Received::Last(_)));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, mux, pipeline);
criterion_main!(benches);
