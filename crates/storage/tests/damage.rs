//! Damage to what was synced is reported with file and offset, or was of no consequence; it never changes what is
//! found.

use bytes::Bytes;
use storage::log::{Entry, Options, PartitionLog};
use storage::random::Random;
use storage::snapshot::{self, Finished};
use storage::{Damage, Disk, Log, MemoryDisk, OpenError, ReadError, Record, Snapshots};

fn options() -> Options {
    Options { segment_bytes: 8 << 10, rewrite_segments: 8, maintain_bytes: 8 << 10 }
}

fn append(partition: u32, position: u64, length: usize) -> Record {
    let payload = Bytes::from(vec![position as u8; length]);
    Record::Append { partition, entry: Entry { position, epoch: position / 7, kind: 1, payload } }
}

/// A log of several segments, some of them recycled, all of it synced.
fn synced_log() -> (MemoryDisk, Vec<PartitionLog>) {
    let disk = MemoryDisk::new();
    let mut random = Random::new(5);
    let (mut log, _) = Log::open(disk.clone(), options()).unwrap();
    for position in 1..=150u64 {
        log.append(&[append(1, position, random.below(700) as usize), append(2, position, 20)]).unwrap();
        if position == 60 {
            log.append(&[1, 2].map(|partition| Record::Trim { partition, position: 50 })).unwrap();
        }
        log.sync().unwrap();
    }
    drop(log);
    disk.kill();
    let (_, found) = Log::open(disk.copy(), options()).unwrap();
    assert_eq!(found[0].entries.len(), 100);
    (disk, found)
}

fn log_files(disk: &MemoryDisk) -> Vec<String> {
    disk.list().unwrap().into_iter().filter(|name| name.starts_with("wal-")).collect()
}

/// Opens a damaged copy. Returns where the damage was reported, if it was; otherwise nothing must have changed.
fn reported(disk: &MemoryDisk, found: &[PartitionLog], story: &str) -> Option<Damage> {
    match Log::open(disk.clone(), options()) {
        Ok((_, now)) => {
            assert!(now == found, "{story}: not noticed");
            None
        }
        Err(OpenError::Corrupt(damage)) => Some(damage),
        Err(error) => panic!("{story}: {error}"),
    }
}

#[test]
fn a_flipped_bit_or_a_lost_sector_in_the_log_is_reported_where_it_is() {
    let (disk, found) = synced_log();
    let files = log_files(&disk);
    assert!(files.len() > 5);
    let mut random = Random::new(1);
    let (mut noticed, mut dead) = (0, 0);
    for _ in 0..3000 {
        let copy = disk.copy();
        let file = &files[random.below(files.len() as u64) as usize];
        let offset = random.below(options().segment_bytes);
        let flip = random.one_in(2);
        copy.damage(file, |bytes| {
            if flip {
                bytes[offset as usize] ^= 1 << (offset % 8);
            } else {
                let start = offset as usize / 512 * 512;
                bytes[start..start + 512].fill(if offset.is_multiple_of(2) { 0 } else { 0xa5 });
            }
        })
        .unwrap();
        let changed = copy.content(file).unwrap() != disk.content(file).unwrap();
        match reported(&copy, &found, &format!("{file} {offset} {flip}")) {
            Some(damage) => {
                assert!(changed);
                assert_eq!(&damage.file, file);
                assert!(damage.offset <= offset, "{damage} for {offset}");
                assert!(
                    offset - damage.offset < 512 + 32 + 700 + 40,
                    "{damage} for {offset}: the record begins close before"
                );
                noticed += 1;
            }
            None => dead += 1,
        }
    }
    assert!(noticed > 1500 && dead > 50, "{noticed} {dead}");
}

