//! The journal after a crash at any point.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use data::Table;
use replication::PartitionId;
use replication::contract::{Batch, SnapshotWrite, Write};
use replication::ordered::raft::{Entry, EntryKind};
use replication::shard::Recovered;
use storage::journal::Options;
use storage::random::Random;
use storage::{AppendError, Journal, MemoryDisk, SnapshotError};

use crate::payload;

/// The plain model of one partition.
#[derive(Clone, Debug, Default, PartialEq)]
struct Partition {
    state: Option<Bytes>,
    start: u64,
    entries: Vec<Entry>,
    snapshot: Option<Bytes>,
}

impl Partition {
    fn last(&self) -> u64 {
        self.entries.last().map_or(self.start, |entry| entry.index)
    }

    /// What the snapshot holds: its meta begins with an index.
    fn covered(&self) -> u64 {
        let first = |meta: &Bytes| u64::from_le_bytes(meta[..8].try_into().expect("8 bytes"));
        self.snapshot.as_ref().map_or(0, first)
    }
}

type Model = BTreeMap<u32, Partition>;

fn apply(model: &mut Model, write: &Write) {
    let of = |partition: &PartitionId| partition.0;
    match write {
        Write::Append { partition, entry } => {
            let known = model.entry(of(partition)).or_default();
            known.entries.retain(|before| before.index < entry.index);
            known.entries.push(entry.clone());
        }
        Write::State { partition, state } => {
            model.entry(of(partition)).or_default().state = Some(state.clone())
        }
        Write::Reset { partition, index } => {
            let known = model.entry(of(partition)).or_default();
            known.entries.clear();
            known.start = *index;
        }
        Write::Trim { partition, index } => {
            let known = model.entry(of(partition)).or_default();
            known.entries.retain(|entry| entry.index > *index);
            known.start = known.start.max(*index);
        }
        Write::Lost { .. } => {}
        Write::Forget { partition } => {
            model.remove(&of(partition));
        }
    }
}

