//! Reading a finished snapshot file, frame by frame.

use bytes::Bytes;

use super::format::{self, FOOTER_BYTES, FRAME_BYTES, HEADER_BYTES, HeaderError, Kind};
use super::{Finished, finished_name};
use crate::disk::{Disk, File, read_exact_at};
use crate::error::{Damage, Failure, OpenError};

/// Calls `load` for every chunk of a snapshot, in order, and returns its number and meta. Every chunk is checked
/// before it is loaded; only if this returns without an error was it the whole.
///
/// # Errors
/// The file is damaged (also if `load` says that a chunk makes no sense), of another version, or cannot be read.
pub fn read<D: Disk>(
    disk: &D,
    finished: Finished,
    mut load: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<(u64, Bytes), OpenError> {
    let name = finished_name(finished);
    let file = disk.open(&name, false).map_err(Failure::of("open", &name))?;
    let length = file.length().map_err(Failure::of("measure", &name))?;
    let damage = |offset: u64, reason: &str| OpenError::Corrupt(Damage::new(&name, offset, reason));
    let fetch =
        |offset, buffer: &mut [u8]| read_exact_at(&file, offset, buffer).map_err(Failure::of("read", &name));
    let mut head = [0; HEADER_BYTES];
    if length < HEADER_BYTES as u64 {
        return Err(damage(length, "the file is too short for a snapshot"));
    }
    fetch(0, &mut head)?;
    let (snapshot, seed) = format::decode_header(&head, finished.partition).map_err(|error| match error {
        HeaderError::Version(found) => {
            OpenError::Version { file: name.clone(), found, reads: format::VERSION }
        }
        HeaderError::Damaged(reason) => damage(0, reason),
    })?;
    let mut offset = HEADER_BYTES as u64;
    let mut total = crc32fast::Hasher::new();
    let mut content = Vec::new();
    for sequence in 0.. {
        let mut head = [0; FRAME_BYTES];
        let after = offset + FRAME_BYTES as u64;
        if length < after {
            return Err(damage(offset, "the file ends without a footer"));
        }
        fetch(offset, &mut head)?;
        let frame = format::decode_frame(&head);
        if frame.length > length - after {
            return Err(damage(offset, "the length of a chunk is wrong"));
        }
        content.resize(frame.length as usize, 0);
        fetch(after, &mut content)?;
        if !format::is_intact(seed, &head, &content) {
            return Err(damage(offset, "the checksum of a chunk does not match"));
        }
        if frame.sequence != sequence {
            return Err(damage(offset, "this is not the chunk that should follow"));
        }
        let end = after + frame.length;
        if frame.kind == Kind::Footer as u32 {
            if end != length {
                return Err(damage(end, "the file goes on after its footer"));
            }
            let footer = format::encode_footer(finished.order, total.finalize());
            if content.get(..FOOTER_BYTES) != Some(&footer[..]) {
                return Err(damage(offset, "the footer does not belong to what precedes it"));
            }
            return Ok((snapshot, Bytes::copy_from_slice(&content[FOOTER_BYTES..])));
        }
        if frame.kind != Kind::Chunk as u32 {
            return Err(damage(offset, "the chunk is of an unknown kind"));
        }
        load(&content).map_err(|reason| damage(offset, &reason))?;
        total.update(&frame.crc.to_le_bytes());
        offset = end;
    }
    unreachable!("a file has an end")
}
