//! Opening a log: finding its end, replaying it, making what was found durable. [The log's page](super) has the
//! reasons.

use std::collections::VecDeque;

use bytes::Bytes;

use super::format::{
    self, ALIGNMENT, FIRST_GROUP, GROUP_HEADER_BYTES, GROUP_MAGIC, GroupHeader, HeaderError,
};
use super::format::{MARK_MAGIC, SEGMENT_HEADER_BYTES};
use super::index::Index;
use super::replay::Replay;
use super::rewrite::Cursor;
use super::segments::{self, Segment, Segments};
use super::{Group, Log, Options, PartitionLog};
use crate::disk::{Disk, File, read_exact_at};
use crate::error::{Damage, Failure, OpenError};

/// Read at once. Entries keep what was read with them alive, so it should not be much more than they are.
const CHUNK_BYTES: u64 = 1 << 20;

/// Reads a file from front to back in large pieces.
struct Reader<'a, F> {
    file: &'a F,
    name: String,
    length: u64,
    chunk: Bytes,
    chunk_offset: u64,
}

impl<'a, F: File> Reader<'a, F> {
    fn new(segment: &'a Segment<F>) -> Self {
        Reader {
            file: &segment.file,
            name: segment.name(),
            length: segment.length,
            chunk: Bytes::new(),
            chunk_offset: 0,
        }
    }

    /// `length` bytes at `offset`; `None` if the file ends before.
    fn get(&mut self, offset: u64, length: u64) -> Result<Option<Bytes>, Failure> {
        if length > self.length.saturating_sub(offset) {
            return Ok(None);
        }
        if offset < self.chunk_offset || offset + length > self.chunk_offset + self.chunk.len() as u64 {
            let size = length.max(CHUNK_BYTES).min(self.length - offset);
            let mut chunk = vec![0; size as usize];
            read_exact_at(self.file, offset, &mut chunk).map_err(Failure::of("read", &self.name))?;
            (self.chunk, self.chunk_offset) = (chunk.into(), offset);
        }
        let start = (offset - self.chunk_offset) as usize;
        Ok(Some(self.chunk.slice(start..start + length as usize)))
    }
}

/// The state of the walk through all groups.
struct Walk {
    replay: Replay,
    /// What the next group's number has to be.
    sequence: u64,
    life: u32,
    /// The highest number that any header says was durable.
    durable: u64,
    /// Where the newest segment's first group begins that is not proved to be durable.
    groups: Vec<(u64, u64)>,
}

/// Why the walk through a segment ended.
struct Stop {
    offset: u64,
    reason: &'static str,
}

impl Walk {
    /// Replays the groups of a segment until one is not valid or `until` is reached.
    fn segment<F: File>(
        &mut self,
        segment: &mut Segment<F>,
        until: Option<u64>,
    ) -> Result<Option<Stop>, Failure> {
        self.groups.clear();
        let mut offset = FIRST_GROUP;
        let mut stop = None;
        let mut reader = Reader::new(segment);
        let mut records = 0;
        while until.is_none_or(|until| self.sequence < until) {
            match self.group(&mut reader, segment.id, offset)? {
                Ok(group) => {
                    self.groups.push((group.sequence, offset));
                    offset += GROUP_HEADER_BYTES as u64 + group.length;
                    records += u64::from(group.records);
                }
                Err(at) => {
                    stop = Some(at);
                    break;
                }
            }
        }
        segment.tail = offset;
        segment.records = records;
        Ok(stop)
    }

    /// Replays the group that should begin at `offset`, if it is valid as a whole.
    fn group<F: File>(
        &mut self,
        reader: &mut Reader<F>,
        segment: u32,
        offset: u64,
    ) -> Result<Result<GroupHeader, Stop>, Failure> {
        let stop = |reason| Ok(Err(Stop { offset, reason }));
        let head_bytes = GROUP_HEADER_BYTES as u64;
        let Some(head) = reader.get(offset, head_bytes)? else { return stop("the segment ends here") };
        let Some(group) = format::decode_group_header(&head, GROUP_MAGIC, segment, offset) else {
            return stop("the group's header is not valid");
        };
        if group.sequence != self.sequence || group.life < self.life {
            return stop("this is not the group that should follow");
        }
        self.durable = self.durable.max(group.durable);
        let Some(body) = reader.get(offset + head_bytes, group.length)? else {
            return stop("the group is longer than its segment");
        };
        let mut records = Vec::with_capacity(group.records as usize);
        let decoded = format::decode_group(&group, &body, segment, offset, |header, location, payload| {
            records.push((header, location, payload));
        });
        if let Err((offset, reason)) = decoded {
            return Ok(Err(Stop { offset, reason }));
        }
        for (header, location, payload) in records {
            self.replay.apply(&header, location, body.slice(payload));
        }
        self.sequence += 1;
        self.life = group.life;
        Ok(Ok(group))
    }

