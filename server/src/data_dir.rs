//! The data directory as the server and the demonstration find or make it. The log in it holds
//! commands with their environments, and whoever writes to it decides what runs: nobody else is to
//! read or write it. What is in the directory is the engine's.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::process::geteuid;

/// Makes the directory, and those above it, for its owner only. One that was there is left as it
/// is; where others have a hold on it, the text to warn of that is returned.
pub(crate) fn prepare(dir: &Path) -> io::Result<Option<String>> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let metadata = fs::metadata(dir)?;
    let concern = concern(metadata.uid(), geteuid().as_raw(), metadata.mode() & 0o7777);
    Ok(concern.map(|concern| format!("data directory {}: {concern}", dir.display())))
}

fn concern(owner: u32, user: u32, mode: u32) -> Option<String> {
    if owner != user {
        Some(format!(
            "it belongs to user {owner}, who can change what this server, user {user}, runs; \
             chown it, or use another"
        ))
    } else if mode & 0o022 != 0 {
        Some(format!(
            "others may write to it (mode {mode:04o}), and so change what runs; chmod 700 it"
        ))
    } else if mode & 0o055 != 0 {
        Some(format!(
            "others may look into it (mode {mode:04o}), and the log holds commands with their \
             environments; chmod 700 it"
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_made_is_private_and_what_others_reach_is_warned_of() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        assert_eq!(prepare(&dir).unwrap(), None);
        for made in [&dir, &root.path().join("a")] {
            assert_eq!(fs::metadata(made).unwrap().mode() & 0o777, 0o700, "{}", made.display());
        }
        for (mode, part) in [(0o755, "look into it (mode 0755)"), (0o770, "write to it")] {
            fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
            let warning = prepare(&dir).unwrap().unwrap();
            assert!(warning.contains(part) && warning.contains("a/b"), "{warning}");
        }
    }

    #[test]
    fn a_directory_of_somebody_else_is_warned_of() {
        assert!(concern(1000, 0, 0o700).unwrap().contains("user 1000"));
        assert_eq!(concern(1000, 1000, 0o700), None);
    }
}
