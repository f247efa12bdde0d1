//! What the machine is, and what this process used of it. Read from `/proc`; what cannot be read
//! is `unknown` or zero, since a report without it is better than none.

use std::{fs, io, path::Path, thread};

use serde::Serialize;

use crate::limits::Limits;

/// The machine of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// Release of the kernel.
    pub kernel: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// File system of the data directory, and what it is on: `ext4 on /dev/vda`.
    pub filesystem: String,
    /// What it was measured to do beside the run.
    pub limits: Limits,
}

impl Machine {
    /// Describes this machine, for data stored in `data_dir`.
    #[must_use]
    pub fn describe(data_dir: &Path, limits: Limits) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let known = |text: Option<&str>| {
            text.filter(|text| !text.is_empty()).unwrap_or("unknown").to_owned()
        };
        let data_dir = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
        Self {
            cpu: known(field(&cpuinfo, "model name")),
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: known(Some(release.trim())),
            memory_bytes: kilobytes(&meminfo, "MemTotal"),
            filesystem: known(filesystem(&mounts, &data_dir).as_deref()),
            limits,
        }
    }
}

/// Starts the peak of [`peak_memory_bytes`] anew.
pub(crate) fn reset_peak_memory() -> io::Result<()> {
    fs::write("/proc/self/clear_refs", "5")
}

/// Most memory that this process had at a time, the mapped log included, in bytes.
pub(crate) fn peak_memory_bytes() -> u64 {
    kilobytes(&fs::read_to_string("/proc/self/status").unwrap_or_default(), "VmHWM")
}

/// The value of `name: value` in a file of such lines.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

fn kilobytes(text: &str, name: &str) -> u64 {
    let number = field(text, name).and_then(|value| value.split_whitespace().next());
    number.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Type and source of the file system that `path`, an absolute one, lies on.
fn filesystem(mountinfo: &str, path: &Path) -> Option<String> {
    let mut best: Option<(usize, String)> = None;
    for line in mountinfo.lines() {
        // `id parent major:minor root mount-point options … - type source …`, see proc(5).
        let (front, back) = line.split_once(" - ")?;
        let point = front.split(' ').nth(4)?.replace("\\040", " ");
        let mut back = back.split(' ');
        let (kind, source) = (back.next()?, back.next()?);
        let depth = Path::new(&point).components().count();
        // Of two mounts on one point the later one hides the earlier.
        if path.starts_with(&point) && best.as_ref().is_none_or(|(other, _)| *other <= depth) {
            best = Some((depth, format!("{kind} on {source}")));
        }
    }
    best.map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:5 / /dev/shm rw shared:2 - tmpfs shm rw
31 22 0:6 / /mnt/my\\040disk rw - xfs /dev/vdb rw
32 31 0:7 / /mnt/my\\040disk rw - btrfs /dev/vdc rw
";

    #[test]
    fn the_deepest_and_latest_mount_counts() {
        let on = |path: &str| filesystem(MOUNTS, Path::new(path)).unwrap();
        assert_eq!(on("/home/x"), "ext4 on /dev/vda");
        assert_eq!(on("/dev/shm/a"), "tmpfs on shm");
        assert_eq!(on("/dev/shmx"), "ext4 on /dev/vda");
        assert_eq!(on("/mnt/my disk/a"), "btrfs on /dev/vdc");
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "VmHWMx: 5 kB\nVmHWM:\t  12 kB\n";
        assert_eq!(kilobytes(text, "VmHWM"), 12 * 1024);
        assert_eq!(kilobytes(text, "VmRSS"), 0);
        assert!(peak_memory_bytes() > 0);
    }
}
