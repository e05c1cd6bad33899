//! Snapshot files: one finished file per partition holds its table as it was at some time.
//!
//! **What it promises.** Once [`Snapshots::finish`] has returned, the snapshot is durable and has taken the place
//! of the partition's older one; before that it does not count, and the older one stays. A finished file that is
//! not as it was written is reported with name and offset, never loaded in part without saying so.
//!
//! A file is written as `snap-<partition>-<snapshot>.tmp`, synced, and renamed to `snap-<partition>-<order>`; the
//! rename is made durable before older files are removed. `order` rises with each finished file of a partition, so
//! the newest is told if a crash comes before the removal. Unfinished files are removed at the next start.
//!
//! Where to read next: `format` (the bytes), `read`.

mod format;
mod read;

pub use format::VERSION;
pub use read::read;

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use crate::disk::{Disk, File};
use crate::error::Failure;
use format::{HEADER_BYTES, Kind};

const PREFIX: &str = "snap-";
const UNFINISHED: &str = ".tmp";
/// A file is synced each time that so much has been written, so that no sync has to wait for all of it.
const SYNC_BYTES: u64 = 8 << 20;

/// A finished snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The partition.
    pub partition: u32,
    /// Rises with each finished snapshot of the partition.
    pub order: u64,
}

/// Why a snapshot was not written.
#[derive(Debug)]
pub enum SnapshotError {
    /// The disk is full. The unfinished file is removed; the older snapshot is still there.
    Full,
    /// The disk refused: the process has to stop.
    Failed(Failure),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotError::Full => f.write_str("the disk is full"),
            SnapshotError::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for SnapshotError {}

impl From<Failure> for SnapshotError {
    fn from(failure: Failure) -> Self {
        if failure.error.kind() == io::ErrorKind::StorageFull {
            SnapshotError::Full
        } else {
            SnapshotError::Failed(failure)
        }
    }
}

fn finished_name(finished: Finished) -> String {
    format!("{PREFIX}{:08x}-{:016x}", finished.partition, finished.order)
}

fn unfinished_name(partition: u32, snapshot: u64) -> String {
    format!("{PREFIX}{partition:08x}-{snapshot:016x}{UNFINISHED}")
}

fn parse_name(name: &str) -> Option<Finished> {
    let (partition, order) = name.strip_prefix(PREFIX)?.split_once('-')?;
    if partition.len() != 8 || order.len() != 16 {
        return None;
    }
    let partition = u32::from_str_radix(partition, 16).ok()?;
    let order = u64::from_str_radix(order, 16).ok()?;
    Some(Finished { partition, order })
}

/// Is a file of this name a snapshot, finished or not?
pub(crate) fn is_snapshot_file(name: &str) -> bool {
    parse_name(name.strip_suffix(UNFINISHED).unwrap_or(name)).is_some()
}

/// A file that is being written.
#[derive(Debug)]
struct Unfinished<F> {
    name: String,
    file: F,
    length: u64,
    unsynced_bytes: u64,
    sequence: u64,
    seed: u32,
    total: crc32fast::Hasher,
}

impl<F: File> Unfinished<F> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_at(self.length, bytes).map_err(Failure::of("write", &self.name))?;
        self.length += bytes.len() as u64;
        self.unsynced_bytes += bytes.len() as u64;
        if self.unsynced_bytes >= SYNC_BYTES { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), Failure> {
        self.unsynced_bytes = 0;
        self.file.sync().map_err(Failure::of("sync", &self.name))
    }

    fn frame(&mut self, kind: Kind, content: &[&[u8]]) -> Result<(), Failure> {
        let (head, crc) = format::encode_frame(self.seed, kind, self.sequence, content);
        self.write(&head)?;
        for bytes in content {
            self.write(bytes)?;
        }
        self.total.update(&crc.to_le_bytes());
        self.sequence += 1;
        Ok(())
    }
}

/// The snapshot files of a folder.
#[derive(Debug)]
pub struct Snapshots<D: Disk> {
    disk: D,
    finished: BTreeMap<u32, u64>,
    unfinished: BTreeMap<(u32, u64), Unfinished<D::File>>,
    newest_unfinished: BTreeMap<u32, u64>,
}

impl<D: Disk> Snapshots<D> {
    /// Looks which snapshots there are; removes unfinished and older ones.
    ///
    /// # Errors
    /// The disk refused.
    pub fn open(disk: D) -> Result<Snapshots<D>, Failure> {
        // A process that was killed may have left a rename that is not durable; older files go only after it is.
        disk.sync_folder().map_err(Failure::of("sync", "folder"))?;
        let names = disk.list().map_err(Failure::of("list", "folder"))?;
        let mut finished: BTreeMap<u32, u64> = BTreeMap::new();
        for found in names.iter().filter_map(|name| parse_name(name)) {
            let newest = finished.entry(found.partition).or_insert(found.order);
            *newest = found.order.max(*newest);
        }
        let mut newest_unfinished = BTreeMap::new();
        for name in names {
            let unfinished = name.strip_suffix(UNFINISHED).and_then(parse_name);
            if let Some(Finished { partition, order: number }) = unfinished {
                let newest = newest_unfinished.entry(partition).or_insert(number);
                *newest = number.max(*newest);
            }
            let outdated = parse_name(&name).is_some_and(|found| finished[&found.partition] != found.order);
            if outdated || unfinished.is_some() {
                disk.remove(&name).map_err(Failure::of("remove", &name))?;
            }
        }
        Ok(Snapshots { disk, finished, unfinished: BTreeMap::new(), newest_unfinished })
    }

