//! Every benchmark in its tiny mode: the checks in the measured bodies are what can fail.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use tickwheel_bench::{
    codec::{self, Pushes},
    crc::{Crate, Payloads},
    cron::{RULES, Reader, Searches, ZONES},
    engine::{
        Trips,
        bulk::Bulk,
        herd::Herd,
        lateness::{Lateness, bare_sleeper},
        overload::{Load, Overload},
        saturated::{Rules, completed_per_second},
        schedules::Schedules,
    },
    handover, path_counts,
    wal::{
        Appends, BareSyncs, Cleaned, Cleaning, Copies, Groups, Paced, Plan, Recovered, Sustained,
        disk_bytes_per_commit, killed,
        staged::{self, Place, Way},
    },
    wheel::Timers,
    wheel_counts::{Operation, Prepared, ROUND},
};
use tickwheel_wal::Durability;

/// Small enough that a tiny run rotates.
const SEGMENT_BYTES: u64 = 1 << 20;
const INTERVAL: Duration = Duration::from_millis(5);

#[test]
fn timers_are_inserted_cancelled_and_expired() {
    for pending in [4, 5000] {
        let mut timers = Timers::new(pending);
        // Enough rounds for every timer to have left the wheel several times.
        for _ in 0..3 {
            assert!(timers.insert(8) > Duration::ZERO);
            assert!(timers.cancel(8) > Duration::ZERO);
            assert!(timers.expire(8) > Duration::ZERO);
        }
    }
}

#[test]
fn what_is_counted_is_done() {
    let pending = 4 * ROUND;
    let prepared = |operation| Prepared::new(pending, operation);
    let (mut insert, mut cancel) = (prepared(Operation::Insert), prepared(Operation::Cancel));
    assert_eq!((insert.insert(), insert.pending()), (ROUND, pending + ROUND));
    assert_eq!((cancel.cancel(), cancel.pending()), (ROUND, pending - ROUND));
    let mut expire = prepared(Operation::Expire);
    let expired = expire.expire();
    assert!((ROUND * 9 / 10..ROUND * 11 / 10).contains(&expired), "{expired} of {pending}");
    assert_eq!(expire.pending(), pending - expired);
}

#[test]
fn the_paths_that_are_counted_do_what_they_say() {
    for pending in [0, 500] {
        let mut lives = path_counts::Lives::new(pending);
        assert_eq!((lives.live(), lives.live()), (1000, 1000));
    }
    assert_eq!(path_counts::Requests::new().read(), 1000);
    assert!(path_counts::Lives::new(10).dispatch(7) > Duration::ZERO);
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(path_counts::Appends::new(dir.path()).unwrap().append(), 1000);
}

#[test]
fn items_go_from_thread_to_thread() {
    for way in handover::Way::ALL {
        assert!(handover::hand_over(way, 5000, 64) > Duration::ZERO, "{way:?}");
    }
}

#[test]
fn records_are_appended_and_copied() {
    let dir = tempfile::tempdir().unwrap();
    let mut appends = Appends::new(dir.path(), 1 << 20, Durability::Os).unwrap();
    // Enough rounds for a fresh log to be begun.
    assert!(appends.append(45).unwrap() > Duration::ZERO);
    assert!(Copies::new(1000).copy(2) > Duration::ZERO);
}

#[test]
fn records_are_committed_and_blocks_synced() {
    let dir = tempfile::tempdir().unwrap();
    let mut appends = Appends::new(dir.path(), 1 << 20, Durability::Sync).unwrap();
    assert!(appends.commit(3).unwrap() > Duration::ZERO);
    assert!(BareSyncs::new(dir.path()).unwrap().sync(3).unwrap() > Duration::ZERO);
}

#[test]
fn checksums_are_taken() {
    for len in [1, 32, 200, 4096] {
        let payloads = Payloads::new(len);
        for by in Crate::ALL {
            assert!(payloads.whole(by, 2) > Duration::ZERO);
            assert!(payloads.record(by, 2) > Duration::ZERO);
        }
    }
}

