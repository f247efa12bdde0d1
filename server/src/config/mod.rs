//! The configuration file: TOML text in, checked types out, or every problem in it with its line.
//!
//! This module knows the file and not the engine; `docs/operations.md` describes the fields.

mod entry;
mod guards;
pub mod limits;
mod queue;
mod reader;
mod rules;
mod settings;
#[cfg(test)]
mod tests;
pub mod value;
mod work;
mod worker;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use toml::de::{DeTable, DeValue};

pub use settings::Settings;
pub use work::{PASSWORD_VARIABLE, Secret, Work};

use self::reader::{Report, Section};
use self::settings::Defaults;
use crate::plan::{Entry, Queue};
use crate::problem::{LoadError, refuse_if_any};

/// A configuration in which everything was checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// How the server itself runs.
    pub settings: Settings,
    /// How workers are served.
    pub work: Work,
    /// Limits of queues; names are unique.
    pub queues: Vec<Queue>,
    /// The schedules and jobs, in the order of the file; names are unique.
    pub entries: Vec<Entry>,
}

/// Reads a configuration file.
///
/// # Errors
/// [`LoadError::Unreadable`], or [`LoadError::Refused`] with all problems at once.
pub fn load(file: &Path) -> Result<Config, LoadError> {
    let unreadable = |source| LoadError::Unreadable { file: file.to_path_buf(), source };
    let bytes = read_bounded(file).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        unreadable(io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
    })?;
    parse(file, &text)
}

/// Reads a configuration's text; `file` is for messages, and relative paths start from its folder.
///
/// # Errors
/// [`LoadError::Refused`] with all problems at once.
pub fn parse(file: &Path, text: &str) -> Result<Config, LoadError> {
    let mut report = Report::new(file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut last_line = None;
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        let problem =
            report.at(offset, format!("not TOML: {}", error.message().replace('\n', ", ")));
        // Further ones in a line mostly follow from the first.
        if last_line != problem.line {
            last_line = problem.line;
            report.add(problem);
        }
    }
    // What the parser made up to recover would only cause problems that are not there.
    if !errors.is_empty() {
        return refuse_if_any(Config::default(), report.into_problems());
    }
    let config = read(document.get_ref(), &mut report);
    refuse_if_any(config, report.into_problems())
}

fn read(document: &DeTable<'_>, report: &mut Report<'_>) -> Config {
    let mut root = Section::new(document, "top level", 0);
    let settings = root
        .field(report, "engine", "[engine]", reader::table)
        .ok()
        .flatten()
        .map(|table| settings::read(table, offset_of(document, "engine"), report));
    let work = root
        .field(report, "work", "[work]", reader::table)
        .ok()
        .flatten()
        .map(|table| work::read(table, offset_of(document, "work"), report));
    let defaults = root
        .field(report, "defaults", "[defaults]", reader::table)
        .ok()
        .flatten()
        .map_or_else(Defaults::default, |table| {
            settings::read_defaults(table, offset_of(document, "defaults"), report)
        });
    let queues = root.field(report, "queue", "[[queue]]", tables).ok().flatten();
    let schedules = root.field(report, "schedule", "[[schedule]]", tables).ok().flatten();
    let jobs = root.field(report, "job", "[[job]]", tables).ok().flatten();
    // Whatever it finds is in the report.
    let _ = root.finish(report);

    let mut limited = queue::Queues::default();
    for (table, offset) in queues.unwrap_or_default() {
        limited.queue(table, offset, report);
    }
    let mut found = entry::Entries::new(&defaults);
    for (table, offset) in schedules.unwrap_or_default() {
        found.schedule(table, offset, report);
    }
    for (table, offset) in jobs.unwrap_or_default() {
        found.job(table, offset, report);
    }
    Config {
        settings: settings.unwrap_or_default(),
        work: work.unwrap_or_default(),
        queues: limited.finish(),
        entries: found.finish(),
    }
}

fn offset_of(document: &DeTable<'_>, key: &str) -> usize {
    document.get_key_value(key).map_or(0, |(key, _)| key.span().start)
}

/// The tables of a `[[name]]` with their places.
fn tables<'t>(value: &'t DeValue<'t>) -> Result<Vec<(&'t DeTable<'t>, usize)>, value::ValueError> {
    let DeValue::Array(items) = value else {
        return Err(reader::wrong_type("[[double brackets]], one for each", value));
    };
    items.iter().map(|item| Ok((reader::table(item.get_ref())?, item.span().start))).collect()
}

/// Reads a file of at most [`limits::FILE_BYTES_MAX`].
pub(crate) fn read_bounded(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let opened = File::open(file)?;
    opened.take(limits::FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limits::FILE_BYTES_MAX {
        let text = format!("it is larger than {} bytes", limits::FILE_BYTES_MAX);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}
