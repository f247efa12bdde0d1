//! A day of jobs in virtual time, on a log in simulated memory: what cleaning costs, and how long
//! the log gets.

use std::sync::Arc;

use tickwheel_core::{
    Answer, CallerId, Config, Due, Input, MonoTime, NewJob, Now, Outcome, Outputs, Scheduler,
    ShardId, WallTime,
};
use tickwheel_wal::{Durability, LogOptions, simulation::SimulatedDisk};

use super::*;

const SEGMENT_BYTES: u64 = 256 << 10;
/// Seconds between two syncs: a release takes so long to become durable.
const SYNC_S: u64 = 10;
const SECOND_NS: u64 = 1_000_000_000;
const DAY_S: u64 = 86_400;
/// 2026-01-01T00:00:00Z.
const START_NS: u64 = 1_767_225_600 * SECOND_NS;

/// SplitMix64, by Sebastiano Vigna (public domain).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }
}

struct Day {
    core: Scheduler,
    journal: Journal,
    compaction: Compaction,
    out: Outputs,
    random: Random,
    now: Now,
    /// Most that the log was longer than three times what is live or four segments, in bytes.
    over_max_bytes: u64,
    added: u64,
}

fn at(seconds: u64) -> Now {
    let mono_ns = (1000 + seconds) * SECOND_NS;
    Now { mono: MonoTime(mono_ns), wall: WallTime(START_NS + seconds * SECOND_NS) }
}

impl Day {
    fn new(seed: u64) -> Self {
        let disk = SimulatedDisk::new(seed);
        let options = LogOptions::new("a day")
            .segment_bytes(SEGMENT_BYTES)
            .ready_segments(limits::READY_SEGMENTS)
            .durability(Durability::Os);
        let log = options.open_simulated(&disk, Arc::new(|| {}), &mut |_| Ok(())).unwrap();
        let config = Config {
            low_water_bytes: SEGMENT_BYTES / 4,
            low_water_full_bytes: SEGMENT_BYTES + SEGMENT_BYTES / 4,
            running_max: 64,
            ..Config::new(ShardId(0))
        };
        let appended = log.appended();
        Self {
            core: Scheduler::new(config, at(0)),
            journal: Journal { log },
            compaction: Compaction::new(at(0), appended),
            out: Outputs::default(),
            random: Random(seed),
            now: at(0),
            over_max_bytes: 0,
            added: 0,
        }
    }

    /// One job of the mix: most are due soon, some in hours, a few in a year.
    fn submit(&mut self) {
        let delay_s = match self.random.below(1000) {
            0..900 => self.random.below(600),
            900..995 => self.random.below(6 * 3600),
            _ => 300 * DAY_S + self.random.below(60 * DAY_S),
        };
        let mut job = NewJob::new("mix");
        job.payload = vec![7; 20 + self.random.below(400) as usize].into();
        job.due = match self.random.below(2) {
            0 => Due::After(delay_s * SECOND_NS),
            _ => Due::At(WallTime(self.now.wall.0 + delay_s * SECOND_NS)),
        };
        let input = Input::Submit { caller: CallerId(0), job: &job };
        self.core.step(self.now, input, &mut self.journal, &mut self.out);
        self.out.replies.clear();
        self.added += 1;
    }

    /// Runs what is due: one attempt in fifty fails, and one in a thousand for good.
    fn run_due(&mut self) {
        loop {
            let input = Input::Time { dispatch_max: 64 };
            self.core.step(self.now, input, &mut self.journal, &mut self.out);
            let dispatches = std::mem::take(&mut self.out.dispatches);
            self.out.lateness_ns.clear();
            if dispatches.is_empty() {
                return;
            }
            for dispatch in dispatches {
                let outcome = match self.random.below(1000) {
                    0 => Outcome::Permanent("for good"),
                    1..20 => Outcome::Retryable("not yet"),
                    _ => Outcome::Succeeded,
                };
                let input = Input::Complete { attempt: dispatch.attempt, outcome };
                self.core.step(self.now, input, &mut self.journal, &mut self.out);
            }
        }
    }

