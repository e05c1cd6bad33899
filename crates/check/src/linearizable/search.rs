//! The search for an order, depth first, without recursion.
//!
//! The events of the definite operations that are not placed yet form a linked list in the order of time. Any operation
//! whose call stands before the first return of the list may be placed next: everything that ended before it was invoked
//! is placed. Placing it takes its call and return out of the list; undoing puts them back. When the list is empty, the
//! order is found. When no operation before the first return leads anywhere, the last placement is undone.
//!
//! Optional operations are not in the list, as they never return. They are tried after the definite ones, because most
//! are never needed, and only where they change the state to one that is of use next. Invariant: `placed`, `used`, `list` and `state` are always
//! those of the operations in `stack`, in its order.

use super::Budget;
use super::memo::{Memo, SetHash, Used};
use super::problem::{Definite, Event, Problem};
use crate::model::Model;

/// What a search found.
pub(super) enum Finding {
    /// There is an order.
    Linearizable,
    /// There is none: no order gets past this event, and some order reaches it.
    Blocked { event: usize },
    /// The budget was not enough.
    Exhausted,
}

/// An operation that may be placed next.
#[derive(Clone, Copy)]
enum Candidate {
    Definite(usize),
    Optional(usize),
}

/// Where the search for candidates goes on.
#[derive(Clone, Copy)]
enum Cursor {
    /// At the beginning: nothing was tried yet.
    Fresh,
    /// At an event of the list.
    Definite { event: usize },
    /// At an optional operation; none that was invoked after the first return may be placed before it.
    Optional { from: usize, first_return: usize },
}

/// A placement that can be undone.
struct Placement<S> {
    candidate: Candidate,
    state_before: S,
    /// What to try instead, if anything.
    next: Option<Cursor>,
}

/// The search for an order of one key's operations.
pub(super) struct Search<'p, 'a, M: Model> {
    problem: &'p Problem<'a, M::Input, M::Output>,
    budget: Budget,
    pub model: M,
    state: M::State,
    stack: Vec<Placement<M::State>>,
    list: List,
    /// Where the call and the return of each definite operation stand.
    positions: Vec<(usize, usize)>,
    placed: SetHash,
    used: Used,
    pub memo: Memo<M::State>,
}

impl<'p, 'a, M: Model> Search<'p, 'a, M> {
    pub fn new(problem: &'p Problem<'a, M::Input, M::Output>, budget: Budget) -> Self {
        let mut model = M::default();
        problem.indices.iter().for_each(|&index| model.prepare(&problem.operations[index].input));
        let state = model.initial();
        let mut memo = Memo::new();
        memo.insert(SetHash::default(), state.clone(), &Used::default());
        Search {
            problem,
            budget,
            model,
            state,
            stack: Vec::new(),
            list: List::new(problem.events.len()),
            positions: positions(&problem.events),
            placed: SetHash::default(),
            used: Used::default(),
            memo,
        }
    }

    /// Searches until there is a verdict.
    pub fn run(&mut self) -> Finding {
        let mut steps = 0;
        let mut furthest = 0;
        let mut cursor = Cursor::Fresh;
        while !self.list.is_empty() {
            if steps >= self.budget.steps || self.memo.bytes() > self.budget.memory_bytes {
                return Finding::Exhausted;
            }
            steps += 1;
            let go_on = match self.next_candidate(cursor) {
                Ok((candidate, next)) => {
                    if self.place(candidate, next) {
                        Some(Cursor::Fresh)
                    } else {
                        next
                    }
                }
                Err(first_return) => {
                    furthest = furthest.max(first_return);
                    None
                }
            };
            cursor = match go_on.or_else(|| self.undo()) {
                Some(cursor) => cursor,
                None => return Finding::Blocked { event: furthest },
            };
        }
        Finding::Linearizable
    }

    /// The first candidate from the cursor on, and where to look for the one after it (nowhere, where no other is worth
    /// trying); the first return where there is no candidate.
    fn next_candidate(&mut self, cursor: Cursor) -> Result<(Candidate, Option<Cursor>), usize> {
        let (from, first_return) = match cursor {
            Cursor::Fresh => {
                if let Some(read) = self.fitting_read() {
                    return Ok((Candidate::Definite(read), None));
                }
                return self.next_candidate(Cursor::Definite { event: self.list.first() });
            }
            Cursor::Definite { event } => match self.problem.events[event] {
                Event::Call(operation) => {
                    let next = Cursor::Definite { event: self.list.after(event) };
                    return Ok((Candidate::Definite(operation), Some(next)));
                }
                Event::Return(_) => (0, event),
            },
            Cursor::Optional { from, first_return } => (from, first_return),
        };
        let free = |operation: &usize| {
            let twin = self.problem.optional[*operation].twin;
            !self.used.contains(*operation) && twin.is_none_or(|twin| self.used.contains(twin))
        };
        match (from..self.problem.optional_before(first_return)).find(free) {
            Some(operation) => {
                let next = Cursor::Optional { from: operation + 1, first_return };
                Ok((Candidate::Optional(operation), Some(next)))
            }
            None => Err(first_return),
        }
    }