#[test]
fn every_bit_of_the_last_record_counts() {
    let (disk, found) = synced_log();
    let file = log_files(&disk).pop().unwrap();
    let bytes = disk.content(&file).unwrap();
    let last_group =
        (0..bytes.len()).step_by(8).rev().find(|at| bytes[*at..].starts_with(b"GRP\x9c")).unwrap();
    let end = last_group
        + 40
        + u64::from_le_bytes(bytes[last_group + 32..last_group + 40].try_into().unwrap()) as usize;
    let mut dead = 0;
    for offset in last_group..end {
        let copy = disk.copy();
        copy.damage(&file, |bytes| bytes[offset] ^= 0x10).unwrap();
        dead += usize::from(reported(&copy, &found, &format!("{offset}")).is_none());
    }
    assert!(dead < 16, "only the padding after payloads may change: {dead}");
    // The last sector as a whole: the mark that tells is in another.
    let copy = disk.copy();
    copy.damage(&file, |bytes| bytes[last_group / 512 * 512..end.next_multiple_of(512)].fill(0)).unwrap();
    assert!(reported(&copy, &found, "the end").is_some());
}

#[test]
fn a_missing_or_swapped_segment_is_reported() {
    let (disk, found) = synced_log();
    let files = log_files(&disk);
    for file in &files[1..files.len() - 1] {
        let copy = disk.copy();
        copy.remove(file).unwrap();
        assert_eq!(reported(&copy, &found, file).unwrap().file, *file);
    }
    for file in [files.first().unwrap(), files.last().unwrap()] {
        let copy = disk.copy();
        copy.remove(file).unwrap();
        assert!(reported(&copy, &found, file).is_some(), "{file}");
    }
    let copy = disk.copy();
    copy.put(&files[2], &disk.content(&files[1]).unwrap());
    assert_eq!(reported(&copy, &found, "swapped").unwrap().file, files[2]);
    let copy = disk.copy();
    copy.damage(&files[1], |bytes| bytes.truncate(4096)).unwrap();
    assert_eq!(reported(&copy, &found, "cut").unwrap().file, files[1]);
    let copy = disk.copy();
    copy.damage(&files[1], Vec::clear).unwrap();
    assert_eq!(reported(&copy, &found, "empty").unwrap().file, files[1]);
}

/// The offset and length of every group of a segment, header included.
fn groups(bytes: &[u8]) -> Vec<(usize, usize)> {
    const HEADER: usize = 40;
    let mut groups = Vec::new();
    let mut at = (0..bytes.len()).step_by(8).find(|at| bytes[*at..].starts_with(b"GRP\x9c"));
    while let Some(start) = at {
        let length = u64::from_le_bytes(bytes[start + 32..start + 40].try_into().unwrap()) as usize;
        groups.push((start, HEADER + length));
        let next = start + HEADER + length;
        at = bytes.get(next..next + 4).filter(|magic| magic == b"GRP\x9c").map(|_| next);
    }
    groups
}

#[test]
fn pieces_of_the_log_in_each_others_place_are_reported() {
    let (disk, found) = synced_log();
    let files = log_files(&disk);
    // Groups with the same records: only their payloads and numbers differ, so all are of one length.
    let mut same_length = 0;
    for file in &files[..files.len() - 1] {
        let bytes = disk.content(file).unwrap();
        let groups = groups(&bytes);
        for (number, &(one, length)) in groups.iter().enumerate() {
            for &(other, other_length) in &groups[number + 1..] {
                let shorter = length.min(other_length);
                same_length += usize::from(length == other_length);
                for swap in [true, false] {
                    let copy = disk.copy();
                    copy.damage(file, |content| {
                        let moved = content[one..one + shorter].to_vec();
                        if swap {
                            let back = content[other..other + shorter].to_vec();
                            content[one..one + shorter].copy_from_slice(&back);
                        }
                        content[other..other + shorter].copy_from_slice(&moved);
                    })
                    .unwrap();
                    let story = format!("{file}: {one} and {other}, swapped: {swap}");
                    assert_eq!(reported(&copy, &found, &story).expect(&story).file, *file);
                }
            }
        }
    }
    assert!(same_length > 0, "no two groups are of one length");
}

