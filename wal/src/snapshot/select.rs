//! Which of the snapshots an opening begins from, and which must go.
//!
//! It must not know the format of a snapshot.

use std::path::Path;

use super::format::SnapshotHeader;
use super::reader::read_header;
use super::{Identity, SnapshotError, SnapshotReader};
use crate::error::OpenError;
use crate::lsn::Lsn;
use crate::recovery::io_error;
use crate::storage::Storage;

/// Says whether the log holds a position in a segment of that epoch, so that a snapshot of it fits.
pub(crate) type IsUsable<'a> = &'a mut dyn FnMut(Lsn, u64) -> bool;

/// The newest snapshot that fits the log, as far as its beginning and its end tell: its blocks are
/// verified when they are read.
///
/// Those that are damaged there, cannot be read or belong to another log are skipped with a warning;
/// those of which the log does not hold the position are skipped. Nothing on the disk is changed.
///
/// # Errors
/// Only if the directory cannot be read: no snapshot is ever needed.
pub(crate) fn newest_usable(
    storage: &dyn Storage,
    identity: Identity,
    is_usable: IsUsable<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<SnapshotReader>, OpenError> {
    for lsn in list(storage)?.into_iter().rev() {
        let path = storage.snapshot_path(lsn);
        let opened = storage.open_snapshot(lsn).map_err(|source| SnapshotError::Io {
            action: "open",
            path: path.clone(),
            source,
        });
        let begun = opened.and_then(|file| {
            SnapshotReader::begin(file, &path, &mut |header| {
                admit(header, lsn, identity, is_usable, &path)
            })
        });
        match begun {
            Ok(reader) => return Ok(Some(reader)),
            Err(error @ SnapshotError::NotHeld { .. }) => tracing::info!("{error}"),
            Err(error) => warnings.push(error.to_string()),
        }
    }
    Ok(None)
}

/// Removes, durably, all drafts and every snapshot that does not show by its header that it fits
/// the log: foreign, renamed, of a position that the log does not hold, of a newer version, or not
/// readable at all.
///
/// An opening calls this before the log's first append. Positions and epochs that were lost with
/// a torn tail can be given out once more, so a snapshot of them that stayed could fit the later
/// log by accident. One that cannot be judged could as well, and losing it loses nothing.
///
/// # Errors
/// If the directory cannot be read, or one of them cannot be removed. Some may be removed then.
pub(crate) fn remove_unusable(
    storage: &dyn Storage,
    identity: Identity,
    is_usable: IsUsable<'_>,
) -> Result<(), OpenError> {
    let action = "remove the drafts of snapshots beside";
    storage.remove_drafts().map_err(|e| io_error(storage, 0, action, e))?;
    for lsn in list(storage)? {
        let path = storage.snapshot_path(lsn);
        let judged = storage
            .open_snapshot(lsn)
            .map_err(|source| SnapshotError::Io { action: "open", path: path.clone(), source })
            .and_then(|file| read_header(file.as_ref(), &path))
            .and_then(|header| admit(&header, lsn, identity, is_usable, &path));
        if let Err(error) = judged {
            tracing::info!("{error}; it is removed");
            storage.remove_snapshot(lsn).map_err(|source| OpenError::Io {
                action: "remove",
                path,
                source,
            })?;
        }
    }
    storage.sync_directory().map_err(|e| io_error(storage, 0, "sync the directory of", e))
}

fn list(storage: &dyn Storage) -> Result<Vec<u64>, OpenError> {
    storage.list_snapshots().map_err(|e| io_error(storage, 0, "list the snapshots beside", e))
}

/// Whether a snapshot is of the log, if it is known which that is, and of the position in its name.
pub(crate) fn belongs(
    header: &SnapshotHeader,
    named: Lsn,
    log: Option<Identity>,
    path: &Path,
) -> Result<(), SnapshotError> {
    let log = log.unwrap_or(header.identity);
    admit(header, named.0, log, &mut |_, _| true, path)
}

/// Judges a snapshot by its header; `named` is the position in its name.
fn admit(
    header: &SnapshotHeader,
    named: u64,
    identity: Identity,
    is_usable: IsUsable<'_>,
    path: &Path,
) -> Result<(), SnapshotError> {
    let &SnapshotHeader { lsn, epoch, .. } = header;
    let path = || path.to_owned();
    if header.identity != identity {
        let Identity { shard, salt } = header.identity;
        return Err(SnapshotError::Foreign { path: path(), shard, salt });
    }
    if lsn.0 != named {
        return Err(SnapshotError::Misnamed { path: path(), lsn });
    }
    if !is_usable(lsn, epoch) {
        return Err(SnapshotError::NotHeld { path: path(), lsn, epoch });
    }
    Ok(())
}
