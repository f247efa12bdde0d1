//! `tickwheel-wal`: the default options; a buffered log syncs every 50 ms and is told of new records
//! once in a thousand, as an engine tells it once in a batch.

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use tickwheel_wal::{AppendError, Durability, Log, LogOptions};

use super::{Class, Measure, Peer};
use crate::{
    PeerError,
    record::{PAYLOAD_BYTES, Tally},
};

const INTERVAL: Duration = Duration::from_millis(50);
/// Buffered records after which they are published.
const BATCH: u32 = 1000;
/// The longest wait for a segment or a sync: beyond it something is broken.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Tickwheel {
    log: Log,
    news: Arc<News>,
    unpublished: u32,
}

/// Wakes whoever waits for the log.
#[derive(Default)]
struct News {
    lock: Mutex<()>,
    changed: Condvar,
}

impl Peer for Tickwheel {
    fn open(dir: &Path, measure: Measure) -> Result<Self, PeerError> {
        let durability = match measure.class() {
            Class::Durable => Durability::Sync,
            Class::Buffered => Durability::Interval(INTERVAL),
        };
        let news = Arc::new(News::default());
        let told = Arc::clone(&news);
        let options = LogOptions::new(dir).durability(durability);
        let log = options.open(Arc::new(move || told.tell()), &mut |_| Ok(()))?;
        // Other stores make their files inside their opening.
        news.wait_until(|| log.shortage().is_none())?;
        Ok(Self { log, news, unpublished: 0 })
    }

    fn commit(&mut self, payloads: &[[u8; PAYLOAD_BYTES]]) -> Result<(), PeerError> {
        for payload in payloads {
            self.put(payload)?;
        }
        let end = self.log.appended();
        self.log.commit();
        self.news.wait_until(|| self.log.durable() >= end || self.log.failure().is_some())?;
        self.log.failure().map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn append(&mut self, payload: &[u8; PAYLOAD_BYTES]) -> Result<(), PeerError> {
        self.put(payload)?;
        self.unpublished += 1;
        if self.unpublished == BATCH {
            self.unpublished = 0;
            self.log.commit();
        }
        Ok(())
    }

    fn finish(self) -> Result<(), PeerError> {
        self.log.close()?;
        Ok(())
    }

    fn count(dir: &Path, tally: &mut Tally) -> Result<(), PeerError> {
        let replay = &mut |record: tickwheel_wal::Record<'_>| {
            tally.see(record.payload);
            Ok(())
        };
        LogOptions::new(dir).open(Arc::new(|| {}), replay)?.close()?;
        Ok(())
    }
}

impl Tickwheel {
    fn put(&mut self, payload: &[u8; PAYLOAD_BYTES]) -> Result<(), PeerError> {
        loop {
            match self.log.append(&[payload]) {
                Ok(_) => return Ok(()),
                Err(AppendError::SegmentNotReady) => {
                    let log = &self.log;
                    self.news.wait_until(|| log.available_bytes() >= 2 * PAYLOAD_BYTES as u64)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl News {
    fn tell(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// The log changes first and tells then, so a look under the lock misses nothing.
    fn wait_until(&self, done: impl Fn() -> bool) -> Result<(), PeerError> {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(guard, WAIT_MAX, |()| !done());
        let (_guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            return Err("the log did not move on within a minute".into());
        }
        Ok(())
    }
}
