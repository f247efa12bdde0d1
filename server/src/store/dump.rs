//! How `tickwheel wal dump` shows records: one line each.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::{Value, json};
use tickwheel_engine::store::{DumpLine, DumpRange, EntryKind, Lsn, Store};

use super::{DumpArgs, StoreCommandError, WELL, path_json, shown};
use crate::problem::printable;

pub(super) fn run(args: &DumpArgs, out: &mut dyn Write) -> Result<u8, StoreCommandError> {
    let store = Store::open(&args.dir)?;
    let range = DumpRange { from: Lsn(args.from), limit: args.limit, segment: args.segment };
    let mut out = io::BufWriter::new(out);
    let mut failed = None;
    let mut last_dir = None;
    store.dump(range, &mut |dir, line| {
        let written = if args.json {
            writeln!(out, "{}", json_line(dir, &line, args.payload))
        } else {
            // With several shards each has a line of its own before its records.
            let is_new = last_dir.as_deref() != Some(dir);
            let headed = if is_new && store.shard_dirs().len() > 1 {
                writeln!(out, "{}:", shown(dir))
            } else {
                Ok(())
            };
            last_dir = Some(dir.to_owned());
            headed.and_then(|()| writeln!(out, "{}", text_line(&line, args.payload)))
        };
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    match failed.map_or_else(|| out.flush(), Err) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(WELL),
    }
}

fn text_line(line: &DumpLine<'_>, with_payload: bool) -> String {
    match line {
        DumpLine::Record { lsn, len_bytes, kind, event, payload, content, .. } => {
            let what = match (kind, event) {
                (_, Some(Ok(event))) => {
                    let mut text = event.to_string();
                    if event.payload_bytes > 0 {
                        text.push_str(&format!(" payload {} bytes", event.payload_bytes));
                    }
                    text
                }
                (_, Some(Err(reason))) => format!("{} bytes: {reason}", content.len()),
                (EntryKind::Commit { durable } | EntryKind::CleanShutdown { durable }, _) => {
                    format!("durable up to {durable}")
                }
                (EntryKind::Head { head }, _) => format!("released below {head}"),
                _ => String::new(),
            };
            let mut text = format!("{lsn:>14} {len_bytes:>8} {:<14} {what}", kind_name(*kind));
            if with_payload && !payload.is_empty() {
                text.push_str(&format!(" \"{}\"", payload.escape_ascii()));
            }
            printable(text.trim_end())
        }
        DumpLine::Gap(gap) => {
            let (lsn, len_bytes) = (gap.lsn, gap.len_bytes);
            let place = format!("{} at offset {}", shown(&gap.path), gap.offset);
            format!("{lsn:>14} {len_bytes:>8} {:<14} {}: {place}", "GAP", gap.reason)
        }
        _ => String::new(),
    }
}

fn json_line(dir: &Path, line: &DumpLine<'_>, with_payload: bool) -> Value {
    match line {
        DumpLine::Record { lsn, len_bytes, kind, event, payload, .. } => {
            let mut value = json!({
                "dir": path_json(dir),
                "lsn": lsn.0,
                "bytes": len_bytes,
                "kind": kind_name(*kind),
            });
            match (kind, event) {
                (_, Some(Ok(event))) => {
                    value["event"] = json!(event.name);
                    value["job"] = json!(event.job.map(|job| job.to_string()));
                    value["at_ns"] = json!(event.at_ns);
                    value["text"] = json!(event.text);
                    value["payload_bytes"] = json!(event.payload_bytes);
                }
                (_, Some(Err(reason))) => value["error"] = json!(reason),
                (EntryKind::Commit { durable } | EntryKind::CleanShutdown { durable }, _) => {
                    value["durable_lsn"] = json!(durable.0);
                }
                (EntryKind::Head { head }, _) => value["head_lsn"] = json!(head.0),
                _ => {}
            }
            if with_payload && event.is_some() {
                value["payload"] = json!(payload.escape_ascii().to_string());
            }
            value
        }
        DumpLine::Gap(gap) => {
            let mut value = super::stat::gap_json(gap);
            value["dir"] = path_json(dir);
            value["kind"] = json!("gap");
            value
        }
        _ => Value::Null,
    }
}

fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Data => "data",
        EntryKind::Commit { .. } => "commit",
        EntryKind::Seal => "seal",
        EntryKind::CleanShutdown { .. } => "clean shutdown",
        EntryKind::Head { .. } => "head",
        _ => "other",
    }
}
