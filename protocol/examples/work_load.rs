//! Measures a server that speaks the work protocol: how many jobs a second it takes and gives out.
//!
//! `work_load ADDRESS [JOBS]` pushes jobs with arguments of 128 bytes, one by one in a pipeline and in
//! batches, fetches them in batches, passes them one at a time through 32 connections, and hands them to a
//! fetch that waits. It checks that each job comes out once. The server must be empty; the queue is `load`.

use std::{
    collections::HashSet,
    error::Error,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use tickwheel_protocol::{Client, ClientOptions, Identity, Push};

const QUEUE: &str = "load";
const BATCH: usize = 1000;
const FETCH: usize = 256;
const CONNECTIONS: usize = 32;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("usage: work_load ADDRESS [JOBS]")?;
    let jobs: usize = arguments.next().map_or(Ok(200_000), |jobs| jobs.parse())?;

    let all: Vec<String> = (0..jobs).map(job).collect();
    let mut client = connect(&address)?;
    let begun = Instant::now();
    let mut refused = 0;
    client.push_many(&all, |_, push| refused += usize::from(!matches!(push, Push::Taken)))?;
    report("PUSH, pipelined 256 deep", jobs, begun.elapsed());
    drain(&mut client, jobs, "FETCHB of 256 and ACKB")?;

    let begun = Instant::now();
    for batch in all.chunks(BATCH) {
        refused += client.push_batch(batch)?.len();
    }
    report("PUSHB of 1,000", jobs, begun.elapsed());
    if refused > 0 {
        return Err(format!("{refused} jobs were refused").into());
    }
    drain(&mut client, jobs, "FETCHB of 256 and ACKB, again")?;

    let begun = Instant::now();
    client.push_batches(all.chunks(BATCH), 4, |_, batch| refused += batch.len())?;
    report("PUSHB of 1,000, four under way", jobs, begun.elapsed());
    if refused > 0 {
        return Err(format!("{refused} jobs were refused").into());
    }
    drain_in_step(&mut client, jobs)?;

    let few = jobs.min(100_000);
    for batch in all[..few].chunks(BATCH) {
        client.push_batch(batch)?;
    }
    one_by_one(&address, few)?;
    hand_over(&address, jobs.min(5000))
}

/// From the moment before a job is pushed until a fetch that waits for it has it.
fn hand_over(address: &str, jobs: usize) -> Outcome<()> {
    let (mut producer, mut worker) = (connect(address)?, connect(address)?);
    let (sender, fetched) = std::sync::mpsc::channel();
    let mut took = Vec::with_capacity(jobs);
    thread::scope(|scope| {
        let fetcher = scope.spawn(move || -> Outcome<()> {
            for _ in 0..jobs {
                let job = loop {
                    if let Some(job) = worker.fetch(&[QUEUE])? {
                        break job;
                    }
                };
                sender.send(Instant::now())?;
                worker.ack(&jid(&job)?)?;
            }
            Ok(())
        });
        for number in 0..jobs {
            // The fetch before has been answered, so that by then the next one waits.
            thread::sleep(Duration::from_millis(1));
            let begun = Instant::now();
            producer.push(job(number).as_bytes())?;
            took.push(fetched.recv()?.saturating_duration_since(begun));
        }
        fetcher.join().map_err(|_| "a panic")?
    })?;
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!("ready job to waiting FETCH: p50 {:.0?}, p99 {:.0?} ({jobs} jobs)", at(0.5), at(0.99));
    Ok(())
}

