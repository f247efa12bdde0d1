//! Cuts of the journal's beginning: whatever was cut off, what remains gives the same state.

use super::*;
use crate::event::{KeptState, RuleMissed};

/// Events per segment of the imagined journal: few, so that segments begin everywhere.
const SEGMENT_EVENTS: usize = 5;

/// A world whose journal is cleaned bit by bit. All events stay in memory, so that it can be
/// replayed from each segment from which it may be.
pub(super) struct Cut {
    pub(super) world: World,
    /// The next record to be cleaned.
    cursor: usize,
    /// The first event of the journal, once all was dropped that may be.
    first: usize,
}

impl Cut {
    pub(super) fn new() -> Self {
        Self { world: World::new(), cursor: 0, first: 0 }
    }

    fn clean_one(&mut self) -> Cleaned {
        let World { core, journal, now, .. } = &mut self.world;
        let bytes = journal.events[self.cursor].clone();
        let before = core.live_bytes();
        let cleaned = core.clean(*now, Lsn(self.cursor as u64), &bytes, journal).unwrap();
        if cleaned == Cleaned::Dead {
            assert_eq!(core.live_bytes(), before);
        }
        if cleaned != Cleaned::NoRoom {
            self.cursor += 1;
        }
        cleaned
    }

    /// Cleans up to `records` records of segments that are full, and lets each segment go that is
    /// clean.
    pub(super) fn clean(&mut self, records: usize) {
        let full = self.world.journal.events.len() / SEGMENT_EVENTS * SEGMENT_EVENTS;
        for _ in 0..records {
            if self.cursor >= full {
                return;
            }
            // Who waits is told first of what has ended: that is no part of the cleaning.
            let World { core, journal, now, .. } = &mut self.world;
            assert!(core.settle_needs(*now, journal));
            let before = census(&self.world);
            self.clean_one();
            assert_eq!(census(&self.world), before, "cleaning changes nothing");
            if self.cursor.is_multiple_of(SEGMENT_EVENTS) {
                self.base();
            }
        }
    }

    fn base(&mut self) {
        let World { core, journal, now, .. } = &mut self.world;
        core.write_base(*now, journal).unwrap();
        self.first = self.cursor;
    }

    /// A scheduler at the same time that knows the events from `start` on only.
    fn replay_from(&self, start: usize) -> World {
        let World { journal, now, .. } = &self.world;
        let mut other = World::with(journal.clone(), now.mono.0, now.wall.0);
        replay(&mut other.core, journal, start);
        other
    }

    /// Compares with replays from each segment that may be the first.
    pub(super) fn check(&self) {
        let expected = whole(&self.world);
        for start in (0..=self.first).step_by(SEGMENT_EVENTS) {
            assert_eq!(whole(&self.replay_from(start)), expected, "replayed from event {start}");
        }
        for slot in (0..self.world.core.table.slots()).map(Slot) {
            let record = self.world.core.table.get(slot);
            if record.role() != Role::Free {
                assert!(record.body.0 >= self.first as u64, "cut off although needed: {record:?}");
            }
        }
        self.check_payloads();
    }

    /// Each job's body holds the payload that it was added with.
    fn check_payloads(&self) {
        let events = &self.world.journal.events;
        let mut seen = 0;
        for bytes in events {
            let (event, payload) = Event::decode(bytes).unwrap();
            let (Event::Added(added) | Event::ScheduleFired { job: Some(added), .. }) = event
            else {
                continue;
            };
            let Some(slot) = self.world.core.table.find(JobId(added.job)) else { continue };
            let record = self.world.core.table.get(slot);
            let body = &events[record.body.0 as usize];
            assert_eq!(&body[usize::from(record.payload_offset)..], payload);
            assert!(u64::from(record.body_units) * 16 >= body.len() as u64 + 16);
            seen += 1;
        }
        assert_eq!(seen, self.world.core.table.len());
    }

    /// Ends the process; the next one begins with what is left from segment number `pick` on.
    fn restart(&mut self, pick: usize) {
        self.check();
        let start = pick % (self.first / SEGMENT_EVENTS + 1) * SEGMENT_EVENTS;
        self.world = self.replay_from(start);
        // What was cleaned of a segment that is still there is asked about again.
        self.cursor = self.first;
        let World { core, journal, now, out, .. } = &mut self.world;
        // The ids that are skipped then are in no event.
        let next_sequence = core.next_sequence;
        core.recovered(*now, 0, journal, out);
        core.next_sequence = next_sequence;
    }
}

