//! The files of the log: the segments in use, oldest first, of which the newest is written, and the spares.
//!
//! `wal-<id>` is a segment in use, `free-<n>` a spare: of the right length, with room on the disk for all of it. A
//! new segment is a spare that gets a header (synced), then its new name (folder synced), and only then groups.
//! The oldest segment, once nothing in it is needed, becomes a spare by a rename that is made durable at once. So
//! whatever is named `wal-` has a valid header, their ids are consecutive, and a segment's groups before its
//! successor's are all durable.
//!
//! Writing into blocks that have been written before spares the file system a change of its own books with each
//! sync. Recycled segments are such; a fresh one is filled with zeros bit by bit, ahead of what is written to it if it
//! is in use already ([`Segments::prepare`]), unless so much is written that this would cost more than it spares.

use std::collections::VecDeque;
use std::io;

use super::Options;
use super::format::{self, FIRST_GROUP};
use crate::disk::{Disk, File};
use crate::error::{AppendError, Failure};

const PREFIX: &str = "wal-";
const SPARE_PREFIX: &str = "free-";
/// Segments that are made larger for a large batch are a multiple of this.
const LARGE_UNIT: u64 = 4096;
/// Spares kept; what is freed beyond goes back to the file system.
const MAX_SPARES: usize = 2;
/// A spare is synced each time that so much has been zeroed, so that no later sync has to wait for all of it.
const ZERO_SYNC_BYTES: u64 = 4 << 20;
/// A segment in use is zeroed from this far behind its tail on: nothing that recovery looks at stands there.
const ZERO_AHEAD_BYTES: u64 = 1 << 20;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The name of a segment.
pub(super) fn name(segment: u32) -> String {
    format!("{PREFIX}{segment:08x}")
}

/// The id in a segment's name.
pub(super) fn id_of(name: &str) -> Option<u32> {
    let digits = name.strip_prefix(PREFIX)?;
    if digits.len() == 8 { u32::from_str_radix(digits, 16).ok() } else { None }
}

fn spare_number(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix(SPARE_PREFIX)?, 16).ok()
}

/// Does a file of this name belong to the log?
pub(crate) fn is_log_file(name: &str) -> bool {
    id_of(name).is_some() || spare_number(name).is_some()
}

fn is_full(failure: &Failure) -> bool {
    failure.error.kind() == io::ErrorKind::StorageFull
}

/// A segment in use.
#[derive(Debug)]
pub(super) struct Segment<F> {
    pub id: u32,
    pub file: F,
    /// The file's length.
    pub length: u64,
    /// Where the last group ends.
    pub tail: u64,
    /// Bytes up to here were written before, by an earlier life or by zeroing.
    pub prepared: u64,
    /// Records written to it.
    pub records: u64,
}

impl<F> Segment<F> {
    pub fn name(&self) -> String {
        name(self.id)
    }
}

#[derive(Debug)]
struct Spare<F> {
    name: String,
    file: F,
    /// The file's length: that of a segment, or more for a large batch that was refused before.
    length: u64,
    /// Bytes written before, by an earlier life or by zeroing.
    written: u64,
}

/// All files of a log.
#[derive(Debug)]
pub(super) struct Segments<D: Disk> {
    disk: D,
    segment_bytes: u64,
    list: VecDeque<Segment<D::File>>,
    spares: Vec<Spare<D::File>>,
    next_spare: u64,
    /// The last spare could not be made.
    full: bool,
    /// The length of the segment that could not be made for a batch; 0 if none was refused.
    refused: u64,
}

impl<D: Disk> Segments<D> {
    /// Takes over the segments that recovery found, and the spares among `names`. Spares of another length are
    /// removed.
    pub fn new(
        disk: D,
        options: &Options,
        list: VecDeque<Segment<D::File>>,
        names: &[String],
    ) -> Result<Segments<D>, Failure> {
        let segment_bytes = options.segment_bytes;
        let mut segments = Segments {
            disk,
            segment_bytes,
            list,
            spares: Vec::new(),
            next_spare: 0,
            full: false,
            refused: 0,
        };
        for name in names {
            let Some(number) = spare_number(name) else { continue };
            segments.next_spare = segments.next_spare.max(number + 1);
            let file = segments.disk.open(name, false).map_err(Failure::of("open", name))?;
            let length = file.length().map_err(Failure::of("measure", name))?;
            if length == segment_bytes && segments.spares.len() < MAX_SPARES {
                segments.spares.push(Spare { name: name.clone(), file, length, written: length });
            } else {
                segments.disk.remove(name).map_err(Failure::of("remove", name))?;
            }
        }
        Ok(segments)
    }

