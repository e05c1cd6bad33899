//! The one place that carries out what a shard wants done to the disk: its [`Batch`]es, [`SnapshotWrite`]s and
//! fetches. The server's log thread and the simulator both run this.
//!
//! **What it promises.** What [`Journal::open`] returns is what the batches and finished snapshots up to some
//! point add up to, at least up to the last [`Journal::sync`] (and the last `Finish` that was acknowledged), and
//! it is durable. Everything is done in the order of the calls: a snapshot that is finished before the batch that
//! trims the log is durable before it.
//!
//! A partition that is forgotten loses its snapshot only after the log says so durably, and before anything else
//! is written about it; so what is found at start never mixes a partition's former life with its present one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use data::Table;
use replication::PartitionId;
use replication::contract::{Batch, Input, SnapshotWrite, Write};
use replication::ordered::raft;
use replication::shard::{Content, Recovered};

use crate::disk::Disk;
use crate::error::{AppendError, Damage, Failure, OpenError, ReadError};
use crate::log::{self, Entry, Log, PartitionLog, Record};
use crate::lost;
use crate::snapshot::{self, Finished, SnapshotError, Snapshots};

pub use crate::log::Options;

/// While this file is there, [`destroy`] has begun and not ended.
const DESTROYING: &str = "destroying";

/// Log and snapshots of one shard.
#[derive(Debug)]
pub struct Journal<D: Disk> {
    disk: Arc<D>,
    log: Log<Arc<D>>,
    snapshots: Snapshots<Arc<D>>,
    /// Partitions that the log forgets with the next sync; then their snapshots go.
    forgetting: BTreeSet<u32>,
    /// Partitions that the log has forgotten durably, and for which no snapshot was finished since.
    forgotten: BTreeSet<u32>,
    last_batch: u64,
}

impl<D: Disk> Journal<D> {
    /// Opens the folder. `make_table` makes the empty table of a partition, to load its snapshot into.
    ///
    /// # Errors
    /// The folder is damaged, of another version, or the disk refused.
    pub fn open(
        disk: D,
        options: Options,
        mut make_table: impl FnMut(PartitionId) -> Table,
    ) -> Result<(Journal<D>, Vec<Recovered>), OpenError> {
        let disk = Arc::new(disk);
        let names = disk.list().map_err(Failure::of("list", "folder"))?;
        if names.iter().any(|name| name == DESTROYING) {
            let reason = "an earlier rebuild was interrupted when some files were gone; it must be run again";
            return Err(Damage::new(DESTROYING, 0, reason).into());
        }
        let (mut log, partitions) = Log::open(Arc::clone(&disk), options)?;
        let mut snapshots = Snapshots::open(Arc::clone(&disk))?;
        let forgotten: BTreeSet<u32> = std::mem::take(&mut log.forgotten).into_iter().collect();
        for partition in &forgotten {
            snapshots.remove(*partition)?;
        }
        if log.is_new && snapshots.finished().next().is_some() {
            return Err(Damage::new("wal-00000001", 0, "there are snapshots, but the log is missing").into());
        }
        let mut found: BTreeMap<u32, Recovered> = BTreeMap::new();
        for partition in partitions {
            found.insert(partition.partition, recovered(partition)?);
        }
        for finished in snapshots.finished() {
            let partition = PartitionId(finished.partition);
            let empty = Content::Table(make_table(partition));
            let (number, meta, content) = load(&disk, finished, empty)?;
            let known = found.entry(finished.partition).or_insert_with(|| Recovered::nothing(partition));
            known.newest_snapshot = number;
            known.snapshot = Some((meta, content));
        }
        for (partition, known) in &mut found {
            known.newest_snapshot = known.newest_snapshot.max(snapshots.newest_unfinished(*partition));
        }
        // What was before may be in the log of the partition that this one was split from.
        let is_to_be_born = |child| found.values().any(|other| other.gives_birth_to(child).is_some());
        let lacks = |found: &&Recovered| {
            found.log_start > 0 && found.snapshot.is_none() && !is_to_be_born(found.partition)
        };
        if let Some(without) = found.values().find(lacks) {
            let PartitionId(partition) = without.partition;
            let reason = format!(
                "the log begins after {}, but the snapshot of what was before is missing",
                without.log_start
            );
            return Err(Damage::new(format!("snap-{partition:08x}"), 0, reason).into());
        }
        for (partition, entries) in lost::read_all(&disk)? {
            let nothing = || Recovered::nothing(PartitionId(partition));
            found.entry(partition).or_insert_with(nothing).lost.extend(entries);
        }
        let journal = Journal { disk, log, snapshots, forgetting: BTreeSet::new(), forgotten, last_batch: 0 };
        Ok((journal, found.into_values().collect()))
    }

