//! What splits mean for a shard: new partitions come about in it, and requests that were routed before go elsewhere.
//!
//! How a partition is split, and why that is safe: `ordered::replica::split`.

use std::collections::BTreeMap;

use super::outbox::Work;
use super::strategy::Strategy;
use super::{Content, Recovered, Shard};
use crate::contract::{Event, Reply};
use crate::ordered::raft::HardState;
use crate::ordered::replica::split::{Belongs, Birth, refuse_apart, where_belongs};
use crate::placement::PartitionPlacement;
use crate::time::Now;
use crate::{PartitionId, Placement};

/// New partitions that are not yet durable by themselves.
#[derive(Debug, Default)]
pub(super) struct Nursery {
    /// What a former life of this process had logged for a partition whose first state is still in its parent's log only.
    unborn: BTreeMap<PartitionId, Recovered>,
    /// Parents, by child.
    born: BTreeMap<PartitionId, PartitionId>,
}

impl Nursery {
    /// Takes those out of `recovered` that begin where a new partition does and have no state. Their parents' logs are
    /// committed up to the split at least: it was applied here before.
    ///
    /// # Panics
    /// There is no parent, which storage looks at before.
    pub fn recover(recovered: &mut BTreeMap<PartitionId, Recovered>) -> Nursery {
        let is_unborn = |found: &Recovered| found.log_start > 0 && found.snapshot.is_none();
        let children: Vec<_> =
            recovered.values().filter(|found| is_unborn(found)).map(|found| found.partition).collect();
        for &child in &children {
            let split = recovered.values_mut().find_map(|found| Some((found.gives_birth_to(child)?, found)));
            let Some((index, parent)) = split else {
                panic!(
                    "the first state of partition {} is missing: no log here says how it came about",
                    child.0
                );
            };
            let state = parent.state.as_ref().and_then(|state| HardState::decode(state)).unwrap_or_default();
            let state = HardState { commit: state.commit.max(index), ..state };
            parent.state = Some(state.encode());
        }
        let unborn = recovered.extract_if(.., |_, found| is_unborn(found)).collect();
        Nursery { unborn, born: BTreeMap::new() }
    }

    /// Is the partition one that waits for its parent to get there?
    pub fn awaits(&self, partition: PartitionId) -> bool {
        self.unborn.contains_key(&partition)
    }
}

/// Where the new partition of the split under way lives until the catalogue says.
pub(super) fn place_of_child(placement: &Placement, partition: PartitionId) -> Option<PartitionPlacement> {
    let split = placement.split.filter(|split| split.child == partition)?;
    let parent = placement.get(split.parent)?;
    let (first_slot, replicas) = (split.first_slot, parent.replicas.clone());
    Some(PartitionPlacement { first_slot, replicas, settled_at: 0, moving_to: Vec::new(), ..*parent })
}

impl Shard {
    /// Partitions that came about with the entries that were applied: their replicas begin. Returns whether there are any.
    pub(super) fn deliver(&mut self, now: Now) -> bool {
        let births = std::mem::take(&mut self.outbox.births);
        let any = !births.is_empty();
        for Birth { parent, child, meta, table, placed, leads } in births {
            if self.replicas.contains_key(&child) || self.governed.was_given_up(child) {
                // A replica here has gone on from there; this is the log being read again.
                self.with(parent, |replica, _| replica.child_is_durable(child));
                continue;
            }
            let found = self.nursery.unborn.remove(&child).unwrap_or_else(|| Recovered::nothing(child));
            let found = Recovered { snapshot: Some((meta, Content::Table(table))), ..found };
            let mut replica = Strategy::start(self.options.clone(), found, Some(&placed), now);
            replica.set_disk_full(self.disk_full);
            // A record, if there is one, is newer.
            let record = self.placement.get(child).unwrap_or(&placed);
            replica.set_placement(Some(record), true);
            replica.follow_splits(&self.placement);
            replica.limit_copies(self.placement.move_bytes_per_second);
            replica.begin_life(leads, now);
            self.replicas.insert(child, replica);
            self.touched.insert(child);
            self.nursery.born.insert(child, parent);
            if self.placement.get(child).is_some_and(|record| !record.places(self.options.node)) {
                // It went elsewhere before it came about here, and nothing else may ever change.
                self.governed.look_again(now);
            }
            self.outbox.event(Event::Born { partition: child });
        }
        any
    }

    /// A partition has a snapshot of its own.
    pub(super) fn note_durable(&mut self, partition: PartitionId) {
        if let Some(parent) = self.nursery.born.remove(&partition) {
            self.with(parent, |replica, _| replica.child_is_durable(partition));
        }
    }

    /// Is a replica to come about here by a split that is not yet applied?
    pub(super) fn is_expected(&self, partition: PartitionId) -> bool {
        let Some(parent) = self.placement.parent_of(partition) else { return false };
        let to_come = |replica: &Strategy| !replica.knows_of(partition);
        self.nursery.awaits(partition)
            || self.nursery.awaits(parent)
            || self.replicas.get(&parent).is_some_and(to_come)
    }

    /// Takes a request only if no keyspace was made meanwhile that its keys belong to: whoever routed it may
    /// not have heard of it, and what was written here nobody would find.
    pub(super) fn if_no_keyspace_was_made(&mut self, partition: PartitionId, work: Work) -> Option<Work> {
        if work.keyspaces >= self.placement.keyspaces_numbered || partition == crate::catalogue::CATALOGUE {
            return Some(work);
        }
        let elsewhere = match where_belongs(&work.call, &*self.placement) {
            Belongs::To(number) => PartitionId(number).keyspace() != partition.keyspace(),
            // Some of several keys: those that are here were chosen before the keyspace was made.
            Belongs::Apart => !self.placement.prefixes.is_empty(),
            Belongs::Anywhere => false,
        };
        if !elsewhere {
            return Some(work);
        }
        let text = "TRYAGAIN a keyspace was made meanwhile, nothing was done";
        self.outbox.answers.push((work.requester, Reply::Refused(text.into())));
        None
    }

    /// Where a request goes that waited: if partitions were split since it was routed, perhaps to another one. Only what
    /// has waited is routed anew, so that no request overtakes one of its connection that came before it.
    pub(super) fn route_anew(
        &mut self,
        partition: PartitionId,
        mut work: Work,
    ) -> Option<(PartitionId, Work)> {
        let layout = self.placement.layout();
        if work.layout >= layout || partition == crate::catalogue::CATALOGUE || partition.keyspace() != 0 {
            return Some((partition, work));
        }
        work.layout = layout;
        match where_belongs(&work.call, &*self.placement) {
            Belongs::To(number) => {
                work.requester.now_of(PartitionId(number));
                Some((PartitionId(number), work))
            }
            Belongs::Anywhere => Some((partition, work)),
            Belongs::Apart => {
                refuse_apart(work.requester, &mut self.outbox);
                None
            }
        }
    }
}

#[cfg(test)]
#[path = "splits_tests.rs"]
mod tests;
