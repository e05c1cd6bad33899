//! Changes of one collection by a command, which sees them, as it does not see those that it makes through
//! [`Context`](crate::context::Context): a field that is given twice is new only once.

use std::collections::BTreeMap;

use bytes::Bytes;
use resp::Value;

use crate::collection::{Element, Kind};
use crate::context::Context;
use crate::view::FoundCollection;

/// A collection that is being changed.
pub(super) struct Edit<'a, 'k> {
    key: &'k Bytes,
    kind: Kind,
    found: Option<FoundCollection<'a>>,
    /// What elements became, in the order in which they were touched first.
    changes: Vec<(Bytes, Option<Bytes>)>,
    places: BTreeMap<Bytes, usize>,
    len: usize,
}

impl<'a, 'k> Edit<'a, 'k> {
    /// Opens the collection in `key`, which may be absent. An `Err` is `WRONGTYPE`.
    pub fn open(context: &mut Context<'a>, key: &'k Bytes, kind: Kind) -> Result<Self, Value> {
        let found = context.collection(key, kind)?;
        let len = found.as_ref().map_or(0, FoundCollection::len);
        Ok(Edit { key, kind, found, changes: Vec::new(), places: BTreeMap::new(), len })
    }

    /// What was there before.
    pub fn found(&self) -> Option<&FoundCollection<'a>> {
        self.found.as_ref()
    }

    /// The number of elements now.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The value of an element now.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        match self.places.get(name) {
            Some(&place) => self.changes[place].1.as_deref(),
            None => self.before(name),
        }
    }

    /// Sets an element. Says whether there was none of this name.
    pub fn set(&mut self, name: Bytes, value: Bytes) -> bool {
        let is_new = self.get(&name).is_none();
        self.len += usize::from(is_new);
        self.note(name, Some(value));
        is_new
    }

    /// Removes an element. Says whether it was there.
    pub fn remove(&mut self, name: Bytes) -> bool {
        let is_there = self.get(&name).is_some();
        if is_there {
            self.len -= 1;
            self.note(name, None);
        }
        is_there
    }

    /// Makes the changes. A collection that has lost its last element is deleted.
    pub fn finish(self, context: &mut Context<'_>) {
        if self.len == 0 {
            if self.found.is_some() {
                context.delete(self.key);
            }
            return;
        }
        let (set, removed): (Vec<_>, Vec<_>) = self.changes.iter().partition(|(_, value)| value.is_some());
        for (name, value) in &set {
            let (Some(value), before) = (value, self.before(name)) else { continue };
            if before != Some(value) {
                context.set_element(self.key, self.kind, Element { name, value }, before.is_none());
            }
        }
        for (name, _) in &removed {
            if self.before(name).is_some() {
                context.remove_element(self.key, self.kind, name);
            }
        }
    }

    fn before(&self, name: &[u8]) -> Option<&[u8]> {
        self.found.as_ref()?.get(name)
    }

    fn note(&mut self, name: Bytes, value: Option<Bytes>) {
        match self.places.get(&name) {
            Some(&place) => self.changes[place].1 = value,
            None => {
                self.places.insert(name.clone(), self.changes.len());
                self.changes.push((name, value));
            }
        }
    }
}

/// `key` holds these elements of a collection from now on, which have names of their own; none: the key is gone. Whatever it
/// held before and whenever that would have ended is forgotten. For `SUNIONSTORE` and the like.
pub(super) fn store<'e>(
    context: &mut Context<'_>,
    key: &Bytes,
    kind: Kind,
    elements: impl Iterator<Item = Element<'e>>,
) {
    let mut content = Vec::new();
    elements.for_each(|element| element.write(&mut content));
    if !content.is_empty() {
        context.set_collection(key, kind, &content, None);
    } else if context.find(key).is_some() {
        context.delete(key);
    }
}
