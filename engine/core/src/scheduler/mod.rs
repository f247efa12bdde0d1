//! The scheduler of one shard: one input at a time is decided, written and applied.
//!
//! [`Scheduler::step`] decides (`decide.rs`), appends an [`Event`] and applies
//! it (`apply.rs`). [`Scheduler::replay`] applies the same events on recovery: no state changes
//! anywhere else. What is not state but follows from it and the time (which job has been triggered
//! and waits in a ready line) is not written.

mod aging;
mod apply;
mod breaker;
mod census;
mod changes;
mod dead;
mod decide;
mod expire;
mod flow;
mod freeze;
mod groups;
mod guard;
mod io;
mod keep;
mod list;
mod relate;
mod relations;
mod replay;
mod schedules;
mod tell;
mod trigger;

use alloc::{boxed::Box, vec::Vec};

pub use apply::ReplayError;
pub use breaker::BreakerRule;
pub use census::{Census, CensusError, Place};
pub use changes::{Change, Changed};
pub use dead::{DeadLimits, DeadView};
pub(crate) use groups::FrozenEvent;
pub use io::{
    Alert, Answer, Attempt, Backfilled, Began, CallerId, Counts, Dispatch, Input, JobView, Next,
    Notice, Outcome, OutcomeKind, Outputs, QueueView, Reply, ScheduleView, Wake,
};
pub use keep::{CleanError, Cleaned};
pub use list::{Filter, Piece, States, WalkBudget, WalkPlace};
pub use tell::Tell;

use crate::{
    batch::Batches,
    event::{Event, Failure, Listed, encode_attempts},
    id::{JobId, Key, KindId, Lsn, QueueId, ShardId, Slot, Token},
    job::{
        Clock, JobState,
        dead::DeadSet,
        keys::Keys,
        needs::Waits,
        options::OptionsTable,
        record::{NO_SCHEDULE, Record, Role},
        table::JobTable,
        unique::UniqueKeys,
    },
    journal::{Journal, Position},
    limits,
    names::Names,
    queue::{Queues, permits::Permits},
    schedule::table::{ScheduleState, ScheduleTable},
    time::{MonoTime, Now, WallTime},
    wheel::{Links, TICK_NS, Wheel, tick_at_or_after, tick_at_or_before},
};
use replay::Memory;

/// Ids skipped at the least by each opening.
const SKIPPED_IDS: u64 = 1 << 24;
/// Ids go on from this times the epoch if that is higher.
const IDS_PER_EPOCH: u64 = 1 << 28;
/// So many openings in a row begin at ids that differ by [`IDS_PER_EPOCH`] at least, wherever the
/// sequence stands.
const OPENINGS_APART: u64 = 256;

/// Settings of a shard's scheduler.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Which shard.
    pub shard: ShardId,
    /// Attempts under way at the most: 1 to 65,536. Default 256.
    pub running_max: u32,
    /// Jobs that have not ended at the most: 1 to 2³⁰. Default 2³⁰.
    pub jobs_max: u32,
    /// Bytes of the journal that new jobs may not use, so that what was accepted can run to its
    /// end when the disk is full. Default 16 MiB.
    pub low_water_bytes: u64,
    /// The same when the journal's disk is full: also enough to clean the oldest piece of the
    /// journal, so that it can be given back. Default 80 MiB.
    pub low_water_full_bytes: u64,
    /// What is kept of jobs that failed for good.
    pub dead: DeadLimits,
    /// Whether [`Outputs::notices`] is filled.
    pub notices: bool,
    /// Whether executors take from a queue for which [`Scheduler::serve`] was not called; else jobs
    /// leave it by [`Input::Fetch`] alone. Default true.
    pub serves_queues: bool,
}

impl Config {
    /// The defaults for `shard`.
    #[must_use]
    pub const fn new(shard: ShardId) -> Self {
        Self {
            shard,
            running_max: 256,
            jobs_max: limits::JOBS_MAX,
            low_water_bytes: 16 << 20,
            low_water_full_bytes: 80 << 20,
            dead: DeadLimits {
                jobs_max: limits::DEAD_DEFAULT,
                age_ns: limits::DEAD_AGE_NS_DEFAULT,
            },
            notices: false,
            serves_queues: true,
        }
    }
}

