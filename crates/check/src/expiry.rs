//! Keys that expire: not too early, not too late, and never back.
//!
//! Each key is set once, to live for some time, and read. Whoever decides that its time has come goes by a clock, which may
//! be wrong by a `tolerance`. But whatever the clocks do, a key that was seen to be gone stays gone.

use serde::{Deserialize, Serialize};

use crate::finding::Finding;
use crate::history::{History, Outcome};
use crate::model::{RegisterInput, RegisterOutput};
use crate::values::Unfit;
use crate::{Text, linearizable::operation_line, model::Register};

/// What a client asks of a key that expires.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiringInput {
    /// Answers the value, if it is there.
    Get,
    /// Sets the value, for a time.
    Set {
        /// The value.
        value: Text,
        /// For how long, in the history's unit of time.
        lives: u64,
    },
}

/// Did every key live as long as it was to?
pub fn expiring(history: &History<ExpiringInput, RegisterOutput>, tolerance: u64) -> Finding {
    match judge(history, tolerance) {
        Ok(finding) => finding,
        Err(Unfit { reason }) => Finding::Unknown(reason),
    }
}

/// The one time that a key was set.
struct Set {
    index: usize,
    value: Text,
    invoked_at: u64,
    lives: u64,
    acknowledged_at: Option<u64>,
    /// The earliest end of a read that found it gone after it was there for sure.
    gone: Option<(u64, usize)>,
}

fn judge(history: &History<ExpiringInput, RegisterOutput>, tolerance: u64) -> Result<Finding, Unfit> {
    let operations = history.operations();
    let mut sets: std::collections::BTreeMap<&str, Set> = std::collections::BTreeMap::new();
    for (index, operation) in operations.iter().enumerate() {
        let ExpiringInput::Set { value, lives } = &operation.input else { continue };
        if operation.outcome == Outcome::Refused {
            continue;
        }
        let acknowledged_at = match operation.outcome {
            Outcome::Done { at, .. } => Some(at),
            _ => None,
        };
        let (value, invoked_at) = (value.clone(), operation.invoked_at);
        let set = Set { index, value, invoked_at, lives: *lives, acknowledged_at, gone: None };
        if sets.insert(&operation.key, set).is_some() {
            return Err(Unfit { reason: format!("key {:?} is set twice", operation.key) });
        }
    }
    let mut reads: Vec<usize> = (0..operations.len())
        .filter(|&index| operations[index].input == ExpiringInput::Get)
        .filter(|&index| matches!(operations[index].outcome, Outcome::Done { .. }))
        .collect();
    reads.sort_by_key(|&index| operations[index].invoked_at);
    for &read in &reads {
        let operation = &operations[read];
        let Outcome::Done { at, output: RegisterOutput::Value(found) } = &operation.outcome else { continue };
        let Some(set) = sets.get_mut(operation.key.as_str()) else {
            match found {
                None => continue,
                Some(_) => return Ok(told(history, "thin air read", vec![read], "nobody set that")),
            }
        };
        let there = set.acknowledged_at.is_some_and(|acknowledged| acknowledged < operation.invoked_at);
        match found {
            None if there => {
                if at.saturating_add(tolerance) < set.invoked_at + set.lives {
                    let why =
                        format!("gone before the {} that it was to live, {tolerance} allowed", set.lives);
                    return Ok(told(history, "gone too early", vec![set.index, read], &why));
                }
                let end = set.gone.map_or(*at, |(end, _)| end.min(*at));
                if end == *at {
                    set.gone = Some((end, read));
                }
            }
            None => {}
            Some(value) if *value != set.value => {
                return Ok(told(history, "thin air read", vec![set.index, read], "that is not what was set"));
            }
            Some(_) => {
                let late = |acknowledged| operation.invoked_at > acknowledged + set.lives + tolerance;
                if set.acknowledged_at.is_some_and(late) {
                    let why =
                        format!("there after the {} that it was to live, {tolerance} allowed", set.lives);
                    return Ok(told(history, "outlived", vec![set.index, read], &why));
                }
                if let Some((_, gone)) = set.gone.filter(|(end, _)| *end < operation.invoked_at) {
                    let why = "it had been seen to be gone";
                    return Ok(told(history, "came back", vec![set.index, gone, read], why));
                }
            }
        }
    }
    Ok(Finding::Valid)
}

fn told(
    history: &History<ExpiringInput, RegisterOutput>,
    pattern: &'static str,
    involved: Vec<usize>,
    why: &str,
) -> Finding {
    let line = |index: &usize| {
        let operation = &history.operations()[*index];
        // As operations on a register: it is shown in the same words.
        let input = match &operation.input {
            ExpiringInput::Get => RegisterInput::Read,
            ExpiringInput::Set { value, .. } => RegisterInput::Write(Some(value.clone())),
        };
        let operation = crate::Operation {
            process: operation.process,
            key: operation.key.clone(),
            input,
            invoked_at: operation.invoked_at,
            outcome: operation.outcome.clone(),
        };
        format!("  {}", operation_line::<Register>(&operation, true))
    };
    let lines: Vec<String> = involved.iter().map(line).collect();
    Finding::invalid(pattern, involved, format!("{why}:\n{}", lines.join("\n")))
}
