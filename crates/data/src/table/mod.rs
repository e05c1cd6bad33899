//! The keys of one partition, in memory, in the order of their [`Position`].
//!
//! A `directory` of leaves: each holds the entries from its own position up to that of the next leaf, some hundreds,
//! closely packed (`leaf`), long ones apart (`apart`). The first leaf begins at position 0 and always stands. The order depends
//! on the keys alone, never on history, so a position is a cursor that stays right: everything before it has been seen.
//!
//! Keys past their expiry stay until a mutation deletes them: a table knows no clock, and replicas must agree on when
//! a key went. [`View`](crate::View) hides them.
//!
//! Where to read next: `apply` (changes), `slice` (snapshots), `leaf`, and `entry` for the encoding of an entry.

mod apart;
mod apply;
mod arena;
mod directory;
mod leaf;
mod slice;
mod touch;

use std::collections::BTreeSet;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

pub use crate::entry::{Entry, ValueRef};
use crate::mutation::{Mutation, MutationBuilder, Operation};
use crate::slot::{SLOTS, key_slot};
use directory::Directory;

/// Where a key stands in the order of its table: 14 bits of slot, then 50 bits of hash. One number serves as cursor for
/// `SCAN`, for snapshots and for range comparisons, and stays valid whatever is inserted or removed meanwhile.
pub type Position = u64;

/// The bits of a position that are hash.
pub const HASH_BITS: u32 = 50;

/// A digest of a whole state: the wrapping sum of the hashes of its entries, kept up to date by every change.
pub type Digest = u128;

/// A mutation or a slice that is not well formed: a bug or damage, never the client's doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// The position of `key`.
pub fn position_of(key: &[u8]) -> Position {
    first_position(key_slot(key)) | (xxh3_64(key) >> (u64::BITS - HASH_BITS))
}

/// The first position of `slot`.
pub fn first_position(slot: u16) -> Position {
    u64::from(slot) << HASH_BITS
}

/// The slot of a position.
pub fn slot_of(position: Position) -> u16 {
    (position >> HASH_BITS) as u16
}

/// The state of one partition.
#[derive(Debug)]
pub struct Table {
    leaves: Directory,
    /// The slots that the partition covers.
    slots: (u16, u16),
    sums: Sums,
}

/// What is kept up to date over all entries.
#[derive(Debug, Default)]
struct Sums {
    /// When and where entries expire. Of entries that share both, one stands for all.
    expiries: BTreeSet<(u64, Position)>,
    len: usize,
    bytes: u64,
    digest: Digest,
}

/// What one entry adds to the sums.
#[derive(Clone, Copy, Debug)]
struct Weight {
    bytes: usize,
    expire_at_ms: Option<u64>,
    digest: Digest,
}

impl Sums {
    fn count(&mut self, weight: Weight) {
        self.len += 1;
        self.bytes += weight.bytes as u64;
        self.digest = self.digest.wrapping_add(weight.digest);
    }

    fn add(&mut self, position: Position, weight: Weight) {
        self.count(weight);
        if let Some(at_ms) = weight.expire_at_ms {
            self.expiries.insert((at_ms, position));
        }
    }

    /// The index of expiries stays as it is: another entry of the same position may expire then, too.
    fn take(&mut self, weight: Weight) {
        self.len -= 1;
        self.bytes -= weight.bytes as u64;
        self.digest = self.digest.wrapping_sub(weight.digest);
    }
}

impl Default for Table {
    fn default() -> Self {
        Table::with_slots(0, SLOTS - 1)
    }
}

impl Table {
    /// An empty table of a partition that covers all slots.
    pub fn new() -> Self {
        Table::default()
    }

    /// An empty table of a partition that covers the slots from `first` to `last`, both included. The range says where
    /// a `SCAN` goes on after this partition; keys of other slots are not refused.
    pub fn with_slots(first: u16, last: u16) -> Self {
        Table { leaves: Directory::new(), slots: (first, last), sums: Sums::default() }
    }

