//! Writes that were prepared and not yet applied.

use std::collections::VecDeque;

use bytes::Bytes;
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::collection::CollectionRef;
use crate::entry::{Entry, ValueRef};
use crate::mutation::{Mutation, Operation};
use crate::view::overlay::Overlay;

/// Writes that were prepared and not yet applied, by the log position that carries them.
///
/// Remembering a mutation costs what the mutation weighs, whatever it is about; its keys and values are kept as slices
/// of it, not copied.
#[derive(Debug, Default)]
pub struct Pending {
    overlays: HashTable<Written>,
    /// The positions of writes with the hashes of their keys, in order: what [`Pending::applied`] goes through.
    written: VecDeque<(u64, u64)>,
    /// Where the last pending flush stands. Overlays from before it are gone.
    flushed: Option<u64>,
    /// The position of the last mutation.
    last: Option<u64>,
}

/// What was written to a key.
#[derive(Debug)]
struct Written {
    /// Of the key. Without a seed: the pure crates draw no randomness.
    hash: u64,
    key: Bytes,
    overlay: Overlay,
}

/// What a layer says about a key.
pub(super) enum Layer<'a> {
    /// Nothing: look below.
    Untouched,
    /// It was flushed away.
    Flushed,
    /// It was written.
    Touched(&'a Overlay),
}

impl Pending {
    /// Remembers `mutation`, which stands in the log at `position` (rising from call to call).
    pub fn record(&mut self, position: u64, mutation: &Mutation) {
        self.last = Some(position);
        // A mutation that is not well formed is refused by `Table::apply`; what could be read of it does not matter.
        for operation in mutation.operations().map_while(Result::ok) {
            self.record_operation(position, &mutation.0, &operation);
        }
    }

    /// Everything up to `position` has been applied to the table.
    pub fn applied(&mut self, position: u64) {
        if self.last.is_none_or(|last| last <= position) {
            self.clear();
            return;
        }
        if self.flushed.is_some_and(|at| at <= position) {
            self.flushed = None;
        }
        while self.written.front().is_some_and(|(at, _)| *at <= position) {
            let Some((_, hash)) = self.written.pop_front() else { break };
            // Should two keys have the same hash, what is true of one is of the other: all up to here is applied.
            while let Ok(found) = self
                .overlays
                .find_entry(hash, |written| written.hash == hash && written.overlay.last <= position)
            {
                found.remove();
            }
            self.overlays
                .iter_hash_mut(hash)
                .filter(|written| written.hash == hash)
                .for_each(|written| written.overlay.forget(position));
        }
    }

    /// Nothing is under way any more (the leader stepped down).
    pub fn clear(&mut self) {
        self.overlays.clear();
        self.written.clear();
        self.flushed = None;
        self.last = None;
    }

    /// The log position of the last pending write that touches `key` (a pending flush touches every key).
    pub fn position_of(&self, key: &[u8]) -> Option<u64> {
        // An overlay that outlived a flush was written after it.
        self.find(key).map(|overlay| overlay.last).or(self.flushed)
    }

    /// The log position of the last pending write to any key.
    pub fn last_position(&self) -> Option<u64> {
        self.last
    }

    /// Is nothing under way?
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    pub(super) fn layer(&self, key: &[u8]) -> Layer<'_> {
        match self.find(key) {
            Some(overlay) => Layer::Touched(overlay),
            None if self.flushed.is_some() => Layer::Flushed,
            None => Layer::Untouched,
        }
    }

    fn find(&self, key: &[u8]) -> Option<&Overlay> {
        if self.overlays.is_empty() {
            return None;
        }
        let found = self.overlays.find(xxh3_64(key), |written| written.key == key);
        found.map(|written| &written.overlay)
    }

    fn record_operation(&mut self, position: u64, whole: &Bytes, operation: &Operation<'_>) {
        match *operation {
            Operation::Set { key, value, expire_at_ms } => {
                self.overlay(position, whole, key).set(position, whole.slice_ref(value), expire_at_ms);
            }
            Operation::SetRange { key, offset, bytes } => {
                self.overlay(position, whole, key).set_range(position, offset, whole.slice_ref(bytes));
            }
            Operation::SetElement { key, kind, name, value, is_new } => {
                let (name, value) = (whole.slice_ref(name), whole.slice_ref(value));
                self.overlay(position, whole, key).set_element(position, kind, name, value, is_new);
            }
            Operation::Increase { key, kind: Some(kind), name, value, is_new, .. } => {
                let (name, value) = (whole.slice_ref(name), whole.slice_ref(value));
                self.overlay(position, whole, key).set_element(position, kind, name, value, is_new);
            }
            Operation::Increase { key, kind: None, value, expire_at_ms, .. } => {
                self.overlay(position, whole, key).set(position, whole.slice_ref(value), expire_at_ms);
            }
            Operation::RemoveElement { key, kind, name, at_end, score } => {
                let name = whole.slice_ref(name);
                self.overlay(position, whole, key).remove_element(position, kind, name, at_end, score);
            }
            Operation::SetCollection { key, kind, content, expire_at_ms } => {
                let value = ValueRef::Collection(CollectionRef::packed(kind, content));
                let (entry, content) = (Entry { key, value, expire_at_ms }, whole.slice_ref(content));
                self.overlay(position, whole, key).set_collection(position, &entry, kind, content);
            }
            Operation::Delete { key } => self.overlay(position, whole, key).delete(position),
            Operation::Expire { key, expire_at_ms } => {
                self.overlay(position, whole, key).expire(position, expire_at_ms);
            }
            Operation::Flush => {
                self.overlays.clear();
                self.written.clear();
                self.flushed = Some(position);
            }
        }
    }

    fn overlay(&mut self, position: u64, whole: &Bytes, key: &[u8]) -> &mut Overlay {
        let hash = xxh3_64(key);
        self.written.push_back((position, hash));
        let entry = self.overlays.entry(hash, |written| written.key == key, |written| written.hash);
        let written = entry.or_insert_with(|| {
            let overlay = match self.flushed {
                Some(at) => Overlay::over_nothing(at),
                None => Overlay::over_below(),
            };
            Written { hash, key: whole.slice_ref(key), overlay }
        });
        &mut written.into_mut().overlay
    }
}
