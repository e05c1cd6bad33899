//! The log's behaviour, one story at a time. What crashes and damage do to it is in `crash.rs` and `damage.rs`.

use bytes::Bytes;
use storage::log::{Entry, Options, PartitionLog};
use storage::{AppendError, Disk, Log, MemoryDisk, OpenError, Record};

fn options() -> Options {
    Options { segment_bytes: 16 << 10, rewrite_segments: 4, maintain_bytes: 8 << 10 }
}

fn open(disk: &MemoryDisk) -> (Log<MemoryDisk>, Vec<PartitionLog>) {
    Log::open(disk.clone(), options()).unwrap()
}

fn entry(position: u64, epoch: u64, payload: &[u8]) -> Entry {
    Entry { position, epoch, kind: 1, payload: Bytes::copy_from_slice(payload) }
}

fn append(partition: u32, position: u64, epoch: u64, payload: &[u8]) -> Record {
    Record::Append { partition, entry: entry(position, epoch, payload) }
}

fn state(partition: u32, bytes: &'static [u8]) -> Record {
    Record::State { partition, bytes: Bytes::from_static(bytes) }
}

/// Kills the process, opens again.
fn reopen(disk: &MemoryDisk) -> (Log<MemoryDisk>, Vec<PartitionLog>) {
    disk.kill();
    open(disk)
}

fn positions(found: &PartitionLog) -> Vec<(u64, u64)> {
    found.entries.iter().map(|entry| (entry.position, entry.epoch)).collect()
}

#[test]
fn what_was_written_is_found_again() {
    let disk = MemoryDisk::new();
    let (mut log, found) = open(&disk);
    assert!(found.is_empty());
    log.append(&[append(7, 1, 1, b"a"), state(7, b"one"), append(3, 1, 5, b""), append(7, 2, 1, &[9; 3000])])
        .unwrap();
    log.append(&[state(7, b"two")]).unwrap();
    log.sync().unwrap();
    disk.crash(1);
    let (log, found) = open(&disk);
    let expected = [
        PartitionLog { partition: 3, state: None, start: 0, entries: vec![entry(1, 5, b"")] },
        PartitionLog {
            partition: 7,
            state: Some(Bytes::from_static(b"two")),
            start: 0,
            entries: vec![entry(1, 1, b"a"), entry(2, 1, &[9; 3000])],
        },
    ];
    assert_eq!(found, expected);
    assert_eq!(log.read(7, 1, 9, usize::MAX).unwrap(), expected[1].entries);
    assert_eq!(log.read(7, 2, 2, usize::MAX).unwrap(), expected[1].entries[1..]);
    assert_eq!(log.read(7, 1, 2, 0).unwrap().len(), 1, "at least one");
    assert!(log.read(7, 3, 9, 100).unwrap().is_empty() && log.read(1, 1, 1, 100).unwrap().is_empty());
}

#[test]
fn an_append_at_or_below_the_last_replaces_it_and_what_follows() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    log.append(&[append(1, 1, 1, b"a"), append(1, 2, 1, b"b"), append(1, 3, 1, b"c")]).unwrap();
    log.append(&[append(1, 2, 2, b"B")]).unwrap();
    assert_eq!(log.read(1, 1, 9, 100).unwrap(), [entry(1, 1, b"a"), entry(2, 2, b"B")]);
    let (_, found) = reopen(&disk);
    assert_eq!(positions(&found[0]), [(1, 1), (2, 2)]);
}

