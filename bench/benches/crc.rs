//! CRC-32C of payloads of several lengths: in one call, and in the pattern of a log.

use std::time::Duration;

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use tickwheel_bench::crc::{Crate, Payloads, ROUND};

const LENS: [usize; 6] = [32, 64, 128, 200, 256, 4096];

fn crc(criterion: &mut Criterion) {
    for (group, is_record) in [("crc32c-whole", false), ("crc32c-record", true)] {
        let mut group = criterion.benchmark_group(group);
        group
            .sample_size(20)
            .sampling_mode(SamplingMode::Flat)
            .warm_up_time(Duration::from_millis(100))
            .measurement_time(Duration::from_millis(500))
            .throughput(Throughput::Elements(ROUND.into()));
        for len in LENS {
            let payloads = Payloads::new(len);
            for by in Crate::ALL {
                group.bench_function(BenchmarkId::new(by.name(), len), |b| {
                    b.iter_custom(|rounds| {
                        if is_record {
                            payloads.record(by, rounds)
                        } else {
                            payloads.whole(by, rounds)
                        }
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, crc);
criterion_main!(benches);
