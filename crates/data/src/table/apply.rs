//! How a mutation changes the table.

use crate::entry::{Entry, ValueRef};
use crate::mutation::{Mutation, Operation};
use crate::table::leaf::Leaf;
use crate::table::{Malformed, Position, Table, position_of};

impl Table {
    /// Changes the state. Returns once all operations are applied.
    ///
    /// # Errors
    /// The bytes are not a mutation; nothing was applied.
    pub fn apply(&mut self, mutation: &Mutation) -> Result<(), Malformed> {
        // All or nothing: look at every operation before the first one changes anything.
        mutation.check()?;
        mutation.operations().try_for_each(|operation| operation.map(|operation| self.apply_one(&operation)))
    }

    fn apply_one(&mut self, operation: &Operation<'_>) {
        match *operation {
            Operation::Set { key, value, expire_at_ms } => {
                self.put(&Entry { key, value: ValueRef::String(value), expire_at_ms });
            }
            Operation::SetRange { key, offset, bytes } => self.set_range(key, offset as usize, bytes),
            Operation::Delete { key } => self.remove(key),
            Operation::Expire { key, expire_at_ms } => self.set_expiry(key, expire_at_ms),
            Operation::Flush => *self = Table::with_slots(self.slots.0, self.slots.1),
        }
    }

    /// The entry's key holds its value from now on.
    pub(super) fn put(&mut self, entry: &Entry<'_>) {
        let position = position_of(entry.key);
        match self.leaf(position).find(position, entry.key) {
            Ok(index) => self.change(position, index, |leaf, index| leaf.replace(index, entry)),
            Err(index) => {
                self.leaf_mut(position).1.insert(index, position, entry);
                self.count_in(position, index);
            }
        }
        self.split_if_big(position);
    }

    fn set_range(&mut self, key: &[u8], offset: usize, bytes: &[u8]) {
        let position = position_of(key);
        let Ok(index) = self.leaf(position).find(position, key) else {
            let mut value = vec![0; offset];
            value.extend_from_slice(bytes);
            self.put(&Entry { key, value: ValueRef::String(&value), expire_at_ms: None });
            return;
        };
        let (_, leaf) = self.leaf_mut(position);
        if leaf.apart_mut(index).is_some() {
            self.change(position, index, |leaf, index| {
                if let Some(apart) = leaf.apart_mut(index) {
                    apart.write_range(offset, bytes);
                }
            });
            return;
        }
        let entry = leaf.entry(index);
        let (ValueRef::String(value), expire_at_ms) = (entry.value, entry.expire_at_ms);
        let mut value = value.to_vec();
        let end = offset + bytes.len();
        value.resize(value.len().max(end), 0);
        value[offset..end].copy_from_slice(bytes);
        self.put(&Entry { key, value: ValueRef::String(&value), expire_at_ms });
    }

    fn set_expiry(&mut self, key: &[u8], expire_at_ms: Option<u64>) {
        let position = position_of(key);
        if let Ok(index) = self.leaf(position).find(position, key) {
            self.change(position, index, |leaf, index| leaf.set_expiry(index, expire_at_ms));
        }
    }

    fn remove(&mut self, key: &[u8]) {
        let position = position_of(key);
        let Ok(index) = self.leaf(position).find(position, key) else { return };
        let expire_at_ms = self.count_out(position, index);
        self.leaf_mut(position).1.remove(index);
        self.forget_expiry(expire_at_ms, position);
        self.merge_if_small(position);
    }

    /// Changes the entry at `index`, keeping the sums.
    fn change(&mut self, position: Position, index: usize, change: impl FnOnce(&mut Leaf, usize)) {
        let before = self.count_out(position, index);
        change(self.leaf_mut(position).1, index);
        let after = self.count_in(position, index);
        if before != after {
            self.forget_expiry(before, position);
        }
    }

    /// Adds the entry to the sums. Returns its expiry.
    fn count_in(&mut self, position: Position, index: usize) -> Option<u64> {
        let leaf = self.leaf(position);
        let (entry, digest) = (leaf.entry(index), leaf.digest(index));
        let (bytes, expire_at_ms) = (entry.key.len() + entry.value.bytes(), entry.expire_at_ms);
        self.len += 1;
        self.bytes += bytes as u64;
        self.digest = self.digest.wrapping_add(digest);
        if let Some(at_ms) = expire_at_ms {
            self.expiries.insert((at_ms, position));
        }
        expire_at_ms
    }

    /// Takes the entry out of the sums. Returns its expiry, which [`Table::forget_expiry`] takes out of the index.
    fn count_out(&mut self, position: Position, index: usize) -> Option<u64> {
        let leaf = self.leaf(position);
        let (entry, digest) = (leaf.entry(index), leaf.digest(index));
        let (bytes, expire_at_ms) = (entry.key.len() + entry.value.bytes(), entry.expire_at_ms);
        self.len -= 1;
        self.bytes -= bytes as u64;
        self.digest = self.digest.wrapping_sub(digest);
        expire_at_ms
    }

    /// An entry at `position` no longer expires then. Another one of the same position still may.
    fn forget_expiry(&mut self, expire_at_ms: Option<u64>, position: Position) {
        if let Some(at_ms) = expire_at_ms
            && self.entries_expiring(at_ms, position).next().is_none()
        {
            self.expiries.remove(&(at_ms, position));
        }
    }

    fn leaf_mut(&mut self, position: Position) -> (Position, &mut Leaf) {
        let (&start, leaf) =
            self.leaves.range_mut(..=position).next_back().expect("the first leaf begins at 0");
        (start, leaf)
    }

    fn split_if_big(&mut self, position: Position) {
        let (_, leaf) = self.leaf_mut(position);
        if leaf.wants_split() {
            let upper = leaf.split();
            let start = upper.position(0);
            self.leaves.insert(start, upper);
        }
    }

    fn merge_if_small(&mut self, position: Position) {
        let (start, leaf) = self.leaf_mut(position);
        if !leaf.is_small() {
            return;
        }
        let before = self.leaves.range(..start).next_back().map(|(&start, _)| start);
        let after = self.leaves.range((std::ops::Bound::Excluded(start), std::ops::Bound::Unbounded));
        let after = after.map(|(&start, _)| start).next();
        self.merge_pair(Some(start), after);
        self.merge_pair(before, Some(start));
    }

    fn merge_pair(&mut self, lower: Option<Position>, upper: Option<Position>) {
        let (Some(lower), Some(upper)) = (lower, upper) else { return };
        if self.leaves[&lower].wants_merge(&self.leaves[&upper])
            && let Some(leaf) = self.leaves.remove(&upper)
            && let Some(into) = self.leaves.get_mut(&lower)
        {
            into.merge(leaf);
        }
    }
}
