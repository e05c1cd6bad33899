//! Reading entries back.

use super::format::{self, Location, RECORD_HEADER_BYTES};
use super::{Entry, Log, is_entry, segments};
use crate::disk::{Disk, read_exact_at};
use crate::error::{Damage, Failure, ReadError};
use bytes::Bytes;

/// Read at once, since what follows a record is often wanted next.
const WINDOW_BYTES: u64 = 32 << 10;

/// The part of a segment that was read last.
struct Window {
    segment: u32,
    offset: u64,
    bytes: Bytes,
}

impl<D: Disk> Log<D> {
    /// Entries from position `from` on, up to and including `to`, until their payloads reach `max_bytes`; at least
    /// one. None if `from` is not in the log.
    ///
    /// # Errors
    /// A record cannot be read, or is not as it was written.
    pub fn read(
        &self,
        partition: u32,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        self.check_alive()?;
        let mut entries = Vec::new();
        let Some(known) = self.index.partitions.get(&partition) else { return Ok(entries) };
        let mut window = Window { segment: 0, offset: 0, bytes: Bytes::new() };
        let mut bytes = 0;
        for position in from..=to.min(known.last()) {
            let Some(location) = known.entry(position) else { break };
            let entry = self.read_entry(&mut window, partition, position, location)?;
            bytes += entry.payload.len();
            entries.push(entry);
            if bytes >= max_bytes {
                break;
            }
        }
        Ok(entries)
    }

    fn read_entry(
        &self,
        window: &mut Window,
        partition: u32,
        position: u64,
        location: Location,
    ) -> Result<Entry, ReadError> {
        let head = self.window(window, location, RECORD_HEADER_BYTES as u64)?;
        let size = format::record_bytes(format::payload_bytes(&head));
        let damage = |reason: &str| Damage::new(segments::name(location.segment), location.offset(), reason);
        if location.offset() + size > self.segments.get(location.segment).tail {
            return Err(damage("the record's length is wrong").into());
        }
        let record = self.window(window, location, size)?;
        let (header, length) = format::decode_record(&record, location).map_err(damage)?;
        if !is_entry(header.kind) || header.partition != partition || header.position != position {
            return Err(damage("this is another record than the one written here").into());
        }
        Ok(header.entry(record.slice(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + length)))
    }

    /// `length` bytes from this place on.
    fn window(&self, window: &mut Window, at: Location, length: u64) -> Result<Bytes, ReadError> {
        let offset = at.offset();
        let inside = window.segment == at.segment
            && offset >= window.offset
            && offset + length <= window.offset + window.bytes.len() as u64;
        if !inside {
            let segment = self.segments.get(at.segment);
            let size = length.max(WINDOW_BYTES).min(segment.tail - offset);
            let mut bytes = vec![0; size as usize];
            read_exact_at(&segment.file, offset, &mut bytes).map_err(Failure::of("read", &segment.name()))?;
            *window = Window { segment: at.segment, offset, bytes: bytes.into() };
        }
        let start = (offset - window.offset) as usize;
        Ok(window.bytes.slice(start..start + length as usize))
    }
}
