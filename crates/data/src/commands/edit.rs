//! Changes of one collection by a command, which sees them, as it does not see those that it makes through
//! [`Context`](crate::context::Context): a field that is given twice is new only once.

use std::collections::BTreeMap;

use bytes::Bytes;
use resp::Value;

use crate::collection::{Element, End, Kind};
use crate::context::{Context, Increased};
use crate::number::Decimal;
use crate::view::FoundCollection;

/// A collection that is being changed.
pub(super) struct Edit<'a, 'k> {
    key: &'k Bytes,
    kind: Kind,
    found: Option<FoundCollection<'a>>,
    /// In the order in which elements were touched first.
    changes: Vec<Change<'a>>,
    /// Where each stands in `changes`, once there are several.
    places: BTreeMap<Bytes, usize>,
    len: usize,
}

/// What becomes of an element.
struct Change<'a> {
    name: Bytes,
    before: Option<&'a [u8]>,
    after: Option<Bytes>,
    /// If it goes: it was the first, or the last, of all that were there then.
    at_end: Option<End>,
    /// If it is a number to which this was added.
    added: Option<Decimal>,
}

/// More elements than this are looked up in a map.
const FEW: usize = 8;

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
        match self.place_of(name) {
            Some(place) => self.changes[place].after.as_deref(),
            None => self.before(name),
        }
    }

    /// Sets an element. Says whether there was none of this name.
    pub fn set(&mut self, name: Bytes, value: Bytes) -> bool {
        let place = self.touch(name);
        let change = &mut self.changes[place];
        let is_new = change.after.is_none();
        self.len += usize::from(is_new);
        change.after = Some(value);
        is_new
    }

    /// Adds so much to an element, which has this value then.
    pub fn increase(&mut self, name: Bytes, value: Bytes, amount: Decimal) {
        self.set(name.clone(), value);
        if let Some(place) = self.place_of(&name) {
            self.changes[place].added = Some(amount);
        }
    }

    /// Sets an element whose name is a new one.
    pub fn add(&mut self, name: Bytes, value: Bytes) {
        self.len += 1;
        self.note(Change { name, before: None, after: Some(value), at_end: None, added: None });
    }

    /// Removes an element. Says whether it was there.
    pub fn remove(&mut self, name: Bytes) -> bool {
        let place = self.touch(name);
        let is_there = self.changes[place].after.take().is_some();
        self.len -= usize::from(is_there);
        is_there
    }

    /// Removes the first or the last element of those that are there, which nothing has touched.
    pub fn remove_at(&mut self, end: End, name: Bytes, value: &'a [u8]) {
        self.len -= 1;
        self.note(Change { name, before: Some(value), after: None, at_end: Some(end), added: None });
    }

    /// Makes the changes. A collection that has lost its last element is deleted.
    pub fn finish(self, context: &mut Context<'_>) {
        self.try_finish(context).expect("nothing was added");
    }

    /// The same where something was added. An `Err` says that so much cannot be.
    pub fn try_finish(self, context: &mut Context<'_>) -> Result<(), Value> {
        if self.len == 0 {
            if self.found.is_some() {
                context.delete(self.key);
            }
            return Ok(());
        }
        for Change { name, before, after, added, .. } in &self.changes {
            let Some(value) = after.as_ref().filter(|value| *before != Some(&value[..])) else { continue };
            let (kind, is_new) = (self.kind, before.is_none());
            match *added {
                None => context.set_element(self.key, kind, Element { name, value }, is_new),
                Some(amount) => {
                    let what = Increased { kind: Some(kind), name, value, amount, is_new };
                    context.increase(self.key, what, None)?;
                }
            }
        }
        for Change { name, before, after, at_end, .. } in &self.changes {
            if let (Some(value), None) = (before, after) {
                context.remove_element(self.key, self.kind, Element { name, value }, *at_end);
            }
        }
        Ok(())
    }

    fn before(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.found.as_ref()?.get(name)
    }

    fn place_of(&self, name: &[u8]) -> Option<usize> {
        match self.places.is_empty() {
            true => self.changes.iter().position(|change| change.name == name),
            false => self.places.get(name).copied(),
        }
    }

    /// The place of an element that may have been touched before.
    fn touch(&mut self, name: Bytes) -> usize {
        if let Some(place) = self.place_of(&name) {
            return place;
        }
        let before = self.before(&name);
        let after = before.map(Bytes::copy_from_slice);
        self.note(Change { name, before, after, at_end: None, added: None })
    }

    fn note(&mut self, change: Change<'a>) -> usize {
        let place = self.changes.len();
        if place >= FEW {
            if self.places.is_empty() {
                self.places = self.changes.iter().map(|change| change.name.clone()).zip(0..).collect();
            }
            self.places.insert(change.name.clone(), place);
        }
        self.changes.push(change);
        place
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
