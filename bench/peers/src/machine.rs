//! The lines that say on what machine and when figures were taken.

use std::{fs, path::Path, thread};

/// Processor, kernel and load of this machine, and the file system of `dir`.
pub(crate) fn describe(dir: &Path) -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown processor");
    let count = thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let kernel = kernel.trim();
    let system = file_system(dir).unwrap_or_else(|| "unknown file system".to_owned());
    format!("{model}, {count} processors; Linux {kernel}; {system}; load {load} at the start")
}

/// The type of the file system that `dir` lies on: the one with the longest mount point above it.
fn file_system(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let above = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        let kind = fields.next()?;
        dir.starts_with(point).then_some((point.len(), kind))
    });
    // Of two at one point the later covers the earlier, and `max_by_key` takes the later.
    above.max_by_key(|(len, _)| *len).map(|(_, kind)| kind.to_owned())
}
