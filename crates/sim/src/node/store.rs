//! Stand-in for the log, until the production one is there.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use data::Table;
use replication::PartitionId;
use replication::contract::{Batch, SnapshotWrite, Write};
use replication::ordered::raft::Entry;
use replication::shard::Recovered;

#[derive(Debug, Clone, Default)]
pub struct Options {
    pub segment_bytes: u64,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Found {
    pub entries: u64,
    pub torn: bool,
}

#[derive(Debug)]
pub enum Failure {
    Full,
    Broken(String),
}

#[derive(Debug, Clone, Default)]
struct Part {
    state: Option<Bytes>,
    log_start: u64,
    entries: BTreeMap<u64, Entry>,
    snapshots: BTreeMap<u64, (Vec<Bytes>, Option<Bytes>)>,
}

#[derive(Debug, Clone, Default)]
struct Content(BTreeMap<PartitionId, Part>);

#[derive(Debug, Clone)]
enum Op {
    Write(Write),
    Snapshot(SnapshotWrite),
}

impl Content {
    fn apply(&mut self, op: Op) {
        match op {
            Op::Write(Write::Append { partition, entry }) => {
                let part = self.0.entry(partition).or_default();
                part.entries.split_off(&entry.index);
                let expected = part.entries.last_key_value().map_or(part.log_start, |(i, _)| *i) + 1;
                assert_eq!(entry.index, expected, "a gap in the log of {partition:?}");
                part.entries.insert(entry.index, entry);
            }
            Op::Write(Write::State { partition, state }) => {
                self.0.entry(partition).or_default().state = Some(state)
            }
            Op::Write(Write::Reset { partition, index }) => {
                let part = self.0.entry(partition).or_default();
                part.entries.clear();
                part.log_start = index;
            }
            Op::Write(Write::Trim { partition, index }) => {
                let part = self.0.entry(partition).or_default();
                if index > part.log_start {
                    part.entries = part.entries.split_off(&(index + 1));
                    part.log_start = index;
                }
            }
            Op::Write(Write::Forget { partition }) => {
                self.0.remove(&partition);
            }
            Op::Snapshot(SnapshotWrite::Chunk { partition, snapshot, bytes, .. }) => {
                self.0.entry(partition).or_default().snapshots.entry(snapshot).or_default().0.push(bytes);
            }
            Op::Snapshot(SnapshotWrite::Finish { partition, snapshot, meta, .. }) => {
                let part = self.0.entry(partition).or_default();
                part.snapshots.entry(snapshot).or_default().1 = Some(meta);
                part.snapshots.retain(|number, _| *number >= snapshot);
            }
            Op::Snapshot(SnapshotWrite::Abort { partition, snapshot }) => {
                self.0.entry(partition).or_default().snapshots.remove(&snapshot);
            }
        }
    }
}

/// Stand-in for the disk.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<Content>>);

impl Disk {
    pub fn new() -> Disk {
        Disk::default()
    }
    pub fn crash(&self, _seed: u64) {}
    pub fn kill(&self) {}
    pub fn limit_room(&self, _room: Option<u64>) {}
    pub fn fail_syncs(&self, _fail: bool) {}
    pub fn lie_about_sync(&self, _lie: bool) {}
}

#[derive(Debug)]
pub struct Store {
    disk: Disk,
    now: Content,
    pending: Vec<Op>,
}

impl Store {
    pub fn open(disk: &Disk, _options: &Options) -> Result<(Store, Vec<Recovered>, Found), Failure> {
        let content = disk.0.lock().unwrap().clone();
        let mut found = Found::default();
        let mut recovered = Vec::new();
        for (partition, part) in &content.0 {
            let finished = part.snapshots.iter().filter(|(_, (_, meta))| meta.is_some()).next_back();
            let snapshot = finished.map(|(_, (chunks, meta))| {
                let mut table = Table::new();
                for chunk in chunks {
                    table.load(chunk).unwrap();
                }
                (meta.clone().unwrap(), table)
            });
            found.entries += part.entries.len() as u64;
            recovered.push(Recovered {
                partition: *partition,
                state: part.state.clone(),
                snapshot,
                newest_snapshot: part.snapshots.keys().last().copied().unwrap_or(0),
                log_start: part.log_start,
                entries: part.entries.values().cloned().collect(),
            });
        }
        Ok((Store { disk: disk.clone(), now: content, pending: Vec::new() }, recovered, found))
    }
    fn put(&mut self, op: Op) {
        self.now.apply(op.clone());
        self.pending.push(op);
    }
    pub fn write(&mut self, batch: &Batch) -> Result<(), Failure> {
        for write in &batch.writes {
            self.put(Op::Write(write.clone()));
        }
        Ok(())
    }
    pub fn sync(&mut self) -> Result<(), Failure> {
        let mut durable = self.disk.0.lock().unwrap();
        for op in self.pending.drain(..) {
            durable.apply(op);
        }
        Ok(())
    }
    pub fn fetch(
        &mut self,
        partition: PartitionId,
        from: u64,
        to: u64,
        max: usize,
    ) -> Result<Vec<Entry>, Failure> {
        let mut bytes = 0;
        let mut out = Vec::new();
        let part = self.now.0.entry(partition).or_default();
        for (index, entry) in part.entries.range(from..=to) {
            if *index != from + out.len() as u64 || (bytes + entry.payload.len() > max && !out.is_empty()) {
                break;
            }
            bytes += entry.payload.len();
            out.push(entry.clone());
        }
        Ok(out)
    }
    pub fn snapshot(&mut self, write: SnapshotWrite) -> Result<(), Failure> {
        self.put(Op::Snapshot(write));
        self.sync()
    }
}
