//! What is going to happen, in order of (virtual time, sequence number): ties are settled by who was first put in.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::clock::TrueTime;

/// A queue of things to come.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Item<E>>,
    sequence: u64,
}

#[derive(Debug)]
struct Item<E> {
    at: TrueTime,
    sequence: u64,
    event: E,
}

impl<E> Item<E> {
    fn key(&self) -> (TrueTime, u64) {
        (self.at, self.sequence)
    }
}

impl<E> PartialEq for Item<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Item<E> {}

impl<E> PartialOrd for Item<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Item<E> {
    /// Reversed, so that the heap gives out the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue { heap: BinaryHeap::new(), sequence: 0 }
    }
}

impl<E> Queue<E> {
    /// `event` happens at `at`.
    pub fn push(&mut self, at: TrueTime, event: E) {
        self.sequence += 1;
        self.heap.push(Item { at, sequence: self.sequence, event });
    }

    /// What happens next.
    pub fn pop(&mut self) -> Option<(TrueTime, E)> {
        self.heap.pop().map(|item| (item.at, item.event))
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;

    #[test]
    fn events_come_out_by_time_and_then_in_the_order_they_went_in() {
        let mut queue = Queue::default();
        for (at, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            queue.push(at, event);
        }
        let order: String = std::iter::from_fn(|| queue.pop()).map(|(_, event)| event).collect();
        assert_eq!(order, "abcd");
    }
}
