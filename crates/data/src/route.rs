//! Where a command goes: which slots it touches, and how a command over several partitions is split and joined.
//!
//! Commands that may be split (see [`Spread`]) are atomic within each partition, not across them. If all keys are in one
//! partition such a command is not split.

use bytes::Bytes;
use resp::Value;
use smallvec::SmallVec;

use crate::command::{Join, Keys, Kind, Spread};
use crate::commands::scan;
use crate::number::parse_integer;
use crate::slot::key_slot;
use crate::{Command, errors};

/// Where a key lives: its slot, among the keys of its keyspace if that has groups of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Home {
    /// The number of the keyspace; 0: that of all which share the partitions.
    pub keyspace: u16,
    /// The slot.
    pub slot: u16,
}

/// Which group of keys lives together.
pub trait Homes {
    /// The keyspace of a key, as in [`Home`].
    fn keyspace_of(&self, key: &[u8]) -> u16;
    /// The group that is at home there.
    fn group_of(&self, home: Home) -> u32;

    /// Where a key lives.
    fn home_of(&self, key: &[u8]) -> Home {
        Home { keyspace: self.keyspace_of(key), slot: key_slot(key) }
    }
}

/// With a single keyspace.
impl<F: Fn(u16) -> u32> Homes for F {
    fn keyspace_of(&self, _: &[u8]) -> u16 {
        0
    }

    fn group_of(&self, home: Home) -> u32 {
        self(home.slot)
    }
}

/// Where a command is to be run.
#[derive(Debug)]
pub enum Route {
    /// By the server itself.
    Server,
    /// In the group that is at home there, as it stands.
    Home(Home),
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
    /// Where one of its keys lives.
    pub home: Home,
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

/// Decides where a command goes. `homes` says which group holds a key. `SCAN` goes to the slot of its cursor. A command
/// on keys that names none (`OBJECT HELP`) goes to slot 0: any partition can answer it. Keys that are
/// needed in one slot have to be in one keyspace, too, or in keyspaces that share the partitions.
///
/// # Errors
/// `CROSSSLOT`, or a syntax error that hides the keys.
pub fn route(command: &Command, arguments: &[Bytes], homes: &dyn Homes, seed: u64) -> Result<Route, Value> {
    if command.kind == Kind::Server {
        return Ok(Route::Server);
    }
    match command.resolve(arguments).spread {
        Spread::Everywhere(join) => Ok(Route::Every { gather: gather(join, Vec::new(), seed) }),
        Spread::Cursor => {
            let cursor =
                arguments.get(1).map_or(Ok((Home::default(), 0)), |cursor| scan::parse_cursor(cursor))?;
            Ok(Route::Home(cursor.0))
        }
        Spread::OneSlot => {
            one_home(command, arguments, homes).map(|home| Route::Home(home.unwrap_or_default()))
        }
        Spread::Parts(join) => scatter(command, arguments, homes, join, seed),
    }
}

/// Places among a command's arguments. Most commands have one key, and each asks for it, so few need no memory of their own.
pub type Places = SmallVec<[usize; 4]>;

/// Where the keys stand among the arguments.
///
/// # Errors
/// A syntax error that hides the keys.
pub fn keys_of(command: &Command, arguments: &[Bytes]) -> Result<Places, Value> {
    let row = command.resolve(arguments);
    let Keys { first, last, step } = row.keys;
    let mut counted = counted_keys(row, arguments);
    if first == 0 {
        return Ok(counted);
    }
    let count = arguments.len() as i64;
    let last = if last < 0 { count + i64::from(last) } else { i64::from(last) };
    // With several arguments a key, the last key must have all of its own.
    let whole = last - i64::from(first) + 1;
    if last >= count || whole <= 0 || whole % i64::from(step) != 0 && row.keys.last < 0 {
        return Err(errors::wrong_arity(row.name));
    }
    let mut keys: Places = (first as usize..=last as usize).step_by(step as usize).collect();
    keys.append(&mut counted);
    Ok(keys)
}

/// The keys that an argument counts. If the number is none, or too great, the command itself says so: then there are none.
fn counted_keys(row: &Command, arguments: &[Bytes]) -> Places {
    let at = row.numkeys as usize;
    let number = arguments.get(at).filter(|_| at > 0).and_then(|number| parse_integer(number));
    let after = at + 1..arguments.len();
    match number.and_then(|number| usize::try_from(number).ok()) {
        Some(count) if count <= after.len() => after.take(count).collect(),
        _ => Places::new(),
    }
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

/// The one home of all keys of a command; `None` if it names none.
///
/// # Errors
/// `CROSSSLOT`, or a syntax error that hides the keys.
pub fn one_home(command: &Command, arguments: &[Bytes], homes: &dyn Homes) -> Result<Option<Home>, Value> {
    let mut all = keys_of(command, arguments)?.into_iter().map(|index| homes.home_of(&arguments[index]));
    let Some(first) = all.next() else { return Ok(None) };
    let others: Vec<Home> = all.filter(|other| *other != first).collect();
    match others.iter().any(|other| other.slot != first.slot) {
        _ if others.is_empty() => Ok(Some(first)),
        true => Err(errors::CROSS_SLOT),
        false => Err(errors::CROSS_KEYSPACE),
    }
}

/// The cursor at which a `SCAN` begins the keys of a home.
pub fn scan_cursor(home: Home) -> u64 {
    scan::cursor_of_home(home)
}

/// The keys of a command, as `COMMAND GETKEYS` gives them.
///
/// # Errors
/// The command takes no keys, or its arguments are wrong.
pub fn get_keys(arguments: &[Bytes]) -> Result<Vec<Bytes>, Value> {
    let command = arguments.first().and_then(|name| Command::lookup(name));
    let command = command.ok_or(Value::Error("ERR Invalid command specified".into()))?;
    if !command.resolve(arguments).has_keys() {
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
    homes: &dyn Homes,
    join: Join,
    seed: u64,
) -> Result<Route, Value> {
    let keys = keys_of(command, arguments)?;
    let step = command.keys.step as usize;
    let mut parts: Vec<Part> = Vec::new();
    let mut order = Vec::with_capacity(keys.len());
    for index in keys {
        let home = homes.home_of(&arguments[index]);
        let group = homes.group_of(home);
        let number = parts.iter().position(|part| part.group == group).unwrap_or_else(|| {
            parts.push(Part { group, home, arguments: vec![arguments[0].clone()] });
            parts.len() - 1
        });
        let part = &mut parts[number].arguments;
        order.push((number as u32, ((part.len() - 1) / step) as u32));
        part.extend_from_slice(&arguments[index..index + step]);
    }
    match &parts[..] {
        [only] => Ok(Route::Home(only.home)),
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
