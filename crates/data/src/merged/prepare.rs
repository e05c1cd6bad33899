//! From a command to its reply and to what merges.
//!
//! The code of a command is that of all strategies: it sees what the key shows, and says what changes. Here that is turned into
//! changes of elements: what it puts takes away the versions that are here, and what it adds (`INCR`) is added and not put.

use std::collections::BTreeMap;

use bytes::Bytes;
use resp::Value;

use super::element::{Context, Element, HybridTime, Seen, Version};
use super::table::{MergedTable, NEVER, deadline};
use super::{Change, Dot, Facet, VersionVector};
use crate::collection::block;
use crate::mutation::Operation;

/// What a command came to where changes merge.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The answer.
    pub reply: Value,
    /// What changes, as the mutation of the name that was given; nothing, if it is empty.
    pub changes: Vec<Change>,
}

impl Prepared {
    /// From what a command came to over what the keys show.
    pub(crate) fn of(prepared: crate::Prepared, table: &MergedTable, dot: Dot) -> Prepared {
        let mut draft = Draft::new(table, dot);
        let mut operations = prepared.mutation.iter().flat_map(|mutation| mutation.operations()).peekable();
        while let Some(operation) = operations.next() {
            draft.is_last = operations.peek().is_none();
            draft.take(&operation.expect("it was prepared just now"));
        }
        Prepared { reply: prepared.reply, changes: draft.changes }
    }
}

/// The changes that take away all that is here of these keys, as the mutation of that name.
pub fn clearing(keys: &[Bytes], table: &MergedTable, dot: Dot) -> Vec<Change> {
    let mut draft = Draft::new(table, dot);
    keys.iter().for_each(|key| draft.clear(key));
    draft.changes
}

/// Elements by key, facet and name.
type Place = (Bytes, Facet, Bytes);

/// A mutation that is being made.
struct Draft<'a> {
    table: &'a MergedTable,
    dot: Dot,
    /// What elements have become by it, of those that it has changed.
    elements: BTreeMap<Place, Element>,
    /// Nothing comes after the operation that is taken, which would have to see what it did.
    is_last: bool,
    changes: Vec<Change>,
}

