//! Why a history is not linearizable, for people.
//!
//! The search knows the first return that no order gets past. Everything that was invoked after it is innocent: it could
//! be left out and the rest would still be impossible. And everything before the last moment at which no operation was
//! under way only matters through the states that were possible at that moment. What is left between is the window. On a
//! busy key that moment may be long ago; then the window begins when the operation was invoked that could not be placed.

use std::fmt;

use super::memo::SetHash;
use super::problem::{Event, Problem};
use super::search::Search;
use crate::history::{Operation, Outcome};
use crate::model::Model;

/// At most this many operations and states are printed.
const PRINTED: usize = 40;

/// The smallest part of a history found that cannot be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The key; the other keys do not matter.
    pub key: String,
    /// Places in [`History::operations`](crate::History::operations): the operation whose answer no order explains
    /// together with those of the others. (It is the first to end too early, not always the culprit.)
    pub blocked: usize,
    /// The shortest prefix of the key's operations that cannot be explained: everything invoked before `blocked` ended.
    pub prefix: Vec<usize>,
    /// The end of the prefix that matters: what was under way or invoked since the window began.
    pub window: Vec<usize>,
    /// Every state in which the key may have been when the window began.
    pub states: Vec<String>,
    /// All of this as a readable text.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Explains why no order gets past `event`.
pub(super) fn failure<M: Model>(
    problem: &Problem<'_, M::Input, M::Output>,
    search: &Search<'_, '_, M>,
    event: usize,
) -> Failure {
    let Event::Return(blocked) = problem.events[event] else {
        unreachable!("only a return stops the search");
    };
    let quiet = last_quiet_position(problem, event);
    let mut part = Part::new(problem, quiet, event);
    if part.window.len() > PRINTED {
        let invoked = problem.events.iter().position(|&event| event == Event::Call(blocked));
        part = Part::new(problem, invoked.unwrap_or(quiet), event);
    }
    let sets: Vec<SetHash> = possible_sets(&part).collect();
    let mut states: Vec<String> =
        search.memo.states(&sets).map(|state| search.model.describe_state(state)).collect();
    states.sort();
    states.dedup();
    let Part { earlier, window, .. } = part;
    let blocked = problem.definite[blocked].index;
    let key = problem.operations[blocked].key.clone();
    let text = [
        heading(&key, earlier.len() + window.len(), window.len(), &states),
        pending::<M>(problem, &earlier),
        table::<M>(problem.operations, &window, blocked),
    ]
    .concat();
    let mut prefix: Vec<usize> = earlier.into_iter().chain(window.iter().copied()).collect();
    prefix.sort_by_key(|&index| problem.operations[index].invoked_at);
    Failure { key, blocked, prefix, window, states, text }
}

/// Where the events begin that follow the last moment before `event` at which no definite operation was under way.
fn last_quiet_position<I: Ord, O>(problem: &Problem<'_, I, O>, event: usize) -> usize {
    let (mut under_way, mut quiet) = (0, 0);
    for (position, event) in problem.events[..event].iter().enumerate() {
        match event {
            Event::Call(_) => under_way += 1,
            Event::Return(_) => under_way -= 1,
        }
        if under_way == 0 {
            quiet = position + 1;
        }
    }
    quiet
}

/// The operations that were invoked before an event, parted at an earlier event.
struct Part {
    /// Those that ended before, or began before with an unknown outcome.
    earlier: Vec<usize>,
    /// The others.
    window: Vec<usize>,
    /// The definite ones among the earlier.
    ended: SetHash,
    /// The definite ones in the window that were under way already: some may have taken effect.
    under_way: Vec<usize>,
}

impl Part {
    fn new<I: Ord, O>(problem: &Problem<'_, I, O>, begin: usize, end: usize) -> Self {
        let (last_earlier, end_time) =
            (begin.checked_sub(1).map(|last| problem.time(last)), problem.time(end));
        let (mut ended, mut under_way) = (SetHash::default(), Vec::new());
        for event in &problem.events[..begin] {
            match *event {
                Event::Call(operation) => under_way.push(operation),
                Event::Return(operation) => {
                    under_way.retain(|other| *other != operation);
                    ended.toggle(operation);
                }
            }
        }
        let is_earlier = |index: &usize| {
            let operation = &problem.operations[*index];
            last_earlier.is_some_and(|last| operation.invoked_at <= last)
                && !under_way.iter().any(|&other| problem.definite[other].index == *index)
        };
        let invoked =
            problem.indices.iter().filter(|index| problem.operations[**index].invoked_at <= end_time);
        let (earlier, window) = invoked.partition(|index| is_earlier(index));
        Part { earlier, window, ended, under_way }
    }
}

/// Every set of operations that may have taken effect when the window began.
fn possible_sets(part: &Part) -> impl Iterator<Item = SetHash> {
    // Beyond this many under way at once the states are not listed in full.
    let choices = part.under_way.len().min(12);
    (0..1_usize << choices).map(move |chosen| {
        let mut placed = part.ended;
        (0..choices)
            .filter(|bit| chosen & (1 << bit) != 0)
            .for_each(|bit| placed.toggle(part.under_way[bit]));
        placed
    })
}

fn heading(key: &str, prefix: usize, window: usize, states: &[String]) -> String {
    let states = list(states, " or ");
    format!(
        "not linearizable: key {key:?}, within the first {prefix} operations on it.\n\
         Before the last {window} of them the value was {states}.\n"
    )
}

/// Operations before the window that may have taken effect within it.
fn pending<M: Model>(problem: &Problem<'_, M::Input, M::Output>, earlier: &[usize]) -> String {
    let pending: Vec<String> = earlier
        .iter()
        .map(|&index| &problem.operations[index])
        .filter(|operation| {
            matches!(operation.outcome, Outcome::Unknown) && !M::is_read(&operation.input, None)
        })
        .map(|operation| format!("process {}: {}", operation.process, M::describe(&operation.input, None)))
        .collect();
    match pending.as_slice() {
        [] => String::new(),
        _ => format!("Of earlier operations these may have taken effect late: {}.\n", list(&pending, "; ")),
    }
}

fn table<M: Model>(
    operations: &[Operation<M::Input, M::Output>],
    window: &[usize],
    blocked: usize,
) -> String {
    let mut lines =
        vec!["No order explains these answers (> could not be placed before its end):".to_owned()];
    let hidden = window.len().saturating_sub(PRINTED);
    if hidden > 0 {
        lines.push(format!("  ... {hidden} before"));
    }
    for &index in &window[hidden..] {
        let mark = if index == blocked { '>' } else { ' ' };
        lines.push(format!("{mark} {}", operation_line::<M>(&operations[index], false)));
    }
    lines.join("\n")
}

/// One operation, for people.
pub(crate) fn operation_line<M: Model>(operation: &Operation<M::Input, M::Output>, with_key: bool) -> String {
    let Operation { process, key, input, invoked_at, outcome } = operation;
    let (end, what) = match outcome {
        Outcome::Done { at, output } => (at.to_string(), M::describe(input, Some(output))),
        Outcome::Unknown => ("?".to_owned(), M::describe(input, None)),
        Outcome::Refused => {
            let asked = M::describe(input, None).replace("outcome unknown", "refused");
            ("refused".to_owned(), asked)
        }
    };
    let on = if with_key { format!("{key:?} ") } else { String::new() };
    format!("process {process}, {invoked_at} to {end}: {on}{what}")
}

fn list(items: &[String], separator: &str) -> String {
    let shown = items[..items.len().min(PRINTED)].join(separator);
    match items.len().saturating_sub(PRINTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