    /// Writes a batch: after a crash all of it is found or nothing (in two parts, if it forgets a partition and
    /// goes on writing about it). Durable after the next [`Journal::sync`].
    ///
    /// # Errors
    /// [`AppendError::Full`]: nothing was written. The driver keeps the batch (and those behind it), tells the
    /// shard by [`Input::Disk`], and tries it again once [`Journal::try_reclaim`] finds room. If it looks at
    /// [`Journal::is_full`] after each batch and says so in time, it seldom comes to that. Anything else: the
    /// process has to stop.
    pub fn append(&mut self, batch: &Batch) -> Result<(), AppendError> {
        self.append_now(batch)?;
        self.maintain()
    }

    /// The same, without what makes room for later batches ([`Journal::maintain`]).
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append_now(&mut self, batch: &Batch) -> Result<(), AppendError> {
        for write in &batch.writes {
            match write {
                Write::Lost { partition, entries } => {
                    lost::write(&self.disk, partition.0, entries).map_err(|failure| {
                        match failure.error.kind() == std::io::ErrorKind::StorageFull {
                            true => AppendError::Full,
                            false => AppendError::Failed(failure),
                        }
                    })?;
                }
                Write::Forget { partition } => {
                    lost::remove(&self.disk, partition.0).map_err(AppendError::Failed)?;
                }
                _ => {}
            }
        }
        let mut records = Vec::with_capacity(batch.writes.len());
        records.extend(batch.writes.iter().filter_map(record));
        if records.iter().any(|record| self.forgetting.contains(&record.partition())) {
            self.sync().map_err(AppendError::Failed)?;
        }
        let mut rest = &records[..];
        let mut begun = false;
        while !rest.is_empty() {
            if begun {
                self.sync().map_err(AppendError::Failed)?;
            }
            let (part, after) = rest.split_at(first_life(rest));
            self.append_part(part, begun)?;
            begun = true;
            rest = after;
        }
        self.last_batch = batch.number;
        Ok(())
    }