pub(super) fn replay(core: &mut Scheduler, journal: &Memory, start: usize) {
    for (number, event) in journal.events.iter().enumerate().skip(start) {
        core.replay(Lsn(number as u64), event).unwrap();
    }
    core.replayed().unwrap();
}

/// All of the state that a replay gives, in an order that does not depend on numbers of slots and
/// schedules.
pub(super) fn whole(world: &World) -> String {
    let core = &world.core;
    let mut schedules: Vec<String> = core
        .schedules
        .iter()
        .map(|state| {
            let timer = core.table.get(state.timer);
            let fired = (state.fired, state.next, state.catch_up_until, &state.paused);
            format!("{:?} {fired:?} {:?} {:?}", state.rule, timer.body, timer.due_ns)
        })
        .collect();
    schedules.sort();
    let mut jobs: Vec<_> = (0..core.table.slots())
        .map(|slot| core.table.get(Slot(slot)))
        .filter(|record| record.role() == Role::Job)
        .map(|record| {
            (record.id, record.body, record.body_units, record.payload_offset, record.token)
        })
        .collect();
    jobs.sort_unstable_by_key(|(id, ..)| *id);
    let mut counts = core.counts();
    counts.ready = 0;
    let issued = (core.next_sequence, core.has_issued(JobId(core.next_sequence)));
    let views: Vec<_> = views(world);
    let mut dead: Vec<DeadView> = views.iter().filter_map(|view| core.dead(view.id)).collect();
    // Which of those with one key is found follows from the rest.
    dead.sort_by_key(|dead| dead.job.id);
    let related = relations::whole(core, world.now);
    let groups = core.queues.groups.told(core.queues.names(), world.now.mono.signed_ns());
    format!("{groups:?} {views:?} {dead:?} {jobs:?} {schedules:?} {counts:?} {issued:?} {related}")
}

#[derive(Clone, Debug)]
enum CutOp {
    World(Op),
    Put { name: u8, every_s: u64, missed: u8 },
    Clean { records: usize },
    Freeze,
    Restart { pick: usize },
}

fn any_cut_op() -> impl Strategy<Value = CutOp> {
    prop_oneof![
        12 => any_op().prop_map(CutOp::World),
        2 => (0..3_u8, 1..4_u64, 0..3_u8)
            .prop_map(|(name, every_s, missed)| CutOp::Put { name, every_s, missed }),
        5 => (1..12_usize).prop_map(|records| CutOp::Clean { records }),
        1 => Just(CutOp::Freeze),
        1 => any::<usize>().prop_map(|pick| CutOp::Restart { pick }),
    ]
}

