//! Writes the log that is kept for each format version in `tests/golden`, into the directory that
//! is named. To be run once, when a new version is made. With a second word, `stale`, the log is one
//! that lies in segments that were used before.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs};

use tickwheel_wal::{AppendError, Durability, Log, LogOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let target = env::args().nth(1).map(PathBuf::from).ok_or("name the directory to write to")?;
    let work = tempfile::tempdir()?;
    // A clean end, a kill, and records of many sizes over several segments.
    let mut log = open(work.path())?;
    if env::args().nth(2).is_some_and(|way| way == "stale") {
        turn_over(&mut log)?;
    }
    for number in 0..40_usize {
        append(&mut log, &payload(number))?;
        log.commit();
    }
    log.close()?;
    let mut log = open(work.path())?;
    append(&mut log, b"after a clean end")?;
    log.commit();
    wait(&log, |log| log.durable() == log.appended());
    drop(log);
    let mut log = open(work.path())?;
    append(&mut log, b"after a kill")?;
    log.close()?;
    fs::create_dir_all(&target)?;
    for entry in fs::read_dir(work.path())? {
        let path = entry?.path();
        let is_segment = path.extension().is_some_and(|extension| extension == "seg");
        let bytes = fs::read(&path)?;
        // Zeros at the end are left out; a file that is all zeros was only prepared.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if let (true, true, Some(name)) = (is_segment, used > 0, path.file_name()) {
            fs::write(target.join(name), &bytes[..used])?;
        }
    }
    Ok(())
}

/// Fills segments and gives them back, until the next ones are those.
fn turn_over(log: &mut Log) -> Result<(), Box<dyn Error>> {
    let segment_bytes = log.segment_bytes();
    for index in 1..12 {
        while log.appended().0 < index * segment_bytes {
            append(log, &[0x5a; 3000])?;
            log.commit();
        }
        log.release(log.appended())?;
        let head = log.releasing();
        while log.head() < head {
            log.commit();
            std::thread::yield_now();
        }
        wait(log, |log| log.shortage().is_none());
    }
    // The segment in use holds some of them, too. From the next one on there are none.
    while log.appended().0 < 12 * segment_bytes {
        append(log, &[0x5a; 3000])?;
        log.commit();
    }
    log.release(log.appended())?;
    Ok(())
}

/// The payload of a record by its number: from nothing to some thousand bytes.
fn payload(number: usize) -> Vec<u8> {
    let len = number * number * 3;
    (0..len).map(|at| (number * 31 + at * 7) as u8).collect()
}

fn open(dir: &Path) -> Result<Log, Box<dyn Error>> {
    let options =
        LogOptions::new(dir).segment_bytes(64 << 10).shard(3).durability(Durability::Sync);
    Ok(options.open(Arc::new(|| {}), &mut |_| Ok(()))?)
}

fn append(log: &mut Log, payload: &[u8]) -> Result<(), Box<dyn Error>> {
    loop {
        match log.append(&[payload]) {
            Ok(_) => return Ok(()),
            Err(AppendError::SegmentNotReady) => wait(log, |log| log.stats().ready_segments > 0),
            Err(error) => return Err(error.into()),
        }
    }
}

fn wait(log: &Log, is_met: impl Fn(&Log) -> bool) {
    while !is_met(log) {
        std::thread::yield_now();
    }
}