/// Fetches and acknowledges in batches; what is done and the next ones share a round trip.
fn drain_in_step(client: &mut Client, jobs: usize) -> Outcome<()> {
    let mut seen = HashSet::with_capacity(jobs);
    let mut done: Vec<String> = Vec::new();
    let begun = Instant::now();
    while seen.len() < jobs {
        let jids: Vec<&str> = done.iter().map(String::as_str).collect();
        let wait = Duration::from_secs(2);
        let (_, got) = client.ack_and_fetch(&jids, &[QUEUE], FETCH, wait)?;
        if got.is_empty() {
            return Err(format!("{} of {jobs} jobs came", seen.len()).into());
        }
        done = got.iter().map(|job| jid(job.get().as_bytes())).collect::<Outcome<Vec<_>>>()?;
        for jid in &done {
            if !seen.insert(jid.clone()) {
                return Err("a job was handed out twice".into());
            }
        }
    }
    client.ack_batch(&done.iter().map(String::as_str).collect::<Vec<_>>())?;
    report("ACKB with the next FETCHB of 256", jobs, begun.elapsed());
    Ok(())
}

/// 32 connections, each of which fetches a job, acknowledges it, and fetches the next.
fn one_by_one(address: &str, jobs: usize) -> Outcome<()> {
    let clients = (0..CONNECTIONS).map(|_| connect(address)).collect::<Outcome<Vec<_>>>()?;
    let seen = Mutex::new(HashSet::new());
    let begun = Instant::now();
    let last = thread::scope(|scope| {
        let work = |mut client: Client| -> Outcome<Instant> {
            let mut last = begun;
            while let Some(job) = client.fetch(&[QUEUE])? {
                let jid = jid(&job)?;
                client.ack(&jid)?;
                last = Instant::now();
                if !seen.lock().map_err(|_| "a thread has panicked")?.insert(jid) {
                    return Err("a job was handed out twice".into());
                }
            }
            Ok(last)
        };
        let threads: Vec<_> =
            clients.into_iter().map(|client| scope.spawn(move || work(client))).collect();
        let ends = threads.into_iter().map(|thread| thread.join().map_err(|_| "a panic")?);
        ends.collect::<Outcome<Vec<_>>>()
    })?;
    let last = last.into_iter().max().unwrap_or(begun);
    report("FETCH and ACK, one at a time on 32 connections", jobs, last - begun);
    let found = seen.lock().map_err(|_| "a thread has panicked")?.len();
    if found == jobs { Ok(()) } else { Err(format!("{found} of {jobs} jobs came").into()) }
}

fn drain(client: &mut Client, jobs: usize, what: &str) -> Outcome<()> {
    let mut seen = HashSet::with_capacity(jobs);
    let begun = Instant::now();
    while seen.len() < jobs {
        let got = client.fetch_batch(&[QUEUE], FETCH, Duration::from_secs(2))?;
        if got.is_empty() {
            return Err(format!("{} of {jobs} jobs came", seen.len()).into());
        }
        let jids = got.iter().map(|job| jid(job.get().as_bytes())).collect::<Outcome<Vec<_>>>()?;
        client.ack_batch(&jids.iter().map(String::as_str).collect::<Vec<_>>())?;
        for jid in jids {
            if !seen.insert(jid) {
                return Err("a job was handed out twice".into());
            }
        }
    }
    report(what, jobs, begun.elapsed());
    Ok(())
}

fn connect(address: &str) -> Outcome<Client> {
    let identity = Identity { wid: Some("work-load-1".into()), ..Identity::default() };
    Ok(Client::connect(address, &ClientOptions { identity, ..ClientOptions::default() })?)
}

fn job(number: usize) -> String {
    let fill = "x".repeat(124);
    format!(
        r#"{{"jid":"load-{number:010}","jobtype":"load","queue":"{QUEUE}","args":["{fill}"],"created_at":"2026-01-01T00:00:00Z"}}"#
    )
}

/// Its jid begins each job of this program.
fn jid(job: &[u8]) -> Outcome<String> {
    let text = std::str::from_utf8(job)?;
    let jid = text.strip_prefix(r#"{"jid":""#).and_then(|rest| rest.split('"').next());
    Ok(jid.ok_or("a job that is not of this program: the server was not empty")?.to_owned())
}

fn report(what: &str, jobs: usize, took: Duration) {
    println!("{what}: {:.0} jobs/s ({jobs} in {took:.2?})", jobs as f64 / took.as_secs_f64());
}