    /// A definite operation that may be placed next, fits, and never changes the state. Whatever order there is from
    /// here on, moving this operation to its beginning gives another: nothing else is worth trying.
    fn fitting_read(&mut self) -> Option<usize> {
        let mut event = self.list.first();
        while let Some(&Event::Call(operation)) = self.problem.events.get(event) {
            let Definite { input, output, .. } = self.problem.definite[operation];
            if M::is_read(input, Some(output)) && self.model.step(&self.state, input, Some(output)).is_some()
            {
                return Some(operation);
            }
            event = self.list.after(event);
        }
        None
    }

    /// Places an operation, unless its answer is impossible now or the configuration was seen before.
    fn place(&mut self, candidate: Candidate, next: Option<Cursor>) -> bool {
        let (input, output) = match candidate {
            Candidate::Definite(i) => (self.problem.definite[i].input, Some(self.problem.definite[i].output)),
            Candidate::Optional(i) => (self.problem.optional[i].input, None),
        };
        let Some(state) = self.model.step(&self.state, input, output) else { return false };
        if let Candidate::Optional(operation) = candidate
            && (state == self.state || !self.is_of_use(operation, &state, next))
        {
            return false;
        }
        self.toggle(candidate, true);
        if !self.memo.insert(self.placed, state.clone(), &self.used) {
            self.toggle(candidate, false);
            return false;
        }
        let state_before = std::mem::replace(&mut self.state, state);
        self.stack.push(Placement { candidate, state_before, next });
        true
    }

    /// Can anything that may be placed after the optional `operation` make use of the state it leaves? If not, an order
    /// with it is also one without it.
    fn is_of_use(&self, operation: usize, state: &M::State, next: Option<Cursor>) -> bool {
        let Some(Cursor::Optional { first_return, .. }) = next else { return true };
        let Event::Return(first) = self.problem.events[first_return] else { return true };
        let first = &self.problem.definite[first];
        let uses = |state: &M::State, other: &Definite<'_, M::Input, M::Output>| {
            self.model.makes_use_of(state, other.input, Some(other.output))
        };
        let optional = || {
            let free = |other: &usize| *other != operation && !self.used.contains(*other);
            (0..self.problem.optional_before(first_return))
                .filter(free)
                .map(|i| self.problem.optional[i].input)
        };
        // The first to return has to be placed before anything new is invoked. If it looks at the state, and nobody can
        // overwrite that with another which suits it, then this state must suit it.
        let replaces = |input: &M::Input| M::overwrites(input).is_some_and(|state| uses(&state, first));
        let must_suit = M::overwrites(first.input).is_none()
            && !self.calls().any(|other| replaces(other.input))
            && !optional().any(replaces);
        if must_suit {
            return uses(state, first);
        }
        self.calls().any(|other| uses(state, other))
            || optional().any(|input| self.model.makes_use_of(state, input, None))
    }

    /// The definite operations that may be placed next.
    fn calls(&self) -> impl Iterator<Item = &Definite<'a, M::Input, M::Output>> {
        let mut event = self.list.first();
        std::iter::from_fn(move || match self.problem.events.get(event) {
            Some(&Event::Call(operation)) => {
                event = self.list.after(event);
                Some(&self.problem.definite[operation])
            }
            _ => None,
        })
    }

    /// Takes the last placement back, and those before it while there is nothing to try instead; returns what to try.
    fn undo(&mut self) -> Option<Cursor> {
        loop {
            let Placement { candidate, state_before, next } = self.stack.pop()?;
            self.toggle(candidate, false);
            self.state = state_before;
            if next.is_some() {
                return next;
            }
        }
    }

    /// Puts an operation into the sets, or takes it out of them. The links of the list are restored exactly only in the
    /// reverse order of their removal, which the stack guarantees.
    fn toggle(&mut self, candidate: Candidate, place: bool) {
        match candidate {
            Candidate::Definite(operation) => {
                let (call, end) = self.positions[operation];
                self.placed.toggle(operation);
                if place {
                    self.list.remove(call);
                    self.list.remove(end);
                } else {
                    self.list.restore(end);
                    self.list.restore(call);
                }
            }
            Candidate::Optional(operation) if place => self.used.insert(operation),
            Candidate::Optional(operation) => self.used.remove(operation),
        }
    }
}

fn positions(events: &[Event]) -> Vec<(usize, usize)> {
    let mut positions = vec![(0, 0); events.len() / 2];
    for (position, event) in events.iter().enumerate() {
        match *event {
            Event::Call(operation) => positions[operation].0 = position,
            Event::Return(operation) => positions[operation].1 = position,
        }
    }
    positions
}

/// A doubly linked list of the numbers below its length; the last link of the ring stands for its ends.
struct List {
    links: Vec<(usize, usize)>,
}

impl List {
    fn new(length: usize) -> Self {
        let ring = length + 1;
        List { links: (0..ring).map(|i| ((i + length) % ring, (i + 1) % ring)).collect() }
    }

    fn first(&self) -> usize {
        self.after(self.links.len() - 1)
    }

    fn is_empty(&self) -> bool {
        self.first() == self.links.len() - 1
    }

    fn after(&self, item: usize) -> usize {
        self.links[item].1
    }

    fn remove(&mut self, item: usize) {
        let (before, after) = self.links[item];
        self.links[before].1 = after;
        self.links[after].0 = before;
    }

    fn restore(&mut self, item: usize) {
        let (before, after) = self.links[item];
        self.links[before].1 = item;
        self.links[after].0 = item;
    }
}