/// What is written of an attempt whose process ended.
const LOST: &str = "the process ended during the attempt";
// Beside the text an event has three numbers of at most 9 bytes and four of one byte, and its record
// a header and padding.
const _: () = assert!(
    limits::LOST_BYTES_MAX >= (limits::RECORD_HEADER_BYTES + 3 * 9 + 4 + LOST.len() + 7) as u64
);

/// An event that was appended and applied.
struct Committed {
    position: Position,
    /// Length of the event with its payload.
    len_bytes: usize,
}

/// The scheduler of one shard.
///
/// See the crate's tests for a whole life of a job with a journal in memory.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    pub(crate) table: JobTable,
    links: Links,
    mono_wheel: Wheel,
    wall_wheel: Wheel,
    pub(crate) queues: Queues,
    keys: Keys,
    options: OptionsTable,
    dead: DeadSet,
    /// The journal had no room to let dead jobs go: look again then.
    dead_retry: Option<MonoTime>,
    uniques: UniqueKeys,
    waits: Waits,
    pub(crate) batches: Batches,
    pub(crate) schedules: ScheduleTable,
    kinds: Names,
    /// Queues of keyless jobs of some kinds; see [`Scheduler::home`].
    homes: Vec<(KindId, QueueId)>,
    guards: guard::Guards,
    breakers: breaker::Breakers,
    /// How far the wall clock is ahead of the monotonic one, as of the last step.
    offset_ns: i64,
    /// The monotonic clock as of the last step.
    step_mono: MonoTime,
    next_sequence: u64,
    /// Attempts that executors have.
    running: u32,
    /// Attempts that workers have fetched.
    fetched: u32,
    /// Tokens of attempts that are fetched from here on are at least this.
    pub(crate) token_floor: u32,
    failed: bool,
    /// Dispatch waits for room in the journal.
    starved: bool,
    /// What has ended could not be told to all whom it concerns, for want of room.
    unsettled: bool,
    counts: Counts,
    /// Where the jobs of the event to be applied probably lie, in the event's order: spares a look
    /// into the index.
    hints: Vec<Slot>,
    memory: Memory,
    /// Fetched attempts that have ended, if somebody wants to know; see [`Scheduler::watch_fetches`].
    fetch_ends: Option<Vec<JobId>>,
    /// Tells what happens, if somebody wants to know.
    teller: Option<Box<tell::Teller>>,
    /// Scratch space for encoding events.
    head: Vec<u8>,
    /// Scratch space for encoding lists of attempts.
    list: Vec<u8>,
    #[cfg(feature = "planted")]
    pub(crate) planted: Option<crate::planted::Bug>,
}

impl Scheduler {
    /// An empty scheduler at `now`.
    #[must_use]
    pub fn new(config: Config, now: Now) -> Self {
        Self {
            config,
            table: JobTable::new(),
            links: Links::new(),
            mono_wheel: Wheel::new(tick_at_or_before(now.mono.0)),
            wall_wheel: Wheel::new(tick_at_or_before(now.wall.0)),
            queues: Queues::new(config.serves_queues),
            keys: Keys::new(),
            options: OptionsTable::new(tick_at_or_before(now.wall.0)),
            dead: DeadSet::new(),
            dead_retry: None,
            uniques: UniqueKeys::new(tick_at_or_before(now.wall.0)),
            waits: Waits::default(),
            batches: Batches::default(),
            schedules: ScheduleTable::new(),
            kinds: Names::new(limits::KINDS_MAX),
            homes: Vec::new(),
            guards: guard::Guards::default(),
            breakers: breaker::Breakers::default(),
            offset_ns: now.offset_ns(),
            step_mono: now.mono,
            next_sequence: 1,
            running: 0,
            fetched: 0,
            token_floor: 0,
            failed: false,
            starved: false,
            unsettled: false,
            counts: Counts::default(),
            hints: Vec::new(),
            memory: Memory::default(),
            fetch_ends: None,
            teller: None,
            head: Vec::new(),
            list: Vec::new(),
            #[cfg(feature = "planted")]
            planted: None,
        }
    }

