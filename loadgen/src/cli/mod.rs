//! The command line: which verbs there are, and which exit code each end has. What a verb may be told
//! is in `load`, what it does with it in `verbs` and `pages`.

mod load;
mod output;
mod pages;
mod verbs;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use output::Exit;

/// Exit code of a failure.
const FAILED: u8 = 1;
/// Exit code of bad usage; clap's own, 2, says here that an objective was missed.
const BAD_USAGE: u8 = 64;

#[derive(Parser)]
#[command(
    name = "tickwheel-loadgen",
    version,
    about = "Puts load on Tickwheel and keeps an exact account of what became of each job",
    after_help = "\
Examples:
  tickwheel-loadgen run --jobs 1000000 --durability sync --max     how many jobs a second?
  tickwheel-loadgen run --rate 1000 --for 60s --out run            how long does each stage take at that rate?
  tickwheel-loadgen saturate --slo 'lateness.p99<5ms' --out sat    which rate holds that objective?
  tickwheel-loadgen report sat -o report.html                      one page to show to others
  tickwheel-loadgen plan --crontab crontab --measured sat          does this workload fit?
  tickwheel-loadgen calibrate                                      what can the machine do at best?

Exit codes: 0 passed, 1 failure, 2 an objective was missed, 3 a job was lost or early or the run did not
come to its end, 4 void: what was measured says nothing about the target, 64 usage.
RUST_LOG sets what the engine logs to standard error; the default is warn."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Submit jobs, wait until all have run, and report rates, latencies and the ledger
    Run(load::RunArgs),
    /// One run per rate of a list
    Sweep(verbs::SweepArgs),
    /// Find the highest rate at which all objectives hold
    Saturate(verbs::SaturateArgs),
    /// One long run, and whether it stayed level
    Soak(verbs::SoakArgs),
    /// Many jobs that are due at one instant
    Herd(verbs::HerdArgs),
    /// A backlog that may run all at once
    Drain(verbs::DrainArgs),
    /// How long it takes to serve again, by what is pending
    Recover(verbs::RecoverArgs),
    /// The same load on one shard, two, and so on
    Scale(verbs::ScaleArgs),
    /// Submit at recorded moments
    Replay(verbs::ReplayArgs),
    /// Check stored results against themselves
    Verify(verbs::VerifyArgs),
    /// Build one page from stored results
    Report(pages::ReportArgs),
    /// Say whether a workload fits, and forecast its peaks
    Plan(pages::PlanArgs),
    /// Measure what the machine and this program can do without a scheduler
    Calibrate(verbs::CalibrateArgs),
    /// Add a line about this release to a file that goes with the sources
    Trend(verbs::TrendArgs),
    /// What `recover` starts and ends
    #[command(hide = true)]
    Fill(verbs::FillArgs),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A reader that went away is no failure.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { BAD_USAGE } else { 0 });
        }
    };
    start_logging();
    let done = match cli.command {
        Command::Run(args) => verbs::run(args),
        Command::Sweep(args) => verbs::sweep(args),
        Command::Saturate(args) => verbs::saturate(args),
        Command::Soak(args) => verbs::soak(args),
        Command::Herd(args) => verbs::herd(args),
        Command::Drain(args) => verbs::drain(args),
        Command::Recover(args) => verbs::recover(args),
        Command::Scale(args) => verbs::scale(args),
        Command::Replay(args) => verbs::replay(args),
        Command::Verify(args) => verbs::verify(&args),
        Command::Report(args) => pages::report(&args),
        Command::Plan(args) => pages::plan(&args),
        Command::Calibrate(args) => verbs::calibrate(&args),
        Command::Trend(args) => verbs::trend(args),
        Command::Fill(args) => verbs::fill(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Exit { code, message }) => {
            if !message.is_empty() {
                eprintln!("tickwheel-loadgen: {message}");
            }
            ExitCode::from(code)
        }
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
    use crate::options::{Load, Options};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn options(text: &str) -> Options {
        let text = text.replace('\'', "");
        let words = text.trim_start_matches("tickwheel-loadgen ").split_whitespace();
        let cli = Cli::try_parse_from(std::iter::once("tickwheel-loadgen").chain(words)).unwrap();
        let Command::Run(args) = cli.command else { panic!("not a run: {text}") };
        args.load.into_options(args.jobs).unwrap_or_else(|exit| panic!("{}", exit.message))
    }

    #[test]
    fn a_report_names_a_command_that_asks_for_the_same_run() {
        let asked = options(
            "run --jobs 5 --durability interval(10ms) --rate 2.5 --seed 9 --payload uniform(50,60) \
             --due exponential(2s) --service lognormal(1ms,sigma=1) --outcomes fail=0.1,hang=0.1 \
             --attempt-timeout 300ms --cancel 10% --tenants zipf(9,s=1) --arrivals sine(10s,0.5) \
             --warm-up 1s --slo lateness.p99<5ms,errors<1% --batch 3 --shards 2 --executors 4 \
             --give-up-after 9s",
        );
        assert_eq!(asked.load, Load::Rate(2.5));
        assert_eq!(options(&asked.to_string()), asked);
        let closed = options("run --jobs 5 --max");
        assert_eq!(options(&closed.to_string()).to_string(), closed.to_string());
    }

    #[test]
    fn a_time_and_a_rate_give_the_number_of_jobs() {
        assert_eq!(options("run --rate 200 --for 3s").jobs, 600);
        // What was the name of the due time before is still read.
        assert_eq!(options("run --jobs 1 --delay 3s"), options("run --jobs 1 --due 3s"));
    }
}
