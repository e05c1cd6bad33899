//! Values made of elements: hashes, lists, sets and sorted sets.
//!
//! An element is a name and a value, whatever the type; commands know these alone, so what is pending, logged, sent and
//! digested is the same for all:
//!
//! | type | name | value |
//! |---|---|---|
//! | hash | the field | its value |
//! | set | the member | nothing |
//! | sorted set | the member | its score (see [`score`]) |
//! | list | where it stands (see [`position`]) | what stands there |
//!
//! A change sets or removes one element by its name, so it is absolute: applied again to a later state, and followed by those
//! that followed it, it ends in the same state. That is why an element of a list is named by a position which it keeps, and not
//! by an index.
//!
//! A short value is one packed run of elements ([`block`]), in the order in which they came (that of a list: by name). A long one is
//! a [`Tree`] of such runs, by the hash of the name, or by the name for lists; a long sorted set has a second tree by score.
//! Content is the same bytes either way, in memory and in snapshots; digests do not depend on the order of a hash or a set.
//!
//! Where to read next: `block`, `tree`, then `view::collection` (elements with writes under way over them).

pub(crate) mod block;
pub(crate) mod position;
pub(crate) mod score;
mod tree;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

pub(crate) use block::Element;
pub(crate) use tree::{Order, Tree};

use crate::table::{Digest, Malformed};

/// A type made of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Fields with values.
    Hash = 1,
    /// Members.
    Set = 2,
    /// Values in an order.
    List = 3,
    /// Members in the order of their scores.
    SortedSet = 4,
}

impl Kind {
    /// The kind with this number in formats.
    ///
    /// # Errors
    /// There is none.
    pub fn from_number(number: u8) -> Result<Kind, Malformed> {
        match number {
            1 => Ok(Kind::Hash),
            2 => Ok(Kind::Set),
            3 => Ok(Kind::List),
            4 => Ok(Kind::SortedSet),
            _ => Err(Malformed("an unknown type of value")),
        }
    }

    /// The name that `TYPE` gives.
    pub fn type_name(self) -> &'static str {
        match self {
            Kind::Hash => "hash",
            Kind::Set => "set",
            Kind::List => "list",
            Kind::SortedSet => "zset",
        }
    }

    /// How the elements are kept.
    pub(crate) fn order(self) -> Order {
        match self {
            Kind::List => Order::ByName,
            Kind::Hash | Kind::Set | Kind::SortedSet => Order::ByHash,
        }
    }

    /// Is this an element that a value of this kind can have?
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn check_element(self, element: &Element<'_>) -> Result<(), Malformed> {
        let fits = match self {
            Kind::Hash => true,
            Kind::Set => element.value.is_empty(),
            Kind::List => position::is_position(element.name),
            Kind::SortedSet => score::is_score(element.value),
        };
        if fits { Ok(()) } else { Err(Malformed("an element that its type cannot have")) }
    }

    /// Are these the packed elements of a value of this kind?
    ///
    /// # Errors
    /// They are not.
    pub(crate) fn check_content(self, content: &[u8]) -> Result<(), Malformed> {
        let elements = block::checked(content)?;
        elements.iter().try_for_each(|element| self.check_element(element))?;
        self.check_names(&elements)
    }

    /// Are their names in the order that this kind has, each once?
    ///
    /// # Errors
    /// They are not.
    pub(crate) fn check_names(self, elements: &[Element<'_>]) -> Result<(), Malformed> {
        let mut names: Vec<_> = elements.iter().map(|element| element.name).collect();
        if self.order() == Order::ByHash {
            names.sort_unstable();
        }
        match names.is_sorted_by(|one, next| one < next) {
            true => Ok(()),
            false => Err(Malformed("elements out of order, or twice")),
        }
    }
}

/// An end of what has an order: a list, or a sorted set by score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The first element; that with the lowest score.
    First,
    /// The last element; that with the highest score.
    Last,
}

/// The elements of a value, packed or in a tree.
#[derive(Clone, Copy, Debug)]
pub struct CollectionRef<'a> {
    /// Of which type.
    pub kind: Kind,
    pub(crate) content: Content<'a>,
}

/// How they are held.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    Packed(&'a [u8]),
    Tree(&'a Collection),
}

impl<'a> CollectionRef<'a> {
    /// Of a packed run of elements.
    pub(crate) fn packed(kind: Kind, content: &'a [u8]) -> Self {
        CollectionRef { kind, content: Content::Packed(content) }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match self.content {
            Content::Packed(bytes) => block::elements(bytes).count(),
            Content::Tree(collection) => collection.elements.len(),
        }
    }

    /// Are there none? (Only for a moment, while a log is applied to a later snapshot.)
    pub fn is_empty(&self) -> bool {
        match self.content {
            Content::Packed(bytes) => bytes.is_empty(),
            Content::Tree(collection) => collection.elements.len() == 0,
        }
    }

