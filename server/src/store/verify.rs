//! How `tickwheel wal verify` shows what it found.

use std::fmt::Write;

use serde_json::{Value, json};
use tickwheel_engine::store::{Damage, ShardVerdict, StoreVerdict, Unapplied};

use super::{DAMAGED, HARMLESS, WELL, count, path_json, shown, size};
use crate::problem::printable;

pub(super) fn exit_code(verdict: &StoreVerdict) -> u8 {
    if verdict.is_damaged() {
        DAMAGED
    } else if verdict.is_clean() {
        WELL
    } else {
        HARMLESS
    }
}

pub(super) fn text(verdict: &StoreVerdict) -> String {
    let mut text = String::new();
    for concern in &verdict.concerns {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "DAMAGED: {}; restore it from a backup", printable(concern));
    }
    for dir in &verdict.empty {
        let dir = shown(dir);
        let _ = writeln!(text, "{dir}: no log: it was never started, or its files are gone");
    }
    for shard in &verdict.shards {
        shard_text(&mut text, shard);
    }
    if let Some(history) = &verdict.history {
        shard_text(&mut text, history);
        if history.needs_repair() {
            text.push_str(
                "the next start sets the damaged history aside; jobs are not concerned\n",
            );
        }
    }
    if verdict.shards.iter().any(ShardVerdict::needs_repair) {
        text.push_str(
            "a server refuses to start on it: restore a backup, or see what `tickwheel wal repair` would do\n",
        );
    }
    text
}

fn shard_text(text: &mut String, shard: &ShardVerdict) {
    let dir = shown(&shard.dir);
    let log = &shard.log;
    if shard.is_clean() {
        let _ = write!(text, "{dir}: clean: {}", count(shard.events, "event"));
        if let Some(counts) = &shard.counts {
            let (jobs, schedules) = (counts.pending, counts.schedules);
            let _ =
                write!(text, ", {}, {}", count(jobs, "pending job"), count(schedules, "schedule"));
        }
        let _ = writeln!(text, ", {}", count(log.snapshots.len() as u64, "snapshot"));
        return;
    }
    let mark = log.durable_mark;
    for damage in &log.damage {
        let (path, offset, lsn) = (shown(&damage.path), damage.offset, damage.lsn);
        let extent = match damage.len_bytes {
            0 => String::new(),
            bytes => format!(", {bytes} bytes"),
        };
        let reason = printable(&damage.reason);
        let _ = writeln!(text, "{path}: DAMAGED at offset {offset} (LSN {lsn}{extent}): {reason}");
    }
    if !log.damage.is_empty() {
        let _ = writeln!(text, "{dir}: everything below LSN {mark} had been durable");
    }
    for event in &shard.unapplied {
        let place = event.lsn.map_or(String::new(), |lsn| format!(" at LSN {lsn}"));
        let (what, reason) = (printable(&event.event), printable(&event.reason));
        let _ =
            writeln!(text, "{dir}: DAMAGED: an event{place} cannot be applied: {what}: {reason}");
    }
    for error in log.snapshots.iter().filter_map(|check| check.result.as_ref().err()) {
        let _ = writeln!(text, "{dir}: DAMAGED: {}", printable(&error.to_string()));
    }
    for (_, reason) in &shard.bad_snapshots {
        let _ = writeln!(text, "{dir}: DAMAGED: {}", printable(reason));
    }
    for warning in &log.warnings {
        let _ = writeln!(text, "{dir}: harmless: {}", printable(warning));
    }
    if log.torn_bytes > 0 {
        let torn = size(log.torn_bytes);
        let _ = writeln!(
            text,
            "{dir}: torn tail: {torn} behind the records, left by a crash; nothing that was durable is among them, and the next start drops them"
        );
    }
}

pub(super) fn json(verdict: &StoreVerdict) -> Value {
    let name = match exit_code(verdict) {
        WELL => "clean",
        HARMLESS => "harmless",
        _ => "damaged",
    };
    let shards: Vec<Value> = verdict.shards.iter().map(shard_json).collect();
    let empty: Vec<Value> = verdict.empty.iter().map(|dir| path_json(dir)).collect();
    json!({
        "verdict": name,
        "concerns": verdict.concerns,
        "empty": empty,
        "shards": shards,
        "history": verdict.history.as_ref().map(shard_json),
    })
}

fn shard_json(shard: &ShardVerdict) -> Value {
    let log = &shard.log;
    let damage = log.damage.iter().map(damage_json);
    let unapplied = shard.unapplied.iter().map(unapplied_json);
    let bad = log.snapshots.iter().filter_map(|check| check.result.as_ref().err());
    let bad = bad
        .map(ToString::to_string)
        .chain(shard.bad_snapshots.iter().map(|(_, reason)| reason.clone()));
    let whole = log.snapshots.iter().filter_map(|check| check.result.as_ref().ok());
    json!({
        "dir": path_json(&shard.dir),
        "shard": shard.shard,
        "clean": shard.is_clean(),
        "damage": damage.collect::<Vec<_>>(),
        "durable_lsn": log.durable_mark.0,
        "end_lsn": log.end.0,
        "torn_bytes": log.torn_bytes,
        "warnings": log.warnings,
        "events": shard.events,
        "unapplied": unapplied.collect::<Vec<_>>(),
        "pending_jobs": shard.counts.map(|counts| counts.pending),
        "schedules": shard.counts.map(|counts| counts.schedules),
        "snapshots": whole.map(super::stat::snapshot_json).collect::<Vec<_>>(),
        "bad_snapshots": bad.collect::<Vec<_>>(),
    })
}

pub(super) fn damage_json(damage: &Damage) -> Value {
    json!({
        "path": path_json(&damage.path),
        "offset": damage.offset,
        "lsn": damage.lsn.0,
        "bytes": damage.len_bytes,
        "reason": damage.reason,
    })
}

pub(super) fn unapplied_json(event: &Unapplied) -> Value {
    json!({
        "lsn": event.lsn.map(|lsn| lsn.0),
        "event": event.event,
        "reason": event.reason,
    })
}