/// Does all of it, and compares what each remainder and each snapshot gives.
fn run_and_compare(ops: Vec<CutOp>) -> Result<(), TestCaseError> {
    let mut cut = Cut::new();
    let mut running: Vec<Dispatch> = Vec::new();
    let mut snapshots: Vec<(usize, Vec<u8>)> = Vec::new();
    for op in ops {
        match op {
            CutOp::World(op) => run(&mut cut.world, &mut running, op)?,
            CutOp::Put { name, every_s, missed } => {
                let missed = match missed {
                    0 => Missed::Skip,
                    1 => Missed::One,
                    _ => Missed::All { limit: 3, window_ns: 10 * SECOND },
                };
                let name = format!("schedule {name}");
                let job = NewJob { payload: name.clone().into_bytes().into(), ..job() };
                let timing = Timing::Every(every_s * SECOND);
                let rule = Schedule::new(name, timing, job);
                cut.world.put(&Schedule { missed, grace_ms: 0, ..rule });
            }
            CutOp::Clean { records } => cut.clean(records),
            CutOp::Freeze => {
                let bytes = snapshot::bytes(&mut cut.world);
                snapshots.push((cut.world.journal.events.len(), bytes));
            }
            CutOp::Restart { pick } => {
                cut.restart(pick);
                running.clear();
            }
        }
    }
    cut.check();
    for (position, bytes) in snapshots {
        let World { journal, now, .. } = &cut.world;
        let mut other = World::with(journal.clone(), now.mono.0, now.wall.0);
        other.core = snapshot::restore(*now, &bytes).unwrap();
        replay(&mut other.core, journal, position);
        prop_assert_eq!(whole(&other), whole(&cut.world), "from the snapshot at {}", position);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happened and whatever was cut off, each remainder gives the state of the process
    /// that runs, as does each snapshot with the events behind it; and what goes on from there
    /// does so too.
    #[test]
    fn every_remainder_gives_the_same_state(ops in prop::collection::vec(any_cut_op(), 1..150)) {
        run_and_compare(ops)?;
    }
}

/// The job's own record is cut off with what came before its end, and only the schedule knows of that.
#[test]
fn a_schedule_knows_how_far_it_has_caught_up_when_its_job_is_cut_off() {
    let submit = |delay_s, attempts_max| {
        CutOp::World(Op::Submit { delay_s, attempts_max, at: false, key: 0, expires_s: None })
    };
    let pass = |ms| CutOp::World(Op::Pass { ms });
    let complete = |pick, outcome| CutOp::World(Op::Complete { pick, outcome });
    let put = |name, every_s| CutOp::World(Op::Put { name, every_s });
    let unique = Op::Unique { key: 0, until: 0, conflict: 0, delay_s: 2, span_s: None };
    let need = Op::Need { on: vec![0], when: 0, otherwise: false, expires_s: None };
    let ops = vec![
        CutOp::World(need),
        submit(4, 1),
        CutOp::Put { name: 0, every_s: 2, missed: 1 },
        CutOp::Put { name: 2, every_s: 1, missed: 0 },
        pass(2001),
        complete(1, 3),
        put(1, 2),
        CutOp::World(Op::ChangeMany { change: 6, among: 0 }),
        CutOp::Put { name: 0, every_s: 3, missed: 1 },
        submit(0, 1),
        CutOp::Clean { records: 7 },
        put(1, 2),
        CutOp::World(unique),
        submit(8, 1),
        CutOp::Clean { records: 1 },
        pass(2067),
        pass(934),
        put(0, 2),
        complete(2, 0),
        pass(0),
        CutOp::Clean { records: 2 },
        complete(16, 2),
        CutOp::Freeze,
        CutOp::Clean { records: 10 },
        put(0, 1),
    ];
    run_and_compare(ops).unwrap();
}

#[test]
fn a_cleaned_job_keeps_its_place_its_lease_and_its_attempt() {
    let mut cut = Cut::new();
    let world = &mut cut.world;
    world.core.config.running_max = 1;
    let ids: Vec<JobId> =
        (0..4).map(|_| world.submit(&NewJob { timeout_ms: 1000, ..job() })).collect();
    let first = world.pass(TICK_NS)[0];
    // Its handler was called late: the lease was put off.
    let half = SECOND / 2;
    assert!(world.pass(half).is_empty());
    let called = world.now.mono;
    world.step(Input::LeaseEnd { attempt: first.attempt, began: Began::At(called) });
    let wake = world.core.wake();
    // Only the first of those that are ready: if it left its place, it would be the last.
    for _ in 0..2 {
        assert!(matches!(cut.clean_one(), Cleaned::Moved { .. }));
    }
    assert_eq!(cut.world.core.wake(), wake);
    cut.cursor = 0;
    assert_eq!(cut.clean_one(), Cleaned::Dead, "it lies elsewhere now");
    let world = &mut cut.world;
    assert!(world.pass(SECOND - TICK_NS).is_empty() && world.out.stops.is_empty());
    world.complete(first, Outcome::Succeeded);
    assert_eq!((world.out.stale, world.state(ids[0])), (0, None));
    // The lines of ready jobs are as they were.
    for id in &ids[1..] {
        let dispatch = world.pass(0)[0];
        assert_eq!(dispatch.attempt.job, *id);
        world.complete(dispatch, Outcome::Succeeded);
    }
}

#[test]
fn a_running_job_is_written_with_its_token_and_lease() {
    let mut cut = Cut::new();
    cut.world.submit(&NewJob { timeout_ms: 5000, ..job() });
    let dispatch = cut.world.pass(TICK_NS)[0];
    assert!(matches!(cut.clean_one(), Cleaned::Moved { .. }));
    let (event, _) = Event::decode(cut.world.journal.events.last().unwrap()).unwrap();
    let Event::Kept(kept) = event else { panic!("{event:?}") };
    assert_eq!((kept.token, kept.attempt), (dispatch.attempt.token.0, 1));
    let KeptState::Running { lease_end } = kept.state else { panic!("{kept:?}") };
    let expected = cut.world.now.wall.0 + 5 * SECOND;
    assert!(lease_end >= expected && lease_end <= expected + TICK_NS, "{lease_end} {expected}");
    // From what remains, the attempt is under way, and its end is taken.
    let start = cut.cursor + 1;
    cut.base();
    let mut other = cut.replay_from(start);
    let slot = other.core.table.find(dispatch.attempt.job).unwrap();
    other.step(Input::Complete {
        attempt: Attempt { slot, ..dispatch.attempt },
        outcome: Outcome::Succeeded,
    });
    assert_eq!((other.out.stale, other.core.counts().succeeded), (0, 1));
}

#[test]
fn after_the_wall_clock_was_set_each_remainder_reads_the_same_due_times() {
    let mut cut = Cut::new();
    let delay = cut.world.submit(&delayed(3600));
    for _ in 1..SEGMENT_EVENTS {
        cut.world.submit(&delayed(10));
    }
    cut.world.now.wall.0 += 1000 * SECOND;
    cut.world.step(Input::ClockSet);
    cut.clean(SEGMENT_EVENTS);
    assert_eq!(cut.first, SEGMENT_EVENTS);
    cut.check();
    let due = cut.replay_from(0).core.job(delay).unwrap().due;
    assert_eq!(due, WallTime(START_WALL + 4600 * SECOND));
}

#[test]
fn a_replaced_rule_keeps_what_only_the_events_before_it_tell() {
    let mut cut = Cut::new();
    let world = &mut cut.world;
    let all = Missed::All { limit: 5, window_ns: 1000 * SECOND };
    let rule = Schedule::new("report", Timing::Every(10 * SECOND), job());
    let rule = Schedule { missed: all, ..rule };
    world.put(&rule);
    while world.core.schedules()[0].fired < 9 {
        world.pass(10 * SECOND);
    }
    world.put(&Schedule { job: NewJob::new("other"), ..rule });
    for _ in 0..4 {
        cut.clean(SEGMENT_EVENTS);
        cut.check();
    }
    let (event, _) = Event::decode(&cut.world.journal.events[cut.first]).unwrap();
    assert!(!matches!(event, Event::SchedulePut { .. }), "{event:?}");
    let kept =
        cut.world.journal.events.iter().filter_map(|bytes| match Event::decode(bytes).unwrap().0 {
            Event::ScheduleKept { rule, fired, .. } => Some((rule.kind, rule.missed, fired)),
            _ => None,
        });
    let missed = RuleMissed::All(5, 1000 * SECOND);
    assert!(kept.into_iter().all(|found| found == ("other", missed, 9)));
}

#[test]
fn cleaning_uses_the_reserve_but_never_what_running_attempts_need() {
    let mut cut = Cut::new();
    let payload = vec![7_u8; 500];
    for _ in 0..6 {
        cut.world.submit(&NewJob { payload: payload.clone().into(), ..job() });
    }
    cut.world.core.config.running_max = 4;
    let dispatched = cut.world.pass(TICK_NS);
    assert_eq!(dispatched.len(), 4);
    // One more record, what attempts keep, and four ends.
    cut.world.core.config.low_water_bytes = 1 << 20;
    cut.world.core.config.low_water_full_bytes = 1 << 20;
    let room = 1900 + limits::CLEAN_FLOOR_BYTES + 4 * limits::OUTCOME_BYTES_MAX;
    cut.world.journal.size_bytes = cut.world.journal.used_bytes + room;
    let used = cut.world.journal.used_bytes;
    let Cleaned::Moved { bytes } = cut.clean_one() else { panic!("there was room") };
    assert_eq!(bytes, cut.world.journal.used_bytes - used);
    let before = cut.world.journal.events.len();
    assert_eq!(cut.clean_one(), Cleaned::NoRoom);
    assert_eq!(cut.world.journal.events.len(), before);
    let World { core, journal, now, .. } = &mut cut.world;
    assert!(core.write_base(*now, journal).is_some());
    journal.size_bytes = journal.used_bytes + 4 * limits::OUTCOME_BYTES_MAX;
    assert_eq!(core.write_base(*now, journal), None);
    for dispatch in dispatched {
        cut.world.complete(dispatch, Outcome::Permanent(&"x".repeat(5000)));
    }
    assert_eq!(cut.world.core.counts().dead, 4);
}

#[test]
fn live_bytes_are_those_of_records_that_hold_something() {
    let mut world = World::new();
    assert_eq!(world.core.live_bytes(), 0);
    let near = |world: &World, entries: u64| {
        let (live, used) = (world.core.live_bytes(), world.journal.used_bytes);
        assert!(live >= used && live <= used + 24 * entries, "{live} of {used}");
    };
    for n in 0..20 {
        world.submit(&NewJob { payload: vec![1; 37 * n].into(), ..delayed(5) });
    }
    near(&world, 20);
    world.put(&Schedule::new("name", Timing::Every(3600 * SECOND), job()));
    near(&world, 21);
    for n in 0..20 {
        let job = JobId::new(ShardId(0), n + 1);
        world.answer(Input::Cancel { caller: CallerId(0), job });
    }
    assert!(world.core.live_bytes() > 0);
    world.answer(Input::RemoveSchedule { caller: CallerId(0), name: "name" });
    assert_eq!(world.core.live_bytes(), 0);
    // The longest payload is counted 0.4 % too short at the most.
    world.submit(&NewJob { payload: vec![1; limits::PAYLOAD_BYTES_MAX].into(), ..delayed(5) });
    assert_eq!(world.core.live_bytes(), (1 << 20) - 16);
}

#[test]
fn what_is_unknown_after_the_last_base_is_an_error() {
    let mut cut = Cut::new();
    let world = &mut cut.world;
    let ids: Vec<JobId> = (0..5).map(|_| world.submit(&delayed(50))).collect();
    let cancel = |world: &mut World, job| world.answer(Input::Cancel { caller: CallerId(0), job });
    cancel(world, ids[0]);
    cut.clean(5);
    cut.check();
    cancel(&mut cut.world, ids[1]);
    cut.check();
    // Without the pieces behind the cut, the cancel behind the base names a job that is not there.
    let journal = &cut.world.journal;
    let base = journal.events.len() - 2;
    assert!(matches!(Event::decode(&journal.events[base]).unwrap().0, Event::Base { .. }));
    let mut other = World::new();
    for (number, event) in journal.events.iter().enumerate().skip(base - 1) {
        other.core.replay(Lsn(number as u64), event).unwrap();
    }
    let error = other.core.replayed().unwrap_err();
    let unknown = Box::new(ReplayError::UnknownJob(ids[1]));
    assert_eq!(error, ReplayError::Unaccounted { lsn: Lsn(base as u64 + 1), error: unknown });
}

#[test]
fn a_piece_that_is_gone_although_it_was_not_cut_off_is_noticed() {
    let mut cut = Cut::new();
    for _ in 0..3 * SEGMENT_EVENTS {
        cut.world.submit(&delayed(50));
    }
    cut.clean(SEGMENT_EVENTS);
    cut.check();
    // The second segment was not cleaned: nothing names its jobs but their adding.
    let mut other = World::new();
    for (number, event) in cut.world.journal.events.iter().enumerate().skip(2 * SEGMENT_EVENTS) {
        other.core.replay(Lsn(number as u64), event).unwrap();
    }
    let error = other.core.replayed().unwrap_err();
    assert_eq!(error, ReplayError::JobsMissing { expected: 15, held: 10 });
}

#[test]
fn bytes_that_are_no_event_are_not_called_dead() {
    let mut world = World::new();
    let World { core, journal, now, .. } = &mut world;
    assert!(core.clean(*now, Lsn(0), &[99; 4], journal).is_err());
}

/// Two of a job's events are lost to damage: what is written of it later cannot be right as well.
#[test]
fn a_kept_job_that_its_events_do_not_lead_to_is_refused() {
    let mut cut = Cut::new();
    cut.world.submit(&job());
    let dispatched = cut.world.pass(TICK_NS);
    assert_eq!(dispatched.len(), 1);
    let Cleaned::Moved { .. } = cut.clean_one() else { panic!("it is held") };
    let events = cut.world.journal.events.clone();
    let mut replayed = Scheduler::new(Config::new(ShardId(0)), cut.world.now);
    let mut refused = Vec::new();
    for (number, bytes) in events.iter().enumerate() {
        let is_start = matches!(Event::decode(bytes).unwrap().0, Event::Started { .. });
        if !is_start && let Err(error) = replayed.replay(Lsn(number as u64 + 1), bytes) {
            refused.push(error);
        }
    }
    assert!(matches!(refused[..], [ReplayError::KeptOtherwise(_)]), "{refused:?}");
}
