//! The leaves of a table in the order of their positions: two flat arrays, searched by halving. A table of a million keys has
//! some thousands of leaves, so the positions that a search looks at stay in the cache, where nodes of a tree would not.

use crate::table::Position;
use crate::table::leaf::Leaf;

/// All leaves; the first begins at position 0 and always stands.
#[derive(Debug)]
pub(super) struct Directory {
    /// Where each leaf begins: it covers everything up to where the next one does.
    starts: Vec<Position>,
    // Boxed, so that a split moves a pointer for each leaf after it and not the leaf.
    #[allow(clippy::vec_box)]
    leaves: Vec<Box<Leaf>>,
}

impl Directory {
    /// One empty leaf that covers everything.
    pub fn new() -> Directory {
        Directory { starts: vec![0], leaves: vec![Box::default()] }
    }

    /// How many leaves there are.
    pub fn len(&self) -> usize {
        self.leaves.len()
    }

    /// The number of the leaf that covers `position`.
    pub fn find(&self, position: Position) -> usize {
        self.starts.partition_point(|&start| start <= position) - 1
    }

    pub fn leaf(&self, number: usize) -> &Leaf {
        &self.leaves[number]
    }

    pub fn leaf_mut(&mut self, number: usize) -> &mut Leaf {
        &mut self.leaves[number]
    }

    /// The leaves from this one on, in order.
    pub fn from(&self, number: usize) -> impl Iterator<Item = &Leaf> {
        self.leaves[number..].iter().map(|leaf| &**leaf)
    }

    /// Splits a leaf that has become too big.
    pub fn split_if_big(&mut self, number: usize) {
        if self.leaves[number].wants_split() {
            let upper = self.leaves[number].split();
            self.starts.insert(number + 1, upper.position(0));
            self.leaves.insert(number + 1, Box::new(upper));
        }
    }

    /// Gives everything at or after `position` away.
    pub fn split_off(&mut self, position: Position) -> Directory {
        let number = self.find(position);
        let index = self.leaves[number].lower_bound(position);
        let first = self.leaves[number].split_off(index);
        let mut starts = vec![0];
        let mut leaves = vec![Box::new(first)];
        starts.extend(self.starts.drain(number + 1..));
        leaves.extend(self.leaves.drain(number + 1..));
        Directory { starts, leaves }
    }

    /// Merges a leaf that has become small with a neighbour, if together they are well below what would be split.
    pub fn merge_if_small(&mut self, number: usize) {
        if self.leaves[number].is_small() {
            self.merge_with_next(number);
            if let Some(before) = number.checked_sub(1) {
                self.merge_with_next(before);
            }
        }
    }

    fn merge_with_next(&mut self, number: usize) {
        let next = number + 1;
        if next < self.len() && self.leaves[number].wants_merge(&self.leaves[next]) {
            self.starts.remove(next);
            let upper = self.leaves.remove(next);
            self.leaves[number].merge(*upper);
        }
    }
}
