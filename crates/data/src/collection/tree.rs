//! Many elements: packed runs of some dozens each, found by the name's hash, or by the name where order counts.
//!
//! Three flat arrays say where each run begins, how many elements it has and what they are. They are double-ended, so that a
//! list that grows and shrinks at its ends moves few of them. Counting elements up to a place adds up the counts: a million
//! elements make some thirty thousand runs, whose counts lie in a few hundred cache lines.
//!
//! By hash, a run covers the hashes from its start to that of the next one; within it elements stand as they came.

use std::collections::VecDeque;

use xxhash_rust::xxh3::xxh3_64;

use super::block::{self, Element, Place};

/// A run that is longer is split.
const SPLIT_BYTES: usize = 1536;

/// A run that is shorter is merged with a neighbour, if both together are well below what is split.
const MERGE_BYTES: usize = SPLIT_BYTES / 4;

/// By what elements are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The hash of the name; the order is of no meaning.
    ByHash,
    /// The name.
    ByName,
}

impl Order {
    /// A number that says where a name stands; of names with the same number the name itself decides.
    fn rank(self, name: &[u8]) -> u64 {
        match self {
            Order::ByHash => xxh3_64(name),
            Order::ByName => {
                let mut first = [0; 8];
                let length = name.len().min(first.len());
                first[..length].copy_from_slice(&name[..length]);
                u64::from_be_bytes(first)
            }
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tree {
    order: Order,
    /// At which rank each run begins. By hash the first is 0.
    starts: VecDeque<u64>,
    counts: VecDeque<u32>,
    runs: VecDeque<Vec<u8>>,
    len: usize,
    bytes: usize,
}

impl Tree {
    /// An empty one.
    pub fn new(order: Order) -> Self {
        Tree {
            order,
            starts: VecDeque::from([0]),
            counts: VecDeque::from([0]),
            runs: VecDeque::from([Vec::new()]),
            len: 0,
            bytes: 0,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes in runs.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory held, in bytes, roughly.
    pub fn memory_bytes(&self) -> usize {
        const PER_RUN: usize = size_of::<u64>() + size_of::<u32>() + size_of::<Vec<u8>>();
        self.runs.iter().map(|run| run.capacity() + PER_RUN).sum()
    }

    /// The runs, in order.
    pub fn blocks(&self) -> impl Iterator<Item = &[u8]> {
        self.runs.iter().map(|run| &run[..])
    }

    /// The value of an element.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        block::get(&self.runs[self.find_run(name)], name)
    }

    /// Sets an element. Gives the value before.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        let number = self.find_run(name);
        let place = block::find(&self.runs[number], name, self.order);
        let old = place.is_there().then(|| self.runs[number][place.value..place.end].to_vec());
        let before = self.runs[number].len();
        block::put(&mut self.runs[number], place, &Element { name, value });
        self.bytes = self.bytes + self.runs[number].len() - before;
        if old.is_none() {
            self.counts[number] += 1;
            self.len += 1;
            self.note_start(number);
        }
        if self.runs[number].len() > SPLIT_BYTES {
            self.split(number, place);
        }
        old
    }

    /// Removes an element. Gives its value.
    pub fn remove(&mut self, name: &[u8]) -> Option<Vec<u8>> {
        let number = self.find_run(name);
        let place = block::find(&self.runs[number], name, self.order);
        if !place.is_there() {
            return None;
        }
        let old = self.runs[number][place.value..place.end].to_vec();
        block::take(&mut self.runs[number], place);
        self.bytes -= place.end - place.start;
        self.counts[number] -= 1;
        self.len -= 1;
        self.note_start(number);
        if self.runs[number].len() < MERGE_BYTES {
            self.merge(number);
        }
        Some(old)
    }

    /// How many elements stand before `name`; whether it is there itself does not matter. Of trees in the order of names.
    pub fn rank_of(&self, name: &[u8]) -> usize {
        let number = self.find_run(name);
        let index = block::find(&self.runs[number], name, self.order).index;
        let sum = |counts: &mut dyn Iterator<Item = &u32>| counts.map(|&count| count as usize).sum::<usize>();
        if number > self.runs.len() / 2 {
            return self.len - sum(&mut self.counts.range(number..)) + index;
        }
        sum(&mut self.counts.range(..number)) + index
    }

    /// The element before which so many stand.
    pub fn at(&self, rank: usize) -> Option<Element<'_>> {
        let (number, index) = self.run_at(rank)?;
        block::elements(&self.runs[number]).nth(index)
    }

    /// The elements from the first that stands at or after `name`. Of trees in the order of names.
    pub fn iter_at(&self, name: &[u8]) -> impl Iterator<Item = Element<'_>> {
        let number = self.find_run(name);
        let index = block::find(&self.runs[number], name, self.order).index;
        self.runs.range(number..).flat_map(|run| block::elements(run)).skip(index)
    }

    /// The elements before `name`, from the last to the first. Of trees in the order of names.
    pub fn iter_back_before(&self, name: &[u8]) -> impl Iterator<Item = Element<'_>> {
        let number = self.find_run(name);
        let index = block::find(&self.runs[number], name, self.order).index;
        let skipped = self.counts[number] as usize - index;
        self.runs.range(..=number).rev().flat_map(|run| block::reversed(run)).skip(skipped)
    }

