//! What each verb does with its flags: options, session, output. Everything else is in the library.

use std::{path::PathBuf, sync::Arc, sync::atomic::AtomicBool};

use clap::{Args, ValueEnum};
use serde::Serialize;
use tickwheel_engine::Durability;

use super::{
    FAILED,
    load::{LoadArgs, RunArgs},
    output::{Exit, JsonOut, print},
};
use crate::{
    ceiling::Ceiling,
    limits::Limits,
    machine::Machine,
    options::Options,
    result::text,
    run::Run,
    verb::{self, End, Recover, Saturate, Session, Show, Trend},
    verdict::Outcome,
    workload::DurationText,
};

#[derive(Args)]
pub(super) struct SweepArgs {
    /// The rates in jobs per second
    #[arg(long, value_name = "R,R,…", value_delimiter = ',', required = true)]
    rates: Vec<f64>,
    /// How long each of them is run
    #[arg(long = "step", value_name = "DURATION", default_value = "10s")]
    step: DurationText,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Args)]
#[command(after_help = "\
Example:
  tickwheel-loadgen saturate --durability sync --slo 'lateness.p99<5ms' --out out
      doubles the rate until p99 of lateness reaches 5 ms or the rate cannot be offered, bisects to 3 %,
      and runs the rate that was found for a longer time")]
pub(super) struct SaturateArgs {
    /// The first rate in jobs per second
    #[arg(long, value_name = "R", default_value_t = 1000.0)]
    from: f64,
    /// How long each rate is run
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    step: DurationText,
    /// How long the rate that was found must hold
    #[arg(long, value_name = "DURATION", default_value = "20s")]
    hold: DurationText,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Args)]
pub(super) struct SoakArgs {
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Args)]
pub(super) struct HerdArgs {
    /// Jobs that are due at one instant
    #[arg(long, value_name = "N", default_value_t = super::load::JOBS_DEFAULT)]
    jobs: u32,
    /// The instant, from the start
    #[arg(long = "in", value_name = "DURATION", default_value = "5s")]
    after: DurationText,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Args)]
pub(super) struct DrainArgs {
    /// Jobs of the backlog
    #[arg(long, value_name = "N", default_value_t = super::load::JOBS_DEFAULT)]
    jobs: u32,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum EndArg {
    Kill,
    Clean,
}

#[derive(Args)]
pub(super) struct RecoverArgs {
    /// Jobs that are pending when the process ends
    #[arg(
        long,
        value_name = "N,N,…",
        value_delimiter = ',',
        default_value = "10000,100000,1000000"
    )]
    pending: Vec<u32>,
    /// How the process ends: killed, or in order
    #[arg(long, value_enum, default_value = "kill")]
    end: EndArg,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Args)]
pub(super) struct ScaleArgs {
    /// Numbers of shards
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_value = "1,2,4")]
    counts: Vec<usize>,
    /// Jobs in all, for each
    #[arg(long, value_name = "N")]
    jobs: Option<u32>,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Args)]
pub(super) struct ReplayArgs {
    /// Lines of seconds since the start, and a number of jobs where it is not one
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// So many times as fast
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    speed: f64,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Args)]
#[command(after_help = "\
Example:
  tickwheel-loadgen trend --release 0.2.0 --file docs/benchmarks/trend.csv
      two closed loops and one at 10,000 a second, three times each; of each the run in the middle stands in
      the line. A broken promise writes none.")]
pub(super) struct TrendArgs {
    /// The release that is measured
    #[arg(long, value_name = "NAME")]
    release: String,
    /// The file that gets a line
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Jobs of each closed loop
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,
    /// How long the run at 10,000 a second takes [default: 10s]
    #[arg(long, value_name = "DURATION")]
    paced: Option<DurationText>,
    /// How often each is run
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeats: u32,
    /// Write all results to this folder as well
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print nothing but the line and errors
    #[arg(long)]
    quiet: bool,
}

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// Folders that were given to --out
    #[arg(value_name = "DIR", required = true)]
    dirs: Vec<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  tickwheel-loadgen calibrate
  tickwheel-loadgen calibrate --data-dir /mnt/fast --json limits.json

The copy goes into warm memory of the heap with the CRC32C of the crc32c crate; the write of 4 KiB
with its fdatasync goes into blocks written before, in a temporary file in the data directory.")]
pub(super) struct CalibrateArgs {
    /// Where the disk is measured
    #[arg(long, value_name = "DIR", default_value = ".")]
    data_dir: PathBuf,
    /// Write it as JSON (schema tickwheel.calibrate/v2) to this file; - for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct FillArgs {
    #[arg(long)]
    data_dir: PathBuf,
    #[arg(long)]
    jobs: u32,
    #[arg(long)]
    payload: usize,
    #[arg(long)]
    durability: Durability,
    #[arg(long)]
    shards: Option<usize>,
}