#[test]
fn trim_reset_and_forget() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    for partition in 1..=4 {
        let entries: Vec<Record> = (1..=5).map(|position| append(partition, position, 1, b"x")).collect();
        log.append(&entries).unwrap();
    }
    log.append(&[Record::Trim { partition: 1, position: 3 }, Record::Trim { partition: 1, position: 2 }])
        .unwrap();
    log.append(&[Record::Reset { partition: 2, position: 100 }, append(2, 101, 4, b"y")]).unwrap();
    log.append(&[Record::Forget { partition: 3 }]).unwrap();
    log.append(&[Record::Trim { partition: 4, position: 9 }, append(4, 10, 2, b"z")]).unwrap();
    let (mut log, found) = reopen(&disk);
    let seen: Vec<_> = found.iter().map(|found| (found.partition, found.start, positions(found))).collect();
    assert_eq!(
        seen,
        [(1, 3, vec![(4, 1), (5, 1)]), (2, 100, vec![(101, 4)]), (4, 9, vec![(10, 2)])],
        "a trim beyond the last entry moves the start there"
    );
    assert!(log.read(1, 3, 5, 100).unwrap().is_empty());
    log.append(&[append(3, 1, 1, b"again")]).unwrap();
    assert_eq!(reopen(&disk).1[2].partition, 3);
}

#[test]
#[should_panic(expected = "an entry at 3 where the log goes from 0 to 1")]
fn a_gap_is_a_bug() {
    let (mut log, _) = open(&MemoryDisk::new());
    log.append(&[append(1, 1, 1, b""), append(1, 3, 1, b"")]).unwrap();
}

#[test]
fn segments_are_recycled_once_nothing_in_them_is_needed() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    for position in 1..=1000u64 {
        log.append(&[append(1, position, 1, &[position as u8; 1000])]).unwrap();
        if position % 5 == 0 {
            log.append(&[Record::Trim { partition: 1, position: position - 5 }]).unwrap();
        }
        log.maintain().unwrap();
        log.sync().unwrap();
    }
    let names = disk.list().unwrap();
    assert!(names.len() <= 5, "{names:?}");
    assert!(names.iter().any(|name| name.starts_with("wal-0000004")), "{names:?}");
    disk.crash(4);
    let (log, found) = open(&disk);
    assert_eq!((found[0].start, found[0].entries.len()), (995, 5));
    assert_eq!(log.read(1, 996, 1000, usize::MAX).unwrap(), found[0].entries);
}

#[test]
fn a_slow_partition_does_not_hold_the_log_back() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    log.append(&[state(9, b"slow"), Record::Reset { partition: 9, position: 40 }]).unwrap();
    log.append(&[append(9, 41, 2, b"s41"), append(9, 42, 2, b"s42"), append(8, 1, 1, b"only")]).unwrap();
    let mut rewritten = 0;
    for position in 1..=2000u64 {
        log.append(&[
            append(1, position, 1, &[7; 500]),
            Record::Trim { partition: 1, position: position - 1 },
        ])
        .unwrap();
        rewritten += log.maintain().unwrap();
        log.sync().unwrap();
        if position % 333 == 0 {
            log = reopen(&disk).0;
        }
    }
    assert!(rewritten > 0 && rewritten < 100_000, "{rewritten}");
    assert!(log.bytes() <= 6 * (16 << 10), "{}", log.bytes());
    assert_eq!(log.read(9, 41, 42, 100).unwrap(), [entry(41, 2, b"s41"), entry(42, 2, b"s42")]);
    disk.crash(2);
    let (_, found) = open(&disk);
    let slow = found.iter().find(|found| found.partition == 9).unwrap();
    assert_eq!((slow.start, positions(slow)), (40, vec![(41, 2), (42, 2)]));
    assert_eq!(slow.state.as_deref(), Some(&b"slow"[..]));
    assert_eq!(found.iter().find(|found| found.partition == 8).unwrap().entries, [entry(1, 1, b"only")]);
}

