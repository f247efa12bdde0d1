//! The log, each measure beside its limit in the same run: criterion where one operation has a
//! number, and tables of whole runs below.
//!
//! `cargo bench -p tickwheel-bench --bench wal` runs all of it; a word behind `--` picks the groups
//! and tables whose names hold it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group};
use hdrhistogram::Histogram;
use tickwheel_bench::{
    BenchError,
    wal::{
        Appends, BareSyncs, Cleaned, Cleaning, Copies, Groups, Opening, Paced, Plan, RECORD_BYTES,
        ROUND, Recovered, Sustained, disk_bytes_per_commit,
    },
};
use tickwheel_wal::Durability;

/// On the disk that the workspace is built on: the directory for temporary files may be memory.
const PARENT: &str = env!("CARGO_TARGET_TMPDIR");
const SEGMENT_BYTES: u64 = 64 << 20;
/// As much as a segment, so that both walk through memory beyond the caches.
const COPY_BYTES: usize = SEGMENT_BYTES as usize;

/// Runs of each line of a table, in turn with the others of the table.
const RUNS: usize = 5;
const INTERVAL: Duration = Duration::from_millis(50);
/// Nine segments and a bit.
const SUSTAINED_RECORDS: u64 = 3_000_000;
/// Enough for the segments at the begin, which are made anew, to weigh little.
const RELEASED_RECORDS: u64 = 10_000_000;
/// Segments of a log that gives its head back: the least that is cleaned.
const RELEASED_SEGMENTS: u64 = 4;
const GROUPS: u32 = 1000;
const PLAN: Plan = Plan { per_second: 1_000_000, records: 4_000_000 };
const CLEANED_PLAN: Plan = Plan { per_second: 300_000, records: 1_800_000 };
/// A hundred and twenty megabytes: three times that is six segments.
const LIVE_RECORDS: usize = 600_000;
const RECOVERED_RECORDS: u64 = 3_000_000;
const COUNTED_COMMITS: u32 = 500;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    benches();
    Criterion::default().configure_from_args().final_summary();
    // Cargo runs benchmarks as tests without this: the tables are too long for that.
    if args.iter().any(|arg| arg == "--bench") {
        let wanted = args.iter().find(|arg| !arg.starts_with('-')).map_or("", String::as_str);
        tables(wanted).unwrap_or_else(|error| panic!("the measurement failed: {error}"));
    }
}

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

/// Measures in a directory of the given parent, and prints.
type Table = fn(&Path) -> Result<(), BenchError>;

fn tables(wanted: &str) -> Result<(), BenchError> {
    let all: [(&str, Table); 6] = [
        ("commit-bytes", commit_bytes),
        ("commit-groups", commit_groups),
        ("sustained", sustained),
        ("paced", paced),
        ("cleaning", cleaning),
        ("recovery", recovery),
    ];
    for (name, table) in all.iter().filter(|(name, _)| name.contains(wanted)) {
        let began = Instant::now();
        println!("\n{name}");
        table(Path::new(PARENT))?;
        println!("({:.1} s)", began.elapsed().as_secs_f64());
    }
    Ok(())
}

fn commit_bytes(parent: &Path) -> Result<(), BenchError> {
    let bytes = disk_bytes_per_commit(parent, SEGMENT_BYTES, COUNTED_COMMITS)?;
    println!("{bytes:.0} bytes to the disk per lone commit, over {COUNTED_COMMITS} commits");
    Ok(())
}

fn commit_groups(parent: &Path) -> Result<(), BenchError> {
    let records = u64::from(GROUPS) * u64::from(ROUND);
    let mut log = Vec::new();
    let mut bare = Vec::new();
    let mut syncs = Vec::new();
    let mut waited = Vec::new();
    for _ in 0..RUNS {
        let run = Groups::log(parent, SEGMENT_BYTES, GROUPS)?;
        log.push(per_second(records, run.durable));
        syncs.push(run.syncs as f64);
        waited.push(millis(run.waited));
        bare.push(per_second(records, Groups::bare(parent, GROUPS)?));
    }
    println!("{GROUPS} commits of {ROUND} records of {RECORD_BYTES} bytes");
    line("log, pipelined: durable records/s", log);
    line("    its syncs", syncs);
    line("    waits for segments, ms", waited);
    line("write+fdatasync of a group: records/s", bare);
    Ok(())
}

