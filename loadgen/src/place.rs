//! Where a run stores its log: a directory that was named, or a fresh one that goes away again. It
//! never touches a directory that holds somebody's jobs.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// The directory of a run.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    /// Removed with all that is in it when this is dropped.
    _temporary: Option<TempDir>,
}

/// A run has no place to store its log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The directory holds an engine's shards already.
    #[error(
        "{} holds an engine's data already, and a load would mix with it: name another --data-dir, leave it out for a temporary one, or remove the directory if it is from an earlier run",
        path.display()
    )]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
    /// The directory cannot be made or read.
    #[error("cannot use directory {}: {source}; name another with --data-dir", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Place {
    /// The directory that was named, or a fresh one in the working directory.
    pub(crate) fn prepare(named: Option<&Path>) -> Result<Self, PlaceError> {
        match named {
            Some(path) => Self::named(path),
            None => Self::fresh_in(Path::new(".")),
        }
    }

    /// A fresh directory in `parent`. The directory for temporary files is not used: it may be
    /// memory, where a sync costs nothing.
    pub(crate) fn fresh_in(parent: &Path) -> Result<Self, PlaceError> {
        let unusable = |source| PlaceError::Unusable { path: parent.to_owned(), source };
        let dir = tempfile::Builder::new().prefix("tickwheel-loadgen-").tempdir_in(parent);
        let dir = dir.map_err(unusable)?;
        Ok(Self { path: dir.path().to_owned(), _temporary: Some(dir) })
    }

    fn named(path: &Path) -> Result<Self, PlaceError> {
        let unusable = |source| PlaceError::Unusable { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(unusable)?;
        for entry in fs::read_dir(path).map_err(unusable)? {
            let name = entry.map_err(unusable)?.file_name();
            if name.to_string_lossy().starts_with("shard-") {
                return Err(PlaceError::Occupied { path: path.to_owned() });
            }
        }
        Ok(Self { path: path.to_owned(), _temporary: None })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Bytes that the files below a directory take on the disk.
pub(crate) fn bytes_below(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;

    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        // What it takes on the disk: segments are made longer than they are filled.
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_directory_goes_away_and_a_named_one_stays() {
        let parent = tempfile::tempdir().unwrap();
        let fresh = Place::fresh_in(parent.path()).unwrap();
        fs::write(fresh.path().join("file"), "x").unwrap();
        let path = fresh.path().to_owned();
        drop(fresh);
        assert!(!path.exists());
        let named = parent.path().join("a/b");
        drop(Place::prepare(Some(&named)).unwrap());
        assert!(named.is_dir());
    }

    #[test]
    fn a_directory_with_shards_is_refused_and_untouched() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("shard-000")).unwrap();
        let error = Place::prepare(Some(parent.path())).unwrap_err();
        assert!(error.to_string().contains("name another --data-dir"), "{error}");
        assert!(parent.path().join("shard-000").is_dir());
    }
}
