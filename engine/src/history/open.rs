//! Opens the history at the start of an engine. One that is damaged is set aside, so that it keeps no
//! engine from starting, and a new one is begun.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crossbeam::channel::{Sender, bounded};
use tickwheel_wal::{Durability, Log, LogOptions, OpenError, inspect::LogFiles};

use super::{
    History, dir_of,
    entry::Entry,
    keeper::{Keeper, Keeping, Message, Shared},
    known::Known,
};
use crate::{clock, error::StartError, limits};

/// Name of the history's folder in a data directory.
pub(crate) const HISTORY_DIR: &str = "history";
/// What a damaged history is renamed to, before a number.
const SET_ASIDE: &str = "history-damaged-";
/// In the place of a shard's number in the headers of the history's log.
pub(crate) const HISTORY_SHARD: u16 = u16::MAX;

/// Opens the history of a data directory, or begins one, and starts its thread.
///
/// # Errors
/// It is in use, of a newer version, or cannot be made. Damage is no error: the damaged history is set
/// aside.
pub(crate) fn open(data_dir: &Path, settings: &History) -> Result<Keeping, StartError> {
    let dir = dir_of(data_dir);
    let (sender, receiver) = bounded(limits::HISTORY_MESSAGES_MAX);
    let opened = match open_log(&dir, settings, &sender) {
        Err(error @ (OpenError::Corrupt { .. } | OpenError::Replay { .. })) => {
            let aside = set_aside(data_dir, &dir)
                .map_err(|source| StartError::DataDir { path: dir.clone(), source })?;
            tracing::error!(
                %error,
                aside = %aside.display(),
                "the history is damaged: it was set aside, and a new one is begun; jobs are not \
                 concerned. `tickwheel history` reads what is whole of the folder that was set aside"
            );
            open_log(&dir, settings, &sender)?
        }
        opened => opened?,
    };
    let (log, known) = opened;
    let shared = Arc::new(Shared::new(sender, log.durable().0));
    let keeper = Keeper::new(log, known, receiver, Arc::clone(&shared), settings);
    Ok(Keeping::start(keeper, shared, dir, settings)?)
}

fn open_log(
    dir: &Path,
    settings: &History,
    sender: &Sender<Message>,
) -> Result<(Log, Known), OpenError> {
    // The size of segments is fixed when a log is made.
    let segment_bytes = LogFiles::open(dir)
        .ok()
        .filter(|files| files.shard().is_some())
        .map_or(settings.segment_bytes(), |files| files.segment_bytes());
    let mut known = Known::default();
    let wake = sender.clone();
    let mut log = LogOptions::new(dir)
        .shard(HISTORY_SHARD)
        .segment_bytes(segment_bytes)
        .durability(Durability::Interval(limits::HISTORY_SYNC_INTERVAL))
        .open(
            Arc::new(move || {
                // One that is full wakes the thread as well.
                let _ = wake.try_send(Message::Look);
            }),
            &mut |record| {
                let segment = record.lsn.0 / segment_bytes;
                if known.note(segment, record.payload) {
                    Ok(())
                } else {
                    Err("it is no entry of a history that this version knows".into())
                }
            },
        )?;
    if known.born == 0 {
        // Two histories in one place are told apart by this.
        known.born = clock::now().wall.0.max(1);
        // A new log has room for it; if not, the next start has none either.
        if log.append(&[&Entry::State(known.state()).encode()]).is_ok() {
            log.commit();
        }
    }
    Ok((log, known))
}

/// Renames a damaged history; where to.
fn set_aside(data_dir: &Path, dir: &Path) -> io::Result<PathBuf> {
    let free = (1..=limits::HISTORIES_ASIDE_MAX)
        .map(|number| data_dir.join(format!("{SET_ASIDE}{number}")))
        .find(|path| !path.exists());
    let Some(aside) = free else {
        let message = format!(
            "the history is damaged, and {} damaged ones were set aside before: look at the disk, and \
             remove those",
            limits::HISTORIES_ASIDE_MAX
        );
        return Err(io::Error::other(message));
    };
    fs::rename(dir, &aside)?;
    fs::File::open(data_dir)?.sync_all()?;
    Ok(aside)
}
