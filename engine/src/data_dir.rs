//! The data directory: one folder per shard, named by its number.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::error::StartError;

/// Makes the directory if it is not there, and counts the shards that it holds.
pub(crate) fn prepare(dir: &Path) -> Result<usize, StartError> {
    let failed = |source| StartError::DataDir { path: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(failed)?;
    let mut shards = 0;
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let is_shard = name.to_str().is_some_and(|name| {
            name.strip_prefix("shard-").is_some_and(|number| number.parse::<u8>().is_ok())
        });
        shards += usize::from(is_shard);
    }
    Ok(shards)
}

/// The folder of one shard.
pub(crate) fn shard_dir(dir: &Path, shard: u8) -> PathBuf {
    dir.join(format!("shard-{shard:03}"))
}
