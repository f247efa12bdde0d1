//! How `tickwheel wal repair` shows what it did or would do.

use std::fmt::Write;

use serde_json::{Value, json};
use tickwheel_engine::store::{RepairOutcome, ShardRepair, Store};

use super::{DAMAGED, HARMLESS, WELL, count, path_json, shown, size};
use crate::problem::printable;

pub(super) fn exit_code(store: &Store, repairs: &[ShardRepair]) -> u8 {
    if !store.concerns().is_empty() {
        DAMAGED
    } else if repairs.iter().any(|repair| repair.outcome == RepairOutcome::Planned) {
        HARMLESS
    } else {
        WELL
    }
}

pub(super) fn text(store: &Store, repairs: &[ShardRepair]) -> String {
    let mut text = String::new();
    for concern in store.concerns() {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "cannot be repaired: {}; restore a backup", printable(concern));
    }
    for repair in repairs {
        shard_text(&mut text, repair);
    }
    if repairs.iter().any(|repair| repair.outcome == RepairOutcome::Planned) {
        text.push_str("nothing was changed; say --yes to repair\n");
    }
    text
}

fn shard_text(text: &mut String, repair: &ShardRepair) {
    let dir = shown(&repair.dir);
    let is_done = match &repair.outcome {
        RepairOutcome::Sound => {
            let _ = writeln!(text, "{dir}: nothing to repair");
            return;
        }
        RepairOutcome::Repaired { .. } => true,
        _ => false,
    };
    for lost in &repair.lost {
        let (path, offset, lsn) = (shown(&lost.path), lost.offset, lost.lsn);
        let (bytes, reason) = (size(lost.len_bytes), printable(&lost.reason));
        let _ =
            writeln!(text, "{dir}: lost: {bytes} at LSN {lsn} ({path}, offset {offset}): {reason}");
    }
    for event in &repair.skipped {
        let place = event.lsn.map_or(String::new(), |lsn| format!(" at LSN {lsn}"));
        let (what, reason) = (printable(&event.event), printable(&event.reason));
        let _ = writeln!(text, "{dir}: does not apply any more{place}: {what}: {reason}");
    }
    let will = if is_done { "" } else { "would be " };
    if let Some(counts) = &repair.counts
        && (!repair.lost.is_empty() || !repair.skipped.is_empty())
    {
        let (events, jobs) = (count(repair.events, "event"), count(counts.pending, "pending job"));
        let schedules = count(counts.schedules, "schedule");
        let _ = writeln!(text, "{dir}: {will}written anew from {events}: {jobs}, {schedules}");
    }
    for path in &repair.snapshots {
        let _ = writeln!(text, "{dir}: {will}put aside, and not needed: {}", shown(path));
    }
    if let RepairOutcome::Repaired { originals } = &repair.outcome {
        let _ = writeln!(text, "{dir}: repaired; what was there before is in {}", shown(originals));
    }
}

pub(super) fn json(store: &Store, repairs: &[ShardRepair]) -> Value {
    let shards: Vec<Value> = repairs.iter().map(shard_json).collect();
    json!({ "concerns": store.concerns(), "shards": shards })
}

fn shard_json(repair: &ShardRepair) -> Value {
    let (outcome, originals) = match &repair.outcome {
        RepairOutcome::Sound => ("sound", None),
        RepairOutcome::Repaired { originals } => ("repaired", Some(path_json(originals))),
        _ => ("planned", None),
    };
    let lost: Vec<Value> = repair.lost.iter().map(super::verify::damage_json).collect();
    let skipped: Vec<Value> = repair.skipped.iter().map(super::verify::unapplied_json).collect();
    let snapshots: Vec<Value> = repair.snapshots.iter().map(|path| path_json(path)).collect();
    json!({
        "dir": path_json(&repair.dir),
        "shard": repair.shard,
        "outcome": outcome,
        "originals": originals,
        "lost": lost,
        "skipped": skipped,
        "events": repair.events,
        "pending_jobs": repair.counts.map(|counts| counts.pending),
        "schedules": repair.counts.map(|counts| counts.schedules),
        "snapshots_put_aside": snapshots,
    })
}
