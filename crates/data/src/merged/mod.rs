//! Values that replicas change at the same time and that come out the same everywhere: the state behind `multi-primary`.
//!
//! A replica makes a [`Change`](change::Change) of what a command does: it names the mutation by a [`Dot`], its place among those of the replica
//! that made it (the *origin*), and says what that replica had applied before, as a [`VersionVector`]. Replicas apply a mutation once, after all
//! that it depends on (causal delivery, Birman, Schiper and Stephenson 1991). Mutations that do not depend on one another come in
//! any order, and [`MergedTable::apply`] ends in the same state for all of them.
//!
//! What a key holds is a set of *elements*, as in [`collection`](crate::collection), here with a kind and a name: the string itself, a field, a
//! member, a place in a list, the expiry. An [`Element`](element::Element) is
//!
//! - *versions*: what was put there, each with its dot. Whoever puts something, or removes the element, names the versions that it
//!   had seen by its vector; those go, and others stay. So what is written at the same time as a removal stays (add wins), versions
//!   that were written at the same time stay beside one another (an optimized observed-remove set, Bieniusa et al. 2012; a
//!   multi-value register), and of what is removed nothing is left: that a dot is covered by the vector and not there says that it was removed.
//!   Where one value is asked for it is that of the latest hybrid time; the others are its siblings.
//! - *parts*: what each origin has added (`INCR`). The sum is the value of the latest version and all parts. Who puts or removes says how
//!   much of each part it had seen, and that much is taken off, whatever was added meanwhile. ([`element`] says how.)
//!
//! So each type is two lines of this: a set is elements without value, a hash is elements with one, a list names them by position.
//!
//! Where to read next: `element` (the join), `change` (a mutation as bytes), `apply`; the laws are in `tests`.

mod apply;
pub mod bounded;
pub mod change;
mod conflicts;
pub mod element;
mod fold;
mod prepare;
mod table;
mod vector;
pub(crate) mod view;

pub use change::{Change, Merge};
pub use conflicts::{Conflict, Conflicts};
pub use element::{Addition, Element, HybridTime, Part, Seen, Version};
pub use fold::{Ambiguous, Fold, Step, resolve};
pub use prepare::{Prepared, clearing};
pub use table::MergedTable;
pub use vector::{Dot, VersionVector};

use crate::collection::{position, score};
use crate::table::Malformed;

/// What an element is of. A key that has elements of several types, since they were written at the same time, shows those of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Facet {
    /// The string in a key. It has no name.
    String = 0,
    /// A field of a hash.
    Hash = 1,
    /// A member of a set.
    Set = 2,
    /// A place in a list.
    List = 3,
    /// A member of a sorted set.
    SortedSet = 4,
    /// When the key ends, as eight bytes, the lowest first. It has no name. Of several the latest counts; `u64::MAX`: never.
    Expiry = 5,
    /// What an origin, the name of the element, was given of the rights to take from a counter ([`bounded`]).
    Rights = 6,
}

impl Facet {
    /// All of them, in the order of their numbers.
    pub const ALL: [Facet; 7] =
        [Facet::String, Facet::Hash, Facet::Set, Facet::List, Facet::SortedSet, Facet::Expiry, Facet::Rights];
    /// Those that a key shows as its type.
    pub(crate) const SHOWN: [Facet; 5] =
        [Facet::String, Facet::Hash, Facet::Set, Facet::List, Facet::SortedSet];

    /// Can an element have this name?
    ///
    /// # Errors
    /// It cannot.
    pub(crate) fn check_name(self, name: &[u8]) -> Result<(), Malformed> {
        let fits = match self {
            Facet::String | Facet::Expiry => name.is_empty(),
            Facet::List => position::is_position(name),
            Facet::Hash | Facet::Set | Facet::SortedSet => true,
            Facet::Rights => name.len() == size_of::<u64>(),
        };
        if fits { Ok(()) } else { Err(Malformed("an element of a name that its kind cannot have")) }
    }

    /// Can an element be put with this value?
    ///
    /// # Errors
    /// It cannot.
    pub(crate) fn check_value(self, value: &[u8]) -> Result<(), Malformed> {
        let fits = match self {
            Facet::String | Facet::Hash | Facet::List => true,
            Facet::Set => value.is_empty(),
            Facet::SortedSet => score::is_score(value),
            Facet::Expiry => value.len() == size_of::<u64>(),
            Facet::Rights => false,
        };
        if fits { Ok(()) } else { Err(Malformed("an element with a value that its kind cannot have")) }
    }

    /// The one of that number.
    ///
    /// # Errors
    /// There is none.
    pub fn from_number(number: u8) -> Result<Facet, Malformed> {
        Facet::ALL.get(usize::from(number)).copied().ok_or(Malformed("an element of an unknown kind"))
    }
}

#[cfg(test)]
mod tests;
