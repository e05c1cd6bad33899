//! Files of writes that primaries had and their successors have not: `lost-<partition>`, one for each partition that has some.
//!
//! **What it promises.** Once [`write`] has returned, the entries are durable. A file is written under another name, synced
//! and renamed, so one that is there is whole; what is not as it was written is reported with its name.
//!
//! ```text
//! magic "CLOST", version 1, then for each entry: length of what follows the checksum (4 bytes, little endian), CRC-32 of it,
//! index, term, when it was found (8 bytes each), 0 not acknowledged / 1 acknowledged / 2 not known, 0 if it is not known what its keys were, else 1
//! and their number (4 bytes), length (4 bytes), key and fingerprint (16 bytes) of each; payload
//! ```

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use data::Watch;
use replication::contract::Lost;

use crate::disk::{Disk, File, read_exact_at};
use crate::error::{Damage, Failure, OpenError};

const PREFIX: &str = "lost-";
const UNFINISHED: &str = ".tmp";
const MAGIC: &[u8; 6] = b"CLOST\x01";
const HEAD_BYTES: usize = 26;

/// Is a file of this name one of these, finished or not?
pub(crate) fn is_lost_file(name: &str) -> bool {
    partition_of(name).is_some()
}

fn partition_of(name: &str) -> Option<u32> {
    let name = name.strip_suffix(UNFINISHED).unwrap_or(name);
    let digits = name.strip_prefix(PREFIX)?;
    if digits.len() == 8 { u32::from_str_radix(digits, 16).ok() } else { None }
}

fn encode(entries: &[Lost]) -> Bytes {
    let mut out = BytesMut::from(&MAGIC[..]);
    for lost in entries {
        let mut body = BytesMut::with_capacity(HEAD_BYTES + lost.payload.len());
        body.put_u64_le(lost.index);
        body.put_u64_le(lost.term);
        body.put_u64_le(lost.found_ms);
        body.put_u8(match lost.acknowledged {
            Some(false) => 0,
            Some(true) => 1,
            None => 2,
        });
        body.put_u8(u8::from(lost.before.is_some()));
        if let Some(before) = &lost.before {
            body.put_u32_le(before.len() as u32);
            for watch in before {
                body.put_u32_le(watch.key.len() as u32);
                body.put_slice(&watch.key);
                body.put_u128_le(watch.fingerprint);
            }
        }
        body.put_slice(&lost.payload);
        out.put_u32_le(body.len() as u32);
        out.put_u32_le(crc32fast::hash(&body));
        out.put_slice(&body);
    }
    out.freeze()
}

fn decode_before(body: &mut Bytes) -> Option<Option<Vec<Watch>>> {
    if body.try_get_u8().ok()? == 0 {
        return Some(None);
    }
    let mut before = Vec::new();
    for _ in 0..body.try_get_u32_le().ok()? {
        let length = body.try_get_u32_le().ok()? as usize;
        if length > body.len() {
            return None;
        }
        let key = body.split_to(length);
        before.push(Watch { key, fingerprint: body.try_get_u128_le().ok()? });
    }
    Some(Some(before))
}

/// The entries in the bytes of a file; `None`: they are not as they were written.
fn decode(mut bytes: Bytes) -> Option<Vec<Lost>> {
    if bytes.len() < MAGIC.len() || bytes.split_to(MAGIC.len()) != MAGIC[..] {
        return None;
    }
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let (length, checksum) = (bytes.try_get_u32_le().ok()? as usize, bytes.try_get_u32_le().ok()?);
        if length < HEAD_BYTES || length > bytes.len() {
            return None;
        }
        let mut body = bytes.split_to(length);
        if crc32fast::hash(&body) != checksum {
            return None;
        }
        entries.push(Lost {
            index: body.get_u64_le(),
            term: body.get_u64_le(),
            found_ms: body.get_u64_le(),
            acknowledged: match body.get_u8() {
                0 => Some(false),
                1 => Some(true),
                2 => None,
                _ => return None,
            },
            before: decode_before(&mut body)?,
            payload: body,
        });
    }
    Some(entries)
}

/// These are the partition's from now on, durably, in the place of those that were kept.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`]: nothing was kept. Otherwise the process has to stop.
pub(crate) fn write<D: Disk>(disk: &D, partition: u32, entries: &[Lost]) -> Result<(), Failure> {
    if entries.is_empty() {
        return remove(disk, partition);
    }
    let name = format!("{PREFIX}{partition:08x}");
    let unfinished = format!("{name}{UNFINISHED}");
    let bytes = encode(entries);
    let file = disk.open(&unfinished, true).map_err(Failure::of("create", &unfinished))?;
    let written = file.set_length(0).and_then(|()| file.write_at(0, &bytes));
    if let Err(error) = written {
        if error.kind() == io::ErrorKind::StorageFull {
            disk.remove(&unfinished).map_err(Failure::of("remove", &unfinished))?;
        }
        return Err(Failure::of("write", &unfinished)(error));
    }
    file.sync().map_err(Failure::of("sync", &unfinished))?;
    disk.rename(&unfinished, &name).map_err(Failure::of("rename", &unfinished))?;
    disk.sync_folder().map_err(Failure::of("sync", "folder"))
}

