//! Ordinary crontabs, as they are: files in, checked entries out, or every refused line by name.
//!
//! `lexer` knows one line, `users` the password file, `host` this machine, `reader` the meaning of
//! a whole file. `docs/operations.md` says what is understood and what is refused.

mod error;
mod host;
mod lexer;
mod name;
mod reader;
#[cfg(test)]
mod tests;
mod users;

use std::fs;
use std::path::{Path, PathBuf};

pub use error::LineError;
pub use host::Host;
pub use users::{User, Users};

use crate::config::{limits, read_bounded};
use crate::plan::Entry;
use crate::problem::{LoadError, Problem, refuse_if_any};

/// Names of crontab entries begin with this; those of a configuration may not.
pub const NAME_PREFIX: &str = "crontab:";

/// The two forms of a crontab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Entries are a time and a command; they run as the server's user.
    User,
    /// Between the two stands the user to run as: `/etc/crontab`, `/etc/cron.d/*`.
    System,
}

/// What was read from all crontabs together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Crontabs {
    /// The entries, in the order of the files and their lines; names are unique.
    pub entries: Vec<Entry>,
    /// What is understood but does less than cron would do. For the user to read.
    pub warnings: Vec<Problem>,
}

/// Reads crontabs. A folder, which only [`Format::System`] takes, stands for all files in it whose
/// names cron would accept, in the order of their names.
///
/// # Errors
/// [`LoadError::Unreadable`], or [`LoadError::Refused`] with all refused lines of all files.
pub fn load(paths: &[PathBuf], format: Format, host: &Host) -> Result<Crontabs, LoadError> {
    let mut found = reader::Found::default();
    for path in paths {
        let unreadable = |source| LoadError::Unreadable { file: path.clone(), source };
        if !fs::metadata(path).map_err(unreadable)?.is_dir() {
            load_file(path, format, host, &mut found)?;
            continue;
        }
        if format == Format::User {
            let reason = "it is a folder; add --system if its files have a column for the user, \
                          else name one file";
            found.problems.push(Problem::new(path, reason));
            continue;
        }
        for file in files_of(path).map_err(unreadable)? {
            load_file(&file, format, host, &mut found)?;
        }
    }
    if found.crontabs.entries.len() > limits::ENTRIES_MAX {
        let reason = format!("more than {} entries in all files", limits::ENTRIES_MAX);
        found.problems.push(Problem::new(Path::new("crontabs"), reason));
    }
    refuse_if_any(found.crontabs, found.problems)
}

fn load_file(
    file: &Path,
    format: Format,
    host: &Host,
    found: &mut reader::Found,
) -> Result<(), LoadError> {
    let unreadable = |source| LoadError::Unreadable { file: file.to_path_buf(), source };
    if format == Format::System
        && let Some(reason) = host.distrusts(&fs::metadata(file).map_err(unreadable)?)
    {
        found.problems.push(Problem::new(file, reason));
        return Ok(());
    }
    let bytes = read_bounded(file).map_err(unreadable)?;
    reader::read(file, &bytes, format, host, found);
    Ok(())
}

/// The files in a folder that cron would read: letters, digits, `_` and `-` only, so that backups
/// of editors and of the package manager are left out.
fn files_of(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let accepted = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        });
        // Follows links, as cron does.
        if accepted && fs::metadata(&path)?.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
