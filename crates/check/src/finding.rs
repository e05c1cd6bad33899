//! What a check found.

use std::fmt;

use crate::linearizable::Verdict;

/// Operations that together break a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample {
    /// The pattern, in the field's words: "stale read", "write co read", "monotonic reads".
    pub pattern: &'static str,
    /// Their places in [`History::operations`](crate::History::operations), in an order that tells the story; empty where
    /// the check is not about operations.
    pub operations: Vec<usize>,
    /// What is wrong, for people.
    pub text: String,
}

/// The verdict of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The promise held.
    Valid,
    /// It did not.
    Invalid(Box<Counterexample>),
    /// It cannot be said, and why.
    Unknown(String),
}

impl Finding {
    pub(crate) fn invalid(pattern: &'static str, operations: Vec<usize>, text: String) -> Finding {
        Finding::Invalid(Box::new(Counterexample { pattern, operations, text }))
    }

    /// Did the promise hold?
    pub fn is_valid(&self) -> bool {
        matches!(self, Finding::Valid)
    }

    /// Was it broken?
    pub fn is_invalid(&self) -> bool {
        matches!(self, Finding::Invalid(_))
    }

    /// `valid`, `invalid` or `unknown`.
    pub fn name(&self) -> &'static str {
        match self {
            Finding::Valid => "valid",
            Finding::Invalid(_) => "invalid",
            Finding::Unknown(_) => "unknown",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Valid => f.write_str("valid"),
            Finding::Invalid(example) => write!(f, "invalid: {}: {}", example.pattern, example.text),
            Finding::Unknown(reason) => write!(f, "unknown: {reason}"),
        }
    }
}

impl From<Verdict> for Finding {
    fn from(verdict: Verdict) -> Finding {
        match verdict {
            Verdict::Valid => Finding::Valid,
            Verdict::Unknown { .. } => Finding::Unknown(verdict.to_string()),
            Verdict::Invalid(failure) => {
                // The one that cannot be placed comes last.
                let mut operations = failure.window;
                operations.retain(|index| *index != failure.blocked);
                operations.push(failure.blocked);
                Finding::invalid("not linearizable", operations, failure.text)
            }
        }
    }
}
