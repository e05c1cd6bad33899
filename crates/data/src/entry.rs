//! One encoding of an entry (key, value, expiry) for memory, for slices of a snapshot and for the digest.
//!
//! ```text
//! tag      version in the high nibble (1), type in bits 1-3, bit 0: has an expiry
//! lengths  of key and of value, as varints
//! expiry   8 bytes, little endian, if there is one
//! key, value (a string; or the packed elements of a collection, see `collection`)
//! ```
//!
//! The type is 0 for a string, otherwise the number of the [`Kind`].
//!
//! The digest of a table is made of these bytes, so replicas that run different releases agree as long as they write
//! the same version. In memory, and there only, [`APART`] marks an entry whose key and value live elsewhere.

use bytes::{BufMut, Bytes};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128, xxh3_128_with_seed};

use crate::collection::{CollectionRef, Content, Kind};
use crate::table::{Digest, Malformed};
use crate::varint::{self, Reader};

/// The version of the encoding, in the high nibble of the tag.
const VERSION: u8 = 0x10;
const HAS_EXPIRY: u8 = 0x01;
const TYPE_MASK: u8 = 0x0e;
const TYPE_SHIFT: u32 = 1;
const TYPE_STRING: u8 = 0x00;

/// In memory: the key and the value of this entry are held apart from the others of its leaf.
pub(crate) const APART: u8 = 0x80;

/// In memory: entries whose key and value are longer than this together are held apart.
const PACKED_BYTES: usize = 1024;

/// Entries whose key and value are longer than this together are digested by chunks of this size.
pub(crate) const DIGEST_CHUNK_BYTES: usize = 4096;

/// A value as a table holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueRef<'a> {
    /// A string.
    String(&'a [u8]),
    /// A hash, a list, a set or a sorted set.
    Collection(CollectionRef<'a>),
}

impl<'a> ValueRef<'a> {
    /// The name that `TYPE` gives.
    pub fn type_name(&self) -> &'static str {
        match self {
            ValueRef::String(_) => "string",
            ValueRef::Collection(collection) => collection.kind.type_name(),
        }
    }

    /// The string, if it is one.
    pub fn as_string(&self) -> Option<&'a [u8]> {
        match self {
            ValueRef::String(bytes) => Some(bytes),
            ValueRef::Collection(_) => None,
        }
    }

    /// The size of the value's content in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            ValueRef::String(bytes) => bytes.len(),
            ValueRef::Collection(collection) => collection.bytes(),
        }
    }

    fn type_tag(&self) -> u8 {
        match self {
            ValueRef::String(_) => TYPE_STRING,
            ValueRef::Collection(collection) => (collection.kind as u8) << TYPE_SHIFT,
        }
    }

    fn write(&self, out: &mut impl BufMut) {
        match self {
            ValueRef::String(bytes) => out.put_slice(bytes),
            ValueRef::Collection(collection) => collection.write_content(out),
        }
    }
}

/// A key, what it holds, and when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// What it holds.
    pub value: ValueRef<'a>,
    /// When it ends, in wall clock milliseconds.
    pub expire_at_ms: Option<u64>,
}