    /// One second: what comes in, what is due, and what a shard's passes do besides.
    fn second(&mut self, second: u64) {
        self.now = at(second);
        // Busy at noon, quiet at night.
        let from_noon_s = second.abs_diff(DAY_S / 2);
        let arrivals = 1 + (DAY_S / 2 - from_noon_s) * 16 / (DAY_S / 2);
        for _ in 0..self.random.below(2 * arrivals) {
            self.submit();
        }
        self.run_due();
        for _ in 0..4 {
            self.compaction.step(self.now, &mut self.core, &mut self.journal, None);
            while self.journal.log.prepare_step() {}
        }
        self.journal.log.commit();
        if second.is_multiple_of(SYNC_S) {
            self.journal.log.sync_step().unwrap();
        }
        self.note_length();
    }

    fn note_length(&mut self) {
        let log = &self.journal.log;
        let allowed = (limits::COMPACT_LIVE_FACTOR * self.core.live_bytes())
            .max(limits::COMPACT_SEGMENTS_MIN * SEGMENT_BYTES);
        let len_bytes = log.appended().0 - log.head().0;
        self.over_max_bytes = self.over_max_bytes.max(len_bytes.saturating_sub(allowed));
    }

    /// A pass of a millisecond at full load, with jobs of this size.
    fn busy_pass(&mut self, pass: u64, jobs: usize, payload_bytes: usize) {
        let now_ns = pass * 1_000_000;
        let Now { mono, wall } = at(0);
        self.now = Now { mono: MonoTime(mono.0 + now_ns), wall: WallTime(wall.0 + now_ns) };
        let job = NewJob { payload: vec![7; payload_bytes].into(), ..NewJob::new("busy") };
        for _ in 0..jobs {
            let input = Input::Submit { caller: CallerId(0), job: &job };
            self.core.step(self.now, input, &mut self.journal, &mut self.out);
            let Answer::Submitted(_) = self.out.replies.pop().unwrap().answer else {
                panic!("there is room for each job");
            };
        }
        self.run_due();
        self.compaction.step(self.now, &mut self.core, &mut self.journal, None);
        self.journal.log.commit();
        if pass.is_multiple_of(4) {
            self.journal.log.sync_step().unwrap();
        }
        while self.journal.log.prepare_step() {}
        self.note_length();
    }
}

/// Whatever a pass appends, cleaning keeps up with it.
#[test]
fn a_full_load_does_not_outrun_cleaning() {
    for (jobs, payload_bytes) in [(500, 20), (100, 1000), (4, 30_000)] {
        let mut day = Day::new(2);
        for pass in 1..1000 {
            day.busy_pass(pass, jobs, payload_bytes);
        }
        let over = day.over_max_bytes as f64 / SEGMENT_BYTES as f64;
        let CompactionCounts { segments, .. } = day.compaction.counts();
        println!(
            "{jobs} jobs of {payload_bytes} bytes a pass: {segments} segments, {over:.2} over"
        );
        assert!(segments > 50, "{segments}");
        // Beside the bound there is what is appended in eight passes: four until a release is
        // synced, and those before it.
        assert!(over <= 6.0, "{jobs} jobs of {payload_bytes} bytes a pass: {over}");
    }
}

/// Over a day of a mix of short and long delays, retries and failures, at most 1.5 bytes are written
/// for each byte that callers cause, and the log is never longer than three times what is live (or
/// four segments) and two segments.
#[test]
fn a_day_costs_half_a_byte_per_byte() {
    let mut day = Day::new(1);
    for second in 0..DAY_S {
        day.second(second);
    }
    let appended = day.journal.log.stats().appended_bytes;
    let CompactionCounts { segments, moved_bytes } = day.compaction.counts();
    let amplification = appended as f64 / (appended - moved_bytes) as f64;
    let over = day.over_max_bytes as f64 / SEGMENT_BYTES as f64;
    println!(
        "{} jobs, {} pending; {appended} bytes appended, {moved_bytes} of them again; \
         {segments} segments given back; amplification {amplification:.3}; \
         at most {over:.2} segments longer than allowed",
        day.added,
        day.core.counts().pending
    );
    assert!(day.added > 500_000 && segments > 100, "the day was too quiet");
    assert!(
        3 * day.core.live_bytes() > 16 * SEGMENT_BYTES,
        "the long delays should be what is left"
    );
    assert!(amplification <= 1.5, "{amplification}");
    assert!(over <= 2.0, "{over}");
}