    /// Makes room for later batches, in proportion to what was written since it was last called.
    ///
    /// # Errors
    /// The process has to stop.
    pub fn maintain(&mut self) -> Result<(), AppendError> {
        match self.log.maintain() {
            Ok(_) | Err(AppendError::Full) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes a part of a batch; `begun`: another part was written before, which cannot be taken back.
    fn append_part(&mut self, part: &[Record<&[u8]>], begun: bool) -> Result<(), AppendError> {
        match self.log.append_slices(part) {
            Err(AppendError::Full) if begun => {
                let (doing, file) = ("write the rest of a batch to", "the log".to_owned());
                let error = std::io::ErrorKind::StorageFull.into();
                return Err(AppendError::Failed(Failure { doing, file, error }));
            }
            result => result?,
        }
        for forget in part.iter().filter(|record| is_forget(record)) {
            self.snapshots.abort_all(forget.partition());
            self.forgetting.insert(forget.partition());
        }
        Ok(())
    }

    /// The file of the log that is written now: it may be synced while batches are written, so that [`Journal::sync`] has less
    /// to do.
    pub fn newest_file(&self) -> D::File {
        self.log.newest_file()
    }

    /// Bytes of batches that can be written before the log has to begin another file, which takes its time.
    pub fn room(&self) -> u64 {
        self.log.room()
    }

    /// Makes all batches durable; returns the number of the last one, 0 if there was none.
    ///
    /// # Errors
    /// The process has to stop.
    pub fn sync(&mut self) -> Result<u64, Failure> {
        self.log.flush()?;
        for partition in std::mem::take(&mut self.forgetting) {
            self.snapshots.remove(partition)?;
            self.forgotten.insert(partition);
        }
        self.log.release()?;
        Ok(self.last_batch)
    }

    /// Reads entries back, for [`Input::Fetched`]: from `from` on, up to and including `to`, until their payloads
    /// reach `max_bytes`; at least one, unless they are gone from the log.
    ///
    /// # Errors
    /// A record cannot be read, or is not as it was written. The process has to stop.
    pub fn fetch(
        &self,
        partition: PartitionId,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<Vec<raft::Entry>, ReadError> {
        let entries = self.log.read(partition.0, from, to, max_bytes)?;
        entries.into_iter().map(|entry| raft_entry(partition.0, entry).map_err(ReadError::from)).collect()
    }

    /// Writes a piece of a snapshot. Returns the input that tells the shard, if the piece is done; nothing for an
    /// abort, or if the file was given up meanwhile.
    ///
    /// # Errors
    /// [`SnapshotError::Full`]: the unfinished file is gone, and further pieces of it are dropped. Otherwise the
    /// process has to stop.
    pub fn snapshot(&mut self, write: SnapshotWrite) -> Result<Option<Input>, SnapshotError> {
        let (partition, snapshot, sequence, written) = match write {
            SnapshotWrite::Chunk { partition, snapshot, sequence, bytes } => (
                partition,
                snapshot,
                sequence,
                self.snapshots.chunk(partition.0, snapshot, sequence, &bytes)?,
            ),
            SnapshotWrite::Finish { partition, snapshot, sequence, meta } => {
                self.remember(partition.0)?;
                (
                    partition,
                    snapshot,
                    sequence,
                    self.snapshots.finish(partition.0, snapshot, sequence, &meta)?,
                )
            }
            SnapshotWrite::Abort { partition, snapshot } => {
                self.snapshots.abort(partition.0, snapshot);
                return Ok(None);
            }
            SnapshotWrite::Discard { partition } => {
                self.snapshots.abort_all(partition.0);
                self.snapshots.remove(partition.0).map_err(SnapshotError::Failed)?;
                return Ok(None);
            }
        };
        Ok(written.then_some(Input::SnapshotWritten { partition, snapshot, sequence }))
    }

    /// Sees to it that a snapshot of this partition which is finished now is not taken for one from before it was
    /// forgotten.
    fn remember(&mut self, partition: u32) -> Result<(), SnapshotError> {
        if self.forgetting.contains(&partition) {
            self.sync().map_err(SnapshotError::Failed)?;
        }
        if self.forgotten.contains(&partition) {
            // It changes nothing, but is about the partition and comes after the Forget.
            match self.log.append(&[Record::Trim { partition, position: 0 }]) {
                Ok(()) => {
                    self.sync().map_err(SnapshotError::Failed)?;
                }
                Err(AppendError::Full) => {
                    self.snapshots.abort_all(partition);
                    return Err(SnapshotError::Full);
                }
                Err(AppendError::Failed(failure)) => return Err(SnapshotError::Failed(failure)),
                Err(AppendError::Corrupt(_)) => unreachable!("appending reads nothing"),
            }
            self.forgotten.remove(&partition);
        }
        Ok(())
    }

    /// Is the disk full, for [`Input::Disk`]? What is small still fits for a while ([`Log::is_full`]).
    pub fn is_full(&self) -> bool {
        self.log.is_full()
    }

    /// Looks again whether the disk has room. Returns whether it has.
    ///
    /// # Errors
    /// The process has to stop.
    pub fn try_reclaim(&mut self) -> Result<bool, Failure> {
        self.log.try_reclaim()
    }

    /// Bytes of the log on disk, without spares.
    pub fn log_bytes(&self) -> u64 {
        self.log.bytes()
    }
}

/// Removes log and snapshots, so that the node can be rebuilt from its peers. If it is interrupted,
/// [`Journal::open`] refuses the folder until it is called again: half a log must not pass for a log.
///
/// # Errors
/// The disk refused.
pub fn destroy<D: Disk>(disk: &D) -> Result<(), Failure> {
    let sync = || disk.sync_folder().map_err(Failure::of("sync", "folder"));
    disk.open(DESTROYING, true).map_err(Failure::of("create", DESTROYING))?;
    sync()?;
    for name in disk.list().map_err(Failure::of("list", "folder"))? {
        if log::is_log_file(&name) || snapshot::is_snapshot_file(&name) || lost::is_lost_file(&name) {
            disk.remove(&name).map_err(Failure::of("remove", &name))?;
        }
    }
    sync()?;
    disk.remove(DESTROYING).map_err(Failure::of("remove", DESTROYING))?;
    sync()
}

fn is_forget<P>(record: &Record<P>) -> bool {
    matches!(record, Record::Forget { .. })
}

/// How many records come before one about a partition that another before it forgets.
fn first_life<P>(records: &[Record<P>]) -> usize {
    let mut forgotten = BTreeSet::new();
    let goes_on = |record: &Record<P>| {
        let again = forgotten.contains(&record.partition());
        if is_forget(record) {
            forgotten.insert(record.partition());
        }
        again
    };
    records.iter().position(goes_on).unwrap_or(records.len())
}

/// The record of the log; what is kept elsewhere has none.
fn record(write: &Write) -> Option<Record<&[u8]>> {
    Some(match write {
        Write::Append { partition, entry } => {
            let raft::Entry { index, term, kind, payload } = entry;
            let entry = Entry { position: *index, epoch: *term, kind: *kind as u8, payload: &payload[..] };
            Record::Append { partition: partition.0, entry }
        }
        Write::State { partition, state } => Record::State { partition: partition.0, bytes: state },
        Write::Reset { partition, index } => Record::Reset { partition: partition.0, position: *index },
        Write::Trim { partition, index } => Record::Trim { partition: partition.0, position: *index },
        Write::Forget { partition } => Record::Forget { partition: partition.0 },
        Write::Lost { .. } => return None,
    })
}

fn raft_entry(partition: u32, entry: Entry) -> Result<raft::Entry, Damage> {
    let Entry { position, epoch, kind, payload } = entry;
    let kind = raft::EntryKind::from_byte(kind).ok_or_else(|| {
        let reason = format!("entry {position} of partition {partition} is of the unknown kind {kind}");
        Damage::new("the log", 0, reason)
    })?;
    Ok(raft::Entry { index: position, term: epoch, kind, payload })
}

fn recovered(found: PartitionLog) -> Result<Recovered, Damage> {
    let PartitionLog { partition, state, start, entries } = found;
    let entries = entries.into_iter().map(|entry| raft_entry(partition, entry)).collect::<Result<_, _>>()?;
    let nothing = Recovered::nothing(PartitionId(partition));
    Ok(Recovered { state, log_start: start, entries, ..nothing })
}

/// The number, meta and content of a snapshot.
fn load<D: Disk>(
    disk: &D,
    finished: Finished,
    mut content: Content,
) -> Result<(u64, Bytes, Content), OpenError> {
    let (number, meta) = snapshot::read(disk, finished, |chunk| {
        content.load(chunk).map_err(|malformed| format!("the chunk makes no sense: {}", malformed.0))
    })?;
    Ok((number, meta, content))
}