struct World {
    random: Random,
    disk: MemoryDisk,
    options: Options,
    /// What recovery may find, oldest first; the last is what was written.
    candidates: VecDeque<Model>,
    number: u64,
    stopped: u64,
    forgotten: u64,
    finished: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let options = Options {
            segment_bytes: 4096 << random.below(3),
            rewrite_segments: 2 + random.below(4) as usize,
            maintain_bytes: 512 << random.below(6),
        };
        let candidates = VecDeque::from([Model::new()]);
        let disk = MemoryDisk::new();
        World { random, disk, options, candidates, number: 0, stopped: 0, forgotten: 0, finished: 0 }
    }

    fn now(&self) -> &Model {
        self.candidates.back().expect("never empty")
    }

    fn crash(&mut self) {
        if self.random.one_in(3) { self.disk.kill() } else { self.disk.crash(self.random.number()) }
    }

    fn open(&mut self) -> Journal<MemoryDisk> {
        loop {
            if self.random.one_in(4) {
                self.disk.stop_after(self.random.below(15));
            }
            match Journal::open(self.disk.clone(), self.options.clone(), |_| Table::new()) {
                Ok((journal, found)) => {
                    self.disk.stop_after(u64::MAX);
                    self.compare(found);
                    return journal;
                }
                Err(error) => {
                    assert!(self.disk.is_stopped(), "{error}");
                    self.crash();
                }
            }
        }
    }

    fn compare(&mut self, found: Vec<Recovered>) {
        let mut model = Model::new();
        for found in found {
            let Recovered { partition, state, snapshot, log_start, entries, .. } = found;
            let snapshot = snapshot.map(|(meta, _)| meta);
            model.insert(partition.0, Partition { state, start: log_start, entries, snapshot });
        }
        // A partition of which nothing is known may be found or not: the model does not tell.
        let strip = |model: &Model| -> Model {
            model
                .iter()
                .filter(|(_, known)| **known != Partition::default())
                .map(|(id, known)| (*id, known.clone()))
                .collect()
        };
        let found = strip(&model);
        let brief = |model: &Model| {
            let line = |(id, known): (&u32, &Partition)| {
                let entries: Vec<_> = known.entries.iter().map(|entry| (entry.index, entry.term)).collect();
                let state = known.state.as_ref().map(Bytes::len);
                format!(
                    "{id}: start {} state {state:?} snapshot {:?} {entries:?}",
                    known.start, known.snapshot
                )
            };
            strip(model).iter().map(line).collect::<Vec<_>>()
        };
        assert!(
            self.candidates.iter().any(|candidate| strip(candidate) == found),
            "found {:#?}\nwhich is none of {:#?}",
            brief(&found),
            self.candidates.iter().map(brief).collect::<Vec<_>>()
        );
        self.candidates = VecDeque::from([model]);
    }

    /// A write as replication would make it: nothing is trimmed that no snapshot holds.
    fn write(&mut self, model: &Model) -> Write {
        let id = self.random.below(3) as u32;
        let partition = PartitionId(id);
        let known = model.get(&id).cloned().unwrap_or_default();
        match self.random.below(40) {
            0..24 => {
                let last = known.last();
                let back = if self.random.one_in(10) { self.random.below(last - known.start + 1) } else { 0 };
                let index = (last + 1 - back).max(known.start + 1);
                let term = self.random.below(100);
                let payload = payload(&mut self.random, index, term);
                Write::Append { partition, entry: Entry { index, term, kind: EntryKind::Normal, payload } }
            }
            24..30 => Write::State { partition, state: payload(&mut self.random, 1, 2) },
            30..36 => Write::Trim { partition, index: known.covered().min(known.last()) },
            36..38 if known.covered() > known.start => Write::Reset { partition, index: known.covered() },
            38 if self.random.one_in(2) => {
                self.forgotten += 1;
                Write::Forget { partition }
            }
            _ => Write::State { partition, state: Bytes::from_static(b"state") },
        }
    }

    fn batch(&mut self, journal: &mut Journal<MemoryDisk>) -> Result<(), ()> {
        let mut model = self.now().clone();
        let mut writes = Vec::new();
        let mut parts = Vec::new();
        for _ in 0..1 + self.random.below(5) {
            let write = self.write(&model);
            if !matches!(write, Write::Forget { .. }) {
                // The batch may be split behind a Forget.
                parts.push(model.clone());
            }
            apply(&mut model, &write);
            writes.push(write);
        }
        if !writes.iter().any(|write| matches!(write, Write::Forget { .. })) {
            parts.clear();
        }
        self.number += 1;
        self.candidates.extend(parts);
        self.candidates.push_back(model);
        match journal.append(&Batch { number: self.number, writes, ..Batch::default() }) {
            Ok(()) => Ok(()),
            Err(AppendError::Full) => panic!("there is room"),
            Err(_) => Err(()),
        }
    }

    fn finish(&mut self, journal: &mut Journal<MemoryDisk>) -> Result<(), ()> {
        let id = self.random.below(3) as u32;
        let known = self.now().get(&id).cloned().unwrap_or_default();
        // Of our own, or one from elsewhere that is ahead of the log.
        let index =
            known.covered().max(known.last() + if self.random.one_in(4) { self.random.below(50) } else { 0 });
        let mut meta = index.to_le_bytes().to_vec();
        meta.extend_from_slice(&self.random.number().to_le_bytes());
        let meta = Bytes::from(meta);
        self.number += 1;
        let finish = SnapshotWrite::Finish {
            partition: PartitionId(id),
            snapshot: self.number,
            sequence: 0,
            meta: meta.clone(),
        };
        let result = journal.snapshot(finish);
        let mut with = self.candidates.clone();
        with.iter_mut().for_each(|model| model.entry(id).or_default().snapshot = Some(meta.clone()));
        match result {
            Ok(_) => {
                self.finished += 1;
                self.candidates = with;
                Ok(())
            }
            Err(SnapshotError::Full) => panic!("there is room"),
            Err(SnapshotError::Failed(_)) => {
                self.candidates.extend(with);
                Err(())
            }
        }
    }

    fn work(&mut self, journal: &mut Journal<MemoryDisk>) {
        if self.random.one_in(2) {
            self.disk.stop_after(self.random.below(120));
        }
        for _ in 0..self.random.below(60) {
            let result = match self.random.below(10) {
                0..6 => self.batch(journal),
                6 => self.finish(journal),
                _ => match journal.sync() {
                    Ok(_) => {
                        self.candidates.drain(..self.candidates.len() - 1).for_each(drop);
                        Ok(())
                    }
                    Err(_) => Err(()),
                },
            };
            if result.is_err() {
                assert!(self.disk.is_stopped(), "nothing fails of itself");
                self.stopped += 1;
                return;
            }
        }
        self.disk.stop_after(u64::MAX);
    }
}

#[test]
fn log_and_snapshots_fit_together_after_every_crash() {
    let (mut stopped, mut forgotten, mut finished) = (0, 0, 0);
    for seed in crate::seeds(300) {
        let mut world = World::new(seed);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..12 {
                let mut journal = world.open();
                world.work(&mut journal);
                drop(journal);
                world.crash();
            }
        }));
        assert!(result.is_ok(), "seed {seed}");
        stopped += world.stopped;
        forgotten += world.forgotten;
        finished += world.finished;
    }
    assert!(stopped > 300 && forgotten > 300 && finished > 1000, "{stopped} {forgotten} {finished}");
}
