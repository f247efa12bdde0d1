//! Handing numbers from thread to thread through the queues that the engine uses.

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use tickwheel_bench::handover::{Way, hand_over};

/// Items of one round, and places of the queue.
const ITEMS: u64 = 100_000;
const PLACES: usize = 1024;

fn handover(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handover");
    group
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .throughput(Throughput::Elements(ITEMS));
    for way in Way::ALL {
        group.bench_function(way.name(), |b| {
            b.iter_custom(|rounds| (0..rounds).map(|_| hand_over(way, ITEMS, PLACES)).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, handover);
criterion_main!(benches);
