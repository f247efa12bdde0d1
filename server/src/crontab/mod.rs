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

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
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
/// names cron would accept, in the order of their names. A file that is named twice, or by a link
/// too, is read once.
///
/// # Errors
/// [`LoadError::Unreadable`], or [`LoadError::Refused`] with all refused lines of all files.
pub fn load(paths: &[PathBuf], format: Format, host: &Host) -> Result<Crontabs, LoadError> {
    let mut found = reader::Found::default();
    let mut seen = Seen::default();
    for path in paths {
        let metadata = fs::metadata(path).map_err(unreadable(path))?;
        if !metadata.is_dir() {
            if seen.is_new(path, &metadata, &mut found) {
                load_file(path, &metadata, format, host, &mut found)?;
            }
            continue;
        }
        if format == Format::User {
            let reason = "it is a folder; add --system if its files have a column for the user, \
                          else name one file";
            found.problems.push(Problem::new(path, reason));
            continue;
        }
        for (file, metadata) in files_of(path, &mut found)? {
            if seen.is_new(&file, &metadata, &mut found) {
                load_file(&file, &metadata, format, host, &mut found)?;
            }
        }
    }
    if found.crontabs.entries.len() > limits::ENTRIES_MAX {
        let reason = format!("more than {} entries in all files", limits::ENTRIES_MAX);
        found.problems.push(Problem::new(Path::new("crontabs"), reason));
    }
    refuse_if_any(found.crontabs, found.problems)
}

fn unreadable(file: &Path) -> impl Fn(io::Error) -> LoadError + '_ {
    |source| LoadError::Unreadable { file: file.to_path_buf(), source }
}

/// The files read so far, by device and number: whatever name a file goes by, its commands are to
/// run once.
#[derive(Default)]
struct Seen(HashMap<(u64, u64), PathBuf>);

impl Seen {
    /// Whether the file was not read before; else a warning says so.
    fn is_new(&mut self, file: &Path, metadata: &Metadata, found: &mut reader::Found) -> bool {
        let first = self.0.insert((metadata.dev(), metadata.ino()), file.to_path_buf());
        if let Some(first) = &first {
            let reason =
                format!("it was already read, as {}, and is not read twice", first.display());
            found.crontabs.warnings.push(Problem::new(file, reason));
        }
        first.is_none()
    }
}

fn load_file(
    file: &Path,
    metadata: &Metadata,
    format: Format,
    host: &Host,
    found: &mut reader::Found,
) -> Result<(), LoadError> {
    if format == Format::System
        && let Some(reason) = host.distrusts(metadata)
    {
        found.problems.push(Problem::new(file, reason));
        return Ok(());
    }
    let bytes = read_bounded(file).map_err(unreadable(file))?;
    reader::read(file, &bytes, format, host, found);
    Ok(())
}

/// The files in a folder that cron would read: letters, digits, `_` and `-` only, so that backups
/// of editors and of the package manager are left out. A link to nothing is only warned of.
fn files_of(
    folder: &Path,
    found: &mut reader::Found,
) -> Result<Vec<(PathBuf, Metadata)>, LoadError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        let accepted = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        });
        if !accepted {
            continue;
        }
        // Follows links, as cron does.
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => files.push((path, metadata)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let reason = "it is a link to a file that does not exist; left out";
                found.crontabs.warnings.push(Problem::new(&path, reason));
            }
            Err(error) => return Err(unreadable(&path)(error)),
        }
    }
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(files)
}
