//! What the records of a log add up to, read from the oldest to the newest.
//!
//! The oldest records may be gone, because everything live in them was moved towards the head. So an entry may be
//! met before those that precede it; at the end, though, none may be missing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::PartitionLog;
use super::format::{Entry, Kind, Location, RecordHeader};
use super::index::{Index, Partition};

#[derive(Debug, Default)]
struct Found {
    start: u64,
    start_at: Option<Location>,
    state: Option<(Location, Bytes)>,
    /// The position of the first of `entries`.
    first: u64,
    entries: VecDeque<Option<(Location, Entry)>>,
}

impl Found {
    fn truncate(&mut self, position: u64) {
        self.entries.truncate(usize::try_from(position.saturating_sub(self.first)).unwrap_or(usize::MAX));
    }

    fn trim(&mut self, position: u64) {
        while self.first <= position && self.entries.pop_front().is_some() {
            self.first += 1;
        }
    }

    fn put(&mut self, at: Location, entry: Entry) {
        let position = entry.position;
        if self.entries.is_empty() {
            self.first = position;
        }
        while position < self.first {
            self.entries.push_front(None);
            self.first -= 1;
        }
        while position >= self.first + self.entries.len() as u64 {
            self.entries.push_back(None);
        }
        self.entries[(position - self.first) as usize] = Some((at, entry));
    }
}

/// The partitions as far as the records were read.
#[derive(Debug, Default)]
pub(super) struct Replay {
    partitions: BTreeMap<u32, Found>,
    forgotten: BTreeSet<u32>,
}

impl Replay {
    /// Takes in the next record.
    pub fn apply(&mut self, header: &RecordHeader, at: Location, payload: Bytes) {
        if header.kind == Kind::Forget {
            self.partitions.remove(&header.partition);
            self.forgotten.insert(header.partition);
            return;
        }
        let found = match self.partitions.get_mut(&header.partition) {
            Some(found) => found,
            None => {
                self.forgotten.remove(&header.partition);
                self.partitions.entry(header.partition).or_default()
            }
        };
        match header.kind {
            Kind::Append => {
                found.truncate(header.position);
                found.put(at, header.entry(payload));
            }
            Kind::Rewrite => found.put(at, header.entry(payload)),
            Kind::State => found.state = Some((at, payload)),
            Kind::Reset => {
                found.entries.clear();
                (found.start, found.start_at) = (header.position, Some(at));
            }
            Kind::Trim => {
                found.trim(header.position);
                if header.position >= found.start {
                    (found.start, found.start_at) = (header.position, Some(at));
                }
            }
            Kind::Forget => unreachable!("handled above"),
        }
    }

    /// The partitions of which nothing is left because they were forgotten.
    pub fn forgotten(&self) -> Vec<u32> {
        self.forgotten.iter().copied().collect()
    }

    /// Fills the index and gives out what was found.
    ///
    /// # Errors
    /// An entry is missing; the text says which.
    pub fn finish(self, index: &mut Index) -> Result<Vec<PartitionLog>, String> {
        self.partitions.into_iter().map(|(partition, found)| found.finish(partition, index)).collect()
    }
}

impl Found {
    fn finish(self, partition: u32, index: &mut Index) -> Result<PartitionLog, String> {
        let missing = |position| format!("entry {position} of partition {partition} is missing");
        if !self.entries.is_empty() && self.first != self.start + 1 {
            return Err(missing(self.start + 1));
        }
        let mut known = Partition { start: self.start, start_at: self.start_at, ..Partition::default() };
        let mut entries = Vec::with_capacity(self.entries.len());
        for (position, entry) in (self.first..).zip(self.entries) {
            let (at, entry) = entry.ok_or_else(|| missing(position))?;
            known.entries.push_back(at);
            entries.push(entry);
        }
        let state = self.state.map(|(at, bytes)| {
            known.state_at = Some(at);
            bytes
        });
        index.insert(partition, known);
        Ok(PartitionLog { partition, state, start: self.start, entries })
    }
}