    /// Takes one input at `now`: decides, appends to the journal, applies, and adds to `out`.
    ///
    /// # Panics
    /// If an invariant of the scheduler itself is broken.
    pub fn step(
        &mut self,
        now: Now,
        input: Input<'_>,
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) {
        self.offset_ns = now.offset_ns();
        self.step_mono = now.mono;
        match input {
            Input::Submit { caller, job } => {
                let answer = self.submit(now, job, journal, out);
                #[cfg(feature = "planted")]
                let answer = (answer.0, self.planted_after(answer.1));
                reply(out, caller, answer);
            }
            Input::Cancel { caller, job } => {
                let answer = self.cancel(now, job, journal, out);
                reply(out, caller, answer);
            }
            Input::Change { caller, job, change } => {
                let answer = self.change(now, job, change, journal, out);
                reply(out, caller, answer);
            }
            Input::ChangeMany { caller, filter, change, from, budget } => {
                let answer = self.change_many(now, (filter, change), (from, budget), journal, out);
                reply(out, caller, answer);
            }
            Input::PutSchedule { caller, schedule } => {
                let answer = self.put_schedule(now, schedule, journal);
                reply(out, caller, answer);
            }
            Input::RemoveSchedule { caller, name } => {
                let answer = self.remove_schedule(now, name, journal);
                reply(out, caller, answer);
            }
            Input::PauseSchedule { caller, name, note } => {
                let answer = self.pause_schedule(now, name, note, journal);
                reply(out, caller, answer);
            }
            Input::ResumeSchedule { caller, name } => {
                let answer = self.resume_schedule(now, name, journal);
                reply(out, caller, answer);
            }
            Input::RunSchedule { caller, name } => {
                let answer = self.run_schedule(now, name, journal, out);
                reply(out, caller, answer);
            }
            Input::Backfill { caller, name, from, to } => {
                let answer = self.backfill(now, name, from, to, journal, out);
                reply(out, caller, answer);
            }
            Input::Complete { attempt, outcome } => {
                self.complete(now, attempt, outcome, journal, out);
            }
            Input::Fetch { queues, max } => self.fetch(now, queues, max, journal, out),
            Input::Extend { caller, attempt, span_ns } => {
                let answer = self.extend(now, attempt, span_ns, journal);
                reply(out, caller, answer);
            }
            Input::Rewrite { job, payload } => self.rewrite(now, job, payload, journal),
            Input::PauseQueue { caller, name, paused } => {
                let answer = self.pause_queue(now, name, paused, journal);
                reply(out, caller, answer);
            }
            Input::LimitQueue { caller, name, limits } => {
                let answer = self.limit_queue(now, name, limits, journal);
                reply(out, caller, answer);
            }
            Input::LimitGroups { caller, queue, group, limits } => {
                let limits = limits.copied();
                let answer = match group {
                    Some(group) => self.limit_group(now, (queue, group), limits, journal),
                    None => self.limit_groups(now, queue, limits.unwrap_or_default(), journal),
                };
                reply(out, caller, answer);
            }
            Input::AgeQueue { caller, name, span_ms } => {
                let answer = self.age_queue(now, name, span_ms, journal);
                reply(out, caller, answer);
            }
            Input::NewBatch { caller, batch } => {
                let answer = self.new_batch(now, batch, journal);
                reply(out, caller, answer);
            }
            Input::SetBatch { caller, batch, is_open } => {
                let answer = self.set_batch(now, batch, is_open, journal);
                reply(out, caller, answer);
            }
            Input::Succeeded { attempts } => self.succeed(now, attempts, journal, out),
            Input::LeaseEnd { attempt, began } => self.lease_end(now, attempt, began, journal, out),
            Input::Time { dispatch_max } => {
                self.trigger(now, journal, out);
                self.tidy_dead(now, journal);
                self.age(now);
                self.dispatch(now, dispatch_max, journal, out);
            }
            Input::ClockSet => {
                #[cfg(feature = "planted")]
                self.planted_clock_set(now);
                let tick = tick_at_or_before(now.wall.0);
                self.wall_wheel.relay(&mut self.links, tick);
                self.options.relay(tick);
                self.uniques.relay(tick);
            }
            Input::JournalFailed => self.failed = true,
        }
    }

