//! A long entry, held apart from its leaf with room to grow: a write into its middle or to its end costs what it
//! touches, not what the value weighs.

use crate::entry::{DIGEST_CHUNK_BYTES, Entry, ValueRef, chunk_count, chunk_digest};
use crate::table::Digest;

#[derive(Debug)]
pub(super) struct Apart {
    pub expire_at_ms: Option<u64>,
    key: Box<[u8]>,
    value: Vec<u8>,
    /// The value's part of the digest, if the entry is so long that it is digested by chunks.
    value_digest: Digest,
}

impl Apart {
    pub fn new(entry: &Entry<'_>) -> Self {
        let mut apart =
            Apart { expire_at_ms: None, key: entry.key.into(), value: Vec::new(), value_digest: 0 };
        apart.replace(entry);
        apart
    }

    pub fn entry(&self) -> Entry<'_> {
        Entry { key: &self.key, value: ValueRef::String(&self.value), expire_at_ms: self.expire_at_ms }
    }

    /// What the entry adds to the table's digest.
    pub fn digest(&self) -> Digest {
        let entry = self.entry();
        if entry.is_long() { entry.head_digest().wrapping_add(self.value_digest) } else { entry.digest() }
    }

    /// Takes the value and the expiry of `entry`, which is of the same key.
    pub fn replace(&mut self, entry: &Entry<'_>) {
        let ValueRef::String(value) = entry.value;
        self.expire_at_ms = entry.expire_at_ms;
        if self.value.capacity() / 2 > value.len() {
            self.value = Vec::new();
        }
        self.value.clear();
        self.value.reserve_exact(value.len());
        self.value.extend_from_slice(value);
        self.value_digest = self.digest_of(0..chunk_count(value.len()));
    }

    /// Overwrites `bytes` from `offset` on, filling a gap with zeros.
    pub fn write_range(&mut self, offset: usize, bytes: &[u8]) {
        let (length, end) = (self.value.len(), offset + bytes.len());
        let first = offset.min(length) / DIGEST_CHUNK_BYTES;
        let touched = first..chunk_count(end).max(first);
        let before = self.digest_of(touched.clone());
        // Vec grows by doubling, so appending is cheap whatever the length.
        self.value.resize(length.max(end), 0);
        self.value[offset..end].copy_from_slice(bytes);
        let change = self.digest_of(touched).wrapping_sub(before);
        self.value_digest = self.value_digest.wrapping_add(change);
    }

    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.key.len() + self.value.capacity()
    }

    /// The part of the digest that stands for these chunks.
    fn digest_of(&self, chunks: std::ops::Range<usize>) -> Digest {
        chunk_digest(&self.key, &self.value, chunks)
    }
}
