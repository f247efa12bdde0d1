//! Snapshots from their writing to their reading: crashes and failures at every step, foreign and
//! damaged files, what is kept and what must go.

use super::image::Random;
use crate::snapshot::tests::disk::{Disk, Fault, Name};
use crate::snapshot::{Identity, Moment, SNAPSHOT_SYNC_BYTES, newest_usable, remove_unusable};
use crate::storage::{Directory, Storage};
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::{Lsn, SnapshotError, SnapshotInfo, SnapshotReader, SnapshotWriter};

const OURS: Identity = Identity { shard: 3, salt: 0x5eed };
const EPOCH: u64 = 5;
const MIB: usize = 1 << 20;

/// Bytes that are unlike those of other snapshots.
fn content(lsn: u64, len: usize) -> Vec<u8> {
    Random(lsn).payload(len)
}

fn start(storage: &Arc<dyn Storage>, lsn: u64) -> Result<SnapshotWriter, SnapshotError> {
    start_of(Arc::clone(storage), OURS, lsn)
}

/// Begins a snapshot of a log that is durable.
fn start_of(
    storage: Arc<dyn Storage>,
    identity: Identity,
    lsn: u64,
) -> Result<SnapshotWriter, SnapshotError> {
    let moment = Moment { identity, lsn: Lsn(lsn), epoch: EPOCH, head: Lsn(0) };
    SnapshotWriter::start(storage, moment, Box::new(|_| true))
}

/// Writes a whole snapshot, in pieces of these lengths over and over.
fn write(
    storage: &Arc<dyn Storage>,
    lsn: u64,
    bytes: &[u8],
    piece_lens: &[usize],
) -> Result<SnapshotInfo, SnapshotError> {
    let mut writer = start(storage, lsn)?;
    assert_eq!(writer.lsn(), Lsn(lsn));
    let mut rest = bytes;
    for &len in piece_lens.iter().cycle() {
        let (piece, later) = rest.split_at(len.min(rest.len()));
        writer.write(piece)?;
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    writer.finish()
}

/// What an opening begins from, and what it warns of. `below` bounds what the log holds.
fn newest(storage: &dyn Storage, below: u64) -> (Option<SnapshotReader>, Vec<String>) {
    let mut warnings = Vec::new();
    let mut below = below;
    loop {
        let mut is_usable = |lsn: Lsn, epoch: u64| lsn.0 < below && epoch == EPOCH;
        let reader = newest_usable(storage, OURS, &mut is_usable, &mut warnings).unwrap();
        let Some(mut reader) = reader else { return (None, warnings) };
        // As an opening does: what cannot be read to its end is of no use.
        match read(&mut reader) {
            Ok(_) => {
                let again = newest_usable(storage, OURS, &mut is_usable, &mut Vec::new());
                return (again.unwrap(), warnings);
            }
            Err(error) => warnings.push(error.to_string()),
        }
        below = reader.lsn().0;
    }
}

fn read(reader: &mut SnapshotReader) -> Result<Vec<u8>, SnapshotError> {
    let mut bytes = Vec::new();
    while let Some(block) = reader.next_block()? {
        bytes.extend_from_slice(block);
    }
    Ok(bytes)
}

/// Position and content of the newest snapshot below a position.
fn newest_content(storage: &dyn Storage, below: u64) -> Option<(u64, Vec<u8>)> {
    let mut reader = newest(storage, below).0?;
    let bytes = read(&mut reader).unwrap();
    assert_eq!(bytes.len() as u64, reader.len_bytes());
    Some((reader.lsn().0, bytes))
}

fn storage_of(disk: &Disk) -> Arc<dyn Storage> {
    Arc::new(disk.clone())
}

/// A disk with a short snapshot at each of these positions.
fn disk_with(lsns: &[u64]) -> (Disk, Arc<dyn Storage>) {
    let disk = Disk::default();
    let storage = storage_of(&disk);
    for &lsn in lsns {
        write(&storage, lsn, &content(lsn, 300), &[300]).unwrap();
    }
    (disk, storage)
}

#[test]
fn a_writer_and_a_reader_can_move_to_other_threads() {
    fn check<T: Send>() {}
    check::<SnapshotWriter>();
    check::<SnapshotReader>();
}

#[test]
fn what_was_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let on_disk: Arc<dyn Storage> = Arc::new(Directory::open(dir.path()).unwrap());
    let in_memory = storage_of(&Disk::default());
    let sizes = [0, 1, 7, 8, 9, 4096, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB + 17, 9 * MIB + 5];
    for (number, &size) in sizes.iter().enumerate() {
        let lsn = 1000 + number as u64;
        let bytes = content(lsn, size);
        let pieces: &[usize] = if size < 5000 { &[1, 3] } else { &[1, 70_001, MIB, 13, 1_500_000] };
        for (storage, pieces) in [(&on_disk, pieces), (&in_memory, pieces), (&in_memory, &[size])] {
            let info = write(storage, lsn, &bytes, pieces).unwrap();
            assert_eq!((info.lsn, info.epoch), (Lsn(lsn), EPOCH));
            assert_eq!(info.blocks, size.div_ceil(MIB) as u64);
            let (reader, warnings) = newest(storage.as_ref(), u64::MAX);
            let mut reader = reader.unwrap();
            assert_eq!((reader.info(), warnings.len()), (info, 0));
            assert!(read(&mut reader).unwrap() == bytes, "{size} bytes");
            let file = storage.open_snapshot(lsn).unwrap();
            assert_eq!(file.len_bytes().unwrap(), info.file_bytes);
        }
    }
    let mut names: Vec<String> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["00000000000000001010.snap", "00000000000000001011.snap"]);
}

