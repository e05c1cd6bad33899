//! A long entry, held apart from its leaf with room to grow: a write into the middle or to the end of a string, or to an element
//! of a collection, costs what it touches, not what the value weighs.

use crate::collection::{Collection, Kind};
use crate::entry::{DIGEST_CHUNK_BYTES, Entry, ValueRef, chunk_count, chunk_digest};
use crate::table::Digest;

#[derive(Debug)]
pub(super) struct Apart {
    pub expire_at_ms: Option<u64>,
    key: Box<[u8]>,
    value: Long,
}

#[derive(Debug)]
enum Long {
    String {
        bytes: Vec<u8>,
        /// The string's part of the digest, if the entry is so long that it is digested by chunks.
        digest: Digest,
    },
    Collection(Box<Collection>),
}

impl Apart {
    pub fn new(entry: &Entry<'_>) -> Self {
        let mut apart = Apart {
            expire_at_ms: None,
            key: entry.key.into(),
            value: Long::String { bytes: Vec::new(), digest: 0 },
        };
        apart.replace(entry);
        apart
    }

    pub fn entry(&self) -> Entry<'_> {
        let value = match &self.value {
            Long::String { bytes, .. } => ValueRef::String(bytes),
            Long::Collection(collection) => ValueRef::Collection(collection.as_ref().as_ref()),
        };
        Entry { key: &self.key, value, expire_at_ms: self.expire_at_ms }
    }

    /// What the entry adds to the table's digest.
    pub fn digest(&self) -> Digest {
        let entry = self.entry();
        match &self.value {
            Long::String { digest, .. } if entry.is_long() => entry.head_digest().wrapping_add(*digest),
            _ => entry.digest(),
        }
    }

    /// Takes the value and the expiry of `entry`, which is of the same key.
    pub fn replace(&mut self, entry: &Entry<'_>) {
        self.expire_at_ms = entry.expire_at_ms;
        let value = match entry.value {
            ValueRef::String(value) => value,
            ValueRef::Collection(content) => {
                let collection = Collection::new(&self.key, content.kind, content);
                self.value = Long::Collection(Box::new(collection));
                return;
            }
        };
        let mut bytes = match &mut self.value {
            Long::String { bytes, .. } if bytes.capacity() / 2 <= value.len() => std::mem::take(bytes),
            _ => Vec::new(),
        };
        bytes.clear();
        bytes.reserve_exact(value.len());
        bytes.extend_from_slice(value);
        let digest = chunk_digest(&self.key, &bytes, 0..chunk_count(bytes.len()));
        self.value = Long::String { bytes, digest };
    }

    /// Overwrites `written` from `offset` on, filling a gap with zeros. Of a string.
    pub fn write_range(&mut self, offset: usize, written: &[u8]) {
        let Long::String { bytes, digest } = &mut self.value else { return };
        let (length, end) = (bytes.len(), offset + written.len());
        let first = offset.min(length) / DIGEST_CHUNK_BYTES;
        let touched = first..chunk_count(end).max(first);
        let before = chunk_digest(&self.key, bytes, touched.clone());
        // Vec grows by doubling, so appending is cheap whatever the length.
        bytes.resize(length.max(end), 0);
        bytes[offset..end].copy_from_slice(written);
        let change = chunk_digest(&self.key, bytes, touched).wrapping_sub(before);
        *digest = digest.wrapping_add(change);
    }

    /// The collection, if it is one of this kind.
    pub fn collection_mut(&mut self, kind: Kind) -> Option<&mut Collection> {
        match &mut self.value {
            Long::Collection(collection) if collection.as_ref().as_ref().kind == kind => Some(collection),
            _ => None,
        }
    }

    pub fn memory_bytes(&self) -> usize {
        let value = match &self.value {
            Long::String { bytes, .. } => bytes.capacity(),
            Long::Collection(collection) => collection.memory_bytes(),
        };
        size_of::<Self>() + self.key.len() + value
    }
}