    /// The first and the last slot that the partition covers.
    pub fn slots(&self) -> (u16, u16) {
        self.slots
    }

    /// The partition covers these slots from now on.
    pub fn set_slots(&mut self, first: u16, last: u16) {
        self.slots = (first, last);
    }

    /// Divides the table: this one keeps the slots before `first`, the result is the rest. Takes time in proportion to the
    /// number of entries given away, since what is kept over all of them has to be added up.
    pub fn split_off(&mut self, first: u16) -> Table {
        let at = first_position(first);
        let mut upper = Table { leaves: self.leaves.split_off(at), ..Table::with_slots(first, self.slots.1) };
        self.slots.1 = first.saturating_sub(1);
        for leaf in upper.leaves.from(0) {
            for index in 0..leaf.len() {
                let weight = leaf.weight(index);
                self.sums.take(weight);
                upper.sums.count(weight);
            }
        }
        upper.sums.expiries = self.sums.expiries.extract_if(.., |&(_, position)| position >= at).collect();
        upper
    }

    /// The number of keys, those past their expiry included.
    pub fn len(&self) -> usize {
        self.sums.len
    }

    /// Is there no key?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of keys and values held, for `INFO` and for sizing snapshots.
    pub fn bytes(&self) -> u64 {
        self.sums.bytes
    }

    /// The digest of the present state. Equal states have equal digests, however they came about.
    pub fn digest(&self) -> Digest {
        self.sums.digest
    }

    /// The digest computed from every entry: for tests and for checking the running one.
    pub fn recompute_digest(&self) -> Digest {
        self.entries_from(0).fold(0, |sum: Digest, (_, entry)| sum.wrapping_add(entry.digest()))
    }

