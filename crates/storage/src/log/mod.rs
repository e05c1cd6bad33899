//! The write-ahead log: one per shard, shared by its partitions.
//!
//! **What it promises.** Each [`Log::append`] is one *group*, which recovery finds whole or not at all, and in the
//! order of writing: if a group is recovered, so are all before it. After [`Log::sync`] has returned, every group
//! appended before is recovered. Nothing that was synced is dropped in silence: if it cannot be read,
//! [`Log::open`] or [`Log::read`] says which file is damaged and where.
//!
//! **How a torn tail is told from damage.** Groups that were not synced may be on disk in part and in any order.
//! So where the newest segment stops making sense the question is: had the group that should be here been synced?
//! Every group header carries the sequence number up to which all was durable when it was written, and after each
//! sync a *mark* with that number is written (not synced itself) a sector beyond the tail. Recovery looks through
//! the whole rest of the segment for headers and marks. If one says that the missing group was durable, it is
//! damage; otherwise it is what a crash leaves, and is cut. Once a new segment is there durably a mark in the head of
//! the one before says so (not synced itself either): then the new one cannot go missing unnoticed. In older segments all groups were durable before the
//! next segment began, so there anything invalid is damage. What remains undetectable is damage to the last synced
//! group together with everything after it, at the same time.
//!
//! **Why bytes beyond the tail cannot come back to life.** A recycled segment's have another segment id in their
//! checksums. Groups that survived a crash, behind one that did not, belong to an earlier *life*: each opening
//! writes a group of its own with the next life's number before anything else, and lives never decrease along the
//! log.
//!
//! **Why what was recovered is durable.** A killed process leaves its writes in the page cache, and after a failed
//! sync the cache may hold what the disk does not, marked as clean. So opening writes whatever is not proved
//! durable again, and syncs.
//!
//! **Why segments go oldest first.** Replaying the log from any segment on gives the right state only if no record
//! is missing in between. So only the oldest segment is ever freed, once nothing in it is live and what took its
//! place is durable; if few live records (of partitions that seldom write) hold it back, they are written again at
//! the head (`rewrite`).
//!
//! Where to read next: `format` (the bytes), `segments` (the files), `index` (what is live), `recovery`,
//! `rewrite`, `read`.

mod format;
mod index;
mod read;
mod recovery;
mod replay;
mod rewrite;
mod segments;

pub use format::{Entry, Record, VERSION};
pub(crate) use segments::is_log_file;

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;

use crate::disk::{Disk, File};
use crate::error::{AppendError, Failure};
use format::{GROUP_HEADER_BYTES, Group, GroupHeader, Kind, Location, RecordHeader};
use index::Index;
use segments::Segments;

/// A buffer that a large batch has made larger than this is given back.
const BUFFER_BYTES: usize = 4 << 20;
/// Marks begin at multiples of this, so that no sector holds both a group and the mark that says it was durable.
const SECTOR_BYTES: u64 = 512;
/// Where a sync makes no more than so much durable, segments are filled with zeros ahead of it: that spares each sync a change of
/// the file system's books. Where it is more, to write everything twice costs more than that.
const PREPARE_UP_TO_BYTES: u64 = 24 << 10;

/// The numbers of a log.
#[derive(Clone, Debug)]
pub struct Options {
    /// The length of a segment. One more than needed is kept as a reserve, so a log takes at least twice this on
    /// disk. A batch that is larger gets a segment of its own.
    pub segment_bytes: u64,
    /// Records are moved out of the oldest segment once the log has this many segments and less than half of it is
    /// live. So a log takes about twice its live bytes, and a byte is rewritten about once at the most.
    pub rewrite_segments: usize,
    /// How much [`Log::maintain`] reads from old segments, and zeroes of new ones, in one call, if not more was
    /// appended since the last.
    pub maintain_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options { segment_bytes: 64 << 20, rewrite_segments: 4, maintain_bytes: 256 << 10 }
    }
}

/// A partition as found at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLog {
    /// The partition.
    pub partition: u32,
    /// The latest [`Record::State`].
    pub state: Option<Bytes>,
    /// The position after which the log begins.
    pub start: u64,
    /// The entries, from `start + 1` on.
    pub entries: Vec<Entry>,
}

