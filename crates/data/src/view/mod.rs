//! What a command sees: the applied state, and over it the writes that are on their way through the log.
//!
//! A leader prepares a command before the writes ahead of it are applied. [`Pending`] holds those writes per key;
//! [`View`] shows the state as it will be after them. Reads that clients are answered from use a view without pending
//! writes: nothing is visible before it is committed.
//!
//! A transaction sees its own earlier writes, too: they are one more [`Pending`] on top. Whatever the layers, a key is
//! looked up from the top down to the first layer that knows all of it, and comes out as [`Found`]: the bytes of one
//! layer and the ranges that were written over them. Nothing is copied before a command asks for bytes.
//!
//! Where to read next: `overlay` (what a layer knows about one key), `pending`, `found`.

mod collection;
mod found;
mod overlay;
mod pending;

use crate::entry::ValueRef;
use crate::merged::view::{Scratch, facet_of, shown};
use crate::merged::{Dot, Facet, MergedTable};
use crate::slot::SLOTS;
use crate::table::Table;

pub use collection::FoundCollection;
pub(crate) use collection::Scored;
pub use found::{Found, FoundString};
use pending::Layer;
pub use pending::Pending;

/// The state that a command is prepared or answered against.
#[derive(Debug)]
pub struct View<'a> {
    /// The applied state.
    pub table: &'a Table,
    /// What comes over it, for writes.
    pub pending: Option<&'a Pending>,
    /// Wall clock milliseconds that decide what has expired.
    pub now_ms: u64,
    /// The keys of the table are elements that merge: the name of the mutation that is being prepared, and what is made of elements to
    /// be looked at.
    merging: Option<(Dot, &'a MergedTable, Scratch)>,
    /// Only keys of these slots are there.
    slots: (u16, u16),
}

impl<'a> View<'a> {
    /// Of a table and the writes that come over it.
    pub fn new(table: &'a Table, pending: Option<&'a Pending>, now_ms: u64) -> Self {
        View { table, pending, now_ms, merging: None, slots: table.slots() }
    }

    /// Of a table whose keys are elements that merge ([`merged`](crate::merged)). `dot` is the name of the mutation that is prepared
    /// with it, if one is.
    pub fn of_merged(table: &'a MergedTable, dot: Dot, now_ms: u64) -> Self {
        let merging = Some((dot, table, Scratch::default()));
        View { table: table.of(Facet::String), pending: None, now_ms, merging, slots: (0, SLOTS - 1) }
    }

    /// The same, of a table that has only keys of these slots: the first, and the last.
    pub fn of_slots(self, slots: (u16, u16)) -> Self {
        View { slots, ..self }
    }

    /// The first slot of the keys that may be there, and the last.
    pub(crate) fn slots(&self) -> (u16, u16) {
        self.slots
    }

    /// The table, if its keys are elements that merge.
    pub(crate) fn merged(&self) -> Option<&'a MergedTable> {
        self.merging.as_ref().map(|(_, table, _)| *table)
    }

    /// The name of the mutation that is prepared, where changes merge.
    pub(crate) fn dot(&self) -> Option<Dot> {
        self.merging.as_ref().map(|(dot, ..)| *dot)
    }

    /// What `key` holds after the pending writes and those in `own`, past its expiry or not.
    pub(crate) fn find<'v>(&'v self, own: Option<&'v Pending>, key: &[u8]) -> Option<Found<'v>> {
        let base = || self.found_in_table(key);
        match (own, self.pending) {
            (Some(own), Some(pending)) => find_in(&[pending, own], &base, key),
            (Some(only), None) | (None, Some(only)) => find_in(&[only], &base, key),
            (None, None) => base(),
        }
    }

    fn found_in_table<'v>(&'v self, key: &[u8]) -> Option<Found<'v>> {
        if let Some((_, table, scratch)) = &self.merging {
            let (facet, entry) = facet_of(table, key)?;
            let expire_at_ms = table.expire_at_ms(key);
            return Some(match (entry.value, facet.kind()) {
                (ValueRef::Collection(collection), Some(kind)) => {
                    let merging = Some((facet, scratch));
                    Found::Collection(FoundCollection::new(collection, kind, expire_at_ms, merging))
                }
                (value, _) => {
                    let bytes = shown(facet, value.as_string()?, scratch);
                    Found::String(FoundString::new(bytes, expire_at_ms))
                }
            });
        }
        let entry = self.table.get(key)?;
        Some(match entry.value {
            ValueRef::String(bytes) => Found::String(FoundString::new(bytes, entry.expire_at_ms)),
            ValueRef::Collection(collection) => {
                Found::Collection(FoundCollection::new(collection, collection.kind, entry.expire_at_ms, None))
            }
        })
    }
}

/// Looks `key` up in `layers`, the last of which is the topmost, over `base`.
fn find_in<'v>(
    layers: &[&'v Pending],
    base: &dyn Fn() -> Option<Found<'v>>,
    key: &[u8],
) -> Option<Found<'v>> {
    let Some((top, below)) = layers.split_last() else { return base() };
    match top.layer(key) {
        Layer::Untouched => find_in(below, base, key),
        Layer::Flushed => None,
        Layer::Touched(overlay) => overlay.over(|| find_in(below, base, key)),
    }
}

#[cfg(test)]
mod tests;
