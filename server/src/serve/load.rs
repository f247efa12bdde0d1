//! Gathers everything that is to run from the files that the options name.

use std::path::{Path, PathBuf};

use super::{ServeOptions, schedules};
use crate::config::{self, Config, Settings, limits};
use crate::crontab::{self, Format, Host};
use crate::plan::Entry;
use crate::problem::{LoadError, Problem, refuse_if_any};

/// Everything that is to run, and how.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) settings: Settings,
    pub(super) data_dir: PathBuf,
    /// Names are unique: those of crontabs have a prefix that the configuration may not use.
    pub(super) entries: Vec<Entry>,
    pub(super) warnings: Vec<Problem>,
}

/// Reads all files. The problems of all of them are reported at once.
pub(super) fn load(options: &ServeOptions) -> Result<Loaded, LoadError> {
    let mut problems = Vec::new();
    let config = gather(options.config.as_deref().map(config::load), &mut problems)?;
    let format = if options.system { Format::System } else { Format::User };
    let crontabs = (!options.crontabs.is_empty())
        .then(|| crontab::load(&options.crontabs, format, &Host::detect()));
    let crontabs = gather(crontabs, &mut problems)?.unwrap_or_default();
    let Config { settings, mut entries } =
        config.unwrap_or_else(|| Config { settings: Settings::default(), entries: Vec::new() });
    entries.extend(crontabs.entries);
    if entries.len() > limits::ENTRIES_MAX {
        let reason = format!("more than {} schedules, jobs and entries", limits::ENTRIES_MAX);
        problems.push(Problem::new(Path::new("all files"), reason));
    }
    // What the engine would refuse at the start is refused here, before anything is started.
    for entry in &entries {
        if let Err(refusal) = schedules::schedule(entry).check() {
            let problem = Problem::new(&entry.origin.file, refusal).with_line(entry.origin.line);
            problems.push(problem.with_place(format!("{:?}", entry.name)));
        }
    }
    let data_dir = options.data_dir.clone().or_else(|| settings.data_dir.clone());
    let data_dir = data_dir.unwrap_or_else(|| PathBuf::from(limits::DATA_DIR_DEFAULT));
    refuse_if_any(Loaded { settings, data_dir, entries, warnings: crontabs.warnings }, problems)
}

/// Keeps problems for later, so that those of the next file are found too.
fn gather<T>(
    read: Option<Result<T, LoadError>>,
    problems: &mut Vec<Problem>,
) -> Result<Option<T>, LoadError> {
    match read {
        Some(Err(LoadError::Refused { problems: found })) => {
            problems.extend(found);
            Ok(None)
        }
        other => other.transpose(),
    }
}
