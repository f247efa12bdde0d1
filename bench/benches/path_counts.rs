//! Instructions per job, per request and per record on the hot paths, and the most that each may take. It
//! needs valgrind and the program `gungraun-runner`; see `.ci/run`.
#![allow(missing_docs, reason = "the macros make public items, which nobody can name")]

use std::{env, path::Path};

use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use tickwheel_bench::path_counts::{Appends, Lives, ROUND, Requests, RuledLives};

/// Instructions that a plain job may take in the core from its submission to its success, however many others wait.
/// What was measured is in `docs/performance.md`; a tenth is left for another compiler.
const LIFE_MAX: u64 = 4_081;
/// The same of a job with a priority, a queue with limits of concurrency and rate, and a key of uniqueness.
const RULED_LIFE_MAX: u64 = 6_850;
/// Instructions from the bytes of a `PUSH` to a checked job and its reply.
const PUSH_MAX: u64 = 8_965;
/// Instructions of an append of 100 bytes by the thread that appends.
const APPEND_MAX: u64 = 458;

fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    let limit = instructions * u64::from(ROUND);
    config.tool(
        Callgrind::with_args(["--cache-sim=no"]).hard_limits([(EventKind::Ir, limit)]).clone(),
    );
    config
}

fn appends(_: ()) -> Appends {
    let parent =
        env::var("CARGO_TARGET_TMPDIR").unwrap_or_else(|_| env!("CARGO_TARGET_TMPDIR").into());
    match Appends::new(Path::new(&parent)) {
        Ok(appends) => appends,
        Err(error) => panic!("no log below {parent}: {error}"),
    }
}

#[library_benchmark(setup = Lives::new, config = at_most(LIFE_MAX))]
#[bench::pending_10k(10_000)]
#[bench::pending_1m(1_000_000)]
fn life(mut lives: Lives) -> (u32, Lives) {
    (lives.live(), lives)
}

#[library_benchmark(setup = RuledLives::new, config = at_most(RULED_LIFE_MAX))]
#[bench::pending_10k(10_000)]
fn ruled_life(mut lives: RuledLives) -> (u32, RuledLives) {
    (lives.live(), lives)
}

#[library_benchmark(setup = Requests::new, config = at_most(PUSH_MAX))]
#[bench::arguments_128_bytes()]
fn push(requests: Requests) -> (u32, Requests) {
    (requests.read(), requests)
}

#[library_benchmark(setup = appends, config = at_most(APPEND_MAX))]
#[bench::record_100_bytes(())]
fn append(mut log: Appends) -> (u32, Appends) {
    (log.append(), log)
}

library_benchmark_group!(name = paths, benchmarks = [life, ruled_life, push, append]);
main!(library_benchmark_groups = paths);
