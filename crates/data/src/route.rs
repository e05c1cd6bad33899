//! Where a command goes: which slots it touches, and how a command over several partitions is split and joined.

use bytes::Bytes;
use resp::Value;

use crate::Command;

/// Where a command is to be run.
#[derive(Debug)]
pub enum Route {
    /// By the server itself.
    Server,
    /// In the partition of this slot, as it stands.
    Slot(u16),
    /// In several slots: `MGET`, `MSET`, `DEL`, `UNLINK`, `EXISTS`, `TOUCH`. Each part is a whole command whose keys lie
    /// in one slot group; [`Gather::join`] makes one reply of theirs. Not atomic across partitions.
    Scatter { parts: Vec<Part>, gather: Gather },
    /// In every partition: `DBSIZE`, `FLUSHALL`, `KEYS`, `RANDOMKEY`.
    Every { gather: Gather },
}

/// One part of a scattered command.
#[derive(Clone, Debug)]
pub struct Part {
    /// The group that `group_of` gave for the slots of its keys.
    pub group: u32,
    /// A slot of that group.
    pub slot: u16,
    /// The command.
    pub arguments: Vec<Bytes>,
}

/// How the replies of the parts become one.
#[derive(Clone, Debug)]
pub enum Gather {
    /// Integers are added.
    Sum,
    /// `OK` if all say so.
    AllOk,
    /// Arrays are put one after another.
    Concatenate,
    /// `MGET`: element `i` of the reply is element `order[i].1` of part `order[i].0`.
    Interleave { order: Vec<(u32, u32)> },
    /// `RANDOMKEY`: one of those that are not null, by the seed.
    PickOne { seed: u64 },
}

impl Gather {
    /// One reply of many. The first error, if any part failed, is the reply.
    pub fn join(&self, replies: Vec<Value>) -> Value {
        let _ = replies;
        todo!()
    }
}

/// Decides where a command goes. `group_of` maps a slot to its partition. `SCAN` goes to the slot of its cursor.
///
/// # Errors
/// `CROSSSLOT`, or a syntax error that hides the keys.
pub fn route(
    command: &Command,
    arguments: &[Bytes],
    group_of: &dyn Fn(u16) -> u32,
    seed: u64,
) -> Result<Route, Value> {
    let _ = (command, arguments, group_of, seed);
    todo!()
}

/// Where the keys stand among the arguments.
///
/// # Errors
/// A syntax error that hides the keys.
pub fn keys_of(command: &Command, arguments: &[Bytes]) -> Result<Vec<usize>, Value> {
    let _ = (command, arguments);
    todo!()
}
