//! A whole engine against what is promised of it: criterion for jobs through one that does not sync, and
//! tables of whole runs below, each beside its target.
//!
//! `cargo bench -p tickwheel-bench --bench engine` runs all of it; a word behind `--` picks the group and
//! the tables whose names hold it. `TICKWHEEL_BENCH_PENDING` sets the number of pending jobs,
//! `TICKWHEEL_BENCH_OVERLOAD_SECONDS` how long too much is offered, `TICKWHEEL_BENCH_RUNS` the rounds.

use std::{path::Path, time::Duration};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group};
use hdrhistogram::Histogram;
use tickwheel_bench::{
    BenchError,
    engine::{
        Trips,
        bulk::Bulk,
        herd::Herd,
        lateness::{Lateness, bare_sleeper},
        overload::{Load, Overload},
        pending::Pending,
        saturated::{Rules, completed_per_second},
        schedules::Schedules,
    },
};
use tickwheel_engine::Durability;

/// On the disk that the workspace is built on: the directory for temporary files may be memory.
const PARENT: &str = env!("CARGO_TARGET_TMPDIR");
const JOBS: u32 = 10_000;

/// Rounds of each table where none are set; its lines take turns in each.
const RUNS: u64 = 5;
const SLOW_PER_SECOND: u64 = 1000;
const SLOW_JOBS: u64 = 2000;
const FAST_PER_SECOND: u64 = 300_000;
const FAST_JOBS: u64 = 900_000;
const HERD_JOBS: u64 = 1_000_000;
const INTERVAL: Duration = Duration::from_millis(50);
const PENDING_JOBS: u64 = 10_000_000;
const PAGES: u64 = 20;
const CANCELLED: u64 = 1_000_000;
const IDLE: Duration = Duration::from_secs(5);
const SATURATED_JOBS: u64 = 1_000_000;
const SCHEDULES: u64 = 100_000;
const SCHEDULES_SECONDS: u64 = 5;
const OVERLOAD_SECONDS: u64 = 10;
/// Half a million jobs: no caller waits for longer than about a second behind those.
const OVERLOAD_JOBS_MAX: u32 = 500_000;
const AFTER_PER_SECOND: u64 = 100_000;
const AFTER_SECONDS: u64 = 11;
/// The objectives of lateness, in nanoseconds.
const P99_NS_MAX: u64 = 2_000_000;
const P999_NS_MAX: u64 = 10_000_000;

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

/// Measures in a directory of the given parent, and prints.
type Table = fn(&Path) -> Result<(), BenchError>;

fn tables(wanted: &str) -> Result<(), BenchError> {
    let all: [(&str, Table); 9] = [
        ("lateness-slow", lateness_slow),
        ("lateness-fast", lateness_fast),
        ("herd", herd),
        ("pending", pending),
        ("bulk", bulk),
        ("shards", shards),
        ("rules", rules),
        ("schedules", schedules),
        ("overload", overload),
    ];
    for (name, table) in all.into_iter().filter(|(name, _)| name.contains(wanted)) {
        println!("\n{name}");
        table(Path::new(PARENT))?;
    }
    Ok(())
}

/// A number that the environment sets.
fn setting(name: &str, default: u64) -> Result<u64, BenchError> {
    match std::env::var(name) {
        Ok(text) => Ok(text.parse().map_err(|_| format!("{name} is `{text}`: give a number"))?),
        Err(_) => Ok(default),
    }
}

fn runs() -> Result<u64, BenchError> {
    Ok(setting("TICKWHEEL_BENCH_RUNS", RUNS)?.max(1))
}

fn lateness_slow(parent: &Path) -> Result<(), BenchError> {
    let mut lines = [
        ("bare timerfd", [vec![], vec![]]),
        ("trigger", [vec![], vec![]]),
        ("start", [vec![], vec![]]),
    ];
    let mut times: [Vec<f64>; 2] = [vec![], vec![]];
    for _ in 0..runs()? {
        let bare = bare_sleeper(SLOW_PER_SECOND, SLOW_JOBS)?;
        let run = Lateness::run(parent, SLOW_PER_SECOND, SLOW_JOBS)?;
        for (line, late_ns) in lines.iter_mut().zip([&bare, &run.trigger_ns, &run.start_ns]) {
            line.1[0].push(micros(late_ns, 0.5));
            line.1[1].push(micros(late_ns, 0.99));
        }
        for (times, late_ns) in times.iter_mut().zip([&run.trigger_ns, &run.start_ns]) {
            times.push(micros(late_ns, 0.99) / micros(&bare, 0.99));
        }
    }
    for (name, [p50, p99]) in &lines {
        println!("{name}: p50 {} µs, p99 {} µs", spread(p50, 0), spread(p99, 0));
    }
    let [trigger, start] = times.map(|times| spread(&times, 2));
    println!(
        "p99 of the engine over p99 of the bare timerfd: trigger {trigger}, start {start} (target 2)"
    );
    Ok(())
}

