//! Lists and changes of many among many pending jobs: how long a page by a filter takes, how long a cancel by
//! a filter takes, and what other callers wait meanwhile.

use std::{
    path::Path,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tickwheel_engine::{Durability, Engine, JobChange, JobFilter, NewJob};

use crate::BenchError;

const BATCH: u64 = 4096;
const PAYLOAD_BYTES: usize = 100;
const DAY: Duration = Duration::from_secs(86_400);
const INTERVAL: Duration = Duration::from_millis(50);
/// Jobs of a page.
const PAGE: usize = 100;
/// Another caller submits a job this often.
const PROBE: Duration = Duration::from_millis(1);

/// What was measured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Bulk {
    /// Pages of 100 jobs of a kind that most jobs have, in nanoseconds.
    pub common_ns: Histogram<u64>,
    /// Calls for a page of a kind that few jobs have, among all others, in nanoseconds.
    pub rare_ns: Histogram<u64>,
    /// The cancel, from the call until all of it is durable.
    pub cancel: Duration,
    /// From a submit of one job to its answer, while nothing else is asked, in nanoseconds.
    pub alone_ns: Histogram<u64>,
    /// The same while many are cancelled.
    pub beside_ns: Histogram<u64>,
}

impl Bulk {
    /// `jobs` jobs that are due in a day, in one shard; `pages` pages of each sort; then `cancelled` of them
    /// are cancelled by their queue.
    ///
    /// # Errors
    /// The engine cannot be started, or refuses a call.
    ///
    /// # Panics
    /// Pages do not hold what they should, or another number of jobs was cancelled.
    pub fn run(parent: &Path, jobs: u64, pages: u64, cancelled: u64) -> Result<Self, BenchError> {
        let dir = tempfile::Builder::new().prefix("bench-engine-").tempdir_in(parent)?;
        let mut builder = Engine::builder()
            .data_dir(dir.path())
            .shards(1)
            .durability(Durability::Interval(INTERVAL));
        for kind in ["common", "rare", "probe"] {
            builder = builder.handler(kind, |_| Ok(()));
        }
        let engine = builder.start()?;
        fill(&engine, jobs, cancelled)?;
        let (mut common_ns, mut rare_ns) = (histogram()?, histogram()?);
        for _ in 0..pages {
            list(&engine, "common", &mut common_ns)?;
            list(&engine, "rare", &mut rare_ns)?;
        }
        let is_over = AtomicBool::new(false);
        let alone_ns = thread::scope(|scope| {
            let prober = scope.spawn(|| probe(&engine, &is_over));
            thread::sleep(INTERVAL * 10);
            is_over.store(true, Ordering::Relaxed);
            prober.join().map_err(|_| "a caller panicked")?
        })?;
        is_over.store(false, Ordering::Relaxed);
        let (cancel, beside_ns) = thread::scope(|scope| {
            let prober = scope.spawn(|| probe(&engine, &is_over));
            let began = Instant::now();
            let many = JobFilter::new().queue("many");
            let done = engine.bulk(&many, &JobChange::cancel()).and_then(|bulk| bulk.wait());
            let took = began.elapsed();
            is_over.store(true, Ordering::Relaxed);
            let beside_ns = prober.join().map_err(|_| "a caller panicked")??;
            assert_eq!(done?.changed, cancelled, "another number was cancelled");
            Ok::<_, BenchError>((took, beside_ns))
        })?;
        let kinds = engine.kinds()?.into_iter().filter(|(kind, _)| &**kind != "probe");
        let rest: u64 = kinds.map(|(_, jobs)| jobs).sum();
        assert_eq!(rest, jobs - cancelled, "others were cancelled, too");
        engine.shutdown(Duration::from_secs(10))?;
        Ok(Self { common_ns, rare_ns, cancel, alone_ns, beside_ns })
    }
}

/// Every thousandth job is of the rare kind; of the others, so many stand in a queue of their own.
fn fill(engine: &Engine, jobs: u64, cancelled: u64) -> Result<(), BenchError> {
    let step = jobs / cancelled.max(1);
    let mut in_many = 0;
    for start in (0..jobs).step_by(BATCH as usize) {
        let end = (start + BATCH).min(jobs);
        let mut batch = Vec::with_capacity(BATCH as usize);
        for number in start..end {
            let kind = if number % 1000 == 999 { "rare" } else { "common" };
            let delay = DAY + Duration::from_micros(number);
            let job = NewJob::new(kind).payload(vec![1; PAYLOAD_BYTES]).delay(delay);
            let is_many = number % step.max(1) == 0 && in_many < cancelled;
            in_many += u64::from(is_many);
            batch.push(if is_many { job.queue("many") } else { job });
        }
        for answer in engine.submit_batch(batch)? {
            answer?;
        }
    }
    assert_eq!(in_many, cancelled, "too few jobs for so many");
    Ok(())
}

fn list(engine: &Engine, kind: &str, took_ns: &mut Histogram<u64>) -> Result<(), BenchError> {
    let filter = JobFilter::new().kind(kind);
    let began = Instant::now();
    let page = engine.jobs(&filter, None, PAGE)?;
    took_ns.record(began.elapsed().as_nanos() as u64)?;
    assert!(page.jobs.iter().all(|job| &*job.kind == kind) && !page.jobs.is_empty());
    Ok(())
}

/// Submits a job each millisecond, each as a caller of its own: none waits for the answers to others.
fn probe(engine: &Engine, is_over: &AtomicBool) -> Result<Histogram<u64>, BenchError> {
    let (tell, told) = mpsc::channel();
    let began = Instant::now();
    let mut planned = Duration::ZERO;
    // One at the least, however late this thread begins.
    loop {
        thread::sleep(planned.saturating_sub(began.elapsed()));
        let (tell, due) = (tell.clone(), planned);
        engine.submit_batch_then(vec![NewJob::new("probe")], move |answers| {
            // Whoever listens has given up only if the benchmark has failed.
            let _ = tell.send((began.elapsed().saturating_sub(due), answers.is_ok()));
        })?;
        planned += PROBE;
        if is_over.load(Ordering::Relaxed) {
            break;
        }
    }
    drop(tell);
    let mut took_ns = histogram()?;
    for (took, is_accepted) in told {
        assert!(is_accepted, "a caller was refused");
        took_ns.record(took.as_nanos() as u64)?;
    }
    Ok(took_ns)
}

fn histogram() -> Result<Histogram<u64>, BenchError> {
    Ok(Histogram::new(3)?)
}
