//! The command line.

use std::path::PathBuf;

use crate::load::Size;

pub(crate) const USAGE: &str = "\
Usage: peers-systems [OPTIONS]

Measures a Tickwheel server and other work queues in interleaved rounds, on the loopback. What is not
installed is named as not measured.

Options:
  --tickwheel FILE The server's program [default: ../../target/release/tickwheel]
  --libraries FILE The program with the libraries [default: target/release/peers-libraries]
  --node DIR       The folder with the Node clients, where `npm install` was run [default: systems/node]
  --dir DIR        Parent of the directories that are written. It should be on a disk [default: .]
  --jobs N         Jobs of each measurement [default: 20000]
  --delayed N      Jobs that are due later [default: 2000]
  --rounds N       Rounds [default: 3]
  --only NAME      One system only, by the beginning of its name
  --write FILE     Puts the table into this page, between its two marks
  --help           Prints this
";

pub(crate) struct Options {
    pub(crate) tickwheel: PathBuf,
    pub(crate) libraries: PathBuf,
    pub(crate) node: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) size: Size,
    pub(crate) rounds: u32,
    pub(crate) only: Option<String>,
    pub(crate) write: Option<PathBuf>,
}

/// `None`: the usage is wanted.
pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        tickwheel: PathBuf::from("../../target/release/tickwheel"),
        libraries: PathBuf::from("target/release/peers-libraries"),
        node: PathBuf::from("systems/node"),
        dir: PathBuf::from("."),
        size: Size { jobs: 20_000, delayed: 2000, lone: 500, delay_ms: 2000, pipeline: 64 },
        rounds: 3,
        only: None,
        write: None,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--help" | "-h" => return Ok(None),
            "--tickwheel" => options.tickwheel = PathBuf::from(value()?),
            "--libraries" => options.libraries = PathBuf::from(value()?),
            "--node" => options.node = PathBuf::from(value()?),
            "--dir" => options.dir = PathBuf::from(value()?),
            "--jobs" => options.size.jobs = number("--jobs", &value()?)?,
            "--delayed" => options.size.delayed = number("--delayed", &value()?)?,
            "--rounds" => options.rounds = number("--rounds", &value()?)?,
            "--only" => options.only = Some(value()?),
            "--write" => options.write = Some(PathBuf::from(value()?)),
            other => return Err(format!("{other} is no option")),
        }
    }
    Ok(Some(options))
}

fn number(what: &str, text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if (1..=1_000_000).contains(&number) => Ok(number),
        _ => Err(format!("{what} must be a whole number from 1 to 1000000, not {text:?}")),
    }
}
