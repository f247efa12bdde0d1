//! What callers ask for, drawn from the seed.
//!
//! It must not know what becomes of it.

use tickwheel_core::{
    Backoff, Change, Conflict, Due, Expiry, Filter, JobId, JobOptions, JobState, Key, Membership,
    Missed, NewBatch, NewJob, Now, Otherwise, Overlap, QueueLimits, Rate, Role, Schedule, States,
    Timing, Unique, Until, WallTime, When, cron::Cron,
};
use tickwheel_tests::random::Random;

use crate::{
    clock::{HOUR, MS, SECOND},
    model::{CRON_RULES, Model, needs},
};

/// What a caller asks a shard.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Submit(Vec<NewJob<'static>>),
    Cancel(JobId),
    Change(JobId, Change),
    ChangeMany(Filter, Change),
    Put(Box<Schedule<'static>>),
    Remove(String),
    /// Pause a queue, or let it go on.
    Pause(&'static str, bool),
    /// Make a batch.
    NewBatch(Box<NewBatch<'static>>),
    /// Commit a batch, or open it again.
    SetBatch(JobId, bool),
    /// Limit a queue, in the place of all limits that it had.
    Limit(&'static str, QueueLimits),
    /// Let the jobs of a queue age, or not.
    Age(&'static str, Option<u32>),
    /// Limit each group of a queue, or one of them.
    LimitGroups(&'static str, Option<&'static str>, Option<QueueLimits>),
}

/// The queues of a world.
pub(crate) const QUEUES: [&str; 3] = ["default", "slow", "nightly"];

/// Tags, and of how many jobs one has it.
const TAGS: [(usize, &str); 2] = [(2, "second"), (3, "third")];
/// The groups of each queue.
pub(crate) const GROUPS: [&str; 3] = ["acme", "bolt", "cove"];

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
        let options = expires
            .map(|expires| JobOptions { expires: Some(expires), ..JobOptions::default() }.into());
        NewJob { key, options, ..self.template(random, due) }
    }

    /// Lets some jobs have to do with others.
    pub(crate) fn relate(jobs: &mut [NewJob<'static>], model: &Model, random: &mut Random) {
        for job in jobs {
            let mut options = job.options.take().map(|it| (*it).clone()).unwrap_or_default();
            match random.within(0..10) {
                0 | 1 => {
                    let of = |choices: &[u8], random: &mut Random| {
                        choices[random.within(0..choices.len() as u64) as usize]
                    };
                    let span_ns = Some(random.within(1..300 * SECOND));
                    let (until, span_ns) = match of(&[0, 1, 2], random) {
                        0 => (Until::Start, span_ns.filter(|ns| ns % 2 == 0)),
                        1 => (Until::End, span_ns.filter(|ns| ns % 2 == 0)),
                        _ => (Until::Time, span_ns),
                    };
                    let conflict = match of(&[0, 1, 2], random) {
                        0 => Conflict::Reject,
                        1 => Conflict::Replace,
                        _ => Conflict::Existing,
                    };
                    let key = Key([of(&[1, 2, 3, 4], random); 16]);
                    options.unique = Some(Unique { key, until, span_ns, conflict });
                }
                2 | 3 => {
                    let mut of: Vec<(JobId, When)> = Vec::new();
                    for _ in 0..random.within(1..4) {
                        let when = match random.within(0..4) {
                            0 => When::NotSucceeded,
                            1 => When::Done,
                            _ => When::Succeeded,
                        };
                        let job = model.pick(random.draw(), random.within(0..8) > 0);
                        of.extend(job.map(|job| (job, when)));
                    }
                    options.needs = needs(&of);
                    if !of.is_empty() && random.within(0..4) == 0 {
                        options.otherwise = Otherwise::Run;
                    }
                }
                4..=6 => {
                    let batch = model.pick_batch(random.draw());
                    options.batch = batch.map(|batch| Membership { batch, role: Role::Member });
                }
                _ => {}
            }
            job.options = (!options.is_default()).then(|| options.into());
        }
    }

    /// A batch is made, committed, or opened again.
    pub(crate) fn batch_command(&mut self, model: &Model, random: &mut Random) -> Command {
        let batch = model.pick_batch(random.draw());
        match batch {
            Some(batch) if random.within(0..3) > 0 => {
                Command::SetBatch(batch, random.within(0..5) == 0)
            }
            _ => {
                let parent = batch.filter(|_| random.within(0..2) == 0);
                let mut callback = |kind: &'static str| {
                    let job = self.template(random, Due::After(0));
                    let has = random.within(0..3) > 0;
                    // Three of them go into one record.
                    let payload = job.payload[..8].to_vec().into();
                    has.then(|| NewJob { kind: kind.into(), attempts_max: 3, payload, ..job })
                };
                let callbacks = [callback("c0"), callback("c1"), callback("c2")];
                let batch = NewBatch { parent, callbacks, ..NewBatch::described("drawn") };
                Command::NewBatch(Box::new(batch))
            }
        }
    }

    /// Lets some jobs have a group, in an order of their own, and tags.
    pub(crate) fn group(command: &mut Command, random: &mut Random) {
        let mut give = |job: &mut NewJob<'static>| {
            let drawn = random.within(0..2 * GROUPS.len() as u64) as usize;
            let mut options = job.options.take().map(|it| (*it).clone()).unwrap_or_default();
            options.tags = TAGS
                .iter()
                .filter(|(of, _)| drawn.is_multiple_of(*of))
                .fold(options.tags, |tags, (_, tag)| tags.with(tag));
            let group = GROUPS.get(drawn);
            options.group = group.map(|group| (*group).into());
            job.options = (!options.is_default()).then(|| options.into());
            if group.is_none() {
                return;
            }
            // So that they meet.
            job.priority /= 4;
        };
        match command {
            Command::Submit(jobs) => jobs.iter_mut().for_each(give),
            Command::Put(schedule) => give(&mut schedule.job),
            _ => {}
        }
    }

    /// Limits of all groups of a queue, or of one; or its jobs age.
    pub(crate) fn group_limits(random: &mut Random) -> Command {
        if random.within(0..3) == 0 {
            let queue = QUEUES[random.within(0..QUEUES.len() as u64) as usize];
            let spans = [50, 1000, 20_000];
            return Command::Age(queue, spans.get(random.within(0..4) as usize).copied());
        }
        let (queue, limits) = Self::limits(random);
        let limits = QueueLimits { weight: random.within(1..4) as u8, ..limits };
        let group = GROUPS.get(random.within(0..5) as usize).copied();
        let limits = (random.within(0..3) > 0).then_some(limits);
        Command::LimitGroups(queue, group, limits)
    }

    /// A queue is paused, or goes on.
    pub(crate) fn pause(random: &mut Random) -> Command {
        let queue = QUEUES[random.within(0..QUEUES.len() as u64) as usize];
        Command::Pause(queue, random.within(0..2) == 0)
    }

    /// A change of a job, or of all that a filter takes.
    pub(crate) fn change(now: Now, job: Option<JobId>, random: &mut Random) -> Command {
        let queue = QUEUES[random.within(0..QUEUES.len() as u64) as usize];
        let change = match random.within(0..16) {
            0..=5 => Change::Requeue,
            6 | 7 => Change::Discard,
            8 | 9 => Change::Kill,
            10 | 11 => Change::Run,
            12 => Change::Due(Due::After(random.within(0..20 * SECOND))),
            13 => Change::Due(Due::At(WallTime(now.wall.0 + random.within(0..HOUR)))),
            14 => Change::Priority(random.within(0..10) as u8),
            _ => Change::Queue(queue.into()),
        };
        match job.filter(|_| random.within(0..6) != 0) {
            Some(job) => Command::Change(job, change),
            None => {
                let all = Filter::default();
                let filter = match random.within(0..4) {
                    0 => Filter { states: States::of(&[JobState::Dead]), ..all },
                    1 => Filter { kind: Some("report".into()), ..all },
                    2 => Filter { queue: Some(queue.into()), ..all },
                    _ => Filter { is_attempted: Some(true), ..all },
                };
                let change = if random.within(0..12) == 0 { Change::Cancel } else { change };
                Command::ChangeMany(filter, change)
            }
        }
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
            keeps_dead: random.within(0..6) != 0,
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
        let overlap = match random.within(0..8) {
            0..=3 => Overlap::Allow,
            4 => Overlap::Skip,
            5..=6 => Overlap::Queue { limit: random.within(1..5) as u32 },
            _ => Overlap::Replace,
        };
        let rule = Schedule::new(name, timing, job);
        Command::Put(Box::new(Schedule { missed, overlap, grace_ms, ..rule }))
    }

    pub(crate) fn removal(&self, random: &mut Random) -> Command {
        Command::Remove(self.name(random))
    }

    fn name(&self, random: &mut Random) -> String {
        format!("rule-{}", random.within(0..self.names))
    }
}
