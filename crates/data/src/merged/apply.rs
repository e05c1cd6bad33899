//! How a mutation changes the state.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::element::{Element, Seen, Version};
use super::table::MergedTable;
use super::{Change, Facet, Merge, VersionVector};
use crate::table::position_of;

impl MergedTable {
    /// Changes the state. The caller sees to it that everything in the mutation's vector has been applied, and the mutation itself
    /// has not.
    pub fn apply(&mut self, merge: &Merge) {
        if !self.set(merge) {
            self.apply_where(merge, |_, _| true);
        }
    }

    /// A `SET` over a plain string that its client had seen, or over nothing, is by far the most that there is. The long way would come to the same.
    fn set(&mut self, merge: &Merge) -> bool {
        let [
            Change::Clear { key, seen },
            Change::Put { key: put, facet: Facet::String, name, value, seen: parts },
        ] = &merge.changes[..]
        else {
            return false;
        };
        if key != put || !name.is_empty() || !seen.is_empty() || !parts.is_empty() {
            return false;
        }
        let version = Version { dot: merge.dot, time: merge.time, value: value.clone() };
        self.set_where(key, &version, |dot| merge.vector.covers(dot))
    }

    /// The same, of those facets of keys alone of which `is_new` says that the mutation has not been applied to them.
    pub fn apply_where(&mut self, merge: &Merge, is_new: impl Fn(Facet, &[u8]) -> bool) {
        // A mutation that puts something and then takes it away has seen what it has put.
        let mut vector = merge.vector.clone();
        vector.raise(merge.dot.origin, merge.dot.counter);
        let mut changes = merge.changes.iter().peekable();
        // What is left of an element of which all is taken away and which the next change puts anew, as `SET` does: it is stored once.
        let mut left: Option<Element> = None;
        while let Some(change) = changes.next() {
            match change {
                Change::Put { key, facet, .. }
                | Change::Remove { key, facet, .. }
                | Change::Add { key, facet, .. }
                    if !is_new(*facet, key) => {}
                Change::Put { key, facet, name, value, seen } => {
                    let version = Version { dot: merge.dot, time: merge.time, value: value.clone() };
                    let mut element = left.take().unwrap_or_else(|| self.element(key, *facet, name));
                    element.put(version, &vector, seen);
                    self.conflicts.look(key, *facet, name, element.versions(), merge.dot);
                    self.store(key, *facet, name, &element);
                }
                Change::Remove { key, facet, name, seen } => {
                    self.change(key, *facet, name, |element| element.remove(&vector, seen));
                }
                Change::Add { key, facet, name, addition } => {
                    self.change(key, *facet, name, |element| element.add(merge.dot, addition));
                }
                Change::Clear { key, seen } => {
                    let next = match changes.peek() {
                        Some(Change::Put { key: put, facet, name, .. })
                            if put == key && is_new(*facet, key) =>
                        {
                            Some((*facet, &name[..]))
                        }
                        _ => None,
                    };
                    left = self.clear(key, &vector, seen, &is_new, next);
                }
            }
        }
    }

    fn change(&mut self, key: &[u8], facet: Facet, name: &[u8], change: impl FnOnce(&mut Element)) {
        let mut element = self.element(key, facet, name);
        let was_absent = element.is_absent();
        change(&mut element);
        if !(was_absent && element.is_absent()) {
            self.store(key, facet, name, &element);
        }
    }

    /// Takes away all that is there of a key. What is left of the element that is put `next` is not stored but returned.
    fn clear(
        &mut self,
        key: &[u8],
        vector: &VersionVector,
        seen: &[(Facet, Bytes, Vec<Seen>)],
        is_new: &dyn Fn(Facet, &[u8]) -> bool,
        next: Option<(Facet, &[u8])>,
    ) -> Option<Element> {
        let mut left = None;
        let seen: BTreeMap<(Facet, &[u8]), &[Seen]> =
            seen.iter().map(|(facet, name, seen)| ((*facet, &name[..]), &seen[..])).collect();
        let position = position_of(key);
        for facet in self.facets_in_use() {
            if !is_new(facet, key) {
                continue;
            }
            for (name, mut element) in self.elements_at(position, key, facet) {
                let seen = seen.get(&(facet, &name[..])).copied().unwrap_or_default();
                if next == Some((facet, &name[..])) {
                    element.remove(vector, seen);
                    left = Some(element);
                    continue;
                }
                let before = element.clone();
                element.remove(vector, seen);
                if element != before {
                    self.store(key, facet, &name, &element);
                }
            }
        }
        left
    }
}
