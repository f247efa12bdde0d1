//! Snapshots: what is frozen comes back, and no bytes whatever break the reader.

use super::{fetch::in_queue, keep::whole, *};
use crate::{Frozen, Restore, RestoreError};

pub(super) fn bytes(world: &mut World) -> Vec<u8> {
    written(&world.core.freeze())
}

fn written(frozen: &Frozen) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut sink = |piece: &[u8]| -> Result<(), ()> {
        assert!(!piece.is_empty());
        bytes.extend_from_slice(piece);
        Ok(())
    };
    frozen.write(&mut sink).unwrap();
    bytes
}

pub(super) fn restore(now: Now, bytes: &[u8]) -> Result<Scheduler, RestoreError> {
    restore_in(now, bytes, 1000)
}

fn restore_in(now: Now, bytes: &[u8], piece_bytes: usize) -> Result<Scheduler, RestoreError> {
    let config = Config {
        notices: true,
        low_water_bytes: 4096,
        low_water_full_bytes: 4096,
        ..Config::new(ShardId(0))
    };
    let mut restore = Restore::new(config, now);
    for piece in bytes.chunks(piece_bytes) {
        restore.feed(piece)?;
    }
    restore.finish()
}

/// A world with jobs in each state and schedules of each sort.
fn varied() -> World {
    let mut world = World::new();
    for message in ["no such user", ""] {
        world.submit(&NewJob { key: Some(Key([7; 16])), ..job() });
        let doomed = world.pass(0)[0];
        world.complete(doomed, Outcome::Permanent(message));
    }
    for n in 0..4_u64 {
        world.submit(&NewJob { payload: vec![1; 9].into(), ..delayed(n * 100) });
        let due = Due::At(WallTime(START_WALL + n * SECOND));
        world.submit(&NewJob { due, priority: n as u8, ..NewJob::new(format!("kind {n}")) });
    }
    for expires in [Expiry::After(100 * SECOND), Expiry::At(WallTime(START_WALL + 900 * SECOND))] {
        let options = Some(JobOptions { expires: Some(expires), ..JobOptions::default() }.into());
        world.submit(&NewJob { options, ..delayed(50) });
    }
    let cron = Timing::Cron(Cron::parse("0 9 * * 1").unwrap().with_zone("Europe/Berlin").unwrap());
    world.put(&Schedule::new("first", Timing::Every(SECOND), job()));
    world.put(&Schedule::new("second", cron, job()));
    world.put(&Schedule::new("third", Timing::Every(2 * SECOND), job()));
    world.answer(Input::RemoveSchedule { caller: CallerId(0), name: "first" });
    world.core.config.running_max = 3;
    for _ in 0..3 {
        let dispatched = world.pass(SECOND);
        world.complete(dispatched[0], Outcome::Retryable("again"));
    }
    world.submit(&in_queue("mail"));
    assert_eq!(world.fetch(&["mail"], 1).len(), 1);
    let counts = world.core.counts();
    assert!(counts.running > 1 && counts.ready > 0 && counts.failed_attempts > 0, "{counts:?}");
    world
}

#[test]
fn what_was_frozen_comes_back_however_its_bytes_are_cut() {
    let mut world = varied();
    let frozen = world.core.freeze();
    let expected = whole(&world);
    // What happens later is not in it.
    world.submit(&job());
    world.pass(SECOND);
    let bytes = written(&frozen);
    let counts = world.core.counts();
    assert_eq!(u64::from(frozen.jobs()) + 1, counts.pending + counts.buried);
    assert_eq!(counts.buried, 2);
    let now = Now { mono: MonoTime(4 * SECOND), wall: WallTime(START_WALL + 3 * SECOND) };
    for piece_bytes in [1, 7, 100, usize::MAX] {
        let mut other = World::with(Memory::default(), now.mono.0, now.wall.0);
        other.core = restore_in(now, &bytes, piece_bytes).unwrap();
        assert_eq!(whole(&other), expected, "in pieces of {piece_bytes}");
        let again = self::bytes(&mut other);
        assert_eq!(self::bytes(&mut other), again);
    }
}

