//! Appending a record beside copying it, and committing one beside a bare sync.

use std::{path::Path, time::Duration};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use tickwheel_bench::{
    BenchError,
    wal::{Appends, BareSyncs, Copies, ROUND},
};
use tickwheel_wal::Durability;

/// On the disk that the workspace is built on: the directory for temporary files may be memory.
const PARENT: &str = env!("CARGO_TARGET_TMPDIR");
const SEGMENT_BYTES: u64 = 64 << 20;
/// As much as a segment, so that both walk through memory beyond the caches.
const COPY_BYTES: usize = SEGMENT_BYTES as usize;

fn wal(criterion: &mut Criterion) {
    if let Err(error) = appends(criterion).and_then(|()| commits(criterion)) {
        panic!("the log cannot be measured in {PARENT}: {error}");
    }
}

fn appends(criterion: &mut Criterion) -> Result<(), BenchError> {
    let mut group = criterion.benchmark_group("append-200-bytes");
    // Short: each second of appends is several gigabytes of log.
    group
        .sample_size(20)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(200))
        .throughput(Throughput::Elements(ROUND.into()));
    let mut appends = Appends::new(Path::new(PARENT), SEGMENT_BYTES, Durability::Os)?;
    group.bench_function("log", |b| {
        b.iter_custom(|rounds| sound(appends.append(rounds)));
    });
    let mut copies = Copies::new(COPY_BYTES);
    group.bench_function("memcpy+crc32c", |b| {
        b.iter_custom(|rounds| copies.copy(rounds));
    });
    group.finish();
    Ok(())
}

fn commits(criterion: &mut Criterion) -> Result<(), BenchError> {
    let mut group = criterion.benchmark_group("commit");
    group
        .sample_size(20)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(3));
    let mut commits = Appends::new(Path::new(PARENT), SEGMENT_BYTES, Durability::Sync)?;
    group.bench_function("log", |b| {
        b.iter_custom(|rounds| sound(commits.commit(rounds)));
    });
    let mut bare = BareSyncs::new(Path::new(PARENT))?;
    group.bench_function("write+fdatasync-4k", |b| {
        b.iter_custom(|rounds| sound(bare.sync(rounds)));
    });
    group.finish();
    Ok(())
}

/// Criterion takes durations only: a failure ends the benchmark.
fn sound(elapsed: Result<Duration, BenchError>) -> Duration {
    elapsed.unwrap_or_else(|error| panic!("the measurement failed: {error}"))
}

criterion_group!(benches, wal);
criterion_main!(benches);
