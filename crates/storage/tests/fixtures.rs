//! Files that earlier versions wrote are kept, and read for ever: `tests/fixtures/version-1` is a folder as the first build
//! left it; `version-1.1` is of those that also write the length of a segment into its header, which was zeros before.
//!
//! When a format changes so that older builds cannot read it its version rises. In either case a new folder is added beside
//! the old ones, and the old ones stay.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use storage::log::{self, Entry, Options, PartitionLog};
use storage::snapshot;
use storage::{Disk, Log, MemoryDisk, Record, Snapshots};

/// What this build writes.
const NEWEST: &str = "version-1.1";

fn folder(version: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(version)
}

fn options() -> Options {
    Options { segment_bytes: 4096, rewrite_segments: 2, maintain_bytes: 4096 }
}

fn entry(position: u64, epoch: u64) -> Entry {
    let payload =
        Bytes::from(format!("entry {position} of epoch {epoch} {}", "x".repeat(position as usize * 40)));
    Entry { position, epoch, kind: (position % 3) as u8, payload }
}

fn append(partition: u32, position: u64, epoch: u64) -> Record {
    Record::Append { partition, entry: entry(position, epoch) }
}

/// Every kind of record, over several segments, with one that was moved.
fn write_all() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let (mut log, _) = Log::open(disk.clone(), options()).unwrap();
    let state = |bytes| Record::State { partition: 7, bytes: Bytes::from_static(bytes) };
    log.append(&[append(7, 1, 1), append(7, 2, 1), append(7, 3, 1), state(b"old state")]).unwrap();
    let mut moved = 0;
    for position in 1..=12 {
        log.append(&[append(1, position, 4)]).unwrap();
        log.append(&[Record::Trim { partition: 1, position: position - 1 }]).unwrap();
        moved += log.maintain().unwrap();
        log.sync().unwrap();
    }
    assert!(moved > 0);
    for position in 1..=10 {
        log.append(&[append(6, position, 5)]).unwrap();
    }
    log.append(&[
        append(8, 1, 1),
        Record::Forget { partition: 8 },
        Record::Reset { partition: 9, position: 20 },
    ])
    .unwrap();
    log.append(&[append(7, 3, 2), append(9, 21, 3), state(b"new state"), append(1, 13, 4)]).unwrap();
    log.append(&[Record::Trim { partition: 1, position: 12 }]).unwrap();
    log.sync().unwrap();
    assert!(log.bytes() > 4096, "more than one segment");
    let mut snapshots = Snapshots::open(disk.clone()).unwrap();
    for (sequence, chunk) in [&b"first chunk"[..], b"", b"third chunk"].into_iter().enumerate() {
        snapshots.chunk(9, 3, sequence as u64, chunk).unwrap();
    }
    snapshots.finish(9, 3, 3, b"the meta").unwrap();
    disk
}

fn files(disk: &MemoryDisk) -> Vec<(String, Vec<u8>)> {
    let names = disk.list().unwrap().into_iter().filter(|name| !name.starts_with("free-"));
    names.map(|name| (name.clone(), disk.content(&name).unwrap())).collect()
}

/// Run this (and look at the difference) only for a new version: `cargo test -p storage --test fixtures --
/// --ignored`.
#[test]
#[ignore = "writes the fixtures"]
fn write_fixtures() {
    fs::create_dir_all(folder(NEWEST)).unwrap();
    for (name, bytes) in files(&write_all()) {
        fs::write(folder(NEWEST).join(name), bytes).unwrap();
    }
}

fn fixture(version: &str) -> MemoryDisk {
    let disk = MemoryDisk::new();
    for file in fs::read_dir(folder(version)).unwrap() {
        let file = file.unwrap();
        disk.put(file.file_name().to_str().unwrap(), &fs::read(file.path()).unwrap());
    }
    disk
}

#[test]
fn all_versions_are_read() {
    for version in ["version-1", "version-1.1"] {
        assert_is_read(&fixture(version));
    }
}

fn assert_is_read(disk: &MemoryDisk) {
    let (log, found) = Log::open(disk.clone(), options()).unwrap();
    let partition = |partition, state: Option<&'static [u8]>, start, entries| {
        let state = state.map(Bytes::from_static);
        PartitionLog { partition, state, start, entries }
    };
    let expected = [
        partition(1, None, 12, vec![entry(13, 4)]),
        partition(6, None, 0, (1..=10).map(|position| entry(position, 5)).collect()),
        partition(7, Some(b"new state"), 0, vec![entry(1, 1), entry(2, 1), entry(3, 2)]),
        partition(9, None, 20, vec![entry(21, 3)]),
    ];
    assert_eq!(found, expected);
    assert_eq!(log.read(7, 1, 3, usize::MAX).unwrap(), expected[2].entries);

    let snapshots = Snapshots::open(disk.clone()).unwrap();
    let finished = snapshots.finished().next().unwrap();
    assert_eq!(finished.partition, 9);
    let mut chunks = Vec::new();
    let load = |chunk: &[u8]| {
        chunks.push(chunk.to_vec());
        Ok(())
    };
    assert_eq!(snapshot::read(disk, finished, load).unwrap(), (3, Bytes::from_static(b"the meta")));
    assert_eq!(chunks, [&b"first chunk"[..], b"", b"third chunk"]);
}

/// A log segment up to its last group. What lies beyond depends on which file was recycled and is no part of the
/// format.
fn groups(bytes: &[u8]) -> &[u8] {
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let (mut end, mut sequence) = (512, number(16));
    while end + 40 <= bytes.len() && bytes[end..].starts_with(b"GRP\x9c") && number(end + 8) == sequence {
        end += 40 + number(end + 32) as usize;
        sequence += 1;
    }
    &bytes[..end]
}

#[test]
fn what_is_written_today_is_what_the_newest_version_wrote() {
    assert_eq!((log::VERSION, snapshot::VERSION), (1, 1));
    let (then, now) = (files(&fixture(NEWEST)), files(&write_all()));
    assert_eq!(then.len(), now.len());
    for ((name, then), (now_name, now)) in then.iter().zip(&now) {
        assert_eq!(name, now_name);
        let part = |bytes| if name.starts_with("wal-") { groups(bytes) } else { bytes };
        let (then, now) = (part(then), part(now));
        let same = then.iter().zip(now).take_while(|(then, now)| then == now).count();
        assert!(
            then.len() > 100 && then == now,
            "{name} differs from byte {same} on: a new format is a new version"
        );
    }
}
