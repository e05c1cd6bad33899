//! A replica's disk: what is durable, and what waits to be.

use std::collections::{BTreeMap, VecDeque};

use super::super::super::*;
use crate::contract::Write;

/// A snapshot file: what it stands for, and the state (here: a digest of everything applied).
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub meta: SnapshotMeta,
    pub digest: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub state: HardState,
    pub log: BTreeMap<u64, Entry>,
    pub snapshot: Snapshot,
}

/// What happens when a batch is durable.
#[derive(Debug)]
pub enum Then {
    Nothing,
    /// Our own snapshot is: the log may be cut.
    Compact {
        index: u64,
    },
    /// One from the leader is.
    Restore {
        from: NodeId,
        snapshot: Snapshot,
    },
}

/// A batch under way.
#[derive(Debug)]
pub struct Batch {
    pub writes: Vec<Write>,
    pub snapshot: Option<Snapshot>,
    pub token: Option<PersistToken>,
    pub messages: Vec<(NodeId, Message)>,
    pub then: Then,
}

#[derive(Debug, Default)]
pub struct Queue {
    pub batches: VecDeque<Batch>,
    /// As many of them are being written.
    pub in_work: usize,
}

impl Disk {
    pub fn write(&mut self, write: Write) {
        match write {
            Write::Append { entry, .. } => {
                self.log.split_off(&entry.index);
                if let Some((&last, _)) = self.log.last_key_value() {
                    assert_eq!(last + 1, entry.index, "a gap on disk");
                }
                self.log.insert(entry.index, entry);
            }
            Write::State { state, .. } => self.state = HardState::decode(&state).expect("a state"),
            Write::Reset { .. } => self.log.clear(),
            Write::Trim { index, .. } => {
                assert!(index <= self.snapshot.meta.index, "trimmed beyond the durable snapshot");
                self.log = self.log.split_off(&(index + 1));
            }
            Write::Forget { .. } | Write::Lost { .. } => unreachable!("the core never says so"),
        }
    }

    pub fn keep_snapshot(&mut self, snapshot: Snapshot) {
        if snapshot.meta.index > self.snapshot.meta.index {
            self.snapshot = snapshot;
        }
    }

    /// Does the durable part hold this entry, as an entry or in the snapshot?
    pub fn holds(&self, index: u64, term: u64) -> bool {
        index <= self.snapshot.meta.index || self.log.get(&index).is_some_and(|entry| entry.term == term)
    }

    /// Entries from `from` up to `to`, some of them.
    pub fn read(&self, from: u64, to: u64, max_count: usize) -> Vec<Entry> {
        let range = self.log.range(from..=to).take(max_count);
        let consecutive = (from..).zip(range).take_while(|(next, (index, _))| next == *index);
        consecutive.map(|(_, (_, entry))| entry.clone()).collect()
    }
}
