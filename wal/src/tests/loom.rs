//! Models: the log's threads in every order, with every value that weak memory allows, as far as
//! the bound on preemptions goes.
//!
//! They exist only with `--cfg loom`; `docs/testing.md` says how to run them. The code is the real
//! one, over files that are no more than a count of what a sync has covered.

mod acks;
mod disk;
mod frozen;
mod segments;
mod whole;

use std::time::Instant;

use crate::sync::thread;

/// Switches that are forced on a thread that could go on, in one execution. Few bugs need more.
const PREEMPTIONS_MAX: usize = 3;
/// The same in models with many steps.
const PREEMPTIONS_MAX_LONG: usize = 2;

/// Runs `model` in every order that so many forced switches reach. `LOOM_MAX_PREEMPTIONS` sets
/// another bound, or `all` for none.
fn check(name: &str, preemptions_max: usize, model: impl Fn() + Send + Sync + Copy + 'static) {
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound = match std::env::var("LOOM_MAX_PREEMPTIONS") {
        Ok(bound) if bound == "all" => None,
        Ok(bound) => Some(bound.parse().unwrap()),
        Err(_) => Some(preemptions_max),
    };
    builder.max_branches = 20_000;
    let begun = Instant::now();
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = count.clone();
    builder.check(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // In a thread with room for all that an opening puts on its stack.
        let body = thread::Builder::new().name("owner".to_owned()).spawn(model).unwrap();
        body.join().unwrap();
    });
    let executions = count.load(std::sync::atomic::Ordering::Relaxed);
    println!("{name}: {executions} executions in {:?}", begun.elapsed());
    assert!(executions > 1, "{name} has nothing to reorder");
}
