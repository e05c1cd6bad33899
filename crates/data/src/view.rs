//! What a command sees: the applied state, and over it the writes that are on their way through the log.
//!
//! A leader prepares a command before the writes ahead of it are applied. [`Pending`] holds those writes per key;
//! [`View`] shows the state as it will be after them. Reads that clients are answered from use a view without pending
//! writes: nothing is visible before it is committed.

use crate::{Mutation, Table};

/// Writes that were prepared and not yet applied, by the log position that carries them.
#[derive(Debug, Default)]
pub struct Pending {}

impl Pending {
    /// Remembers `mutation`, which stands in the log at `position` (rising from call to call).
    pub fn record(&mut self, position: u64, mutation: &Mutation) {
        let _ = (position, mutation);
        todo!()
    }

    /// Everything up to `position` has been applied to the table.
    pub fn applied(&mut self, position: u64) {
        let _ = position;
        todo!()
    }

    /// Nothing is under way any more (the leader stepped down).
    pub fn clear(&mut self) {
        todo!()
    }

    /// The log position of the last pending write that touches `key` (a pending flush touches every key).
    pub fn position_of(&self, key: &[u8]) -> Option<u64> {
        let _ = key;
        todo!()
    }

    /// Is nothing under way?
    pub fn is_empty(&self) -> bool {
        todo!()
    }
}

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