/// An open log.
#[derive(Debug)]
pub struct Log<D: Disk> {
    options: Options,
    segments: Segments<D>,
    index: Index,
    /// The sequence number of the next group.
    sequence: u64,
    /// All groups up to and including this one are durable.
    durable: u64,
    life: u32,
    /// A write or sync failed: nothing is known any more.
    poisoned: bool,
    group: Group,
    locations: Vec<Location>,
    rewrite: rewrite::Cursor,
    /// Bytes appended since the last [`Log::maintain`].
    unmaintained_bytes: u64,
    /// Bytes appended since the last sync.
    unsynced_bytes: u64,
    /// What a sync makes durable, on average over the last few.
    bytes_a_sync: u64,
    /// Partitions whose last record is a [`Record::Forget`], as found at start.
    pub(crate) forgotten: Vec<u32>,
    /// There was no log in the folder.
    pub(crate) is_new: bool,
}

impl<D: Disk> Log<D> {
    /// Writes records as one group: recovery finds all of them or none. They are durable after the next
    /// [`Log::sync`].
    ///
    /// # Errors
    /// [`AppendError::Full`]: nothing has changed. Anything else: the process has to stop.
    ///
    /// # Panics
    /// An entry does not follow its partition's last and does not replace one either.
    pub fn append(&mut self, records: &[Record]) -> Result<(), AppendError> {
        self.append_slices(records)
    }

    /// The same, of content that need not be the caller's own.
    pub(crate) fn append_slices<P: AsRef<[u8]>>(&mut self, records: &[Record<P>]) -> Result<(), AppendError> {
        self.check_alive()?;
        if records.is_empty() {
            return Ok(());
        }
        self.assert_consecutive(records);
        let size = records.iter().map(|record| format::record_bytes(record.parts().1.len())).sum();
        self.write_group(size, records.iter().map(Record::parts))
    }

    /// Writes a group whose records take `size` bytes, then takes them into the index.
    fn write_group<'a>(
        &mut self,
        size: u64,
        records: impl Iterator<Item = (RecordHeader, &'a [u8])> + Clone,
    ) -> Result<(), AppendError> {
        let size = GROUP_HEADER_BYTES as u64 + size;
        if self.segments.room() < size {
            self.roll(size)?;
        }
        let newest = self.segments.newest();
        self.group.begin(newest.id, newest.tail);
        self.locations.clear();
        for (header, payload) in records.clone() {
            let location = self.group.push(&header, payload);
            self.locations.push(location);
        }
        assert_eq!(self.group.buffer.len() as u64, size);
        self.group.finish(self.sequence, self.durable, self.life);
        // If the disk is full after all, what was written of the group is never valid: its successor starts at the
        // same place.
        if let Err(failure) = self.segments.write_group(&self.group.buffer, self.group.records()) {
            return Err(self.poison_unless_full(failure.into()));
        }
        self.sequence += 1;
        self.unmaintained_bytes += size;
        self.unsynced_bytes += size;
        for ((header, _), location) in records.zip(&self.locations) {
            self.index.apply(&header, *location);
        }
        if self.group.buffer.capacity() > BUFFER_BYTES {
            self.group = Group::default();
        }
        Ok(())
    }

    /// The file that is written now, for it to be synced by whoever does not want to keep others from writing meanwhile. What that
    /// makes durable is so for the log only after the next [`Log::sync`], which has less to do then.
    pub fn newest_file(&self) -> D::File {
        self.segments.newest().file.clone()
    }

    /// Bytes for which there is room before another segment has to be begun, which takes its time.
    pub fn room(&self) -> u64 {
        self.segments.room()
    }

    /// Makes everything appended so far durable, and frees segments that are not needed any more.
    ///
    /// # Errors
    /// The process has to stop: what is durable is not known any more. The log takes no further calls.
    pub fn sync(&mut self) -> Result<(), Failure> {
        self.flush()?;
        self.release()
    }

