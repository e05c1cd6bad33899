//! Where a command goes: which slots it touches, and how a command over several partitions is split and joined.
//!
//! Commands that may be split (see [`Spread`]) are atomic within each partition, not across them. If all keys are in one
//! partition such a command is not split.

use bytes::Bytes;
use resp::Value;

use crate::command::{Join, Keys, Kind, Spread};
use crate::commands::scan;
use crate::slot::key_slot;
use crate::{Command, errors};

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
        if let Some(error) = replies.iter().find(|reply| reply.is_error()) {
            return error.clone();
        }
        match self {
            Gather::Sum => Value::Integer(replies.iter().map(integer_of).sum()),
            Gather::AllOk => Value::OK,
            Gather::Concatenate => Value::Array(replies.into_iter().flat_map(elements_of).collect()),
            Gather::Interleave { order } => {
                let mut parts: Vec<Vec<Value>> = replies.into_iter().map(elements_of).collect();
                let element = |&(part, index): &(u32, u32)| {
                    let place = parts.get_mut(part as usize).and_then(|part| part.get_mut(index as usize));
                    place.map_or(Value::Null, |place| std::mem::replace(place, Value::Null))
                };
                Value::Array(order.iter().map(element).collect())
            }
            Gather::PickOne { seed } => {
                let mut keys: Vec<Value> =
                    replies.into_iter().filter(|reply| *reply != Value::Null).collect();
                match seed.checked_rem(keys.len() as u64) {
                    Some(index) => keys.swap_remove(index as usize),
                    None => Value::Null,
                }
            }
        }
    }
}

fn integer_of(reply: &Value) -> i64 {
    match reply {
        Value::Integer(number) => *number,
        _ => 0,
    }
}

fn elements_of(reply: Value) -> Vec<Value> {
    match reply {
        Value::Array(elements) => elements,
        other => vec![other],
    }
}

/// Decides where a command goes. `group_of` maps a slot to its partition. `SCAN` goes to the slot of its cursor. A command
/// on keys that names none (`OBJECT HELP`) goes to slot 0: any partition can answer it.
///
/// # Errors
/// `CROSSSLOT`, or a syntax error that hides the keys.
pub fn route(
    command: &Command,
    arguments: &[Bytes],
    group_of: &dyn Fn(u16) -> u32,
    seed: u64,
) -> Result<Route, Value> {
    if command.kind == Kind::Server {
        return Ok(Route::Server);
    }
    match command.spread {
        Spread::Everywhere(join) => Ok(Route::Every { gather: gather(join, Vec::new(), seed) }),
        Spread::Cursor => {
            let cursor = arguments.get(1).map_or(Ok((0, 0)), |cursor| scan::parse_cursor(cursor))?;
            Ok(Route::Slot(cursor.0))
        }
        Spread::OneSlot => one_slot(command, arguments).map(|slot| Route::Slot(slot.unwrap_or(0))),
        Spread::Parts(join) => scatter(command, arguments, group_of, join, seed),
    }
}

/// Where the keys stand among the arguments.
///
/// # Errors
/// A syntax error that hides the keys.
pub fn keys_of(command: &Command, arguments: &[Bytes]) -> Result<Vec<usize>, Value> {
    let row = command.resolve(arguments);
    let Keys { first, last, step } = row.keys;
    if first == 0 {
        return Ok(Vec::new());
    }
    let count = arguments.len() as i64;
    let last = if last < 0 { count + i64::from(last) } else { i64::from(last) };
    // With several arguments a key, the last key must have all of its own.
    let whole = last - i64::from(first) + 1;
    if last >= count || whole <= 0 || whole % i64::from(step) != 0 && row.keys.last < 0 {
        return Err(errors::wrong_arity(row.name));
    }
    Ok((first as usize..=last as usize).step_by(step as usize).collect())
}

/// The one slot of all keys of a command; `None` if it names none.
///
/// # Errors
/// `CROSSSLOT`, or a syntax error that hides the keys.
pub fn one_slot(command: &Command, arguments: &[Bytes]) -> Result<Option<u16>, Value> {
    let mut slots = keys_of(command, arguments)?.into_iter().map(|index| key_slot(&arguments[index]));
    let Some(first) = slots.next() else { return Ok(None) };
    if slots.all(|slot| slot == first) { Ok(Some(first)) } else { Err(errors::CROSS_SLOT) }
}

/// The cursor at which a `SCAN` begins the keys of `slot`.
pub fn scan_cursor(slot: u16) -> u64 {
    scan::cursor_of_slot(slot)
}

/// The keys of a command, as `COMMAND GETKEYS` gives them.
///
/// # Errors
/// The command takes no keys, or its arguments are wrong.
pub fn get_keys(arguments: &[Bytes]) -> Result<Vec<Bytes>, Value> {
    let command = arguments.first().and_then(|name| Command::lookup(name));
    let command = command.ok_or(Value::Error("ERR Invalid command specified".into()))?;
    if command.resolve(arguments).keys.first == 0 {
        return Err(errors::NO_KEYS);
    }
    let wrong = |_| Value::Error("ERR Invalid number of arguments specified for command".into());
    command.check_arity(arguments).map_err(wrong)?;
    let keys = keys_of(command, arguments).map_err(wrong)?;
    Ok(keys.into_iter().map(|index| arguments[index].clone()).collect())
}

fn scatter(
    command: &Command,
    arguments: &[Bytes],
    group_of: &dyn Fn(u16) -> u32,
    join: Join,
    seed: u64,
) -> Result<Route, Value> {
    let keys = keys_of(command, arguments)?;
    let step = command.keys.step as usize;
    let mut parts: Vec<Part> = Vec::new();
    let mut order = Vec::with_capacity(keys.len());
    for index in keys {
        let slot = key_slot(&arguments[index]);
        let group = group_of(slot);
        let number = parts.iter().position(|part| part.group == group).unwrap_or_else(|| {
            parts.push(Part { group, slot, arguments: vec![arguments[0].clone()] });
            parts.len() - 1
        });
        let part = &mut parts[number].arguments;
        order.push((number as u32, ((part.len() - 1) / step) as u32));
        part.extend_from_slice(&arguments[index..index + step]);
    }
    match &parts[..] {
        [only] => Ok(Route::Slot(only.slot)),
        _ => Ok(Route::Scatter { parts, gather: gather(join, order, seed) }),
    }
}

fn gather(join: Join, order: Vec<(u32, u32)>, seed: u64) -> Gather {
    match join {
        Join::Sum => Gather::Sum,
        Join::AllOk => Gather::AllOk,
        Join::Concatenate => Gather::Concatenate,
        Join::Interleave => Gather::Interleave { order },
        Join::PickOne => Gather::PickOne { seed },
    }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