fn sustained(parent: &Path) -> Result<(), BenchError> {
    let (mut new, mut again, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        new.push(Sustained::log(parent, SEGMENT_BYTES, INTERVAL, SUSTAINED_RECORDS)?);
        again.push(Sustained::released(
            parent,
            SEGMENT_BYTES,
            INTERVAL,
            RELEASED_RECORDS,
            RELEASED_SEGMENTS,
        )?);
        bare.push(per_second(SUSTAINED_RECORDS, Sustained::bare(parent, SUSTAINED_RECORDS)?));
    }
    for (what, records, runs) in
        [("all kept", SUSTAINED_RECORDS, new), ("the head given back", RELEASED_RECORDS, again)]
    {
        let segments = runs[0].segments;
        println!(
            "{records} records of {RECORD_BYTES} bytes, {what}: {segments} segments at the end"
        );
        let each = |figure: &dyn Fn(&Sustained) -> f64| runs.iter().map(figure).collect();
        line(
            "log: records/s until all are appended",
            each(&|run| per_second(records, run.appended)),
        );
        line("log: records/s until all are durable", each(&|run| per_second(records, run.durable)));
        line("    waits for segments", each(&|run| run.waits as f64));
        line("    waits for segments, ms", each(&|run| millis(run.waited)));
    }
    line("sequential write, fdatasync at the end: records/s", bare);
    Ok(())
}

fn paced(parent: &Path) -> Result<(), BenchError> {
    println!("{} records at {} a second; times in µs", PLAN.records, PLAN.per_second);
    for run in 1..=RUNS {
        let log = Paced::log(parent, SEGMENT_BYTES, INTERVAL, PLAN)?;
        let copies = Paced::copies(COPY_BYTES, PLAN)?;
        println!("run {run}: {} waits for segments, {:.1} ms", log.waits, millis(log.waited));
        for (name, histogram) in [
            ("log: the call", &log.call_ns),
            ("log: behind the plan", &log.behind_ns),
            ("memcpy+crc32c: the call", &copies.call_ns),
            ("memcpy+crc32c: behind the plan", &copies.behind_ns),
        ] {
            quantiles(name, histogram);
        }
    }
    Ok(())
}

fn cleaning(parent: &Path) -> Result<(), BenchError> {
    let Plan { per_second, records } = CLEANED_PLAN;
    println!("{records} records at {per_second} a second, {LIVE_RECORDS} live; times in µs");
    let mut ratios = Vec::new();
    for run in 1..=RUNS {
        let mut p999 = Vec::new();
        for how in [Cleaning::Off, Cleaning::On] {
            let plan = CLEANED_PLAN;
            let run = Cleaned::run(parent, SEGMENT_BYTES, INTERVAL, plan, LIVE_RECORDS, how)?;
            let Cleaned { paced, rewritten, released, .. } = run;
            let (waits, waited) = (paced.waits, millis(paced.waited));
            println!(
                "  cleaning {how:?}: {rewritten} records again, {released} segments given back, \
                 {waits} waits for segments, {waited:.1} ms"
            );
            quantiles("    the call", &paced.call_ns);
            quantiles("    behind the plan", &paced.behind_ns);
            p999.push(paced.call_ns.value_at_quantile(0.999) as f64);
        }
        println!("run {run}: p99.9 of the call is {:.2} times as long", p999[1] / p999[0]);
        ratios.push(p999[1] / p999[0]);
    }
    line("p99.9 of the call, with cleaning / without", ratios);
    Ok(())
}

fn quantiles(name: &str, histogram: &Histogram<u64>) {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "  {name:32} p50 {:9.3}  p99 {:9.3}  p99.9 {:9.3}  p99.99 {:9.3}  max {:9.3}",
        at(0.5),
        at(0.99),
        at(0.999),
        at(0.9999),
        histogram.max() as f64 / 1e3
    );
}

fn recovery(parent: &Path) -> Result<(), BenchError> {
    let recovered = Recovered::new(parent, SEGMENT_BYTES, RECOVERED_RECORDS)?;
    let (mut log, mut seconds, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let Opening { reading, elapsed } = recovered.open()?;
        log.push(per_second(RECOVERED_RECORDS, reading));
        seconds.push(elapsed.as_secs_f64());
        bare.push(per_second(RECOVERED_RECORDS, recovered.read_bare()?));
    }
    println!("{RECOVERED_RECORDS} records of {RECORD_BYTES} bytes, in the page cache");
    line("log: records/s checked and replayed", log);
    line("log: s of the opening, next segment made", seconds);
    line("read+crc32c: records/s", bare);
    Ok(())
}

/// Prints the smallest, the median and the largest of a figure.
fn line(name: &str, mut figures: Vec<f64>) {
    figures.sort_by(f64::total_cmp);
    let digits = if figures.last().is_some_and(|largest| *largest >= 1000.0) { 0 } else { 3 };
    let [min, median, max] = [0, figures.len() / 2, figures.len() - 1].map(|at| figures[at]);
    println!("  {name:52} {min:>12.digits$} {median:>12.digits$} {max:>12.digits$}");
}

fn per_second(records: u64, elapsed: Duration) -> f64 {
    records as f64 / elapsed.as_secs_f64()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
