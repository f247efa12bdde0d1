//! Failing disks on request, for tests of crates that use a log. Only with the feature `faults`.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
// Not from `sync`: a model checker's lock cannot be a static, and no model shares this one.
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Directories whose syncs fail.
static FAILING: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);

fn failing() -> MutexGuard<'static, Option<HashSet<PathBuf>>> {
    FAILING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on every sync of the log in `dir` fails, as on a broken disk.
pub fn fail_syncs(dir: impl Into<PathBuf>) {
    failing().get_or_insert_default().insert(dir.into());
}

/// Ends what [`fail_syncs`] began.
pub fn heal(dir: &Path) {
    failing().get_or_insert_default().remove(dir);
}

/// An error if syncs of the segment file at `path` are to fail.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    let fails = failing()
        .as_ref()
        .is_some_and(|failing| path.parent().is_some_and(|dir| failing.contains(dir)));
    if fails { Err(io::Error::other("a failure that a test asked for")) } else { Ok(()) }
}
