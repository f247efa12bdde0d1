//! The rules of a schedule beside its timing: overlap, jitter, bounds, number of runs, pause.

use std::time::Duration;

use tickwheel_engine::Overlap;
use toml::de::{DeTable, DeValue};

use super::entry::instant;
use super::limits;
use super::reader::{self, Report, Reported, Section};
use super::settings::duration_in;
use super::value::{self, ValueError, rule};
use crate::plan::Rules;

pub(super) fn read(section: &mut Section<'_>, report: &mut Report<'_>) -> Result<Rules, Reported> {
    let overlap = section.field(report, "overlap", r#"overlap = "skip""#, |value| match value {
        DeValue::Table(table) => overlap_queue(table),
        value => match reader::text(value)? {
            "allow" => Ok(Overlap::Allow),
            "skip" => Ok(Overlap::Skip),
            "queue" => Ok(Overlap::Queue { limit: limits::OVERLAP_QUEUE_DEFAULT }),
            "replace" => Ok(Overlap::Replace),
            other => Err(rule(format!(
                "{other:?} is not a way to treat runs that overlap: allow, skip, queue or replace"
            ))),
        },
    });
    let jitter = section.field(report, "jitter", r#"jitter = "10m""#, |value| {
        duration_in(value, (Duration::ZERO, limits::JITTER_MAX))
    });
    let starts = section.field(report, "starts", r#"starts = "2026-12-01T00:00:00Z""#, instant);
    let ends = section.field(report, "ends", r#"ends = "2027-01-01T00:00:00Z""#, instant);
    let runs = section.field(report, "runs", "runs = 10", |value| {
        let runs = value::number_within(reader::number(value)?, (1, u64::from(u32::MAX)))?;
        u32::try_from(runs).map_err(rule)
    });
    let paused = section.field(report, "paused", "paused = true", reader::boolean);
    Ok(Rules {
        overlap: overlap?.unwrap_or_default(),
        jitter: jitter?.unwrap_or_default(),
        starts: starts?,
        ends: ends?,
        runs: runs?,
        paused: paused?.unwrap_or_default(),
    })
}

/// `{ queue = 10 }`.
fn overlap_queue(table: &DeTable<'_>) -> Result<Overlap, ValueError> {
    let (Some(limit), 1) = (table.get("queue"), table.len()) else {
        return Err(rule("the table may hold `queue`, a number of runs, and nothing else"));
    };
    let limit = value::number_within(reader::number(limit.get_ref())?, limits::OVERLAP_QUEUE)?;
    Ok(Overlap::Queue { limit: u32::try_from(limit).map_err(rule)? })
}
