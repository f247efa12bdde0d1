//! `tickwheel backup`: how a copy is asked for and shown.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use tickwheel_engine::store::{Backup, ShardBackup, Store};

use super::bar::Bar;
use super::{StoreCommandError, WELL, count, document, path_json, say, shown, size};

/// What the command line says of a backup.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tickwheel backup /var/lib/tickwheel /backup/tickwheel-$(date +%F)
  tickwheel backup tickwheel-data/shard-000 /backup/one-shard --json

The server may run meanwhile. What was durable when the backup began is in it; each record and event
of the copy is checked before it counts. To restore, stop the server, put the copy in the place of the
data directory, or start with --data-dir on it. Jobs that have run since run again.

Exit codes: 0 copied and checked, 3 there is no backup: standard error says why.")]
pub(crate) struct BackupArgs {
    /// A data directory, or the folder of one shard
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Where the copy goes; it must not exist, or be empty
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Runs `tickwheel backup`; the exit code.
pub(crate) fn run_backup(args: &BackupArgs, out: &mut dyn Write) -> Result<u8, StoreCommandError> {
    let backup = Store::open(&args.dir)?.backup(&args.dest, &mut Bar::new())?;
    let shown = if args.json { document(&as_json(&backup)) } else { text(&backup) };
    say(out, &shown)?;
    Ok(WELL)
}

fn text(backup: &Backup) -> String {
    let mut text = String::new();
    for shard in backup.shards.iter().chain(&backup.history) {
        let (from, to, bytes) = (shown(&shard.from), shown(&shard.to), size(shard.copied.bytes));
        // Writing to a string cannot fail, here and below.
        let _ = write!(text, "{from}: {bytes} up to LSN {} copied to {to}", shard.copied.end);
        if let Some(counts) = &shard.verdict.counts {
            let (jobs, schedules) = (counts.pending, counts.schedules);
            let _ =
                write!(text, ", {}, {}", count(jobs, "pending job"), count(schedules, "schedule"));
        }
        text.push('\n');
    }
    let _ = writeln!(text, "{}: the backup is whole", shown(&backup.dest));
    text
}

fn as_json(backup: &Backup) -> Value {
    let shard_json = |shard: &ShardBackup| {
        json!({
            "from": path_json(&shard.from),
            "to": path_json(&shard.to),
            "end_lsn": shard.copied.end.0,
            "segments": shard.copied.segments,
            "snapshots": shard.copied.snapshots,
            "bytes": shard.copied.bytes,
            "events": shard.verdict.events,
            "pending_jobs": shard.verdict.counts.map(|counts| counts.pending),
            "schedules": shard.verdict.counts.map(|counts| counts.schedules),
            "tries": shard.tries,
        })
    };
    json!({
        "dest": path_json(&backup.dest),
        "shards": backup.shards.iter().map(shard_json).collect::<Vec<_>>(),
        "history": backup.history.as_ref().map(shard_json),
    })
}
