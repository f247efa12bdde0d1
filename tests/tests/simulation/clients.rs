//! What callers ask for, drawn from the seed.
//!
//! It must not know what becomes of it.

use tickwheel_core::{
    Backoff, Due, Expiry, JobId, JobOptions, Key, Missed, NewJob, Now, QueueLimits, Rate, Schedule,
    Timing, WallTime, cron::Cron,
};
use tickwheel_tests::random::Random;

use crate::{
    clock::{HOUR, MS, SECOND},
    model::CRON_RULES,
};

/// What a caller asks a shard.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Submit(Vec<NewJob<'static>>),
    Cancel(JobId),
    Put(Box<Schedule<'static>>),
    Remove(String),
    /// Pause a queue, or let it go on.
    Pause(&'static str, bool),
    /// Limit a queue, in the place of all limits that it had.
    Limit(&'static str, QueueLimits),
}

/// The queues of a world.
pub(crate) const QUEUES: [&str; 3] = ["default", "slow", "nightly"];

/// All keys of a world: few, so that they meet.
pub(crate) fn keys() -> impl Iterator<Item = Key> {
    (0..16).map(|number| Key([number; 16]))
}

/// Longest payload: with a schedule's head it fits the smallest record.
const PAYLOAD_BYTES_MAX: u64 = 3000;

/// All callers of a world.
pub(crate) struct Clients {
    /// Jobs drawn so far: each payload is another.
    drawn: u64,
    /// Names of schedules are few, so that they meet.
    names: u64,
    has_long_payloads: bool,
}

impl Clients {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self { drawn: 0, names: random.within(1..5), has_long_payloads: random.within(0..3) != 0 }
    }

    /// Some jobs as one batch.
    pub(crate) fn batch(&mut self, now: Now, random: &mut Random) -> Command {
        let count = if random.within(0..3) == 0 { random.within(2..24) } else { 1 };
        Command::Submit((0..count).map(|_| self.job(now, random)).collect())
    }

    fn job(&mut self, now: Now, random: &mut Random) -> NewJob<'static> {
        let due = match random.within(0..16) {
            0..=3 => Due::After(0),
            4..=6 => Due::After(random.within(0..20 * MS)),
            7..=9 => Due::After(random.within(0..20 * SECOND)),
            10 => Due::After(random.within(0..2 * HOUR)),
            11 => Due::After(random.within(0..40 * 24 * HOUR)),
            12 | 13 => Due::At(WallTime(now.wall.0 + random.within(0..20 * SECOND))),
            14 => Due::At(WallTime(now.wall.0 + random.within(0..2 * HOUR))),
            _ => Due::At(WallTime(now.wall.0 - random.within(0..HOUR))),
        };
        let key = match random.within(0..3) {
            0 => keys().nth(random.within(0..16) as usize),
            _ => None,
        };
        // What would never run is refused, and drawn as well.
        let expires = match random.within(0..8) {
            0 => Some(Expiry::After(random.within(1..60 * SECOND))),
            1 => Some(Expiry::At(WallTime(now.wall.0 + random.within(0..2 * HOUR)))),
            _ => None,
        };
        let options = expires.map(|expires| JobOptions { expires: Some(expires) }.into());
        NewJob { key, options, ..self.template(random, due) }
    }

    /// A queue is paused, or goes on.
    pub(crate) fn pause(random: &mut Random) -> Command {
        let queue = QUEUES[random.within(0..QUEUES.len() as u64) as usize];
        Command::Pause(queue, random.within(0..2) == 0)
    }

    /// Limits of a queue, for all shards.
    pub(crate) fn limits(random: &mut Random) -> (&'static str, QueueLimits) {
        let queue = QUEUES[random.within(0..QUEUES.len() as u64) as usize];
        let mut one_of = |choices: &[u32]| {
            let drawn = random.within(0..2 * choices.len() as u64) as usize;
            choices.get(drawn).copied()
        };
        let rate = one_of(&[1, 20, 1000]).map(|jobs| Rate {
            jobs,
            period_ms: 10_000,
            burst: one_of(&[1, 3, 7]).unwrap_or(2),
        });
        let concurrency = one_of(&[1, 1, 2, 5, 1]);
        let length = one_of(&[3, 40]);
        let weight = one_of(&[3]).unwrap_or(1) as u8;
        (queue, QueueLimits { concurrency, rate, weight, length })
    }

    fn template(&mut self, random: &mut Random, due: Due) -> NewJob<'static> {
        self.drawn += 1;
        let bound = if self.has_long_payloads { PAYLOAD_BYTES_MAX } else { 100 };
        let mut own = Random::new(self.drawn);
        let mut payload = self.drawn.to_le_bytes().to_vec();
        let len_bytes = 8 + random.within(0..bound) as usize;
        while payload.len() < len_bytes {
            payload.extend(own.draw().to_le_bytes());
        }
        NewJob {
            payload: payload.into(),
            due,
            queue: QUEUES[random.within(0..QUEUES.len() as u64) as usize].into(),
            priority: random.within(0..10) as u8,
            attempts_max: random.within(1..5) as u16,
            backoff: Backoff {
                base_ms: random.within(0..3000) as u32,
                max_ms: random.within(0..60_000) as u32,
            },
            timeout_ms: random.within(100..60_000) as u32,
            ..NewJob::new(["mail", "report", "sweep"][random.within(0..3) as usize])
        }
    }

    /// A schedule, new or another rule of one that is there.
    pub(crate) fn schedule(&mut self, now: Now, random: &mut Random) -> Command {
        let timing = match random.within(0..8) {
            0..=3 => {
                let (source, _) = CRON_RULES[random.within(0..CRON_RULES.len() as u64) as usize];
                Timing::Cron(Cron::parse(source).expect("the rules of a simulation are right"))
            }
            // Few different ones, so that a rule is replaced and its timing stays.
            4..=6 => Timing::Every([7, 30, 300][random.within(0..3) as usize] * SECOND),
            _ => Timing::Once(match random.within(0..3) {
                0 => None,
                1 => Some(WallTime(now.wall.0 - random.within(0..HOUR))),
                _ => Some(WallTime(now.wall.0 + random.within(0..HOUR))),
            }),
        };
        let missed = match random.within(0..3) {
            0 => Missed::Skip,
            1 => Missed::One,
            _ => Missed::All {
                limit: random.within(1..6) as u32,
                window_ns: random.within(0..2 * HOUR),
            },
        };
        let name = self.name(random);
        let job = self.template(random, Due::After(0));
        let grace_ms = random.within(0..60_000) as u32;
        Command::Put(Box::new(Schedule { missed, grace_ms, ..Schedule::new(name, timing, job) }))
    }

    pub(crate) fn removal(&self, random: &mut Random) -> Command {
        Command::Remove(self.name(random))
    }

    fn name(&self, random: &mut Random) -> String {
        format!("rule-{}", random.within(0..self.names))
    }
}
