//! The flags that describe a load, shared by all verbs that put one on.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use tickwheel_engine::Durability;

use super::output::Exit;
use crate::{
    arrival::{Arrivals, Trace},
    fault::Faults,
    options::{Load, Options},
    plan,
    slo::Slo,
    target::TargetName,
    workload::{Due, DurationText, Outcomes, Service, Sizes, Tenants, Workload, spec},
};

/// Jobs of a verb that is told neither a number nor a rate and a time.
pub(super) const JOBS_DEFAULT: u32 = 100_000;

#[derive(Args)]
pub(super) struct LoadArgs {
    /// What the load is put on: inproc, an engine inside this process; tcp://HOST:PORT, a server of the
    /// work protocol that runs (its password in TICKWHEEL_PASSWORD); or serve, a tickwheel serve that is
    /// started for the run
    #[arg(long, value_name = "TARGET", default_value = "inproc")]
    pub(super) target: TargetName,
    /// When a job counts as accepted: sync (on the disk), interval, interval(10ms) or os (in the log)
    #[arg(long, value_name = "MODE", default_value = "sync")]
    pub(super) durability: Durability,
    /// Open loop: so many jobs per second on average, each at its planned moment
    #[arg(long, value_name = "R", conflicts_with = "max")]
    pub(super) rate: Option<f64>,
    /// Closed loop: as fast as the target takes them [default unless --rate is given]
    #[arg(long)]
    pub(super) max: bool,
    /// With --rate, instead of --jobs: submit for so long
    #[arg(long = "for", value_name = "DURATION", requires = "rate")]
    pub(super) span: Option<DurationText>,
    /// How an open loop spreads its jobs: constant, poisson, bursty(1s,4s), ramp(0.1,2),
    /// sine(60s,80%), trace(FILE,speed=1) or cron(FILE,speed=3600)
    #[arg(long, value_name = "KIND", default_value = "constant")]
    pub(super) arrivals: String,
    /// When each job is due after its submission: now, 5s, uniform(1s,5s), exponential(2s) or
    /// herd(5s), all at one instant
    #[arg(long, alias = "delay", value_name = "KIND", default_value = "1ms")]
    pub(super) due: Due,
    /// How long a handler takes: zero, 2ms, lognormal(2ms,sigma=0.5) or bimodal(1ms,50ms,5%)
    #[arg(long, value_name = "KIND", default_value = "zero")]
    pub(super) service: Service,
    /// Shares of jobs that do not simply succeed: ok, or such as fail=1%,hang=0.1%,crash=0.1%,dead=1%
    #[arg(long, value_name = "SHARES", default_value = "ok")]
    pub(super) outcomes: Outcomes,
    /// How long an attempt that hangs may take
    #[arg(long, value_name = "DURATION", default_value = "500ms")]
    pub(super) attempt_timeout: DurationText,
    /// Share of the jobs that are cancelled once they are accepted
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub(super) cancel: f64,
    /// Whose jobs they are: one, uniform(10), zipf(100,s=1.1) or noisy(10,50%)
    #[arg(long, value_name = "KIND", default_value = "one")]
    pub(super) tenants: Tenants,
    /// Bytes of a payload, 16 to 1048576: 100, uniform(16,4096) or lognormal(200,sigma=1)
    #[arg(long, value_name = "BYTES", default_value = "100")]
    pub(super) payload: Sizes,
    /// Jobs submitted in this time at the start are not measured
    #[arg(long, value_name = "DURATION", default_value = "0")]
    pub(super) warm_up: DurationText,
    /// Decides the payloads and all else that is drawn
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(super) seed: u64,
    /// What must hold, such as 'submit.p99<10ms,lateness.p99<5ms,errors<0.01%'
    #[arg(long, value_name = "OBJECTIVES")]
    pub(super) slo: Option<Slo>,
    /// Jobs per submit at the most: 1 to 65536 [default: 256; with --rate 1 to 16, by the rate]
    #[arg(long, value_name = "N")]
    pub(super) batch: Option<u32>,
    /// Jobs submitted and not yet completed at the most [default: 100000, or 256 MiB of payloads]
    #[arg(long, value_name = "N", conflicts_with = "rate")]
    pub(super) in_flight: Option<u32>,
    /// Submit all jobs before the first may run, then let go
    #[arg(long, conflicts_with = "rate")]
    pub(super) paused: bool,
    /// Shards of the engine: 1 to 256 [default: half the processors]
    #[arg(long, value_name = "N")]
    pub(super) shards: Option<usize>,
    /// Executor threads of the engine: 1 to 1024 [default: the number of processors]
    #[arg(long, value_name = "N")]
    pub(super) executors: Option<usize>,
    /// Where the log is stored and kept; it must not hold an engine's data
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// Connections to a server that push jobs: 1 to 1000 [default: 2]
    #[arg(long, value_name = "N")]
    pub(super) connections: Option<usize>,
    /// Requests under way on each of them at the most: 1 to 4096 [default: 64]
    #[arg(long, value_name = "N")]
    pub(super) pipeline: Option<usize>,
    /// Connections to a server that fetch jobs and report: 1 to 1000 [default: 2]
    #[arg(long, value_name = "N")]
    pub(super) workers: Option<usize>,
    /// Jobs that each of them fetches at a time, where the server knows FETCHB: 1 to 10000
    /// [default: 256, or 1 where jobs take time, hang or crash]
    #[arg(long, value_name = "N")]
    pub(super) fetch: Option<usize>,
    /// The program that --target serve starts [default: tickwheel beside this program]
    #[arg(long, value_name = "FILE")]
    pub(super) server: Option<PathBuf>,
    /// With --target serve, what is done to the server, counted from the first job: kill@20s (SIGKILL and
    /// a new start on the same data), stop@30s:5s (it stands still for 5 s)
    #[arg(long = "fault", value_name = "FAULTS")]
    pub(super) faults: Option<Faults>,
    /// End an unfinished run after so long [default: the planned time, 60 s, and 100 µs a job]
    #[arg(long, value_name = "DURATION")]
    pub(super) give_up_after: Option<DurationText>,
    /// Write all results to this folder: a JSON file and an interval log per run
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Print nothing but errors
    #[arg(long)]
    pub(super) quiet: bool,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  tickwheel-loadgen run --jobs 1000000 --durability sync --max
      closed loop: as fast as the engine takes them, acknowledged once on the disk
  tickwheel-loadgen run --jobs 60000 --rate 1000 --durability 'interval(10ms)'
      open loop: job i is submitted at its planned moment i/1000 s, come what may; latency counts
      from that moment, so that a stall is not hidden by a generator that waits
  tickwheel-loadgen run --rate 500 --for 60s --arrivals 'sine(20s,80%)' --service 'lognormal(2ms,1)' \\
      --tenants 'zipf(20,1.1)' --outcomes fail=1% --slo 'lateness.p99<50ms' --out out
      a day in a minute, with handlers that take time and sometimes fail
  tickwheel-loadgen run --target serve --rate 20000 --for 60s --fault kill@20s,stop@30s:5s
      over TCP to a server that is started for the run, killed after 20 s and stopped after 30 s; all
      that was acknowledged must have run

The log goes to a fresh directory in the working directory, which is removed afterwards.

Exit codes: 0 passed, 1 failure, 2 an objective was missed, 3 a job was lost or early or the run did not
come to its end, 4 void, 64 usage.")]
pub(super) struct RunArgs {
    /// Jobs in all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(required_unless_present_any = ["span", "arrivals"])]
    pub(super) jobs: Option<u32>,
    #[command(flatten)]
    pub(super) load: LoadArgs,
    /// Run it so often, each time with the next seed; none of the runs is averaged with another
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) repeats: u32,
    /// Write the report as JSON (schema tickwheel.run/v2) to this file; - for standard output
    #[arg(long, value_name = "FILE", conflicts_with = "repeats")]
    pub(super) json: Option<PathBuf>,
}