/// The table has pages of 4096 records, which are taken as they are where all of a page are jobs. Ids
/// rise with their slots until a slot is used again.
#[test]
fn pages_of_jobs_come_back_in_any_order_of_their_ids() {
    for is_mixed in [false, true] {
        let mut world = World::new();
        world.put(&Schedule::new("first", Timing::Every(3600 * SECOND), job()));
        let mut ids: Vec<JobId> = (0..9000).map(|n| world.submit(&delayed(100 + n))).collect();
        if is_mixed {
            for job in ids.iter().copied().step_by(7) {
                world.answer(Input::Cancel { caller: CallerId(0), job });
            }
            ids.extend((0..500).map(|n| world.submit(&delayed(50 + n))));
        }
        let bytes = bytes(&mut world);
        for piece_bytes in [999, usize::MAX] {
            let mut other = World::with(Memory::default(), world.now.mono.0, world.now.wall.0);
            other.core = restore_in(world.now, &bytes, piece_bytes).unwrap();
            assert_eq!(other.core.census(), world.core.census());
            for id in &ids {
                assert_eq!(other.core.job(*id), world.core.job(*id));
            }
            assert_eq!(whole(&other), whole(&world));
        }
    }
}

#[test]
fn after_a_boot_delays_go_on_and_overdue_jobs_come_in_the_order_of_their_due_times() {
    let mut world = World::new();
    let late: Vec<JobId> = [30, 10, 20].map(|s| world.submit(&delayed(s))).into();
    let delay = world.submit(&delayed(3600));
    // On the wall clock: another wheel, which is looked at second.
    let due = Due::At(WallTime(START_WALL + 5 * SECOND));
    let instant = world.submit(&NewJob { due, ..job() });
    let bytes = bytes(&mut world);
    // The monotonic clock begins anew, 50 s before.
    let mut other = World::with(world.journal, 50 * SECOND, START_WALL + 1800 * SECOND);
    other.core = restore(other.now, &bytes).unwrap();
    let order: Vec<JobId> = other.time().iter().map(|d| d.attempt.job).collect();
    assert_eq!(order, [late[1], late[2], late[0], instant]);
    assert!(other.pass(1800 * SECOND - 1).is_empty());
    assert_eq!(other.pass(TICK_NS)[0].attempt.job, delay);
}

#[test]
fn after_a_restore_an_unknown_name_is_an_error_at_once() {
    let mut world = World::new();
    let bytes = bytes(&mut world);
    let mut core = restore(world.now, &bytes).unwrap();
    let job = world.submit(&job());
    let dispatch = world.pass(0)[0];
    world.complete(dispatch, Outcome::Succeeded);
    assert_eq!(core.replay(Lsn(1), &world.journal.events[1]), Err(ReplayError::UnknownJob(job)));
}

#[test]
fn a_snapshot_of_another_kind_shard_or_version_is_named() {
    let mut world = varied();
    let bytes = bytes(&mut world);
    let changed = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        restore(world.now, &bytes).unwrap_err()
    };
    assert_eq!(changed(0, b'X'), RestoreError::NotASnapshot);
    assert_eq!(changed(8, 1), RestoreError::Version { found: 1 });
    assert_eq!(changed(12, 9), RestoreError::Shard { found: 9, expected: 0 });
    for len in 0..bytes.len() {
        let error = restore(world.now, &bytes[..len]).unwrap_err();
        let truncated = matches!(error, RestoreError::Truncated);
        assert!(truncated, "{len}: {error}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(restore(world.now, &longer), Err(RestoreError::Malformed(_))));
}

/// Version 7 had no part about groups, and no number in the header that counts it.
#[test]
fn a_snapshot_of_the_version_before_groups_is_read() {
    let mut world = varied();
    let mut bytes = bytes(&mut world);
    bytes[8] = 7;
    assert_eq!(bytes.drain(132..136).collect::<Vec<u8>>(), [0; 4]);
    for piece_bytes in [1, usize::MAX] {
        let mut other = World::with(Memory::default(), world.now.mono.0, world.now.wall.0);
        other.core = restore_in(world.now, &bytes, piece_bytes).unwrap();
        assert_eq!(whole(&other), whole(&world));
    }
}

#[test]
fn each_lease_has_a_job_of_its_own() {
    let mut world = World::new();
    for _ in 0..2 {
        world.submit(&in_queue("mail"));
    }
    let waits = world.submit(&job());
    assert_eq!(world.fetch(&["mail"], 2).len(), 2);
    let bytes = bytes(&mut world);
    let first = bytes.len() - 32;
    let check = |at: usize, value: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        let error = restore(world.now, &bytes).unwrap_err();
        assert!(matches!(error, RestoreError::Malformed(_)), "byte {at}: {error}");
    };
    check(124, &[1]); // fewer than there are
    check(124, &[3]); // more
    check(first, &bytes[first + 16..first + 24]); // one job twice
    check(first, &waits.0.to_le_bytes()); // not under way
    check(first, &99_u64.to_le_bytes()); // not there
}

