//! A packed run of elements: for each a varint length and that many bytes of name, then the same of value.
//!
//! All functions but [`checked`] take runs that were written here.

use bytes::BufMut;

use super::Order;
use crate::table::Malformed;
use crate::varint::{self, Reader};

/// An element of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
}

impl<'a> Element<'a> {
    /// The length of its encoding.
    pub fn encoded_bytes(&self) -> usize {
        let block = |bytes: &[u8]| varint::length(bytes.len() as u64) + bytes.len();
        block(self.name) + block(self.value)
    }

    /// Appends its encoding.
    pub fn write(&self, out: &mut impl BufMut) {
        for bytes in [self.name, self.value] {
            varint::put(out, bytes.len() as u64);
            out.put_slice(bytes);
        }
    }

    fn read(reader: &mut Reader<'a>) -> Self {
        let mut block = || reader.block().expect("a run holds elements that we wrote");
        Element { name: block(), value: block() }
    }
}

/// The elements of a run that came from outside.
///
/// # Errors
/// It is not one.
pub(crate) fn checked(run: &[u8]) -> Result<Vec<Element<'_>>, Malformed> {
    let mut reader = Reader::new(run);
    let mut elements = Vec::new();
    while !reader.is_empty() {
        elements.push(Element { name: reader.block()?, value: reader.block()? });
    }
    Ok(elements)
}

/// The elements of a run, in order.
pub(crate) fn elements(run: &[u8]) -> impl Iterator<Item = Element<'_>> {
    let mut reader = Reader::new(run);
    std::iter::from_fn(move || (!reader.is_empty()).then(|| Element::read(&mut reader)))
}

/// The elements of a run, from the last to the first. Mostly only the last one is asked for, so the others are not gathered before.
pub(crate) fn reversed(run: &[u8]) -> impl Iterator<Item = Element<'_>> {
    let mut others: Option<Vec<Element<'_>>> = None;
    let mut is_first = true;
    std::iter::from_fn(move || {
        if std::mem::take(&mut is_first) {
            return elements(run).last();
        }
        let others = others.get_or_insert_with(|| {
            let mut all: Vec<_> = elements(run).collect();
            all.pop();
            all
        });
        others.pop()
    })
}

/// The encodings of the elements of a run.
pub(crate) fn pieces(run: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    elements(run).map(move |element| {
        let end = start + element.encoded_bytes();
        let piece = &run[start..end];
        start = end;
        piece
    })
}

/// Where an element stands in its run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// How many stand before it.
    pub index: usize,
    /// Where its encoding begins.
    pub start: usize,
    /// Where its encoding ends; the same as the start if there is no such element.
    pub end: usize,
    /// Where its value begins.
    pub value: usize,
}

impl Place {
    pub fn is_there(&self) -> bool {
        self.end > self.start
    }
}

/// The place of the element with this name, or where it would stand.
pub(crate) fn find(run: &[u8], name: &[u8], order: Order) -> Place {
    let mut reader = Reader::new(run);
    let mut index = 0;
    loop {
        let start = run.len() - reader.remaining();
        if reader.is_empty() {
            return Place { index, start, end: start, value: start };
        }
        let element = Element::read(&mut reader);
        let end = run.len() - reader.remaining();
        if element.name == name {
            return Place { index, start, end, value: end - element.value.len() };
        }
        if order == Order::ByName && element.name > name {
            return Place { index, start, end: start, value: start };
        }
        index += 1;
    }
}

/// The value of the element with this name.
pub(crate) fn get<'a>(run: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    elements(run).find(|element| element.name == name).map(|element| element.value)
}

/// Puts an element at its place, over what is there.
pub(crate) fn put(run: &mut Vec<u8>, place: Place, element: &Element<'_>) {
    let (old_bytes, new_bytes) = (place.end - place.start, element.encoded_bytes());
    let old_length = run.len();
    if new_bytes > old_bytes {
        let more = new_bytes - old_bytes;
        reserve(run, more);
        run.resize(old_length + more, 0);
    }
    run.copy_within(place.end..old_length, place.start + new_bytes);
    run.truncate(old_length + new_bytes - old_bytes);
    let mut room = &mut run[place.start..place.start + new_bytes];
    element.write(&mut room);
}

/// Takes the element at `place` out.
pub(crate) fn take(run: &mut Vec<u8>, place: Place) {
    run.drain(place.start..place.end);
}

/// Room for more, an eighth above what is needed at most: doubling would leave a third empty.
fn reserve(run: &mut Vec<u8>, more: usize) {
    if run.len() + more > run.capacity() {
        run.reserve_exact(more + (run.len() / 8).max(16));
    }
}