#[test]
fn a_long_snapshot_is_synced_in_parts() {
    let disk = Disk::default();
    let storage = storage_of(&disk);
    let mut writer = start(&storage, 10).unwrap();
    let piece = content(10, MIB);
    let mut written = 0;
    for _ in 0..20 {
        writer.write(&piece).unwrap();
        written += piece.len() as u64;
        assert_eq!(disk.syncs(), written / SNAPSHOT_SYNC_BYTES, "after {written} bytes");
    }
    writer.finish().unwrap();
    assert_eq!(disk.syncs(), written / SNAPSHOT_SYNC_BYTES + 1);
}

#[test]
fn two_are_kept() {
    let (disk, storage) = disk_with(&[10, 20, 30, 40]);
    assert_eq!(disk.names(), [Name::Snapshot(30), Name::Snapshot(40)]);
    // One that comes late, or a second time, does not remove itself.
    write(&storage, 35, b"late", &[4]).unwrap();
    assert_eq!(disk.names(), [Name::Snapshot(35), Name::Snapshot(40)]);
    write(&storage, 40, b"again", &[5]).unwrap();
    assert_eq!(disk.names(), [Name::Snapshot(35), Name::Snapshot(40)]);
    assert_eq!(newest_content(&disk, 99), Some((40, b"again".to_vec())));
}

#[test]
fn an_unfinished_one_does_not_count() {
    let (disk, storage) = disk_with(&[10]);
    let mut writer = start(&storage, 20).unwrap();
    writer.write(&content(20, 2 * MIB)).unwrap();
    drop(writer);
    assert_eq!(disk.names(), [Name::Draft(20), Name::Snapshot(10)]);
    assert_eq!(newest_content(&disk, 99), Some((10, content(10, 300))));
    // The next one takes its draft away.
    write(&storage, 30, b"next", &[4]).unwrap();
    assert_eq!(disk.names(), [Name::Snapshot(10), Name::Snapshot(30)]);
}

#[test]
fn only_what_the_log_holds_is_used() {
    let (disk, _) = disk_with(&[10, 20]);
    assert_eq!(newest_content(&disk, 99).unwrap().0, 20);
    assert_eq!(newest_content(&disk, 20).unwrap().0, 10);
    let (reader, warnings) = newest(&disk, 10);
    assert!(reader.is_none() && warnings.is_empty(), "{warnings:?}");
    let mut other_epoch = |_, epoch| epoch != EPOCH;
    let found = newest_usable(&disk, OURS, &mut other_epoch, &mut Vec::new()).unwrap();
    assert!(found.is_none());
}

