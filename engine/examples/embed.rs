//! An engine inside a program: cron, a delay, retries, a queue with limits, and an orderly end.
//!
//!     cargo run -p tickwheel-engine --example embed
//!
//! It ends by itself after some four seconds. Run it again: it goes on in the same directory.

use std::{
    error::Error,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tickwheel_engine::{
    Attempt, Backoff, Engine, JobError, JobEvent, JobKind, Missed, NewJob, Next, QueueLimits,
    Schedule, cron::Cron,
};

/// What a mail job carries.
#[derive(Serialize, Deserialize)]
struct Mail {
    to: String,
}

impl JobKind for Mail {
    const KIND: &'static str = "mail";
}

static SENT: AtomicU32 = AtomicU32::new(0);

fn send(mail: Mail, attempt: &Attempt<'_>) -> Result<(), JobError> {
    if mail.to.starts_with("busy") && attempt.number() < 3 {
        return Err(JobError::retryable("the mail server is busy"));
    }
    if !mail.to.contains('@') {
        return Err(JobError::permanent("that is no address"));
    }
    println!("sent to {}, attempt {}", mail.to, attempt.number());
    SENT.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::builder()
        .data_dir(std::env::temp_dir().join("tickwheel-embed"))
        .typed_handler(send)
        .handler("tick", |attempt: &Attempt<'_>| {
            println!("tick, {:.1} ms late", attempt.lateness().as_secs_f64() * 1e3);
            Ok(())
        })
        .observer(|event: &JobEvent| {
            if event.next == Next::Dead {
                println!("job {} failed for good: {}", event.job, event.message);
            }
        })
        .start()?;

    // Each second on the second, by the clock on the wall. What passes while the program is down
    // is let go.
    let tick = NewJob::new("tick").priority(9);
    let each_second = Schedule::cron("ticker", Cron::parse("* * * * * *")?, tick);
    engine.put_schedule(each_second.missed(Missed::Skip))?;

    // At most two mails at a time, and ten a second after a burst of five.
    let limits = QueueLimits::new().concurrency(2).rate(10, Duration::from_secs(1), 5);
    engine.limit_queue("mail", &limits)?;

    let mail = |to: &str| NewJob::of(&Mail { to: to.into() }).map(|job| job.queue("mail"));
    let quick = Backoff::exponential(Duration::from_millis(200), Duration::from_secs(5));
    // On the disk once this returns.
    let id = engine.submit(mail("busy@example.org")?.backoff(quick).attempts_max(5))?;
    println!("job {id} will fail twice first");
    engine.submit(mail("nobody")?)?;
    engine.submit(mail("later@example.org")?.delay(Duration::from_secs(2)))?;
    // A batch shares one sync.
    let batch = (1..=20).map(|n| mail(&format!("{n}@example.org")));
    engine.submit_batch(batch.collect::<Result<_, _>>()?)?;

    std::thread::sleep(Duration::from_secs(4));
    let report = engine.shutdown(Duration::from_secs(10))?;
    let sent = SENT.load(Ordering::Relaxed);
    println!("{sent} mails sent, {} attempts abandoned", report.abandoned);
    if sent < 22 {
        return Err("all mails but the one without an address were to be sent".into());
    }
    Ok(())
}
