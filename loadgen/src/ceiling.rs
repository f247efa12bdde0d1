//! What the kit itself can do: the cost of recording one event, the rate at which one thread can
//! generate, and a round trip over the loopback. It measures the kit, never a target.

use std::{
    fs,
    hint::black_box,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tickwheel_engine::latency::{self, Percentiles};

use crate::{
    clock,
    limits::{Limits, SyncTimes, mean_ns},
    machine::Machine,
    measure::{Account, Lanes, Metric},
    options::{Load, Options},
    plan::{self, Ask},
    report,
    result::{Interval, Point, Report, Spans},
    submit::Submitter,
    target::{Null, wire_ceiling},
};

/// How much is done to find the ceiling.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Jobs that are generated.
    jobs: u32,
    /// Runs of the page that is built.
    page_runs: u32,
    /// Schedules of the forecast.
    schedules: u32,
    /// Round trips over the loopback.
    round_trips: u32,
}

const SIZES: Sizes =
    Sizes { jobs: 1_000_000, page_runs: 100, schedules: 10_000, round_trips: 2000 };
/// Intervals of each run of the page.
const PAGE_INTERVALS: u32 = 60;
/// Days of the forecast.
const FORECAST_DAYS: u32 = 30;
/// When it begins: 5 January 2026, 00:00 UTC.
const FORECAST_FROM_S: i64 = 1_767_571_200;
const ROUND_TRIP_TIMEOUT: Duration = Duration::from_secs(5);

/// What the kit can do on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Nanoseconds to record one event in a histogram, on average.
    pub record_ns: f64,
    /// Jobs a second that one thread of a closed loop composes, sends and accounts for, on a target
    /// that takes everything at once.
    pub closed_loop_per_s: f64,
    /// The same for an open loop that is always behind its plan.
    pub open_loop_per_s: f64,
    /// The same over a socket of the loopback, in requests of 256 jobs, to a server that says yes to each.
    pub wire_per_s: f64,
    /// The same with a request for each job.
    pub wire_singly_per_s: f64,
    /// Seconds to build a page about a hundred runs.
    pub page_s: f64,
    /// Seconds to forecast 10,000 schedules over 30 days.
    pub forecast_s: f64,
    /// A byte to a thread and back over TCP on the loopback.
    pub loopback_ns: SyncTimes,
}

impl Ceiling {
    /// Measures it within a few seconds.
    ///
    /// # Errors
    /// The loopback cannot be used.
    pub fn measure() -> io::Result<Self> {
        Self::of(SIZES)
    }

    fn of(sizes: Sizes) -> io::Result<Self> {
        let Sizes { jobs, page_runs, schedules, round_trips } = sizes;
        Ok(Self {
            record_ns: record(),
            closed_loop_per_s: generate(Load::Max, jobs),
            open_loop_per_s: generate(Load::Rate(crate::RATE_MAX), jobs),
            wire_per_s: wire(256, jobs)?,
            wire_singly_per_s: wire(1, jobs / 10)?,
            page_s: page(page_runs),
            forecast_s: forecast(schedules)?,
            loopback_ns: loopback(round_trips)?,
        })
    }
}

/// Recording as handlers do it, through the lane of the thread, with values that wander.
fn record() -> f64 {
    let lanes = Lanes::new(1);
    let mut value = 1_u64;
    mean_ns(|| {
        value =
            value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Spans between 1 µs and 1 s, as they come from a run.
        let span_ns = 1000 << (value >> 60).min(20) | (value >> 54);
        lanes.with(|lane| lane.record(Metric::Lateness, black_box(span_ns)));
    })
}

fn generate(load: Load, jobs: u32) -> f64 {
    let options = Options { load, in_flight: Some(jobs), ..Options::new(jobs) };
    let account = Arc::new(Account::new(&options));
    let stop = Arc::new(AtomicBool::new(false));
    let submitter = Submitter::new(&options, Arc::new(Null), Arc::clone(&account), stop);
    let began = Instant::now();
    // The null target refuses nothing.
    let _ = match load {
        Load::Max => submitter.closed_loop(),
        Load::Rate(rate) => submitter.open_loop(rate),
    };
    f64::from(jobs) / began.elapsed().as_secs_f64()
}

fn wire(batch: u32, jobs: u32) -> io::Result<f64> {
    wire_ceiling(jobs, batch).map_err(io::Error::other)
}