#[test]
fn what_cannot_be_used_is_skipped_with_a_warning() {
    type Spoil = fn(&Disk);
    let cases: [(&str, Spoil); 5] = [
        ("damaged at offset 128: the checksum of the payload", |disk| {
            disk.edit(Name::Snapshot(20), |bytes| bytes[200] ^= 1);
        }),
        ("the header is cut off", |disk| disk.edit(Name::Snapshot(20), Vec::clear)),
        ("format version 9", |disk| disk.edit(Name::Snapshot(20), |bytes| bytes[8] = 9)),
        ("belongs to another log (shard 4, salt 0x0000000000005eed)", |disk| {
            let foreign = Identity { shard: 4, ..OURS };
            let writer = start_of(storage_of(disk), foreign, 20);
            writer.unwrap().finish().unwrap();
        }),
        ("holds the state at LSN 10", |disk| {
            disk.put(Name::Snapshot(20), &disk.bytes(Name::Snapshot(10)));
        }),
    ];
    for (expected, spoil) in cases {
        let (disk, _) = disk_with(&[10, 20]);
        spoil(&disk);
        let (reader, warnings) = newest(&disk, 99);
        assert_eq!(reader.unwrap().lsn(), Lsn(10), "{expected}");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains("00000000000000000020.snap") && warnings[0].contains(expected),
            "{expected}: {warnings:?}"
        );
    }
    let salt = Identity { salt: 1, ..OURS };
    let (disk, _) = disk_with(&[10, 20]);
    let mut warnings = Vec::new();
    assert!(newest_usable(&disk, salt, &mut |_, _| true, &mut warnings).unwrap().is_none());
    assert_eq!(warnings.len(), 2, "{warnings:?}");
}

/// A disk that cannot read a snapshot costs the opening that snapshot, never more.
#[test]
fn an_unreadable_one_is_skipped() {
    let (disk, _) = disk_with(&[10, 20]);
    for at in 0.. {
        disk.set_fault(Some(Fault::Once(at)));
        let mut warnings = Vec::new();
        let found = newest_usable(&disk, OURS, &mut |_, _| true, &mut warnings);
        let operations = disk.operations();
        disk.set_fault(None);
        if operations <= at {
            assert_eq!((found.unwrap().unwrap().lsn(), warnings.len()), (Lsn(20), 0));
            break;
        }
        if at == 0 {
            found.unwrap_err();
            continue;
        }
        let mut reader = found.unwrap().unwrap();
        assert_eq!((reader.lsn(), warnings.len()), (Lsn(10), 1), "operation {at}");
        assert!(read(&mut reader).unwrap() == content(10, 300));
    }
}

/// The second pass trusts nothing that the first has seen.
#[test]
fn a_medium_that_changes_is_noticed() {
    let name = Name::Snapshot(20);
    let (disk, storage) = disk_with(&[]);
    write(&storage, 20, &content(20, MIB + 50), &[MIB]).unwrap();
    let whole = disk.bytes(name);
    let second_block = 128 + 16 + MIB;
    for at in [128, 150, second_block, second_block + 16, second_block + 16 + 51, whole.len() - 1] {
        let mut reader = newest(&disk, 99).0.unwrap();
        disk.edit(name, |bytes| bytes[at] ^= 0x10);
        let error = read(&mut reader).unwrap_err();
        assert!(matches!(error, SnapshotError::Damaged { .. }), "byte {at}: {error}");
        reader.next_block().unwrap_err();
        disk.put(name, &whole);
    }
    for len in [0, 130, second_block, whole.len() - 8] {
        let mut reader = newest(&disk, 99).0.unwrap();
        disk.edit(name, |bytes| bytes.truncate(len));
        read(&mut reader).unwrap_err();
        disk.put(name, &whole);
    }
    // Another snapshot of the same position in its place, whose blocks are right.
    let (other_disk, other) = disk_with(&[]);
    write(&other, 20, &content(21, MIB + 51), &[MIB]).unwrap();
    let mut reader = newest(&disk, 99).0.unwrap();
    disk.edit(name, |bytes| *bytes = other_disk.bytes(name));
    read(&mut reader).unwrap_err();
    disk.put(name, &whole);
    // Bytes that are missing are not taken for zeros.
    write(&other, 20, b"", &[1]).unwrap();
    let mut reader = newest(&other_disk, 99).0.unwrap();
    other_disk.edit(name, |bytes| bytes.truncate(bytes.len() - 8));
    read(&mut reader).unwrap_err();
    // A failure that passes can be tried again, and the bytes are still those.
    let mut reader = newest(&disk, 99).0.unwrap();
    let first = reader.next_block().unwrap().unwrap().to_vec();
    disk.set_fault(Some(Fault::Once(0)));
    reader.next_block().unwrap_err();
    let rest = read(&mut reader).unwrap();
    assert!([first, rest].concat() == content(20, MIB + 50));
}