#[test]
fn what_was_refused_once_stays_refused() {
    let mut world = World::new();
    world.submit(&job());
    let mut bytes = bytes(&mut world);
    let last = bytes.len() - 1;
    bytes[last] = 2;
    let mut restore = Restore::new(Config::new(ShardId(0)), world.now);
    let first = restore.feed(&bytes).unwrap_err();
    let second = restore.feed(&bytes).unwrap_err();
    assert_ne!(first, second);
    assert_eq!(restore.finish().unwrap_err(), second);
}

#[test]
fn each_field_of_a_job_is_checked() {
    let mut world = World::new();
    world.submit(&job());
    world.submit(&job());
    let bytes = bytes(&mut world);
    let last = bytes.len() - 60;
    let check = |at: usize, value: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[last + at..last + at + value.len()].copy_from_slice(value);
        let error = restore(world.now, &bytes).unwrap_err();
        assert!(matches!(error, RestoreError::Malformed(_)), "byte {at} of a job: {error}");
    };
    check(0, &0_u64.to_le_bytes()); // no sequence
    check(0, &1_u64.to_le_bytes()); // the other job's id
    check(0, &3_u64.to_le_bytes()); // not issued yet
    check(7, &[1]); // another shard
    check(40, &[0, 0]); // no such schedule
    check(44, &[1, 0]); // no such kind
    check(52, &[1, 0]); // no such queue
    check(54, &[10]); // priority
    check(55, &[3]); // dead, and it is not told how it died
    check(55, &[4]); // state
    check(56, &[2]); // clock
    check(57, &[2]); // key
    check(58, &[1]); // options, and none follow
    check(59, &[2]); // whether it is kept once it is dead
}

#[test]
fn a_frozen_state_can_be_written_by_another_thread() {
    fn check<T: Send + 'static>(_: &T) {}
    check(&World::new().core.freeze());
}

#[test]
fn the_first_error_of_a_sink_ends_the_writing() {
    let mut world = World::new();
    for _ in 0..5000 {
        world.submit(&delayed(10));
    }
    let mut pieces = 0;
    let mut sink = |_: &[u8]| {
        pieces += 1;
        if pieces == 2 { Err("full") } else { Ok(()) }
    };
    assert_eq!(world.core.freeze().write(&mut sink), Err("full"));
    assert_eq!(pieces, 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A snapshot that was changed is refused, or gives a scheduler that works.
    #[test]
    fn changed_bytes_are_an_error_or_another_state(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        piece_bytes in 1..300_usize,
    ) {
        let mut world = varied();
        let mut bytes = bytes(&mut world);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            let cut = cut.index(bytes.len());
            bytes.remove(cut);
        }
        if let Ok(core) = restore_in(world.now, &bytes, piece_bytes) {
            world.core = core;
            world.pass(SECOND);
            // It may be refused: the changed bytes may be a limit's.
            world.answer(Input::Submit { caller: CallerId(0), job: &job() });
            let again = self::bytes(&mut world);
            prop_assert!(restore(world.now, &again).is_ok());
        }
    }
}
