//! The command line: what may be said, and which exit code each end has.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::PASSWORD_VARIABLE;
use crate::demo::{self, DemoArgs, DemoError};
use crate::history::{self, HistoryArgs, HistoryCommandError};
use crate::logging;
use crate::next::{self, NextError};
use crate::problem::printable;
use crate::serve::{self, ServeError, ServeOptions};
use crate::store::{self, BackupArgs, ReshardArgs, StoreCommandError, WalArgs};

/// Exit code of a failure at run time.
const FAILED: u8 = 1;
/// Exit code of bad input: usage, configuration, crontab, cron expression. clap uses it too.
const BAD_INPUT: u8 = 2;
/// Exit code of a demonstration that lost a job or ran one early.
const BROKEN_PROMISE: u8 = 3;

#[derive(Parser)]
#[command(
    name = "tickwheel",
    version,
    about = "A durable job scheduler: runs commands on time, with retries, and survives kills and power cuts",
    after_help = "\
Examples:
  tickwheel demo --exit                                    what can it do on this machine?
  tickwheel next \"0 30 2 * * Mon-Fri\" --tz Europe/Berlin   when would this run?
  tickwheel serve --config tickwheel.toml --check          is this file right?
  tickwheel serve --config tickwheel.toml                  run it
  tickwheel serve --crontab my.crontab                     run a crontab as it is
  tickwheel wal verify tickwheel-data                      is the log whole?
  tickwheel history tickwheel-data --outcome failed        what failed?

Exit codes: 0 well, 1 failure at run time, 2 bad input (usage, configuration, cron expression),
3 a demonstration lost a job or ran one early. `wal`, `backup` and `reshard` have their own: see their help."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run schedules and one-off jobs from files, and serve workers in any language
    Serve(ServeArgs),
    /// Put a million delayed jobs through an engine and show what became of them
    Demo(DemoArgs),
    /// Print the next fire times of a cron expression, and what it means
    Next(NextArgs),
    /// Look into the log of a data directory: sizes, records, damage
    Wal(WalArgs),
    /// Copy a data directory, also while a server runs on it
    Backup(BackupArgs),
    /// Show what became of attempts, also while a server runs
    History(HistoryArgs),
    /// Change the number of shards of a data directory
    Reshard(ReshardArgs),
    /// Print a script that completes this command line in a shell
    #[command(after_help = "\
Examples:
  tickwheel completions bash > /usr/share/bash-completion/completions/tickwheel
  tickwheel completions zsh > \"${fpath[1]}/_tickwheel\"")]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  tickwheel serve                                     serve workers at 127.0.0.1:7419
  tickwheel serve --config tickwheel.toml --check
  tickwheel serve --config tickwheel.toml --data-dir /var/lib/tickwheel
  tickwheel serve --crontab my.crontab
  tickwheel serve --crontab /etc/crontab --crontab /etc/cron.d --system

A configuration:
  [[schedule]]
  name = \"backup\"
  cron = \"0 30 2 * * *\"          # second minute hour day month weekday; or every = \"15m\"
  zone = \"Europe/Berlin\"
  command = [\"pg_dump\", \"-Fc\", \"app\"]
  retries = 3

Workers are served if --listen or `listen` in [work] says where, or if no file is given. Any address but
a loopback one needs a password, in TICKWHEEL_PASSWORD or in the file.

SIGTERM and SIGINT end the server: it starts nothing more, waits for what runs, and exits with 0.
RUST_LOG sets what is logged, e.g. RUST_LOG=debug; the default is info.")]
struct ServeArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Crontab to run as it is, or with --system a folder of them; may be given several times
    #[arg(long = "crontab", id = "crontabs", value_name = "FILE|DIR")]
    crontabs: Vec<PathBuf>,
    /// The crontabs have a column for the user, as /etc/crontab and /etc/cron.d/* do
    #[arg(long, requires = "crontabs")]
    system: bool,
    /// Where the log lives; overrides the file [default: ./tickwheel-data]
    #[arg(long, value_name = "DIR", env = "TICKWHEEL_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Serve workers at this address; overrides the file [default without files: 127.0.0.1:7419]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Serve workers by TLS with these certificates (PEM); overrides the file
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Only read, print what was understood, and run nothing
    #[arg(long)]
    check: bool,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  tickwheel next \"*/15 * * * *\"                       five fields, as in a crontab
  tickwheel next \"0 30 2 * * Mon-Fri\" --tz Asia/Tokyo  six: seconds first
  tickwheel next \"0 0 8 1 1 ? 2030\" -n 1               seven: the year last
  tickwheel next \"H H(1-4) * * *\" --name backup       H: values drawn from the name
  tickwheel next @daily")]
struct NextArgs {
    /// Cron expression: five, six or seven fields, or @hourly and its kin
    #[arg(value_name = "EXPR", allow_hyphen_values = true)]
    expression: String,
    /// Time zone that the expression is meant in
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    /// Name of the schedule, from which `H` draws its values
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How many fire times to print
    #[arg(short, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    n: u32,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Serve(args) => serve_command(args),
        Command::Demo(args) => demo_command(&args),
        Command::Next(args) => next_command(&args),
        Command::Wal(args) => return store_command(|out| store::run_wal(&args, out)),
        Command::Reshard(args) => return store_command(|out| store::run_reshard(&args, out)),
        Command::Backup(args) => return store_command(|out| store::run_backup(&args, out)),
        Command::History(args) => history_command(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tickwheel", &mut script);
            print(&script)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            logging::complain(&exit.message);
            ExitCode::from(exit.code)
        }
    }
}

