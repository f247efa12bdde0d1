//! What memory this process has to itself, as the kernel tells.

use std::fs;

use crate::BenchError;

/// Memory of this process. The mapped log is memory of its files: it is not in `anonymous_bytes`, and the
/// kernel may take it back at any time after a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// Pages that belong to no file: heap, tables, stacks.
    pub anonymous_bytes: u64,
    /// Written pages that no other process maps. Pages of the mapped log that are not synced count too.
    pub private_dirty_bytes: u64,
    /// All pages that are in memory, the mapped log included.
    pub resident_bytes: u64,
}

impl Memory {
    pub(super) fn now() -> Result<Self, BenchError> {
        let text = fs::read_to_string("/proc/self/smaps_rollup")?;
        Ok(Self {
            anonymous_bytes: line(&text, "Anonymous:")?,
            private_dirty_bytes: line(&text, "Private_Dirty:")?,
            resident_bytes: line(&text, "Rss:")?,
        })
    }
}

/// As [`Memory::anonymous_bytes`], without a walk through all pages, so that it can be asked often.
pub(super) fn anonymous_bytes() -> Result<u64, BenchError> {
    line(&fs::read_to_string("/proc/self/status")?, "RssAnon:")
}

/// The value of a line like `Rss:  12 kB`, in bytes.
fn line(text: &str, name: &str) -> Result<u64, BenchError> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    let number = rest.and_then(|rest| rest.split_whitespace().next());
    let number = number.ok_or_else(|| format!("the kernel does not tell {name} of a process"))?;
    Ok(number.parse::<u64>()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_in_bytes() {
        let text = "00-ff ---p 00000000 00:00 0 [rollup]\nRss:   12 kB\nAnonymous:\t3 kB\n";
        assert_eq!(line(text, "Rss:").unwrap(), 12 * 1024);
        assert_eq!(line(text, "Anonymous:").unwrap(), 3 * 1024);
        assert!(line(text, "Private_Dirty:").is_err());
    }

    #[test]
    fn what_was_touched_is_counted() {
        let before = Memory::now().unwrap().anonymous_bytes;
        let held = std::hint::black_box(vec![1_u8; 8 << 20]);
        assert!(Memory::now().unwrap().anonymous_bytes >= before + (7 << 20));
        assert!(anonymous_bytes().unwrap() >= 7 << 20);
        drop(held);
    }
}
