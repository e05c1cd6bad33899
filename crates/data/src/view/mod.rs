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
}

impl<'a> View<'a> {
    /// What `key` holds after the pending writes and those in `own`, past its expiry or not.
    pub(crate) fn find(&self, own: Option<&'a Pending>, key: &[u8]) -> Option<Found<'a>> {
        match (own, self.pending) {
            (Some(own), Some(pending)) => find_in(&[pending, own], self.table, key),
            (Some(only), None) | (None, Some(only)) => find_in(&[only], self.table, key),
            (None, None) => find_in(&[], self.table, key),
        }
    }
}

/// Looks `key` up in `layers`, the last of which is the topmost, over `table`.
fn find_in<'a>(layers: &[&'a Pending], table: &'a Table, key: &[u8]) -> Option<Found<'a>> {
    let Some((top, below)) = layers.split_last() else {
        let entry = table.get(key)?;
        return Some(match entry.value {
            ValueRef::String(bytes) => Found::String(FoundString::new(bytes, entry.expire_at_ms)),
            ValueRef::Collection(collection) => {
                Found::Collection(FoundCollection::new(collection, entry.expire_at_ms))
            }
        });
    };
    match top.layer(key) {
        Layer::Untouched => find_in(below, table, key),
        Layer::Flushed => None,
        Layer::Touched(overlay) => overlay.over(|| find_in(below, table, key)),
    }
}

#[cfg(test)]
mod tests;