#[test]
fn next_times_are_searched_and_texts_are_read() {
    for rule in RULES {
        for zone in ZONES {
            let searches = Searches::new(rule, zone).unwrap();
            for reader in Reader::ALL.into_iter().filter(|reader| reader.knows(zone)) {
                assert!(searches.search(reader, 1) > Duration::ZERO);
            }
        }
        for reader in Reader::ALL {
            assert!(reader.read(rule, 1).unwrap() > Duration::ZERO);
        }
    }
}

#[test]
fn pushes_are_read() {
    for args_bytes in [8, 128, 5000] {
        let pushes = Pushes::new(args_bytes);
        for way in codec::Way::ALL {
            assert!(pushes.read(way, 1) > Duration::ZERO);
        }
    }
}

#[test]
fn groups_are_committed() {
    let dir = tempfile::tempdir().unwrap();
    let run = Groups::log(dir.path(), SEGMENT_BYTES, 20).unwrap();
    assert!(run.durable > Duration::ZERO);
    assert!(run.syncs > 0, "{run:?}");
    assert!(Groups::bare(dir.path(), 2).unwrap() > Duration::ZERO);
    assert!(disk_bytes_per_commit(dir.path(), SEGMENT_BYTES, 3).unwrap() >= 0.0);
}

#[test]
fn appends_are_sustained_through_rotations() {
    let dir = tempfile::tempdir().unwrap();
    let run = Sustained::log(dir.path(), SEGMENT_BYTES, INTERVAL, 20_000).unwrap();
    assert!(run.segments > 3, "{run:?}");
    assert!(run.durable >= run.appended);
    let run = Sustained::released(dir.path(), SEGMENT_BYTES, INTERVAL, 60_000, 3).unwrap();
    assert!(run.segments < 60_000 * 200 / SEGMENT_BYTES, "nothing was given back: {run:?}");
    assert!(Sustained::bare(dir.path(), 20_001).unwrap() > Duration::ZERO);
}

#[test]
fn a_plan_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan { per_second: 1_000_000, records: 20_000 };
    let planned = Duration::from_millis(19);
    for run in [
        Paced::log(dir.path(), SEGMENT_BYTES, INTERVAL, plan).unwrap(),
        Paced::copies(1000, plan).unwrap(),
    ] {
        assert_eq!([run.call_ns.len(), run.behind_ns.len()], [plan.records; 2]);
        // Nothing runs ahead of its plan.
        assert!(run.elapsed > planned, "{:?}", run.elapsed);
    }
}

#[test]
fn a_log_is_cleaned_while_it_grows() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan { per_second: 1_000_000, records: 60_000 };
    for cleaning in [Cleaning::Off, Cleaning::On] {
        let run = Cleaned::run(dir.path(), SEGMENT_BYTES, INTERVAL, plan, 5000, cleaning).unwrap();
        assert_eq!(run.paced.call_ns.len(), plan.records);
        assert_eq!(run.released > 0, cleaning == Cleaning::On, "{} released", run.released);
        assert!(run.rewritten < plan.records / 2, "{} again", run.rewritten);
    }
}

#[test]
fn a_staged_log_does_the_same_runs() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place { parent: dir.path(), segment_bytes: SEGMENT_BYTES };
    let plan = Plan { per_second: 1_000_000, records: 12_000 };
    for way in Way::ALL {
        assert_eq!(staged::appends(way, place, 2).unwrap().syncs, 0);
        let (cost, times) = staged::commits(way, place, 3).unwrap();
        assert_eq!((times.len(), cost.syncs), (3, 3));
        assert!(staged::groups(way, place, 12).unwrap().cpu > Duration::ZERO);
        assert!(staged::sustained(way, place, INTERVAL, 12).unwrap().elapsed > Duration::ZERO);
        assert_eq!(staged::paced(way, place, INTERVAL, plan).unwrap().1.call_ns.len(), 12_000);
    }
}