    /// The elements from the one before which so many stand.
    pub fn iter_from(&self, rank: usize) -> impl Iterator<Item = Element<'_>> {
        let (number, index) = self.run_at(rank).unwrap_or((self.runs.len(), 0));
        self.runs.range(number..).flat_map(|run| block::elements(run)).skip(index)
    }

    /// The elements before which at most so many stand, from the last to the first.
    pub fn iter_back_from(&self, rank: usize) -> impl Iterator<Item = Element<'_>> {
        let rank = rank.min(self.len.wrapping_sub(1));
        let (number, index) = self.run_at(rank).unwrap_or((0, 0));
        let skipped = (self.counts[number] as usize).saturating_sub(index + 1);
        self.runs.range(..=number).rev().flat_map(|run| block::reversed(run)).skip(skipped)
    }

    /// The elements of the run in which `rank` lies (by hash), and where the next one begins; `None` at the end.
    pub fn run_from(&self, rank: u64) -> (impl Iterator<Item = Element<'_>>, Option<u64>) {
        let number = self.starts.partition_point(|&start| start <= rank).saturating_sub(1);
        (block::elements(&self.runs[number]), self.starts.get(number + 1).copied())
    }

    /// The number of the run in which an element of this name stands, or would.
    fn find_run(&self, name: &[u8]) -> usize {
        let rank = self.order.rank(name);
        let end = self.starts.partition_point(|&start| start <= rank);
        let last = end.saturating_sub(1);
        if self.order == Order::ByHash || self.starts.get(last) != Some(&rank) {
            return last;
        }
        // Several runs may begin at this rank: that of a run is only the beginning of its first name.
        let (mut low, mut high) = (self.starts.partition_point(|&start| start < rank), end);
        while low < high {
            let middle = low.midpoint(high);
            let first = block::elements(&self.runs[middle]).next();
            if first.is_some_and(|element| element.name <= name) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.saturating_sub(1)
    }

    /// The run that holds the element of this rank, and its index there. Counts from the nearer end.
    fn run_at(&self, rank: usize) -> Option<(usize, usize)> {
        if rank >= self.len {
            return None;
        }
        if rank > self.len / 2 {
            let mut behind = self.len - 1 - rank;
            for (number, &count) in self.counts.iter().enumerate().rev() {
                match behind.checked_sub(count as usize) {
                    Some(rest) => behind = rest,
                    None => return Some((number, count as usize - 1 - behind)),
                }
            }
            return None;
        }
        let mut left = rank;
        for (number, &count) in self.counts.iter().enumerate() {
            match left.checked_sub(count as usize) {
                Some(rest) => left = rest,
                None => return Some((number, left)),
            }
        }
        None
    }

    /// By name, a run begins with its first element.
    fn note_start(&mut self, number: usize) {
        if self.order == Order::ByName {
            let first = block::elements(&self.runs[number]).next();
            self.starts[number] = first.map_or(0, |element| self.order.rank(element.name));
        }
    }

    /// Splits a run that has become too long; `changed` is where an element was put last.
    fn split(&mut self, number: usize, changed: Place) {
        if self.counts[number] < 2 {
            return;
        }
        let (upper, start) = match self.order {
            Order::ByName => self.cut(number, changed),
            Order::ByHash => self.sift(number),
        };
        if upper.is_empty() {
            return;
        }
        let count = block::elements(&upper).count() as u32;
        self.counts[number] -= count;
        self.starts.insert(number + 1, start);
        self.counts.insert(number + 1, count);
        self.runs.insert(number + 1, upper);
        self.runs[number].shrink_to_fit();
        self.note_start(number + 1);
    }

    /// Cuts a run in order: in the middle, or at the end that is being pushed to, so that runs become full.
    fn cut(&mut self, number: usize, changed: Place) -> (Vec<u8>, u64) {
        let run = &self.runs[number];
        let lengths: Vec<usize> = block::elements(run).map(|element| element.encoded_bytes()).collect();
        let at = if changed.index + 1 == lengths.len() && number + 1 == self.runs.len() {
            run.len() - lengths[lengths.len() - 1]
        } else if changed.index == 0 && number == 0 {
            lengths[0]
        } else {
            let mut at = lengths[0];
            for length in &lengths[1..lengths.len() - 1] {
                if at + length > run.len() / 2 {
                    break;
                }
                at += length;
            }
            at
        };
        (self.runs[number].split_off(at), 0)
    }

    /// Takes the elements with the greater hashes out of a run.
    fn sift(&mut self, number: usize) -> (Vec<u8>, u64) {
        let run = std::mem::take(&mut self.runs[number]);
        let mut ranks: Vec<u64> =
            block::elements(&run).map(|element| self.order.rank(element.name)).collect();
        let ranked = ranks.clone();
        ranks.sort_unstable();
        let middle = ranks.len() / 2;
        // The first rank at or after the middle one that is not that of the element before.
        let cut = (middle.max(1)..ranks.len()).find(|&index| ranks[index] != ranks[index - 1]);
        let cut = cut.or_else(|| (1..middle).rev().find(|&index| ranks[index] != ranks[index - 1]));
        let Some(start) = cut.map(|index| ranks[index]) else {
            self.runs[number] = run;
            return (Vec::new(), 0);
        };
        let (mut lower, mut upper) = (Vec::new(), Vec::new());
        for (piece, rank) in block::pieces(&run).zip(ranked) {
            if rank < start { &mut lower } else { &mut upper }.extend_from_slice(piece);
        }
        self.runs[number] = lower;
        (upper, start)
    }

    /// Merges a run that has become short with a neighbour.
    fn merge(&mut self, number: usize) {
        if self.runs.len() == 1 {
            return;
        }
        let fits = |lower: usize| self.runs[lower].len() + self.runs[lower + 1].len() <= SPLIT_BYTES / 2;
        let lower = match number.checked_sub(1) {
            Some(before) if fits(before) => before,
            _ if number + 1 < self.runs.len() && fits(number) => number,
            _ if self.runs[number].is_empty() => number.saturating_sub(1),
            _ => return,
        };
        let upper = self.runs.remove(lower + 1).unwrap_or_default();
        let count = self.counts.remove(lower + 1).unwrap_or_default();
        self.starts.remove(lower + 1);
        self.runs[lower].extend_from_slice(&upper);
        self.counts[lower] += count;
        self.note_start(lower);
    }
}

#[cfg(test)]
impl Tree {
    /// How many runs there are.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }
}