fn lateness_fast(parent: &Path) -> Result<(), BenchError> {
    let mut at: [Vec<f64>; 4] = Default::default();
    for _ in 0..runs()? {
        let run = Lateness::run(parent, FAST_PER_SECOND, FAST_JOBS)?;
        for (at, quantile) in at.iter_mut().zip([0.5, 0.99, 0.999, 1.0]) {
            at.push(micros(&run.start_ns, quantile) / 1000.0);
        }
    }
    let [p50, p99, p999, max] = at.map(|at| spread(&at, 2));
    println!(
        "start: p50 {p50} ms, p99 {p99} ms (target 2), p99.9 {p999} ms (target 10), most {max} ms"
    );
    Ok(())
}

fn herd(parent: &Path) -> Result<(), BenchError> {
    let ways = [("interval", Durability::Interval(INTERVAL)), ("sync", Durability::Sync)];
    let mut lines: [[Vec<f64>; 4]; 2] = Default::default();
    for _ in 0..runs()? {
        for ((_, durability), line) in ways.iter().zip(&mut lines) {
            let run = Herd::run(parent, HERD_JOBS, *durability)?;
            for (at, quantile) in line.iter_mut().zip([0.5, 0.99, 1.0]) {
                at.push(micros(&run.ack_ns, quantile) / 1000.0);
            }
            line[3].push(run.drained.as_secs_f64());
        }
    }
    for ((name, _), line) in ways.iter().zip(lines) {
        let [p50, p99, max, drained] = line.map(|at| spread(&at, 2));
        println!(
            "{name}: submit to ack p50 {p50} ms, p99 {p99} ms (target 20), most {max} ms; drained in {drained} s"
        );
    }
    Ok(())
}

fn pending(parent: &Path) -> Result<(), BenchError> {
    let jobs = setting("TICKWHEEL_BENCH_PENDING", PENDING_JOBS)?.max(1);
    // Once: what a round leaves with the allocator would count as there before the next.
    let run = Pending::run(parent, jobs, IDLE)?;
    let mib = |bytes: u64| bytes >> 20;
    for (name, memory) in [("before", run.before), ("filled", run.filled)] {
        println!(
            "{name}: anonymous {} MiB, private dirty {} MiB, resident {} MiB",
            mib(memory.anonymous_bytes),
            mib(memory.private_dirty_bytes),
            mib(memory.resident_bytes),
        );
    }
    println!("{jobs} pending: {:.1} bytes per job (target 128)", run.bytes_per_job(jobs));
    println!("idle over {IDLE:?}: {:.3} % of a processor (target 0.5)", run.idle_share * 100.0);
    println!(
        "orderly end {:.2} s, start to serving {:.2} s (target 3)",
        run.end.as_secs_f64(),
        run.serving.as_secs_f64()
    );
    Ok(())
}

fn bulk(parent: &Path) -> Result<(), BenchError> {
    let jobs = setting("TICKWHEEL_BENCH_PENDING", PENDING_JOBS)?.max(1000);
    let cancelled = CANCELLED.min(jobs / 2);
    let run = Bulk::run(parent, jobs, PAGES, cancelled)?;
    let ms = |ns: &Histogram<u64>, quantile| micros(ns, quantile) / 1000.0;
    for (name, took_ns) in [("common", &run.common_ns), ("rare", &run.rare_ns)] {
        let (p50, most) = (ms(took_ns, 0.5), ms(took_ns, 1.0));
        println!(
            "page of a {name} kind among {jobs}: p50 {p50:.2} ms, most {most:.2} ms (target 50)"
        );
    }
    println!(
        "{cancelled} cancelled by their queue in {:.2} s (target 2)",
        run.cancel.as_secs_f64()
    );
    for (name, took_ns) in [("alone", &run.alone_ns), ("meanwhile", &run.beside_ns)] {
        let (p50, p99, most) = (ms(took_ns, 0.5), ms(took_ns, 0.99), ms(took_ns, 1.0));
        println!(
            "submit to ack, {name}: p50 {p50:.2} ms, p99 {p99:.2} ms (target 20), most {most:.2} ms"
        );
    }
    Ok(())
}