    /// Ends the recovery: attempts that were under way when the process ended are lost, counted,
    /// and their jobs go on: at once if they have attempts left, else they are dead.
    ///
    /// The journal may have lost jobs that a caller or a handler has seen, at its last end or at an
    /// earlier one that nothing was written after, so their numbers are skipped: `epoch`, the number
    /// of this opening of the journal, must be higher than at any opening before.
    ///
    /// Call it once, after [`Scheduler::replayed`] and before the first [`Scheduler::step`]. It
    /// returns the number of attempts lost. Attempts for which the journal has no room, see
    /// [`limits::LOST_BYTES_MAX`], stay under way until the next recovery.
    pub fn recovered(
        &mut self,
        now: Now,
        epoch: u64,
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) -> u32 {
        debug_assert!(self.memory.is_settled(), "an error of the replay was not asked for");
        self.offset_ns = now.offset_ns();
        self.step_mono = now.mono;
        self.queues.settle(now.mono.signed_ns());
        // Of two openings in a row that both lose all they wrote, each begins elsewhere.
        let of_turn = (epoch % OPENINGS_APART) * IDS_PER_EPOCH;
        let skipped = self.next_sequence + SKIPPED_IDS + of_turn;
        let of_epoch = epoch.saturating_mul(IDS_PER_EPOCH);
        let next_sequence = skipped.max(of_epoch).min(JobId::SEQUENCE_MAX / 2);
        self.next_sequence = self.next_sequence.max(next_sequence);
        // A worker may hold an attempt whose event was lost with the last process: the same token
        // must not be given to another. An attempt of an executor ended with its process.
        self.token_floor = (epoch as u32 & 0xffff) << 16;
        #[cfg(feature = "planted")]
        self.planted_recovered();
        let mut lost = 0;
        // Most often there were none, and the table is long.
        let mut left = self.running;
        let mut slots = (0..self.table.slots()).map(Slot);
        while left > 0
            && let Some(slot) = slots.next()
        {
            let record = *self.table.get(slot);
            // Who has fetched an attempt goes on with it.
            let under_way = record.role() == Role::Job
                && record.state == JobState::Running
                && !record.is_fetched();
            left -= u32::from(under_way);
            // All of them end like this, so none needs the room that is kept for a longer end.
            if under_way && limits::LOST_BYTES_MAX <= journal.available_bytes() {
                self.fail(now, slot, Failure::Lost, LOST, journal, out);
                lost += 1;
            }
        }
        #[cfg(feature = "planted")]
        self.planted_leak(lost);
        self.queues.go_live(now.mono.signed_ns());
        lost
    }

    /// Whether all that has ended was told to whom it concerns.
    fn is_settled(&self) -> bool {
        self.waits.is_settled() && self.batches.is_settled()
    }

    /// Lets limits of queues hold for all shards that share what `permits` stands for. Call it before
    /// [`Scheduler::recovered`], from which on permits are taken; without it limits hold in this shard
    /// alone.
    pub fn share(&mut self, permits: Box<dyn Permits>) {
        self.queues.share(permits);
    }

    /// From now on [`Scheduler::fetch_ends`] says whose fetched attempts have ended.
    pub fn watch_fetches(&mut self) {
        self.fetch_ends = Some(Vec::new());
    }

    /// Jobs whose fetched attempts have ended since this was last asked, in whatever way, in the order in
    /// which they did. Nothing unless [`Scheduler::watch_fetches`] was called before.
    pub fn fetch_ends(&mut self) -> impl Iterator<Item = JobId> {
        self.fetch_ends.as_mut().map(|ends| ends.drain(..)).into_iter().flatten()
    }

    /// Call it when a pass is over, after all its steps: permits that this shard waited for, was given
    /// and did not use in the pass go on to others.
    pub fn pass_over(&mut self) {
        self.queues.pass_over();
    }

