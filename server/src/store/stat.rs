//! How `tickwheel wal stat` shows what a log holds.

use std::fmt::Write;

use serde_json::{Value, json};
use tickwheel_engine::HistoryStat;
use tickwheel_engine::store::{Gap, SegmentFileInfo, SegmentState, ShardStat, SnapshotInfo};

use super::{count, path_json, shown, size, when};
use crate::problem::printable;

pub(super) fn text(stats: &[ShardStat], history: Option<&HistoryStat>) -> String {
    if stats.is_empty() {
        return "no log yet: no server was started on it\n".to_owned();
    }
    let mut text = String::new();
    for stat in stats {
        shard(&mut text, stat);
    }
    if let Some(history) = history {
        let HistoryStat { segments, segment_bytes, ended, others, gaps, .. } = history;
        let _ = writeln!(
            text,
            "{:<16} {}: {segments} segments of {}, {ended} ends, {others} other events, {gaps} gaps",
            "history",
            shown(&history.dir),
            size(*segment_bytes),
        );
        for damage in &history.damage {
            let _ = writeln!(text, "{:<16} {}", "damage", printable(damage));
        }
    }
    text
}

fn shard(text: &mut String, stat: &ShardStat) {
    let survey = &stat.survey;
    let tally = &survey.tally;
    let in_state = |state| stat.segments.iter().filter(|file| file.state == state).count() as u64;
    let (used, unused) = (in_state(SegmentState::Used), in_state(SegmentState::Unused));
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<16} {value}");
    };
    let number = stat.shard.map_or("unknown".to_owned(), |shard| shard.to_string());
    line("shard", format!("{number} in {}", shown(&stat.dir)));
    line(
        "segments",
        format!("{used} with records and {unused} ready, {} each", size(stat.segment_bytes)),
    );
    if in_state(SegmentState::Released) > 0 {
        line("", count(in_state(SegmentState::Released), "released file still there"));
    }
    line(
        "format versions",
        versions(&stat.segments).iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
    );
    line("head", format!("LSN {}", survey.head));
    line("end", format!("LSN {}, {} of records", survey.end, size(tally.bytes)));
    line("durable mark", format!("LSN {}, the highest that is written down", survey.durable_mark));
    line("epoch", format!("{}, one for each opening", survey.epoch));
    let closed = if survey.clean_shutdown { "yes" } else { "no: killed, in use, or damaged" };
    line("closed cleanly", closed.to_owned());
    line(
        "records",
        format!(
            "{} data ({}), {} commit, {} seal, {} clean shutdown, {} head",
            tally.data,
            size(tally.data_bytes),
            tally.commits,
            tally.seals,
            tally.clean_shutdowns,
            tally.heads
        ),
    );
    for info in &stat.snapshots {
        let SnapshotInfo { lsn, epoch, created_ms, file_bytes, .. } = info;
        let (file, at) = (size(*file_bytes), when(*created_ms));
        line("snapshot", format!("of LSN {lsn} in epoch {epoch}, {file}, taken {at}"));
    }
    if stat.snapshots.is_empty() {
        line("snapshot", "none".to_owned());
    }
    for reason in &stat.bad_snapshots {
        line("bad snapshot", printable(reason));
    }
    if survey.torn_bytes > 0 {
        let torn = size(survey.torn_bytes);
        line("torn tail", format!("{torn} behind the records, which the next start drops"));
    }
    for Gap { path, offset, lsn, reason, .. } in &survey.damage {
        line("damage", format!("{} at offset {offset} (LSN {lsn}): {reason}", shown(path)));
    }
    if !survey.damage.is_empty() {
        line("", "see `tickwheel wal verify`".to_owned());
    }
}

pub(super) fn json(stats: &[ShardStat], history: Option<&HistoryStat>) -> Value {
    let shards: Vec<Value> = stats.iter().map(shard_json).collect();
    let history = history.map(|history| {
        json!({
            "dir": path_json(&history.dir),
            "segment_bytes": history.segment_bytes,
            "segments": history.segments,
            "head_lsn": history.head.0,
            "end_lsn": history.end.0,
            "ended": history.ended,
            "others": history.others,
            "gaps": history.gaps,
            "unknown": history.unknown,
            "damage": history.damage,
        })
    });
    json!({ "shards": shards, "history": history })
}

fn shard_json(stat: &ShardStat) -> Value {
    let survey = &stat.survey;
    let tally = &survey.tally;
    let segments: Vec<Value> = stat.segments.iter().map(segment_json).collect();
    let snapshots: Vec<Value> = stat.snapshots.iter().map(snapshot_json).collect();
    let damage: Vec<Value> = survey.damage.iter().map(gap_json).collect();
    json!({
        "dir": path_json(&stat.dir),
        "shard": stat.shard,
        "segment_bytes": stat.segment_bytes,
        "format_versions": versions(&stat.segments),
        "head_lsn": survey.head.0,
        "end_lsn": survey.end.0,
        "durable_lsn": survey.durable_mark.0,
        "epoch": survey.epoch,
        "clean_shutdown": survey.clean_shutdown,
        "record_bytes": tally.bytes,
        "records": {
            "data": tally.data,
            "data_bytes": tally.data_bytes,
            "commit": tally.commits,
            "seal": tally.seals,
            "clean_shutdown": tally.clean_shutdowns,
            "head": tally.heads,
        },
        "torn_bytes": survey.torn_bytes,
        "damage": damage,
        "segments": segments,
        "snapshots": snapshots,
        "bad_snapshots": stat.bad_snapshots,
    })
}

fn segment_json(file: &SegmentFileInfo) -> Value {
    let state = match file.state {
        SegmentState::Used => "used",
        SegmentState::Unused => "ready",
        SegmentState::Released => "released",
        _ => "damaged",
    };
    json!({
        "segment": file.segment,
        "path": path_json(&file.path),
        "file_bytes": file.len_bytes,
        "state": state,
        "format_version": file.version,
        "epoch": file.epoch,
        "created_ms": file.created_ms,
    })
}

pub(super) fn snapshot_json(info: &SnapshotInfo) -> Value {
    json!({
        "lsn": info.lsn.0,
        "epoch": info.epoch,
        "created_ms": info.created_ms,
        "file_bytes": info.file_bytes,
    })
}

pub(super) fn gap_json(gap: &Gap) -> Value {
    json!({
        "path": path_json(&gap.path),
        "offset": gap.offset,
        "lsn": gap.lsn.0,
        "bytes": gap.len_bytes,
        "reason": gap.reason,
    })
}

fn versions(segments: &[SegmentFileInfo]) -> Vec<u32> {
    let mut versions: Vec<u32> = segments.iter().map(|file| file.version).collect();
    versions.retain(|version| *version > 0);
    versions.sort_unstable();
    versions.dedup();
    versions
}
