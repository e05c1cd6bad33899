//! Histories as text.
//!
//! [`json_lines`] is our own format, written by the simulator and by `consort verify`, and [`file`] checks whatever such a
//! file holds; [`edn`] is for the checkers of others (Knossos, Elle); [`jepsen_etcd`] and
//! [`porcupine_kv`] read recorded histories of others, whose verdicts are known, to check the checker.

pub mod edn;
pub mod file;
pub mod jepsen_etcd;
pub mod json_lines;
pub mod porcupine_kv;

use std::collections::BTreeMap;
use std::fmt;

use crate::history::{History, OperationId};

/// A line that is not of the format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// The number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for ReadError {}

/// Builds a history from a log in which a process has one operation under way at a time and lines stand in the order
/// of time.
struct ByProcess<I, O> {
    history: History<I, O>,
    under_way: BTreeMap<u64, OperationId>,
}

impl<I, O> ByProcess<I, O> {
    fn new() -> Self {
        ByProcess { history: History::new(), under_way: BTreeMap::new() }
    }

    fn invoke(&mut self, process: u64, key: &str, input: I, line: usize) -> Result<(), String> {
        let id = self.history.invoke(process, key, input, line as u64);
        match self.under_way.insert(process, id) {
            None => Ok(()),
            Some(_) => Err(format!("process {process} invokes while its last operation is under way")),
        }
    }

    fn end(&mut self, process: u64) -> Result<OperationId, String> {
        self.under_way
            .remove(&process)
            .ok_or_else(|| format!("process {process} ends what it did not invoke"))
    }
}