    /// The bytes of its content.
    pub fn bytes(&self) -> usize {
        match self.content {
            Content::Packed(bytes) => bytes.len(),
            Content::Tree(collection) => collection.bytes(),
        }
    }

    /// The value of the element with this name.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        match self.content {
            Content::Packed(bytes) => block::get(bytes, name),
            Content::Tree(collection) => collection.elements.get(name),
        }
    }

    /// All elements: those of a list in order, others in any.
    pub(crate) fn elements(&self) -> Box<dyn Iterator<Item = Element<'a>> + 'a> {
        match self.content {
            Content::Packed(bytes) => Box::new(block::elements(bytes)),
            Content::Tree(collection) => Box::new(collection.elements.iter_from(0)),
        }
    }

    /// The elements as bytes: what a mutation or a snapshot holds.
    pub(crate) fn write_content(&self, out: &mut impl bytes::BufMut) {
        match self.content {
            Content::Packed(bytes) => out.put_slice(bytes),
            Content::Tree(collection) => collection.elements.blocks().for_each(|bytes| out.put_slice(bytes)),
        }
    }

    /// The sum of what the elements add to the digest of the table, under this key.
    pub(crate) fn elements_digest(&self, key: &[u8]) -> Digest {
        match self.content {
            Content::Packed(bytes) => digest_of_packed(digest_seed(key), bytes),
            Content::Tree(collection) => collection.digest,
        }
    }
}

impl PartialEq for CollectionRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        let sorted = |of: &Self| {
            let mut elements: Vec<_> = of.elements().map(|element| (element.name, element.value)).collect();
            elements.sort_unstable();
            elements
        };
        self.kind == other.kind && sorted(self) == sorted(other)
    }
}

impl Eq for CollectionRef<'_> {}

/// What the digests of a key's elements begin from, so that equal elements of different keys differ.
fn digest_seed(key: &[u8]) -> u64 {
    xxh3_64(key)
}

fn digest_of_packed(seed: u64, bytes: &[u8]) -> Digest {
    block::pieces(bytes).fold(0, |sum: Digest, piece| sum.wrapping_add(xxh3_128_with_seed(piece, seed)))
}

/// A long value: its elements in a tree, and what is kept up to date over them.
#[derive(Debug)]
pub(crate) struct Collection {
    kind: Kind,
    elements: Tree,
    /// Of a sorted set: the members by score (see [`score::rank_name`]).
    by_score: Option<Tree>,
    seed: u64,
    digest: Digest,
}

impl Collection {
    /// Of the elements in `content`, in the value of `key`.
    pub fn new(key: &[u8], kind: Kind, content: CollectionRef<'_>) -> Self {
        let by_score = (kind == Kind::SortedSet).then(|| Tree::new(Order::ByName));
        let mut collection = Collection {
            kind,
            elements: Tree::new(kind.order()),
            by_score,
            seed: digest_seed(key),
            digest: 0,
        };
        for element in content.elements() {
            collection.set(element.name, element.value);
        }
        collection
    }

    pub fn as_ref(&self) -> CollectionRef<'_> {
        CollectionRef { kind: self.kind, content: Content::Tree(self) }
    }

    /// The bytes of the elements, packed.
    pub fn bytes(&self) -> usize {
        self.elements.bytes()
    }

    /// The element has this value from now on.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        let old = self.elements.set(name, value);
        if let Some(by_score) = &mut self.by_score {
            if let Some(old) = &old {
                by_score.remove(&score::rank_name(score::of_value(old), name));
            }
            by_score.set(&score::rank_name(score::of_value(value), name), b"");
        }
        if let Some(old) = old {
            self.digest = self.digest.wrapping_sub(self.element_digest(name, &old));
        }
        self.digest = self.digest.wrapping_add(self.element_digest(name, value));
    }

    /// The element is gone.
    pub fn remove(&mut self, name: &[u8]) {
        let Some(old) = self.elements.remove(name) else { return };
        if let Some(by_score) = &mut self.by_score {
            by_score.remove(&score::rank_name(score::of_value(&old), name));
        }
        self.digest = self.digest.wrapping_sub(self.element_digest(name, &old));
    }

    pub fn elements(&self) -> &Tree {
        &self.elements
    }

    /// The members by score, of a sorted set.
    pub fn by_score(&self) -> Option<&Tree> {
        self.by_score.as_ref()
    }

    /// Memory held, in bytes, roughly.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.elements.memory_bytes()
            + self.by_score.as_ref().map_or(0, Tree::memory_bytes)
    }

    fn element_digest(&self, name: &[u8], value: &[u8]) -> Digest {
        let mut piece = Vec::with_capacity(Element { name, value }.encoded_bytes());
        Element { name, value }.write(&mut piece);
        xxh3_128_with_seed(&piece, self.seed)
    }
}

#[cfg(test)]
mod tests;
