//! What is known of jobs whose progress somebody wants to see: how far their workers say they are, and
//! how they ended. It is kept in memory only and bounded: the oldest are forgotten first. Whether a job
//! waits or is under way the engine knows.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;

use super::limits;

/// All tracked jobs, by jid.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    /// Some job was ever tracked: until then a look takes no lock.
    is_used: AtomicBool,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    tracks: HashMap<Box<str>, Track>,
    /// The jids in the order in which they came.
    order: VecDeque<Box<str>>,
    len_bytes: usize,
}

/// What is known of one job beside its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Track {
    pub(super) percent: Option<u8>,
    pub(super) desc: Option<Box<str>>,
    pub(super) updated_at: Option<Timestamp>,
    /// How it ended, if it has.
    pub(super) end: Option<End>,
}

/// How a tracked job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Success,
    Dead,
}

/// Memory that a track takes beside its texts, about.
const TRACK_BYTES: usize = 256;

impl Tracks {
    /// The job is to be tracked from now on.
    pub(super) fn begin(&self, jid: &str, now: Timestamp) {
        // A client that sends a job again changes nothing; a job of an ended one's jid begins anew.
        if self.get(jid).is_some_and(|track| track.end.is_none()) {
            return;
        }
        self.put(jid, Track { updated_at: Some(now), ..Track::default() });
    }

    /// Whether the job is tracked.
    pub(super) fn has(&self, jid: &str) -> bool {
        self.is_used.load(Ordering::Acquire) && self.lock().tracks.contains_key(jid)
    }

    /// What is known of the job.
    pub(super) fn get(&self, jid: &str) -> Option<Track> {
        if !self.is_used.load(Ordering::Acquire) {
            return None;
        }
        self.lock().tracks.get(jid).cloned()
    }

    /// Its worker says how far it is; what it does not say stays.
    pub(super) fn progress(
        &self,
        jid: &str,
        percent: Option<u8>,
        desc: Option<&str>,
        now: Timestamp,
    ) {
        let old = self.get(jid).unwrap_or_default();
        self.put(
            jid,
            Track {
                percent: percent.or(old.percent),
                desc: desc.map(Box::from).or(old.desc),
                updated_at: Some(now),
                end: None,
            },
        );
    }

    /// The job has ended; nothing follows if it is not tracked.
    pub(super) fn ended(&self, jid: &str, end: End, now: Timestamp) {
        if !self.is_used.load(Ordering::Acquire) {
            return;
        }
        if let Some(track) = self.lock().tracks.get_mut(jid) {
            (track.end, track.updated_at) = (Some(end), Some(now));
        }
    }

    /// Forgets all.
    pub(super) fn forget(&self) {
        *self.lock() = Table::default();
    }

    fn put(&self, jid: &str, track: Track) {
        self.is_used.store(true, Ordering::Release);
        let mut table = self.lock();
        let bytes = |jid: &str, track: &Track| {
            TRACK_BYTES + 2 * jid.len() + track.desc.as_deref().map_or(0, str::len)
        };
        table.len_bytes += bytes(jid, &track);
        match table.tracks.insert(jid.into(), track) {
            Some(old) => table.len_bytes -= bytes(jid, &old),
            None => table.order.push_back(jid.into()),
        }
        while table.len_bytes > limits::TRACK_BYTES_MAX {
            let Some(oldest) = table.order.pop_front() else { break };
            if let Some(track) = table.tracks.remove(&oldest) {
                table.len_bytes -= bytes(&oldest, &track);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // A panic in between leaves at worst a wrong sum, which forgets tracks early.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays_and_the_end_is_known() {
        let (tracks, at) = (Tracks::default(), Timestamp::UNIX_EPOCH);
        assert!(!tracks.has("job-1"));
        tracks.ended("job-1", End::Dead, at);
        assert_eq!(tracks.get("job-1"), None);
        tracks.begin("job-1", at);
        tracks.progress("job-1", Some(40), Some("rendering"), at);
        tracks.progress("job-1", Some(50), None, at);
        tracks.ended("job-1", End::Success, at);
        let track = tracks.get("job-1").unwrap();
        assert_eq!((track.percent, track.desc.as_deref()), (Some(50), Some("rendering")));
        assert_eq!(track.end, Some(End::Success));
        tracks.begin("job-1", at);
        assert_eq!(tracks.get("job-1").unwrap().end, None);
    }

    #[test]
    fn the_oldest_are_forgotten_when_there_are_too_many() {
        let (tracks, at) = (Tracks::default(), Timestamp::UNIX_EPOCH);
        let long = "x".repeat(4000);
        for number in 0..20_000 {
            tracks.progress(&format!("job-{number}"), None, Some(&long), at);
        }
        let (count, len_bytes) = {
            let table = tracks.lock();
            assert_eq!(table.tracks.len(), table.order.len());
            (table.tracks.len(), table.len_bytes)
        };
        assert!(len_bytes <= limits::TRACK_BYTES_MAX && count * 4000 > limits::TRACK_BYTES_MAX / 2);
        assert!(!tracks.has("job-0") && tracks.has("job-19999"));
    }
}
