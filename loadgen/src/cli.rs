//! The command line: what may be said, where it is written, and which exit code each end has.

use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use tickwheel_engine::Durability;
use tracing_subscriber::EnvFilter;

use crate::{
    limits::Limits,
    machine::Machine,
    options::{DurationText, Load, Options, Target},
    run::{RunError, Watch, run_watched},
    text,
};

/// Exit code of a failure.
const FAILED: u8 = 1;
/// Exit code of bad usage. clap uses it too.
const BAD_USAGE: u8 = 2;
/// Exit code of a run that lost a job, ran one early, or did not come to its end.
const BROKEN_PROMISE: u8 = 3;

#[derive(Parser)]
#[command(
    name = "tickwheel-loadgen",
    version,
    about = "Puts load on Tickwheel and keeps an exact account of what became of each job",
    after_help = "\
Examples:
  tickwheel-loadgen run --jobs 1000000 --durability sync --max     how many jobs a second?
  tickwheel-loadgen run --jobs 60000 --rate 1000 --json run.json   how long does each stage take at that rate?
  tickwheel-loadgen calibrate                                      what can the machine do at best?"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Submit jobs, wait until all have run, and report rates, latencies and the ledger
    Run(RunArgs),
    /// Measure what the machine can do without a scheduler: copies, checksums, syncs, the clock
    Calibrate(CalibrateArgs),
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  tickwheel-loadgen run --jobs 1000000 --durability sync --max
      closed loop: as fast as the engine takes them, acknowledged once on the disk
  tickwheel-loadgen run --jobs 60000 --rate 1000 --durability 'interval(10ms)'
      open loop: job i is submitted at its planned moment i/1000 s, come what may; latency counts
      from that moment, so that a stall is not hidden by a generator that waits
  tickwheel-loadgen run --jobs 100000 --delay 5s --json run.json --data-dir /mnt/fast/load
      each due five seconds after its submission, stored on another disk, reported as JSON too

The log goes to a fresh directory in the working directory, which is removed afterwards.

Exit codes: 0 well, 1 failure, 2 usage, 3 a job was lost or ran early, or the run was given up.
RUST_LOG sets what the engine logs to standard error; the default is warn.")]
struct RunArgs {
    /// What the load is put on: an engine inside this process
    #[arg(long, value_enum, default_value = "inproc")]
    target: Target,
    /// Jobs in all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,
    /// When a job counts as accepted: sync (on the disk), interval, interval(10ms) or os (in the log)
    #[arg(long, value_name = "MODE", default_value = "sync")]
    durability: Durability,
    /// Open loop: so many jobs per second, each at its planned moment
    #[arg(long, value_name = "R", conflicts_with = "max")]
    rate: Option<f64>,
    /// Closed loop: as fast as the engine takes them [default unless --rate is given]
    #[arg(long)]
    max: bool,
    /// Decides the payloads
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Bytes of a payload: 16 to 1048576
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    payload: usize,
    /// Each job is due so long after its submission: 0 to 24h
    #[arg(long, value_name = "DURATION", default_value = "1ms")]
    delay: DurationText,
    /// Jobs per submit at the most: 1 to 65536 [default: 256; with --rate 1 to 16, by the rate]
    #[arg(long, value_name = "N")]
    batch: Option<u32>,
    /// Jobs submitted and not yet completed at the most [default: 100000, or 256 MiB of payloads]
    #[arg(long, value_name = "N", conflicts_with = "rate")]
    in_flight: Option<u32>,
    /// Shards of the engine: 1 to 256 [default: half the processors]
    #[arg(long, value_name = "N")]
    shards: Option<usize>,
    /// Executor threads of the engine: 1 to 1024 [default: the number of processors]
    #[arg(long, value_name = "N")]
    executors: Option<usize>,
    /// Where the log is stored and kept; it must not hold an engine's data
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// End an unfinished run after so long [default: the planned time, 60 s, and 100 µs a job]
    #[arg(long, value_name = "DURATION")]
    give_up_after: Option<DurationText>,
    /// Write the report as JSON (schema tickwheel.run/v1) to this file; - for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print nothing but errors; with --json, that is still written
    #[arg(long)]
    quiet: bool,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  tickwheel-loadgen calibrate
  tickwheel-loadgen calibrate --data-dir /mnt/fast --json limits.json

The copy goes into warm memory of the heap with the CRC32C of the crc32c crate; the write of 4 KiB
with its fdatasync goes into blocks written before, in a temporary file in the data directory.")]
struct CalibrateArgs {
    /// Where the disk is measured
    #[arg(long, value_name = "DIR", default_value = ".")]
    data_dir: PathBuf,
    /// Write it as JSON (schema tickwheel.calibrate/v1) to this file; - for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging();
    let done = match cli.command {
        Command::Run(args) => run_command(args),
        Command::Calibrate(args) => calibrate_command(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            eprintln!("tickwheel-loadgen: {}", exit.message);
            ExitCode::from(exit.code)
        }
    }
}

/// An end other than a good one.
struct Exit {
    code: u8,
    message: String,
}

impl Exit {
    fn failed(error: impl std::fmt::Display) -> Self {
        Self { code: FAILED, message: error.to_string() }
    }
}

impl From<RunError> for Exit {
    fn from(error: RunError) -> Self {
        let code = if error.is_usage() { BAD_USAGE } else { FAILED };
        Self { code, message: error.to_string() }
    }
}

fn run_command(args: RunArgs) -> Result<(), Exit> {
    // Opened first: a long run must not end with a file that cannot be written.
    let json = args.json.as_deref().map(JsonOut::open).transpose()?;
    let shows_text = !args.quiet && !matches!(json, Some(JsonOut::Stdout));
    let watch = Watch { progress: !args.quiet, ..Watch::default() };
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let stop = Arc::clone(&watch.stop);
        // The second signal ends the process at once. The order matters: the flag is looked at
        // before it is set.
        signal_hook::flag::register_conditional_shutdown(signal, FAILED.into(), Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, stop))
            .map_err(|error| Exit::failed(format!("cannot wait for signals: {error}")))?;
    }
    let run = run_watched(&args.into_options(), &watch)?;
    if shows_text {
        print(run.to_string().as_bytes())?;
    }
    if let Some(json) = json {
        json.write(&run.report)?;
    }
    if run.report.kept_its_promises() {
        return Ok(());
    }
    let message = run.report.cut_short.unwrap_or_else(|| {
        let ledger = &run.report.ledger;
        format!("{} jobs were lost, {} ran early", ledger.lost, ledger.early)
    });
    Err(Exit { code: BROKEN_PROMISE, message })
}

