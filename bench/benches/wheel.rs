//! Inserting, cancelling and expiring timers, with 10⁴, 10⁶ and 10⁷ others pending.

use std::time::Duration;

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use tickwheel_bench::wheel::Timers;

fn wheel(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wheel");
    group
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    for pending in [10_000, 1_000_000, 10_000_000] {
        let mut timers = Timers::new(pending);
        group.throughput(Throughput::Elements(timers.round().into()));
        let id = |name| BenchmarkId::new(name, pending);
        group.bench_function(id("insert"), |b| b.iter_custom(|rounds| timers.insert(rounds)));
        group.bench_function(id("cancel"), |b| b.iter_custom(|rounds| timers.cancel(rounds)));
        group.bench_function(id("expire"), |b| b.iter_custom(|rounds| timers.expire(rounds)));
    }
    group.finish();
}

criterion_group!(benches, wheel);
criterion_main!(benches);
