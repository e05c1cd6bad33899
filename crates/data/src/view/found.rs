//! A key as a command finds it.
//!
//! Of a string: the bytes of one layer and the ranges written over them. Of a collection: see `collection`.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use crate::view::collection::FoundCollection;
use crate::view::overlay::Patch;

/// At most two layers of patches: pending writes, and the transaction's own.
pub(super) const LAYERS: usize = 2;

/// What a key holds.
#[derive(Clone, Debug)]
pub enum Found<'a> {
    /// A string.
    String(FoundString<'a>),
    /// A hash, a list, a set or a sorted set.
    Collection(FoundCollection<'a>),
}

impl Found<'_> {
    /// The name that `TYPE` gives.
    pub fn type_name(&self) -> &'static str {
        match self {
            Found::String(_) => "string",
            Found::Collection(collection) => collection.kind.type_name(),
        }
    }

    /// When the key ends, in wall clock milliseconds.
    pub fn expire_at_ms(&self) -> Option<u64> {
        match self {
            Found::String(string) => string.expire_at_ms,
            Found::Collection(collection) => collection.expire_at_ms,
        }
    }

    /// Is the key past its expiry?
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expire_at_ms().is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// The key ends then.
    pub(super) fn set_expiry(&mut self, at_ms: Option<u64>) {
        match self {
            Found::String(string) => string.expire_at_ms = at_ms,
            Found::Collection(collection) => collection.expire_at_ms = at_ms,
        }
    }
}

/// A string as the layers of a view hold it: bytes, and the ranges that later writes put over them. Asking for a part
/// costs the part (and a look at each pending patch), not the whole.
#[derive(Clone, Debug)]
pub struct FoundString<'a> {
    base: &'a [u8],
    patches: [Option<&'a VecDeque<Patch>>; LAYERS],
    len: u64,
    /// When the key ends, in wall clock milliseconds.
    pub expire_at_ms: Option<u64>,
}

impl<'a> FoundString<'a> {
    pub(super) fn new(base: &'a [u8], expire_at_ms: Option<u64>) -> Self {
        FoundString { base, patches: [None; LAYERS], len: base.len() as u64, expire_at_ms }
    }

    /// Puts patches that reach up to `end` over what is there.
    pub(super) fn write_over(&mut self, patches: &'a VecDeque<Patch>, end: u64) {
        if !patches.is_empty() {
            let free = self.patches.iter_mut().find(|layer| layer.is_none());
            *free.expect("there are no more layers than this") = Some(patches);
        }
        self.len = self.len.max(end);
    }

    /// The length of the string in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Is the string empty?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes in `range`, as far as the string goes.
    pub fn read(&self, range: Range<u64>) -> Cow<'a, [u8]> {
        let (start, end) = (range.start.min(self.len), range.end.min(self.len));
        let end = end.max(start);
        let touching = |patch: &&Patch| patch.offset < end && patch.end() > start;
        let mut patches =
            self.patches.iter().flatten().flat_map(|layer| layer.iter()).filter(touching).peekable();
        if patches.peek().is_none() && end <= self.base.len() as u64 {
            return Cow::Borrowed(&self.base[start as usize..end as usize]);
        }
        let mut bytes = vec![0; (end - start) as usize];
        overlay(&mut bytes, start, 0, self.base);
        patches.for_each(|patch| overlay(&mut bytes, start, patch.offset, &patch.bytes));
        Cow::Owned(bytes)
    }

    /// The whole string.
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        self.read(0..self.len)
    }

    /// The whole string, to be kept.
    pub fn to_bytes(&self) -> Bytes {
        match self.bytes() {
            Cow::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        }
    }
}

/// Copies the part of `bytes`, which begin at `offset`, that falls into `out`, which begins at `start`.
fn overlay(out: &mut [u8], start: u64, offset: u64, bytes: &[u8]) {
    let from = offset.max(start);
    let to = (offset + bytes.len() as u64).min(start + out.len() as u64);
    if from < to {
        let source = &bytes[(from - offset) as usize..(to - offset) as usize];
        out[(from - start) as usize..(to - start) as usize].copy_from_slice(source);
    }
}
