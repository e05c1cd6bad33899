//! Moving live records out of the oldest segment, so that it can be freed.
//!
//! The log is a ring that is cleaned from its tail. Cleaning starts once less than half of the log is live; going
//! once around then frees at least as much as it writes, so the log stays below about twice its live bytes and
//! each byte is written about once more at the most. (How much of a segment is live is reckoned by records, not
//! bytes.)
//!
//! An entry moves as a `Rewrite` record, which at replay takes its place without dropping those after it. A state
//! moves as it is; what says where a partition's log begins moves as a trim to there. At replay these come later
//! than what they stand for, which does no harm: they are decided and written in one step, so they are true at
//! their place in the log.

use std::ops::Range;

use super::format::{self, FIRST_GROUP, GROUP_HEADER_BYTES, GROUP_MAGIC, Kind, RecordHeader};
use super::{Log, PREPARE_UP_TO_BYTES};
use crate::disk::{Disk, read_exact_at};
use crate::error::{AppendError, Damage, Failure, ReadError};

/// How far the oldest segment has been cleaned.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    segment: u32,
    offset: u64,
}

/// The live records of one group.
struct LiveGroup {
    body: Vec<u8>,
    records: Vec<(RecordHeader, Range<usize>)>,
}

impl<D: Disk> Log<D> {
    /// A bit of housekeeping, to be called after appends and before the sync that makes both durable: moves live
    /// records out of the oldest segment if that is worth it, and prepares the next segment. Returns how many
    /// bytes of records it wrote.
    ///
    /// # Errors
    /// As for [`Log::append`]. A full disk is no error here.
    pub fn maintain(&mut self) -> Result<u64, AppendError> {
        self.check_alive()?;
        let budget = self.options.maintain_bytes.max(2 * std::mem::take(&mut self.unmaintained_bytes));
        if self.bytes_a_sync <= PREPARE_UP_TO_BYTES {
            self.segments.prepare(budget).map_err(|failure| AppendError::Failed(self.poison(failure)))?;
        }
        let mut written = 0;
        let mut read = 0;
        while read < budget && self.is_rewrite_worth_it() {
            let Some(group) = self.next_live_group(&mut read)? else { break };
            let size = group.records.iter().map(|(_, payload)| format::record_bytes(payload.len())).sum();
            if size == 0 {
                continue;
            }
            let records =
                group.records.iter().map(|(header, payload)| (*header, &group.body[payload.clone()]));
            match self.write_group(size, records) {
                Ok(()) => written += size,
                Err(AppendError::Full) => {
                    // These are still where they were: begin again with this segment.
                    self.rewrite = Cursor::default();
                    self.segments.overlook_refusal();
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        // Its own writes are no reason to do more the next time.
        self.unmaintained_bytes = 0;
        Ok(written)
    }

    fn is_rewrite_worth_it(&self) -> bool {
        let list = self.segments.list();
        let oldest = &list[0];
        if list.len() < 2 || self.index.live(oldest.id) == 0 {
            return false;
        }
        let live_bytes = |segment: &super::segments::Segment<D::File>| {
            let used = segment.tail - FIRST_GROUP;
            (used as u128 * u128::from(self.index.live(segment.id)) / u128::from(segment.records.max(1)))
                as u64
        };
        if self.is_full() {
            // What is left belongs to control records; use it only for what soon gives back more.
            return live_bytes(oldest) < self.segments.room() / 2;
        }
        // The newest is left out: it is not written to its end.
        let old = list.iter().take(list.len() - 1);
        let (live, length) =
            old.fold((0, 0), |(live, length), segment| (live + live_bytes(segment), length + segment.length));
        list.len() >= self.options.rewrite_segments && live < length / 2
    }

    /// Reads the next group of the oldest segment; `None` at the segment's end.
    fn next_live_group(&mut self, read: &mut u64) -> Result<Option<LiveGroup>, ReadError> {
        let segment = &self.segments.list()[0];
        if self.rewrite.segment != segment.id {
            self.rewrite = Cursor { segment: segment.id, offset: FIRST_GROUP };
        }
        let offset = self.rewrite.offset;
        if offset >= segment.tail {
            return Ok(None);
        }
        let damage = |offset, reason: &str| Damage::new(segment.name(), offset, reason);
        let fetch = |offset, buffer: &mut [u8]| {
            read_exact_at(&segment.file, offset, buffer).map_err(Failure::of("read", &segment.name()))
        };
        let mut head = [0; GROUP_HEADER_BYTES];
        fetch(offset, &mut head)?;
        let end = offset + GROUP_HEADER_BYTES as u64;
        let group = format::decode_group_header(&head, GROUP_MAGIC, segment.id, offset)
            .filter(|group| group.length <= segment.tail - end)
            .ok_or_else(|| damage(offset, "the group's header is not valid"))?;
        let mut body = vec![0; group.length as usize];
        fetch(end, &mut body)?;
        let mut records = Vec::new();
        let index = &self.index;
        format::decode_group(&group, &body, segment.id, offset, |header, location, payload| {
            if index.is_live(&header, location) {
                let kind = match header.kind {
                    Kind::Append => Kind::Rewrite,
                    Kind::Reset => Kind::Trim,
                    kind => kind,
                };
                records.push((RecordHeader { kind, ..header }, payload));
            }
        })
        .map_err(|(offset, reason)| damage(offset, reason))?;
        *read += GROUP_HEADER_BYTES as u64 + group.length;
        self.rewrite.offset = end + group.length;
        Ok(Some(LiveGroup { body, records }))
    }
}
