//! Names of entries. State that survives a restart hangs on the name, so editing one line must not
//! rename another: a name is made of what the entry says, not of where it stands.

use std::collections::HashMap;

use super::NAME_PREFIX;

/// How much of a file's name goes into its entries' names, which are bounded.
const FILE_NAME_BYTES_MAX: usize = 128;

/// Gives names, and numbers entries that say the same.
#[derive(Debug, Default)]
pub(super) struct Names {
    given: HashMap<String, usize>,
}

impl Names {
    /// `crontab:FILE:HASH-N`: the file's own name, a hash of time, user and command, and a number
    /// from 1 that tells equal entries apart.
    pub(super) fn give(&mut self, file_name: &str, parts: [&str; 3]) -> String {
        let file_name = &file_name[..file_name.floor_char_boundary(FILE_NAME_BYTES_MAX)];
        let stem = format!("{NAME_PREFIX}{file_name}:{:016x}", hash(parts));
        let count = self.given.entry(stem.clone()).or_default();
        *count += 1;
        format!("{stem}-{count}")
    }
}

/// FNV-1a with 64 bits, as its authors publish it: small, and the same in every version of this
/// program, which the standard library does not promise of its own. Each part is ended by a byte
/// that text cannot hold, so that parts cannot run into each other.
fn hash(parts: [&str; 3]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_depends_on_the_content_and_never_changes() {
        let mut names = Names::default();
        let first = names.give("php", ["9 * * * *", "root", "x"]);
        assert_eq!(first, "crontab:php:868ca1fd835bc013-1");
        assert_eq!(names.give("php", ["9 * * * *", "root", "x"]), "crontab:php:868ca1fd835bc013-2");
        assert_ne!(names.give("php", ["9 * * * *", "roo", "tx"]), first);
        assert_eq!(Names::default().give("php", ["9 * * * *", "root", "x"]), first);
    }
}