fn shards(parent: &Path) -> Result<(), BenchError> {
    let mut lines: [Vec<f64>; 2] = Default::default();
    for _ in 0..runs()? {
        for (line, shards) in lines.iter_mut().zip([1, 2]) {
            line.push(completed_per_second(parent, shards, SATURATED_JOBS, Rules::None)?);
        }
    }
    let gains: Vec<f64> = lines[0].iter().zip(&lines[1]).map(|(one, two)| two / one).collect();
    println!(
        "completed per second: one shard {}, two {}; two over one {}",
        spread(&lines[0], 0),
        spread(&lines[1], 0),
        spread(&gains, 2)
    );
    Ok(())
}

fn rules(parent: &Path) -> Result<(), BenchError> {
    let mut lines: [Vec<f64>; 2] = Default::default();
    for _ in 0..runs()? {
        for (line, rules) in lines.iter_mut().zip([Rules::None, Rules::All]) {
            line.push(completed_per_second(parent, 1, SATURATED_JOBS, rules)?);
        }
    }
    let shares: Vec<f64> = lines[0].iter().zip(&lines[1]).map(|(none, all)| all / none).collect();
    println!(
        "completed per second: plain {}, each with a priority, limits of concurrency and rate, and a unique key {} (target 500000); the second over the first {}",
        spread(&lines[0], 0),
        spread(&lines[1], 0),
        spread(&shares, 2)
    );
    Ok(())
}

fn schedules(parent: &Path) -> Result<(), BenchError> {
    let mut at: [Vec<f64>; 4] = Default::default();
    let mut puts = Vec::new();
    for _ in 0..runs()? {
        let run = Schedules::run(parent, SCHEDULES, SCHEDULES_SECONDS)?;
        for (at, quantile) in at.iter_mut().zip([0.5, 0.99, 0.999, 1.0]) {
            at.push(micros(&run.start_ns, quantile) / 1000.0);
        }
        puts.push(SCHEDULES as f64 / run.put.as_secs_f64());
    }
    let [p50, p99, p999, max] = at.map(|at| spread(&at, 2));
    println!(
        "{SCHEDULES} schedules, each once a second: start p50 {p50} ms, p99 {p99} ms (target 5), p99.9 {p999} ms, most {max} ms; put {} per second",
        spread(&puts, 0)
    );
    Ok(())
}

fn overload(parent: &Path) -> Result<(), BenchError> {
    let seconds = setting("TICKWHEEL_BENCH_OVERLOAD_SECONDS", OVERLOAD_SECONDS)?.max(1);
    for _ in 0..runs()?.min(3) {
        let most = completed_per_second(parent, 1, SATURATED_JOBS, Rules::None)?;
        let load = Load {
            per_second: (2.0 * most) as u64,
            seconds,
            jobs_max: OVERLOAD_JOBS_MAX,
            after_per_second: AFTER_PER_SECOND,
            after_seconds: AFTER_SECONDS,
        };
        let run = Overload::run(parent, load)?;
        let (before, peak) = run.memory_bytes;
        let met = |late_ns: &Histogram<u64>| {
            late_ns.value_at_quantile(0.99) <= P99_NS_MAX
                && late_ns.value_at_quantile(0.999) <= P999_NS_MAX
        };
        println!(
            "maximum {most:.0}/s; {seconds} s of {}/s: {} planned, {} held back, {} refused; goodput {:.0}/s, {:.0} % of the maximum (target 90); memory {} MiB, at most {} more",
            load.per_second,
            run.planned,
            run.held_back,
            run.refused,
            run.goodput,
            100.0 * run.goodput / most,
            before >> 20,
            (peak - before) >> 20,
        );
        let p99 =
            run.after_ns.iter().map(|late_ns| format!("{:.2}", micros(late_ns, 0.99) / 1000.0));
        let within = run.after_ns.iter().position(met);
        let within = within.map_or("not".to_owned(), |second| format!("in second {}", second + 1));
        println!(
            "  then {AFTER_PER_SECOND}/s: p99 of each second {} ms; objectives met again {within} (target 10), in {} of {AFTER_SECONDS} seconds",
            p99.collect::<Vec<_>>().join(" "),
            run.after_ns.iter().filter(|late_ns| met(late_ns)).count(),
        );
    }
    Ok(())
}

fn micros(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}

/// Smallest, median and largest, in that order.
fn spread(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |place: usize| format!("{:.digits$}", sorted[place]);
    format!("{} · {} · {}", at(0), at(sorted.len() / 2), at(sorted.len() - 1))
}