#[test]
fn what_a_process_published_is_told_and_counted() {
    for way in Way::ALL {
        let dir = tempfile::tempdir().unwrap();
        let mut told = Vec::new();
        killed::publish(way, dir.path(), Durability::Os, 30, &mut told).unwrap();
        let mut told = &told[..];
        assert_eq!(killed::listen(&mut told, 20).unwrap(), 20);
        assert_eq!(killed::listen(&mut told, u64::MAX).unwrap(), 30);
        // It was not killed, but dropped.
        assert_eq!(killed::survivors(dir.path()).unwrap(), 30 * killed::GROUP);
    }
}

#[test]
fn a_closed_log_is_recovered() {
    let dir = tempfile::tempdir().unwrap();
    let recovered = Recovered::new(dir.path(), SEGMENT_BYTES, 12_345).unwrap();
    for _ in 0..2 {
        let opening = recovered.open().unwrap();
        assert!(Duration::ZERO < opening.reading && opening.reading < opening.elapsed);
        assert!(recovered.read_bare().unwrap() > Duration::ZERO);
    }
}

#[test]
fn jobs_go_through_an_engine() {
    let dir = tempfile::tempdir().unwrap();
    let mut trips = Trips::new(dir.path(), 300).unwrap();
    assert!(trips.trip(2).unwrap() > Duration::ZERO);
}

#[test]
fn lateness_is_measured_of_each_job() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(bare_sleeper(2000, 40).unwrap().len(), 40);
    let run = Lateness::run(dir.path(), 20_000, 2000).unwrap();
    assert_eq!((run.start_ns.len(), run.trigger_ns.len()), (2000, 2000));
    // A handler cannot be called before its job was triggered.
    assert!(run.start_ns.max() >= run.trigger_ns.min());
}

#[test]
fn a_herd_drains_beside_another_caller() {
    for durability in [Durability::Sync, Durability::Interval(INTERVAL)] {
        let dir = tempfile::tempdir().unwrap();
        let run = Herd::run(dir.path(), 2000, durability).unwrap();
        assert!(!run.ack_ns.is_empty());
        assert!(run.drained > Duration::ZERO);
    }
}

#[test]
fn pages_are_listed_and_many_are_cancelled_beside_other_callers() {
    let dir = tempfile::tempdir().unwrap();
    let run = Bulk::run(dir.path(), 20_000, 3, 5000).unwrap();
    assert_eq!((run.common_ns.len(), run.rare_ns.len()), (3, 3));
    assert!(run.cancel > Duration::ZERO && !run.alone_ns.is_empty(), "{run:?}");
}

#[test]
fn jobs_complete_through_one_and_two_shards() {
    for shards in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        for rules in [Rules::None, Rules::All] {
            assert!(completed_per_second(dir.path(), shards, 3000, rules).unwrap() > 0.0);
        }
    }
}

#[test]
fn schedules_fire_each_second() {
    let dir = tempfile::tempdir().unwrap();
    let run = Schedules::run(dir.path(), 200, 1).unwrap();
    assert_eq!(run.start_ns.len(), 200);
    assert!(run.put > Duration::ZERO);
}

#[test]
fn what_is_too_much_is_refused_and_the_rest_runs() {
    let dir = tempfile::tempdir().unwrap();
    let load = Load {
        per_second: 50_000,
        seconds: 1,
        jobs_max: 100,
        after_per_second: 500,
        after_seconds: 1,
    };
    let run = Overload::run(dir.path(), load).unwrap();
    assert_eq!((run.planned, run.after_ns.len()), (50_000, 1));
    // A hundred places for what is submitted 100 ms ahead: few of five thousand fit, unless a slow
    // machine submits few. How many is the benchmark's to tell.
    assert!(run.refused > 0, "{run:?}");
    assert!(run.goodput > 0.0 && run.memory_bytes.1 >= run.memory_bytes.0);
}
