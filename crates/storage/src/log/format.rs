//! The bytes of the log, version 1. All numbers are little endian; everything starts at a multiple of 8 bytes.
//!
//! ```text
//! segment  header in the first 512 bytes (nothing else shares its sector), then groups, one after the other
//! header   magic 8, version 4, segment 4, first sequence 8, length 8 (of the file; 0: not said), zeros, crc 4 (at 60, in
//!          every version)
//! group    magic 4, crc 4, sequence 8, durable 8, life 4, records 4, length 8; then `length` bytes of records
//! record   crc 4, length 4, partition 4, kind 1, entry kind 1, zeros 2, position 8, epoch 8; then payload, padded to 8
//! mark     as a group without records, with its own magic; one at 128 says that there is a next segment
//! ```
//!
//! The checksum of a group header, mark or record begins from a number that follows from the segment's id and the
//! offset there, so that bytes from a recycled segment's former life, or from another place, never pass for what
//! should be here. A record's checksum covers its header and payload, a group's covers its header alone.

use bytes::Bytes;

/// The format version that this build writes and reads.
pub const VERSION: u32 = 1;

pub(super) const SEGMENT_HEADER_BYTES: usize = 64;
pub(super) const FIRST_GROUP: u64 = 512;
/// Where the mark stands that says that there is a next segment.
pub(super) const CLOSING_MARK: u64 = 128;
pub(super) const GROUP_HEADER_BYTES: usize = 40;
pub(super) const RECORD_HEADER_BYTES: usize = 32;
/// Groups begin at multiples of this.
pub(super) const ALIGNMENT: u64 = 8;

const SEGMENT_MAGIC: [u8; 8] = *b"CONSWAL\n";
pub(super) const GROUP_MAGIC: u32 = u32::from_le_bytes(*b"GRP\x9c");
pub(super) const MARK_MAGIC: u32 = u32::from_le_bytes(*b"MRK\x9c");

/// An entry of a partition's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<P = Bytes> {
    /// Its place, consecutive within the partition, from 1.
    pub position: u64,
    /// What distinguishes it from another that held this place (a term).
    pub epoch: u64,
    /// The caller's own.
    pub kind: u8,
    /// Its content.
    pub payload: P,
}

/// What is written to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields say it
pub enum Record<P = Bytes> {
    /// An entry: it follows the partition's last, or takes the place of that at its position and of all after it.
    Append { partition: u32, entry: Entry<P> },
    /// Small state of the partition: the latest wins.
    State { partition: u32, bytes: P },
    /// The partition's entries are dropped; it goes on after `position`.
    Reset { partition: u32, position: u64 },
    /// Entries up to and including `position` are dropped.
    Trim { partition: u32, position: u64 },
    /// Everything about the partition is dropped.
    Forget { partition: u32 },
}

impl<P> Record<P> {
    /// The partition that it is about.
    pub fn partition(&self) -> u32 {
        match self {
            Record::Append { partition, .. }
            | Record::State { partition, .. }
            | Record::Reset { partition, .. }
            | Record::Trim { partition, .. }
            | Record::Forget { partition } => *partition,
        }
    }

    pub(super) fn parts(&self) -> (RecordHeader, &[u8])
    where
        P: AsRef<[u8]>,
    {
        let header =
            |kind, partition, position| RecordHeader { kind, entry_kind: 0, partition, position, epoch: 0 };
        match self {
            Record::Append { partition, entry } => {
                (RecordHeader::of_entry(Kind::Append, *partition, entry), entry.payload.as_ref())
            }
            Record::State { partition, bytes } => (header(Kind::State, *partition, 0), bytes.as_ref()),
            Record::Reset { partition, position } => (header(Kind::Reset, *partition, *position), &[]),
            Record::Trim { partition, position } => (header(Kind::Trim, *partition, *position), &[]),
            Record::Forget { partition } => (header(Kind::Forget, *partition, 0), &[]),
        }
    }
}

/// Kinds of records as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Append = 1,
    State = 2,
    Reset = 3,
    Trim = 4,
    Forget = 5,
    /// A live entry that was moved here from an old segment. It takes its place among the others and drops none.
    Rewrite = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        [Kind::Append, Kind::State, Kind::Reset, Kind::Trim, Kind::Forget, Kind::Rewrite]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// A record without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub kind: Kind,
    pub entry_kind: u8,
    pub partition: u32,
    pub position: u64,
    pub epoch: u64,
}

impl RecordHeader {
    pub fn of_entry<P>(kind: Kind, partition: u32, entry: &Entry<P>) -> RecordHeader {
        RecordHeader { kind, entry_kind: entry.kind, partition, position: entry.position, epoch: entry.epoch }
    }

