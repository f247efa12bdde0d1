//! One noisy tenant and many quiet ones share a queue: how long the quiet ones wait when the noisy one offers
//! thousands of jobs at once, without groups and with them; and how groups of unequal weight share.
//!
//! Run it with `cargo run --release --example tenants -p tickwheel-engine`.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tickwheel_engine::{Attempt, Durability, Engine, JobError, NewJob, QueueLimits};

type Failure = Box<dyn Error>;
/// Tenants in the order in which their jobs began, with how long each job had waited.
type Begun = Arc<Mutex<Vec<(String, Duration)>>>;

const PATIENCE: Duration = Duration::from_secs(60);
const TENANTS: usize = 50;

fn main() -> Result<(), Failure> {
    println!("{TENANTS} quiet tenants, each with a job of 1 ms every 100 ms:");
    for (what, noise, grouped) in
        [("alone", 0, true), ("beside 3000 jobs of one", 3000, false), ("with groups", 3000, true)]
    {
        let shop = Shop::open()?;
        shop.offer("noisy", noise, grouped)?;
        for round in 0..20 {
            for tenant in 0..TENANTS {
                shop.offer(&format!("quiet {tenant}"), 1, grouped)?;
            }
            let until = Duration::from_millis(100) * (round + 1);
            std::thread::sleep(until.saturating_sub(shop.opened.elapsed()));
        }
        let begun = shop.close()?;
        let quiet = begun.iter().filter(|(tenant, _)| tenant != "noisy");
        let mut waits: Vec<Duration> = quiet.map(|(_, wait)| *wait).collect();
        waits.sort();
        let ms = |percent: usize| waits[(waits.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
        println!("  {what:<24} wait p50 {:>7.1} ms, p99 {:>7.1} ms", ms(50), ms(99));
    }
    println!("Three tenants that always have jobs, by weight, of the first 1000 starts:");
    let (shop, weights) = (Shop::open()?, [1, 2, 7]);
    shop.engine.pause_queue("shared", true)?;
    for weight in weights {
        let tenant = format!("weight {weight}");
        shop.engine.limit_group("shared", &tenant, Some(&QueueLimits::new().weight(weight)))?;
        shop.offer(&tenant, 1000, true)?;
    }
    shop.engine.pause_queue("shared", false)?;
    let begun = shop.close()?;
    for tenant in weights.map(|weight| format!("weight {weight}")) {
        let starts = begun.iter().take(1000).filter(|(other, _)| *other == tenant).count();
        println!("  {tenant}: {starts}");
    }
    Ok(())
}

/// An engine with one executor, which takes a millisecond for a job.
struct Shop {
    engine: Engine,
    begun: Begun,
    opened: Instant,
    _dir: tempfile::TempDir,
}

impl Shop {
    fn open() -> Result<Self, Failure> {
        let (dir, begun, opened) = (tempfile::tempdir()?, Begun::default(), Instant::now());
        let of_handler = Arc::clone(&begun);
        let work = move |attempt: &Attempt<'_>| {
            let text = std::str::from_utf8(attempt.payload()).map_err(JobError::permanent)?;
            let (offered_ns, tenant) = text.split_once('|').unwrap_or(("0", text));
            let offered = Duration::from_nanos(offered_ns.parse().map_err(JobError::permanent)?);
            let wait = opened.elapsed().saturating_sub(offered);
            let begun = (tenant.to_owned(), wait);
            of_handler.lock().unwrap_or_else(PoisonError::into_inner).push(begun);
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        };
        let engine = Engine::builder().data_dir(dir.path()).durability(Durability::Os).pin(false);
        let engine = engine.segment_bytes(8 << 20).executors(1).handler("work", work).start()?;
        Ok(Self { engine, begun, opened, _dir: dir })
    }

    fn offer(&self, tenant: &str, jobs: usize, grouped: bool) -> Result<(), Failure> {
        let offered = format!("{}|{tenant}", self.opened.elapsed().as_nanos());
        let job = NewJob::new("work").queue("shared").payload(offered);
        let job = if grouped { job.group(tenant) } else { job };
        self.engine.submit_batch(vec![job; jobs])?;
        Ok(())
    }

    fn close(self) -> Result<Vec<(String, Duration)>, Failure> {
        assert!(self.engine.drain(PATIENCE), "all ends in time");
        self.engine.shutdown(PATIENCE)?;
        Ok(std::mem::take(&mut *self.begun.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}
