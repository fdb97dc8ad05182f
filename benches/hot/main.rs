//! Times of the hot parts: `cargo bench`. What an installation does, `longshore bench` measures.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "benchmarks"
)]

mod parts;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn hot(criterion: &mut Criterion) {
    for mut part in parts::all() {
        let mut group = criterion.benchmark_group(part.name);
        group.throughput(Throughput::Elements(part.jobs as u64));
        group.bench_function("round", |bencher| bencher.iter(|| (part.round)()));
        group.finish();
    }
}

criterion_group!(benches, hot);
criterion_main!(benches);
