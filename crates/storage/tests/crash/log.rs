//! The log after a crash at any point.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use storage::log::{Entry, Options, PartitionLog};
use storage::random::Random;
use storage::{AppendError, Disk, Log, MemoryDisk, Record};

use crate::{Met, payload};

/// The plain model of a log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model(pub BTreeMap<u32, PartitionLog>);

impl Model {
    pub fn apply(&mut self, record: &Record) {
        let partition = record.partition();
        if let Record::Forget { .. } = record {
            self.0.remove(&partition);
            return;
        }
        let empty = PartitionLog { partition, state: None, start: 0, entries: Vec::new() };
        let known = self.0.entry(partition).or_insert(empty);
        match record {
            Record::Append { entry, .. } => {
                known.entries.retain(|before| before.position < entry.position);
                known.entries.push(entry.clone());
            }
            Record::State { bytes, .. } => known.state = Some(bytes.clone()),
            Record::Reset { position, .. } => {
                known.entries.clear();
                known.start = *position;
            }
            Record::Trim { position, .. } => {
                known.entries.retain(|entry| entry.position > *position);
                known.start = known.start.max(*position);
            }
            Record::Forget { .. } => {}
        }
    }

    pub fn last(&self, partition: u32) -> (u64, u64) {
        let Some(known) = self.0.get(&partition) else { return (0, 0) };
        (known.start, known.entries.last().map_or(known.start, |entry| entry.position))
    }
}

/// A random record that fits the state. Partition 0 writes most, partition 3 seldom: it is the slow one.
fn record(random: &mut Random, model: &Model) -> Record {
    let partition =
        [0, 0, 0, 0, 0, 1, 1, 2, 2, if random.one_in(10) { 3 } else { 0 }][random.below(10) as usize];
    let (start, last) = model.last(partition);
    match random.below(60) {
        0..40 => {
            let position =
                if random.one_in(12) { start + 1 + random.below(last - start + 1) } else { last + 1 };
            let epoch = random.below(1000);
            let payload = payload(random, position, epoch);
            Record::Append {
                partition,
                entry: Entry { position, epoch, kind: random.below(3) as u8, payload },
            }
        }
        40..48 => Record::State { partition, bytes: payload(random, 1, 2) },
        48 => Record::Reset { partition, position: random.below(1000) },
        49 if random.one_in(3) => Record::Forget { partition },
        50 => Record::Trim { partition, position: random.below(start + 1) },
        _ => Record::Trim { partition, position: start + random.below(last - start + 2) },
    }
}

struct World {
    random: Random,
    disk: MemoryDisk,
    options: Options,
    /// What recovery may find, oldest first. The last is what was written.
    candidates: VecDeque<Model>,
    met: Met,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let options = Options {
            segment_bytes: 4096 << random.below(3),
            rewrite_segments: 2 + random.below(4) as usize,
            maintain_bytes: 512 << random.below(6),
        };
        let candidates = VecDeque::from([Model::default()]);
        World { random, disk: MemoryDisk::new(), options, candidates, met: Met::default() }
    }

    fn crash(&mut self) {
        match self.random.below(3) {
            0 => self.disk.kill(),
            _ => self.disk.crash(self.random.number()),
        }
        let room = if self.random.one_in(4) {
            Some(self.random.below(8 * self.options.segment_bytes))
        } else {
            None
        };
        self.disk.limit_room(room);
    }

    /// Opens the log, perhaps with a crash or two on the way; compares what it finds.
    fn open(&mut self) -> Log<MemoryDisk> {
        loop {
            if self.random.one_in(4) {
                self.disk.stop_after(self.random.below(12));
            }
            match Log::open(self.disk.clone(), self.options.clone()) {
                Ok((log, found)) => {
                    self.disk.stop_after(u64::MAX);
                    let found = Model(found.into_iter().map(|found| (found.partition, found)).collect());
                    let place = self.candidates.iter().rposition(|candidate| *candidate == found);
                    let place = place.unwrap_or_else(|| self.explain(&found));
                    self.met.lost_batches += (self.candidates.len() - 1 - place) as u64;
                    self.met.kept_unsynced += place as u64;
                    self.candidates = VecDeque::from([found]);
                    return log;
                }
                Err(_) if self.disk.is_stopped() => {
                    self.met.stopped_in_open += 1;
                    self.crash();
                }
                Err(error) if error.to_string().contains("first segment") => self.disk.limit_room(None),
                Err(error) => panic!("{error}; files {:?}", self.disk.list()),
            }
        }
    }

    fn explain(&self, found: &Model) -> usize {
        let brief = |model: &Model| {
            let line = |(id, known): (&u32, &PartitionLog)| {
                let positions: Vec<_> =
                    known.entries.iter().map(|entry| (entry.position, entry.epoch)).collect();
                (*id, known.start, known.state.as_ref().map(Bytes::len), positions)
            };
            model.0.iter().map(line).collect::<Vec<_>>()
        };
        let candidates: Vec<_> = self.candidates.iter().map(brief).collect();
        panic!("found {:?}\nwhich is none of {candidates:#?}", brief(found));
    }

    /// Works until the process is stopped, or for a while.
    fn work(&mut self, log: &mut Log<MemoryDisk>) {
        if self.random.one_in(2) {
            self.disk.stop_after(self.random.below(120));
        }
        for _ in 0..self.random.below(80) {
            let mut model = self.candidates.back().expect("never empty").clone();
            let mut records = Vec::new();
            for _ in 0..1 + self.random.below(6) {
                records.push(record(&mut self.random, &model));
                model.apply(&records[records.len() - 1]);
            }
            match log.append(&records) {
                Ok(()) => self.candidates.push_back(model),
                Err(AppendError::Full) => self.met.full += 1,
                Err(_) => {
                    // It may have been written.
                    self.candidates.push_back(model);
                    return self.stopped();
                }
            }
            match log.maintain() {
                Ok(bytes) => self.met.rewritten += bytes,
                Err(_) => return self.stopped(),
            }
            if self.random.one_in(3) {
                match log.sync() {
                    Ok(()) => self.candidates.drain(..self.candidates.len() - 1).for_each(drop),
                    Err(_) => return self.stopped(),
                }
            }
            if self.random.one_in(20) {
                self.check_reads(log);
            }
        }
        self.disk.stop_after(u64::MAX);
        self.met.segments = self.met.segments.max(log.bytes() / self.options.segment_bytes);
    }

    fn stopped(&mut self) {
        assert!(self.disk.is_stopped(), "nothing fails of itself");
        self.met.stopped_in_work += 1;
    }

    fn check_reads(&mut self, log: &Log<MemoryDisk>) {
        for (partition, known) in &self.candidates[self.candidates.len() - 1].0 {
            let read = log.read(*partition, known.start + 1, u64::MAX, usize::MAX).unwrap();
            assert_eq!(read, known.entries);
        }
    }
}

