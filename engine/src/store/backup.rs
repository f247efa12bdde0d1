//! Copies a store, also one that an engine runs on, into one that a server can be started on.
//!
//! The log's own crate copies the bytes of one log; this file goes through the shards, checks each
//! copy, and tries again where the log was changed under the copy's hands.

use std::{
    fs::{self, DirBuilder, File},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use tickwheel_wal::{
    backup::{Copied, CopyError, copy_log},
    inspect::LogFiles,
};

use super::{
    Lsn, Progress, Store, StoreError,
    repair::{io_error, sync_dir, sync_parent},
    verify::{ShardVerdict, verify_shard},
};
use crate::{data_dir, history};

/// Lies in a backup that is not finished.
const UNFINISHED: &str = "BACKUP-UNFINISHED";
/// A log that releases segments all the time is copied so often at the most.
const TRIES_MAX: u32 = 5;

/// A copy that was made and checked.
#[derive(Debug)]
#[non_exhaustive]
pub struct Backup {
    /// Where it is.
    pub dest: PathBuf,
    /// Each shard.
    pub shards: Vec<ShardBackup>,
    /// The history, if there is one. A damaged one is left out, with a warning in the log.
    pub history: Option<ShardBackup>,
}

/// The copy of one shard's log.
#[derive(Debug)]
#[non_exhaustive]
pub struct ShardBackup {
    /// The log that was copied.
    pub from: PathBuf,
    /// The copy.
    pub to: PathBuf,
    /// What was copied.
    pub copied: Copied,
    /// What the check of the copy found.
    pub verdict: ShardVerdict,
    /// How often it was copied until it held together.
    pub tries: u32,
}

impl Store {
    /// Copies the store to `dest`, which must not exist or be empty, durably, and checks the copy. An
    /// engine may run on the store meanwhile.
    ///
    /// Everything that was durable when this was called is in the copy. A server that is started on
    /// it goes on from there: jobs that have run since run again.
    ///
    /// # Errors
    /// See [`StoreError`]. Then there is no backup, and what was made of it is removed.
    pub fn backup(&self, dest: &Path, progress: &mut dyn Progress) -> Result<Backup, StoreError> {
        if let Some(concern) = self.concerns.first() {
            let reason = concern.clone();
            return Err(StoreError::SourceDamaged { dir: self.dir.clone(), reason });
        }
        let is_new = make_empty(dest)?;
        let made = self.copy_to(dest, progress);
        if made.is_err() {
            clear(dest, is_new);
        }
        made
    }

    fn copy_to(&self, dest: &Path, progress: &mut dyn Progress) -> Result<Backup, StoreError> {
        let marker = dest.join(UNFINISHED);
        let marked = File::create(&marker).and_then(|marker| marker.sync_all());
        marked.and_then(|()| sync_dir(dest)).map_err(|e| io_error("write to", dest, e))?;
        let mut shards = Vec::with_capacity(self.shards.len());
        for from in &self.shards {
            let to = match from.file_name() {
                Some(name) if self.is_data_dir => dest.join(name),
                _ => dest.to_owned(),
            };
            if self.is_data_dir {
                let made = DirBuilder::new().mode(0o700).create(&to);
                made.map_err(|e| io_error("make", &to, e))?;
            }
            // A shard without a log was never started.
            if LogFiles::are_in(from).map_err(|e| io_error("read", from, e))? {
                shards.push(copy_shard(from, &to, progress)?);
            }
        }
        // After the shards: what it has beyond them is told as rolled back at the start of the copy.
        let history = self.history()?.map(|from| copy_history(&from, dest, progress));
        let history = history.transpose()?.flatten();
        let finished = fs::remove_file(&marker);
        if self.is_data_dir {
            // Last: without it no engine starts on what is not whole.
            data_dir::write_count(dest, self.shards.len())
                .map_err(|e| io_error("write to", dest, e))?;
        }
        let finished = finished.and_then(|()| sync_dir(dest)).and_then(|()| sync_parent(dest));
        finished.map_err(|e| io_error("sync", dest, e))?;
        Ok(Backup { dest: dest.to_owned(), shards, history })
    }
}

/// Copies the history; `None` if it is damaged, which is no reason to have no backup of the jobs.
fn copy_history(
    from: &Path,
    dest: &Path,
    progress: &mut dyn Progress,
) -> Result<Option<ShardBackup>, StoreError> {
    let to = history::dir_of(dest);
    let made = DirBuilder::new().mode(0o700).create(&to);
    made.map_err(|e| io_error("make", &to, e))?;
    match copy_shard(from, &to, progress) {
        Err(StoreError::SourceDamaged { reason, .. }) => {
            tracing::warn!(reason, "the history is damaged and is not in the backup");
            fs::remove_dir_all(&to).map_err(|e| io_error("remove", &to, e))?;
            Ok(None)
        }
        copied => copied.map(Some),
    }
}

fn copy_shard(
    from: &Path,
    to: &Path,
    progress: &mut dyn Progress,
) -> Result<ShardBackup, StoreError> {
    let mut tries = 0;
    let mut last_damage = None;
    loop {
        tries += 1;
        let mut total = 0;
        let copied = copy_log(from, to, &mut |done, bytes| {
            if bytes != total {
                total = bytes;
                progress.begin(&format!("copying {}", from.display()), bytes);
            }
            progress.reached(done);
        });
        let (place, reason) = match copied {
            Ok(copied) => {
                let verdict = verify_shard(&LogFiles::lock(to)?, progress)?;
                if !verdict.is_damaged() {
                    let (from, to) = (from.to_owned(), to.to_owned());
                    return Ok(ShardBackup { from, to, copied, verdict, tries });
                }
                first_damage(&verdict)
            }
            Err(CopyError::Changed { .. }) => (None, "it changed all the time".to_owned()),
            Err(CopyError::Damaged { lsn, .. }) => {
                (Some(lsn), format!("a record at LSN {lsn} cannot be read"))
            }
            Err(CopyError::Inspect(error)) => return Err(error.into()),
            Err(CopyError::Io { action, path, source }) => {
                return Err(StoreError::Io { action, path, source });
            }
            Err(error) => return Err(io_error("copy", from, std::io::Error::other(error))),
        };
        // What changes under the copy's hands is not at the same place twice.
        let is_again = place.is_some() && last_damage == Some(place);
        if is_again || tries == TRIES_MAX {
            let dir = from.to_owned();
            return Err(StoreError::SourceDamaged { dir, reason });
        }
        last_damage = Some(place);
        clear_log(to).map_err(|e| io_error("clear", to, e))?;
    }
}

/// Where the first damage of a copy lies, and what it is.
fn first_damage(verdict: &ShardVerdict) -> (Option<Lsn>, String) {
    if let Some(damage) = verdict.log.damage.first() {
        return (Some(damage.lsn), format!("at LSN {}: {}", damage.lsn, damage.reason));
    }
    if let Some(event) = verdict.unapplied.first() {
        return (event.lsn, format!("an event cannot be applied: {}", event.reason));
    }
    let bad = verdict.log.snapshots.iter().find_map(|check| {
        check.result.as_ref().err().map(|error| (Some(check.lsn), error.to_string()))
    });
    let unreadable = verdict.bad_snapshots.first();
    bad.or_else(|| unreadable.map(|(lsn, reason)| (Some(*lsn), reason.clone())))
        .unwrap_or((None, "the copy is not whole".to_owned()))
}

/// Makes the destination; false if it was there, and is empty.
fn make_empty(dest: &Path) -> Result<bool, StoreError> {
    match fs::read_dir(dest) {
        Ok(mut entries) => match entries.next() {
            None => Ok(false),
            Some(_) => Err(StoreError::DestinationUsed {
                dest: dest.to_owned(),
                hint: if dest.join(UNFINISHED).exists() {
                    "it is a backup that was cut off: remove it"
                } else {
                    "name another"
                },
            }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(dest);
            made.and_then(|()| sync_parent(dest)).map_err(|e| io_error("make", dest, e))?;
            Ok(true)
        }
        Err(error) => Err(io_error("read", dest, error)),
    }
}

/// Removes what was made of a backup that failed.
fn clear(dest: &Path, is_new: bool) {
    let removed = if is_new {
        fs::remove_dir_all(dest)
    } else {
        fs::read_dir(dest).and_then(|mut entries| {
            entries.try_for_each(|entry| {
                let path = entry?.path();
                if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
            })
        })
    };
    if let Err(error) = removed {
        tracing::warn!(dest = %dest.display(), %error, "cannot remove an unfinished backup");
    }
}

/// Removes the files of one log's copy.
fn clear_log(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_file = entry.file_type()?.is_file();
        if is_file && entry.file_name() != UNFINISHED {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