#[test]
fn a_log_that_is_cut_anywhere_is_reported() {
    let (disk, found) = synced_log();
    let files = log_files(&disk);
    for file in &files {
        for length in (0..disk.content(file).unwrap().len()).step_by(3) {
            let copy = disk.copy();
            copy.damage(file, |bytes| bytes.truncate(length)).unwrap();
            let story = format!("{file} cut to {length}");
            let damage = reported(&copy, &found, &story);
            assert!(damage.is_some_and(|damage| damage.file == *file), "{story}");
        }
    }
}

/// Every segment as it was at every earlier time, while the others are as they are now.
#[test]
fn a_segment_from_an_earlier_time_is_reported_unless_it_is_the_newest() {
    let disk = MemoryDisk::new();
    let (mut log, _) = Log::open(disk.clone(), options()).unwrap();
    let mut earlier: Vec<MemoryDisk> = Vec::new();
    for position in 1..=60u64 {
        log.append(&[append(1, position, 300)]).unwrap();
        log.sync().unwrap();
        earlier.push(disk.copy());
    }
    drop(log);
    disk.kill();
    let (_, found) = Log::open(disk.copy(), options()).unwrap();
    let files = log_files(&disk);
    assert!(files.len() > 2);
    let (mut stale, mut newest) = (0, 0);
    for old in &earlier {
        for file in &files {
            let Ok(content) = old.content(file) else { continue };
            // But for its head, into which a mark is written later.
            if content[512..] == disk.content(file).unwrap()[512..] {
                continue;
            }
            let copy = disk.copy();
            copy.put(file, &content);
            if Some(file) == files.last() {
                // Nothing beside it can tell: this is a disk that lied, see docs/operations.md.
                newest += 1;
                continue;
            }
            stale += 1;
            assert_eq!(reported(&copy, &found, file).expect("it is older").file, *file);
        }
    }
    assert!(stale > 20 && newest > 5, "{stale} {newest}");
}

