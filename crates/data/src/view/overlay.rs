//! What one layer of pending writes knows about one key.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::collection::{Collection, CollectionRef, End, Kind};
use crate::entry::Entry;
use crate::view::collection::Changes;
use crate::view::{Found, FoundCollection, FoundString};

/// What the writes to a key come to, without looking at the state below them: what they start from, the ranges of a string
/// or the elements of a collection that were written over it, and the expiry if they set it.
#[derive(Debug)]
pub(super) struct Overlay {
    base: Base,
    patches: VecDeque<Patch>,
    /// The greatest end of any patch since the base was set.
    end: u64,
    /// Writes to elements since the base was set.
    changes: Option<Box<Changes>>,
    /// The expiry that was set last, if it was set after the base, and where.
    expiry: Option<(u64, Option<u64>)>,
    /// The position of the last write.
    pub last: u64,
}

/// What the patches are written over.
#[derive(Debug)]
enum Base {
    /// Whatever the layers below hold.
    Below,
    /// Nothing: the key was deleted at this position.
    Absent(u64),
    /// A string set at this position, with its expiry.
    Value(u64, Bytes, Option<u64>),
    /// A collection set at this position, with its expiry.
    Collection(u64, Elements, Option<u64>),
}

/// The elements of a collection that was set as a whole.
#[derive(Debug)]
enum Elements {
    Packed(Kind, Bytes),
    Long(Box<Collection>),
}

/// Bytes written over a string.
#[derive(Debug)]
pub(super) struct Patch {
    position: u64,
    pub offset: u64,
    pub bytes: Bytes,
}

impl Patch {
    pub fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

impl Overlay {
    /// Over whatever lies below.
    pub fn over_below() -> Self {
        Overlay { base: Base::Below, patches: VecDeque::new(), end: 0, changes: None, expiry: None, last: 0 }
    }

    /// Over nothing, since `position`.
    pub fn over_nothing(position: u64) -> Self {
        Overlay { base: Base::Absent(position), ..Overlay::over_below() }
    }

    pub fn set(&mut self, position: u64, value: Bytes, expire_at_ms: Option<u64>) {
        *self = Overlay { base: Base::Value(position, value, expire_at_ms), ..Overlay::over_below() };
        self.last = position;
    }

    pub fn set_collection(&mut self, position: u64, entry: &Entry<'_>, kind: Kind, content: Bytes) {
        let packed = CollectionRef::packed(kind, &content);
        let elements = match entry.is_apart() {
            true => Elements::Long(Box::new(Collection::new(entry.key, kind, packed))),
            false => Elements::Packed(kind, content),
        };
        let base = Base::Collection(position, elements, entry.expire_at_ms);
        *self = Overlay { base, last: position, ..Overlay::over_below() };
    }

    pub fn set_element(&mut self, position: u64, kind: Kind, name: Bytes, value: Bytes, is_new: bool) {
        self.changes(kind).set(position, name, value, is_new);
        self.last = position;
    }

    pub fn remove_element(
        &mut self,
        position: u64,
        kind: Kind,
        name: Bytes,
        at_end: Option<End>,
        score: &[u8],
    ) {
        self.changes(kind).remove(position, name, at_end, score);
        self.last = position;
    }

    fn changes(&mut self, kind: Kind) -> &mut Changes {
        self.changes.get_or_insert_with(|| Box::new(Changes::new(kind)))
    }

    pub fn set_range(&mut self, position: u64, offset: u64, bytes: Bytes) {
        let patch = Patch { position, offset, bytes };
        self.end = self.end.max(patch.end());
        self.patches.push_back(patch);
        self.last = position;
    }

    pub fn delete(&mut self, position: u64) {
        *self = Overlay::over_nothing(position);
        self.last = position;
    }

    pub fn expire(&mut self, position: u64, expire_at_ms: Option<u64>) {
        // An absent key stays absent.
        if !matches!(self.base, Base::Absent(_)) || !self.patches.is_empty() || self.changes.is_some() {
            self.expiry = Some((position, expire_at_ms));
        }
        self.last = position;
    }

    /// The layers below hold everything up to `position`: lets go of what they know.
    pub fn forget(&mut self, position: u64) {
        if let Base::Absent(at) | Base::Value(at, ..) | Base::Collection(at, ..) = self.base
            && at <= position
        {
            self.base = Base::Below;
        }
        while self.patches.front().is_some_and(|patch| patch.position <= position) {
            self.patches.pop_front();
        }
        if let Some(changes) = &mut self.changes {
            changes.forget(position);
            if changes.is_empty() {
                self.changes = None;
            }
        }
        if self.expiry.is_some_and(|(at, _)| at <= position) {
            self.expiry = None;
        }
    }

    /// The number of patches held.
    #[cfg(test)]
    pub fn patch_count(&self) -> usize {
        self.patches.len()
    }

    /// The key with these writes over what `below` finds.
    pub fn over<'a>(&'a self, below: impl FnOnce() -> Option<Found<'a>>) -> Option<Found<'a>> {
        let base = match &self.base {
            Base::Below => below(),
            Base::Absent(_) => None,
            Base::Value(_, bytes, expire_at_ms) => {
                Some(Found::String(FoundString::new(bytes, *expire_at_ms)))
            }
            Base::Collection(_, elements, expire_at_ms) => {
                let elements = match elements {
                    Elements::Packed(kind, content) => CollectionRef::packed(*kind, content),
                    Elements::Long(collection) => collection.as_ref().as_ref(),
                };
                Some(Found::Collection(FoundCollection::new(elements, elements.kind, *expire_at_ms, None)))
            }
        };
        let mut found = match (base, &self.changes) {
            (Some(Found::Collection(found)), Some(changes)) if found.kind != changes.kind => {
                Found::Collection(FoundCollection::empty(changes.kind))
            }
            (Some(found), _) => found,
            (None, Some(changes)) => Found::Collection(FoundCollection::empty(changes.kind)),
            (None, None) if self.patches.is_empty() => return None,
            (None, None) => Found::String(FoundString::new(&[], None)),
        };
        match (&mut found, &self.changes) {
            (Found::String(string), _) => string.write_over(&self.patches, self.end),
            (Found::Collection(collection), Some(changes)) => collection.write_over(changes),
            (Found::Collection(_), None) => {}
        }
        if let Some((_, expire_at_ms)) = self.expiry {
            found.set_expiry(expire_at_ms);
        }
        Some(found)
    }
}
