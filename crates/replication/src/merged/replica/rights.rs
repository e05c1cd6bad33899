//! Requests that take more from a counter than this replica has rights to: they wait while others are asked for theirs, for a while.
//!
//! What can be seen not to be possible is refused at once: the counter has not so much, or who has the rights was not heard lately. Nothing is
//! written meanwhile, so whoever is refused knows that nothing has happened.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use data::merged::bounded::{ALL, print, rights};

use super::Replica;
use crate::NodeId;
use crate::contract::Reply;
use crate::shard::outbox::{Outbox, Work};
use crate::time::{Now, Time};

/// A request waits for rights for so long at the most.
const PATIENCE: Duration = Duration::from_secs(2);
/// One that was asked is asked again after this time.
const ASK_AGAIN: Duration = Duration::from_millis(150);
/// Who was not heard for so long is not asked.
const SILENT: Duration = Duration::from_secs(2);
/// Requests that wait for the rights to one counter, at most.
const MOST_WAITING: usize = 10_000;

/// See the module. By the counter of which a request lacks rights.
#[derive(Debug, Default)]
pub(super) struct Short {
    counters: BTreeMap<Bytes, OfCounter>,
    /// The last entry when they were tried last.
    tried_at: u64,
}

#[derive(Debug, Default)]
struct OfCounter {
    waiting: VecDeque<Waiting>,
    asked: BTreeMap<NodeId, Time>,
}

/// A request that lacks so many rights to a counter.
#[derive(Debug)]
pub(super) struct Lacking {
    pub work: Work,
    pub key: Bytes,
    pub missing: i128,
}

#[derive(Debug)]
struct Waiting {
    work: Work,
    missing: i128,
    until: Time,
}

impl Short {
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty()
    }

    pub fn wake_at(&self) -> Time {
        let of = |counter: &OfCounter| {
            let until = counter.waiting.iter().map(|waiting| waiting.until).min();
            let again = counter.asked.values().min().map(|at| *at + ASK_AGAIN);
            until.unwrap_or(Time::NEVER).min(again.unwrap_or(Time::NEVER))
        };
        self.counters.values().map(of).min().unwrap_or(Time::NEVER)
    }

    /// Nobody will do them any more.
    pub fn give_up(&mut self, outbox: &mut Outbox) {
        for waiting in std::mem::take(&mut self.counters).into_values().flat_map(|counter| counter.waiting) {
            let text = "TRYAGAIN the keyspace is no longer held here, nothing was done";
            outbox.answers.push((waiting.work.requester, Reply::Refused(text.into())));
        }
    }
}

impl Replica {
    /// A request lacks rights: it waits, or is refused.
    pub(super) fn wait_for_rights(&mut self, lacking: Lacking, now: Now, outbox: &mut Outbox) {
        let Lacking { work, key, missing } = lacking;
        if let Some(text) = self.is_hopeless(&key, missing, now) {
            return outbox.answers.push((work.requester, Reply::Refused(text)));
        }
        let counter = self.short.counters.entry(key.clone()).or_default();
        if counter.waiting.len() >= MOST_WAITING {
            let text = format!(
                "NORIGHTS {MOST_WAITING} requests wait for rights to this counter, nothing was written"
            );
            return outbox.answers.push((work.requester, Reply::Refused(text)));
        }
        let until = work.deadline.min(now.time + PATIENCE);
        counter.waiting.push_back(Waiting { work, missing, until });
        self.ask_others(&key, now);
    }

    /// Why rights need not be waited for.
    fn is_hopeless(&self, key: &Bytes, missing: i128, now: Now) -> Option<String> {
        let causal = self.causal.as_ref()?;
        let reached = causal.holders(key, now.time - SILENT);
        let all = rights(key, causal.table());
        let others = all.iter().filter(|(origin, rights)| Some(*origin) != self.origin && *rights > 0);
        let held = others.fold(0i128, |sum, (_, rights)| sum.saturating_add(*rights));
        let in_reach = reached.iter().fold(0i128, |sum, (_, rights)| sum.saturating_add(*rights));
        if missing != ALL && missing > held {
            let value = all.iter().fold(0i128, |sum, (_, rights)| sum.saturating_add(*rights));
            return Some(format!(
                "OUTOFBOUNDS the counter is {}, and would fall below 0; nothing was written",
                print(value)
            ));
        }
        let needed = missing.min(held);
        (needed > in_reach).then(|| {
            format!(
                "NORIGHTS {} of the counter may be taken off by replicas alone that cannot be reached; nothing was written",
                print(held.saturating_sub(in_reach))
            )
        })
    }

    /// Asks others for what the first request for a counter lacks, and as much of what the next ones lack.
    fn ask_others(&mut self, key: &Bytes, now: Now) {
        let (Some(causal), Some(counter)) = (&mut self.causal, self.short.counters.get_mut(key)) else {
            return;
        };
        // Who has no rights any more is not asked again, and nothing is due for it.
        counter.asked.retain(|_, at| *at + ASK_AGAIN > now.time);
        let waiting = counter.waiting.iter();
        let mut missing = waiting.fold(0i128, |sum, waiting| sum.saturating_add(waiting.missing));
        for (node, rights) in causal.holders(key, now.time - SILENT) {
            if missing <= 0 {
                break;
            }
            if let Entry::Vacant(first) = counter.asked.entry(node) {
                first.insert(now.time);
                causal.ask_for_rights(node, key.clone(), missing);
            }
            missing = missing.saturating_sub(rights);
        }
    }

    /// Tries those that wait again, if anything has come, and refuses those that have waited for too long.
    pub(super) fn retry_short(&mut self, now: Now, outbox: &mut Outbox) {
        if self.short.is_empty() {
            return;
        }
        let last = self.causal.as_ref().map_or(0, super::Causal::last_index);
        let has_come = last != self.short.tried_at;
        let keys: Vec<Bytes> = self.short.counters.keys().cloned().collect();
        for key in keys {
            if has_come {
                self.retry_counter(&key, now, outbox);
            }
            let Some(counter) = self.short.counters.get_mut(&key) else { continue };
            counter.waiting.retain(|waiting| {
                let goes_on = waiting.until > now.time;
                if !goes_on {
                    let text = "NORIGHTS others did not hand over their rights to the counter in time; nothing was written";
                    outbox.answers.push((waiting.work.requester, Reply::Refused(text.into())));
                }
                goes_on
            });
            match counter.waiting.is_empty() {
                true => {
                    self.short.counters.remove(&key);
                }
                false => self.ask_others(&key, now),
            }
        }
        self.short.tried_at = self.causal.as_ref().map_or(0, super::Causal::last_index);
    }

    /// Does what can be done by now, in the order in which it came.
    fn retry_counter(&mut self, key: &Bytes, now: Now, outbox: &mut Outbox) {
        while let Some(counter) = self.short.counters.get_mut(key) {
            let Some(waiting) = counter.waiting.pop_front() else { return };
            let Waiting { work, until, .. } = waiting;
            let Some(Lacking { work, key: short, missing }) = self.try_write(work, now, outbox) else {
                continue;
            };
            match self.is_hopeless(&short, missing, now) {
                Some(text) => outbox.answers.push((work.requester, Reply::Refused(text))),
                // It may lack rights to another counter now.
                None => {
                    let counter = self.short.counters.entry(short.clone()).or_default();
                    counter.waiting.push_front(Waiting { work, missing, until });
                    if short == *key {
                        return;
                    }
                }
            }
        }
    }
}
