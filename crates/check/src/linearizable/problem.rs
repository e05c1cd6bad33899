//! The operations of one key, laid out for the search.

use std::collections::BTreeMap;

use crate::history::{Operation, Outcome};
use crate::model::Model;

/// An operation that took effect, with its answer.
pub(super) struct Definite<'a, I, O> {
    /// Its place in the history.
    pub index: usize,
    pub input: &'a I,
    pub output: &'a O,
    pub invoked_at: u64,
    pub returned_at: u64,
}

/// An operation that may have taken effect.
pub(super) struct Optional<'a, I> {
    pub input: &'a I,
    pub invoked_at: u64,
    /// The last optional operation before it that asks the same. As neither ever ends, the earlier one can stand
    /// wherever the later one could: a search needs to try the later one only after the earlier one.
    pub twin: Option<usize>,
}

/// The invocation or the end of a definite operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Call(usize),
    Return(usize),
}

/// The operations of one key. Refused ones, and reads of unknown outcome, say nothing and are left out.
pub(super) struct Problem<'a, I, O> {
    /// Every operation of the history.
    pub operations: &'a [Operation<I, O>],
    /// Those on this key: places in the history, by their invocation.
    pub indices: Vec<usize>,
    /// By their invocation.
    pub definite: Vec<Definite<'a, I, O>>,
    /// By their invocation.
    pub optional: Vec<Optional<'a, I>>,
    /// Calls and returns of the definite operations in the order of time; at equal times calls come first, which makes
    /// the operations concurrent.
    pub events: Vec<Event>,
}

impl<'a, I: Ord, O> Problem<'a, I, O> {
    /// The problem of the operations at `indices`, which are on one key.
    pub fn new<M: Model<Input = I, Output = O>>(
        operations: &'a [Operation<I, O>],
        indices: &[usize],
    ) -> Self {
        let mut indices = indices.to_vec();
        indices.sort_by_key(|&index| operations[index].invoked_at);
        let (mut definite, mut optional) = (Vec::new(), Vec::new());
        let mut twins: BTreeMap<&I, usize> = BTreeMap::new();
        for &index in &indices {
            let Operation { input, invoked_at, outcome, .. } = &operations[index];
            match outcome {
                Outcome::Done { at, output } => {
                    // A clock that ran backwards must not make an operation end before it began.
                    let returned_at = (*at).max(*invoked_at);
                    definite.push(Definite { index, input, output, invoked_at: *invoked_at, returned_at });
                }
                Outcome::Unknown if !M::is_read(input, None) => {
                    let twin = twins.insert(input, optional.len());
                    optional.push(Optional { input, invoked_at: *invoked_at, twin });
                }
                Outcome::Unknown | Outcome::Refused => {}
            }
        }
        if let Some(last) = last_of_all(&definite)
            && indices.iter().all(|&index| M::only_grows(&operations[index].input))
        {
            // What it does not show had not happened by then, and what happens after it nobody sees. What was seen before and is not
            // any more is kept: it is needed to tell what is wrong.
            let is_seen = |optional: &Optional<'_, I>| {
                let shown_by = |by: &Definite<'_, I, O>| M::shown_by(optional.input, by.input, by.output);
                shown_by(last) != Some(false) || definite.iter().any(|by| shown_by(by) == Some(true))
            };
            if !optional.iter().all(is_seen) {
                let left: Vec<_> = optional.into_iter().filter(is_seen).collect();
                return Problem::without(operations, indices, definite, left);
            }
        }
        let events = events(&definite);
        Problem { operations, indices, definite, optional, events }
    }

    /// The same with these optional operations alone, whose twins are found anew.
    fn without(
        operations: &'a [Operation<I, O>],
        indices: Vec<usize>,
        definite: Vec<Definite<'a, I, O>>,
        left: Vec<Optional<'a, I>>,
    ) -> Self {
        let mut twins: BTreeMap<&I, usize> = BTreeMap::new();
        let left = left.into_iter().enumerate().map(|(place, optional)| {
            let twin = twins.insert(optional.input, place);
            Optional { twin, ..optional }
        });
        let optional = left.collect();
        let events = events(&definite);
        Problem { operations, indices, definite, optional, events }
    }

    /// When an event happened.
    pub fn time(&self, event: usize) -> u64 {
        match self.events[event] {
            Event::Call(operation) => self.definite[operation].invoked_at,
            Event::Return(operation) => self.definite[operation].returned_at,
        }
    }

    /// How many optional operations (the first ones) were invoked before `event`, or at the same time.
    pub fn optional_before(&self, event: usize) -> usize {
        let time = self.time(event);
        self.optional.partition_point(|operation| operation.invoked_at <= time)
    }
}

/// The operation that began when all others had ended.
fn last_of_all<'p, 'a, I, O>(definite: &'p [Definite<'a, I, O>]) -> Option<&'p Definite<'a, I, O>> {
    let (last, others) = definite.split_last()?;
    others.iter().all(|other| other.returned_at < last.invoked_at).then_some(last)
}

fn events<I, O>(definite: &[Definite<'_, I, O>]) -> Vec<Event> {
    let calls = definite.iter().enumerate().map(|(i, operation)| (operation.invoked_at, 0, Event::Call(i)));
    let returns =
        definite.iter().enumerate().map(|(i, operation)| (operation.returned_at, 1, Event::Return(i)));
    let mut events: Vec<_> = calls.chain(returns).collect();
    events.sort_by_key(|&(time, kind, _)| (time, kind));
    events.into_iter().map(|(_, _, event)| event).collect()
}
