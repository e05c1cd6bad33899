//! A mutation of a keyspace that merges, as bytes that are the same in memory, in the log and on the wire.
//!
//! ```text
//! version (1), origin, counter, milliseconds, logical, vector, then changes:
//! 1 Put     key block, facet (1 byte), name block, value block, seen
//! 2 Remove  key block, facet (1 byte), name block, seen
//! 3 Clear   key block, count, for each: facet (1 byte), name block, seen
//! 4 Add     key block, facet (1 byte), name block, first, before, amount, total
//! seen      count, for each: origin, last, total
//! vector    count, for each: origin, counter
//! ```
//! Numbers are varints, a *block* a varint length and that many bytes, amounts two varints (`element`).

use bytes::{BufMut, Bytes, BytesMut};

use super::element::{Addition, HybridTime, Seen, put_amount, read_amount};
use super::{Dot, Facet, VersionVector};
use crate::collection::Kind;
use crate::table::Malformed;
use crate::varint::{self, Reader};

/// The version that [`Merge::encode`] writes.
const VERSION: u8 = 1;
/// What goes before the changes takes no more bytes, mostly: to ask for memory once.
const HEADER_BYTES: usize = 80;

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const CLEAR: u8 = 3;
const ADD: u8 = 4;

/// What is done to one element, or to all of a key. `seen`: of each origin that has added to the element what whoever made this
/// had seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has this value.
    Put { key: Bytes, facet: Facet, name: Bytes, value: Bytes, seen: Vec<Seen> },
    /// It is gone.
    Remove { key: Bytes, facet: Facet, name: Bytes, seen: Vec<Seen> },
    /// All elements of the key are gone. `seen` is of those to which something was added.
    Clear { key: Bytes, seen: Vec<(Facet, Bytes, Vec<Seen>)> },
    /// So much is added to it.
    Add { key: Bytes, facet: Facet, name: Bytes, addition: Addition },
}

impl Change {
    /// The bytes that it takes, about.
    fn value_len(&self) -> usize {
        let beside = match self {
            Change::Put { name, value, .. } => name.len() + value.len(),
            Change::Remove { name, .. } | Change::Add { name, .. } => name.len(),
            Change::Clear { .. } => 0,
        };
        8 + self.key().len() + beside
    }

    /// The element that it is about; if it is about all of them, none.
    pub(super) fn name(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        match self {
            Change::Put { name, .. } | Change::Remove { name, .. } | Change::Add { name, .. } => name,
            Change::Clear { .. } => &NONE,
        }
    }

    /// The facet of its element.
    pub(super) fn facet(&self) -> Option<Facet> {
        match self {
            Change::Put { facet, .. } | Change::Remove { facet, .. } | Change::Add { facet, .. } => {
                Some(*facet)
            }
            Change::Clear { .. } => None,
        }
    }

    /// The facet of its element and how that is held, if a key has several of that facet.
    pub(super) fn container(&self) -> Option<(Facet, Kind)> {
        let facet = self.facet()?;
        facet.container().map(|kind| (facet, kind))
    }

    /// The key that it is about.
    pub fn key(&self) -> &Bytes {
        match self {
            Change::Put { key, .. }
            | Change::Remove { key, .. }
            | Change::Clear { key, .. }
            | Change::Add { key, .. } => key,
        }
    }
}

/// A mutation: changes that take effect together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merge {
    /// Its name.
    pub dot: Dot,
    /// When it was made.
    pub time: HybridTime,
    /// What its origin had applied. Of the origin itself: all before this one.
    pub vector: VersionVector,
    /// What it does, in order.
    pub changes: Vec<Change>,
}

impl Merge {
    /// The bytes of it.
    pub fn encode(&self) -> Bytes {
        let values = self.changes.iter().map(Change::value_len).sum::<usize>();
        let mut out = BytesMut::with_capacity(HEADER_BYTES + values);
        write(self.dot, self.time, &self.vector, &self.changes, &mut out);
        out.freeze()
    }

    /// The mutation in `bytes`, which it shares.
    ///
    /// # Errors
    /// They are not one.
    pub fn decode(bytes: &Bytes) -> Result<Merge, Malformed> {
        Merge::read(&mut Reader::new(bytes), bytes)
    }