    pub fn entry(&self, payload: Bytes) -> Entry {
        Entry { position: self.position, epoch: self.epoch, kind: self.entry_kind, payload }
    }
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub segment: u32,
    /// In units of [`ALIGNMENT`], so that segments may be large.
    eighth: u32,
}

impl Location {
    pub fn new(segment: u32, offset: u64) -> Location {
        assert!(
            offset.is_multiple_of(ALIGNMENT) && offset / ALIGNMENT <= u64::from(u32::MAX),
            "offset {offset}"
        );
        Location { segment, eighth: (offset / ALIGNMENT) as u32 }
    }

    pub fn offset(self) -> u64 {
        u64::from(self.eighth) * ALIGNMENT
    }
}

/// The head of a group or mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupHeader {
    /// Rises by one from group to group through all segments.
    pub sequence: u64,
    /// Groups up to and including this one were durable when this was written.
    pub durable: u64,
    /// Rises by one with each opening of the log.
    pub life: u32,
    pub records: u32,
    /// Bytes of records.
    pub length: u64,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// The bytes that a record with this payload takes.
pub(super) fn record_bytes(payload: usize) -> u64 {
    RECORD_HEADER_BYTES as u64 + (payload as u64).next_multiple_of(ALIGNMENT)
}

/// A checksum that holds only at this place. For one offset it differs between any two segments: the multiplier is
/// odd and CRC-32 maps different beginnings to different ends.
fn checksum(segment: u32, offset: u64, bytes: &[u8]) -> u32 {
    let place = segment.wrapping_mul(0x9e37_79b1) ^ (offset / ALIGNMENT) as u32;
    let mut hasher = crc32fast::Hasher::new_with_initial(place);
    hasher.update(bytes);
    hasher.finalize()
}