impl<'a> Entry<'a> {
    /// Is it past its expiry?
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expire_at_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// The key as shared bytes.
    pub fn key_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self.key)
    }

    /// Is it so long that it is held apart?
    pub(crate) fn is_apart(&self) -> bool {
        self.key.len() + self.value.bytes() > PACKED_BYTES
    }

    /// Is it so long that it is digested by chunks?
    pub(crate) fn is_long(&self) -> bool {
        self.key.len() + self.value.bytes() > DIGEST_CHUNK_BYTES
    }

    /// Would it take the place of `other` exactly, if they are both short and of one key?
    pub(crate) fn has_layout_of(&self, other: &Entry<'_>) -> bool {
        self.value.bytes() == other.value.bytes()
            && self.expire_at_ms.is_some() == other.expire_at_ms.is_some()
    }

    /// The length of its encoding.
    pub(crate) fn encoded_bytes(&self) -> usize {
        let (key, value) = (self.key.len(), self.value.bytes());
        let expiry = if self.expire_at_ms.is_some() { size_of::<u64>() } else { 0 };
        1 + varint::length(key as u64) + varint::length(value as u64) + expiry + key + value
    }

    /// Appends everything but key and value.
    pub(crate) fn write_header(&self, out: &mut impl BufMut) {
        let expiry = if self.expire_at_ms.is_some() { HAS_EXPIRY } else { 0 };
        out.put_u8(VERSION | self.value.type_tag() | expiry);
        varint::put(out, self.key.len() as u64);
        varint::put(out, self.value.bytes() as u64);
        if let Some(at_ms) = self.expire_at_ms {
            out.put_u64_le(at_ms);
        }
    }

    /// Appends the encoding.
    pub(crate) fn write(&self, out: &mut impl BufMut) {
        self.write_header(out);
        out.put_slice(self.key);
        self.value.write(out);
    }

    /// Reads one entry. What is inside a collection is not looked at ([`Entry::check_value`] does).
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let tag = reader.byte()?;
        if tag & !(HAS_EXPIRY | TYPE_MASK) != VERSION {
            return Err(Malformed("an entry of an unknown version"));
        }
        let kind = match tag & TYPE_MASK {
            TYPE_STRING => None,
            other => Some(Kind::from_number(other >> TYPE_SHIFT)?),
        };
        let (key_bytes, value_bytes) = (reader.varint()?, reader.varint()?);
        let expire_at_ms = if tag & HAS_EXPIRY != 0 { Some(reader.u64_le()?) } else { None };
        // A length that does not fit becomes one that goes past the end.
        let key = reader.take(usize::try_from(key_bytes).unwrap_or(usize::MAX))?;
        let value = reader.take(usize::try_from(value_bytes).unwrap_or(usize::MAX))?;
        let value = match kind {
            None => ValueRef::String(value),
            Some(kind) => ValueRef::Collection(CollectionRef::packed(kind, value)),
        };
        Ok(Entry { key, value, expire_at_ms })
    }

    /// Looks at what came from outside.
    ///
    /// # Errors
    /// The elements are not such as the type can have.
    pub(crate) fn check_value(&self) -> Result<(), Malformed> {
        match self.value {
            ValueRef::Collection(CollectionRef { kind, content: Content::Packed(content) }) => {
                kind.check_content(content)
            }
            _ => Ok(()),
        }
    }

    /// What the entry adds to its table's digest.
    ///
    /// A short string: the hash of its encoding. A long one: the hash of its header and key, and that of each chunk, so
    /// that a write into the middle hashes only the chunks that it touches. A collection: the hash of its header and key, and
    /// that of each element.
    pub(crate) fn digest(&self) -> Digest {
        match self.value {
            ValueRef::Collection(collection) => {
                self.head_digest().wrapping_add(collection.elements_digest(self.key))
            }
            ValueRef::String(value) if self.is_long() => {
                self.head_digest().wrapping_add(chunk_digest(self.key, value, 0..chunk_count(value.len())))
            }
            ValueRef::String(_) => {
                let mut encoding = Vec::with_capacity(self.encoded_bytes());
                self.write(&mut encoding);
                encoding_digest(&encoding)
            }
        }
    }

    /// The part of the digest of a long string or a collection that stands for key, type, length and expiry.
    pub(crate) fn head_digest(&self) -> Digest {
        let mut header = Vec::with_capacity(32);
        self.write_header(&mut header);
        xxh3_128_with_seed(self.key, xxh3_64(&header))
    }
}

/// The digest of a short entry, from its encoding.
pub(crate) fn encoding_digest(encoding: &[u8]) -> Digest {
    xxh3_128(encoding)
}

