//! Clients that wait until there is something to pop (`BLPOP`).
//!
//! The leader keeps them, and tells one for each element that has come that it may try; trying is a write like any other, from
//! wherever the client is. Nothing here has to be right for safety: who is told in vain waits again, in its old place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use data::{Kind, Mutation, ValueRef};
use resp::Value;

use super::Replica;
use crate::contract::Reply;
use crate::shard::outbox::{Outbox, Requester};
use crate::time::{Now, Time};

/// One that waits.
#[derive(Debug)]
pub(crate) struct Awaiting {
    pub kind: Kind,
    pub keys: Vec<Bytes>,
    pub requester: Requester,
    pub until: Time,
}

/// Whose turn it is: since when it waits, in milliseconds of this node's clock (below 0 for one that waited elsewhere before it
/// started), then who came first.
type Turn = (i64, u64);

/// All that wait at a replica.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    waiting: BTreeMap<Turn, Awaiting>,
    by_key: BTreeMap<Bytes, BTreeSet<Turn>>,
    next: u64,
}

impl Awaited {
    fn insert(&mut self, since: i64, awaiting: Awaiting) {
        let turn = (since, self.next);
        self.next += 1;
        for key in &awaiting.keys {
            self.by_key.entry(key.clone()).or_default().insert(turn);
        }
        self.waiting.insert(turn, awaiting);
    }

    fn remove(&mut self, turn: Turn) -> Option<Awaiting> {
        let awaiting = self.waiting.remove(&turn)?;
        for key in &awaiting.keys {
            if let Some(turns) = self.by_key.get_mut(key) {
                turns.remove(&turn);
                if turns.is_empty() {
                    self.by_key.remove(key);
                }
            }
        }
        Some(awaiting)
    }

    /// When the first has waited for long enough.
    pub fn wake_at(&self) -> Time {
        self.waiting.values().map(|awaiting| awaiting.until).min().unwrap_or(Time::NEVER)
    }
}

impl Replica {
    /// Somebody waits, and has waited for so long.
    pub(super) fn wait_for_element(
        &mut self,
        awaiting: Awaiting,
        waited: Duration,
        now: Now,
        outbox: &mut Outbox,
    ) {
        // What a pending write does to the key is told when it is applied.
        let is_there =
            |key: &Bytes| self.pending.position_of(key).is_none() && self.elements_in(key, awaiting.kind) > 0;
        if awaiting.keys.iter().any(is_there) {
            return outbox.answers.push((awaiting.requester, Reply::Done(Value::Integer(1))));
        }
        let since = now.time.since(Time::default()).as_millis() as i64 - waited.as_millis() as i64;
        self.awaited.insert(since, awaiting);
    }

    /// A mutation was applied: tells those who wait for its keys, one for each element.
    pub(super) fn tell_awaiting(&mut self, mutation: &Mutation, outbox: &mut Outbox) {
        if self.awaited.waiting.is_empty() || !self.raft.is_leader() {
            return;
        }
        let keys = mutation.operations().filter_map(Result::ok).filter_map(|operation| operation.key());
        let keys: BTreeSet<Bytes> =
            keys.filter_map(|key| Some(self.awaited.by_key.get_key_value(key)?.0.clone())).collect();
        for key in keys {
            let turns = self.awaited.by_key.get(&key).into_iter().flatten().copied();
            let mut told = Vec::new();
            for kind in [Kind::List, Kind::SortedSet] {
                let waits_for = |turn: &Turn| {
                    self.awaited.waiting.get(turn).is_some_and(|awaiting| awaiting.kind == kind)
                };
                told.extend(turns.clone().filter(waits_for).take(self.elements_in(&key, kind)));
            }
            for turn in told {
                if let Some(awaiting) = self.awaited.remove(turn) {
                    outbox.answers.push((awaiting.requester, Reply::Done(Value::Integer(1))));
                }
            }
        }
    }

    /// Answers those who have waited for long enough.
    pub(super) fn end_awaiting(&mut self, now: Now, outbox: &mut Outbox) {
        let is_over = |(_, awaiting): &(&Turn, &Awaiting)| awaiting.until <= now.time;
        let over: Vec<Turn> = self.awaited.waiting.iter().filter(is_over).map(|(turn, _)| *turn).collect();
        for turn in over {
            if let Some(awaiting) = self.awaited.remove(turn) {
                outbox.answers.push((awaiting.requester, Reply::Done(Value::Integer(0))));
            }
        }
    }

    /// This replica leads no longer: whoever waits has to ask elsewhere.
    pub(super) fn send_awaiting_away(&mut self, outbox: &mut Outbox) {
        for awaiting in std::mem::take(&mut self.awaited).waiting.into_values() {
            outbox.answers.push((awaiting.requester, Reply::Done(Value::Integer(0))));
        }
    }

    /// The number of elements that a key holds, if it is of this kind.
    fn elements_in(&self, key: &[u8], kind: Kind) -> usize {
        match self.table.get(key).map(|entry| entry.value) {
            Some(ValueRef::Collection(collection)) if collection.kind == kind => collection.len(),
            _ => 0,
        }
    }
}