pub(super) fn run(args: RunArgs) -> Result<(), Exit> {
    // Opened first: a long run must not end with a file that cannot be written.
    let json = args.json.as_deref().map(JsonOut::open).transpose()?;
    let shows_text = !args.load.quiet && !matches!(json, Some(JsonOut::Stdout));
    let repeats = args.repeats;
    let (mut session, options) = begin_with("run", args.load, args.jobs, false)?;
    let mut last = None;
    for index in 0..repeats {
        if index > 0 && session.is_stopped() {
            break;
        }
        let seed = options.seed.wrapping_add(index.into());
        let options = Options { seed, ..options.clone() };
        let name = if repeats > 1 { format!("run-{:03}", index + 1) } else { "run".to_owned() };
        let run = session.run(&name, None, &options)?;
        if shows_text && repeats == 1 {
            print(run.to_string().as_bytes())?;
        } else if shows_text {
            print(format!("{}\n", text::one_line(&run.report)).as_bytes())?;
        }
        last = Some(run);
    }
    if let (Some(json), Some(run)) = (json, &last) {
        json.write(&run.report)?;
    }
    let worst = session.reports().iter().max_by_key(|report| report.verdict.outcome);
    worst.map_or(Ok(()), |report| Exit::of_verdict(&report.verdict))
}

pub(super) fn sweep(args: SweepArgs) -> Result<(), Exit> {
    let (mut session, options) = begin("sweep", args.load, None)?;
    verb::sweep(&mut session, &options, &args.rates, args.step.0)?;
    end(&session)
}

pub(super) fn saturate(args: SaturateArgs) -> Result<(), Exit> {
    let (mut session, options) = begin("saturate", args.load, None)?;
    let ask = Saturate { from: args.from, step: args.step.0, hold: args.hold.0 };
    match verb::saturate(&mut session, &options, &ask)? {
        Some(rate) => print(
            format!("{rate:.0} jobs a second hold {}: {:.0} a day\n", options.slo, rate * 86_400.0)
                .as_bytes(),
        ),
        None => {
            let last = session.reports().last();
            let outcome = last.map_or(Outcome::Void, |report| report.verdict.outcome);
            // A search that found nothing has missed its objective, whatever its last step was.
            let outcome = outcome.max(Outcome::Missed);
            Exit::of(outcome, || "no rate was found at which all objectives hold".to_owned())
        }
    }
}

pub(super) fn soak(args: SoakArgs) -> Result<(), Exit> {
    if args.load.rate.is_none() || args.load.span.is_none() {
        return Err(Exit::usage("soak needs a rate and a time: add such as --rate 1000 --for 1h"));
    }
    let quiet = args.load.quiet;
    let (mut session, options) = begin_with("soak", args.load, None, false)?;
    let run = verb::soak(&mut session, &options)?;
    show(&run, quiet)
}

pub(super) fn herd(args: HerdArgs) -> Result<(), Exit> {
    let quiet = args.load.quiet;
    let (mut session, options) = begin_with("herd", args.load, Some(args.jobs), false)?;
    let run = verb::herd(&mut session, &options, args.after.0)?;
    show(&run, quiet)
}

pub(super) fn drain(args: DrainArgs) -> Result<(), Exit> {
    let quiet = args.load.quiet;
    let (mut session, options) = begin_with("drain", args.load, Some(args.jobs), false)?;
    let run = verb::drain(&mut session, &options)?;
    show(&run, quiet)
}

pub(super) fn recover(args: RecoverArgs) -> Result<(), Exit> {
    let quiet = args.load.quiet;
    let (mut session, options) = begin_with("recover", args.load, None, false)?;
    let end = match args.end {
        EndArg::Kill => End::Kill,
        EndArg::Clean => End::Clean,
    };
    let program = std::env::current_exe().map_err(Exit::failed)?;
    for pending in args.pending {
        let ask = Recover { program: program.clone(), pending: vec![pending], end };
        verb::recover(&mut session, &options, &ask)?;
        if let Some(report) = session.reports().last().filter(|_| !quiet) {
            let of = |name: &str| report.extra.get(name).copied().unwrap_or_default();
            let line = format!(
                "{pending:>10} pending  {:>7.0} MiB on disk  serves after {:.3} s  {}\n",
                of("disk_bytes") / f64::from(1 << 20),
                of("serve_s"),
                report.verdict.outcome.name()
            );
            print(line.as_bytes())?;
        }
    }
    self::end(&session)
}

pub(super) fn scale(args: ScaleArgs) -> Result<(), Exit> {
    let (mut session, options) = begin("scale", args.load, args.jobs)?;
    verb::scale(&mut session, &options, &args.counts)?;
    end(&session)
}

pub(super) fn replay(mut args: ReplayArgs) -> Result<(), Exit> {
    args.load.arrivals = format!("trace({},speed={})", args.file.display(), args.speed);
    let quiet = args.load.quiet;
    let (mut session, options) = begin_with("replay", args.load, None, false)?;
    let run = session.run("replay", None, &options)?;
    show(&run, quiet)
}