    /// The same of all that the reader has, of bytes that are a part of these.
    pub(super) fn read(reader: &mut Reader<'_>, bytes: &Bytes) -> Result<Merge, Malformed> {
        if reader.byte()? != VERSION {
            return Err(Malformed("a mutation of an unknown version"));
        }
        let dot = Dot { origin: reader.varint()?, counter: reader.varint()? };
        let (ms, logical) = (reader.varint()?, reader.varint()?);
        let logical = u32::try_from(logical).map_err(|_| Malformed("a number is too long"))?;
        let vector = VersionVector::read(reader)?;
        let mut changes = Vec::new();
        while !reader.is_empty() {
            changes.push(read_change(reader, bytes)?);
        }
        Ok(Merge { dot, time: HybridTime { ms, logical }, vector, changes })
    }
}

/// Appends the bytes of a mutation of these changes.
pub(super) fn write(
    dot: Dot,
    time: HybridTime,
    vector: &VersionVector,
    changes: &[Change],
    out: &mut BytesMut,
) {
    out.put_u8(VERSION);
    for number in [dot.origin, dot.counter, time.ms, u64::from(time.logical)] {
        varint::put(out, number);
    }
    vector.write(out);
    for change in changes {
        write_change(change, out);
    }
}

fn write_change(change: &Change, out: &mut BytesMut) {
    match change {
        Change::Put { key, facet, name, value, seen } => {
            write_element(PUT, key, *facet, name, out);
            block(value, out);
            write_seen(seen, out);
        }
        Change::Remove { key, facet, name, seen } => {
            write_element(REMOVE, key, *facet, name, out);
            write_seen(seen, out);
        }
        Change::Clear { key, seen } => {
            out.put_u8(CLEAR);
            block(key, out);
            varint::put(out, seen.len() as u64);
            for (facet, name, seen) in seen {
                out.put_u8(*facet as u8);
                block(name, out);
                write_seen(seen, out);
            }
        }
        Change::Add { key, facet, name, addition } => {
            write_element(ADD, key, *facet, name, out);
            varint::put(out, addition.first);
            varint::put(out, addition.before);
            put_amount(out, addition.amount);
            put_amount(out, addition.total);
        }
    }
}

fn write_element(tag: u8, key: &[u8], facet: Facet, name: &[u8], out: &mut BytesMut) {
    out.put_u8(tag);
    block(key, out);
    out.put_u8(facet as u8);
    block(name, out);
}

fn write_seen(seen: &[Seen], out: &mut BytesMut) {
    varint::put(out, seen.len() as u64);
    for seen in seen {
        varint::put(out, seen.origin);
        varint::put(out, seen.last);
        put_amount(out, seen.total);
    }
}

fn block(bytes: &[u8], out: &mut BytesMut) {
    varint::put(out, bytes.len() as u64);
    out.put_slice(bytes);
}

fn read_change(reader: &mut Reader<'_>, whole: &Bytes) -> Result<Change, Malformed> {
    let tag = reader.byte()?;
    let key = whole.slice_ref(reader.block()?);
    if tag == CLEAR {
        let mut seen = Vec::new();
        for _ in 0..reader.varint()? {
            let facet = Facet::from_number(reader.byte()?)?;
            seen.push((facet, whole.slice_ref(reader.block()?), read_seen(reader)?));
        }
        return Ok(Change::Clear { key, seen });
    }
    let facet = Facet::from_number(reader.byte()?)?;
    let name = whole.slice_ref(reader.block()?);
    facet.check_name(&name)?;
    match tag {
        PUT => {
            let value = whole.slice_ref(reader.block()?);
            facet.check_value(&value)?;
            Ok(Change::Put { key, facet, name, value, seen: read_seen(reader)? })
        }
        REMOVE => Ok(Change::Remove { key, facet, name, seen: read_seen(reader)? }),
        ADD => {
            let (first, before) = (reader.varint()?, reader.varint()?);
            let (amount, total) = (read_amount(reader)?, read_amount(reader)?);
            Ok(Change::Add { key, facet, name, addition: Addition { first, before, amount, total } })
        }
        _ => Err(Malformed("a change of an unknown kind")),
    }
}

fn read_seen(reader: &mut Reader<'_>) -> Result<Vec<Seen>, Malformed> {
    let mut seen = Vec::new();
    for _ in 0..reader.varint()? {
        seen.push(Seen { origin: reader.varint()?, last: reader.varint()?, total: read_amount(reader)? });
    }
    Ok(seen)
}