    /// The entry of `key`, past its expiry or not.
    pub fn get(&self, key: &[u8]) -> Option<Entry<'_>> {
        self.get_at(position_of(key), key)
    }

    /// The same, where the key's position is known: who looks into several tables computes it once.
    pub fn get_at(&self, position: Position, key: &[u8]) -> Option<Entry<'_>> {
        let leaf = self.leaves.leaf(self.leaves.find(position));
        leaf.find(position, key).ok().map(|index| leaf.entry(index))
    }

    /// What takes `mutation` back, if it is applied to this table next: what each key holds now that it touches.
    ///
    /// # Errors
    /// The bytes are not a mutation.
    pub fn inverse_of(&self, mutation: &Mutation) -> Result<Option<Mutation>, Malformed> {
        let mut inverse = MutationBuilder::new();
        let put = |inverse: &mut MutationBuilder, key: &[u8], entry: Option<Entry<'_>>| match entry {
            None => inverse.push(&Operation::Delete { key }),
            Some(Entry { value: ValueRef::String(value), expire_at_ms, .. }) => {
                inverse.push(&Operation::Set { key, value, expire_at_ms });
            }
            Some(Entry { value: ValueRef::Collection(collection), expire_at_ms, .. }) => {
                let mut content = Vec::with_capacity(collection.bytes());
                collection.write_content(&mut content);
                let (kind, content) = (collection.kind, &content[..]);
                inverse.push(&Operation::SetCollection { key, kind, content, expire_at_ms });
            }
        };
        // Each part says what was before the whole mutation, so parts about the same thing agree and their order does not matter.
        for operation in mutation.operations() {
            match operation? {
                Operation::Set { key, .. }
                | Operation::SetRange { key, .. }
                | Operation::SetCollection { key, .. }
                | Operation::Increase { key, .. }
                | Operation::Delete { key } => put(&mut inverse, key, self.get(key)),
                Operation::Expire { key, .. } => match self.get(key) {
                    Some(Entry { expire_at_ms, .. }) => {
                        inverse.push(&Operation::Expire { key, expire_at_ms })
                    }
                    None => inverse.push(&Operation::Delete { key }),
                },
                Operation::SetElement { key, kind, name, .. }
                | Operation::RemoveElement { key, kind, name, .. } => match self.get(key) {
                    Some(Entry { value: ValueRef::Collection(collection), .. })
                        if collection.kind == kind =>
                    {
                        inverse.push(&match collection.get(name) {
                            Some(value) => Operation::SetElement { key, kind, name, value, is_new: false },
                            None => Operation::RemoveElement { key, kind, name, at_end: None, score: &[] },
                        });
                    }
                    entry => put(&mut inverse, key, entry),
                },
                Operation::Flush => {
                    for (_, entry) in self.entries_from(0) {
                        put(&mut inverse, entry.key, Some(entry));
                    }
                }
            }
        }
        Ok(inverse.finish())
    }

    /// The memory that `key` and its value take, in bytes, roughly.
    pub fn memory_bytes(&self, key: &[u8]) -> Option<usize> {
        let position = position_of(key);
        let leaf = self.leaves.leaf(self.leaves.find(position));
        leaf.find(position, key).ok().map(|index| leaf.memory_bytes(index))
    }

    /// All entries at or after `position`, in order.
    pub fn entries_from(&self, position: Position) -> impl Iterator<Item = (Position, Entry<'_>)> {
        self.leaves.from(self.leaves.find(position)).flat_map(move |leaf| {
            (leaf.lower_bound(position)..leaf.len())
                .map(move |index| (leaf.position(index), leaf.entry(index)))
        })
    }

    /// The number of keys in `slot`.
    pub fn count_in_slot(&self, slot: u16) -> usize {
        let (from, last) = (first_position(slot), first_position(slot) | ((1 << HASH_BITS) - 1));
        let leaves = self.leaves.find(from)..=self.leaves.find(last);
        let count = |number: usize| {
            let leaf = self.leaves.leaf(number);
            let end = last.checked_add(1).map_or(leaf.len(), |next| leaf.lower_bound(next));
            end - leaf.lower_bound(from)
        };
        leaves.map(count).sum()
    }

    /// Up to `limit` keys of `slot`.
    pub fn keys_in_slot(&self, slot: u16, limit: usize) -> Vec<Bytes> {
        let entries = self.entries_from(first_position(slot));
        let of_slot = entries.take_while(|(position, _)| slot_of(*position) == slot);
        of_slot.take(limit).map(|(_, entry)| entry.key_bytes()).collect()
    }

    /// The entry that stands at `rank` modulo the number of keys, in order of position. Takes time in proportion to the
    /// number of leaves.
    pub fn entry_at_rank(&self, rank: u64) -> Option<Entry<'_>> {
        let mut left = rank.checked_rem(self.sums.len as u64)? as usize;
        self.leaves.from(0).find_map(|leaf| {
            if left < leaf.len() {
                return Some(leaf.entry(left));
            }
            left -= leaf.len();
            None
        })
    }

    /// The earliest expiry of any key, in wall clock milliseconds.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.sums.expiries.first().map(|&(at_ms, _)| at_ms)
    }

    /// Up to `limit` keys whose expiry is at or before `now_ms`, earliest first.
    pub fn expired(&self, now_ms: u64, limit: usize) -> Vec<Bytes> {
        let due = self.sums.expiries.range(..=(now_ms, Position::MAX));
        due.flat_map(|&(at_ms, position)| self.entries_expiring(at_ms, position))
            .take(limit)
            .map(|entry| entry.key_bytes())
            .collect()
    }

    /// The number of keys that have an expiry.
    pub fn expiring(&self) -> usize {
        self.sums.expiries.len()
    }

    fn entries_expiring(&self, at_ms: u64, position: Position) -> impl Iterator<Item = Entry<'_>> {
        self.entries_from(position)
            .take_while(move |(other, _)| *other == position)
            .map(|(_, entry)| entry)
            .filter(move |entry| entry.expire_at_ms == Some(at_ms))
    }
}

#[cfg(test)]
mod tests;
