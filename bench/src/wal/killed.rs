//! What a killed process leaves of what it had published: one process writes a log and tells another,
//! which kills it and counts.

use std::{
    io::{Read, Write},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tickwheel_wal::{Durability, LogOptions};

use super::{payload, staged::Way};
use crate::BenchError;

/// Records of one commit.
pub const GROUP: u64 = 10;
/// Time from one commit to the next.
const PAUSE: Duration = Duration::from_micros(200);
const SEGMENT_BYTES: u64 = 64 << 20;

/// Commits groups of [`GROUP`] records to a log in `dir`, `commits` of them, and writes the number of
/// each to `told` when the log has published it. Then the process may be killed.
///
/// # Errors
/// The log cannot be opened or refused a record, or nobody listens.
pub fn publish(
    way: Way,
    dir: &Path,
    durability: Durability,
    commits: u64,
    told: &mut impl Write,
) -> Result<(), BenchError> {
    let options = LogOptions::new(dir)
        .segment_bytes(SEGMENT_BYTES)
        .durability(durability)
        .staged(way == Way::Staged);
    let mut log = options.open(Arc::new(|| {}), &mut |_| Ok(()))?;
    let payload = payload()?;
    for number in 1..=commits {
        for _ in 0..GROUP {
            log.append(&[&payload])?;
        }
        log.commit();
        told.write_all(&number.to_le_bytes())?;
        told.flush()?;
        let published = Instant::now();
        while published.elapsed() < PAUSE {
            std::hint::spin_loop();
        }
    }
    Ok(())
}

/// The highest number that [`publish`] told, or `enough` as soon as it told that. It reads on to the end
/// when called again.
///
/// # Errors
/// The other side cannot be read.
pub fn listen(told: &mut impl Read, enough: u64) -> Result<u64, BenchError> {
    let mut number = [0; 8];
    let mut highest = 0;
    while highest < enough {
        match told.read_exact(&mut number) {
            Ok(()) => highest = u64::from_le_bytes(number),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(highest)
}

/// Records that an opening of the log in `dir` finds.
///
/// # Errors
/// It does not open.
pub fn survivors(dir: &Path) -> Result<u64, BenchError> {
    let options = LogOptions::new(dir).segment_bytes(SEGMENT_BYTES);
    let log = options.open(Arc::new(|| {}), &mut |_| Ok(()))?;
    Ok(log.recovery().records)
}
