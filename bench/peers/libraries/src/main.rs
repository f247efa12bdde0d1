//! Timers and schedulers that live in one process, under the load that the systems go through: jobs for
//! now, jobs one at a time, jobs for later. It prints what it found as one line of JSON.
//!
//! `peers-libraries NAME JOBS DELAYED LONE DELAY_MS PIPELINE`. A push is the call that hands a job over; there is
//! nothing to acknowledge and nothing on a disk.
#![forbid(unsafe_code)]

mod library;

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU32, Ordering},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use library::Library;
use tokio::sync::Notify;

/// Versions as the manifest fixes them.
const VERSIONS: &str = "tokio-util 0.7.20, apalis-core 1.0.0, tokio-cron-scheduler 0.15.1";
/// How long a phase may take.
const PHASE_MAX: Duration = Duration::from_secs(120);

type PeerError = Box<dyn std::error::Error + Send + Sync>;

/// What came to the handlers.
pub(crate) struct Seen {
    runs: Vec<AtomicU32>,
    done: AtomicU32,
    changed: Notify,
    late_us: Mutex<Vec<f64>>,
}

impl Seen {
    /// A handler has job `number`, which was due at `due`.
    pub(crate) fn take(&self, number: u32, due: Instant) {
        let now = Instant::now();
        let late = now.saturating_duration_since(due).as_secs_f64();
        let early = due.saturating_duration_since(now).as_secs_f64();
        self.late_us.lock().unwrap_or_else(PoisonError::into_inner).push((late - early) * 1e6);
        let first =
            self.runs.get(number as usize).map(|runs| runs.fetch_add(1, Ordering::SeqCst) == 0);
        if first == Some(true) {
            self.done.fetch_add(1, Ordering::SeqCst);
            self.changed.notify_one();
        }
    }

    async fn wait_for(&self, count: u32) -> Result<(), PeerError> {
        let all = async {
            while self.done.load(Ordering::SeqCst) < count {
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(PHASE_MAX, all).await.map_err(|_| "not all jobs came".into())
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args == ["--version"] {
        println!("{VERSIONS}");
        return ExitCode::SUCCESS;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    let result = runtime.map_err(PeerError::from).and_then(|runtime| runtime.block_on(run(&args)));
    match result {
        Ok(json) => {
            println!("{json}");
            // Some of them never end their tasks.
            std::process::exit(0)
        }
        Err(error) => {
            eprintln!("peers-libraries: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &[String]) -> Result<String, PeerError> {
    let [name, jobs, delayed, lone, delay_ms, _pipeline] = args else {
        return Err("usage: peers-libraries NAME JOBS DELAYED LONE DELAY_MS PIPELINE".into());
    };
    let (jobs, delayed, lone) =
        (jobs.parse::<u32>()?, delayed.parse::<u32>()?, lone.parse::<u32>()?);
    let delay = Duration::from_millis(delay_ms.parse()?);
    let all = jobs + lone + delayed;
    let seen = Arc::new(Seen {
        runs: (0..all).map(|_| AtomicU32::new(0)).collect(),
        done: AtomicU32::new(0),
        changed: Notify::new(),
        late_us: Mutex::default(),
    });
    let mut library = Library::start(name, &seen).await?;
    let began = Instant::now();
    for number in 0..jobs {
        library.push(number, Duration::ZERO).await?;
    }
    let pushed = began.elapsed();
    seen.wait_for(jobs).await?;
    let worked = began.elapsed();
    let mut spans = Vec::new();
    for number in jobs..jobs + lone {
        let start = Instant::now();
        library.push(number, Duration::ZERO).await?;
        spans.push(start.elapsed().as_secs_f64() * 1e6);
    }
    seen.wait_for(jobs + lone).await?;
    let mut late = None;
    if library.has_delays() {
        seen.late_us.lock().unwrap_or_else(PoisonError::into_inner).clear();
        for number in jobs + lone..all {
            library.push(number, delay).await?;
        }
        seen.wait_for(all).await?;
        late = Some(seen.late_us.lock().unwrap_or_else(PoisonError::into_inner).clone());
    }
    let expected = if late.is_some() { all } else { jobs + lone };
    let runs = || seen.runs.iter().take(expected as usize).map(|runs| runs.load(Ordering::SeqCst));
    let late_at = |share: f64| late.clone().and_then(|mut late| percentile(&mut late, share));
    let json = serde_json::json!({
        "push_per_s": f64::from(jobs) / pushed.as_secs_f64(),
        "work_per_s": f64::from(jobs) / worked.as_secs_f64(),
        "lone_p50_us": percentile(&mut spans.clone(), 0.5),
        "lone_p99_us": percentile(&mut spans, 0.99),
        "late_p50_us": late_at(0.5),
        "late_p99_us": late_at(0.99),
        "early": late.as_ref().map_or(0, |late| late.iter().filter(|us| **us < 0.0).count()),
        "lost": runs().filter(|runs| *runs == 0).count(),
        "twice": runs().filter(|runs| *runs > 1).count(),
    });
    Ok(json.to_string())
}

fn percentile(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.max(1) - 1).copied()
}
