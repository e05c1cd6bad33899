//! What is going to happen, in order of (virtual time, sequence number): ties are settled by who was first put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::TrueTime;

/// A queue of things to come. The heap holds only their times; what happens lies still until then.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<(TrueTime, u64, u32)>>,
    sequence: u64,
    events: Vec<Option<E>>,
    free: Vec<u32>,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue { heap: BinaryHeap::new(), sequence: 0, events: Vec::new(), free: Vec::new() }
    }
}

impl<E> Queue<E> {
    /// `event` happens at `at`.
    pub fn push(&mut self, at: TrueTime, event: E) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() as u32 - 1
        });
        self.events[place as usize] = Some(event);
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence, place)));
    }

    /// What happens next.
    pub fn pop(&mut self) -> Option<(TrueTime, E)> {
        let Reverse((at, _, place)) = self.heap.pop()?;
        self.free.push(place);
        Some((at, self.events[place as usize].take()?))
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
