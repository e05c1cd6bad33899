//! Configurations that were seen: nothing good can come of seeing one again.
//!
//! A configuration is the set of definite operations that were placed, the set of optional ones that were used, and the
//! state. One that used *more* optional operations than another, all else equal, can do nothing that the other cannot.
//! So of each pair of definite set and state only the smallest sets of used operations are kept, and whatever includes
//! one of them is pruned. This is what keeps hundreds of unknown outcomes from doubling the work with each of them.

use std::hash::Hash;

use hashbrown::hash_map::Entry;

use crate::map::{Map, mix};

/// Identifies a set of definite operations: the exclusive or of one 128-bit number for each of them, so that adding and
/// removing one costs the same however many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct SetHash([u64; 2]);

impl SetHash {
    /// Adds an operation that is not in the set, or removes one that is.
    pub fn toggle(&mut self, operation: usize) {
        let word = operation as u64;
        self.0[0] ^= mix(word);
        self.0[1] ^= mix(word ^ 0x5bd1_e995_0000_0000);
    }
}

/// A set of optional operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Used(Vec<u64>);

impl Used {
    pub fn contains(&self, operation: usize) -> bool {
        self.0.get(operation / 64).is_some_and(|word| word & (1 << (operation % 64)) != 0)
    }

    pub fn insert(&mut self, operation: usize) {
        let word = operation / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (operation % 64);
    }

    pub fn remove(&mut self, operation: usize) {
        if let Some(word) = self.0.get_mut(operation / 64) {
            *word &= !(1 << (operation % 64));
        }
        // Without trailing zeros, so that equal sets are equal and small sets are short.
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn is_subset(&self, other: &Used) -> bool {
        self.0.len() <= other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| a & !b == 0)
    }
}

/// Sets of which none includes another. Nearly always there is one, and it is empty: that costs no allocation.
struct Smallest {
    first: Used,
    others: Vec<Used>,
}

impl Smallest {
    /// Adds a set and drops those that include it; `false` where it includes one itself.
    fn insert(&mut self, used: &Used) -> bool {
        if self.first.is_subset(used) || self.others.iter().any(|seen| seen.is_subset(used)) {
            return false;
        }
        self.others.retain(|seen| !used.is_subset(seen));
        if used.is_subset(&self.first) {
            self.first = used.clone();
        } else {
            self.others.push(used.clone());
        }
        true
    }
}

/// The configurations that were seen.
pub(super) struct Memo<S> {
    seen: Map<(SetHash, S), Smallest>,
    bytes: usize,
}

impl<S: Eq + Hash> Memo<S> {
    pub fn new() -> Self {
        Memo { seen: Map::default(), bytes: 0 }
    }

    /// Notes a configuration; `false` where it or a better one was seen before.
    pub fn insert(&mut self, placed: SetHash, state: S, used: &Used) -> bool {
        // What a full table and its reserve cost for each entry, about.
        let entry_bytes = 2 * size_of::<((SetHash, S), Smallest)>();
        match self.seen.entry((placed, state)) {
            Entry::Occupied(mut seen) => {
                if !seen.get_mut().insert(used) {
                    return false;
                }
            }
            Entry::Vacant(place) => {
                place.insert(Smallest { first: used.clone(), others: Vec::new() });
                self.bytes += entry_bytes;
            }
        }
        // Two words of bookkeeping for each allocation. Memory of sets that were dropped stays counted: they are few.
        self.bytes += size_of::<Used>() + 8 * (used.0.len() + 2);
        true
    }

    /// About how much memory it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The states in which exactly the operations of one of the sets had been placed.
    pub fn states(&self, sets: &[SetHash]) -> impl Iterator<Item = &S> {
        let sets: Map<SetHash, ()> = sets.iter().map(|set| (*set, ())).collect();
        self.seen.keys().filter(move |(set, _)| sets.contains_key(set)).map(|(_, state)| state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(operations: &[usize]) -> Used {
        let mut used = Used::default();
        operations.iter().for_each(|&operation| used.insert(operation));
        used
    }

    #[test]
    fn only_the_smallest_sets_count() {
        let mut memo = Memo::new();
        let mut insert = |operations: &[usize]| memo.insert(SetHash::default(), 0, &used(operations));
        assert!(insert(&[1, 70]));
        assert!(!insert(&[1, 70]));
        assert!(!insert(&[1, 2, 70]));
        assert!(insert(&[2]));
        assert!(insert(&[70]));
        assert!(!insert(&[1, 70, 200]));
        assert!(insert(&[]));
        assert!(!insert(&[2]));
    }

    #[test]
    fn used_forgets_what_is_removed() {
        let mut set = used(&[3, 130]);
        set.remove(130);
        assert_eq!(set, used(&[3]));
        set.remove(3);
        assert_eq!(set, Used::default());
        assert!(!set.contains(3));
    }
}
