//! Making digests of statements.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wiremesh_mysql::digest::{Dialect, digest};

fn digests(criterion: &mut Criterion) {
    let numbers: Vec<_> = (0..1000).map(|n| n.to_string()).collect();
    let rows = vec!["(1, 'some text', now())"; 500].join(", ");
    let statements = [
        ("point select", "SELECT c FROM sbtest1 WHERE id=4321".to_owned()),
        (
            "insert",
            "INSERT INTO sbtest1 (id, k, c, pad) VALUES (4321, 5012, \
             '68487932199-96439406143-93774651418-41631865787', '67847967377-48000963322')"
                .to_owned(),
        ),
        (
            "join",
            "SELECT t.a, u.b FROM db.t AS t LEFT JOIN `u` ON t.id = u.id WHERE t.x BETWEEN 1 AND 5 \
             AND u.y IN ('a', 'b', 'c') ORDER BY t.a DESC LIMIT 10, 20"
                .to_owned(),
        ),
        ("500 rows", format!("INSERT INTO t (a, b, c) VALUES {rows}")),
        ("list of 1000", format!("SELECT a FROM t WHERE b IN ({})", numbers.join(","))),
        ("60 KB of text", format!("INSERT INTO t VALUES (1, '{}')", "x".repeat(60_000))),
    ];
    let mut group = criterion.benchmark_group("digest");
    let mut out = Vec::new();
    for (name, sql) in &statements {
        group.throughput(Throughput::Bytes(sql.len() as u64));
        group.bench_function(*name, |bench| {
            bench.iter(|| {
                out.clear();
                digest(black_box(sql.as_bytes()), Dialect::default(), true, &mut out);
                black_box(&out);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, digests);
criterion_main!(benches);
