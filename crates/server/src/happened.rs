//! What became of keyspaces on this side, since when, and who could be reached: looked at twice a second, kept for `CLUSTER PARTITIONS` and the page,
//! and logged when it changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use replication::catalogue::{Answer, Catalogue};
use replication::{NodeId, PartitionId};

use crate::cluster::ClusterState;
use crate::command::explain::here;

/// The most that is kept.
const EVENTS: usize = 100;

/// How a keyspace fares on this side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fares {
    /// What is said to writes, at the worst.
    pub writes: Answer,
    /// What is said to reads, at the worst.
    pub reads: Answer,
    /// Since when, in milliseconds of the wall clock.
    pub since_ms: u64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in milliseconds of the wall clock.
    pub at_ms: u64,
    /// What.
    pub text: String,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Happened {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What was looked at last: who was gone, in which epoch.
    looked_at: Option<(BTreeSet<NodeId>, u64)>,
    fares: BTreeMap<Bytes, Fares>,
    /// Who held copies for reads alone that had caught up.
    readers: BTreeMap<PartitionId, BTreeSet<NodeId>>,
    events: VecDeque<Event>,
}

impl Happened {
    /// Looks at the state of things.
    pub fn look(&self, state: &ClusterState, now_ms: u64) {
        let Some(catalogue) = &state.catalogue else { return };
        let gone: BTreeSet<NodeId> = state.unreachable().map(|(node, _)| node).collect();
        let mut inner = self.lock();
        if inner
            .looked_at
            .as_ref()
            .is_some_and(|(before, epoch)| *before == gone && *epoch == catalogue.epoch)
        {
            return;
        }
        let before = inner.looked_at.replace((gone.clone(), catalogue.epoch));
        let before = before.map_or(BTreeSet::new(), |(gone, _)| gone);
        let name = |node: &NodeId| {
            catalogue
                .members
                .get(node)
                .map_or_else(|| format!("{:016x}", node.0), |member| member.name.clone())
        };
        for node in gone.difference(&before) {
            inner.note(now_ms, format!("{} cannot be reached from here", name(node)));
        }
        for node in before.difference(&gone) {
            inner.note(now_ms, format!("{} can be reached again", name(node)));
        }
        inner.compare_readers(state, now_ms, &name);
        inner.compare(catalogue, state, now_ms);
    }

    /// How a keyspace fares, as of the last look.
    pub fn fares(&self, prefix: &[u8]) -> Option<Fares> {
        self.lock().fares.get(prefix).cloned()
    }

    /// What happened, the latest first.
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.iter().rev().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn compare_readers(&mut self, state: &ClusterState, now_ms: u64, name: &dyn Fn(&NodeId) -> String) {
        let placed =
            state.placement.readers.keys().map(|partition| (*partition, state.readers(*partition).collect()));
        let now: BTreeMap<PartitionId, BTreeSet<NodeId>> = placed.collect();
        let before = std::mem::replace(&mut self.readers, now.clone());
        let none = BTreeSet::new();
        let partitions: BTreeSet<PartitionId> = before.keys().chain(now.keys()).copied().collect();
        for partition in partitions {
            let [had, has] = [&before, &now].map(|of| of.get(&partition).unwrap_or(&none));
            let slots = state.slots_of(partition);
            for node in has.difference(had) {
                self.note(
                    now_ms,
                    format!("{slots} are read at {} as well, since many reads come", name(node)),
                );
            }
            for node in had.difference(has) {
                self.note(now_ms, format!("{slots} are no more read at {}", name(node)));
            }
        }
    }

    fn compare(&mut self, catalogue: &Catalogue, state: &ClusterState, now_ms: u64) {
        // A failover that is to be is over in a moment.
        let at_last = |answer: Option<Answer>| match answer {
            Some(Answer::AcceptedAfterFailover) | None => Answer::Accepted,
            Some(answer) => answer,
        };
        self.fares.retain(|prefix, _| catalogue.keyspaces.contains_key(prefix));
        for (prefix, side) in here(catalogue, state) {
            let (writes, reads) = (at_last(side.writes.worst()), at_last(side.reads.worst()));
            let known = self.fares.get(prefix);
            if known.is_some_and(|known| (known.writes, known.reads) == (writes, reads)) {
                continue;
            }
            let is_news = known.is_some() || (writes, reads) != (Answer::Accepted, Answer::Accepted);
            self.fares.insert(prefix.clone(), Fares { writes, reads, since_ms: now_ms });
            if is_news {
                let named = match prefix.is_empty() {
                    true => "all other keys".to_owned(),
                    false => format!("keyspace {}", String::from_utf8_lossy(prefix)),
                };
                let why = side.why.first().map_or(String::new(), |why| format!(" ({why})"));
                self.note(now_ms, format!("{named}: writes {}, reads {}{why}", writes.name(), reads.name()));
            }
        }
    }

    fn note(&mut self, at_ms: u64, text: String) {
        tracing::warn!("{text}");
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(Event { at_ms, text });
    }
}