impl LoadArgs {
    /// The options that the flags ask for, with this number of jobs if it is not given by the rest.
    pub(super) fn into_options(self, jobs: Option<u32>) -> Result<Options, Exit> {
        let arrivals = self.read_arrivals()?;
        let (rate, jobs) = match &arrivals {
            Arrivals::Trace(trace) => {
                let all = trace.jobs();
                (Some(trace.rate()), jobs.map_or(all, |jobs| jobs.min(all)))
            }
            _ => (self.rate, jobs.or_else(|| self.jobs_in_span()).unwrap_or(JOBS_DEFAULT)),
        };
        Ok(Options {
            target: self.target,
            durability: self.durability,
            load: rate.map_or(Load::Max, Load::Rate),
            arrivals,
            workload: Workload {
                due: self.due,
                service: self.service,
                outcomes: self.outcomes,
                cancel: self.cancel,
                tenants: self.tenants,
                payload: self.payload,
            },
            warm_up: self.warm_up.0,
            seed: self.seed,
            slo: self.slo.unwrap_or_default(),
            paused: self.paused,
            attempt_timeout: self.attempt_timeout.0.max(Duration::from_millis(1)),
            batch: self.batch,
            shards: self.shards,
            executors: self.executors,
            data_dir: self.data_dir,
            in_flight: self.in_flight,
            connections: self.connections,
            pipeline: self.pipeline,
            workers: self.workers,
            fetch: self.fetch,
            server: self.server,
            faults: self.faults.unwrap_or_default(),
            give_up_after: self.give_up_after.map(|text| text.0),
            ..Options::new(jobs)
        })
    }

    fn jobs_in_span(&self) -> Option<u32> {
        let span = self.span?.0.as_secs_f64();
        // Casts saturate.
        Some((self.rate? * span).round() as u32)
    }

    fn read_arrivals(&self) -> Result<Arrivals, Exit> {
        let Some((path, speed, kind)) = Arrivals::file(&self.arrivals).map_err(Exit::usage)? else {
            return self.arrivals.parse().map_err(Exit::usage);
        };
        if self.rate.is_some() || self.max {
            let text = "a trace has its own rate: leave out --rate and --max, or change its speed";
            return Err(Exit::usage(text));
        }
        let trace = match kind {
            crate::arrival::FileKind::Trace => Trace::read(&path, speed).map_err(Exit::usage)?,
            crate::arrival::FileKind::Calendar => {
                plan::replay(&path, speed).map_err(Exit::usage)?
            }
        };
        Ok(Arrivals::Trace(trace.into()))
    }
}

fn share(text: &str) -> Result<f64, String> {
    spec::share(text).ok_or_else(|| "write a share such as 5% or 0.05".to_owned())
}