pub(super) fn verify(args: &VerifyArgs) -> Result<(), Exit> {
    let mut worst = Outcome::Pass;
    let mut wrong = 0;
    for dir in &args.dirs {
        let (findings, outcome) = verb::verify(dir)?;
        worst = worst.max(outcome);
        wrong += findings.len();
        for finding in findings {
            print(format!("{}: {}\n", finding.file.display(), finding.text).as_bytes())?;
        }
    }
    if wrong > 0 {
        let message = format!("{wrong} contradictions in stored results: measure again");
        return Err(Exit { code: Outcome::Incorrect.exit_code(), message });
    }
    print(format!("results are whole; the worst verdict is {}\n", worst.name()).as_bytes())?;
    Exit::of(worst, String::new)
}

/// The JSON form of a calibration.
#[derive(Serialize)]
struct Calibration {
    schema: &'static str,
    machine: Machine,
    ceiling: Ceiling,
}

pub(super) fn calibrate(args: &CalibrateArgs) -> Result<(), Exit> {
    let json = args.json.as_deref().map(JsonOut::open).transpose()?;
    let limits = Limits::measure(&args.data_dir).map_err(Exit::failed)?;
    let machine = Machine::describe(&args.data_dir, limits);
    let ceiling = Ceiling::measure().map_err(Exit::failed)?;
    if !matches!(json, Some(JsonOut::Stdout)) {
        let text = format!(
            "{}\nkit       recording {:.1} ns an event · one thread generates {:.0}/s closed, {:.0}/s open, over a socket {:.0}/s in batches, {:.0}/s singly · a page of 100 runs {:.2} s · a forecast of 10,000 schedules over 30 days {:.2} s · loopback round trip p50 {:.0} µs, p99 {:.0} µs\n",
            text::of_machine(&machine),
            ceiling.record_ns,
            ceiling.closed_loop_per_s,
            ceiling.open_loop_per_s,
            ceiling.wire_per_s,
            ceiling.wire_singly_per_s,
            ceiling.page_s,
            ceiling.forecast_s,
            ceiling.loopback_ns.p50 as f64 / 1e3,
            ceiling.loopback_ns.p99 as f64 / 1e3
        );
        print(text.as_bytes())?;
    }
    match json {
        Some(json) => {
            json.write(&Calibration { schema: "tickwheel.calibrate/v2", machine, ceiling })
        }
        None => Ok(()),
    }
}

pub(super) fn trend(args: TrendArgs) -> Result<(), Exit> {
    let show = Show { progress: !args.quiet, lines: !args.quiet, stop: wait_for_signals()? };
    let mut session = Session::begin("trend", args.out.as_deref(), None, show)?;
    let ask = Trend {
        release: args.release,
        file: args.file,
        jobs: args.jobs,
        paced: args.paced.map(|text| text.0),
        repeats: args.repeats,
    };
    let line = verb::trend(&mut session, &ask)?;
    print(format!("{line}\n").as_bytes())
}

pub(super) fn fill(args: &FillArgs) -> Result<(), Exit> {
    Ok(verb::fill(&args.data_dir, args.jobs, args.payload, args.durability, args.shards)?)
}

/// Begins a verb that prints a line for each run.
fn begin(
    verb: &'static str,
    load: LoadArgs,
    jobs: Option<u32>,
) -> Result<(Session, Options), Exit> {
    let lines = !load.quiet;
    begin_with(verb, load, jobs, lines)
}

fn begin_with(
    verb: &'static str,
    load: LoadArgs,
    jobs: Option<u32>,
    lines: bool,
) -> Result<(Session, Options), Exit> {
    let stop = wait_for_signals()?;
    let show = Show { progress: !load.quiet, lines, stop };
    let out = load.out.clone();
    let options = load.into_options(jobs)?;
    options.check().map_err(Exit::usage)?;
    let session = Session::begin(verb, out.as_deref(), options.data_dir.as_deref(), show)?;
    Ok((session, options))
}

/// What is set once somebody asks for an end.
fn wait_for_signals() -> Result<Arc<AtomicBool>, Exit> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let stop = Arc::clone(&stop);
        // The second signal ends the process at once. The order matters: the flag is looked at
        // before it is set.
        signal_hook::flag::register_conditional_shutdown(signal, FAILED.into(), Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, stop))
            .map_err(|error| Exit::failed(format!("cannot wait for signals: {error}")))?;
    }
    Ok(stop)
}

/// Prints a run and ends with its verdict.
fn show(run: &Run, quiet: bool) -> Result<(), Exit> {
    if !quiet {
        print(run.to_string().as_bytes())?;
    }
    Exit::of_verdict(&run.report.verdict)
}

/// Ends a verb of several runs with the worst of their outcomes.
fn end(session: &Session) -> Result<(), Exit> {
    let worst = session.worst();
    Exit::of(worst, || {
        let of =
            |outcome| session.reports().iter().filter(|one| one.verdict.outcome == outcome).count();
        format!(
            "{} of {} runs are {}; --out keeps the reasons",
            of(worst),
            session.reports().len(),
            worst.name()
        )
    })
}
