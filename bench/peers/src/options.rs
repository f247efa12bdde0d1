//! The command line: what the user gives, and what a parent process gives its children.

use std::{path::PathBuf, time::Duration};

use crate::peer::{Measure, Name};

pub(crate) const USAGE: &str = "\
Usage: peers [OPTIONS]

Measures the log of Tickwheel and other stores in interleaved rounds.

Options:
  --dir DIR        Parent of the directories that are written. It should be on a disk.
                   [default: the current directory]
  --records N      Most records of one measurement [default: 1000000]
  --seconds S      Longest time of one measurement [default: 2]
  --rounds N       Rounds [default: 5]
  --only NAME      One store only
  --json           Prints every measurement as JSON and no table
  --syncs          Counts the syncs of each store under strace instead of measuring
  --help           Prints this
";

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Rounds(Options),
    Syncs(Options),
    /// Started by this program itself.
    Child(Work),
}

/// What the user may choose.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) dir: PathBuf,
    pub(crate) records_max: u64,
    pub(crate) time_max: Duration,
    pub(crate) rounds: u32,
    pub(crate) only: Option<Name>,
    pub(crate) is_json: bool,
}

/// The work of one child process.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) name: Name,
    pub(crate) dir: PathBuf,
    pub(crate) task: Task,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    /// Writes until either bound is reached.
    Write { measure: Measure, records_max: u64, time_max: Duration },
    /// Opens what another process wrote and counts the records.
    Count,
}

impl Work {
    /// The arguments by which a child is told this.
    pub(crate) fn to_args(&self) -> Vec<String> {
        let mut args = vec![
            "child".to_owned(),
            self.name.text().to_owned(),
            self.dir.to_string_lossy().into_owned(),
        ];
        match self.task {
            Task::Count => args.push("count".to_owned()),
            Task::Write { measure, records_max, time_max } => args.extend([
                measure.text().to_owned(),
                records_max.to_string(),
                time_max.as_millis().to_string(),
            ]),
        }
        args
    }

    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut next = || args.next().ok_or_else(|| "a child lacks an argument".to_owned());
        let name = Name::parse(&next()?)?;
        let dir = PathBuf::from(next()?);
        let task = match next()?.as_str() {
            "count" => Task::Count,
            measure => Task::Write {
                measure: Measure::parse(measure)?,
                records_max: number("records", &next()?)?,
                time_max: Duration::from_millis(number("milliseconds", &next()?)?),
            },
        };
        Ok(Self { name, dir, task })
    }
}

pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut args = args.peekable();
    if args.next_if(|arg| arg == "child").is_some() {
        return Work::parse(args).map(Command::Child);
    }
    let mut options = Options {
        dir: PathBuf::from("."),
        records_max: 1_000_000,
        time_max: Duration::from_secs(2),
        rounds: 5,
        only: None,
        is_json: false,
    };
    let mut is_syncs = false;
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--dir" => options.dir = PathBuf::from(value()?),
            "--records" => options.records_max = number("--records", &value()?)?,
            "--seconds" => {
                let seconds = number("--seconds", &value()?)?;
                options.time_max = Duration::from_secs(seconds);
            }
            "--rounds" => {
                let rounds = number("--rounds", &value()?)?;
                options.rounds =
                    u32::try_from(rounds).map_err(|_| "--rounds is too large".to_owned())?;
            }
            "--only" => options.only = Some(Name::parse(&value()?)?),
            "--json" => options.is_json = true,
            "--syncs" => is_syncs = true,
            other => return Err(format!("{other} is no option")),
        }
    }
    Ok(if is_syncs { Command::Syncs(options) } else { Command::Rounds(options) })
}

fn number(what: &str, text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{what} must be a whole number above zero, not {text:?}")),
    }
}
