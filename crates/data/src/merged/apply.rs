//! How a mutation changes the table of a keyspace that merges.
//!
//! In such a table a key is a hash, whose fields are facet and name of each element and whose values are the bytes of them. So it is sliced,
//! divided and digested as any other.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::element::{Element, Seen, Version};
use super::{Change, Facet, Merge, VersionVector};
use crate::collection::{CollectionRef, Kind};
use crate::entry::ValueRef;
use crate::table::Table;

/// What a key of such a table is.
const CONTAINER: Kind = Kind::Hash;

/// The expiry of a key that never ends.
pub(crate) const NEVER: u64 = u64::MAX;

impl Table {
    /// Changes the state. The caller sees to it that everything in the mutation's vector has been applied, and the mutation itself
    /// has not.
    pub fn apply_merged(&mut self, merge: &Merge) {
        // A mutation that puts something and then takes it away has seen what it has put.
        let mut vector = merge.vector.clone();
        vector.raise(merge.dot.origin, merge.dot.counter);
        for change in &merge.changes {
            match change {
                Change::Put { key, facet, name, value, seen } => {
                    let version = Version { dot: merge.dot, time: merge.time, value: value.clone() };
                    self.change_merged(key, *facet, name, |element| {
                        element.put(version, &vector, seen);
                    });
                }
                Change::Remove { key, facet, name, seen } => {
                    self.change_merged(key, *facet, name, |element| element.remove(&vector, seen));
                }
                Change::Add { key, facet, name, addition } => {
                    self.change_merged(key, *facet, name, |element| element.add(merge.dot, addition));
                }
                Change::Clear { key, seen } => self.clear_merged(key, &vector, seen),
            }
        }
    }

    /// An element, as it is here.
    pub fn merged_element(&self, key: &[u8], facet: Facet, name: &[u8]) -> Element {
        let bytes = self.merged(key).and_then(|collection| collection.get(&facet.name_of(name)));
        bytes.map_or_else(Element::default, |bytes| {
            Element::read(bytes).expect("the table holds what we wrote")
        })
    }

    /// All elements of a key, in any order.
    pub fn merged_elements(&self, key: &[u8]) -> Vec<(Facet, Bytes, Element)> {
        let Some(collection) = self.merged(key) else { return Vec::new() };
        let element = |element: crate::collection::Element<'_>| {
            let (facet, name) = element.name.split_first()?;
            let facet = Facet::from_number(*facet).ok()?;
            Some((facet, Bytes::copy_from_slice(name), Element::read(element.value).ok()?))
        };
        collection.elements().map(|found| element(found).expect("the table holds what we wrote")).collect()
    }

    pub(crate) fn merged(&self, key: &[u8]) -> Option<CollectionRef<'_>> {
        match self.get(key)?.value {
            ValueRef::Collection(collection) if collection.kind == CONTAINER => Some(collection),
            _ => None,
        }
    }

    fn change_merged(&mut self, key: &[u8], facet: Facet, name: &[u8], change: impl FnOnce(&mut Element)) {
        let mut element = self.merged_element(key, facet, name);
        let was_absent = element.is_absent();
        change(&mut element);
        self.store_merged(key, facet, name, &element, was_absent);
    }

    fn store_merged(&mut self, key: &[u8], facet: Facet, name: &[u8], element: &Element, was_absent: bool) {
        let name = facet.name_of(name);
        if !element.is_absent() {
            let mut bytes = Vec::new();
            element.write(&mut bytes);
            self.change_element(key, CONTAINER, &name, Some(&bytes));
        } else if !was_absent {
            self.change_element(key, CONTAINER, &name, None);
            if self.merged(key).is_some_and(|collection| collection.is_empty()) {
                self.remove(key);
                return;
            }
        }
        if facet == Facet::Expiry {
            let latest = element.versions().iter().map(|version| deadline(&version.value)).max();
            self.set_expiry(key, latest.filter(|&at_ms| at_ms != NEVER));
        }
    }

    fn clear_merged(&mut self, key: &[u8], vector: &VersionVector, seen: &[(Facet, Bytes, Vec<Seen>)]) {
        let seen: BTreeMap<(Facet, &[u8]), &[Seen]> =
            seen.iter().map(|(facet, name, seen)| ((*facet, &name[..]), &seen[..])).collect();
        for (facet, name, mut element) in self.merged_elements(key) {
            let before = element.clone();
            element.remove(vector, seen.get(&(facet, &name[..])).copied().unwrap_or_default());
            if element != before {
                self.store_merged(key, facet, &name, &element, false);
            }
        }
    }
}

/// The moment in the value of an expiry.
pub(crate) fn deadline(value: &[u8]) -> u64 {
    value.try_into().map_or(NEVER, u64::from_le_bytes)
}
