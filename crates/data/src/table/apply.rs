//! How a mutation changes the table.

use crate::collection::{CollectionRef, Content, Element, Kind, block};
use crate::entry::{Entry, ValueRef};
use crate::mutation::{Mutation, Operation};
use crate::table::leaf::Leaf;
use crate::table::{Malformed, Position, Table, Weight, position_of};

impl Table {
    /// Changes the state. Returns once all operations are applied.
    ///
    /// # Errors
    /// The bytes are not a mutation; nothing was applied.
    pub fn apply(&mut self, mutation: &Mutation) -> Result<(), Malformed> {
        let mut operations = mutation.operations();
        let first = operations.next().transpose()?;
        // All or nothing: look at every operation before the first one changes anything.
        operations.clone().try_for_each(|operation| operation.map(|_| ()))?;
        for operation in first.into_iter().chain(operations.map_while(Result::ok)) {
            self.apply_one(&operation);
        }
        Ok(())
    }

    fn apply_one(&mut self, operation: &Operation<'_>) {
        match *operation {
            Operation::Set { key, value, expire_at_ms } => {
                self.put(&Entry { key, value: ValueRef::String(value), expire_at_ms });
            }
            Operation::SetRange { key, offset, bytes } => self.set_range(key, offset as usize, bytes),
            Operation::SetElement { key, kind, name, value, .. } => {
                self.change_element(key, kind, name, Some(value));
            }
            Operation::RemoveElement { key, kind, name, .. } => self.change_element(key, kind, name, None),
            Operation::SetCollection { key, kind, content, expire_at_ms } => {
                let value = ValueRef::Collection(CollectionRef::packed(kind, content));
                self.put(&Entry { key, value, expire_at_ms });
            }
            Operation::Delete { key } => self.remove(key),
            Operation::Expire { key, expire_at_ms } => self.set_expiry(key, expire_at_ms),
            Operation::Increase { key, kind: Some(kind), name, value, .. } => {
                self.change_element(key, kind, name, Some(value));
            }
            Operation::Increase { key, kind: None, value, expire_at_ms, .. } => {
                self.put(&Entry { key, value: ValueRef::String(value), expire_at_ms });
            }
            Operation::Flush => *self = Table::with_slots(self.slots.0, self.slots.1),
        }
    }

    /// The entry's key holds its value from now on.
    pub(crate) fn put(&mut self, entry: &Entry<'_>) {
        self.put_at(position_of(entry.key), entry);
    }

    /// The same, where the key's position is known.
    pub(crate) fn put_at(&mut self, position: Position, entry: &Entry<'_>) {
        let number = self.leaves.find(position);
        let leaf = self.leaves.leaf_mut(number);
        match leaf.find(position, entry.key) {
            Ok(index) => match leaf.put_over(index, entry) {
                Some((before, after)) => return self.weigh_anew(position, before, after),
                None => self.change(position, number, index, |leaf, index| leaf.replace(index, entry)),
            },
            Err(index) => {
                leaf.insert(index, position, entry);
                self.sums.add(position, leaf.weight(index));
            }
        }
        self.leaves.split_if_big(number);
    }

    fn set_range(&mut self, key: &[u8], offset: usize, bytes: &[u8]) {
        let position = position_of(key);
        let number = self.leaves.find(position);
        let leaf = self.leaves.leaf_mut(number);
        let Ok(index) = leaf.find(position, key) else {
            let mut value = vec![0; offset];
            value.extend_from_slice(bytes);
            self.put(&Entry { key, value: ValueRef::String(&value), expire_at_ms: None });
            return;
        };
        if leaf.entry(index).is_apart() && leaf.entry(index).value.as_string().is_some() {
            self.change(position, number, index, |leaf, index| {
                if let Some(apart) = leaf.apart_mut(index) {
                    apart.write_range(offset, bytes);
                }
            });
            return;
        }
        let Entry { value, expire_at_ms, .. } = leaf.entry(index);
        // Of another type it is only for a moment, while a log is applied to a later snapshot: then what it becomes does not matter.
        let mut value = value.as_string().unwrap_or_default().to_vec();
        let end = offset + bytes.len();
        value.resize(value.len().max(end), 0);
        value[offset..end].copy_from_slice(bytes);
        self.put(&Entry { key, value: ValueRef::String(&value), expire_at_ms });
    }

