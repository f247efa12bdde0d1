//! Next fire times of cron rules from drawn instants, and the reading of their texts, beside the
//! crates `croner` and `cron`.

use std::time::Duration;

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use tickwheel_bench::cron::{ROUND, RULES, Reader, Searches, ZONES};

fn next(criterion: &mut Criterion) {
    for zone in ZONES {
        let mut group = criterion.benchmark_group(format!("cron-next-{zone}"));
        group
            .sample_size(20)
            .sampling_mode(SamplingMode::Flat)
            .warm_up_time(Duration::from_millis(100))
            .measurement_time(Duration::from_millis(500))
            .throughput(Throughput::Elements(ROUND.into()));
        for rule in RULES {
            let searches = Searches::new(rule, zone).expect("a rule that all read");
            for reader in Reader::ALL.into_iter().filter(|reader| reader.knows(zone)) {
                group.bench_function(BenchmarkId::new(reader.name(), rule.name), |b| {
                    b.iter_custom(|rounds| searches.search(reader, rounds));
                });
            }
        }
        group.finish();
    }
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cron-read");
    group
        .sample_size(20)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .throughput(Throughput::Elements(ROUND.into()));
    for rule in [RULES[0], RULES[3]] {
        for reader in Reader::ALL {
            group.bench_function(BenchmarkId::new(reader.name(), rule.name), |b| {
                b.iter_custom(|rounds| reader.read(rule, rounds).expect("a rule that all read"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, next, read);
criterion_main!(benches);
