//! Confirms that durability is equal: counts the system calls by which each store syncs.
//!
//! A store is run twice under `strace`, once with twice the commits. The difference is what the
//! commits cost; opening and closing drop out of it. Counting calls alone would miss files that are
//! opened with `O_SYNC`, so the trace is read line by line and writes to such files count too.

use std::{
    collections::HashSet,
    fs,
    io::ErrorKind,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    PeerError,
    options::{Options, Task},
    peer::{Measure, Name},
    rounds,
};

/// System calls that sync.
const SYNCS: [&str; 5] = ["fsync", "fdatasync", "msync", "sync_file_range", "io_uring_enter"];
/// System calls that write, which sync if the file was opened so.
const WRITES: [&str; 5] = ["write", "pwrite64", "writev", "pwritev", "pwritev2"];
/// Long enough for every count below, also when it is traced.
const TIME_MAX: Duration = Duration::from_secs(600);

/// Calls of each of [`SYNCS`], and writes to files opened with `O_SYNC` or `O_DSYNC`.
#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    syncs: [u64; SYNCS.len()],
    sync_writes: u64,
}

pub(crate) fn run(options: &Options) -> Result<(), PeerError> {
    match Command::new("strace").arg("-V").stdout(Stdio::null()).status() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("strace is not installed: the syncs cannot be counted");
            return Ok(());
        }
        other => other?,
    };
    println!(
        "Calls for the given number of further commits or appends, opening and closing left out"
    );
    println!(
        "| store | measure | commits or appends | {} | writes to O_SYNC files |",
        SYNCS.join(" | ")
    );
    println!("|---|---|---:|{}---:|", "---:|".repeat(SYNCS.len()));
    for measure in Measure::ALL {
        for name in Name::ALL {
            if options.only.is_some_and(|only| only != name) || name.obstacle(measure).is_some() {
                continue;
            }
            println!("{}", row(&options.dir, name, measure)?);
        }
    }
    Ok(())
}

/// Units of a run, and records in each.
fn size(measure: Measure) -> (u64, u64) {
    match measure {
        Measure::Lone => (200, 1),
        Measure::Groups => (20, 1000),
        Measure::Buffered => (5000, 1),
    }
}

fn row(dir: &Path, name: Name, measure: Measure) -> Result<String, PeerError> {
    let (units, records) = size(measure);
    let once = trace(dir, name, measure, units * records)?;
    let twice = trace(dir, name, measure, 2 * units * records)?;
    let difference = |twice: u64, once: u64| (i128::from(twice) - i128::from(once)).to_string();
    let syncs: Vec<String> =
        twice.syncs.iter().zip(once.syncs).map(|(twice, once)| difference(*twice, once)).collect();
    Ok(format!(
        "| {} | {} | {units} | {} | {} |",
        name.text(),
        measure.text(),
        syncs.join(" | "),
        difference(twice.sync_writes, once.sync_writes)
    ))
}

fn trace(parent: &Path, name: Name, measure: Measure, records: u64) -> Result<Calls, PeerError> {
    let dir = tempfile::Builder::new().prefix("peers-").tempdir_in(parent)?;
    let trace = tempfile::NamedTempFile::new_in(parent)?;
    let calls = [&SYNCS[..], &WRITES, &["openat"]].concat().join(",");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-y", "-s", "0", "-e", &format!("trace={calls}"), "-o"]);
    command.arg(trace.path()).arg(std::env::current_exe()?);
    let task = Task::Write { measure, records_max: records, time_max: TIME_MAX };
    let output = rounds::prepare(&mut command, name, dir.path(), task).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} {}: {}", name.text(), measure.text(), said.trim()).into());
    }
    Ok(read(&fs::read_to_string(trace.path())?))
}

/// Reads a trace: `PID NAME(ARGUMENTS…`, with the path behind each descriptor in angle brackets.
fn read(trace: &str) -> Calls {
    let mut calls = Calls::default();
    let mut synced_files = HashSet::new();
    for line in trace.lines() {
        // The second half of a call that another thread interrupted has no name at this place.
        let call = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        let Some((name, arguments)) = call.split_once('(') else {
            continue;
        };
        if let Some(index) = SYNCS.iter().position(|sync| *sync == name) {
            calls.syncs[index] += 1;
        } else if name == "openat" {
            let path = arguments.split('"').nth(1);
            let flags = arguments.rsplit('"').next().unwrap_or_default();
            if let Some(path) = path.filter(|_| flags.contains("SYNC")) {
                synced_files.insert(path);
            }
        } else if WRITES.contains(&name) {
            let path = arguments.split(['<', '>']).nth(1);
            calls.sync_writes += u64::from(path.is_some_and(|path| synced_files.contains(path)));
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_counted() {
        let calls = read(
            "12 openat(AT_FDCWD</tmp>, \"/tmp/a\", O_RDWR|O_SYNC|O_CLOEXEC) = 3</tmp/a>\n\
             12 openat(AT_FDCWD</tmp>, \"/tmp/b\", O_RDWR|O_CLOEXEC) = 4</tmp/b>\n\
             13 pwrite64(3</tmp/a>, \"\"..., 264, 0) = 264\n\
             13 pwrite64(4</tmp/b>, \"\"..., 264, 0) = 264\n\
             12 fdatasync(4</tmp/b> <unfinished ...>\n\
             13 fsync(3</tmp/a>) = 0\n\
             12 <... fdatasync resumed>) = 0\n",
        );
        assert_eq!(calls.syncs, [1, 1, 0, 0, 0]);
        assert_eq!(calls.sync_writes, 1);
    }
}