/// An end other than a good one.
struct Exit {
    code: u8,
    message: String,
}

fn serve_command(args: ServeArgs) -> Result<(), Exit> {
    logging::start("info");
    let ServeArgs { config, crontabs, system, data_dir, listen, tls_cert, tls_key, check } = args;
    // Not an argument: the command line of a process can be read by others.
    let password = std::env::var(PASSWORD_VARIABLE).ok();
    let options =
        ServeOptions { config, crontabs, system, data_dir, listen, tls_cert, tls_key, password };
    let result =
        if check { serve::check(&options).map(Some) } else { serve::run(&options).map(|()| None) };
    match result {
        Ok(Some(report)) => print(report.as_bytes()),
        Ok(None) => Ok(()),
        Err(error) => {
            let code = if matches!(error, ServeError::Load(_)) { BAD_INPUT } else { FAILED };
            Err(Exit { code, message: error_text(&error) })
        }
    }
}

fn demo_command(args: &DemoArgs) -> Result<(), Exit> {
    logging::start("warn");
    demo::run(args).map_err(|error| {
        let broken = matches!(error, DemoError::BrokenPromise { .. });
        Exit { code: if broken { BROKEN_PROMISE } else { FAILED }, message: error_text(&error) }
    })
}

fn next_command(args: &NextArgs) -> Result<(), Exit> {
    let report = next::report(
        &next::Rule { text: &args.expression, name: args.name.as_deref(), zone: &args.tz },
        args.n,
    )
    .map_err(|error| {
        let code = if matches!(error, NextError::Clock) { FAILED } else { BAD_INPUT };
        Exit { code, message: error_text(&error) }
    })?;
    print(report.as_bytes())
}

fn history_command(args: &HistoryArgs) -> Result<(), Exit> {
    logging::start("warn");
    history::run(args, &mut io::stdout().lock()).map_err(|error| {
        let code = if matches!(error, HistoryCommandError::Time(_)) { BAD_INPUT } else { FAILED };
        Exit { code, message: error_text(&error) }
    })
}

/// These have exit codes of their own, which their help lists.
fn store_command(run: impl FnOnce(&mut dyn Write) -> Result<u8, StoreCommandError>) -> ExitCode {
    logging::start("warn");
    match run(&mut io::stdout().lock()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            logging::complain(&error_text(&error));
            ExitCode::from(store::COULD_NOT)
        }
    }
}

/// A list of problems has its own lines; anything else is one line that says who speaks. What names
/// of files and what the system said could do to a terminal is escaped.
fn error_text(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let lines: Vec<String> =
        text.split('\n').map(|line| format!("tickwheel: {}", printable(line))).collect();
    lines.join("\n")
}

/// Writes to standard output. A reader that went away, as `head` does, is no failure.
fn print(bytes: &[u8]) -> Result<(), Exit> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let message = format!("tickwheel: cannot write to standard output: {error}");
            Err(Exit { code: FAILED, message })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