/// Everything that is kept, by partition. What a crash left unfinished is removed: its entries are still in the log.
///
/// # Errors
/// A file is damaged, or the disk refused.
pub(crate) fn read_all<D: Disk>(disk: &D) -> Result<Vec<(u32, Vec<Lost>)>, OpenError> {
    let mut found = Vec::new();
    let mut names = disk.list().map_err(Failure::of("list", "folder"))?;
    names.sort();
    for name in names {
        let Some(partition) = partition_of(&name) else { continue };
        if name.ends_with(UNFINISHED) {
            disk.remove(&name).map_err(Failure::of("remove", &name))?;
            continue;
        }
        let file = disk.open(&name, false).map_err(Failure::of("open", &name))?;
        let length = file.length().map_err(Failure::of("read", &name))?;
        let mut bytes = vec![0; length as usize];
        read_exact_at(&file, 0, &mut bytes).map_err(Failure::of("read", &name))?;
        let Some(entries) = decode(bytes.into()) else {
            return Err(Damage::new(name, 0, "the writes that it keeps are not as they were written").into());
        };
        found.push((partition, entries));
    }
    Ok(found)
}

/// Nothing of the partition is kept any more.
///
/// # Errors
/// The process has to stop.
pub(crate) fn remove<D: Disk>(disk: &D, partition: u32) -> Result<(), Failure> {
    for name in disk.list().map_err(Failure::of("list", "folder"))? {
        if partition_of(&name) == Some(partition) {
            disk.remove(&name).map_err(Failure::of("remove", &name))?;
        }
    }
    disk.sync_folder().map_err(Failure::of("sync", "folder"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDisk;

    fn lost(index: u64, acknowledged: Option<bool>) -> Lost {
        let payload = Bytes::from(vec![7; index as usize]);
        let watch = Watch { key: Bytes::from_static(b"key"), fingerprint: 1 << 100 };
        let before = acknowledged.map(|_| vec![watch; index as usize % 3]);
        Lost { index, term: 3, acknowledged, found_ms: 1 << 40, payload, before }
    }

    #[test]
    fn what_is_written_is_found_until_it_is_removed() {
        let disk = MemoryDisk::new();
        let entries = vec![lost(5, Some(true)), lost(6, Some(false)), lost(7, None)];
        write(&disk, 9, &entries).unwrap();
        write(&disk, 10, &[lost(1, None)]).unwrap();
        disk.crash(1);
        let found = read_all(&disk).unwrap();
        assert_eq!(found, [(9, entries), (10, vec![lost(1, None)])]);
        write(&disk, 9, &[lost(20, None)]).unwrap();
        assert_eq!(read_all(&disk).unwrap()[0], (9, vec![lost(20, None)]), "in the place of those before");
        write(&disk, 9, &[]).unwrap();
        assert_eq!(read_all(&disk).unwrap(), [(10, vec![lost(1, None)])]);
    }

    #[test]
    fn damage_is_told_and_never_taken_for_entries() {
        let whole = encode(&[lost(5, Some(true)), lost(30, None)]);
        assert_eq!(decode(whole.clone()), Some(vec![lost(5, Some(true)), lost(30, None)]));
        let cuts = (0..whole.len()).filter(|&length| decode(whole.slice(..length)).is_some());
        let first = encode(&[lost(5, Some(true))]).len();
        assert_eq!(cuts.collect::<Vec<_>>(), [MAGIC.len(), first], "only whole entries");
        for place in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[place] ^= 0x10;
            assert_eq!(decode(bytes.into()), None, "byte {place}");
        }
    }

    /// Bytes that are on disks by now.
    #[test]
    fn version_1_is_still_read() {
        let bytes =
            b"CLOST\x01\x1b\0\0\0\x90\x81\x6b\x9c\x05\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x01\0p";
        let entry = Lost {
            index: 5,
            term: 3,
            acknowledged: Some(true),
            found_ms: 9,
            payload: Bytes::from_static(b"p"),
            before: None,
        };
        assert_eq!(&encode(std::slice::from_ref(&entry))[..], &bytes[..]);
        assert_eq!(decode(Bytes::from_static(bytes)), Some(vec![entry]));
    }
}