    /// Looks for any header or mark in the rest of a segment and notes what it says was durable.
    fn scan<F: File>(&mut self, segment: &Segment<F>) -> Result<(), Failure> {
        let mut reader = Reader::new(segment);
        let mut offset = segment.tail;
        let head_bytes = GROUP_HEADER_BYTES as u64;
        while offset + head_bytes <= segment.length {
            let size = CHUNK_BYTES.min(segment.length - offset);
            let Some(chunk) = reader.get(offset, size)? else { break };
            let mut at = 0;
            while at + head_bytes <= size {
                let head = &chunk[at as usize..];
                for magic in [GROUP_MAGIC, MARK_MAGIC] {
                    if let Some(header) = format::decode_group_header(head, magic, segment.id, offset + at) {
                        self.durable = self.durable.max(header.durable);
                    }
                }
                at += ALIGNMENT;
            }
            offset += at;
        }
        Ok(())
    }
}

impl<D: Disk> Log<D> {
    /// Opens the log in this folder, or makes one. Returns what it holds, by partition.
    ///
    /// # Errors
    /// The folder is damaged, of another version, or the disk refused.
    pub fn open(disk: D, options: Options) -> Result<(Log<D>, Vec<PartitionLog>), OpenError> {
        assert!(
            options.segment_bytes >= 4096 && options.segment_bytes.is_multiple_of(4096),
            "segments are a multiple of 4096 bytes"
        );
        // A process that was killed between a rename and its sync may have left names that are not durable.
        disk.sync_folder().map_err(Failure::of("sync", "folder"))?;
        let names = disk.list().map_err(Failure::of("list", "folder"))?;
        let (mut found, firsts) = open_segments(&disk, &names)?;
        let first_id = found.front().map_or(1, |segment| segment.id);
        let is_new = found.is_empty();
        let mut walk = walk_segments(&mut found, &firsts)?;
        rewrite_unproved(&found, &walk)?;
        let mut index = Index::new(first_id);
        found.iter().for_each(|_| index.add_segment());
        let replay = std::mem::take(&mut walk.replay);
        let forgotten = replay.forgotten();
        let oldest = segments::name(first_id);
        let partitions =
            replay.finish(&mut index).map_err(|reason| Damage::new(oldest, FIRST_GROUP, reason))?;
        let mut log = Log {
            segments: Segments::new(disk, &options, found, &names)?,
            options,
            index,
            sequence: walk.sequence,
            durable: walk.durable,
            life: walk.life + 1,
            poisoned: false,
            group: Group::default(),
            locations: Vec::new(),
            rewrite: Cursor::default(),
            unmaintained_bytes: 0,
            unsynced_bytes: 0,
            bytes_a_sync: 0,
            forgotten,
            is_new,
        };
        log.begin_life()?;
        Ok((log, partitions))
    }

    /// Writes the group that tells this life from earlier ones, and makes it and all before it durable. In a
    /// segment without room for it nothing more can be written anyway.
    fn begin_life(&mut self) -> Result<(), OpenError> {
        if self.segments.list().is_empty() {
            let full = || Failure {
                doing: "allocate",
                file: "the first segment".to_owned(),
                error: std::io::ErrorKind::StorageFull.into(),
            };
            self.roll(GROUP_HEADER_BYTES as u64).map_err(|error| match error {
                super::AppendError::Failed(failure) => failure,
                _ => full(),
            })?;
        }
        let newest = self.segments.newest();
        if self.segments.room() >= GROUP_HEADER_BYTES as u64 {
            self.group.begin(newest.id, newest.tail);
            self.group.finish(self.sequence, self.durable, self.life);
            self.segments.write_group(&self.group.buffer, 0)?;
            self.sequence += 1;
        }
        self.segments.sync_newest()?;
        self.durable = self.sequence - 1;
        self.segments.ensure_spare()?;
        self.write_mark()?;
        self.release()?;
        Ok(())
    }
}

