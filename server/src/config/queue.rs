//! `[[queue]]`: what queues of workers are limited to.

use std::collections::HashMap;

use tickwheel_engine::QueueLimits;
use toml::de::DeTable;

use super::guards;
use super::limits;
use super::reader::{self, Report, Section};
use super::settings::duration_in;
use super::value::{self, ValueError, rule};
use crate::plan::{Origin, Queue};

const NAME_EXAMPLE: &str = r#"name = "mail""#;

/// The queues found so far.
#[derive(Default)]
pub(super) struct Queues {
    queues: Vec<Queue>,
    /// Names and the lines where they were given.
    lines: HashMap<String, usize>,
}

impl Queues {
    /// Adds a `[[queue]]`, or reports what is wrong with it.
    pub(super) fn queue(&mut self, table: &DeTable<'_>, offset: usize, report: &mut Report<'_>) {
        let mut section = Section::new(table, "[[queue]]", offset);
        let name = section.field(report, "name", NAME_EXAMPLE, |value| {
            let name = reader::text(value)?;
            check_name(name).map(|()| name.to_owned())
        });
        if let Ok(Some(name)) = &name {
            section.set_place(format!("[[queue]] \"{name}\""));
        }
        let mut count = |key, example, limits| {
            section.field(report, key, example, |value| {
                let count = value::number_within(reader::number(value)?, limits)?;
                u32::try_from(count).map_err(rule)
            })
        };
        let concurrency = count("concurrency", "concurrency = 10", limits::QUEUE_CONCURRENCY);
        let rate = count("rate", "rate = 100", limits::QUEUE_RATE);
        let burst = count("burst", "burst = 20", limits::QUEUE_RATE);
        let weight = count("weight", "weight = 3", limits::QUEUE_WEIGHT);
        let length = count("length", "length = 100000", limits::QUEUE_LENGTH);
        let per = section
            .field(report, "per", r#"per = "1m""#, |value| duration_in(value, limits::QUEUE_PER));
        let guards = guards::read(&mut section, report);
        let line = report.line_of(section.offset());
        let origin = Origin { file: report.file().to_path_buf(), line };
        let (Ok(name), Ok(concurrency), Ok(rate), Ok(burst), Ok(weight), Ok(length), Ok(per)) =
            (name, concurrency, rate, burst, weight, length, per)
        else {
            // All of it is in the report.
            let _ = section.finish(report);
            return;
        };
        let Ok(guards) = guards else {
            let _ = section.finish(report);
            return;
        };
        let Some(name) = name else {
            section.refuse(report, "name", "it is missing", NAME_EXAMPLE);
            return;
        };
        if rate.is_none() && (per.is_some() || burst.is_some()) {
            let key = if per.is_some() { "per" } else { "burst" };
            section.refuse(report, key, "it belongs to a rate", r#"rate = 100, per = "1s""#);
        }
        let mut limited = QueueLimits::new();
        if let Some(concurrency) = concurrency {
            limited = limited.concurrency(concurrency);
        }
        if let Some(rate) = rate {
            let per = per.unwrap_or(limits::QUEUE_PER_DEFAULT);
            limited = limited.rate(rate, per, burst.unwrap_or(rate));
        }
        if let Some(weight) = weight.and_then(|weight| u8::try_from(weight).ok()) {
            limited = limited.weight(weight);
        }
        if let Some(length) = length {
            limited = limited.length(length);
        }
        if let Err(refusal) = limited.check() {
            section.refuse(report, "rate", refusal, r#"rate = 100, per = "1s", burst = 20"#);
        }
        if let Some(first) = self.lines.insert(name.clone(), origin.line) {
            self.lines.insert(name.clone(), first);
            let reason = format!("line {first} has the same name; names must differ");
            section.refuse(report, "name", reason, NAME_EXAMPLE);
        }
        if self.lines.len() > limits::QUEUES_MAX {
            let reason = format!("more than {} queues", limits::QUEUES_MAX);
            section.refuse(report, "name", reason, "fewer queues");
        }
        // A file in which anything was refused is not used.
        let _ = section.finish(report);
        self.queues.push(Queue { name, origin, limits: limited, guards });
    }

    pub(super) fn finish(self) -> Vec<Queue> {
        self.queues
    }
}

/// The rules of the work protocol, in which names of queues stand between spaces.
pub(super) fn check_name(name: &str) -> Result<(), ValueError> {
    if name.is_empty() || name.len() > limits::QUEUE_NAME_BYTES_MAX {
        return Err(rule("a queue's name has 1 to 255 bytes"));
    }
    if name == "*" || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(rule("a queue's name has no white space and is not *"));
    }
    Ok(())
}