impl Draft<'_> {
    fn new(table: &MergedTable, dot: Dot) -> Draft<'_> {
        Draft { table, dot, elements: BTreeMap::new(), is_last: false, changes: Vec::new() }
    }

    fn take(&mut self, operation: &Operation<'_>) {
        let copy = Bytes::copy_from_slice;
        match *operation {
            // By far the most that there is: what follows would come to the same.
            Operation::Set { key, value, expire_at_ms: None }
                if self.elements.is_empty() && self.is_last && self.table.is_plain_string(key) =>
            {
                let (key, seen) = (copy(key), Vec::new());
                self.changes.push(Change::Clear { key: key.clone(), seen });
                let (facet, name, value, seen) = (Facet::String, Bytes::new(), copy(value), Vec::new());
                self.changes.push(Change::Put { key, facet, name, value, seen });
            }
            Operation::Set { key, value, expire_at_ms } => {
                self.clear(key);
                self.put(key, Facet::String, Bytes::new(), copy(value));
                self.end(key, expire_at_ms);
            }
            Operation::SetRange { key, offset, bytes } => {
                self.begin(key);
                let element = self.element(key, Facet::String, b"");
                let mut value = super::view::value_of(Facet::String, &element).unwrap_or_default();
                let (start, end) = (offset as usize, offset as usize + bytes.len());
                value.resize(value.len().max(end), 0);
                value[start..end].copy_from_slice(bytes);
                self.put(key, Facet::String, Bytes::new(), value.into());
                self.keep_end(key);
            }
            Operation::Delete { key } => self.clear(key),
            Operation::Expire { key, expire_at_ms } => {
                let at_ms = expire_at_ms.unwrap_or(NEVER);
                self.put(key, Facet::Expiry, Bytes::new(), copy(&at_ms.to_le_bytes()));
            }
            Operation::SetElement { key, kind, name, value, .. } => {
                self.begin(key);
                self.put(key, Facet::of(kind), copy(name), copy(value));
                self.keep_end(key);
            }
            Operation::RemoveElement { key, kind, name, .. } => {
                self.remove(key, Facet::of(kind), copy(name));
                self.keep_end(key);
            }
            Operation::SetCollection { key, kind, content, expire_at_ms } => {
                self.clear(key);
                for element in block::elements(content) {
                    self.put(key, Facet::of(kind), copy(element.name), copy(element.value));
                }
                self.end(key, expire_at_ms);
            }
            Operation::Increase { key, kind, name, amount, .. } => {
                let facet = kind.map_or(Facet::String, Facet::of);
                self.begin(key);
                self.add(key, facet, copy(name), amount);
                self.keep_end(key);
            }
            Operation::Flush => {
                let keys: Vec<Bytes> = self.table.keys_from(0).map(|(_, key, _)| copy(key)).collect();
                keys.iter().for_each(|key| self.clear(key));
            }
        }
    }

    /// The element as this mutation has made it so far.
    fn element(&self, key: &[u8], facet: Facet, name: &[u8]) -> Element {
        let place = (Bytes::copy_from_slice(key), facet, Bytes::copy_from_slice(name));
        match self.elements.get(&place) {
            Some(element) => element.clone(),
            None => self.table.element(key, facet, name),
        }
    }

    /// How much of the element's parts was there before this mutation. It takes away what it adds itself by being one mutation.
    fn seen(&self, key: &[u8], facet: Facet, name: &[u8]) -> Vec<Seen> {
        self.element(key, facet, name).seen()
    }

    fn change(&mut self, key: &[u8], facet: Facet, name: &Bytes, change: impl FnOnce(&mut Element)) {
        let mut element = self.element(key, facet, name);
        change(&mut element);
        self.elements.insert((Bytes::copy_from_slice(key), facet, name.clone()), element);
    }

    fn put(&mut self, key: &[u8], facet: Facet, name: Bytes, value: Bytes) {
        let seen = self.seen(key, facet, &name);
        let version = Version { dot: self.dot, time: HybridTime::default(), value: value.clone() };
        let dot = self.dot;
        self.change(key, facet, &name, |element| {
            // All that is here was seen.
            *element = Element::default();
            element.put(version, Context { dot, vector: &VersionVector::new() }, &[]);
        });
        self.changes.push(Change::Put { key: Bytes::copy_from_slice(key), facet, name, value, seen });
    }

    fn remove(&mut self, key: &[u8], facet: Facet, name: Bytes) {
        let seen = self.seen(key, facet, &name);
        self.change(key, facet, &name, |element| *element = Element::default());
        self.changes.push(Change::Remove { key: Bytes::copy_from_slice(key), facet, name, seen });
    }

    fn add(&mut self, key: &[u8], facet: Facet, name: Bytes, amount: i128) {
        let dot = self.dot;
        let addition = self.element(key, facet, &name).addition(dot.origin, dot.counter, amount);
        self.change(key, facet, &name, |element| element.add(dot, &addition));
        self.changes.push(Change::Add { key: Bytes::copy_from_slice(key), facet, name, addition });
    }

    fn clear(&mut self, key: &[u8]) {
        let mut all: BTreeMap<(Facet, Bytes), Element> = self
            .table
            .elements(key)
            .into_iter()
            .map(|(facet, name, element)| ((facet, name), element))
            .collect();
        for ((changed, facet, name), element) in &self.elements {
            if changed == key {
                all.insert((*facet, name.clone()), element.clone());
            }
        }
        let key = Bytes::copy_from_slice(key);
        let mut seen = Vec::new();
        for ((facet, name), element) in all {
            if element.has_parts() {
                seen.push((facet, name.clone(), element.seen()));
            }
            self.elements.insert((key.clone(), facet, name), Element::default());
        }
        self.changes.push(Change::Clear { key, seen });
    }

    /// A key that shows nothing begins anew: an expiry that is left of one that ended elsewhere is not its own.
    fn begin(&mut self, key: &[u8]) {
        let is_changed = self.elements.keys().any(|(changed, ..)| changed == key);
        let shows_nothing = !is_changed && super::view::facet_of(self.table, key).is_none();
        if shows_nothing && !self.element(key, Facet::Expiry, b"").is_absent() {
            self.clear(key);
        }
    }

    /// After a clearing: when the key ends.
    fn end(&mut self, key: &[u8], expire_at_ms: Option<u64>) {
        if let Some(at_ms) = expire_at_ms {
            self.put(key, Facet::Expiry, Bytes::new(), Bytes::copy_from_slice(&at_ms.to_le_bytes()));
        }
    }

    /// What is changed keeps its expiry, also where the key ends at the same time: else what is left of it would stay for good.
    fn keep_end(&mut self, key: &[u8]) {
        let element = self.element(key, Facet::Expiry, b"");
        let latest = element.versions().iter().max_by_key(|version| deadline(&version.value));
        if let Some(version) = latest.filter(|version| version.dot != self.dot) {
            let value = version.value.clone();
            self.put(key, Facet::Expiry, Bytes::new(), value);
        }
    }
}

/// The changes of a `SET`, by the quick way where there is one or by the long one.
#[cfg(test)]
pub(super) fn set(table: &MergedTable, dot: Dot, key: &[u8], quickly: bool) -> Vec<Change> {
    let mut draft = Draft { is_last: quickly, ..Draft::new(table, dot) };
    draft.take(&Operation::Set { key, value: b"value", expire_at_ms: None });
    draft.changes
}