impl RunArgs {
    fn into_options(self) -> Options {
        Options {
            target: self.target,
            durability: self.durability,
            load: self.rate.map_or(Load::Max, Load::Rate),
            seed: self.seed,
            payload_bytes: self.payload,
            delay: self.delay.0,
            batch: self.batch,
            shards: self.shards,
            executors: self.executors,
            data_dir: self.data_dir,
            in_flight: self.in_flight,
            give_up_after: self.give_up_after.map(|text| text.0),
            ..Options::new(self.jobs)
        }
    }
}

/// The JSON form of a calibration.
#[derive(Serialize)]
struct Calibration {
    schema: &'static str,
    machine: Machine,
}

fn calibrate_command(args: &CalibrateArgs) -> Result<(), Exit> {
    let json = args.json.as_deref().map(JsonOut::open).transpose()?;
    let limits = Limits::measure(&args.data_dir).map_err(Exit::failed)?;
    let machine = Machine::describe(&args.data_dir, limits);
    if !matches!(json, Some(JsonOut::Stdout)) {
        print(format!("{}\n", text::of_machine(&machine)).as_bytes())?;
    }
    match json {
        Some(json) => json.write(&Calibration { schema: "tickwheel.calibrate/v1", machine }),
        None => Ok(()),
    }
}

/// Where JSON goes.
enum JsonOut {
    Stdout,
    File(File, PathBuf),
}

impl JsonOut {
    fn open(path: &Path) -> Result<Self, Exit> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        match File::create(path) {
            Ok(file) => Ok(Self::File(file, path.to_owned())),
            Err(error) => {
                let message =
                    format!("cannot write {}: {error}; name another file", path.display());
                Err(Exit { code: BAD_USAGE, message })
            }
        }
    }

    fn write(self, value: &impl Serialize) -> Result<(), Exit> {
        let mut bytes = serde_json::to_vec_pretty(value).map_err(Exit::failed)?;
        bytes.push(b'\n');
        match self {
            Self::Stdout => print(&bytes),
            Self::File(mut file, path) => file
                .write_all(&bytes)
                .map_err(|error| Exit::failed(format!("cannot write {}: {error}", path.display()))),
        }
    }
}

/// Writes to standard output. A reader that went away, as `head` does, is no failure.
fn print(bytes: &[u8]) -> Result<(), Exit> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Exit::failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Logs to standard error, filtered by `RUST_LOG`.
fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_report_names_a_command_that_asks_for_the_same_run() {
        let words = "run --jobs 5 --durability interval(10ms) --rate 2.5 --seed 9 --payload 50 \
                     --delay 2s --batch 3 --shards 2 --executors 4 --give-up-after 9s";
        let options = |text: &str| {
            let text = text.replace('\'', "");
            let words = text.trim_start_matches("tickwheel-loadgen ").split_whitespace();
            let cli =
                Cli::try_parse_from(std::iter::once("tickwheel-loadgen").chain(words)).unwrap();
            let Command::Run(args) = cli.command else { panic!("not a run: {text}") };
            args.into_options()
        };
        let asked = options(words);
        assert_eq!(asked.load, Load::Rate(2.5));
        assert_eq!(options(&asked.to_string()), asked);
        let closed = options("run --jobs 5 --max");
        assert_eq!(options(&closed.to_string()).to_string(), closed.to_string());
    }
}