    /// The finished snapshots, by partition.
    pub fn finished(&self) -> impl Iterator<Item = Finished> + '_ {
        self.finished.iter().map(|(partition, order)| Finished { partition: *partition, order: *order })
    }

    /// The highest number of an unfinished snapshot of a partition that was found (and removed) at start; 0 if
    /// there was none.
    pub fn newest_unfinished(&self, partition: u32) -> u64 {
        self.newest_unfinished.get(&partition).copied().unwrap_or(0)
    }

    /// Writes the next chunk of a snapshot. Sequence 0 begins a file. Returns `false` if there is no such file any
    /// more, since the disk was full or it was given up.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    ///
    /// # Panics
    /// A chunk was left out.
    pub fn chunk(
        &mut self,
        partition: u32,
        snapshot: u64,
        sequence: u64,
        bytes: &[u8],
    ) -> Result<bool, SnapshotError> {
        self.with(partition, snapshot, sequence, |file| file.frame(Kind::Chunk, &[bytes]))
    }

    /// Completes a snapshot and makes it durable; older ones of the partition are removed. Returns `false` as
    /// [`Snapshots::chunk`] does.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    ///
    /// # Panics
    /// A chunk was left out.
    pub fn finish(
        &mut self,
        partition: u32,
        snapshot: u64,
        sequence: u64,
        meta: &[u8],
    ) -> Result<bool, SnapshotError> {
        let order = self.finished.get(&partition).map_or(1, |order| order + 1);
        let written = self.with(partition, snapshot, sequence, |file| {
            let footer = format::encode_footer(order, file.total.clone().finalize());
            file.frame(Kind::Footer, &[&footer, meta])?;
            file.sync()
        })?;
        if !written {
            return Ok(false);
        }
        let from = unfinished_name(partition, snapshot);
        let to = finished_name(Finished { partition, order });
        if let Err(error) = self.disk.rename(&from, &to) {
            self.abort(partition, snapshot);
            return Err(Failure::of("rename", &from)(error).into());
        }
        self.unfinished.remove(&(partition, snapshot));
        self.sync_folder().map_err(SnapshotError::Failed)?;
        if let Some(older) = self.finished.insert(partition, order) {
            let name = finished_name(Finished { partition, order: older });
            self.disk.remove(&name).map_err(Failure::of("remove", &name)).map_err(SnapshotError::Failed)?;
        }
        Ok(true)
    }

    /// Gives up a snapshot that is not finished.
    pub fn abort(&mut self, partition: u32, snapshot: u64) {
        if let Some(file) = self.unfinished.remove(&(partition, snapshot)) {
            // If it cannot be removed now it is at the next start.
            let _ = self.disk.remove(&file.name);
        }
    }

    /// Gives up all unfinished snapshots of a partition.
    pub fn abort_all(&mut self, partition: u32) {
        let range = (partition, 0)..=(partition, u64::MAX);
        let numbers: Vec<u64> = self.unfinished.range(range).map(|((_, snapshot), _)| *snapshot).collect();
        numbers.into_iter().for_each(|snapshot| self.abort(partition, snapshot));
    }

    /// Removes a partition's finished snapshot, durably.
    ///
    /// # Errors
    /// The disk refused.
    pub fn remove(&mut self, partition: u32) -> Result<(), Failure> {
        if let Some(order) = self.finished.remove(&partition) {
            let name = finished_name(Finished { partition, order });
            self.disk.remove(&name).map_err(Failure::of("remove", &name))?;
            self.sync_folder()?;
        }
        Ok(())
    }

    fn sync_folder(&self) -> Result<(), Failure> {
        self.disk.sync_folder().map_err(Failure::of("sync", "folder"))
    }

    /// Does something with an unfinished file, which is given up if that fails.
    fn with(
        &mut self,
        partition: u32,
        snapshot: u64,
        sequence: u64,
        action: impl FnOnce(&mut Unfinished<D::File>) -> Result<(), Failure>,
    ) -> Result<bool, SnapshotError> {
        if sequence == 0 {
            let begun = self.begin(partition, snapshot)?;
            self.unfinished.insert((partition, snapshot), begun);
        }
        let Some(file) = self.unfinished.get_mut(&(partition, snapshot)) else { return Ok(false) };
        assert_eq!(
            file.sequence, sequence,
            "chunks of snapshot {snapshot} of partition {partition} come in order"
        );
        match action(file) {
            Ok(()) => Ok(true),
            Err(failure) => {
                self.abort(partition, snapshot);
                Err(failure.into())
            }
        }
    }

    fn begin(&mut self, partition: u32, snapshot: u64) -> Result<Unfinished<D::File>, Failure> {
        self.abort(partition, snapshot);
        let name = unfinished_name(partition, snapshot);
        let (header, seed) = format::encode_header(partition, snapshot);
        let file = self.disk.open(&name, true).map_err(Failure::of("open", &name))?;
        let written = file.set_length(0).and_then(|()| file.write_at(0, &header));
        if let Err(error) = written {
            let _ = self.disk.remove(&name);
            return Err(Failure { doing: "write", file: name, error });
        }
        let length = HEADER_BYTES as u64;
        let total = crc32fast::Hasher::new();
        Ok(Unfinished { name, file, length, unsynced_bytes: length, sequence: 0, seed, total })
    }
}