#[test]
fn a_reader_outlives_the_removal_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(Directory::open(dir.path()).unwrap());
    write(&storage, 20, &content(20, 5000), &[5000]).unwrap();
    let mut reader = newest(storage.as_ref(), 99).0.unwrap();
    storage.remove_snapshot(20).unwrap();
    assert!(read(&mut reader).unwrap() == content(20, 5000));
}

/// Everything that could fit a later log by accident goes, and does not come back after a crash.
#[test]
fn what_does_not_fit_is_removed() {
    let (disk, storage) = disk_with(&[10]);
    let ours = disk.bytes(Name::Snapshot(10));
    let (ahead, _) = disk_with(&[90]);
    disk.put(Name::Snapshot(90), &ahead.bytes(Name::Snapshot(90)));
    disk.put(Name::Snapshot(30), &ours);
    disk.put(Name::Snapshot(40), b"not a snapshot");
    let mut newer = ours.clone();
    newer[8] = 2;
    disk.put(Name::Snapshot(50), &newer);
    drop(start(&storage, 60).unwrap());
    storage.sync_directory().unwrap();
    assert_eq!(disk.names().len(), 6);

    let mut is_usable = |lsn: Lsn, epoch: u64| lsn < Lsn(90) && epoch == EPOCH;
    remove_unusable(&disk, OURS, &mut is_usable).unwrap();
    assert_eq!(disk.names(), [Name::Snapshot(10)]);
    assert_eq!(disk.crash(&mut || false).names(), [Name::Snapshot(10)]);
    assert_eq!(newest_content(&disk, 99), Some((10, content(10, 300))));

    remove_unusable(&disk, Identity { salt: 1, ..OURS }, &mut is_usable).unwrap();
    assert_eq!(disk.names(), []);
    // One that cannot be removed ends the opening: it could fit one day.
    disk.put(Name::Snapshot(40), b"not a snapshot");
    for at in 0..2 {
        disk.set_fault(Some(Fault::Once(at)));
        remove_unusable(&disk, OURS, &mut is_usable).unwrap_err();
    }
    disk.set_fault(Some(Fault::Once(4)));
    remove_unusable(&disk, OURS, &mut is_usable).unwrap_err();
    disk.set_fault(None);
    remove_unusable(&disk, OURS, &mut is_usable).unwrap();
    assert_eq!(disk.names(), []);
}

/// Checks what is left of the snapshots 10 and 20 and of a try to write 30, then goes on with it.
fn check_after(disk: &Disk, is_finished: bool, what: &str) {
    let lens = |lsn: u64| if lsn == 30 { MIB + 100 } else { 300 };
    let (first, bytes) = newest_content(disk, 99).unwrap_or_else(|| panic!("{what}: none"));
    assert!(first == 30 || (first == 20 && !is_finished), "{what}: {first}");
    assert!(bytes == content(first, lens(first)), "{what}: other bytes at {first}");
    // And one behind it, in case it goes bad.
    let (second, bytes) = newest_content(disk, first).unwrap_or_else(|| panic!("{what}: one"));
    assert!(bytes == content(second, lens(second)), "{what}: other bytes at {second}");

    remove_unusable(disk, OURS, &mut |_, _| true).unwrap();
    write(&storage_of(disk), 40, &content(40, 300), &[300]).unwrap();
    assert_eq!(disk.names(), [Name::Snapshot(first), Name::Snapshot(40)], "{what}");
    assert_eq!(newest_content(disk, 99), Some((40, content(40, 300))), "{what}");
}