    /// No attempt begins from now on: the shard stops. It waits for no permits any more.
    pub fn begin_no_more(&mut self) {
        self.queues.wait_no_more();
    }

    /// The shard is about to close: what it has of shared limits is given back. No more steps after
    /// this.
    pub fn leave(&mut self) {
        self.queues.leave_all();
    }

    /// When there is something to do next.
    #[must_use]
    pub fn wake(&self) -> Wake {
        if self.failed {
            return Wake::default();
        }
        let can_dispatch = self.queues.is_any_open() && self.running < self.config.running_max;
        let tick_ns = self.mono_wheel.next_tick().map(|tick| tick.saturating_mul(TICK_NS));
        let opens_ns = self.queues.next_wake_ns();
        let tried = self.breakers.next_time();
        let wall_ticks = self.wall_wheel.next_tick().into_iter().chain(self.options.next_tick());
        let wall_ticks = wall_ticks.chain(self.uniques.next_tick());
        let wall = wall_ticks.map(|tick| WallTime(tick.saturating_mul(TICK_NS)));
        let batches = self.batches.next_time().filter(|_| !self.unsettled);
        Wake {
            now: can_dispatch && !self.starved || !self.is_settled() && !self.unsettled,
            mono: tick_ns
                .into_iter()
                .chain(opens_ns)
                .map(MonoTime)
                .chain(self.dead_retry)
                .chain(tried)
                .min(),
            wall: wall.chain(batches).chain(self.dead_deadline()).min(),
        }
    }

