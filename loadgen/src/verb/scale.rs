//! `scale`: the same load on one shard, on two, and so on.

use super::{Session, VerbError, point};
use crate::options::Options;

/// Runs the load once for each number of shards.
///
/// # Errors
/// A run could not be carried out.
pub fn scale(session: &mut Session, options: &Options, shards: &[usize]) -> Result<(), VerbError> {
    if options.data_dir.is_some() {
        let text = "scale needs a fresh directory for each number of shards: leave out --data-dir";
        return Err(VerbError::Usage(text.to_owned()));
    }
    for count in shards {
        if session.is_stopped() {
            break;
        }
        let options = Options { shards: Some(*count), ..options.clone() };
        session.run(&format!("shards-{count}"), point("shards", *count as f64), &options)?;
    }
    Ok(())
}
