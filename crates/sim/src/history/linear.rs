//! Is there an order of these operations that fits both real time and a model? The search of Wing and Gong ("Testing
//! and verifying concurrent objects", 1993) with the memory of Lowe ("Testing for linearizability", 2017).

use std::collections::BTreeSet;

use super::Interval;

/// A sequential object.
pub trait Model {
    /// What it holds.
    type State: Clone + Ord;
    /// What was done to it and what was answered.
    type Operation;
    /// What it holds at first.
    fn initial(&self) -> Self::State;
    /// Every state that `operation`, if it takes effect in `state`, may lead to; none if its answer does not fit.
    fn step(&self, state: &Self::State, operation: &Self::Operation, interval: &Interval)
    -> Vec<Self::State>;
}

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is such an order.
    Linearizable,
    /// There is none; the search could place this many of the closed operations at best, and this one not after them.
    Impossible { placed: usize, stuck_at: usize },
    /// The search was given up.
    Undecided,
}

/// Searches for an order. Operations without an end may be left out; all others must be placed.
pub fn search<M: Model>(model: &M, operations: &[(Interval, M::Operation)], limit: usize) -> Verdict {
    let mut order: Vec<usize> = (0..operations.len()).collect();
    order.sort_by_key(|&index| operations[index].0.invoked);
    let closed = operations.iter().filter(|(interval, _)| interval.is_closed()).count();
    let mut search = Search { model, operations, order, seen: BTreeSet::new(), limit, best: 0, stuck_at: 0 };
    let done = Done { bits: vec![0; operations.len().div_ceil(64)], closed: 0 };
    let mut stack = vec![(done, model.initial())];
    while let Some((done, state)) = stack.pop() {
        let (done, state) = search.take_what_changes_nothing(done, state);
        if done.closed == closed {
            return Verdict::Linearizable;
        }
        if !search.seen.insert((done.bits.clone(), state.clone())) {
            continue;
        }
        if search.seen.len() > limit {
            return Verdict::Undecided;
        }
        search.push_candidates(&done, &state, &mut stack);
    }
    Verdict::Impossible { placed: search.best, stuck_at: search.stuck_at }
}

/// Which operations have been placed.
#[derive(Clone)]
struct Done {
    bits: Vec<u64>,
    closed: usize,
}

impl Done {
    fn has(&self, index: usize) -> bool {
        self.bits[index / 64] & (1 << (index % 64)) != 0
    }

    fn with(&self, index: usize, closed: bool) -> Done {
        let mut next = self.clone();
        next.bits[index / 64] |= 1 << (index % 64);
        next.closed += usize::from(closed);
        next
    }
}

struct Search<'a, M: Model> {
    model: &'a M,
    operations: &'a [(Interval, M::Operation)],
    order: Vec<usize>,
    seen: BTreeSet<(Vec<u64>, M::State)>,
    limit: usize,
    best: usize,
    stuck_at: usize,
}

impl<M: Model> Search<'_, M> {
    /// The operations that may come next: those that no other unplaced one ended before.
    fn candidates(&self, done: &Done) -> Vec<usize> {
        let mut earliest_end = u64::MAX;
        let mut candidates = Vec::new();
        for &index in self.order.iter().filter(|&&index| !done.has(index)) {
            let interval = &self.operations[index].0;
            if interval.invoked > earliest_end {
                break;
            }
            earliest_end = earliest_end.min(interval.returned);
            candidates.push(index);
        }
        candidates
    }

    /// A closed operation that fits and leaves the state as it is can be placed at once: it can stand in no one's way.
    fn take_what_changes_nothing(&self, mut done: Done, state: M::State) -> (Done, M::State) {
        loop {
            let next = self.candidates(&done).into_iter().find(|&index| {
                let (interval, operation) = &self.operations[index];
                interval.is_closed() && self.model.step(&state, operation, interval) == [state.clone()]
            });
            match next {
                Some(index) => done = done.with(index, true),
                None => return (done, state),
            }
        }
    }

    fn push_candidates(&mut self, done: &Done, state: &M::State, stack: &mut Vec<(Done, M::State)>) {
        let mut candidates = self.candidates(done);
        if done.closed >= self.best {
            self.best = done.closed;
            let first_to_end = candidates.iter().min_by_key(|&&index| self.operations[index].0.returned);
            self.stuck_at = first_to_end.copied().unwrap_or(0);
        }
        debug_assert!(self.seen.len() <= self.limit);
        // The last one pushed is tried first: the one that ended first is the most likely.
        candidates.sort_by_key(|&index| std::cmp::Reverse(self.operations[index].0.returned));
        for index in candidates {
            let (interval, operation) = &self.operations[index];
            for next in self.model.step(state, operation, interval) {
                if interval.is_closed() || next != *state {
                    stack.push((done.with(index, interval.is_closed()), next));
                }
            }
        }
    }
}
