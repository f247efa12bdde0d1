//! The modes, the durable position, idle marks and the counters.

use std::time::Duration;

use tickwheel_wal::Durability;

use crate::fixture::Fixture;

#[test]
fn a_commit_becomes_durable_and_gives_notice() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    assert_eq!(log.durability(), Durability::Sync);
    assert_eq!(log.durable(), log.appended());
    let appended = log.append(&[b"one"]).unwrap();
    assert!(log.durable() < appended.end, "nothing is durable before it is published");
    let published = log.commit();
    assert!(published >= appended.end);
    assert_eq!(published, log.appended());
    fixture.wait_durable(&log, published);
    assert_eq!(log.durable(), published);
    assert!(fixture.notices.count() > 0);
    let stats = log.stats();
    assert_eq!(stats.appended_records, 1);
    assert!(stats.syncs >= 1);
    assert!(stats.synced_bytes >= published.0 - appended.lsn.0);
    assert!(stats.total_sync_nanos >= stats.last_sync_nanos);
    assert_eq!(stats.sync_nanos_classes.iter().sum::<u64>(), stats.syncs);
}

#[test]
fn a_commit_without_data_writes_nothing() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    let start = log.appended();
    assert_eq!(log.commit(), start);
    log.append(&[b"one"]).unwrap();
    let published = log.commit();
    assert_eq!(log.commit(), published);
    assert_eq!(log.appended(), published);
}

#[test]
fn one_idle_mark_follows_the_last_data() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    assert!(!log.mark_idle(), "a fresh log has nothing to mark");
    let appended = log.append(&[b"one"]).unwrap();
    assert!(!log.mark_idle(), "the data is not durable");
    let published = log.commit();
    fixture.wait_durable(&log, published);
    assert!(log.mark_idle());
    assert!(log.appended() > appended.end);
    let marked = log.appended();
    fixture.wait_durable(&log, marked);
    assert!(!log.mark_idle(), "a mark asks for no other");
    assert_eq!(log.appended(), marked);
    drop(log);
    let (mut log, _) = fixture.open();
    assert!(!log.mark_idle(), "the header of the new segment is a mark");
}

#[test]
fn interval_syncs_in_time() {
    let fixture = Fixture::new();
    let mode = Durability::Interval(Duration::from_millis(5));
    let (mut log, _) = fixture.try_open(fixture.options().durability(mode)).unwrap();
    for _ in 0..5 {
        log.append(&[b"one"]).unwrap();
        let published = log.commit();
        fixture.wait_durable(&log, published);
    }
    assert!(log.mark_idle());
}

#[test]
fn interval_does_not_sync_before() {
    let fixture = Fixture::new();
    let mode = Durability::Interval(Duration::from_secs(3600));
    let (mut log, _) = fixture.try_open(fixture.options().durability(mode)).unwrap();
    log.append(&[b"first"]).unwrap();
    let first = log.commit();
    fixture.wait_durable(&log, first);
    log.append(&[b"second"]).unwrap();
    log.commit();
    // The rotations make notices to wait for while no sync may happen.
    while log.stats().segments < 4 {
        fixture.append(&mut log, &[7; 16_000]);
        log.commit();
    }
    assert_eq!(log.durable(), first);
    assert_eq!(log.stats().syncs, 1);
    log.close().unwrap();
    let (log, _) = fixture.open();
    assert!(log.recovery().clean_shutdown);
}

#[test]
fn os_syncs_only_at_the_end() {
    let fixture = Fixture::new();
    let options = fixture.options().durability(Durability::Os);
    let (mut log, _) = fixture.try_open(options).unwrap();
    let start = log.durable();
    while log.stats().segments < 4 {
        fixture.append(&mut log, &[7; 16_000]);
        log.commit();
    }
    assert_eq!(log.durable(), start);
    assert_eq!(log.stats().syncs, 0);
    assert!(!log.mark_idle());
    log.close().unwrap();
    let (log, replayed) = fixture.open();
    assert!(log.recovery().clean_shutdown);
    assert!(replayed.len() > 9);
}

#[test]
fn a_drop_is_no_clean_shutdown_and_a_close_is() {
    let fixture = Fixture::new();
    let (log, _) = fixture.open();
    drop(log);
    let (log, _) = fixture.open();
    assert!(!log.recovery().clean_shutdown);
    log.close().unwrap();
    let (log, _) = fixture.open();
    assert!(log.recovery().clean_shutdown);
    drop(log);
    let (log, _) = fixture.open();
    assert!(!log.recovery().clean_shutdown);
}
