//! Linearizability: is there one order of all operations, each at one moment between its invocation and its answer, that
//! explains every answer?
//!
//! Keys are independent, so each is checked by itself (Herlihy and Wing 1990: linearizability is local). The search is
//! that of Wing and Gong (1993) with the memory of Lowe (2017): a configuration seen before is not explored again; see
//! `search`. What it means for outcomes:
//!
//! * *done*: took effect between invocation and answer, and the answer must fit;
//! * *refused*: never happened;
//! * *unknown*: took effect at any moment after its invocation, even long after later operations, or never. A read of
//!   unknown outcome says nothing.
//!
//! The problem is NP-complete, so the search has a [`Budget`]; within it the verdict is certain, but for collisions of
//! fingerprints of 100 bits and more. Ten thousand operations on a key, ten at a time, take well under a second while unknown
//! outcomes are few. What costs is many unknown writes on *one* key, the more so where they are alike or are blind
//! appends mixed with puts: spread such a workload over more keys, and let writes be unique.
//!
//! ```
//! use check::model::{Counter, CounterInput, CounterOutput};
//! use check::{Budget, History, check};
//!
//! let mut history = History::new();
//! let add = history.invoke(1, "hits", CounterInput::Add(1), 10);
//! history.done(add, 20, CounterOutput(1));
//! let get = history.invoke(2, "hits", CounterInput::Get, 30);
//! history.done(get, 40, CounterOutput(0));
//! let verdict = check::<Counter>(&history, Budget::default());
//! println!("{verdict}");
//! assert!(verdict.is_invalid());
//! ```

mod explain;
mod memo;
mod problem;
mod search;

use std::collections::BTreeMap;
use std::fmt;

pub use explain::Failure;
pub(crate) use explain::operation_line;
use problem::Problem;
use search::{Finding, Search};

use crate::history::History;
use crate::model::Model;

/// What the check of one key may cost.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Operations that are tried, those tried again in another order included. Ten million take some seconds.
    pub steps: u64,
    /// Memory for configurations seen before, about, in bytes.
    pub memory_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { steps: 50_000_000, memory_bytes: 1 << 30 }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every answer is explained.
    Valid,
    /// No order of the operations on a key explains their answers.
    Invalid(Box<Failure>),
    /// The budget was not enough for this key, and no other key is invalid.
    Unknown {
        /// The first key whose search gave up.
        key: String,
    },
}

impl Verdict {
    /// Is every answer explained?
    pub fn is_valid(&self) -> bool {
        matches!(self, Verdict::Valid)
    }

    /// Is there an answer that cannot be explained?
    pub fn is_invalid(&self) -> bool {
        matches!(self, Verdict::Invalid(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Valid => f.write_str("linearizable"),
            Verdict::Invalid(failure) => failure.fmt(f),
            Verdict::Unknown { key } => {
                write!(f, "unknown: the search on key {key:?} gave up, its budget is exhausted")
            }
        }
    }
}

/// Checks every key of `history` against the model `M`, keys in their order.
pub fn check<M: Model>(history: &History<M::Input, M::Output>, budget: Budget) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, operation) in history.operations().iter().enumerate() {
        keys.entry(&operation.key).or_default().push(index);
    }
    let mut verdict = Verdict::Valid;
    for (key, indices) in keys {
        let problem = Problem::new::<M>(history.operations(), &indices);
        let mut search = Search::<M>::new(&problem, budget);
        match search.run() {
            Finding::Linearizable => {}
            Finding::Exhausted if verdict.is_valid() => verdict = Verdict::Unknown { key: key.to_owned() },
            Finding::Exhausted => {}
            Finding::Blocked { event } => {
                return Verdict::Invalid(Box::new(explain::failure(&problem, &search, event)));
            }
        }
    }
    verdict
}
