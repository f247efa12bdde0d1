//! What the machine is, and what this process used of it. Read from `/proc`; what cannot be read
//! is `unknown` or zero, since a report without it is better than none.

use std::{fs, io, path::Path, thread};

use serde::{Deserialize, Serialize};

use crate::limits::Limits;

/// The machine of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Version of this program.
    pub version: String,
    /// `release` or `debug`: whether this program was built to be fast.
    pub build: String,
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
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
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

/// Memory that this process has now, in bytes.
pub(crate) fn memory_bytes() -> u64 {
    kilobytes(&fs::read_to_string("/proc/self/status").unwrap_or_default(), "VmRSS")
}

/// Processor time of the whole machine since its start, in ticks; see proc(5).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTimes {
    all: u64,
    idle: u64,
    steal: u64,
}

/// Shares of the machine's processor time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct CpuShares {
    /// Given to other machines on the host.
    pub(crate) steal: f64,
    /// Used by other processes.
    pub(crate) others: f64,
}

impl CpuTimes {
    /// What `/proc/stat` shows now; zero where it cannot be read.
    pub(crate) fn read() -> Self {
        Self::parse(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    fn parse(stat: &str) -> Self {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
        // user nice system idle iowait irq softirq steal; guests are part of user.
        let ticks: Vec<u64> =
            line.split_whitespace().take(8).filter_map(|word| word.parse().ok()).collect();
        let at = |index: usize| ticks.get(index).copied().unwrap_or(0);
        Self { all: ticks.iter().sum(), idle: at(3) + at(4), steal: at(7) }
    }

    /// The shares since `before`, of which this process used `own_ns`.
    pub(crate) fn since(&self, before: &Self, own_ns: u64) -> CpuShares {
        let all = self.all.saturating_sub(before.all) as f64;
        if all == 0.0 {
            return CpuShares::default();
        }
        let steal = self.steal.saturating_sub(before.steal) as f64;
        let idle = self.idle.saturating_sub(before.idle) as f64;
        let own = own_ns as f64 / 1e9 * TICKS_PER_S;
        let others = (all - steal - idle - own).max(0.0);
        CpuShares { steal: steal / all, others: others / all }
    }
}

/// Ticks of `/proc/stat`: `USER_HZ`, which is 100 on every machine that Linux runs on today.
const TICKS_PER_S: f64 = 100.0;

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
    fn shares_of_the_processor_add_up() {
        let before = CpuTimes::parse("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 1\n");
        let after = CpuTimes::parse("cpu  200 0 150 840 0 0 0 10 0 0\n");
        let shares = after.since(&before, 1_000_000_000);
        assert!((shares.steal - 0.05).abs() < 1e-9, "{shares:?}");
        assert!((shares.others - 0.25).abs() < 1e-9, "{shares:?}");
        assert_eq!(after.since(&after, 0), CpuShares::default());
        assert!(CpuTimes::read().all > 0);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "VmHWMx: 5 kB\nVmHWM:\t  12 kB\n";
        assert_eq!(kilobytes(text, "VmHWM"), 12 * 1024);
        assert_eq!(kilobytes(text, "VmRSS"), 0);
        assert!(peak_memory_bytes() > 0);
    }
}
