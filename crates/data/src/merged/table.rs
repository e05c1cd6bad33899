//! The state of a keyspace whose changes merge: a table for each facet, so that a collection counts, finds and orders its elements as
//! it does elsewhere, with the bytes of an [`Element`] in place of a value.
//!
//! Of a member of a sorted set the score that is shown stands before them. The expiry of a key is in the table of expiries, whose
//! entries end when their keys do.

use bytes::{Bytes, BytesMut};

use super::element::{self, Context, Element, HybridTime, Version};
use super::view::value_of;
use super::{Change, Conflicts, Dot, Facet};
use crate::collection::{CollectionRef, Content, Kind, block, score};
use crate::entry::{Entry, ValueRef};
use crate::table::{Digest, Malformed, Position, Table, first_position, position_of, slot_of};

/// The expiry of a key that never ends.
pub(crate) const NEVER: u64 = u64::MAX;

/// See [`MergedTable::digest_of`].
const LARGEST_IN_RANGE: usize = 10_000;

fn elements_in(entry: &Entry<'_>) -> usize {
    match entry.value {
        ValueRef::String(_) => 1,
        ValueRef::Collection(collection) => collection.len(),
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct MergedTable {
    /// By facet.
    tables: [Table; Facet::ALL.len()],
    /// No part of the state.
    pub(super) conflicts: Conflicts,
}

impl MergedTable {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn of(&self, facet: Facet) -> &Table {
        &self.tables[facet as usize]
    }

    /// Values that lost to others that were written at the same time, as far as they are kept.
    pub fn conflicts(&self) -> &Conflicts {
        &self.conflicts
    }

    /// Takes over what another table has noted, which this one takes the place of.
    pub fn take_conflicts(&mut self, other: &mut MergedTable) {
        self.conflicts = std::mem::take(&mut other.conflicts);
    }

    /// The digest of the state. Replicas that applied the same have the same.
    pub fn digest(&self) -> Digest {
        self.digest_by(Table::digest)
    }

    /// The digest computed from every entry: for tests and for checking the running one.
    pub fn recompute_digest(&self) -> Digest {
        self.digest_by(Table::recompute_digest)
    }

    /// The digest of the keys from one position up to another; `None`: to the end. Without collections of more elements than
    /// [`LARGEST_IN_RANGE`]: they would take too long at once.
    pub fn digest_of(&self, from: Position, to: Option<Position>) -> Digest {
        self.digest_by(|table| {
            let entries = table.entries_from(from).take_while(|(at, _)| to.is_none_or(|to| *at < to));
            let small = entries.filter(|(_, entry)| elements_in(entry) <= LARGEST_IN_RANGE);
            small.fold(0, |sum: Digest, (_, entry)| sum.wrapping_add(entry.digest()))
        })
    }

    /// Where a range of about so many elements ends that begins there; `None`: at the end of all.
    pub fn range_from(&self, from: Position, most: usize) -> Option<Position> {
        let (mut count, mut last) = (0, None);
        for (at, key, _) in self.keys_from(from) {
            // Keys of one position go together.
            if count >= most && last != Some(at) {
                return Some(at);
            }
            let entries = Facet::SHOWN.iter().filter_map(|facet| self.of(*facet).get(key));
            let sizes = entries.map(|entry| elements_in(&entry));
            count += sizes.filter(|size| *size <= LARGEST_IN_RANGE).sum::<usize>().max(1);
            last = Some(at);
        }
        None
    }

    fn digest_by(&self, of: impl Fn(&Table) -> Digest) -> Digest {
        // An odd factor tells equal entries of two facets apart.
        let with_factor = |(place, table): (usize, &Table)| of(table).wrapping_mul(2 * place as Digest + 1);
        self.tables.iter().enumerate().fold(0, |sum: Digest, table| sum.wrapping_add(with_factor(table)))
    }

    /// The number of keys. One that holds several types at the same time counts for each.
    pub fn len(&self) -> usize {
        Facet::SHOWN.iter().map(|facet| self.of(*facet).len()).sum()
    }

    /// Is there no key?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of keys and of what they hold.
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(Table::bytes).sum()
    }

    /// When a key ends, in wall clock milliseconds.
    pub fn expire_at_ms(&self, key: &[u8]) -> Option<u64> {
        let expiries = Some(self.of(Facet::Expiry)).filter(|expiries| !expiries.is_empty());
        expiries?.get(key)?.expire_at_ms
    }

    /// The keys that end.
    pub fn expiring(&self) -> usize {
        self.of(Facet::Expiry).expiring()
    }

    /// The earliest moment at which a key ends.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.of(Facet::Expiry).next_expiry_ms()
    }

    /// The origin that decided last when a key ends.
    pub fn expiry_origin(&self, key: &[u8]) -> Option<u64> {
        let element = self.element(key, Facet::Expiry, b"");
        let latest = element.versions().iter().max_by_key(|version| (deadline(&version.value), version.dot));
        latest.map(|version| version.dot.origin)
    }

    /// Up to `limit` keys that have ended by `now_ms`, earliest first.
    pub fn expired(&self, now_ms: u64, limit: usize) -> Vec<Bytes> {
        self.of(Facet::Expiry).expired(now_ms, limit)
    }

    /// All keys at or after a position, in order, each once; with its expiry.
    pub fn keys_from(&self, position: Position) -> impl Iterator<Item = (Position, &[u8], Option<u64>)> {
        let mut sources: Vec<_> =
            Facet::SHOWN.iter().map(|facet| self.of(*facet).entries_from(position).peekable()).collect();
        std::iter::from_fn(move || {
            let heads =
                sources.iter_mut().filter_map(|source| source.peek().map(|(at, entry)| (*at, entry.key)));
            let (at, key) = heads.min()?;
            for source in &mut sources {
                // Keys of one position stand in any order; one that was given already is given again at the most.
                if source.peek().is_some_and(|(_, entry)| entry.key == key) {
                    source.next();
                }
            }
            Some((at, key, self.expire_at_ms(key)))
        })
    }

    /// An element, as it is here.
    pub fn element(&self, key: &[u8], facet: Facet, name: &[u8]) -> Element {
        let bytes = match self.of(facet).get(key).map(|entry| entry.value) {
            Some(ValueRef::String(bytes)) => Some(bytes),
            Some(ValueRef::Collection(collection)) => collection.get(name).map(|value| facet.bytes_in(value)),
            None => None,
        };
        bytes.map_or_else(Element::default, read)
    }

    /// All elements of a key.
    pub fn elements(&self, key: &[u8]) -> Vec<(Facet, Bytes, Element)> {
        let position = position_of(key);
        let mut all = Vec::new();
        for facet in self.facets_in_use() {
            let of_facet = self.elements_at(position, key, facet);
            all.extend(of_facet.into_iter().map(|(name, element)| (facet, name, element)));
        }
        all
    }

    /// Most keys are of one type, and most keyspaces of few.
    pub(super) fn facets_in_use(&self) -> impl Iterator<Item = Facet> + use<> {
        let is_used = Facet::ALL.map(|facet| !self.of(facet).is_empty());
        Facet::ALL.into_iter().zip(is_used).filter_map(|(facet, is_used)| is_used.then_some(facet))
    }

    /// Puts this version in the place of all that a key has, if that is a string of versions that `covers` speaks of, or nothing. Else it does nothing.
    pub(super) fn set_where(&mut self, key: &[u8], version: &Version, covers: impl Fn(Dot) -> bool) -> bool {
        let position = position_of(key);
        let all_goes = self.is_string_of(position, key, covers);
        if all_goes {
            let mut bytes = Vec::new();
            element::write_alone(version, &mut bytes);
            let entry = Entry { key, value: ValueRef::String(&bytes), expire_at_ms: None };
            self.tables[Facet::String as usize].put_at(position, &entry);
        }
        all_goes
    }

    /// Has a key nothing, or a string alone that was put and not added to?
    pub(super) fn is_plain_string(&self, key: &[u8]) -> bool {
        self.is_string_of(position_of(key), key, |_| true)
    }

    /// Has a key nothing, or a string alone of nothing but versions of which `covers` says so?
    fn is_string_of(&self, position: Position, key: &[u8], covers: impl Fn(Dot) -> bool) -> bool {
        self.facets_in_use().all(|facet| {
            match self.of(facet).get_at(position, key).map(|entry| entry.value) {
                Some(ValueRef::String(bytes)) => {
                    facet == Facet::String && element::is_covered(bytes, &covers)
                }
                Some(ValueRef::Collection(_)) => false,
                None => true,
            }
        })
    }

    /// All elements of one facet of a key, with their names.
    pub fn elements_of(&self, key: &[u8], facet: Facet) -> Vec<(Bytes, Element)> {
        self.elements_at(position_of(key), key, facet)
    }

    pub(super) fn elements_at(&self, position: Position, key: &[u8], facet: Facet) -> Vec<(Bytes, Element)> {
        match self.of(facet).get_at(position, key).map(|entry| entry.value) {
            Some(ValueRef::String(bytes)) => vec![(Bytes::new(), read(bytes))],
            Some(ValueRef::Collection(collection)) => {
                let read = |value| read(facet.bytes_in(value));
                let elements = collection.elements();
                elements.map(|one| (Bytes::copy_from_slice(one.name), read(one.value))).collect()
            }
            None => Vec::new(),
        }
    }

    /// Puts an element in the place of the one before.
    pub(super) fn store(&mut self, key: &[u8], facet: Facet, name: &[u8], element: &Element) {
        let table = &mut self.tables[facet as usize];
        let bytes = facet.bytes_of(element);
        match facet.container() {
            None if element.is_absent() => table.remove(key),
            None => {
                let deadlines = element.versions().iter().map(|version| deadline(&version.value));
                let latest = deadlines.max().filter(|&at_ms| at_ms != NEVER);
                let expire_at_ms = latest.filter(|_| facet == Facet::Expiry);
                table.put(&Entry { key, value: ValueRef::String(&bytes), expire_at_ms });
            }
            Some(kind) if !element.is_absent() => table.change_element(key, kind, name, Some(&bytes)),
            Some(kind) => {
                table.change_element(key, kind, name, None);
                remove_if_empty(table, key);
            }
        }
    }

    /// Changes elements of one facet of a key, which has several, in order. All of them are stored together.
    pub(super) fn change_all<'a>(
        &mut self,
        key: &Bytes,
        facet: Facet,
        kind: Kind,
        changes: impl Iterator<Item = (Context<'a>, HybridTime, &'a Change)> + Clone,
    ) {
        let (table, conflicts) = (&mut self.tables[facet as usize], &mut self.conflicts);
        let names = changes.clone().map(|(.., change)| &change.name()[..]);
        let mut changes = changes;
        table.change_elements(key, kind, names, |before| {
            let mut element = before.map_or_else(Element::default, |value| read(facet.bytes_in(value)));
            if let Some((context, time, change)) = changes.next() {
                element.change(context, time, change);
                conflicts.look(key, facet, change.name(), element.versions(), context.dot);
            }
            (!element.is_absent()).then(|| facet.bytes_of(&element))
        });
        remove_if_empty(table, key);
    }

    /// Appends a part of the state, about so many bytes of it, from `from` on. Returns where the next part begins; `None` at the
    /// end.
    pub fn slice(
        &self,
        from: (Facet, Position),
        max_bytes: usize,
        out: &mut BytesMut,
    ) -> Option<(Facet, Position)> {
        let (facet, position) = from;
        match self.of(facet).slice(position, max_bytes, out) {
            Some(next) => Some((facet, next)),
            None => Some((*Facet::ALL.get(facet as usize + 1)?, 0)),
        }
    }

    /// Loads what [`MergedTable::slice`] wrote of a facet.
    ///
    /// # Errors
    /// The bytes are no such part; nothing was loaded.
    pub fn load(&mut self, facet: Facet, slice: &[u8]) -> Result<(), Malformed> {
        self.tables[facet as usize].load_if(slice, |entry| check(facet, entry))
    }

    /// The memory that a key takes, in bytes, roughly.
    pub(crate) fn memory_bytes(&self, key: &[u8]) -> Option<usize> {
        self.tables.iter().filter_map(|table| table.memory_bytes(key)).reduce(|one, other| one + other)
    }

    /// A key by chance.
    pub(crate) fn key_at_rank(&self, rank: u64) -> Option<(&[u8], Option<u64>)> {
        let mut left = rank.checked_rem(self.len() as u64)?;
        for facet in Facet::SHOWN {
            let table = self.of(facet);
            match left.checked_sub(table.len() as u64) {
                Some(rest) => left = rest,
                None => {
                    return table.entry_at_rank(left).map(|entry| (entry.key, self.expire_at_ms(entry.key)));
                }
            }
        }
        None
    }

    /// The number of keys in `slot`, as [`MergedTable::len`] counts.
    pub fn count_in_slot(&self, slot: u16) -> usize {
        self.keys_from(first_position(slot)).take_while(|(at, ..)| slot_of(*at) == slot).count()
    }
}

