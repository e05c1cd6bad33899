//! What clients saw.

use serde::{Deserialize, Serialize};

/// How an operation ended, as far as its client knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome<O> {
    /// It took effect between its invocation and `at`, and answered `output`.
    Done {
        /// When the answer came.
        at: u64,
        /// The answer.
        output: O,
    },
    /// It did not take effect and never will.
    Refused,
    /// It may take effect at any time after its invocation, or never: a timeout, a broken connection, an error that
    /// says so, or no answer yet.
    Unknown,
}

/// One operation of one client on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<I, O> {
    /// The client. Only for the reader of a verdict: the checks go by times alone.
    pub process: u64,
    /// What the operation is on. Keys are independent of one another.
    pub key: String,
    /// What was asked.
    pub input: I,
    /// When it was invoked, in any unit that all operations share. One operation precedes another where it ended at a
    /// *smaller* time than the other was invoked; equal times count as concurrent.
    pub invoked_at: u64,
    /// How it ended.
    pub outcome: Outcome<O>,
}

/// Names an operation of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperationId(usize);

/// All operations of a run, in the order of their recording (which means nothing: times do).
#[derive(Clone, Debug)]
pub struct History<I, O> {
    operations: Vec<Operation<I, O>>,
}

impl<I, O> Default for History<I, O> {
    fn default() -> Self {
        History { operations: Vec::new() }
    }
}

impl<I, O> History<I, O> {
    /// A history without operations.
    pub fn new() -> Self {
        History::default()
    }

    /// Records an invocation. Until [`done`](Self::done) or [`refused`](Self::refused) is called its outcome is unknown.
    pub fn invoke(&mut self, process: u64, key: impl Into<String>, input: I, at: u64) -> OperationId {
        let outcome = Outcome::Unknown;
        self.push(Operation { process, key: key.into(), input, invoked_at: at, outcome })
    }

    /// Records that an operation took effect and what it answered.
    pub fn done(&mut self, id: OperationId, at: u64, output: O) {
        self.operations[id.0].outcome = Outcome::Done { at, output };
    }

    /// Records that an operation did not happen and never will.
    pub fn refused(&mut self, id: OperationId) {
        self.operations[id.0].outcome = Outcome::Refused;
    }

    /// Adds a whole operation.
    pub fn push(&mut self, operation: Operation<I, O>) -> OperationId {
        self.operations.push(operation);
        OperationId(self.operations.len() - 1)
    }

    /// All operations, in the order of their recording.
    pub fn operations(&self) -> &[Operation<I, O>] {
        &self.operations
    }
}
