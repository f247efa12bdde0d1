//! Gathers everything that is to run from the files that the options name.

use std::path::{Path, PathBuf};

use super::{ServeOptions, schedules};
use crate::config::{self, Config, PASSWORD_VARIABLE, Secret, Settings, Work, limits};
use crate::crontab::{self, Format, Host};
use crate::front::{Front, FrontOptions, Tls};
use crate::plan::{Entry, Queue};
use crate::problem::{LoadError, Problem, refuse_if_any};
use tickwheel_engine::Backoff;
use tickwheel_protocol::Password;

/// Everything that is to run, and how.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) settings: Settings,
    pub(super) data_dir: PathBuf,
    /// How workers are served, if they are.
    pub(super) front: Option<FrontOptions>,
    /// Limits of queues.
    pub(super) queues: Vec<Queue>,
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
    let Config { settings, work, queues, mut entries } = config.unwrap_or_default();
    let front = front(options, &work, &mut problems);
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
    let warnings = crontabs.warnings;
    refuse_if_any(Loaded { settings, data_dir, front, queues, entries, warnings }, problems)
}

/// How workers are served: if an address is given, or if nothing else is there to do.
fn front(options: &ServeOptions, work: &Work, problems: &mut Vec<Problem>) -> Option<FrontOptions> {
    let has_files = options.config.is_some() || !options.crontabs.is_empty();
    let unasked = (!has_files).then_some(limits::LISTEN_DEFAULT);
    let listen = options.listen.or(work.listen).or(unasked)?;
    let password = match options.password.as_deref().map(Secret::new) {
        Some(Ok(password)) => Some(password),
        Some(Err(error)) => {
            problems.push(Problem::new(Path::new(PASSWORD_VARIABLE), error));
            return None;
        }
        None => work.password.clone(),
    };
    let tls = match (&options.tls_cert, &options.tls_key) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        _ => work.tls.clone(),
    };
    let tls = match tls.map(|(certificate, key)| Tls::load(&certificate, &key)).transpose() {
        Ok(tls) => tls,
        Err(error) => {
            problems.push(Problem::new(Path::new("TLS"), error));
            return None;
        }
    };
    let front = FrontOptions {
        listen,
        password: password.map(|password| Password::new(password.reveal())),
        tls,
        backoff: work
            .backoff
            .map_or_else(Backoff::quartic, |(base, max)| Backoff::exponential(base, max)),
        ends: work.ends,
        choice: work.choice,
        request_wait: work.request_timeout,
        allow_flush: work.allow_flush,
        io_threads: work.io_threads,
        connections_max: work.connections_max,
        per_address_max: work.connections_per_address_max,
    };
    if let Err(error) = Front::check(&front) {
        let place = options.config.as_deref().filter(|_| options.listen.is_none());
        problems.push(Problem::new(place.unwrap_or(Path::new("--listen")), error));
    }
    Some(front)
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
