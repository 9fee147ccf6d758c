//! The executor beside what a user would pick instead.
//!
//! `cargo bench -p spdk-benches --bench executor`; the table is in `docs/executor.md`.

#![expect(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use spdk_benches::exec::{AsyncExecutor, Boxed, Embassy, LocalPool, Rival, Row, Static, Tokio};

fn rows(criterion: &mut Criterion) {
    for row in Row::ALL {
        let mut group = criterion.benchmark_group(row.name());
        group.throughput(Throughput::Elements(row.step() as u64));
        bench::<Boxed>(&mut group, row);
        bench::<Static>(&mut group, row);
        bench::<AsyncExecutor>(&mut group, row);
        bench::<LocalPool>(&mut group, row);
        bench::<Tokio>(&mut group, row);
        bench::<Embassy>(&mut group, row);
        group.finish();
    }
}

fn bench<R: Rival>(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    row: Row,
) {
    let rival = R::new();
    if row.run(&rival, 1).is_none() {
        return;
    }
    group.bench_function(BenchmarkId::from_parameter(R::NAME), |bencher| {
        bencher.iter_custom(|steps| row.run(&rival, steps).unwrap_or_default());
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = rows
}
criterion_main!(benches);
