//! The journal: batches and snapshots together.

use bytes::{Bytes, BytesMut};
use data::{MutationBuilder, Operation, Table};
use replication::PartitionId;
use replication::contract::{Batch, Input, SnapshotWrite, Write};
use replication::ordered::raft::{Entry, EntryKind};
use replication::shard::Recovered;
use storage::journal::{Options, destroy};
use storage::{AppendError, Disk, Journal, MemoryDisk, OpenError, SnapshotError};

const P: PartitionId = PartitionId(5);

fn options() -> Options {
    Options { segment_bytes: 16 << 10, rewrite_segments: 4, maintain_bytes: 8 << 10 }
}

fn try_open(disk: &MemoryDisk) -> Result<(Journal<MemoryDisk>, Vec<Recovered>), OpenError> {
    Journal::open(disk.clone(), options(), |_| Table::new())
}

fn open(disk: &MemoryDisk) -> (Journal<MemoryDisk>, Vec<Recovered>) {
    try_open(disk).unwrap()
}

fn reopen(disk: &MemoryDisk) -> (Journal<MemoryDisk>, Vec<Recovered>) {
    disk.kill();
    open(disk)
}

fn entry(index: u64, payload: &'static [u8]) -> Entry {
    Entry { index, term: 3, kind: EntryKind::Normal, payload: Bytes::from_static(payload) }
}

fn append(index: u64) -> Write {
    Write::Append { partition: P, entry: entry(index, b"payload") }
}

fn state(bytes: &'static [u8]) -> Write {
    Write::State { partition: P, state: Bytes::from_static(bytes) }
}

fn write(journal: &mut Journal<MemoryDisk>, number: u64, writes: Vec<Write>) {
    journal.append(&Batch { number, writes, ..Batch::default() }).unwrap();
}

fn finish(journal: &mut Journal<MemoryDisk>, snapshot: u64, meta: &'static [u8]) -> Option<Input> {
    let meta = Bytes::from_static(meta);
    journal.snapshot(SnapshotWrite::Finish { partition: P, snapshot, sequence: 0, meta }).unwrap()
}

fn meta(found: &Recovered) -> Option<&[u8]> {
    found.snapshot.as_ref().map(|(meta, _)| &meta[..])
}

#[test]
fn a_journal_can_live_on_a_thread_of_its_own() {
    fn is_send<T: Send>() {}
    is_send::<Journal<storage::RealDisk>>();
    is_send::<Journal<MemoryDisk>>();
}

#[test]
fn batches_and_snapshots_are_found_again() {
    let disk = MemoryDisk::new();
    let (mut journal, found) = open(&disk);
    assert!(found.is_empty());
    write(&mut journal, 1, vec![state(b"s"), append(1), append(2), append(3)]);
    write(&mut journal, 2, vec![append(4)]);
    assert_eq!(journal.sync().unwrap(), 2);
    let written = finish(&mut journal, 77, b"up to 2");
    assert!(matches!(written, Some(Input::SnapshotWritten { partition: P, snapshot: 77, sequence: 0 })));
    write(&mut journal, 3, vec![Write::Trim { partition: P, index: 2 }]);
    journal.sync().unwrap();
    disk.crash(1);
    let (journal, found) = open(&disk);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].partition, found[0].log_start, meta(&found[0])), (P, 2, Some(&b"up to 2"[..])));
    assert_eq!(found[0].state.as_deref(), Some(&b"s"[..]));
    assert_eq!(found[0].entries, [entry(3, b"payload"), entry(4, b"payload")]);
    assert_eq!(journal.fetch(P, 3, 4, 1000).unwrap(), found[0].entries);
}

#[test]
fn a_table_is_loaded_from_its_slices() {
    let mut table = Table::new();
    for number in 0..500u32 {
        let key = format!("key {number}").into_bytes();
        let mut mutation = MutationBuilder::new();
        mutation.push(&Operation::Set { key: &key, value: &number.to_le_bytes(), expire_at_ms: None });
        table.apply(&mutation.finish().unwrap()).unwrap();
    }
    let disk = MemoryDisk::new();
    let (mut journal, _) = open(&disk);
    let (mut from, mut sequence) = (Some(0), 0);
    while let Some(position) = from {
        let mut slice = BytesMut::new();
        from = table.slice(position, 1000, &mut slice);
        let chunk = SnapshotWrite::Chunk { partition: P, snapshot: 1, sequence, bytes: slice.freeze() };
        assert!(journal.snapshot(chunk).unwrap().is_some());
        sequence += 1;
    }
    assert!(sequence > 5);
    let finish = SnapshotWrite::Finish { partition: P, snapshot: 1, sequence, meta: Bytes::new() };
    journal.snapshot(finish).unwrap();
    disk.crash(1);
    let (_, found) = open(&disk);
    let (_, loaded) = found[0].snapshot.as_ref().unwrap();
    let replication::shard::Content::Table(loaded) = loaded else { panic!("it is a table") };
    assert_eq!((loaded.len(), loaded.digest()), (500, table.digest()));
}

