//! Jobs through a whole engine that does not sync.

use std::{path::Path, time::Duration};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use tickwheel_bench::engine::Trips;

/// On the disk that the workspace is built on: the directory for temporary files may be memory.
const PARENT: &str = env!("CARGO_TARGET_TMPDIR");
const JOBS: u32 = 10_000;

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    group
        .sample_size(20)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .throughput(Throughput::Elements(JOBS.into()));
    let mut trips = Trips::new(Path::new(PARENT), JOBS)
        .unwrap_or_else(|error| panic!("no engine can be started in {PARENT}: {error}"));
    group.bench_function("submit-to-complete", |b| {
        b.iter_custom(|rounds| {
            trips.trip(rounds).unwrap_or_else(|error| panic!("the measurement failed: {error}"))
        });
    });
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