#[test]
fn a_batch_larger_than_a_segment_gets_its_own() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    let large = vec![5; 100_000];
    log.append(&[append(1, 1, 1, b"small")]).unwrap();
    log.append(&[append(1, 2, 1, &large), append(1, 3, 1, &large)]).unwrap();
    log.append(&[append(1, 4, 1, b"small")]).unwrap();
    let (mut log, found) = reopen(&disk);
    assert_eq!(found[0].entries.len(), 4);
    assert_eq!(log.read(1, 2, 3, usize::MAX).unwrap(), found[0].entries[1..3]);
    log.append(&[Record::Trim { partition: 1, position: 4 }, append(1, 5, 1, &[0; 15_000])]).unwrap();
    log.maintain().unwrap();
    log.append(&[append(1, 6, 1, &[0; 15_000])]).unwrap();
    log.sync().unwrap();
    assert!(log.bytes() < 100_000, "a large segment is not kept: {:?}", disk.list());
}

#[test]
fn a_full_disk_takes_small_records_and_recovers() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    disk.limit_room(Some(5 * (16 << 10)));
    assert!(!log.is_full());
    let mut position = 0;
    while !log.is_full() {
        position += 1;
        log.append(&[append(1, position, 1, &[1; 1000])]).unwrap();
        log.sync().unwrap();
    }
    // The reserve: control records still fit.
    for _ in 0..50 {
        log.append(&[state(1, b"term")]).unwrap();
    }
    let mut last = position;
    loop {
        match log.append(&[append(1, last + 1, 1, &[1; 1000])]) {
            Ok(()) => last += 1,
            Err(AppendError::Full) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(last > position, "the newest segment has room");
    assert!(log.read(1, last + 1, last + 1, 100).unwrap().is_empty(), "nothing has changed");
    assert!(!log.try_reclaim().unwrap());
    assert_eq!(reopen(&disk).1[0].entries.len() as u64, last, "a full disk can be opened");
    disk.kill();
    let (mut log, _) = open(&disk);
    assert!(log.is_full());
    disk.limit_room(Some(1 << 20));
    assert!(log.try_reclaim().unwrap() && !log.is_full());
    log.append(&[append(1, last + 1, 1, &[1; 1000])]).unwrap();
    log.sync().unwrap();
    disk.crash(3);
    assert_eq!(open(&disk).1[0].entries.len() as u64, last + 1);
}

#[test]
fn a_large_batch_waits_for_room_of_its_size() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    disk.limit_room(Some(60_000));
    let large = append(1, 1, 1, &[1; 100_000]);
    assert!(matches!(log.append(std::slice::from_ref(&large)), Err(AppendError::Full)));
    assert!(log.is_full(), "although there is a spare for small batches");
    assert!(!log.try_reclaim().unwrap());
    log.append(&[state(1, b"small")]).unwrap();
    disk.limit_room(Some(110_000));
    assert!(log.try_reclaim().unwrap() && !log.is_full());
    disk.limit_room(Some(0));
    log.append(std::slice::from_ref(&large)).unwrap();
    assert_eq!(reopen(&disk).1[0].entries.len(), 1);
}

#[test]
fn trimming_makes_room_on_a_full_disk() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    log.append(&[append(2, 1, 1, b"slow")]).unwrap();
    disk.limit_room(Some(5 * (16 << 10)));
    let mut position = 0;
    while !log.is_full() {
        position += 1;
        log.append(&[append(1, position, 1, &[1; 1000])]).unwrap();
    }
    log.append(&[Record::Trim { partition: 1, position }]).unwrap();
    assert!(log.maintain().unwrap() > 0, "the slow partition's entry is moved although the disk is full");
    log.sync().unwrap();
    assert!(!log.is_full());
    assert_eq!(log.read(2, 1, 1, 100).unwrap(), [entry(1, 1, b"slow")]);
}

