//! What leaves the process: text, JSON, exit codes. It knows files and streams, and no verb.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{BAD_USAGE, FAILED};
use crate::{
    result::StoreError,
    run::RunError,
    verb::VerbError,
    verdict::{Outcome, Verdict},
};

/// An end other than a good one.
#[derive(Debug)]
pub(super) struct Exit {
    pub(super) code: u8,
    pub(super) message: String,
}

impl Exit {
    pub(super) fn failed(error: impl std::fmt::Display) -> Self {
        Self { code: FAILED, message: error.to_string() }
    }

    pub(super) fn usage(error: impl std::fmt::Display) -> Self {
        Self { code: BAD_USAGE, message: error.to_string() }
    }

    /// The end that belongs to an outcome.
    pub(super) fn of(outcome: Outcome, message: impl FnOnce() -> String) -> Result<(), Self> {
        match outcome {
            Outcome::Pass => Ok(()),
            _ => Err(Self { code: outcome.exit_code(), message: message() }),
        }
    }

    /// The end that belongs to the verdict of a run.
    pub(super) fn of_verdict(verdict: &Verdict) -> Result<(), Self> {
        Self::of(verdict.outcome, || {
            let texts: Vec<&str> = verdict.reasons.iter().map(|one| one.text.as_str()).collect();
            format!("{}: {}", verdict.outcome.name(), texts.join("; "))
        })
    }
}

impl From<RunError> for Exit {
    fn from(error: RunError) -> Self {
        if error.is_usage() { Self::usage(error) } else { Self::failed(error) }
    }
}

impl From<VerbError> for Exit {
    fn from(error: VerbError) -> Self {
        if error.is_usage() { Self::usage(error) } else { Self::failed(error) }
    }
}

impl From<StoreError> for Exit {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Write { .. } => Self::failed(error),
            _ => Self::usage(error),
        }
    }
}

/// Where JSON goes.
pub(super) enum JsonOut {
    Stdout,
    File(File, PathBuf),
}

impl JsonOut {
    pub(super) fn open(path: &Path) -> Result<Self, Exit> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        match File::create(path) {
            Ok(file) => Ok(Self::File(file, path.to_owned())),
            Err(error) => {
                let path = path.display();
                Err(Exit::usage(format!("cannot write {path}: {error}; name another file")))
            }
        }
    }

    pub(super) fn write(self, value: &impl Serialize) -> Result<(), Exit> {
        let mut bytes = serde_json::to_vec_pretty(value).map_err(Exit::failed)?;
        bytes.push(b'\n');
        match self {
            Self::Stdout => print(&bytes),
            Self::File(mut file, path) => file
                .write_all(&bytes)
                .map_err(|error| Exit::failed(format!("cannot write {}: {error}", path.display()))),
        }
    }
}

/// Writes to standard output. A reader that went away, as `head` does, is no failure.
pub(super) fn print(bytes: &[u8]) -> Result<(), Exit> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Exit::failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