    /// The first half of [`Log::sync`]: makes everything durable.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.check_alive()?;
        if self.durable + 1 < self.sequence {
            self.segments.sync_newest().map_err(|failure| self.poison(failure))?;
            self.durable = self.sequence - 1;
            self.bytes_a_sync = (self.bytes_a_sync * 7 + std::mem::take(&mut self.unsynced_bytes)) / 8;
            self.write_mark()?;
        }
        Ok(())
    }

    /// The second half of [`Log::sync`]: frees old segments.
    pub(crate) fn release(&mut self) -> Result<(), Failure> {
        self.check_alive()?;
        assert_eq!(self.durable + 1, self.sequence, "what takes the place of old records is durable");
        while self.segments.list().len() > 1 && self.index.live(self.segments.list()[0].id) == 0 {
            self.segments.release_oldest().map_err(|failure| self.poison(failure))?;
            self.index.remove_oldest_segment();
        }
        Ok(())
    }

    /// Is the disk full: is there no spare segment and no room to make one, or was a batch refused for which there
    /// was no room? Callers should then write only what is small and needed; for that the newest segment serves as
    /// the reserve.
    pub fn is_full(&self) -> bool {
        self.segments.is_full()
    }

    /// Looks again whether there is room. Returns whether there is.
    ///
    /// # Errors
    /// The process has to stop.
    pub fn try_reclaim(&mut self) -> Result<bool, Failure> {
        self.check_alive()?;
        self.segments.ensure_spare().map_err(|failure| self.poison(failure))?;
        Ok(!self.is_full())
    }

    /// Bytes of all segments in use.
    pub fn bytes(&self) -> u64 {
        self.segments.list().iter().map(|segment| segment.length).sum()
    }

    fn roll(&mut self, size: u64) -> Result<(), AppendError> {
        if let Err(error) = self.segments.roll(size, self.sequence) {
            return Err(self.poison_unless_full(error));
        }
        self.durable = self.sequence - 1;
        self.index.add_segment();
        if let Some(before) = self.segments.list().len().checked_sub(2) {
            self.write_mark_at(before, format::CLOSING_MARK).map_err(AppendError::Failed)?;
        }
        self.segments.ensure_spare().map_err(|failure| self.poison(failure))?;
        Ok(())
    }

    /// Says beyond the tail what is durable, for [recovery](self). Not durable itself: a killed process leaves it
    /// behind, and mostly also a machine that loses power some time after its last write.
    fn write_mark(&mut self) -> Result<(), Failure> {
        let newest = self.segments.newest();
        let offset = newest.tail.next_multiple_of(SECTOR_BYTES);
        if offset + GROUP_HEADER_BYTES as u64 > newest.length {
            return Ok(());
        }
        self.write_mark_at(self.segments.list().len() - 1, offset)
    }

    fn write_mark_at(&mut self, place: usize, offset: u64) -> Result<(), Failure> {
        let segment = &self.segments.list()[place];
        let header = GroupHeader {
            sequence: self.sequence,
            durable: self.durable,
            life: self.life,
            records: 0,
            length: 0,
        };
        let mut bytes = [0; GROUP_HEADER_BYTES];
        format::encode_group_header(&mut bytes, format::MARK_MAGIC, &header, segment.id, offset);
        match segment.file.write_at(offset, &bytes) {
            Err(error) if error.kind() != io::ErrorKind::StorageFull => {
                let failure = Failure::of("write", &segment.name())(error);
                Err(self.poison(failure))
            }
            _ => Ok(()),
        }
    }

    fn check_alive(&self) -> Result<(), Failure> {
        if self.poisoned {
            let error = io::Error::other("an earlier write or sync failed");
            return Err(Failure { doing: "use", file: "the log".to_owned(), error });
        }
        Ok(())
    }

    fn poison(&mut self, failure: Failure) -> Failure {
        self.poisoned = true;
        failure
    }

    fn poison_unless_full(&mut self, error: AppendError) -> AppendError {
        self.poisoned |= !matches!(error, AppendError::Full);
        error
    }

    /// Positions must be right before anything is written: what is on disk cannot be taken back.
    fn assert_consecutive<P>(&self, records: &[Record<P>]) {
        let mut changed: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for record in records {
            let partition = record.partition();
            let bounds = changed.entry(partition).or_insert_with(|| self.index.bounds(partition));
            let (start, last) = *bounds;
            *bounds = match record {
                Record::Append { entry, .. } => {
                    let position = entry.position;
                    assert!(
                        position > start && position <= last + 1,
                        "partition {partition}: an entry at {position} where the log goes from {start} to {last}"
                    );
                    (start, position)
                }
                Record::State { .. } => (start, last),
                Record::Reset { position, .. } => (*position, *position),
                Record::Trim { position, .. } => (start.max(*position), last.max(*position)),
                Record::Forget { .. } => (0, 0),
            };
        }
    }
}

/// Kinds of record that carry an entry.
fn is_entry(kind: Kind) -> bool {
    matches!(kind, Kind::Append | Kind::Rewrite)
}