/// Tries to write snapshot 30 beside 10 and 20 with this fault. `None`: the fault came too late.
fn try_with(fault: Fault, at: u64) -> Option<(Disk, Result<SnapshotInfo, SnapshotError>)> {
    let (disk, storage) = disk_with(&[10, 20]);
    disk.set_fault(Some(fault));
    let result = write(&storage, 30, &content(30, MIB + 100), &[MIB, 64]);
    let is_reached = disk.operations() > at;
    disk.set_fault(None);
    is_reached.then_some((disk, result))
}

/// Of what was not synced at a crash, nothing, all or any part survives.
#[test]
fn a_crash_at_any_operation_leaves_the_old_set_or_the_new() {
    let mut random = Random(1);
    let mut crashes = 0;
    for at in 0.. {
        // The last round crashes after the last operation.
        let tried = try_with(Fault::From(at), at);
        let is_last = tried.is_none();
        let (disk, result) = match tried {
            Some(tried) => tried,
            None => {
                let (disk, storage) = disk_with(&[10, 20]);
                (disk, write(&storage, 30, &content(30, MIB + 100), &[MIB, 64]))
            }
        };
        for cut in 0..12 {
            let kept_of_8 = match cut {
                0 => 0,
                1 => 8,
                _ => random.below(9),
            };
            let after = disk.crash(&mut || random.below(8) < kept_of_8);
            check_after(&after, result.is_ok(), &format!("crash at {at}, cut {cut}"));
            crashes += 1;
        }
        if is_last {
            result.unwrap();
            break;
        }
    }
    assert!(crashes > 100, "{crashes}");
}

#[test]
fn a_failure_at_any_operation_is_told_and_harmless() {
    let mut failures = 0;
    for at in 0.. {
        let Some((disk, result)) = try_with(Fault::Once(at), at) else { break };
        failures += u64::from(result.is_err());
        if let Err(error) = &result {
            assert!(matches!(error, SnapshotError::Io { .. }), "{error}");
            let is_draft = |name: &Name| matches!(name, Name::Draft(_));
            assert!(!disk.names().iter().any(is_draft), "its space is not freed");
        }
        check_after(&disk.crash(&mut || true), result.is_ok(), &format!("failure at {at}"));
    }
    // Drafts removed, draft, header, block, block, totals, sync, name, directory.
    assert_eq!(failures, 9);
}

#[test]
fn a_writer_that_failed_stays_failed() {
    let (disk, storage) = disk_with(&[10]);
    let mut writer = start(&storage, 20).unwrap();
    disk.set_fault(Some(Fault::Once(0)));
    let error = writer.write(&content(20, MIB)).unwrap_err();
    assert!(matches!(error, SnapshotError::Io { .. }), "{error}");
    disk.set_fault(None);
    assert!(matches!(writer.write(b"more"), Err(SnapshotError::Abandoned { .. })));
    assert!(matches!(writer.finish(), Err(SnapshotError::Abandoned { .. })));
    assert_eq!(disk.names(), [Name::Snapshot(10)]);
}

/// A log that ends before it is durable so far leaves no snapshot.
#[test]
fn what_is_not_durable_gets_no_snapshot() {
    let disk = Disk::default();
    let storage = storage_of(&disk);
    start(&storage, 10).unwrap().finish().unwrap();
    let moment = Moment { identity: OURS, lsn: Lsn(20), epoch: EPOCH, head: Lsn(0) };
    let asked = Arc::new(AtomicU64::new(0));
    let ask = Arc::clone(&asked);
    let reach = Box::new(move |lsn: Lsn| {
        ask.store(lsn.0, Ordering::SeqCst);
        false
    });
    let writer = SnapshotWriter::start(Arc::clone(&storage), moment, reach).unwrap();
    let error = writer.finish().unwrap_err();
    assert!(matches!(error, SnapshotError::LogEnded { lsn: Lsn(20) }), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 20);
    assert_eq!(storage.list_snapshots().unwrap(), [10]);
}