#[test]
fn nothing_goes_on_after_a_failed_sync_or_write() {
    for fail in [MemoryDisk::fail_syncs, MemoryDisk::fail_writes] {
        let disk = MemoryDisk::new();
        let (mut log, _) = open(&disk);
        log.append(&[append(1, 1, 1, b"kept")]).unwrap();
        log.sync().unwrap();
        fail(&disk, true);
        let result = log.append(&[append(1, 2, 1, &[3; 5000])]);
        assert!(result.is_err() || log.sync().is_err());
        fail(&disk, false);
        assert!(matches!(log.append(&[append(1, 2, 1, b"x")]), Err(AppendError::Failed(_))));
        assert!(log.sync().is_err() && log.maintain().is_err() && log.read(1, 1, 1, 9).is_err());
        // The cache holds what the disk does not; what recovery reports must survive a crash right after it.
        let (_, found) = reopen(&disk);
        assert!(!found[0].entries.is_empty());
        disk.crash(11);
        assert_eq!(open(&disk).1, found);
    }
}

#[test]
fn a_second_opening_finds_what_the_first_found() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    log.append(&[append(1, 1, 1, b"unsynced")]).unwrap();
    let (_, found) = reopen(&disk);
    for seed in 0..20 {
        let copy = disk.copy();
        copy.crash(seed);
        assert_eq!(open(&copy).1, found, "what was recovered is durable");
    }
}

/// Three batches, of which a crash loses the first two and keeps the third: the third must not come back when
/// others are written in the place of the first two.
#[test]
fn what_a_crash_left_behind_the_end_stays_dead() {
    const HEADS: usize = 40 + 32;
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    log.append(&[append(1, 1, 1, b"kept")]).unwrap();
    log.sync().unwrap();
    let before = disk.content("wal-00000001").unwrap();
    for position in 2..=4 {
        log.append(&[append(1, position, 1, &[position as u8; 1000])]).unwrap();
    }
    let after = disk.content("wal-00000001").unwrap();
    let first = before.iter().zip(&after).position(|(before, after)| before != after).unwrap() / 8 * 8;
    let third = first + 2 * (HEADS + 1000);
    assert_eq!(after[third..third + 3], *b"GRP");
    disk.kill();
    disk.damage("wal-00000001", |bytes| bytes[..third].copy_from_slice(&before[..third])).unwrap();
    let (mut log, found) = open(&disk);
    assert_eq!(found[0].entries, [entry(1, 1, b"kept")]);
    // Opening wrote a group without records (40 bytes); this one ends where the third begins.
    log.append(&[append(1, 2, 2, &[9; 2 * (HEADS + 1000) - 40 - HEADS])]).unwrap();
    assert_eq!(
        &disk.content("wal-00000001").unwrap()[third..third + 4],
        b"GRP\x9c",
        "the third follows directly"
    );
    let (_, found) = reopen(&disk);
    assert_eq!(positions(&found[0]), [(1, 1), (2, 2)]);
}

#[test]
fn another_version_is_named() {
    let disk = MemoryDisk::new();
    drop(open(&disk));
    disk.damage("wal-00000001", |bytes| {
        bytes[8] = 2;
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    })
    .unwrap();
    let error = Log::open(disk, options()).unwrap_err();
    assert!(matches!(error, OpenError::Version { found: 2, reads: 1, .. }));
    assert_eq!(error.to_string(), "wal-00000001 has format version 2; this build reads version 1");
}

/// What is written ahead of many small batches spares each sync something; ahead of large ones it would cost as much as they do.
#[test]
fn segments_are_prepared_for_small_batches_only() {
    let written_a_byte = |bytes: usize, batches: u64| {
        let disk = MemoryDisk::new();
        let options = Options { segment_bytes: 8 << 20, maintain_bytes: 256 << 10, ..options() };
        let (mut log, _) = Log::open(disk.clone(), options).unwrap();
        let before = disk.counts().written_bytes;
        for position in 1..=batches {
            log.append(&[append(1, position, 1, &vec![7; bytes])]).unwrap();
            log.maintain().unwrap();
            log.sync().unwrap();
        }
        (disk.counts().written_bytes - before) as f64 / (bytes as u64 * batches) as f64
    };
    assert!(written_a_byte(1000, 100) > 50.0, "all of the segment and of a spare");
    // The first few, until it is seen how large they are.
    assert!(written_a_byte(60_000, 100) < 1.5);
}
