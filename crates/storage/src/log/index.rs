//! Where each live record is, and how many live records each segment holds.
//!
//! A record is live if recovery needs it: an entry that has been neither dropped nor replaced, a partition's
//! latest state, and the latest record that says where its log begins. The index is changed only after the records
//! are written.

use std::collections::{BTreeMap, VecDeque};

use super::format::{Kind, Location, RecordHeader};

/// What is known of one partition. 8 bytes an entry.
#[derive(Debug, Default)]
pub(super) struct Partition {
    /// The position after which the log begins.
    pub start: u64,
    /// The record that says so.
    pub start_at: Option<Location>,
    /// The latest state.
    pub state_at: Option<Location>,
    /// The entries at `start + 1` and on.
    pub entries: VecDeque<Location>,
}

impl Partition {
    /// The position of the last entry.
    pub fn last(&self) -> u64 {
        self.start + self.entries.len() as u64
    }

    pub fn entry(&self, position: u64) -> Option<Location> {
        let place = position.checked_sub(self.start + 1)?;
        self.entries.get(usize::try_from(place).ok()?).copied()
    }
}

/// Live records per segment.
#[derive(Debug, Default)]
struct Live {
    first_segment: u32,
    counts: VecDeque<u64>,
}

impl Live {
    fn add(&mut self, at: Location) {
        self.counts[(at.segment - self.first_segment) as usize] += 1;
    }

    fn remove(&mut self, at: Option<Location>) {
        if let Some(at) = at {
            self.counts[(at.segment - self.first_segment) as usize] -= 1;
        }
    }
}

/// The index of the whole log.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub partitions: BTreeMap<u32, Partition>,
    live: Live,
}

impl Index {
    /// An empty index of a log whose oldest segment is this one.
    pub fn new(first_segment: u32) -> Index {
        Index { partitions: BTreeMap::new(), live: Live { first_segment, counts: VecDeque::new() } }
    }

    /// A new newest segment.
    pub fn add_segment(&mut self) {
        self.live.counts.push_back(0);
    }

    /// The oldest segment is gone.
    pub fn remove_oldest_segment(&mut self) {
        assert_eq!(self.live.counts.pop_front(), Some(0), "a segment goes when nothing in it is live");
        self.live.first_segment += 1;
    }

    /// Live records in a segment.
    pub fn live(&self, segment: u32) -> u64 {
        self.live.counts[(segment - self.live.first_segment) as usize]
    }

    /// Takes over a partition as recovery found it.
    pub fn insert(&mut self, partition: u32, found: Partition) {
        found.entries.iter().chain(&found.start_at).chain(&found.state_at).for_each(|at| self.live.add(*at));
        self.partitions.insert(partition, found);
    }

    /// Where the partition's log begins and ends.
    pub fn bounds(&self, partition: u32) -> (u64, u64) {
        self.partitions.get(&partition).map_or((0, 0), |known| (known.start, known.last()))
    }

    /// Is the record at this place live?
    pub fn is_live(&self, header: &RecordHeader, at: Location) -> bool {
        let Some(partition) = self.partitions.get(&header.partition) else { return false };
        match header.kind {
            Kind::Append | Kind::Rewrite => partition.entry(header.position) == Some(at),
            Kind::State => partition.state_at == Some(at),
            Kind::Reset | Kind::Trim => partition.start_at == Some(at),
            Kind::Forget => false,
        }
    }

    /// Takes in a record that was written.
    pub fn apply(&mut self, header: &RecordHeader, at: Location) {
        if header.kind == Kind::Forget {
            if let Some(gone) = self.partitions.remove(&header.partition) {
                let all = gone.entries.into_iter().chain(gone.start_at).chain(gone.state_at);
                all.for_each(|at| self.live.remove(Some(at)));
            }
            return;
        }
        let partition = self.partitions.entry(header.partition).or_default();
        self.live.add(at);
        match header.kind {
            Kind::Append => {
                assert!(header.position > partition.start && header.position <= partition.last() + 1);
                while partition.last() >= header.position {
                    self.live.remove(partition.entries.pop_back());
                }
                partition.entries.push_back(at);
            }
            Kind::Rewrite => {
                let place = (header.position - partition.start - 1) as usize;
                self.live.remove(Some(std::mem::replace(&mut partition.entries[place], at)));
            }
            Kind::State => self.live.remove(partition.state_at.replace(at)),
            Kind::Reset => {
                partition.entries.drain(..).for_each(|at| self.live.remove(Some(at)));
                partition.start = header.position;
                self.live.remove(partition.start_at.replace(at));
            }
            Kind::Trim => {
                while partition.start < header.position {
                    partition.start += 1;
                    match partition.entries.pop_front() {
                        Some(at) => self.live.remove(Some(at)),
                        None => partition.start = header.position,
                    }
                }
                // A trim to before the start says nothing: the record that says where the log begins must stay.
                let superseded = if partition.start == header.position {
                    partition.start_at.replace(at)
                } else {
                    Some(at)
                };
                self.live.remove(superseded);
            }
            Kind::Forget => unreachable!("handled above"),
        }
    }
}