    /// Sets an element, or removes it. A key that is absent, or of another type, becomes a value of this kind; one whose last
    /// element goes stays as it is, empty: whoever prepares a command deletes it in the same mutation instead.
    pub(crate) fn change_element(&mut self, key: &[u8], kind: Kind, name: &[u8], value: Option<&[u8]>) {
        let position = position_of(key);
        let number = self.leaves.find(position);
        let leaf = self.leaves.leaf_mut(number);
        let found = leaf.find(position, key).ok();
        if let Some(index) = found
            && leaf.apart_mut(index).is_some_and(|apart| apart.collection_mut(kind).is_some())
        {
            self.change(position, number, index, |leaf, index| {
                let apart = leaf.apart_mut(index).and_then(|apart| apart.collection_mut(kind));
                match (apart, value) {
                    (Some(collection), Some(value)) => collection.set(name, value),
                    (Some(collection), None) => collection.remove(name),
                    (None, _) => {}
                }
                leaf.pack_if_short(index);
            });
            return;
        }
        let entry = found.map(|index| leaf.entry(index));
        let (mut content, expire_at_ms) = content_of(entry, kind);
        let place = block::find(&content, name, kind.order());
        match value {
            Some(value) => block::put(&mut content, place, &Element { name, value }),
            None if entry.is_none() => return,
            None => block::take(&mut content, place),
        }
        let value = ValueRef::Collection(CollectionRef::packed(kind, &content));
        self.put(&Entry { key, value, expire_at_ms });
    }

    /// The same for several elements, one after the other. `change` is told what an element has, and says what it is to have, if anything.
    pub(crate) fn change_elements<'a>(
        &mut self,
        key: &[u8],
        kind: Kind,
        names: impl Iterator<Item = &'a [u8]>,
        mut change: impl FnMut(Option<&[u8]>) -> Option<Vec<u8>>,
    ) {
        let position = position_of(key);
        let entry = self.get_at(position, key);
        let in_tree = |entry: Option<Entry<'_>>| {
            matches!(entry.map(|entry| entry.value), Some(ValueRef::Collection(collection))
                if collection.kind == kind && matches!(collection.content, Content::Tree(_)))
        };
        if in_tree(entry) {
            for name in names {
                let before = match self.get_at(position, key).map(|entry| entry.value) {
                    Some(ValueRef::Collection(collection)) => collection.get(name),
                    _ => None,
                };
                let value = change(before);
                self.change_element(key, kind, name, value.as_deref());
            }
            return;
        }
        // What is short stands in one piece, which is written anew as a whole.
        let was_absent = entry.is_none();
        let (mut content, expire_at_ms) = content_of(entry, kind);
        for name in names {
            let place = block::find(&content, name, kind.order());
            let before = place.is_there().then(|| &content[place.value..place.end]);
            match change(before) {
                Some(value) => block::put(&mut content, place, &Element { name, value: &value }),
                None => block::take(&mut content, place),
            }
        }
        if was_absent && content.is_empty() {
            return;
        }
        let value = ValueRef::Collection(CollectionRef::packed(kind, &content));
        self.put_at(position, &Entry { key, value, expire_at_ms });
    }

    fn set_expiry(&mut self, key: &[u8], expire_at_ms: Option<u64>) {
        let position = position_of(key);
        let number = self.leaves.find(position);
        if let Ok(index) = self.leaves.leaf(number).find(position, key) {
            self.change(position, number, index, |leaf, index| leaf.set_expiry(index, expire_at_ms));
        }
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        let position = position_of(key);
        let number = self.leaves.find(position);
        let leaf = self.leaves.leaf_mut(number);
        let Ok(index) = leaf.find(position, key) else { return };
        let weight = leaf.weight(index);
        leaf.remove(index);
        self.sums.take(weight);
        self.forget_expiry(weight.expire_at_ms, position);
        self.leaves.merge_if_small(number);
    }

    /// Changes the entry at `index` of a leaf, keeping the sums.
    fn change(
        &mut self,
        position: Position,
        number: usize,
        index: usize,
        change: impl FnOnce(&mut Leaf, usize),
    ) {
        let leaf = self.leaves.leaf_mut(number);
        let before = leaf.weight(index);
        change(leaf, index);
        let after = leaf.weight(index);
        self.weigh_anew(position, before, after);
    }

    /// The entry at `position` weighed so much before it was changed, and weighs so much now.
    fn weigh_anew(&mut self, position: Position, before: Weight, after: Weight) {
        self.sums.take(before);
        self.sums.add(position, after);
        if before.expire_at_ms != after.expire_at_ms {
            self.forget_expiry(before.expire_at_ms, position);
        }
    }

    /// An entry at `position` no longer expires then. Another one of the same position still may.
    fn forget_expiry(&mut self, expire_at_ms: Option<u64>, position: Position) {
        if let Some(at_ms) = expire_at_ms
            && self.entries_expiring(at_ms, position).next().is_none()
        {
            self.sums.expiries.remove(&(at_ms, position));
        }
    }
}

/// What stands in a collection of this kind, with its expiry; nothing, if the entry is none or of another kind.
fn content_of(entry: Option<Entry<'_>>, kind: Kind) -> (Vec<u8>, Option<u64>) {
    match entry {
        Some(Entry { value: ValueRef::Collection(collection), expire_at_ms, .. })
            if collection.kind == kind =>
        {
            let mut content = Vec::with_capacity(collection.bytes() + 64);
            collection.write_content(&mut content);
            (content, expire_at_ms)
        }
        _ => (Vec::new(), None),
    }
}
