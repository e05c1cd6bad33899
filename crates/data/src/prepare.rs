//! From a command to its reply and its mutation.

use bytes::Bytes;
use resp::Value;

use crate::{Command, Mutation, Stamp, View};

/// A write that was thought through: what to answer once it is safe, and what changes.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The answer.
    pub reply: Value,
    /// The change; `None` if the command changes nothing (`SETNX` on a present key, an error).
    pub mutation: Option<Mutation>,
}

/// What a read says.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The answer, in which keys past their expiry count as absent.
    pub reply: Value,
    /// Keys that were found past their expiry and are still in the table: the answer holds only once a mutation that
    /// deletes them is committed, so that all replicas agree when a key went. [`Answer::expire`] makes it.
    pub expired: Vec<Bytes>,
}

impl Answer {
    /// The mutation that deletes the expired keys, if there are any.
    pub fn expire(&self) -> Option<Mutation> {
        todo!()
    }
}

/// A key that a transaction depends on: `EXEC` goes ahead only if its fingerprint is still this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The key.
    pub key: Bytes,
    /// Hash of its type, value and expiry as [`fingerprint`] gave it; 0 if absent.
    pub fingerprint: u128,
}

/// Prepares a write command. `arguments[0]` is the command's name; the arity has been checked by the caller
/// ([`Command::check_arity`]). The mutation also deletes what the command found expired.
pub fn prepare(command: &Command, arguments: &[Bytes], view: &View<'_>, stamp: &Stamp) -> Prepared {
    let _ = (command, arguments, view, stamp);
    todo!()
}

/// Prepares `MULTI ... EXEC`: all commands, reads among them, see the effects of those before them; the mutation is
/// applied as one. A watched key that changed gives `NullArray` and no mutation.
pub fn prepare_transaction(
    commands: &[(&'static Command, Vec<Bytes>)],
    watches: &[Watch],
    view: &View<'_>,
    stamp: &Stamp,
) -> Prepared {
    let _ = (commands, watches, view, stamp);
    todo!()
}

/// Answers a read command.
pub fn answer(command: &Command, arguments: &[Bytes], view: &View<'_>, seed: u64) -> Answer {
    let _ = (command, arguments, view, seed);
    todo!()
}

/// The fingerprint of a key's present state, for `WATCH`; 0 if absent or expired.
pub fn fingerprint(key: &[u8], view: &View<'_>) -> u128 {
    let _ = (key, view);
    todo!()
}
