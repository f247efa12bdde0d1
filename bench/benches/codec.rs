//! A `PUSH` from bytes to a checked job, by the codec and by the parsers it could be built on.

use std::time::Duration;

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use tickwheel_bench::codec::{Pushes, ROUND, Way};

const ARGS_BYTES: [usize; 3] = [16, 128, 4096];

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec-push");
    group
        .sample_size(20)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .throughput(Throughput::Elements(ROUND.into()));
    for args_bytes in ARGS_BYTES {
        let pushes = Pushes::new(args_bytes);
        for way in Way::ALL {
            group.bench_function(BenchmarkId::new(way.name(), args_bytes), |b| {
                b.iter_custom(|rounds| pushes.read(way, rounds));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
