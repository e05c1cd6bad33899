//! The production journal on a simulated disk, and what a driver does around it: batches that a full disk would not take
//! are held back, in order, until there is room.

use std::collections::VecDeque;

use data::Table;
use replication::contract::{Batch, Input, SnapshotWrite};
use replication::ordered::raft::Entry;
use replication::shard::Recovered;
use replication::{PartitionId, Placement};
use storage::journal::{Journal, Options};
use storage::{AppendError, MemoryDisk, SnapshotError};

/// The process cannot go on: in words.
#[derive(Debug)]
pub struct Broken(pub String);

impl<E: std::fmt::Display> From<E> for Broken {
    fn from(error: E) -> Self {
        Broken(error.to_string())
    }
}

/// What recovery found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Log entries.
    pub entries: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// What there is of groups.
    pub groups: crate::oracle::copies::Found,
}

/// The journal of one process.
#[derive(Debug)]
pub struct Store {
    journal: Journal<MemoryDisk>,
    held_back: VecDeque<Batch>,
    /// There was no room for a snapshot when it was last tried.
    snapshot_failed: bool,
    /// The last batch that was written.
    pub written: u64,
}

impl Store {
    /// Recovers what the disk holds.
    ///
    /// # Errors
    /// Something that was durable cannot be read.
    pub fn open(
        disk: &MemoryDisk,
        options: Options,
        placement: &Placement,
    ) -> Result<(Store, Vec<Recovered>, Found), Broken> {
        let make_table = |partition: PartitionId| match placement.get(partition) {
            Some(place) => Table::with_slots(place.first_slot, place.last_slot),
            None => Table::new(),
        };
        let (journal, recovered) = Journal::open(disk.clone(), options, make_table)?;
        let found = Found {
            entries: recovered.iter().map(|found| found.entries.len() as u64).sum(),
            snapshots: recovered.iter().filter(|found| found.snapshot.is_some()).count() as u64,
            groups: crate::oracle::copies::Found::of(&recovered),
        };
        Ok((
            Store { journal, held_back: VecDeque::new(), snapshot_failed: false, written: 0 },
            recovered,
            found,
        ))
    }

    /// Writes a batch, or holds it back if the disk is full. It is not durable yet.
    ///
    /// # Errors
    /// The process has to stop.
    pub fn write(&mut self, batch: Batch) -> Result<(), Broken> {
        self.held_back.push_back(batch);
        self.write_held_back()
    }

    fn write_held_back(&mut self) -> Result<(), Broken> {
        while let Some(batch) = self.held_back.front() {
            let number = batch.number;
            match self.journal.append(batch) {
                Ok(()) => {
                    self.written = number;
                    self.held_back.pop_front();
                }
                Err(AppendError::Full) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Looks again whether there is room, and writes what was held back if so.
    ///
    /// # Errors
    /// The process has to stop.
    pub fn try_again(&mut self) -> Result<(), Broken> {
        if self.journal.try_reclaim()? {
            self.snapshot_failed = false;
            self.write_held_back()?;
        }
        Ok(())
    }

    /// Is the disk full?
    pub fn is_full(&self) -> bool {
        self.snapshot_failed || !self.held_back.is_empty() || self.journal.is_full()
    }

    /// Makes durable what was written.
    ///
    /// # Errors
    /// The process has to stop.
    pub fn sync(&mut self) -> Result<(), Broken> {
        self.journal.sync()?;
        Ok(())
    }

    /// Reads entries back.
    ///
    /// # Errors
    /// The process has to stop.
    pub fn fetch(
        &self,
        partition: PartitionId,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, Broken> {
        Ok(self.journal.fetch(partition, from, to, max_bytes)?)
    }

    /// Writes a piece of a snapshot. What to tell the shard; nothing if there is nothing to tell.
    ///
    /// # Errors
    /// The process has to stop.
    pub fn snapshot(&mut self, write: SnapshotWrite) -> Result<Option<Input>, Broken> {
        let (partition, snapshot) = write.file();
        match self.journal.snapshot(write) {
            Err(SnapshotError::Full) => {
                self.snapshot_failed = true;
                Ok(Some(Input::SnapshotFailed { partition, snapshot }))
            }
            result => Ok(result?),
        }
    }
}
