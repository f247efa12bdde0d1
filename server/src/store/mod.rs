//! `tickwheel wal …`, `tickwheel backup` and `tickwheel reshard`: a data directory looked into, checked,
//! repaired, copied, and given another number of shards.
//!
//! The engine does the work; this folder owns how it is asked for and shown, as text for a person and
//! as one JSON document for a program. The fields of the documents are listed in
//! `docs/operations.md`.

mod backup;
mod bar;
mod dump;
mod repair;
mod reshard;
mod stat;
mod verify;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use indicatif::BinaryBytes;
use serde_json::Value;
use tickwheel_engine::HistoryFiles;
use tickwheel_engine::cron::format_time;
use tickwheel_engine::store::{RepairMode, Store, StoreError};

use crate::problem::printable;
pub(crate) use backup::{BackupArgs, run_backup};
use bar::Bar;
pub(crate) use reshard::{ReshardArgs, run_reshard};

/// All is well, or was done.
pub(crate) const WELL: u8 = 0;
/// There is something that does no harm, or something to do that was not asked for yet.
pub(crate) const HARMLESS: u8 = 1;
/// Something that had been written for good is damaged.
pub(crate) const DAMAGED: u8 = 2;
/// It could not be looked at or done.
pub(crate) const COULD_NOT: u8 = 3;

/// What `tickwheel wal` can do.
#[derive(Args, Debug)]
pub(crate) struct WalArgs {
    #[command(subcommand)]
    command: WalCommand,
}

#[derive(Subcommand, Debug)]
enum WalCommand {
    /// Say how large the log is, where it begins and ends, and what is in it
    #[command(after_help = "\
Examples:
  tickwheel wal stat tickwheel-data              all shards
  tickwheel wal stat tickwheel-data/shard-000    one of them
  tickwheel wal stat tickwheel-data --json | jq .shards[].end_lsn

It only reads, and works while a server runs there.
Exit codes: 0 shown, 3 it could not be read.")]
    Stat(StatArgs),
    /// Print the records of the log, one line each
    #[command(after_help = "\
Examples:
  tickwheel wal dump tickwheel-data --limit 20
  tickwheel wal dump tickwheel-data/shard-000 --from 4096
  tickwheel wal dump tickwheel-data/shard-000 --segment 3 | grep 'job 0-42 '
  tickwheel wal dump tickwheel-data --payload --json | jq -c .

A line has the LSN, the length in the log, the kind, and for data the event. What is no record
between records is shown as a gap. With --json each record is one JSON document on its own line.
It only reads, and works while a server runs there.
Exit codes: 0 shown, 3 it could not be read.")]
    Dump(DumpArgs),
    /// Read every byte of the log and its snapshots, and apply every event
    #[command(after_help = "\
Examples:
  tickwheel wal verify tickwheel-data
  tickwheel wal verify /backup/tickwheel --json

Nothing is changed. The server must not run; to check one that does, make a backup, which is checked
as it is made.
Exit codes: 0 clean, 1 harmless (a torn tail, which the next start drops, or damage that no record
depends on), 2 damaged: every damaged place is named, 3 it could not be checked.")]
    Verify(VerifyArgs),
    /// Make a damaged log one that a server starts on, from what can still be read
    #[command(after_help = "\
Examples:
  tickwheel wal repair tickwheel-data            what would it do? Changes nothing.
  tickwheel wal repair tickwheel-data --yes      do it

A backup is better, if there is one. Every record that is whole is taken over; each that is lost is
listed with its LSN. A job whose adding is lost is gone; a job whose end is lost runs again. The damaged
files are kept, in a folder beside the shard's whose name ends in .repair- and a time. The server must
not run.

Exit codes: 0 repaired, or nothing to repair, 1 there is something to repair and --yes was not said,
2 the data directory lacks a shard or its SHARDS file, which only a backup can bring back,
3 it could not be done: the log is as it was, if standard error does not say otherwise.")]
    Repair(RepairArgs),
}

#[derive(Args, Debug)]
struct StatArgs {
    /// A data directory, or the folder of one shard
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct VerifyArgs {
    /// A data directory, or the folder of one shard
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct RepairArgs {
    /// A data directory, or the folder of one shard
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Repair; without it nothing is changed
    #[arg(long)]
    yes: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct DumpArgs {
    /// A data directory, or the folder of one shard
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Begin at this position
    #[arg(long, value_name = "LSN", default_value_t = 0)]
    from: u64,
    /// Print at most so many lines
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Only this segment
    #[arg(long, value_name = "N")]
    segment: Option<u64>,
    /// Print the bytes of payloads, as text with escapes
    #[arg(long)]
    payload: bool,
    /// Print each record as a JSON document on a line of its own
    #[arg(long)]
    json: bool,
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreCommandError {
    /// The engine could not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Standard output did not take it.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Runs `tickwheel wal`; the exit code.
pub(crate) fn run_wal(args: &WalArgs, out: &mut dyn Write) -> Result<u8, StoreCommandError> {
    match &args.command {
        WalCommand::Stat(StatArgs { dir, json }) => {
            let stats = Store::open(dir)?.stat(&mut Bar::new())?;
            let history = HistoryFiles::open(dir).and_then(|files| files.stat()).ok();
            let history = history.as_ref();
            let text = match *json {
                true => document(&stat::json(&stats, history)),
                false => stat::text(&stats, history),
            };
            say(out, &text)?;
            Ok(WELL)
        }
        WalCommand::Dump(args) => dump::run(args, out),
        WalCommand::Verify(VerifyArgs { dir, json }) => {
            let verdict = Store::open(dir)?.verify(&mut Bar::new())?;
            let text =
                if *json { document(&verify::json(&verdict)) } else { verify::text(&verdict) };
            say(out, &text)?;
            Ok(verify::exit_code(&verdict))
        }
        WalCommand::Repair(RepairArgs { dir, yes, json }) => {
            let mode = if *yes { RepairMode::Repair } else { RepairMode::Plan };
            let store = Store::open(dir)?;
            let repairs = store.repair(mode, &mut Bar::new())?;
            let text = if *json {
                document(&repair::json(&store, &repairs))
            } else {
                repair::text(&store, &repairs)
            };
            say(out, &text)?;
            Ok(repair::exit_code(&store, &repairs))
        }
    }
}

/// Prints a text. A reader that went away, as `head` does, is no failure.
fn say(out: &mut dyn Write, text: &str) -> io::Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// A JSON document as it is printed.
fn document(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A path for a terminal.
fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// A path in a JSON document.
fn path_json(path: &Path) -> Value {
    Value::from(path.to_string_lossy())
}

/// A number of bytes for a person.
fn size(bytes: u64) -> String {
    BinaryBytes(bytes).to_string()
}

/// A time in milliseconds since 1970, for a person.
fn when(unix_ms: u64) -> String {
    let ns = i64::try_from(unix_ms).ok().and_then(|ms| ms.checked_mul(1_000_000));
    let text = ns.and_then(|ns| format_time(ns, "UTC").ok());
    text.map_or_else(|| format!("{unix_ms} ms"), |text| text.replace("+00:00[UTC]", "Z"))
}

/// `1 job`, `2 jobs`.
fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
