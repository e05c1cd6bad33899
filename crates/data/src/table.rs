//! The keys of one partition, in memory, in the order of their [`Position`].

use bytes::{Bytes, BytesMut};

use crate::Mutation;

/// Where a key stands in the order of its table: 14 bits of slot, then 50 bits of hash. One number serves as cursor for
/// `SCAN`, for snapshots and for range comparisons, and stays valid whatever is inserted or removed meanwhile.
pub type Position = u64;

/// A digest of a whole state: the wrapping sum of the hashes of its entries, kept up to date by every change.
pub type Digest = u128;

/// The state of one partition.
#[derive(Debug, Default)]
pub struct Table {}

/// A mutation or a slice that is not well formed: a bug or damage, never the client's doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl Table {
    /// An empty table.
    pub fn new() -> Self {
        Table {}
    }

    /// An empty table for the slots from `first` to `last`, both included.
    pub fn with_slots(first: u16, last: u16) -> Self {
        let _ = (first, last);
        todo!()
    }

    /// Changes the state. Returns once all operations are applied.
    ///
    /// # Errors
    /// The bytes are not a mutation; nothing was applied.
    pub fn apply(&mut self, mutation: &Mutation) -> Result<(), Malformed> {
        let _ = mutation;
        todo!()
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Is there no key?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of keys and values held, for `INFO` and for sizing snapshots.
    pub fn bytes(&self) -> u64 {
        todo!()
    }

    /// The digest of the present state. Equal states have equal digests, however they came about.
    pub fn digest(&self) -> Digest {
        todo!()
    }

    /// Appends entries at or after `from` to `out`, in order of position, until `out` holds `max_bytes` or the table
    /// ends (at least one position's entries, however large). Returns the position to go on from, `None` at the end.
    pub fn slice(&self, from: Position, max_bytes: usize, out: &mut BytesMut) -> Option<Position> {
        let _ = (from, max_bytes, out);
        todo!()
    }

    /// Loads what [`Table::slice`] wrote. Entries already there are replaced.
    ///
    /// # Errors
    /// The bytes are not a slice.
    pub fn load(&mut self, slice: &[u8]) -> Result<(), Malformed> {
        let _ = slice;
        todo!()
    }

    /// The earliest expiry of any key, in wall clock milliseconds.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        todo!()
    }

    /// Up to `limit` keys whose expiry is at or before `now_ms`, earliest first.
    pub fn expired(&self, now_ms: u64, limit: usize) -> Vec<Bytes> {
        let _ = (now_ms, limit);
        todo!()
    }
}
