//! Counters that only grow: what can be said of them without an order of all operations.
//!
//! For counters that are merged (each replica counts by itself) as for those with one leader: nobody sees a sum go down,
//! nobody misses what it added itself, no sum is more than was added, and in the end everything acknowledged is counted, once.

use std::collections::BTreeMap;

use crate::finding::Finding;
use crate::history::{History, Outcome};
use crate::linearizable::operation_line;
use crate::model::{Counter, CounterInput, CounterOutput};

/// What is known of a counter in a session.
#[derive(Default)]
struct Seen {
    /// The greatest sum seen, and where.
    sum: i64,
    at: Option<usize>,
    /// What the session added itself and was acknowledged.
    own: i64,
}

/// Do sums never fall within a session (a process of the history), hold what the session added, and stay below what all
/// added?
pub fn monotonic(history: &History<CounterInput, CounterOutput>) -> Finding {
    let operations = history.operations();
    let mut order: Vec<usize> = (0..operations.len()).collect();
    order.sort_by_key(|&index| operations[index].invoked_at);
    // By key: what was added by operations that may have happened, by their invocation.
    let mut added: BTreeMap<&str, Vec<(u64, i64)>> = BTreeMap::new();
    for &index in &order {
        let operation = &operations[index];
        if let (CounterInput::Add(amount), true) = (&operation.input, operation.outcome != Outcome::Refused) {
            if *amount < 0 {
                return Finding::Unknown(format!(
                    "key {:?} is reduced: it does not only grow",
                    operation.key
                ));
            }
            let of_key = added.entry(&operation.key).or_default();
            let before = of_key.last().map_or(0, |(_, sum)| *sum);
            of_key.push((operation.invoked_at, before.saturating_add(*amount)));
        }
    }
    let mut sessions: BTreeMap<(u64, &str), Seen> = BTreeMap::new();
    for &index in &order {
        let operation = &operations[index];
        let Outcome::Done { at, output: CounterOutput(sum) } = &operation.outcome else { continue };
        let seen = sessions.entry((operation.process, &operation.key)).or_default();
        if let CounterInput::Add(amount) = operation.input {
            seen.own += amount;
        }
        let of_key = added.get(operation.key.as_str()).map(Vec::as_slice).unwrap_or_default();
        let invoked = of_key.partition_point(|(invoked, _)| invoked <= at);
        let most = invoked.checked_sub(1).map_or(0, |last| of_key[last].1);
        let wrong = if *sum < seen.sum {
            Some(("a counter went down", format!("{} had been seen", seen.sum)))
        } else if *sum < seen.own {
            Some(("an own addition is missing", format!("the session had added {} itself", seen.own)))
        } else if *sum > most {
            Some(("more than was added", format!("all together had added {most} at the most")))
        } else {
            None
        };
        if let Some((pattern, why)) = wrong {
            let involved: Vec<usize> = seen.at.into_iter().chain([index]).collect();
            let line = |index: &usize| format!("  {}", operation_line::<Counter>(&operations[*index], true));
            let lines: Vec<String> = involved.iter().map(line).collect();
            return Finding::invalid(pattern, involved, format!("{why}:\n{}", lines.join("\n")));
        }
        (seen.sum, seen.at) = (*sum, Some(index));
    }
    Finding::Valid
}

/// Is no counter ever below zero, neither in an answer nor in the end?
pub fn never_negative(
    history: &History<CounterInput, CounterOutput>,
    sums: &BTreeMap<String, i64>,
) -> Finding {
    const PATTERN: &str = "below zero";
    for (index, operation) in history.operations().iter().enumerate() {
        if let Outcome::Done { output: CounterOutput(sum), .. } = &operation.outcome
            && *sum < 0
        {
            let text = operation_line::<Counter>(operation, true);
            return Finding::invalid(PATTERN, vec![index], text);
        }
    }
    match sums.iter().find(|(_, sum)| **sum < 0) {
        None => Finding::Valid,
        Some((key, sum)) => Finding::invalid(PATTERN, Vec::new(), format!("key {key:?} is {sum} in the end")),
    }
}

/// Is the sum in the end what was acknowledged, and at the most what may have happened besides? `sums` are those that
/// were read when all was quiet; a counter without one is 0.
pub fn settled(history: &History<CounterInput, CounterOutput>, sums: &BTreeMap<String, i64>) -> Finding {
    let mut bounds: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for operation in history.operations() {
        let (least, most) = bounds.entry(&operation.key).or_default();
        let CounterInput::Add(amount) = operation.input else { continue };
        match operation.outcome {
            Outcome::Done { .. } => {
                *least += amount;
                *most += amount;
            }
            Outcome::Unknown if amount < 0 => *least += amount,
            Outcome::Unknown => *most += amount,
            Outcome::Refused => {}
        }
    }
    for (key, (least, most)) in bounds {
        let sum = sums.get(key).copied().unwrap_or_default();
        if !(least..=most).contains(&sum) {
            let text = format!(
                "key {key:?} is {sum} in the end; acknowledged additions alone make {least}, with those of unknown outcome {most}"
            );
            let pattern = if sum < least { "an addition is missing" } else { "added more than once" };
            return Finding::invalid(pattern, Vec::new(), text);
        }
    }
    Finding::Valid
}