#[test]
fn a_chunk_that_is_no_slice_is_reported() {
    let disk = MemoryDisk::new();
    let (mut journal, _) = open(&disk);
    let bytes = Bytes::from_static(&[0xff; 30]);
    journal.snapshot(SnapshotWrite::Chunk { partition: P, snapshot: 1, sequence: 0, bytes }).unwrap();
    journal
        .snapshot(SnapshotWrite::Finish { partition: P, snapshot: 1, sequence: 1, meta: Bytes::new() })
        .unwrap();
    disk.kill();
    let error = try_open(&disk).unwrap_err().to_string();
    assert!(error.starts_with("snap-00000005-0000000000000001 is damaged at offset 64"), "{error}");
}

#[test]
fn a_snapshot_counts_from_its_finish_on() {
    let disk = MemoryDisk::new();
    let (mut journal, _) = open(&disk);
    finish(&mut journal, 1, b"first");
    let chunk =
        SnapshotWrite::Chunk { partition: P, snapshot: 2, sequence: 0, bytes: Bytes::from_static(b"part") };
    assert!(matches!(
        journal.snapshot(chunk.clone()).unwrap(),
        Some(Input::SnapshotWritten { sequence: 0, .. })
    ));
    let (mut journal, found) = reopen(&disk);
    assert_eq!(
        (meta(&found[0]), found[0].newest_snapshot),
        (Some(&b"first"[..]), 2),
        "the unfinished one was 2"
    );
    assert!(!disk.list().unwrap().iter().any(|name| name.ends_with(".tmp")));
    journal.snapshot(chunk).unwrap();
    assert!(journal.snapshot(SnapshotWrite::Abort { partition: P, snapshot: 2 }).unwrap().is_none());
    let late = SnapshotWrite::Finish { partition: P, snapshot: 2, sequence: 1, meta: Bytes::new() };
    assert!(journal.snapshot(late).unwrap().is_none(), "dropped: the file was given up");
    finish(&mut journal, 3, b"third");
    assert_eq!(meta(&reopen(&disk).1[0]), Some(&b"third"[..]));
    assert_eq!(disk.list().unwrap().iter().filter(|name| name.starts_with("snap-")).count(), 1);
}

#[test]
fn a_reset_takes_the_log_to_the_snapshot() {
    let disk = MemoryDisk::new();
    let (mut journal, _) = open(&disk);
    write(&mut journal, 1, vec![append(1), append(2)]);
    finish(&mut journal, 1, b"up to 90");
    write(&mut journal, 2, vec![Write::Reset { partition: P, index: 90 }, state(b"after")]);
    journal.sync().unwrap();
    write(&mut journal, 3, vec![append(91)]);
    let (_, found) = reopen(&disk);
    assert_eq!((found[0].log_start, &found[0].entries[..]), (90, &[entry(91, b"payload")][..]));
    assert_eq!((meta(&found[0]), found[0].state.as_deref()), (Some(&b"up to 90"[..]), Some(&b"after"[..])));
}

