//! A trip that is booked in steps: jobs that wait for each other, and steps that are undone in reverse order when a
//! later one fails for good.
//!
//! Run it with `cargo run --example workflow -p tickwheel-engine`. It checks what it shows, and ends with
//! an error if anything came in another order.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tickwheel_engine::{Attempt, Backoff, Engine, Flow, JobError, NewJob, StepId};

/// What ran, in the order in which it ended.
type Diary = Arc<Mutex<Vec<String>>>;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let diary = Diary::default();
    let engine = start(dir.path(), &diary)?;

    println!("A trip whose steps all succeed:");
    engine.submit_flow(trip("room 12").0)?;
    check(&engine, &diary, &["book flight", "book room 12", "pay", "send ticket"])?;

    println!("\nOne whose payment fails for good. What was booked is cancelled, the last first:");
    let (flow, steps) = trip("no money");
    let ids = engine.submit_flow(flow)?;
    let undo = ["cancel no money", "cancel flight"];
    check(&engine, &diary, &[&["book flight", "book no money", "pay fails"], &undo[..]].concat())?;
    let undone = steps.iter().filter_map(|(_, undo)| *undo).map(StepId::place);
    println!(
        "  jobs to undo, run or not: {:?}",
        undone.map(|place| ids[place].to_string()).collect::<Vec<_>>()
    );

    println!("\nTwo checks side by side, and a job that waits for both:");
    let mut flow = Flow::new();
    let upload = flow.step(quick("upload"), &[]);
    let checks = [quick("scan"), quick("resize")].map(|job| flow.step(job, &[upload]));
    flow.step(quick("publish"), &checks);
    engine.submit_flow(flow)?;
    let ran = drain(&engine, &diary)?;
    let at = |what: &str| ran.iter().position(|step| step == what);
    let in_order =
        at("upload") < at("scan").min(at("resize")) && at("publish") > at("scan").max(at("resize"));
    expect(ran.len() == 4 && in_order, &ran)?;

    engine.shutdown(Duration::from_secs(5))?;
    println!("\nAll came as it had to.");
    Ok(())
}

/// The steps of a trip, each with what undoes it.
fn trip(room: &str) -> (Flow, Vec<(StepId, Option<StepId>)>) {
    let pay = if room == "no money" { "pay fails" } else { "pay" };
    Flow::with_compensation(vec![
        (quick("book flight"), Some(quick("cancel flight"))),
        (quick(&format!("book {room}")), Some(quick(&format!("cancel {room}")))),
        (quick(pay), Some(quick("refund"))),
        (quick("send ticket"), None),
    ])
}

/// A job that does what its payload says, twice at the most.
fn quick(what: &str) -> NewJob {
    let millisecond = Duration::from_millis(1);
    NewJob::new("step")
        .payload(what.to_owned())
        .attempts_max(2)
        .backoff(Backoff::exponential(millisecond, millisecond))
}

fn start(dir: &std::path::Path, diary: &Diary) -> Result<Engine, Box<dyn Error>> {
    let diary = Arc::clone(diary);
    let step = move |attempt: &Attempt<'_>| {
        let what = String::from_utf8_lossy(attempt.payload()).into_owned();
        let fails = what.ends_with("fails");
        if fails && attempt.number() == 1 {
            return Err(JobError::retryable("the bank is busy"));
        }
        println!("  {what}");
        diary.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        if fails { Err(JobError::permanent("no money")) } else { Ok(()) }
    };
    let builder = Engine::builder().data_dir(dir).segment_bytes(8 << 20).executors(2).pin(false);
    Ok(builder.handler("step", step).start()?)
}

/// Waits until all has run, and returns what did.
fn drain(engine: &Engine, diary: &Diary) -> Result<Vec<String>, Box<dyn Error>> {
    if !engine.drain(Duration::from_secs(30)) {
        return Err("some jobs have not ended".into());
    }
    Ok(std::mem::take(&mut *diary.lock().unwrap_or_else(PoisonError::into_inner)))
}

fn check(engine: &Engine, diary: &Diary, expected: &[&str]) -> Result<(), Box<dyn Error>> {
    let ran = drain(engine, diary)?;
    expect(ran == expected, &ran)
}

fn expect(is_right: bool, ran: &[String]) -> Result<(), Box<dyn Error>> {
    if is_right { Ok(()) } else { Err(format!("it came otherwise: {ran:?}").into()) }
}
