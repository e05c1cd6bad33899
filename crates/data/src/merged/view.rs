//! What a command sees of a key whose elements merge.
//!
//! A key has elements of one type, mostly. If values of several types were written at the same time, it shows that of the latest version, and
//! the others stay hidden until somebody who has seen them writes. The value of an element is that of its latest version; what was added to
//! it counts on top if that is a number (a score always is).

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::element::{Element, HybridTime};
use super::{Dot, Facet};
use crate::collection::{CollectionRef, Kind, score};
use crate::number::Decimal;

/// Values that are made while a command looks, and live as long as its view does.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    first: OnceCell<Box<Kept>>,
}

#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    next: OnceCell<Box<Kept>>,
}

impl Scratch {
    /// Keeps the bytes.
    pub fn keep(&self, bytes: Vec<u8>) -> &[u8] {
        let mut place = &self.first;
        while let Some(kept) = place.get() {
            place = &kept.next;
        }
        &place.get_or_init(|| Box::new(Kept { bytes, next: OnceCell::new() })).bytes
    }
}

/// What a key shows.
#[derive(Clone, Debug)]
pub(crate) enum Shown<'a> {
    String(&'a [u8]),
    /// Its elements, packed as those of a collection that does not merge.
    Collection(Kind, &'a [u8]),
}

/// What a key of a table that merges shows.
pub(crate) fn shown<'a>(container: CollectionRef<'a>, scratch: &'a Scratch) -> Option<Shown<'a>> {
    let facet = facet_of(container)?;
    if facet == Facet::String {
        let element = container.get(&facet.name_of(b""))?;
        let element = Element::read(element).expect("the table holds what we wrote");
        return Some(Shown::String(scratch.keep(value_of(facet, &element)?)));
    }
    let kind = facet.kind()?;
    let mut elements: BTreeMap<&[u8], Vec<u8>> = BTreeMap::new();
    for element in container.elements() {
        let Some((first, name)) = element.name.split_first() else { continue };
        if *first == facet as u8 {
            let element = Element::read(element.value).expect("the table holds what we wrote");
            elements.extend(value_of(facet, &element).map(|value| (name, value)));
        }
    }
    let mut content = Vec::new();
    for (name, value) in elements {
        crate::collection::Element { name, value: &value }.write(&mut content);
    }
    Some(Shown::Collection(kind, scratch.keep(content)))
}

impl Facet {
    /// The type of which these are the elements.
    pub fn kind(self) -> Option<Kind> {
        match self {
            Facet::Hash => Some(Kind::Hash),
            Facet::Set => Some(Kind::Set),
            Facet::List => Some(Kind::List),
            Facet::SortedSet => Some(Kind::SortedSet),
            Facet::String | Facet::Expiry => None,
        }
    }

    /// Of the elements of a type.
    pub fn of(kind: Kind) -> Facet {
        match kind {
            Kind::Hash => Facet::Hash,
            Kind::Set => Facet::Set,
            Kind::List => Facet::List,
            Kind::SortedSet => Facet::SortedSet,
        }
    }
}

/// The facet that is shown: that of the latest version.
fn facet_of(container: CollectionRef<'_>) -> Option<Facet> {
    let mut latest: Option<((HybridTime, Dot), Facet)> = None;
    let mut only = None;
    let mut mixed = false;
    for element in container.elements() {
        let facet = Facet::from_number(*element.name.first()?).ok().filter(|facet| *facet != Facet::Expiry);
        let Some(facet) = facet else { continue };
        mixed |= only.is_some_and(|only| only != facet);
        only = Some(facet);
    }
    if !mixed {
        return only;
    }
    for element in container.elements() {
        let facet = Facet::from_number(*element.name.first()?).ok()?;
        let found = Element::read(element.value).expect("the table holds what we wrote");
        // What was only added to has no time: it is shown if there is nothing else.
        let time = found.winner().map(|version| (version.time, version.dot)).unwrap_or_default();
        if facet != Facet::Expiry && latest.is_none_or(|latest| latest < (time, facet)) {
            latest = Some((time, facet));
        }
    }
    latest.map(|(_, facet)| facet)
}

/// The value of an element; none if it is not there.
pub(crate) fn value_of(facet: Facet, element: &Element) -> Option<Vec<u8>> {
    let winner = element.winner().map(|version| &version.value[..]);
    if !element.has_parts() {
        return winner.map(<[u8]>::to_vec);
    }
    let sum = Decimal::of_units(element.sum());
    match facet {
        Facet::SortedSet => {
            let base = winner.map_or(0.0, score::decode);
            let total = base + sum.near();
            Some(score::encode(if total.is_nan() { base } else { total }).to_vec())
        }
        Facet::String | Facet::Hash => match winner {
            None => Some(sum.print().into_bytes()),
            Some(value) => match Decimal::parse(value).and_then(|base| base.add(sum)) {
                Some(total) => Some(total.print().into_bytes()),
                None => Some(value.to_vec()),
            },
        },
        Facet::Set | Facet::List | Facet::Expiry => winner.map(<[u8]>::to_vec),
    }
}
