//! Puts the logs of another number of shards in the place of those that a data directory has, such that
//! a crash at any moment leaves the old ones in force, or the new ones.
//!
//! Everything lies in one folder of the data directory: the new logs, as long as they are not in their
//! places, and the old ones, as soon as they are not in theirs. While the folder has a file that says
//! that it is unfinished, and the data directory has no file `RESHARD`, nothing has happened yet. That
//! file is made by one rename, durably, once the new logs are whole: from then on there is only the way
//! forward, in steps of which each is seen to have been done, and no engine starts until the last one is done.
//!
//! It must not know what is in the logs.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::super::{
    StoreError,
    repair::{io_error, sync_dir},
};
use crate::{data_dir, limits::SHARDS_MAX};

/// Name of the folder, before a number.
const FOLDER: &str = "reshard-";
/// Lies in the folder until all is done.
const UNFINISHED: &str = "UNFINISHED";
/// Where in the folder the new logs are written.
const NEW: &str = "new";

/// Logs that are to take the place of others.
#[derive(Debug)]
pub(super) struct Swap {
    dir: PathBuf,
    /// Name of the folder.
    folder: String,
    from: usize,
    to: usize,
}

impl Swap {
    /// Makes the folder, with an empty one for each new log. What an earlier change left that had
    /// not come to take effect is removed.
    pub(super) fn prepare(dir: &Path, from: usize, to: usize) -> Result<Self, StoreError> {
        remove_unfinished(dir).map_err(|e| io_error("remove an unfinished change in", dir, e))?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut seconds = now.as_secs();
        loop {
            let swap = Self { dir: dir.to_owned(), folder: format!("{FOLDER}{seconds}"), from, to };
            match private_dir(&swap.originals()) {
                // Another change in the same second.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => seconds += 1,
                Err(error) => return Err(io_error("make", &swap.originals(), error)),
                Ok(()) => {
                    let furnished = swap.furnish();
                    furnished.map_err(|e| io_error("write to", &swap.originals(), e))?;
                    return Ok(swap);
                }
            }
        }
    }

    /// The mark first: a folder without it is one to be kept.
    fn furnish(&self) -> io::Result<()> {
        let folder = self.originals();
        File::create(folder.join(UNFINISHED))?.sync_all()?;
        sync_dir(&folder)?;
        sync_dir(&self.dir)?;
        // So that the originals are a data directory by themselves.
        data_dir::write_count(&folder, self.from)?;
        private_dir(&folder.join(NEW))?;
        (0..self.to).try_for_each(|shard| private_dir(&self.new_dir(shard)))
    }

    /// Where the new log of a shard is written.
    pub(super) fn new_dir(&self, shard: usize) -> PathBuf {
        data_dir::shard_dir(&self.originals().join(NEW), shard as u8)
    }

    /// The folder, in which the originals will be.
    pub(super) fn originals(&self) -> PathBuf {
        self.dir.join(&self.folder)
    }

    /// Removes the folder: the new logs could not be written.
    pub(super) fn give_up(&self) {
        let folder = self.originals();
        if let Err(error) = fs::remove_dir_all(&folder) {
            tracing::warn!(folder = %folder.display(), %error, "cannot remove an unfinished change");
        }
    }

    /// Puts the new logs, which are whole and durable but for their names, in their places; the
    /// folder with the originals.
    pub(super) fn carry_out(self) -> Result<PathBuf, StoreError> {
        if let Err(error) = self.decide() {
            if let Ok(false) = data_dir::is_resharding(&self.dir) {
                self.give_up();
                return Err(io_error("write to", &self.dir, error));
            }
            return Err(StoreError::ReshardStopped { dir: self.dir, source: error });
        }
        self.finish(&mut |_| Ok(()))
    }