impl Facet {
    /// As what the elements of a key are held; `None`: there is only one.
    pub(super) fn container(self) -> Option<Kind> {
        match self {
            Facet::String | Facet::Expiry => None,
            // A set's members have bytes here.
            Facet::Hash | Facet::Set | Facet::Rights => Some(Kind::Hash),
            Facet::List => Some(Kind::List),
            Facet::SortedSet => Some(Kind::SortedSet),
        }
    }

    /// What its container holds of an element.
    fn bytes_of(self, element: &Element) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self == Facet::SortedSet {
            bytes.extend_from_slice(&value_of(self, element).unwrap_or_default());
        }
        element.write(&mut bytes);
        bytes
    }

    /// The bytes of an element in what its container holds.
    fn bytes_in(self, value: &[u8]) -> &[u8] {
        if self == Facet::SortedSet { &value[score::SCORE_BYTES..] } else { value }
    }
}

/// The moment in the value of an expiry.
pub(crate) fn deadline(value: &[u8]) -> u64 {
    value.try_into().map_or(NEVER, u64::from_le_bytes)
}

/// A key goes with its last element.
fn remove_if_empty(table: &mut Table, key: &[u8]) {
    let entry = table.get(key).map(|entry| entry.value);
    if matches!(entry, Some(ValueRef::Collection(collection)) if collection.is_empty()) {
        table.remove(key);
    }
}

fn read(bytes: &[u8]) -> Element {
    Element::read(bytes).expect("the table holds what we wrote")
}

/// Is it an entry of the table of this facet?
fn check(facet: Facet, entry: &Entry<'_>) -> Result<(), Malformed> {
    let element = |bytes: &[u8]| match Element::read(bytes)?.is_absent() {
        true => Err(Malformed("an element that is not there")),
        false => Ok(()),
    };
    match (entry.value, facet.container()) {
        (ValueRef::String(bytes), None) => element(bytes),
        (ValueRef::Collection(CollectionRef { kind, content: Content::Packed(run) }), Some(own))
            if kind == own =>
        {
            let elements = block::checked(run)?;
            for found in &elements {
                facet.check_name(found.name)?;
                if facet == Facet::SortedSet && found.value.len() < score::SCORE_BYTES {
                    return Err(Malformed("a member without a score"));
                }
                element(facet.bytes_in(found.value))?;
            }
            kind.check_names(&elements)
        }
        _ => Err(Malformed("an entry of another facet")),
    }
}