/// Opens all segments and reads their headers. Returns them, oldest first, with the number of each one's first
/// group.
fn open_segments<D: Disk>(
    disk: &D,
    names: &[String],
) -> Result<(VecDeque<Segment<D::File>>, Vec<u64>), OpenError> {
    let mut ids: Vec<u32> = names.iter().filter_map(|name| segments::id_of(name)).collect();
    ids.sort_unstable();
    let mut found = VecDeque::new();
    let mut firsts = Vec::new();
    for id in ids {
        let name = segments::name(id);
        if let Some(last) = found.back().map(|segment: &Segment<D::File>| segment.id)
            && last + 1 != id
        {
            return Err(Damage::new(segments::name(last + 1), 0, "the file is missing").into());
        }
        let file = disk.open(&name, false).map_err(Failure::of("open", &name))?;
        let length = file.length().map_err(Failure::of("measure", &name))?;
        if length < FIRST_GROUP {
            return Err(Damage::new(name, length, "the file is too short for a segment").into());
        }
        let mut head = [0; SEGMENT_HEADER_BYTES];
        read_exact_at(&file, 0, &mut head).map_err(Failure::of("read", &name))?;
        let (first, least) = format::decode_segment_header(&head, id).map_err(|error| match error {
            HeaderError::Version(found) => {
                OpenError::Version { file: name.clone(), found, reads: format::VERSION }
            }
            HeaderError::Damaged(reason) => Damage::new(name.clone(), 0, reason).into(),
        })?;
        if length < least {
            return Err(Damage::new(name, length, "the file is shorter than it was made").into());
        }
        firsts.push(first);
        found.push_back(Segment { id, file, length, tail: FIRST_GROUP, prepared: 0, records: 0 });
    }
    Ok((found, firsts))
}

/// Replays all segments; what does not belong is damage, except at the end of the newest.
fn walk_segments<F: File>(found: &mut VecDeque<Segment<F>>, firsts: &[u64]) -> Result<Walk, OpenError> {
    let sequence = firsts.first().copied().unwrap_or(1);
    // All groups before a segment's first were durable when it began.
    let durable = firsts.last().map_or(0, |first| first - 1);
    let mut walk = Walk { replay: Replay::default(), sequence, life: 0, durable, groups: Vec::new() };
    for (place, segment) in found.iter_mut().enumerate() {
        let until = firsts.get(place + 1).copied();
        if walk.sequence != firsts[place] {
            return Err(Damage::new(
                segment.name(),
                0,
                "the segment does not begin where the one before it ends",
            )
            .into());
        }
        let Some(stop) = walk.segment(segment, until)? else { continue };
        if until.is_none() {
            walk.scan(segment)?;
            if is_closed(segment)? {
                return Err(Damage::new(segments::name(segment.id + 1), 0, "the file is missing").into());
            }
        }
        if until.is_some() || walk.sequence <= walk.durable {
            return Err(Damage::new(segment.name(), stop.offset, stop.reason).into());
        }
    }
    Ok(walk)
}

/// Does a mark in its head say that there is a segment after this one?
fn is_closed<F: File>(segment: &Segment<F>) -> Result<bool, Failure> {
    let mut bytes = [0; GROUP_HEADER_BYTES];
    read_exact_at(&segment.file, format::CLOSING_MARK, &mut bytes)
        .map_err(Failure::of("read", &segment.name()))?;
    Ok(format::decode_group_header(&bytes, MARK_MAGIC, segment.id, format::CLOSING_MARK).is_some())
}

/// Writes the groups at the end of the newest segment again that may be in the page cache alone.
fn rewrite_unproved<F: File>(found: &VecDeque<Segment<F>>, walk: &Walk) -> Result<(), Failure> {
    let Some(newest) = found.back() else { return Ok(()) };
    let Some((_, from)) = walk.groups.iter().find(|(sequence, _)| *sequence > walk.durable) else {
        return Ok(());
    };
    let mut reader = Reader::new(newest);
    let mut offset = *from;
    while offset < newest.tail {
        let size = CHUNK_BYTES.min(newest.tail - offset);
        let Some(bytes) = reader.get(offset, size)? else { break };
        newest.file.write_at(offset, &bytes).map_err(Failure::of("write", &newest.name()))?;
        offset += size;
    }
    Ok(())
}
