//! `tickwheel reshard`: how another number of shards is asked for, and how what was done is shown.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use tickwheel_engine::Counts;
use tickwheel_engine::store::{Resharding, reshard};

use super::bar::Bar;
use super::{StoreCommandError, WELL, count, document, path_json, say, shown};

/// What the command line says of another number of shards.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tickwheel backup tickwheel-data /backup/before     not needed, for the old logs are kept
  tickwheel reshard tickwheel-data --shards 4
  tickwheel reshard tickwheel-data --shards 1 --json | jq -r .originals

The server must not run. Each log is read and checked, and all that is pending is written to new logs.
Jobs keep everything but their id where they come to another shard: the list moved-ids.tsv has the
old and the new ids. The old logs are kept in a folder of the data directory whose name begins with
reshard- and ends in a time; remove it when it is not needed any more.

If it is killed, run it again: either nothing has changed yet, or it finishes what it had begun.

Exit codes: 0 done, or there were as many shards before, 2 wrong usage, 3 it could not be done:
standard error says why, and nothing was changed if it does not say otherwise.")]
pub(crate) struct ReshardArgs {
    /// A data directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// How many shards it is to have
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    shards: u16,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Runs `tickwheel reshard`; the exit code.
pub(crate) fn run_reshard(
    args: &ReshardArgs,
    out: &mut dyn Write,
) -> Result<u8, StoreCommandError> {
    let resharding = reshard(&args.dir, usize::from(args.shards), &mut Bar::new())?;
    let shown = if args.json { document(&as_json(&resharding)) } else { text(&resharding) };
    say(out, &shown)?;
    Ok(WELL)
}

fn text(resharding: &Resharding) -> String {
    let (dir, to) = (shown(&resharding.dir), resharding.to);
    let mut text = String::new();
    // Writing to a string cannot fail, here and below.
    if let Some(originals) = &resharding.finished {
        let originals = shown(originals);
        let _ = writeln!(
            text,
            "{dir}: a change that was cut off is done; the old logs are in {originals}"
        );
    }
    let Some(done) = &resharding.done else {
        let _ = writeln!(text, "{dir}: it has {}; nothing to do", count(to as u64, "shard"));
        return text;
    };
    for (number, Counts { pending, schedules, .. }) in done.shards.iter().enumerate() {
        let (jobs, schedules) = (count(*pending, "pending job"), count(*schedules, "schedule"));
        let _ = writeln!(text, "{dir}: shard {number}: {jobs}, {schedules}");
    }
    let (from, moved) = (resharding.from, count(done.moved, "job"));
    let have = if done.moved == 1 { "has" } else { "have" };
    let list = shown(&done.moved_ids);
    let _ = writeln!(text, "{dir}: {moved} {have} another id now: see {list}");
    let (shards, originals) = (count(to as u64, "shard"), shown(&done.originals));
    let _ = writeln!(text, "{dir}: {shards} instead of {from}; the old logs are in {originals}");
    text
}

fn as_json(resharding: &Resharding) -> Value {
    let Resharding { dir, from, to, finished, done, .. } = resharding;
    let shards = done.iter().flat_map(|done| done.shards.iter().enumerate());
    let shards = shards.map(|(number, counts)| {
        json!({
            "shard": number,
            "pending_jobs": counts.pending,
            "schedules": counts.schedules,
        })
    });
    json!({
        "dir": path_json(dir),
        "outcome": if done.is_some() { "resharded" } else { "unchanged" },
        "from": from,
        "to": to,
        "finished": finished.as_ref().map(|path| path_json(path)),
        "originals": done.as_ref().map(|done| path_json(&done.originals)),
        "moved_ids": done.as_ref().map(|done| path_json(&done.moved_ids)),
        "moved_jobs": done.as_ref().map_or(0, |done| done.moved),
        "shards": shards.collect::<Vec<_>>(),
    })
}
