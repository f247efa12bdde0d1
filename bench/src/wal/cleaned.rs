//! Paced appends to a log that is kept short: what is still needed of its oldest segment is appended
//! again, a piece after each commit, and then the segment is given back.

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use tickwheel_wal::{Durability, Log, Lsn};

use super::{
    Paced, Plan, RECORD_BYTES, ROUND,
    open_log::{OpenLog, Waits},
    paced::run,
    payload,
};
use crate::{BenchError, random::Random};

/// A log with more segments than this is cleaned...
const SEGMENTS_MIN: u64 = 4;
/// ... if it is longer than that many times what is live.
const TOTAL_PER_LIVE: u64 = 3;
/// Records that are looked at for each one that is appended.
const LOOKS_PER_RECORD: u32 = 2;
/// Records between two commits, and so between two pieces of cleaning. Fewer than elsewhere: a piece
/// delays what is due meanwhile.
const GROUP: u32 = ROUND / 10;

/// Whether the log is cleaned in the measured part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleaning {
    /// It only grows.
    Off,
    /// Its length is bounded.
    On,
}

/// A plan that was carried out beside cleaning.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Cleaned {
    /// The appends of the plan.
    pub paced: Paced,
    /// Records that were appended again meanwhile.
    pub rewritten: u64,
    /// Segments that were given back meanwhile.
    pub released: u64,
}

impl Cleaned {
    /// Carries out `plan` on a log in `parent` that has just reached the length at which it is
    /// cleaned. Each record takes the place of one of `live_records` others, drawn at random.
    ///
    /// # Errors
    /// The log cannot be opened, or refused a record or a release.
    pub fn run(
        parent: &Path,
        segment_bytes: u64,
        interval: Duration,
        plan: Plan,
        live_records: usize,
        cleaning: Cleaning,
    ) -> Result<Self, BenchError> {
        let mut open = OpenLog::new(parent, segment_bytes, Durability::Interval(interval))?;
        let mut state = State::new(live_records)?;
        while !state.is_long(&open.log) {
            for _ in 0..GROUP {
                state.append(&mut open)?;
            }
            open.log.commit();
        }
        open.settle()?;
        open.wait_until_ready()?;
        open.waits = Waits::default();
        let head = open.log.head();
        let mut in_group = 0;
        let mut paced = run(plan, || {
            if in_group == GROUP {
                in_group = 0;
                open.log.commit();
                if cleaning == Cleaning::On {
                    state.clean(&mut open)?;
                }
            }
            in_group += 1;
            state.draw();
            // From here on: a commit and a piece of cleaning count as a delay, not as a slow append.
            let began = Instant::now();
            state.append_drawn(&mut open)?;
            Ok(began)
        })?;
        open.settle()?;
        state.check(&open.log)?;
        paced.waits = open.waits.count;
        paced.waited = open.waits.time;
        let released = (open.log.releasing().0 - head.0) / segment_bytes;
        Ok(Self { paced, rewritten: state.rewritten, released })
    }
}

/// What the log's owner knows: where each live record is.
struct State {
    places: Vec<Lsn>,
    random: Random,
    /// Begins with the number of the place that it stands for.
    payload: Vec<u8>,
    drawn: usize,
    /// Where the walk through the oldest segment is, and where that ends.
    walk: Option<(Lsn, Lsn)>,
    rewritten: u64,
}

impl State {
    fn new(live_records: usize) -> Result<Self, BenchError> {
        let (places, payload) = (vec![Lsn(0); live_records], payload()?);
        let random = Random::new();
        Ok(Self { places, random, payload, drawn: 0, walk: None, rewritten: 0 })
    }

    fn is_long(&self, log: &Log) -> bool {
        let live_bytes = self.places.len() as u64 * RECORD_BYTES;
        let bound = (SEGMENTS_MIN * log.segment_bytes()).max(TOTAL_PER_LIVE * live_bytes);
        log.appended().0 - log.head().0 > bound
    }

    fn draw(&mut self) {
        self.drawn = self.random.below(self.places.len() as u64) as usize;
        self.payload[..8].copy_from_slice(&(self.drawn as u64).to_le_bytes());
    }

    #[inline]
    fn append_drawn(&mut self, open: &mut OpenLog) -> Result<(), BenchError> {
        self.places[self.drawn] = open.put(black_box(&self.payload))?.lsn;
        Ok(())
    }

    fn append(&mut self, open: &mut OpenLog) -> Result<(), BenchError> {
        self.draw();
        self.append_drawn(open)
    }

    /// Does a piece of the work on the oldest segment, if there is any.
    fn clean(&mut self, open: &mut OpenLog) -> Result<(), BenchError> {
        let head = open.log.head();
        let (mut at, end) = match self.walk {
            Some(walk) => walk,
            // One release after the other.
            None if !self.is_long(&open.log) || open.log.releasing() > head => return Ok(()),
            None => (head, Lsn(head.0 + open.log.segment_bytes())),
        };
        self.walk = Some((at, end));
        if !open.log.warm(Lsn(end.0 - 1))? {
            return Ok(());
        }
        for _ in 0..GROUP * LOOKS_PER_RECORD {
            let found = open.log.next_record(at)?.filter(|found| found.lsn < end);
            let Some(found) = found else {
                open.log.release(end)?;
                self.walk = None;
                return Ok(());
            };
            let place = place_of(&found.record)?;
            if self.places[place] == found.lsn {
                self.places[place] = open.put(&found.record)?.lsn;
                self.rewritten += 1;
            }
            at = found.end;
        }
        self.walk = Some((at, end));
        Ok(())
    }

    /// Each live record is where it should be.
    fn check(&self, log: &Log) -> Result<(), BenchError> {
        for (place, lsn) in self.places.iter().enumerate().filter(|(_, lsn)| lsn.0 > 0) {
            assert_eq!(place_of(&log.read(*lsn)?)?, place, "a live record was lost");
        }
        Ok(())
    }
}

fn place_of(payload: &[u8]) -> Result<usize, BenchError> {
    let bytes = payload.first_chunk().ok_or("a record is too short")?;
    Ok(usize::try_from(u64::from_le_bytes(*bytes))?)
}
