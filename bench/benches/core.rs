//! The core alone: whole lives of plain jobs, and the step that starts what is ready. The journal keeps nothing, so
//! that what is measured is the core's own.

use std::time::{Duration, Instant};

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use tickwheel_bench::path_counts::{Lives, ROUND};

fn core(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core");
    group
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .throughput(Throughput::Elements(ROUND.into()));
    for pending in [0, 1_000_000] {
        let mut lives = Lives::new(pending);
        group.bench_function(BenchmarkId::new("life", pending), |b| {
            b.iter_custom(|rounds| {
                let began = Instant::now();
                for _ in 0..rounds {
                    assert_eq!(lives.live(), ROUND, "each job succeeds");
                }
                began.elapsed()
            });
        });
    }
    for queues in [1, 100] {
        let mut lives = Lives::new(0);
        group.bench_function(BenchmarkId::new("dispatch", queues), |b| {
            b.iter_custom(|rounds| (0..rounds).map(|_| lives.dispatch(queues)).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, core);
criterion_main!(benches);
