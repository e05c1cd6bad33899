//! Who wrote what a read returned.
//!
//! The checks of sessions, causality and freshness know the order of writes only from what clients saw, so every write to a
//! key must carry a value of its own (Bouajjani et al., POPL 2017, section 3: *differentiated* histories).

use std::fmt;

use hashbrown::hash_map::Entry;

use crate::history::{History, Operation, Outcome};
use crate::map::Map;
use crate::model::{RegisterInput, RegisterOutput};
use crate::text::Fingerprint;

/// A history of registers in which every write is of its own value and nothing is deleted.
pub type Registers = History<RegisterInput, RegisterOutput>;
pub(crate) type RegisterOperation = Operation<RegisterInput, RegisterOutput>;

/// Why a history cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the history cannot be judged: {}", self.reason)
    }
}

/// What a read returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The value of this write.
    Write(usize),
    /// Nothing: the register had not been written.
    Initial,
    /// A value that nobody wrote, or only an operation that was refused.
    ThinAir,
}

/// The writes of a history by key and value.
pub(crate) struct Values<'a> {
    pub operations: &'a [RegisterOperation],
    /// A small number for each key.
    pub keys: Vec<u32>,
    pub key_count: usize,
    writes: Map<(u32, Fingerprint), usize>,
}

impl<'a> Values<'a> {
    /// # Errors
    /// Two writes to a key carry the same value, or something else than reads and writes of values is in the history.
    pub fn new(history: &'a Registers) -> Result<Self, Unfit> {
        let operations = history.operations();
        let mut numbers: Map<&str, u32> = Map::default();
        let mut keys = Vec::with_capacity(operations.len());
        let mut writes = Map::default();
        for (index, operation) in operations.iter().enumerate() {
            let next = numbers.len() as u32;
            let key = *numbers.entry(operation.key.as_str()).or_insert(next);
            keys.push(key);
            match &operation.input {
                RegisterInput::Read => {}
                RegisterInput::Write(Some(value)) => match writes.entry((key, value.fingerprint())) {
                    Entry::Vacant(place) => drop(place.insert(index)),
                    Entry::Occupied(_) => {
                        let (key, value) = (&operation.key, value.as_str());
                        return Err(Unfit { reason: format!("key {key:?} is given {value:?} twice") });
                    }
                },
                other => {
                    let reason = format!("key {:?}: {other:?} is neither a read nor a write", operation.key);
                    return Err(Unfit { reason });
                }
            }
        }
        Ok(Values { operations, keys, key_count: numbers.len(), writes })
    }

    /// Where the answer of a read comes from; `None` where the operation is no read or was not answered.
    pub fn source(&self, index: usize) -> Option<Source> {
        let operation = &self.operations[index];
        let Outcome::Done { output: RegisterOutput::Value(value), .. } = &operation.outcome else {
            return None;
        };
        let Some(value) = value else { return Some(Source::Initial) };
        match self.writes.get(&(self.keys[index], value.fingerprint())) {
            Some(&write) if self.operations[write].outcome != Outcome::Refused => Some(Source::Write(write)),
            _ => Some(Source::ThinAir),
        }
    }

    pub fn is_write(&self, index: usize) -> bool {
        matches!(self.operations[index].input, RegisterInput::Write(_))
    }
}

/// When an operation ended, as far as it did.
pub(crate) fn ended_at(operation: &RegisterOperation) -> Option<u64> {
    match operation.outcome {
        Outcome::Done { at, .. } => Some(at.max(operation.invoked_at)),
        Outcome::Refused | Outcome::Unknown => None,
    }
}