#[test]
fn a_forgotten_partition_loses_its_snapshot_only_after_the_log_says_so() {
    let disk = MemoryDisk::new();
    let (mut journal, _) = open(&disk);
    finish(&mut journal, 1, b"old");
    write(&mut journal, 1, vec![append(1), Write::Trim { partition: P, index: 1 }]);
    journal.sync().unwrap();
    write(&mut journal, 2, vec![Write::Forget { partition: P }]);
    let unsynced = disk.copy();
    let mut outcomes = [0; 2];
    for seed in 0..50 {
        let copy = unsynced.copy();
        copy.crash(seed);
        let (_, found) = open(&copy);
        outcomes[found.len()] += 1;
        assert!(found.iter().all(|found| meta(found) == Some(b"old")), "both or nothing");
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
    journal.sync().unwrap();
    assert!(!disk.list().unwrap().iter().any(|name| name.starts_with("snap-")));
    // A new life: its snapshot stays, although nothing else was written about it.
    finish(&mut journal, 2, b"new");
    disk.crash(1);
    let (_, found) = open(&disk);
    assert_eq!((found[0].log_start, meta(&found[0])), (0, Some(&b"new"[..])));
    // And one that begins in the batch that ends the other.
    let (mut journal, _) = reopen(&disk);
    write(&mut journal, 1, vec![state(b"a"), Write::Forget { partition: P }, state(b"b"), append(1)]);
    let (_, found) = reopen(&disk);
    assert_eq!((meta(&found[0]), found[0].state.as_deref()), (None, Some(&b"b"[..])));
}

/// The segment with the Forget may be freed by the sync that makes it durable; by then the snapshot has to be
/// gone.
#[test]
fn a_snapshot_does_not_outlive_the_record_that_forgets_it() {
    let mut gone = 0;
    for changes in 0..12 {
        let disk = MemoryDisk::new();
        let (mut journal, _) = open(&disk);
        finish(&mut journal, 1, b"old");
        write(&mut journal, 1, vec![append(1), Write::Trim { partition: P, index: 1 }]);
        write(&mut journal, 2, vec![Write::Forget { partition: P }]);
        let large =
            Entry { index: 1, term: 1, kind: EntryKind::Normal, payload: Bytes::from(vec![1; 16 << 10]) };
        write(&mut journal, 3, vec![Write::Append { partition: PartitionId(9), entry: large }]);
        disk.stop_after(changes);
        let done = journal.sync().is_ok();
        for seed in 0..20 {
            let copy = disk.copy();
            copy.crash(seed);
            let (_, found) = open(&copy);
            let old = found.iter().find(|found| found.partition == P);
            assert!(old.is_none_or(|old| !done && old.log_start == 1 && meta(old) == Some(b"old")));
            gone += usize::from(old.is_none());
        }
        if done {
            assert!(disk.list().unwrap().iter().all(|name| name != "wal-00000001"), "its segment is freed");
            assert!(changes > 3 && gone > 20);
            return;
        }
    }
    panic!("a sync takes fewer changes");
}

#[test]
fn nothing_goes_missing_unnoticed() {
    let disk = MemoryDisk::new();
    let (mut journal, _) = open(&disk);
    write(&mut journal, 1, vec![append(1), append(2)]);
    finish(&mut journal, 1, b"up to 1");
    write(&mut journal, 2, vec![Write::Trim { partition: P, index: 1 }]);
    journal.sync().unwrap();
    disk.kill();
    let error_without = |name: &str| {
        let copy = disk.copy();
        copy.remove(name).unwrap();
        try_open(&copy).unwrap_err().to_string()
    };
    assert!(
        error_without("snap-00000005-0000000000000001").contains("the log begins after 1, but the snapshot")
    );
    assert!(error_without("wal-00000001").contains("the log is missing"));
}

#[test]
fn destroying_leaves_nothing_and_cannot_be_done_by_half() {
    let disk = MemoryDisk::new();
    let (mut journal, _) = open(&disk);
    write(&mut journal, 1, vec![append(1)]);
    finish(&mut journal, 1, b"x");
    journal.sync().unwrap();
    disk.put("config", b"not ours");
    disk.kill();
    for changes in 0.. {
        let copy = disk.copy();
        copy.stop_after(changes);
        let done = destroy(&copy).is_ok();
        copy.crash(changes);
        match try_open(&copy) {
            Ok((_, found)) => {
                let all = found.len() == 1 && found[0].entries.len() == 1 && meta(&found[0]) == Some(b"x");
                assert!(found.is_empty() || (all && !done), "all or nothing");
            }
            Err(error) => {
                assert!(error.to_string().contains("an earlier rebuild was interrupted"), "{error}")
            }
        }
        destroy(&copy).unwrap();
        assert_eq!(copy.list().unwrap(), ["config"]);
        assert!(open(&copy).1.is_empty());
        if done {
            assert!(changes > 5);
            break;
        }
    }
}

#[test]
fn a_full_disk_gives_up_the_snapshot_and_keeps_the_older_one() {
    let disk = MemoryDisk::new();
    let (mut journal, _) = open(&disk);
    finish(&mut journal, 1, b"first");
    disk.limit_room(Some(1000));
    let chunk = |sequence| {
        let bytes = Bytes::from_static(&[7; 400]);
        SnapshotWrite::Chunk { partition: P, snapshot: 2, sequence, bytes }
    };
    assert!(journal.snapshot(chunk(0)).unwrap().is_some());
    assert!(journal.snapshot(chunk(1)).unwrap().is_some());
    assert!(matches!(journal.snapshot(chunk(2)), Err(SnapshotError::Full)));
    assert!(journal.snapshot(chunk(3)).unwrap().is_none(), "what was under way is dropped");
    assert!(journal.snapshot(chunk(0)).unwrap().is_some(), "its room was given back");
    assert_eq!(meta(&reopen(&disk).1[0]), Some(&b"first"[..]));
}

#[test]
fn a_batch_that_does_not_fit_changes_nothing() {
    let disk = MemoryDisk::new();
    let (mut journal, _) = open(&disk);
    write(&mut journal, 1, vec![append(1), state(b"s")]);
    finish(&mut journal, 1, b"snapshot");
    journal.sync().unwrap();
    disk.limit_room(Some(0));
    let large = Entry { index: 2, term: 1, kind: EntryKind::Normal, payload: Bytes::from(vec![1; 100_000]) };
    let writes =
        vec![Write::Forget { partition: PartitionId(9) }, Write::Append { partition: P, entry: large }];
    assert!(matches!(
        journal.append(&Batch { number: 2, writes, ..Batch::default() }),
        Err(AppendError::Full)
    ));
    assert_eq!(journal.sync().unwrap(), 1);
    write(&mut journal, 3, vec![append(2)]);
    assert_eq!(journal.sync().unwrap(), 3);
    let (_, found) = reopen(&disk);
    assert_eq!((found[0].entries.len(), meta(&found[0])), (2, Some(&b"snapshot"[..])));
}
