//! Instructions per operation of the wheel, with 10⁴, 10⁶ and 10⁷ timers pending, and the most that each
//! may take: the same for all sizes. It needs valgrind and the program `gungraun-runner`; see `.ci/run`.
#![allow(missing_docs, reason = "the macros make public items, which nobody can name")]

use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use tickwheel_bench::wheel_counts::{Operation, Prepared, ROUND};

/// Instructions that one operation may take, on average, however many timers are pending. What was measured is
/// in `docs/performance.md`; a tenth is left for another compiler.
const INSERT_MAX: u64 = 150;
const CANCEL_MAX: u64 = 93;
const EXPIRE_MAX: u64 = 595;

fn at_most(instructions: u64, operations: u64) -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    let limit = instructions * operations;
    config.tool(
        Callgrind::with_args(["--cache-sim=no"]).hard_limits([(EventKind::Ir, limit)]).clone(),
    );
    config
}

#[library_benchmark(setup = Prepared::new, config = at_most(INSERT_MAX, ROUND.into()))]
#[bench::pending_10k(10_000, Operation::Insert)]
#[bench::pending_1m(1_000_000, Operation::Insert)]
#[bench::pending_10m(10_000_000, Operation::Insert)]
fn insert(mut prepared: Prepared) -> (u32, Prepared) {
    (prepared.insert(), prepared)
}

#[library_benchmark(setup = Prepared::new, config = at_most(CANCEL_MAX, ROUND.into()))]
#[bench::pending_10k(10_000, Operation::Cancel)]
#[bench::pending_1m(1_000_000, Operation::Cancel)]
#[bench::pending_10m(10_000_000, Operation::Cancel)]
fn cancel(mut prepared: Prepared) -> (u32, Prepared) {
    (prepared.cancel(), prepared)
}

#[library_benchmark(setup = Prepared::new)]
#[bench::pending_10k(args = (10_000, Operation::Expire), config = at_most(EXPIRE_MAX, 2_500))]
#[bench::pending_1m(args = (1_000_000, Operation::Expire), config = at_most(EXPIRE_MAX, 250_000))]
#[bench::pending_10m(args = (10_000_000, Operation::Expire), config = at_most(EXPIRE_MAX, 2_500_000))]
fn expire(mut prepared: Prepared) -> (u32, Prepared) {
    (prepared.expire(), prepared)
}

library_benchmark_group!(name = wheel, benchmarks = [insert, cancel, expire]);
main!(library_benchmark_groups = wheel);
