//! What a command works with while it is prepared or answered.

use bytes::Bytes;
use resp::Value;

use crate::collection::{Element, End, Kind};
use crate::errors;
use crate::merged::{Dot, MergedTable};
use crate::mutation::{Mutation, MutationBuilder, Operation};
use crate::number::Decimal;
use crate::table::Position;
use crate::view::{Found, FoundCollection, FoundString, Pending, View};

/// The code of a command: looks at keys and adds changes. An `Err` is the error reply, and undoes the changes.
pub(crate) type Handler = fn(&mut Context<'_>, &[Bytes]) -> Result<Value, Value>;

/// A key of the applied state, and when it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub key: &'a [u8],
    pub expire_at_ms: Option<u64>,
}

impl Key<'_> {
    /// Is it past its expiry?
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expire_at_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// The key as shared bytes.
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self.key)
    }
}

/// What is added to a number ([`Context::increase`]).
pub(crate) struct Increased<'a> {
    /// Of which collection; none: a string.
    pub kind: Option<Kind>,
    pub name: &'a [u8],
    /// The sum.
    pub value: &'a [u8],
    pub amount: Decimal,
    /// There was no element of this name.
    pub is_new: bool,
}

/// A command under way: what it sees, and what it has changed so far.
///
/// A command does not see its own changes, so it looks at keys first. Keys past their expiry are absent for it, and are
/// remembered, so that the mutation deletes them.
pub(crate) struct Context<'a> {
    view: &'a View<'a>,
    /// The earlier writes of the same transaction.
    own: Option<&'a Pending>,
    /// Wall clock that decides what has expired and what relative expiries count from.
    pub now_ms: u64,
    /// For commands that ask for chance.
    pub seed: u64,
    /// The name of the command, for error texts.
    pub name: &'static str,
    changes: MutationBuilder,
    expired: Vec<Bytes>,
    /// The name of the mutation, where changes merge.
    dot: Option<Dot>,
}

impl<'a> Context<'a> {
    pub fn new(
        view: &'a View<'a>,
        own: Option<&'a Pending>,
        now_ms: u64,
        seed: u64,
        name: &'static str,
    ) -> Self {
        let (changes, expired) = (MutationBuilder::new(), Vec::new());
        Context { view, own, now_ms, seed, name, changes, expired, dot: view.dot() }
    }