    /// The new logs are in force once this is done.
    pub(super) fn decide(&self) -> io::Result<()> {
        let folder = self.originals();
        (0..self.to).try_for_each(|shard| sync_dir(&self.new_dir(shard)))?;
        sync_dir(&folder.join(NEW))?;
        sync_dir(&folder)?;
        let mark = data_dir::reshard_file(&self.dir);
        let draft = self.dir.join("RESHARD.new");
        let mut file = File::create(&draft)?;
        writeln!(file, "{} {} {}", self.folder, self.from, self.to)?;
        file.sync_all()?;
        fs::rename(draft, mark)?;
        sync_dir(&self.dir)
    }

    /// Does what is not done yet of a change that was decided. `after` hears of each step, and can
    /// end the work there.
    pub(super) fn finish(
        self,
        after: &mut dyn FnMut(&'static str) -> io::Result<()>,
    ) -> Result<PathBuf, StoreError> {
        match self.steps(after) {
            Ok(()) => Ok(self.originals()),
            Err(source) => Err(StoreError::ReshardStopped { dir: self.dir, source }),
        }
    }

    fn steps(&self, after: &mut dyn FnMut(&'static str) -> io::Result<()>) -> io::Result<()> {
        let (dir, folder) = (&self.dir, self.originals());
        // All of the old ones go first: until then what has the place of a shard is the old one.
        for shard in 0..self.from {
            let kept = data_dir::shard_dir(&folder, shard as u8);
            if !fs::exists(&kept)? {
                rename(&data_dir::shard_dir(dir, shard as u8), &kept)?;
                after("an old log was moved away")?;
            }
        }
        sync_dir(&folder)?;
        sync_dir(dir)?;
        for shard in 0..self.to {
            let new = self.new_dir(shard);
            if fs::exists(&new)? {
                rename(&new, &data_dir::shard_dir(dir, shard as u8))?;
                after("a new log was put in its place")?;
            }
        }
        if data_dir::read_count(dir)? != Some(self.to) {
            data_dir::write_count(dir, self.to)?;
            after("the new number was written")?;
        }
        sync_dir(dir)?;
        let unfinished = folder.join(UNFINISHED);
        if fs::exists(&unfinished)? {
            if_there(fs::remove_dir(folder.join(NEW)))?;
            fs::remove_file(unfinished)?;
            after("the originals were marked as such")?;
        }
        sync_dir(&folder)?;
        // Last: the folder is not to be taken for one of a change that never took effect.
        if_there(fs::remove_file(data_dir::reshard_file(dir)))?;
        sync_dir(dir)
    }
}

/// Finishes a change of `dir` that was decided and cut off, if there is one; the folder with the
/// originals.
pub(super) fn finish_begun(dir: &Path) -> Result<Option<PathBuf>, StoreError> {
    match begun(dir).map_err(|e| io_error("read", &data_dir::reshard_file(dir), e))? {
        Some(swap) => swap.finish(&mut |_| Ok(())).map(Some),
        None => Ok(None),
    }
}

/// The change that was decided and has not ended.
pub(super) fn begun(dir: &Path) -> io::Result<Option<Swap>> {
    let text = match fs::read_to_string(data_dir::reshard_file(dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut words = text.split_whitespace();
    let folder = words.next().filter(|name| is_folder(name));
    let mut number = || {
        let number = words.next().and_then(|word| word.parse().ok());
        number.filter(|number| (1..=SHARDS_MAX).contains(number))
    };
    match (folder, number(), number()) {
        (Some(folder), Some(from), Some(to)) => {
            Ok(Some(Swap { dir: dir.to_owned(), folder: folder.to_owned(), from, to }))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is damaged: restore a backup")),
    }
}

fn is_folder(name: &str) -> bool {
    name.strip_prefix(FOLDER).is_some_and(|rest| rest.parse::<u64>().is_ok())
}

/// Removes the folders of changes that never took effect.
fn remove_unfinished(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_ours = entry.file_name().to_str().is_some_and(is_folder);
        if is_ours && fs::exists(entry.path().join(UNFINISHED))? {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to).map_err(|error| {
        let text = format!("cannot move {} to {}: {error}", from.display(), to.display());
        io::Error::new(error.kind(), text)
    })
}

/// What is not there any more was removed before.
fn if_there(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
