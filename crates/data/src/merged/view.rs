//! What a command sees of a key whose elements merge.
//!
//! A key has elements of one type, mostly. If values of several types were written at the same time, it shows that of the latest version, and
//! the others stay hidden until somebody who has seen them writes. The value of an element is that of its latest version; what was added to
//! it counts on top if that is a number (a score always is).

use std::cell::OnceCell;

use super::element::{self, Element, HybridTime};
use super::{Dot, Facet, MergedTable};
use crate::collection::{Kind, score};
use crate::entry::Entry;
use crate::number::Decimal;
use crate::table::position_of;

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

/// The facet that a key shows: that of its latest version, if it has several. With what it holds of that.
pub(crate) fn facet_of<'a>(table: &'a MergedTable, key: &[u8]) -> Option<(Facet, Entry<'a>)> {
    let position = position_of(key);
    let find = |facet: Facet| table.of(facet).get_at(position, key);
    let used = table.facets_in_use().filter(|facet| Facet::SHOWN.contains(facet));
    let mut present = used.filter_map(|facet| Some((facet, find(facet)?)));
    let first = present.next()?;
    if present.next().is_none() {
        return Some(first);
    }
    let mut latest: Option<((HybridTime, Dot), Facet)> = None;
    for (facet, _, element) in table.elements(key) {
        // What was only added to has no time: it is shown if there is nothing else.
        let time = element.winner().map(|version| (version.time, version.dot)).unwrap_or_default();
        if Facet::SHOWN.contains(&facet) && latest.is_none_or(|latest| latest < (time, facet)) {
            latest = Some((time, facet));
        }
    }
    latest.and_then(|(_, facet)| Some((facet, find(facet)?)))
}

/// The value that an element shows, from its bytes. Copied only if something was added to it.
pub(crate) fn shown<'a>(facet: Facet, bytes: &'a [u8], scratch: &'a Scratch) -> &'a [u8] {
    match facet {
        Facet::Set => &[],
        Facet::SortedSet => &bytes[..score::SCORE_BYTES],
        _ => match element::plain_winner(bytes) {
            Some(value) => value,
            None => {
                let element = Element::read(bytes).expect("the table holds what we wrote");
                scratch.keep(value_of(facet, &element).unwrap_or_default())
            }
        },
    }
}

impl Facet {
    /// The type of which these are the elements.
    pub fn kind(self) -> Option<Kind> {
        match self {
            Facet::Hash => Some(Kind::Hash),
            Facet::Set => Some(Kind::Set),
            Facet::List => Some(Kind::List),
            Facet::SortedSet => Some(Kind::SortedSet),
            Facet::String | Facet::Expiry | Facet::Rights => None,
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
        Facet::Set | Facet::List | Facet::Expiry | Facet::Rights => winner.map(<[u8]>::to_vec),
    }
}