    /// The segments in use, oldest first.
    pub fn list(&self) -> &VecDeque<Segment<D::File>> {
        &self.list
    }

    /// A segment in use.
    pub fn get(&self, id: u32) -> &Segment<D::File> {
        &self.list[(id - self.list[0].id) as usize]
    }

    /// The segment that is written.
    pub fn newest(&self) -> &Segment<D::File> {
        self.list.back().expect("an open log has a segment")
    }

    /// Bytes left in the newest segment.
    pub fn room(&self) -> u64 {
        self.list.back().map_or(0, |newest| newest.length - newest.tail)
    }

    /// Is there no spare and no room for one, or was a batch refused for which there was no room?
    pub fn is_full(&self) -> bool {
        self.refused > 0 || (self.full && self.spares.is_empty())
    }

    /// Housekeeping was refused: that is no batch anyone waits for.
    pub fn overlook_refusal(&mut self) {
        self.refused = 0;
    }

    /// Begins a new segment with room for `bytes`. What is in the present one becomes durable first.
    pub fn roll(&mut self, bytes: u64, first_sequence: u64) -> Result<(), AppendError> {
        let needed = (FIRST_GROUP + bytes).next_multiple_of(LARGE_UNIT).max(self.segment_bytes);
        let spare = self.take_spare(needed).inspect_err(|failure| {
            self.refused = if is_full(failure) { needed } else { 0 };
        })?;
        if !self.list.is_empty() {
            self.sync_newest().map_err(AppendError::Failed)?;
        }
        let id = self
            .list
            .back()
            .map_or(1, |newest| newest.id.checked_add(1).expect("segment ids last for 2^58 bytes"));
        let header = format::encode_segment_header(id, first_sequence, spare.length);
        if let Err(error) = spare.file.write_at(0, &header) {
            let failure = Failure::of("write", &spare.name)(error);
            self.spares.push(spare);
            return Err(failure.into());
        }
        spare.file.sync().map_err(Failure::of("sync", &spare.name)).map_err(AppendError::Failed)?;
        let name = name(id);
        self.disk
            .rename(&spare.name, &name)
            .map_err(Failure::of("rename", &spare.name))
            .map_err(AppendError::Failed)?;
        self.sync_folder().map_err(AppendError::Failed)?;
        self.list.push_back(Segment {
            id,
            file: spare.file,
            length: spare.length,
            tail: FIRST_GROUP,
            prepared: spare.written,
            records: 0,
        });
        Ok(())
    }

    /// Writes a group at the tail of the newest segment.
    pub fn write_group(&mut self, bytes: &[u8], records: u32) -> Result<(), Failure> {
        let newest = self.list.back_mut().expect("an open log has a segment");
        let id = newest.id;
        newest.file.write_at(newest.tail, bytes).map_err(|error| Failure::of("write", &name(id))(error))?;
        newest.tail += bytes.len() as u64;
        newest.records += u64::from(records);
        Ok(())
    }

    /// Makes all groups durable.
    pub fn sync_newest(&self) -> Result<(), Failure> {
        let newest = self.newest();
        newest.file.sync().map_err(|error| Failure::of("sync", &newest.name())(error))
    }

    pub fn sync_folder(&self) -> Result<(), Failure> {
        self.disk.sync_folder().map_err(Failure::of("sync", "folder"))
    }

