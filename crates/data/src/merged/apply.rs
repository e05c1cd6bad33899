//! How a mutation changes the state.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::element::{Context, Element, HybridTime, Seen, Version};
use super::table::MergedTable;
use super::{Change, Dot, Facet, Merge, VersionVector};
use crate::table::position_of;

impl MergedTable {
    /// Changes the state. The caller sees to it that everything in the mutation's vector has been applied, and the mutation itself
    /// has not.
    pub fn apply(&mut self, merge: &Merge) {
        self.apply_where(merge, |_, _| true);
    }

    /// The same, of those facets of keys alone of which `is_new` says that the mutation has not been applied to them.
    pub fn apply_where(&mut self, merge: &Merge, is_new: impl Fn(Facet, &[u8]) -> bool) {
        self.apply_changes(merge.dot, merge.time, &merge.vector, merge.changes.iter(), is_new);
    }

    /// The same, of these changes of a mutation.
    pub(super) fn apply_changes<'a>(
        &mut self,
        dot: Dot,
        time: HybridTime,
        vector: &VersionVector,
        changes: impl Iterator<Item = &'a Change>,
        is_new: impl Fn(Facet, &[u8]) -> bool,
    ) {
        let context = Context { dot, vector };
        let mut changes = changes.peekable();
        // What is left of an element of which all is taken away and which the next change puts anew, as `SET` does: it is stored once.
        let mut left: Option<Element> = None;
        while let Some(change) = changes.next() {
            match change {
                Change::Put { key, facet, .. }
                | Change::Remove { key, facet, .. }
                | Change::Add { key, facet, .. }
                    if !is_new(*facet, key) => {}
                Change::Put { key, facet, name, .. } => {
                    let mut element = left.take().unwrap_or_else(|| self.element(key, *facet, name));
                    element.change(context, time, change);
                    self.conflicts.look(key, *facet, name, element.versions(), dot);
                    self.store(key, *facet, name, &element);
                }
                Change::Remove { key, facet, name, .. } | Change::Add { key, facet, name, .. } => {
                    let mut element = self.element(key, *facet, name);
                    let was_absent = element.is_absent();
                    element.change(context, time, change);
                    if !(was_absent && element.is_absent()) {
                        self.store(key, *facet, name, &element);
                    }
                }
                Change::Clear { key, seen } => {
                    let next = match changes.peek() {
                        Some(Change::Put { key: put, facet, name, value, seen: parts })
                            if put == key && is_new(*facet, key) =>
                        {
                            // A `SET` over a plain string that its client had seen, or over nothing, is by far the most that there is. The long way
                            // would come to the same.
                            let is_plain = *facet == Facet::String && seen.is_empty() && parts.is_empty();
                            if is_plain && self.facets_in_use().all(|facet| is_new(facet, key)) {
                                let version = Version { dot, time, value: value.clone() };
                                if self.set_where(key, &version, |other| context.covers(other)) {
                                    changes.next();
                                    continue;
                                }
                            }
                            Some((*facet, &name[..]))
                        }
                        _ => None,
                    };
                    left = self.clear(key, context, seen, &is_new, next);
                }
            }
        }
    }

    /// Takes away all that is there of a key. What is left of the element that is put `next` is not stored but returned.
    fn clear(
        &mut self,
        key: &[u8],
        context: Context<'_>,
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
                    element.remove(context, seen);
                    left = Some(element);
                    continue;
                }
                let before = element.clone();
                element.remove(context, seen);
                if element != before {
                    self.store(key, facet, &name, &element);
                }
            }
        }
        left
    }
}