#[test]
fn reading_back_notices_damage() {
    let (disk, found) = synced_log();
    let (log, _) = Log::open(disk.clone(), options()).unwrap();
    let file = log_files(&disk)[2].clone();
    disk.damage(&file, |bytes| bytes[2000] ^= 1).unwrap();
    let mut errors = Vec::new();
    for found in &found {
        for entry in &found.entries {
            match log.read(found.partition, entry.position, entry.position, 1) {
                Ok(read) => assert_eq!(read, std::slice::from_ref(entry)),
                Err(ReadError::Corrupt(damage)) => errors.push(damage),
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].file == file && errors[0].offset <= 2000 && errors[0].offset > 1000, "{}", errors[0]);
}

#[test]
fn moving_old_records_notices_damage() {
    let (disk, _) = synced_log();
    let (mut log, _) = Log::open(disk.clone(), Options { rewrite_segments: 2, ..options() }).unwrap();
    log.append(&[Record::Trim { partition: 1, position: 150 }]).unwrap();
    let file = log_files(&disk)[0].clone();
    disk.damage(&file, |bytes| bytes[5000] ^= 1).unwrap();
    let error = (0..100).find_map(|_| log.maintain().err()).expect("it is noticed");
    assert!(error.to_string().starts_with(&format!("{file} is damaged at offset ")), "{error}");
}

fn read_chunks(disk: &MemoryDisk, finished: Finished) -> Result<(Vec<Vec<u8>>, Bytes), OpenError> {
    let mut chunks = Vec::new();
    let (_, meta) = snapshot::read(disk, finished, |chunk| {
        chunks.push(chunk.to_vec());
        Ok(())
    })?;
    Ok((chunks, meta))
}

#[test]
fn damage_to_a_snapshot_is_reported_wherever_it_is() {
    let disk = MemoryDisk::new();
    let mut snapshots = Snapshots::open(disk.clone()).unwrap();
    let chunks: Vec<Vec<u8>> = (0..5u8).map(|n| vec![n; 300 * usize::from(n)]).collect();
    for (sequence, chunk) in (0..).zip(&chunks) {
        snapshots.chunk(4, 9, sequence, chunk).unwrap();
    }
    snapshots.finish(4, 9, 5, b"the meta").unwrap();
    let finished = snapshots.finished().next().unwrap();
    let name = "snap-00000004-0000000000000001";
    assert_eq!(read_chunks(&disk, finished).unwrap(), (chunks, Bytes::from_static(b"the meta")));
    let length = disk.content(name).unwrap().len();
    let corrupt = |change: &dyn Fn(&mut Vec<u8>)| {
        let copy = disk.copy();
        copy.damage(name, |bytes| change(bytes)).unwrap();
        match read_chunks(&copy, finished) {
            Err(OpenError::Corrupt(damage)) => {
                assert_eq!(damage.file, name);
                damage
            }
            other => panic!("{other:?}"),
        }
    };
    for offset in 0..length {
        let damage = corrupt(&|bytes| bytes[offset] ^= 4);
        assert!(damage.offset <= offset as u64, "{damage} for {offset}");
        corrupt(&|bytes| bytes.truncate(offset));
    }
    corrupt(&|bytes| bytes.push(0));
    corrupt(&|bytes| bytes.clear());
    let refused = snapshot::read(&disk, finished, |_| Err("no".to_owned())).unwrap_err();
    assert_eq!(refused.to_string(), format!("{name} is damaged at offset 64: no"));
}

/// Two snapshots of one partition, one after the other, with chunks of one length each.
fn two_snapshots() -> (MemoryDisk, Vec<u8>, Finished, &'static str) {
    let disk = MemoryDisk::new();
    let mut snapshots = Snapshots::open(disk.clone()).unwrap();
    let write = |snapshots: &mut Snapshots<MemoryDisk>, number: u64| {
        for sequence in 0..4u8 {
            snapshots.chunk(4, number, sequence.into(), &[sequence + number as u8; 500]).unwrap();
        }
        snapshots.finish(4, number, 4, format!("meta {number}").as_bytes()).unwrap();
    };
    write(&mut snapshots, 8);
    let old = disk.list().unwrap().into_iter().find(|name| name.starts_with("snap-")).unwrap();
    let old = disk.content(&old).unwrap();
    write(&mut snapshots, 9);
    let finished = snapshots.finished().next().unwrap();
    let name = "snap-00000004-0000000000000002";
    assert!(disk.content(name).is_ok(), "{:?}", disk.list());
    (disk, old, finished, name)
}

#[test]
fn pieces_of_a_snapshot_in_each_others_place_are_reported() {
    let (disk, old, finished, name) = two_snapshots();
    let length = disk.content(name).unwrap().len();
    assert_eq!(old.len(), length);
    let corrupt = |story: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let copy = disk.copy();
        copy.damage(name, |bytes| change(bytes)).unwrap();
        if copy.content(name).unwrap() == disk.content(name).unwrap() {
            return false;
        }
        let read = read_chunks(&copy, finished);
        assert!(
            matches!(read, Err(OpenError::Corrupt(ref damage)) if damage.file == name),
            "{story}: {read:?}"
        );
        true
    };
    assert!(corrupt("the one before", &|bytes| bytes.clone_from(&old)));
    // Any two pieces at any two places that a chunk may begin at, and the same piece of the one before.
    let mut tried = 0;
    for one in (0..length).step_by(4) {
        for size in [64, 512] {
            let end = (one + size).min(length);
            tried += u32::from(corrupt("stale", &|bytes| bytes[one..end].copy_from_slice(&old[one..end])));
            for other in (one + size..length.saturating_sub(size)).step_by(148) {
                tried += u32::from(corrupt("swapped", &|bytes| {
                    let (left, right) = bytes.split_at_mut(other);
                    left[one..one + size].swap_with_slice(&mut right[..size]);
                }));
            }
        }
    }
    assert!(tried > 2000, "{tried}");
}
