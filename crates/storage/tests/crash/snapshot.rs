//! Snapshots after a crash at any point.

use std::collections::BTreeMap;

use storage::random::Random;
use storage::snapshot::{self, Finished};
use storage::{MemoryDisk, SnapshotError, Snapshots};

type Content = (u64, Vec<Vec<u8>>, Vec<u8>);

/// A snapshot under way: what was written so far.
type Unfinished = BTreeMap<(u32, u64), Vec<Vec<u8>>>;

struct World {
    random: Random,
    disk: MemoryDisk,
    /// What each partition may be found to have: one thing, or two if a finish was interrupted.
    candidates: BTreeMap<u32, Vec<Option<Content>>>,
    next_number: u64,
    interrupted: u64,
    finished: u64,
    full: u64,
}

impl World {
    fn crash(&mut self) {
        if self.random.one_in(3) {
            self.disk.kill()
        } else {
            self.disk.crash(self.random.number())
        }
        let room = if self.random.one_in(3) { Some(self.random.below(10_000)) } else { None };
        self.disk.limit_room(room);
    }

    fn open(&mut self) -> Snapshots<MemoryDisk> {
        loop {
            if self.random.one_in(4) {
                self.disk.stop_after(self.random.below(3));
            }
            match Snapshots::open(self.disk.clone()) {
                Ok(snapshots) => {
                    self.disk.stop_after(u64::MAX);
                    self.check(&snapshots);
                    return snapshots;
                }
                Err(error) => {
                    assert!(self.disk.is_stopped(), "{error}");
                    self.crash();
                }
            }
        }
    }

    fn check(&mut self, snapshots: &Snapshots<MemoryDisk>) {
        let found: BTreeMap<u32, Finished> =
            snapshots.finished().map(|found| (found.partition, found)).collect();
        for partition in 0..3 {
            let content = found.get(&partition).map(|found| read(&self.disk, *found));
            let candidates = self.candidates.entry(partition).or_insert_with(|| vec![None]);
            assert!(candidates.contains(&content), "partition {partition}");
            *candidates = vec![content];
        }
    }

    fn work(&mut self, snapshots: &mut Snapshots<MemoryDisk>) {
        let mut unfinished = Unfinished::new();
        if self.random.one_in(2) {
            self.disk.stop_after(self.random.below(60));
        }
        for _ in 0..self.random.below(60) {
            let pick = self.random.below(unfinished.len() as u64) as usize;
            let known = unfinished.keys().nth(pick).copied();
            let (key, begins) = match known {
                Some(key) if !self.random.one_in(6) => (key, false),
                _ => {
                    self.next_number += 1;
                    ((self.random.below(3) as u32, self.next_number), true)
                }
            };
            let sequence = unfinished.get(&key).map_or(0, Vec::len) as u64;
            let result = match self.random.below(8) {
                0 if !begins => {
                    snapshots.abort(key.0, key.1);
                    unfinished.remove(&key);
                    continue;
                }
                1 => {
                    let chunks = unfinished.remove(&key).unwrap_or_default();
                    self.finish(snapshots, key, sequence, chunks)
                }
                _ => {
                    let chunk = vec![self.random.number() as u8; self.random.below(3000) as usize];
                    let result = snapshots.chunk(key.0, key.1, sequence, &chunk);
                    unfinished.entry(key).or_default().push(chunk);
                    result
                }
            };
            match result {
                Ok(written) => assert!(written, "nothing was given up"),
                Err(SnapshotError::Full) => {
                    self.full += 1;
                    unfinished.remove(&key);
                    assert!(matches!(snapshots.chunk(key.0, key.1, 99, b""), Ok(false)));
                }
                Err(SnapshotError::Failed(failure)) => {
                    assert!(self.disk.is_stopped(), "{failure}");
                    self.interrupted += 1;
                    return;
                }
            }
        }
        self.disk.stop_after(u64::MAX);
    }

    fn finish(
        &mut self,
        snapshots: &mut Snapshots<MemoryDisk>,
        key: (u32, u64),
        sequence: u64,
        chunks: Vec<Vec<u8>>,
    ) -> Result<bool, SnapshotError> {
        let meta = vec![7; self.random.below(20) as usize];
        let result = snapshots.finish(key.0, key.1, sequence, &meta);
        let candidates = self.candidates.get_mut(&key.0).expect("checked at the opening");
        match &result {
            Ok(true) => {
                self.finished += 1;
                *candidates = vec![Some((key.1, chunks, meta))];
            }
            Err(SnapshotError::Failed(_)) => candidates.push(Some((key.1, chunks, meta))),
            _ => {}
        }
        result
    }
}

fn read(disk: &MemoryDisk, finished: Finished) -> Content {
    let mut chunks = Vec::new();
    let load = |chunk: &[u8]| {
        chunks.push(chunk.to_vec());
        Ok(())
    };
    let (number, meta) = snapshot::read(disk, finished, load).unwrap();
    (number, chunks, meta.to_vec())
}

#[test]
fn the_last_finished_snapshot_is_found_whole() {
    let (mut interrupted, mut finished, mut full) = (0, 0, 0);
    for seed in crate::seeds(300) {
        let mut world = World {
            random: Random::new(seed),
            disk: MemoryDisk::new(),
            candidates: BTreeMap::new(),
            next_number: 0,
            interrupted: 0,
            finished: 0,
            full: 0,
        };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..12 {
                let mut snapshots = world.open();
                world.work(&mut snapshots);
                world.crash();
            }
        }));
        assert!(result.is_ok(), "seed {seed}");
        interrupted += world.interrupted;
        finished += world.finished;
        full += world.full;
    }
    assert!(interrupted > 300 && finished > 1000 && full > 100, "{interrupted} {finished} {full}");
}
