//! From a command to its reply and its mutation.
//!
//! Promise: the same command, view and stamp give the same reply and the same mutation, and the mutation depends on
//! neither time, chance nor earlier state any more. A command that changes nothing gives no mutation, so it needs no
//! place in the log.
//!
//! Where to read next: `context` (what a command's code works with), `commands` (the code of the commands).

use bytes::Bytes;
use resp::Value;
use xxhash_rust::xxh3::xxh3_128;

use crate::collection::CollectionRef;
use crate::command::Spread;
use crate::context::{Context, Handler, delete_all};
use crate::entry::{Entry, ValueRef};
use crate::merged::{self, Dot, MergedTable};
use crate::mutation::MutationBuilder;
use crate::route::{self, Route};
use crate::view::{Found, Pending};
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
        delete_all(&self.expired).finish()
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
///
/// Time is that of the stamp; [`View::now_ms`] plays no part.
pub fn prepare(command: &Command, arguments: &[Bytes], view: &View<'_>, stamp: &Stamp) -> Prepared {
    let context = Context::new(view, None, stamp.time_ms, stamp.seed, command.name);
    let (reply, mutation, _) = context.run(handler_of(command), arguments);
    Prepared { reply, mutation }
}

/// Prepares `MULTI ... EXEC`: all commands, reads among them, see the effects of those before them; the mutation is
/// applied as one. A watched key that changed gives `NullArray` and no mutation.
///
/// A command that fails answers with its error in its place, and the others go on. Commands that are not about keys of
/// one partition (`DBSIZE`, `SCAN`, those that the server answers) fail that way.
pub fn prepare_transaction(
    commands: &[(&'static Command, Vec<Bytes>)],
    watches: &[Watch],
    view: &View<'_>,
    stamp: &Stamp,
) -> Prepared {
    let unchanged = |watch: &Watch| fingerprint_at(&watch.key, view, stamp.time_ms) == watch.fingerprint;
    if !watches.iter().all(unchanged) {
        return Prepared { reply: Value::NullArray, mutation: None };
    }
    let mut own = Pending::default();
    let mut whole = MutationBuilder::new();
    let mut replies = Vec::with_capacity(commands.len());
    for (index, (command, arguments)) in commands.iter().enumerate() {
        if let Err(error) = fit_for_transaction(command, arguments) {
            replies.push(error);
            continue;
        }
        // Chance differs from command to command, time does not.
        let seed = stamp.seed.wrapping_add(index as u64);
        let context = Context::new(view, Some(&own), stamp.time_ms, seed, command.name);
        let (reply, mutation, _) = context.run(handler_of(command), arguments);
        replies.push(reply);
        if let Some(mutation) = mutation {
            whole.append(&mutation);
            own.record(index as u64, &mutation);
        }
    }
    Prepared { reply: Value::Array(replies), mutation: whole.finish() }
}

/// Prepares a write command over a table whose keys are elements that merge ([`merged`](crate::merged)), as the mutation `dot`.
pub fn prepare_merged(
    command: &Command,
    arguments: &[Bytes],
    table: &MergedTable,
    dot: Dot,
    stamp: &Stamp,
) -> merged::Prepared {
    let view = View::of_merged(table, dot, stamp.time_ms);
    let prepared = prepare(command, arguments, &view, stamp);
    merged::Prepared::of(prepared, table, dot)
}

/// The same for `MULTI ... EXEC`: its mutation comes to others as one.
pub fn prepare_merged_transaction(
    commands: &[(&'static Command, Vec<Bytes>)],
    watches: &[Watch],
    table: &MergedTable,
    dot: Dot,
    stamp: &Stamp,
) -> merged::Prepared {
    let view = View::of_merged(table, dot, stamp.time_ms);
    let prepared = prepare_transaction(commands, watches, &view, stamp);
    merged::Prepared::of(prepared, table, dot)
}

/// Answers a read command.
pub fn answer(command: &Command, arguments: &[Bytes], view: &View<'_>, seed: u64) -> Answer {
    let context = Context::new(view, None, view.now_ms, seed, command.name);
    let (reply, _, expired) = context.run(handler_of(command), arguments);
    Answer { reply, expired }
}

/// The fingerprint of a key's present state, for `WATCH`; 0 if absent or expired.
pub fn fingerprint(key: &[u8], view: &View<'_>) -> u128 {
    fingerprint_at(key, view, view.now_ms)
}

fn fingerprint_at(key: &[u8], view: &View<'_>, now_ms: u64) -> u128 {
    let Some(found) = view.find(None, key).filter(|found| !found.is_expired(now_ms)) else { return 0 };
    let expire_at_ms = found.expire_at_ms();
    match found {
        Found::String(string) => {
            let value = string.bytes();
            let entry = Entry { key: b"", value: ValueRef::String(&value), expire_at_ms };
            let mut state = Vec::with_capacity(entry.encoded_bytes());
            entry.write(&mut state);
            xxh3_128(&state).max(1)
        }
        // The digest is that of the content, however it is held.
        Found::Collection(collection) => {
            let content = collection.content();
            let value = ValueRef::Collection(CollectionRef::packed(collection.kind, &content));
            Entry { key: b"", value, expire_at_ms }.digest().max(1)
        }
    }
}

/// The code of a command. Those that the server answers have none here.
fn handler_of(command: &Command) -> Handler {
    command
        .handler
        .unwrap_or(|context, _| Err(Value::error(format!("ERR '{}' is not a command on keys", context.name))))
}

fn fit_for_transaction(command: &Command, arguments: &[Bytes]) -> Result<(), Value> {
    command.check_arity(arguments)?;
    match route::route(command, arguments, &|_: u16| 0, 0)? {
        Route::Home(_) if command.spread != Spread::Cursor => Ok(()),
        _ => Err(Value::error(format!("ERR '{}' is not possible in a transaction", command.name))),
    }
}