/// The number of chunks of a value of this length.
pub(crate) fn chunk_count(value_bytes: usize) -> usize {
    value_bytes.div_ceil(DIGEST_CHUNK_BYTES)
}

/// The part of a long entry's digest that stands for these chunks of its value.
pub(crate) fn chunk_digest(key: &[u8], value: &[u8], chunks: std::ops::Range<usize>) -> Digest {
    // An odd factor tells the places of equal chunks apart; a key's hash those of different keys.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let key_hash = xxh3_64(key);
    let bytes = (chunks.start * DIGEST_CHUNK_BYTES).min(value.len())
        ..(chunks.end * DIGEST_CHUNK_BYTES).min(value.len());
    let pieces = value[bytes].chunks(DIGEST_CHUNK_BYTES);
    chunks.zip(pieces).fold(0, |sum: Digest, (index, piece)| {
        let seed = key_hash.wrapping_add((index as u64 + 1).wrapping_mul(SPREAD));
        sum.wrapping_add(xxh3_128_with_seed(piece, seed))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(entry: &Entry<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        entry.write(&mut bytes);
        bytes
    }

    #[test]
    fn fixtures_of_version_1() {
        let lasting = Entry { key: b"key", value: ValueRef::String(b"value"), expire_at_ms: None };
        let ending = Entry { expire_at_ms: Some(0x0102), ..lasting };
        assert_eq!(encode(&lasting), b"\x10\x03\x05keyvalue");
        assert_eq!(encode(&ending), b"\x11\x03\x05\x02\x01\0\0\0\0\0\0keyvalue");
        for entry in [lasting, ending] {
            assert_eq!(Entry::read(&mut Reader::new(&encode(&entry))), Ok(entry));
        }
        // Replicas of different releases compare digests, so these may not change either.
        assert_eq!(lasting.digest(), xxh3_128(b"\x10\x03\x05keyvalue"));
    }

    #[test]
    fn fixtures_of_collections() {
        let score = crate::collection::score::encode(1.5);
        let member = [&b"\x01m\x08"[..], &score].concat();
        for (kind, content, encoding) in [
            (Kind::Hash, &b"\x01f\x01v"[..], &b"\x12\x01\x04k\x01f\x01v"[..]),
            (Kind::Set, b"\x01m\x00", b"\x14\x01\x03k\x01m\x00"),
            (Kind::List, b"\x08\x80\0\0\0\0\0\0\0\x01v", b"\x16\x01\x0bk\x08\x80\0\0\0\0\0\0\0\x01v"),
            (Kind::SortedSet, &member, b"\x18\x01\x0bk\x01m\x08\xbf\xf8\0\0\0\0\0\0"),
        ] {
            let value = ValueRef::Collection(CollectionRef::packed(kind, content));
            let entry = Entry { key: b"k", value, expire_at_ms: None };
            assert_eq!(encode(&entry), encoding, "{kind:?}");
            assert_eq!(Entry::read(&mut Reader::new(encoding)), Ok(entry));
            assert_eq!(entry.check_value(), Ok(()));
        }
    }

    #[test]
    fn damage_is_told() {
        for bytes in [&b""[..], b"\x20\x00\x00", b"\x1a\x00\x00", b"\x90\x00\x00", b"\x10\x05\x00key"] {
            assert!(Entry::read(&mut Reader::new(bytes)).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn chunks_add_up() {
        let value: Vec<u8> = (0..10_000u32).map(|i| i as u8).collect();
        let all = chunk_digest(b"k", &value, 0..3);
        let parts = (0..3).fold(0, |sum: Digest, i| sum.wrapping_add(chunk_digest(b"k", &value, i..i + 1)));
        assert_eq!(all, parts);
        let zeros = vec![0; 2 * DIGEST_CHUNK_BYTES];
        assert_ne!(chunk_digest(b"k", &zeros, 0..1), chunk_digest(b"k", &zeros, 1..2), "places differ");
    }
}