    /// A job that has not ended, or one of the dead set.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<JobView> {
        Some(self.view(self.table.find(id)?))
    }

    fn view(&self, slot: Slot) -> JobView {
        let record = self.table.get(slot);
        JobView {
            id: record.id,
            state: record.state,
            kind: self.kinds.name(record.kind.0).into(),
            due: self.due_of(record),
            attempts: record.attempt,
            attempts_max: record.attempts_max.get(),
            priority: record.priority(),
            queue: self.queues.name(record.queue).into(),
            schedule: self.schedule_name(record),
            expires: self.options.expires_at(slot),
            group: self.group_name_at(slot).map(|group| (*group).into()),
            tags: self.options_at(slot).map(|options| options.tags.clone()).unwrap_or_default(),
        }
    }

    fn due_of(&self, record: &Record) -> WallTime {
        match record.clock() {
            Clock::Mono => MonoTime(record.due_ns).to_wall(self.offset_ns),
            Clock::Wall => WallTime(record.due_ns),
        }
    }

    /// The number that the next job gets: no job of this shard has had it or a higher one, as far
    /// as the journal tells.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Whether this shard ever gave out `id`, for a job that may have ended since.
    #[must_use]
    pub fn has_issued(&self, id: JobId) -> bool {
        id.shard() == self.config.shard && (1..self.next_sequence).contains(&id.sequence())
    }

    /// All schedules, in the order of their numbers.
    #[must_use]
    pub fn schedules(&self) -> Vec<ScheduleView> {
        self.schedules.iter().map(ScheduleState::view).collect()
    }

    /// The schedule `name`, with its next fire time as the wall clock is now.
    #[must_use]
    pub fn schedule(&self, name: &str) -> Option<ScheduleView> {
        let state = self.schedules.get(self.schedules.find(name)?)?;
        Some(ScheduleView { next: self.next_fire(state), ..state.view() })
    }

    /// Numbers since the shard was opened.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            pending: u64::from(self.pending()),
            buried: u64::from(self.dead.len()),
            ready: u64::from(self.queues.len()),
            running: u64::from(self.running + self.fetched),
            fetched: u64::from(self.fetched),
            schedules: self.schedules.len() as u64,
            ..self.counts
        }
    }

    /// Whether one more job would be refused because there are too many.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.pending() >= self.config.jobs_max
    }

    /// Attempts that executors have.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.running
    }

    /// The name of a kind that a [`Dispatch`] named.
    #[must_use]
    pub fn kind_name(&self, kind: KindId) -> &str {
        self.kinds.name(kind.0)
    }

    /// The number of a queue, if a job or a pause has named it.
    #[must_use]
    pub fn queue(&self, name: &str) -> Option<QueueId> {
        self.queues.find(name)
    }

    /// The name of a queue that a [`Dispatch`] named.
    #[must_use]
    pub fn queue_name(&self, queue: QueueId) -> &str {
        self.queues.name(queue)
    }

    /// Jobs that an [`Input::Fetch`] from `queue` would find: none if it is paused, or if its limits
    /// let none be taken now. They may let fewer be taken than this says.
    #[must_use]
    pub fn fetchable(&self, queue: QueueId) -> u32 {
        self.queues.get(queue).fetchable()
    }

    /// Whether an [`Input::Fetch`] from `queues` in this pass would get a job. Where limits are shared
    /// with other shards, leave for one attempt is kept for it until [`Scheduler::pass_over`].
    pub fn is_fetchable(&mut self, now: Now, queues: &[QueueId]) -> bool {
        let now_ns = now.mono.signed_ns();
        queues.iter().any(|queue| self.queues.is_fetchable(*queue, now_ns))
    }

    /// All queues that were named since the process began, in the order in which they were.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueView> {
        let mut of_groups = alloc::vec![None; self.queues.names().len()];
        for (queue, slot) in self.queues.groups.firsts() {
            let due = self.due_of(self.table.get(slot));
            let oldest: &mut Option<WallTime> = &mut of_groups[usize::from(queue.0)];
            *oldest = Some(oldest.map_or(due, |oldest| oldest.min(due)));
        }
        let views = self.queues.iter().zip(0..).map(|((name, queue, bounds), number)| QueueView {
            name: (**name).into(),
            ready: u64::from(queue.len()),
            waiting: u64::from(queue.waiting()),
            running: u64::from(queue.under_way()),
            oldest: (self.queues.firsts(QueueId(number)))
                .map(|slot| self.due_of(self.table.get(slot)))
                .chain(of_groups[usize::from(number)])
                .min(),
            paused: queue.is_paused,
            limits: *bounds.limits(),
            aging_ms: self.queues.agings.of(QueueId(number)).map(|aging| aging.span_ms),
        });
        views.collect()
    }

    /// Says whether executors take from the queue `name`; see [`Config::serves_queues`]. It is not
    /// written: say it again after a start. `false` if there are too many queues.
    pub fn serve(&mut self, name: &str, is_served: bool) -> bool {
        let Some(queue) = self.queues.intern(name) else { return false };
        self.queues.serve(queue, is_served);
        true
    }

    /// Lets keyless jobs of `kind` stand in the queue `name` once they are due, whatever they say: for
    /// jobs that were added before the queue was chosen. It is not written: say it again after a start.
    /// `false` if there are too many queues or kinds.
    pub fn home(&mut self, kind: &str, name: &str) -> bool {
        let (Some(kind), Some(queue)) = (self.kinds.intern(kind), self.queues.intern(name)) else {
            return false;
        };
        self.homes.push((KindId(kind), queue));
        for slot in (0..self.table.slots()).map(Slot) {
            let record = self.table.get(slot);
            let is_meant = record.kind.0 == kind && record.state == JobState::Ready;
            if is_meant && record.role() == Role::Job {
                self.leave_line(slot);
                self.stand_in_line(slot);
            }
        }
        true
    }

    /// The job that has `key` and has not ended.
    #[must_use]
    pub fn job_of(&self, key: Key) -> Option<JobId> {
        self.keys.find(key).map(|slot| self.table.get(slot).id)
    }

    /// The attempt under way of the job that has `key`.
    #[must_use]
    pub fn attempt_of(&self, key: Key) -> Option<Attempt> {
        self.attempt_in(self.keys.find(key)?)
    }

    /// The attempt under way of a job.
    #[must_use]
    pub fn attempt_of_job(&self, job: JobId) -> Option<Attempt> {
        self.attempt_in(self.table.find(job)?)
    }

    fn attempt_in(&self, slot: Slot) -> Option<Attempt> {
        let Record { id: job, token, state, .. } = *self.table.get(slot);
        (state == JobState::Running).then_some(Attempt { job, slot, token })
    }

    /// The key of a job, which a dead one does not hold.
    #[must_use]
    pub fn key_of(&self, job: JobId) -> Option<Key> {
        self.table.find(job).and_then(|slot| self.key_at(slot))
    }

    fn key_at(&self, slot: Slot) -> Option<Key> {
        let record = self.table.get(slot);
        match record.is_dead() {
            true => self.dead.get(record.dead_entry()).key(),
            false => self.keys.of(slot),
        }
    }

    /// The event that holds a job, and where in it the payload begins.
    #[must_use]
    pub fn body_of(&self, job: JobId) -> Option<(Lsn, u16)> {
        let record = self.table.get(self.table.find(job)?);
        Some((record.body, record.payload_offset))
    }

    /// Appends an event about the job in `slot`, and applies it.
    fn commit_at(&mut self, slot: Slot, event: &Event<'_>, journal: &mut impl Journal) -> Position {
        self.hints.clear();
        self.hints.push(slot);
        self.commit(event, &[], journal).position
    }

    /// Appends an event about the attempts in `self.hints`, whose list is taken from the table, and
    /// applies it.
    fn commit_list(
        &mut self,
        event: &Event<'_>,
        token: impl Fn(&Record) -> Token,
        journal: &mut impl Journal,
    ) -> Position {
        let mut list = core::mem::take(&mut self.list);
        let listed = self.hints.iter().map(|slot| {
            let record = self.table.get(*slot);
            Listed { job: record.id, token: token(record) }
        });
        encode_attempts(listed, &mut list);
        let position = self.commit(event, &list, journal).position;
        self.list = list;
        position
    }

    /// Appends `event` and `payload`, and applies them.
    fn commit(
        &mut self,
        event: &Event<'_>,
        payload: &[u8],
        journal: &mut impl Journal,
    ) -> Committed {
        let mut head = core::mem::take(&mut self.head);
        let head_bytes = event.encode(&mut head);
        let position = journal.append(&head[..head_bytes], payload);
        let len_bytes = head_bytes + payload.len();
        let applied = replay::body(position.lsn, head_bytes, len_bytes)
            .and_then(|body| self.apply(event, payload, body));
        self.head = head;
        if let Err(error) = applied {
            panic!("an event that was just decided cannot be applied: {error}");
        }
        Committed { position, len_bytes }
    }

    /// Puts a job or a schedule's timer into the wheel of its clock.
    fn arm(&mut self, slot: Slot, clock: Clock, at_ns: u64) {
        let wheel = match clock {
            Clock::Mono => &mut self.mono_wheel,
            Clock::Wall => &mut self.wall_wheel,
        };
        wheel.insert(&mut self.links, slot.0, tick_at_or_after(at_ns));
    }

    /// Takes a job or timer out of whichever line it stands in.
    fn disarm(&mut self, slot: Slot) {
        let record = self.table.get(slot);
        if !self.links.is_linked(slot.0) {
            return;
        }
        match (record.role(), record.state, record.clock()) {
            (Role::Job, JobState::Ready, _) => {
                let (queue, has_options) = (record.queue, record.has_options());
                self.leave_line_of(slot, queue, has_options);
            }
            // The lease of an attempt ends on the monotonic clock, whatever clock the job is on.
            (Role::Job, JobState::Running, _) | (_, _, Clock::Mono) => {
                self.mono_wheel.remove(&mut self.links, slot.0);
            }
            (_, _, Clock::Wall) => self.wall_wheel.remove(&mut self.links, slot.0),
        }
    }

    fn schedule_name(&self, record: &Record) -> Option<Box<str>> {
        if record.schedule == NO_SCHEDULE {
            return None;
        }
        self.schedules.get(record.schedule).map(|state| (*state.rule.name).into())
    }
}

fn reply(out: &mut Outputs, caller: CallerId, (answer, after): (Answer, Lsn)) {
    out.replies.push(Reply { caller, after, answer });
}

#[cfg(test)]
mod tests;
