//! Where results are stored and read again: one folder, one JSON file per run. It knows files and their
//! schema, and judges no run.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{Report, SCHEMA};

/// Results that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file or folder cannot be written.
    #[error("cannot write {}: {source}; make room there or name another place", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}; name a folder that was given to --out", path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is of another version.
    #[error(
        "{} has schema {found:?}, this version reads {SCHEMA:?}: measure again, or use the version of tickwheel-loadgen that wrote it",
        path.display()
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// A file is no result.
    #[error("{} is no result: {reason}; remove it, or measure again", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The folder already holds results.
    #[error("{} holds results already: name another --out, or remove it", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds no results.
    #[error("{} holds no results: name a folder that was given to --out", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
}

/// A folder for the results of one verb.
#[derive(Clone, Debug)]
pub struct OutDir {
    path: PathBuf,
}

impl OutDir {
    /// Makes the folder. It must not hold results: two measurements would mix.
    ///
    /// # Errors
    /// It cannot be made, or holds results.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        let write = |source| StoreError::Write { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(write)?;
        if json_files(path)?.next().is_some() {
            return Err(StoreError::Occupied { path: path.to_owned() });
        }
        Ok(Self { path: path.to_owned() })
    }

    /// The path of a file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes one run.
    ///
    /// # Errors
    /// The disk refuses it.
    pub fn write(&self, name: &str, report: &Report) -> Result<(), StoreError> {
        write_json(&self.file(&format!("{name}.json")), report)
    }
}

/// Writes a file whole or not at all.
fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let write = |source| StoreError::Write { path: path.to_owned(), source };
    let mut bytes = serde_json::to_vec(value).map_err(|error| write(error.into()))?;
    bytes.push(b'\n');
    let half = path.with_extension("half");
    let written = fs::write(&half, bytes).and_then(|()| fs::rename(&half, path));
    written.map_err(|error| {
        // What is half written helps nobody, and takes room on a disk that may be full.
        let _ = fs::remove_file(&half);
        write(error)
    })
}

/// All runs in a folder, by the time at which they began.
///
/// # Errors
/// A file cannot be read, is of another version, or there is none.
pub fn read_dir(path: &Path) -> Result<Vec<(PathBuf, Report)>, StoreError> {
    let mut runs = Vec::new();
    for file in json_files(path)? {
        let report = read_file(&file)?;
        runs.push((file, report));
    }
    if runs.is_empty() {
        return Err(StoreError::Empty { path: path.to_owned() });
    }
    runs.sort_by(|(one, a), (other, b)| (a.began_unix_ms, one).cmp(&(b.began_unix_ms, other)));
    Ok(runs)
}

/// One run.
///
/// # Errors
/// The file cannot be read, or is of another version.
pub fn read_file(path: &Path) -> Result<Report, StoreError> {
    let read = |source| StoreError::Read { path: path.to_owned(), source };
    let broken = |reason: String| StoreError::Broken { path: path.to_owned(), reason };
    let bytes = fs::read(path).map_err(read)?;
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    match value.get("schema").and_then(serde_json::Value::as_str) {
        Some(SCHEMA) => {}
        Some(found) => {
            return Err(StoreError::Schema { path: path.to_owned(), found: found.to_owned() });
        }
        None => return Err(broken("it names no schema".to_owned())),
    }
    serde_json::from_value(value).map_err(|error| broken(error.to_string()))
}

fn json_files(path: &Path) -> Result<impl Iterator<Item = PathBuf>, StoreError> {
    let read = |source| StoreError::Read { path: path.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(read)? {
        let file = entry.map_err(read)?.path();
        if file.extension().is_some_and(|extension| extension == "json") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_versions_and_broken_files_are_named_with_advice() {
        let dir = tempfile::tempdir().unwrap();
        let check = |content: &str, part: &str| {
            fs::write(dir.path().join("run.json"), content).unwrap();
            let error = read_dir(dir.path()).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("run.json"), "{error}");
        };
        check(r#"{"schema":"tickwheel.run/v1"}"#, "measure again");
        check(r#"{"schema":"tickwheel.run/v2"}"#, "missing field");
        check("{}", "names no schema");
        check("{", "is no result");
        assert!(matches!(OutDir::create(dir.path()), Err(StoreError::Occupied { .. })));
        fs::remove_file(dir.path().join("run.json")).unwrap();
        assert!(matches!(read_dir(dir.path()), Err(StoreError::Empty { .. })));
        assert!(matches!(read_dir(Path::new("/nowhere")), Err(StoreError::Read { .. })));
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("not/there.json");
        let error = write_json(&path, &1).unwrap_err().to_string();
        assert!(error.contains("there.json") && error.contains("make room"), "{error}");
        write_json(&dir.path().join("one.json"), &1).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