/// Seconds to build a page about made-up runs of a search.
fn page(runs: u32) -> f64 {
    let limits = Limits {
        record_bytes: 1,
        copy_and_crc_ns: 1.0,
        write_and_sync_ns: SyncTimes::default(),
        clock_read_ns: 1.0,
        timer_late_ns: SyncTimes::default(),
    };
    let machine = Machine::describe(Path::new("."), limits);
    let reports: Vec<Report> = (1..=runs).map(|number| made_up(&machine, number)).collect();
    let began = Instant::now();
    black_box(report::page(&reports));
    began.elapsed().as_secs_f64()
}

fn made_up(machine: &Machine, number: u32) -> Report {
    let rate = f64::from(number) * 1000.0;
    let mut run = Report::bare("saturate", machine.clone());
    run.point = Some(Point { axis: "rate_per_s".to_owned(), value: rate });
    run.offered_per_s = Some(rate);
    (run.achieved.submitted_per_s, run.achieved.completed_per_s) = (rate, rate);
    let span = u64::from(number) * 1000;
    let spans = Spans { p50: span, p99: span * 9, max: span * 90, count: 1000, ..Spans::default() };
    for metric in Metric::ALL {
        run.latency_ns.insert(metric.name().to_owned(), spans);
        let points = (0..=60).map(|n| (f64::from(n) / 12.0, span * (1 + n as u64)));
        run.curves.insert(metric.name().to_owned(), points.collect());
    }
    run.intervals = (0..PAGE_INTERVALS)
        .map(|second| Interval {
            start_s: f64::from(second),
            len_s: 1.0,
            submitted: 1000,
            completed: 1000,
            refused: 0,
            backlog: 10,
            submit_p99_ns: span,
            submit_max_ns: span,
            lateness_p50_ns: span,
            lateness_p99_ns: span * 9,
            lateness_max_ns: span * 90,
            generator_p99_ns: 1,
            rss_bytes: 1 << 20,
            lateness_heat: (1..20).collect(),
        })
        .collect();
    run
}

/// Seconds to plan a crontab of every kind of line.
fn forecast(schedules: u32) -> io::Result<f64> {
    let line = |n: u32| match n % 5 {
        0 => format!("{} {} * * * x\n", n % 60, n % 24),
        1 => format!("{} * * * * x\n", n % 60),
        2 => "*/5 * * * * x\n".to_owned(),
        3 => "0 0 * * mon x\n".to_owned(),
        _ => "* * * * * x\n".to_owned(),
    };
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("crontab");
    fs::write(&path, (0..schedules).map(line).collect::<String>())?;
    let ask = Ask {
        crontabs: vec![path],
        has_users: false,
        configs: Vec::new(),
        jobs_per_day: None,
        peak_factor: 3.0,
        days: FORECAST_DAYS,
        from_unix_s: Some(FORECAST_FROM_S),
        zone: "UTC".to_owned(),
        jitter_max: Duration::from_secs(600),
        cost_per_hour: None,
    };
    let began = Instant::now();
    black_box(plan::plan(&ask, &[]).map_err(io::Error::other)?);
    Ok(began.elapsed().as_secs_f64())
}

fn loopback(round_trips: u32) -> io::Result<SyncTimes> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let echo =
        thread::Builder::new().name("echo".to_owned()).spawn(move || -> io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ROUND_TRIP_TIMEOUT))?;
            let mut byte = [0];
            while stream.read(&mut byte)? > 0 {
                stream.write_all(&byte)?;
            }
            Ok(())
        })?;
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ROUND_TRIP_TIMEOUT))?;
    let mut histogram = latency::histogram();
    for _ in 0..round_trips {
        let began_ns = clock::mono_ns();
        stream.write_all(&[1])?;
        stream.read_exact(&mut [0])?;
        histogram.saturating_record(clock::mono_ns() - began_ns);
    }
    drop(stream);
    // Its errors are those of this side.
    let _ = echo.join();
    let Percentiles { p50, p99, max, count, .. } = Percentiles::of(&histogram);
    Ok(SyncTimes { p50, p99, max, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_measured() {
        let sizes = Sizes { jobs: 20_000, page_runs: 3, schedules: 100, round_trips: 50 };
        let ceiling = Ceiling::of(sizes).unwrap();
        assert!(
            ceiling.record_ns > 0.0 && ceiling.open_loop_per_s > 0.0 && ceiling.wire_per_s > 0.0,
            "{ceiling:?}"
        );
        assert!(ceiling.page_s > 0.0 && ceiling.forecast_s > 0.0, "{ceiling:?}");
        assert_eq!(ceiling.loopback_ns.count, 50);
    }
}
