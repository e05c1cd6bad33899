//! The bytes of a snapshot file, version 1. All numbers are little endian.
//!
//! ```text
//! header  magic 8, version 4, partition 4, snapshot 8, zeros, crc 4 (at 60, in every version)
//! frame   crc 4, kind 4, length 8, sequence 8; then `length` bytes
//! file    header, frames of kind 1 (chunks), one frame of kind 2 (footer), nothing more
//! footer  order 8, total crc 4, zeros 4; then the meta
//! ```
//!
//! A frame's checksum covers everything after it and begins from the header's, so that frames of another file do
//! not pass for this one's. The total is the checksum of all frames' checksums; the order is the one in the file's
//! name.

pub(super) const HEADER_BYTES: usize = 64;
pub(super) const FRAME_BYTES: usize = 24;
pub(super) const FOOTER_BYTES: usize = 16;

/// The format version that this build writes and reads.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"CONSNAP\n";

/// Kinds of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    Chunk = 1,
    Footer = 2,
}

/// The head of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub crc: u32,
    pub kind: u32,
    pub length: u64,
    pub sequence: u64,
}

/// What is wrong with a header.
pub(super) enum HeaderError {
    Version(u32),
    Damaged(&'static str),
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// A file's header, and the number from which its frames' checksums begin.
pub(super) fn encode_header(partition: u32, snapshot: u64) -> ([u8; HEADER_BYTES], u32) {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&partition.to_le_bytes());
    bytes[16..24].copy_from_slice(&snapshot.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    (bytes, crc)
}

/// The number of the snapshot, and that from which the frames' checksums begin, if this is the header of one of
/// `partition`.
pub(super) fn decode_header(bytes: &[u8; HEADER_BYTES], partition: u32) -> Result<(u64, u32), HeaderError> {
    let crc = crc32fast::hash(&bytes[..60]);
    if crc != u32_at(bytes, 60) {
        return Err(HeaderError::Damaged("the checksum of the header does not match"));
    }
    if bytes[..8] != MAGIC {
        return Err(HeaderError::Damaged("this is not a snapshot"));
    }
    match u32_at(bytes, 8) {
        VERSION => {}
        version => return Err(HeaderError::Version(version)),
    }
    if u32_at(bytes, 12) != partition {
        return Err(HeaderError::Damaged("the header has another partition than the file's name"));
    }
    Ok((u64_at(bytes, 16), crc))
}

/// A frame's checksum: of its head after the checksum, and of its content.
fn checksum(seed: u32, head: &[u8], content: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(head);
    content.iter().for_each(|bytes| hasher.update(bytes));
    hasher.finalize()
}

/// The head of a frame with this content, and its checksum.
pub(super) fn encode_frame(
    seed: u32,
    kind: Kind,
    sequence: u64,
    content: &[&[u8]],
) -> ([u8; FRAME_BYTES], u32) {
    let length: u64 = content.iter().map(|bytes| bytes.len() as u64).sum();
    let mut head = [0; FRAME_BYTES];
    head[4..8].copy_from_slice(&(kind as u32).to_le_bytes());
    head[8..16].copy_from_slice(&length.to_le_bytes());
    head[16..24].copy_from_slice(&sequence.to_le_bytes());
    let crc = checksum(seed, &head[4..], content);
    head[..4].copy_from_slice(&crc.to_le_bytes());
    (head, crc)
}

/// The head of a frame, unchecked.
pub(super) fn decode_frame(head: &[u8; FRAME_BYTES]) -> Frame {
    Frame { crc: u32_at(head, 0), kind: u32_at(head, 4), length: u64_at(head, 8), sequence: u64_at(head, 16) }
}

/// Are head and content of a frame as they were written?
pub(super) fn is_intact(seed: u32, head: &[u8; FRAME_BYTES], content: &[u8]) -> bool {
    checksum(seed, &head[4..], &[content]) == u32_at(head, 0)
}

/// The content of a footer before the meta.
pub(super) fn encode_footer(order: u64, total: u32) -> [u8; FOOTER_BYTES] {
    let mut bytes = [0; FOOTER_BYTES];
    bytes[..8].copy_from_slice(&order.to_le_bytes());
    bytes[8..12].copy_from_slice(&total.to_le_bytes());
    bytes
}