    /// What `key` holds, whatever its type.
    pub fn find(&mut self, key: &Bytes) -> Option<Found<'a>> {
        let found = self.view.find(self.own, key)?;
        if found.is_expired(self.now_ms) {
            self.expired.push(key.clone());
            return None;
        }
        Some(found)
    }

    /// The string in `key`. An `Err` is `WRONGTYPE`.
    pub fn string(&mut self, key: &Bytes) -> Result<Option<FoundString<'a>>, Value> {
        match self.find(key) {
            None => Ok(None),
            Some(Found::String(string)) => Ok(Some(string)),
            Some(Found::Collection(_)) => Err(errors::WRONG_TYPE),
        }
    }

    /// The collection in `key`. An `Err` is `WRONGTYPE`.
    pub fn collection(&mut self, key: &Bytes, kind: Kind) -> Result<Option<FoundCollection<'a>>, Value> {
        match self.find(key) {
            None => Ok(None),
            Some(Found::Collection(found)) if found.kind == kind => Ok(Some(found)),
            Some(_) => Err(errors::WRONG_TYPE),
        }
    }

    /// The keys of the applied state at or after a position, in order, past their expiry or not: for commands that go through all.
    /// They do not see pending writes.
    pub fn keys_from(&self, position: Position) -> Box<dyn Iterator<Item = (Position, Key<'a>)> + 'a> {
        match self.view.merged() {
            None => Box::new(self.view.table.entries_from(position).map(|(position, entry)| {
                (position, Key { key: entry.key, expire_at_ms: entry.expire_at_ms })
            })),
            Some(table) => Box::new(
                table
                    .keys_from(position)
                    .map(|(position, key, expire_at_ms)| (position, Key { key, expire_at_ms })),
            ),
        }
    }

    /// The key before which so many stand, modulo their number.
    pub fn key_at_rank(&self, rank: u64) -> Option<Key<'a>> {
        match self.view.merged() {
            None => {
                let entry = self.view.table.entry_at_rank(rank)?;
                Some(Key { key: entry.key, expire_at_ms: entry.expire_at_ms })
            }
            Some(table) => table.key_at_rank(rank).map(|(key, expire_at_ms)| Key { key, expire_at_ms }),
        }
    }

    /// How many keys there are, those past their expiry included.
    pub fn key_count(&self) -> usize {
        self.view.merged().map_or_else(|| self.view.table.len(), MergedTable::len)
    }

    /// The first slot and the last of the applied state.
    pub fn slots(&self) -> (u16, u16) {
        self.view.slots()
    }

    /// The type of what a key holds in the applied state.
    pub fn type_name(&self, key: &[u8]) -> Option<&'static str> {
        self.view.find(None, key).map(|found| found.type_name())
    }

    /// The memory that a key takes in the applied state, in bytes, roughly.
    pub fn memory_bytes(&self, key: &[u8]) -> Option<usize> {
        match self.view.merged() {
            None => self.view.table.memory_bytes(key),
            Some(table) => table.memory_bytes(key),
        }
    }

    /// Is there any key, or may there be one?
    pub fn may_hold_keys(&self) -> bool {
        self.key_count() > 0 || self.view.pending.is_some_and(|pending| !pending.is_empty())
    }

    /// Notes a key that was found past its expiry.
    pub fn found_expired(&mut self, key: Bytes) {
        self.expired.push(key);
    }

    pub fn set(&mut self, key: &[u8], value: &[u8], expire_at_ms: Option<u64>) {
        self.changes.push(&Operation::Set { key, value, expire_at_ms });
    }

    pub fn set_range(&mut self, key: &[u8], offset: u64, bytes: &[u8]) {
        self.changes.push(&Operation::SetRange { key, offset, bytes });
    }

    /// Sets an element. `is_new`: the collection, before the command or as it has changed it, has none of this name.
    pub fn set_element(&mut self, key: &[u8], kind: Kind, element: Element<'_>, is_new: bool) {
        let Element { name, value } = element;
        self.changes.push(&Operation::SetElement { key, kind, name, value, is_new });
    }

    /// Removes an element that is there, with its value, and not the only one.
    pub fn remove_element(&mut self, key: &[u8], kind: Kind, element: Element<'_>, at_end: Option<End>) {
        let Element { name, value } = element;
        let score = if kind == Kind::SortedSet && at_end.is_some() { value } else { &[] };
        self.changes.push(&Operation::RemoveElement { key, kind, name, at_end, score });
    }

    /// Sets a collection, of which `content` has at least one element, packed.
    pub fn set_collection(&mut self, key: &[u8], kind: Kind, content: &[u8], expire_at_ms: Option<u64>) {
        self.changes.push(&Operation::SetCollection { key, kind, content, expire_at_ms });
    }

    /// `key` holds what was found in another one, and ends when that does.
    pub fn set_found(&mut self, key: &[u8], found: &Found<'_>) {
        match found {
            Found::String(string) => self.set(key, &string.bytes(), string.expire_at_ms),
            Found::Collection(collection) => {
                self.set_collection(key, collection.kind, &collection.content(), collection.expire_at_ms);
            }
        }
    }

    /// Adds to a number, a string or an element of this kind, which is `value` then. An `Err` says that so much cannot be added.
    pub fn increase(
        &mut self,
        key: &[u8],
        what: Increased<'_>,
        expire_at_ms: Option<u64>,
    ) -> Result<(), Value> {
        let Increased { kind, name, value, amount, is_new } = what;
        if !self.merges() {
            match kind {
                None => self.set(key, value, expire_at_ms),
                Some(kind) => self.set_element(key, kind, Element { name, value }, is_new),
            }
            return Ok(());
        }
        let amount = amount.units().ok_or(errors::TOO_LARGE_TO_MERGE)?;
        self.changes.push(&Operation::Increase { key, kind, name, amount, value, is_new, expire_at_ms });
        Ok(())
    }

    /// The state, where changes merge.
    pub fn merged(&self) -> Option<&'a MergedTable> {
        self.view.merged()
    }

    /// Do changes merge?
    pub fn merges(&self) -> bool {
        self.dot.is_some()
    }

    /// A position in a list that nobody else gives: where changes merge others may choose the same one.
    pub fn own_position(&self, mut position: Vec<u8>) -> Vec<u8> {
        if let Some(dot) = self.dot {
            position.extend_from_slice(&dot.origin.to_be_bytes());
            position.extend_from_slice(&dot.counter.to_be_bytes());
            position.push(1); // no position ends with a zero
        }
        position
    }

    pub fn delete(&mut self, key: &[u8]) {
        self.changes.push(&Operation::Delete { key });
    }

    /// Sets the expiry of a key that is present (`mutation` says why it must be).
    pub fn expire(&mut self, key: &[u8], expire_at_ms: Option<u64>) {
        self.changes.push(&Operation::Expire { key, expire_at_ms });
    }

    pub fn flush(&mut self) {
        self.changes.push(&Operation::Flush);
    }

    /// Runs the command: its reply, its changes (with the deletion of what it found expired first), and the expired
    /// keys.
    pub fn run(mut self, handler: Handler, arguments: &[Bytes]) -> (Value, Option<Mutation>, Vec<Bytes>) {
        let result = handler(&mut self, arguments);
        self.expired.sort_unstable();
        self.expired.dedup();
        let mut whole = delete_all(&self.expired);
        let reply = match result {
            Ok(reply) => {
                if let Some(changes) = self.changes.finish() {
                    if whole.is_empty() {
                        return (reply, Some(changes), self.expired);
                    }
                    whole.append(&changes);
                }
                reply
            }
            Err(error) => error,
        };
        (reply, whole.finish(), self.expired)
    }
}

/// The deletion of `keys`.
pub(crate) fn delete_all(keys: &[Bytes]) -> MutationBuilder {
    keys.iter().map(|key| Operation::Delete { key }).collect()
}