/// The header of a segment.
pub(super) fn encode_segment_header(
    segment: u32,
    first_sequence: u64,
    length: u64,
) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&segment.to_le_bytes());
    bytes[16..24].copy_from_slice(&first_sequence.to_le_bytes());
    bytes[24..32].copy_from_slice(&length.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// What is wrong with a segment's header.
pub(super) enum HeaderError {
    Version(u32),
    Damaged(&'static str),
}

/// The first sequence of segment `segment` and the length that its file has at least, from its header.
pub(super) fn decode_segment_header(
    bytes: &[u8; SEGMENT_HEADER_BYTES],
    segment: u32,
) -> Result<(u64, u64), HeaderError> {
    if crc32fast::hash(&bytes[..60]) != u32_at(bytes, 60) {
        return Err(HeaderError::Damaged("the checksum of the segment's header does not match"));
    }
    if bytes[..8] != SEGMENT_MAGIC {
        return Err(HeaderError::Damaged("this is not a log segment"));
    }
    match u32_at(bytes, 8) {
        VERSION => {}
        version => return Err(HeaderError::Version(version)),
    }
    if u32_at(bytes, 12) != segment {
        return Err(HeaderError::Damaged("the segment's header has another number than its name"));
    }
    Ok((u64_at(bytes, 16), u64_at(bytes, 24)))
}

/// Writes a group's header (or a mark) into its first [`GROUP_HEADER_BYTES`].
pub(super) fn encode_group_header(
    bytes: &mut [u8],
    magic: u32,
    header: &GroupHeader,
    segment: u32,
    offset: u64,
) {
    bytes[..4].copy_from_slice(&magic.to_le_bytes());
    bytes[8..16].copy_from_slice(&header.sequence.to_le_bytes());
    bytes[16..24].copy_from_slice(&header.durable.to_le_bytes());
    bytes[24..28].copy_from_slice(&header.life.to_le_bytes());
    bytes[28..32].copy_from_slice(&header.records.to_le_bytes());
    bytes[32..40].copy_from_slice(&header.length.to_le_bytes());
    let crc = checksum(segment, offset, &bytes[8..GROUP_HEADER_BYTES]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the header of a group (or of a mark, by its magic) that should be here.
pub(super) fn decode_group_header(
    bytes: &[u8],
    magic: u32,
    segment: u32,
    offset: u64,
) -> Option<GroupHeader> {
    if bytes.len() < GROUP_HEADER_BYTES || u32_at(bytes, 0) != magic {
        return None;
    }
    if checksum(segment, offset, &bytes[8..GROUP_HEADER_BYTES]) != u32_at(bytes, 4) {
        return None;
    }
    Some(GroupHeader {
        sequence: u64_at(bytes, 8),
        durable: u64_at(bytes, 16),
        life: u32_at(bytes, 24),
        records: u32_at(bytes, 28),
        length: u64_at(bytes, 32),
    })
}

/// Appends a record to `buffer`, as it has to be at `location`.
pub(super) fn encode_record(buffer: &mut Vec<u8>, header: &RecordHeader, payload: &[u8], location: Location) {
    let at = buffer.len();
    let length = u32::try_from(payload.len()).expect("payloads are below 4 GiB");
    let mut head = [0; RECORD_HEADER_BYTES];
    head[4..8].copy_from_slice(&length.to_le_bytes());
    head[8..12].copy_from_slice(&header.partition.to_le_bytes());
    head[12] = header.kind as u8;
    head[13] = header.entry_kind;
    head[16..24].copy_from_slice(&header.position.to_le_bytes());
    head[24..32].copy_from_slice(&header.epoch.to_le_bytes());
    buffer.extend_from_slice(&head);
    buffer.extend_from_slice(payload);
    let crc = checksum(location.segment, location.offset(), &buffer[at + 4..]);
    buffer[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    buffer.resize(at + record_bytes(payload.len()) as usize, 0);
}

/// The length of the payload that a record's header says, unchecked.
pub(super) fn payload_bytes(bytes: &[u8]) -> usize {
    u32_at(bytes, 4) as usize
}

/// Reads the record that should be at the beginning of `bytes`; returns its header and the length of its payload,
/// which follows the [`RECORD_HEADER_BYTES`].
pub(super) fn decode_record(bytes: &[u8], location: Location) -> Result<(RecordHeader, usize), &'static str> {
    if bytes.len() < RECORD_HEADER_BYTES {
        return Err("the record is cut off");
    }
    let length = payload_bytes(bytes);
    if record_bytes(length) > bytes.len() as u64 {
        return Err("the record's length is wrong");
    }
    let end = RECORD_HEADER_BYTES + length;
    if checksum(location.segment, location.offset(), &bytes[4..end]) != u32_at(bytes, 0) {
        return Err("the record's checksum does not match");
    }
    let kind = Kind::from_byte(bytes[12]).ok_or("the record is of an unknown kind")?;
    let header = RecordHeader {
        kind,
        entry_kind: bytes[13],
        partition: u32_at(bytes, 8),
        position: u64_at(bytes, 16),
        epoch: u64_at(bytes, 24),
    };
    Ok((header, length))
}

/// Calls `each` for every record of a group's body, with its place and the offset of its payload in `body`.
///
/// # Errors
/// The first record that is not as it was written: its offset in the segment and what is wrong. `each` has been
/// called for those before it.
pub(super) fn decode_group(
    group: &GroupHeader,
    body: &[u8],
    segment: u32,
    offset: u64,
    mut each: impl FnMut(RecordHeader, Location, std::ops::Range<usize>),
) -> Result<(), (u64, &'static str)> {
    let mut at = 0;
    for _ in 0..group.records {
        let place = offset + (GROUP_HEADER_BYTES + at) as u64;
        let location = Location::new(segment, place);
        let (header, length) = decode_record(&body[at..], location).map_err(|reason| (place, reason))?;
        each(header, location, at + RECORD_HEADER_BYTES..at + RECORD_HEADER_BYTES + length);
        at += record_bytes(length) as usize;
    }
    if at == body.len() { Ok(()) } else { Err((offset, "the group is longer than its records")) }
}

/// A group that is being put together: one buffer, to be written by one call.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub buffer: Vec<u8>,
    segment: u32,
    offset: u64,
    records: u32,
}

impl Group {
    /// Begins a group at this place.
    pub fn begin(&mut self, segment: u32, offset: u64) {
        self.buffer.clear();
        self.buffer.resize(GROUP_HEADER_BYTES, 0);
        (self.segment, self.offset, self.records) = (segment, offset, 0);
    }

    /// Adds a record and says where it will be.
    pub fn push(&mut self, header: &RecordHeader, payload: &[u8]) -> Location {
        let location = Location::new(self.segment, self.offset + self.buffer.len() as u64);
        encode_record(&mut self.buffer, header, payload, location);
        self.records += 1;
        location
    }

    /// Completes the header; the buffer can be written.
    pub fn finish(&mut self, sequence: u64, durable: u64, life: u32) {
        let length = (self.buffer.len() - GROUP_HEADER_BYTES) as u64;
        let header = GroupHeader { sequence, durable, life, records: self.records, length };
        encode_group_header(&mut self.buffer, GROUP_MAGIC, &header, self.segment, self.offset);
    }

    pub fn records(&self) -> u32 {
        self.records
    }
}