    /// The oldest segment becomes a spare, durably (otherwise a crash could bring it back without one that was
    /// freed after it).
    pub fn release_oldest(&mut self) -> Result<(), Failure> {
        let oldest = self.list.pop_front().expect("not the newest");
        let old_name = oldest.name();
        if oldest.length == self.segment_bytes && self.spares.len() < MAX_SPARES {
            let name = self.spare_name();
            self.disk.rename(&old_name, &name).map_err(Failure::of("rename", &old_name))?;
            self.sync_folder()?;
            let length = oldest.length;
            self.spares.push(Spare { name, file: oldest.file, length, written: length });
        } else {
            self.disk.remove(&old_name).map_err(Failure::of("remove", &old_name))?;
            self.sync_folder()?;
        }
        Ok(())
    }

    /// Sees to it that there is a spare, and one large enough for the batch that was refused, if the disk has
    /// room.
    pub fn ensure_spare(&mut self) -> Result<(), Failure> {
        let wanted = self.refused.max(self.segment_bytes);
        if !self.spares.iter().any(|spare| spare.length >= wanted) {
            match self.make_spare(wanted) {
                Ok(spare) => self.spares.push(spare),
                Err(failure) if is_full(&failure) => {
                    self.full = true;
                    return Ok(());
                }
                Err(failure) => return Err(failure),
            }
        }
        self.full = false;
        self.refused = 0;
        Ok(())
    }

    /// Writes up to about `bytes` zeros into the newest segment, ahead of its tail, or a spare, where nothing was ever
    /// written.
    pub fn prepare(&mut self, bytes: u64) -> Result<(), Failure> {
        if let Some(newest) = self.list.back_mut() {
            let ahead = (newest.tail + ZERO_AHEAD_BYTES).next_multiple_of(LARGE_UNIT);
            let from = newest.prepared.max(ahead);
            if from < newest.length {
                let end = newest.length.min(from.saturating_add(bytes));
                newest.prepared = write_zeros(&newest.file, &newest.name(), from, end, newest.length)?;
                return Ok(());
            }
        }
        let Some(spare) = self.spares.iter_mut().find(|spare| spare.written < spare.length) else {
            return Ok(());
        };
        let before = spare.written;
        let end = spare.length.min(before.saturating_add(bytes));
        spare.written = write_zeros(&spare.file, &spare.name, before, end, spare.length)?;
        if before / ZERO_SYNC_BYTES != spare.written / ZERO_SYNC_BYTES {
            spare.file.sync().map_err(Failure::of("sync", &spare.name))?;
        }
        Ok(())
    }

    fn spare_name(&mut self) -> String {
        self.next_spare += 1;
        format!("{SPARE_PREFIX}{:x}", self.next_spare - 1)
    }

    /// The smallest spare of at least this length, or a new one.
    fn take_spare(&mut self, length: u64) -> Result<Spare<D::File>, Failure> {
        let fitting = self.spares.iter().enumerate().filter(|(_, spare)| spare.length >= length);
        match fitting.min_by_key(|(_, spare)| spare.length) {
            Some((place, _)) => Ok(self.spares.swap_remove(place)),
            None => self.make_spare(length),
        }
    }

    /// Makes a file of this length with room for all of it; leaves nothing behind if there is none.
    fn make_spare(&mut self, length: u64) -> Result<Spare<D::File>, Failure> {
        let name = self.spare_name();
        let made = self.disk.open(&name, true).and_then(|file| file.allocate(length).map(|()| file));
        match made {
            Ok(file) => Ok(Spare { name, file, length, written: 0 }),
            Err(error) => {
                // If it cannot be removed now it is at the next start.
                let _ = self.disk.remove(&name);
                Err(Failure { doing: "allocate", file: name, error })
            }
        }
    }
}

/// Writes zeros from `from` to `end`; returns how far the file needs no more of them. That is all of its `length` if the
/// disk is full: the room was reserved, but some file systems take new blocks at each write, and this only saves time.
fn write_zeros<F: File>(file: &F, name: &str, from: u64, end: u64, length: u64) -> Result<u64, Failure> {
    let mut at = from;
    while at < end {
        let piece = (end - at).min(ZEROS.len() as u64);
        match file.write_at(at, &ZEROS[..piece as usize]) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(length),
            result => result.map_err(Failure::of("write", name))?,
        }
        at += piece;
    }
    Ok(end)
}