#[test]
fn what_was_synced_is_found_and_the_rest_is_a_prefix() {
    let mut total = Met::default();
    for seed in crate::seeds(400) {
        let mut world = World::new(seed);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..12 {
                let mut log = world.open();
                world.check_reads(&log);
                world.work(&mut log);
                drop(log);
                world.crash();
            }
        }));
        assert!(result.is_ok(), "seed {seed}");
        let met = &world.met;
        total.stopped_in_open += met.stopped_in_open;
        total.stopped_in_work += met.stopped_in_work;
        total.lost_batches += met.lost_batches;
        total.kept_unsynced += met.kept_unsynced;
        total.full += met.full;
        total.rewritten += met.rewritten;
        total.segments = total.segments.max(met.segments);
    }
    println!("{total:?}");
    assert!(total.stopped_in_open > 100 && total.stopped_in_work > 500 && total.full > 100, "{total:?}");
    assert!(total.lost_batches > 500 && total.kept_unsynced > 500 && total.rewritten > 10_000, "{total:?}");
}

/// A little of everything: rolls, trims, recycles, moves what a slow partition holds.
fn scenario(log: &mut Log<MemoryDisk>, synced: &mut u64) -> Result<(), ()> {
    let entry = |position, length| Entry {
        position,
        epoch: 1,
        kind: 0,
        payload: vec![position as u8; length].into(),
    };
    log.append(&[Record::Append { partition: 2, entry: entry(1, 10) }]).map_err(drop)?;
    for position in 1..=30 {
        let append = Record::Append { partition: 1, entry: entry(position, 1000) };
        log.append(&[append, Record::Trim { partition: 1, position: position - 1 }]).map_err(drop)?;
        log.maintain().map_err(drop)?;
        if position % 2 == 0 {
            log.sync().map_err(drop)?;
            *synced = position;
        }
    }
    Ok(())
}

#[test]
fn it_may_stop_at_any_change() {
    let options = Options { segment_bytes: 4096, rewrite_segments: 2, maintain_bytes: 4096 };
    for changes in 0.. {
        let disk = MemoryDisk::new();
        disk.stop_after(changes);
        let mut synced = 0;
        let opened = Log::open(disk.clone(), options.clone());
        let done = opened.is_ok_and(|(mut log, _)| scenario(&mut log, &mut synced).is_ok());
        for seed in 0..12 {
            let disk = disk.copy();
            if seed < 8 {
                disk.kill()
            } else {
                disk.crash(seed)
            }
            let (mut log, found) = Log::open(disk.clone(), options.clone()).unwrap();
            let last = found.iter().find(|found| found.partition == 1).map_or(0, |found| found.start + 1);
            assert!(last >= synced, "stopped after {changes}, seed {seed}");
            log.append(&[Record::State { partition: 3, bytes: Bytes::from_static(b"after") }]).unwrap();
            log.sync().unwrap();
            disk.crash(seed);
            let (_, after) = Log::open(disk, options.clone()).unwrap();
            assert_eq!(after[..found.len()], found, "stopped after {changes}, seed {seed}");
            assert_eq!(after[found.len()].state.as_deref(), Some(&b"after"[..]));
        }
        if done {
            assert!(changes > 100, "{changes}");
            break;
        }
    }
}
