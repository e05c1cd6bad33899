//! Replicas that all take writes: what each holds is what the mutations come to that it has applied, whatever the order in which they came.
//!
//! The judge sees every mutation as its origin logs it, and again as it is told to others. No two that anybody but their origin can know have
//! one name. At any moment what a replica has applied is closed under causes, and its state is that of those mutations in the order of
//! their times (so a cause has an earlier time than its effects).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use data::merged::{Dot, Facet, Merge, MergedTable, VersionVector};
use replication::merged::causal::Causal;
use replication::{NodeId, PartitionId};

use super::Violation;
use crate::clock::{SECOND, TrueTime};

/// See the module.
#[derive(Debug, Default)]
pub struct Merged {
    /// As it was logged last by its origin: what was not durable may be lost, and its name given again.
    logged: BTreeMap<(PartitionId, Dot), Bytes>,
    /// As it was told.
    told: BTreeMap<(PartitionId, Dot), Bytes>,
    /// What clients were told to be done, as it was logged: another mutation of the same name is not that.
    acknowledged: Vec<(PartitionId, Dot, Option<Bytes>)>,
    /// Those of them that are not lost with one disk.
    surviving: BTreeSet<(PartitionId, Dot)>,
    /// The same, of each origin up to which.
    acknowledged_up_to: BTreeMap<PartitionId, VersionVector>,
    /// The same when a disk or a node was lost last, and how many nodes had been removed by then.
    at_loss: (BTreeMap<PartitionId, VersionVector>, usize),
    /// What is on the disk of each node, as it said when it was up last.
    disks: BTreeMap<(NodeId, PartitionId), OnDisk>,
    /// All that was acknowledged when a replica of a `leaderless` keyspace asked the others.
    asked: BTreeMap<(NodeId, PartitionId, u64), VersionVector>,
}

/// What a node has on its disk of a group.
#[derive(Debug, Default)]
struct OnDisk {
    vector: VersionVector,
    hinted: BTreeSet<Dot>,
    /// The life of the process that said so, and when it was up first.
    life: (u64, TrueTime),
    /// It may hold more.
    is_unknown: bool,
}

/// So long after its start a process may not have opened all that it holds.
const OPENS_IN: TrueTime = 5 * SECOND;

impl Merged {
    /// A node is up in that life, and has this on its disk: as a replica, if it is one, and as one that stands in for others. `has_more`: it has
    /// not opened all that it found there, since it does not know the catalogue.
    pub fn on_disk(
        &mut self,
        (node, life, at): (NodeId, u64, TrueTime),
        (partition, has_more): (PartitionId, bool),
        replica: Option<&VersionVector>,
        hinted: Vec<Dot>,
    ) {
        let disk = self.disks.entry((node, partition)).or_default();
        if disk.life.0 != life {
            disk.life = (life, at);
        }
        disk.is_unknown = disk.life.1 + OPENS_IN > at || has_more;
        if !disk.is_unknown {
            disk.vector = replica.cloned().unwrap_or_default();
            disk.hinted = hinted.into_iter().collect();
        }
    }

    /// A node is down: it may hold more than it said last.
    pub fn is_down(&mut self, node: NodeId, partition: PartitionId) {
        self.disks.entry((node, partition)).or_default().is_unknown = true;
    }

    /// What was acknowledged since a disk was lost last is on two of them, if more than one was waited for.
    ///
    /// # Errors
    /// It is not.
    pub fn check_disks(&self, partition: PartitionId) -> Result<(), Violation> {
        let disks: Vec<&OnDisk> =
            self.disks.iter().filter(|((_, of), _)| *of == partition).map(|(_, disk)| disk).collect();
        let Some(acknowledged) = self.acknowledged_up_to.get(&partition) else { return Ok(()) };
        let nothing = VersionVector::new();
        let at_loss = self.at_loss.0.get(&partition).unwrap_or(&nothing);
        for last in acknowledged.iter() {
            let mut counters: Vec<u64> = disks.iter().map(|disk| disk.vector.get(last.origin)).collect();
            counters.sort_unstable();
            let on_two = counters.iter().rev().nth(1).copied().unwrap_or(0);
            for counter in on_two.max(at_loss.get(last.origin)) + 1..=last.counter {
                let dot = Dot { counter, ..last };
                let holds = |disk: &&&OnDisk| {
                    disk.is_unknown || disk.vector.covers(dot) || disk.hinted.contains(&dot)
                };
                if self.surviving.contains(&(partition, dot)) && disks.iter().filter(holds).count() < 2 {
                    let on: Vec<_> = self.disks.iter().filter(|((_, of), _)| *of == partition).collect();
                    let text = format!("{dot:?} was acknowledged, and is not on two disks of {on:?}");
                    return Err(Violation::new("copies", text));
                }
            }
        }
        Ok(())
    }

    /// A node logs an entry.
    ///
    /// # Errors
    /// It has the name of another one.
    pub fn on_logged(&mut self, partition: PartitionId, payload: &Bytes) -> Result<(), Violation> {
        // Steps are what other mutations come to.
        let Ok(merge) = Merge::decode(payload) else { return Ok(()) };
        let name = (partition, merge.dot);
        if self.told.get(&name).is_some_and(|told| told != payload) {
            return Err(Violation::new("names", format!("two mutations are called {:?}", merge.dot)));
        }
        self.logged.insert(name, payload.clone());
        Ok(())
    }

    /// A node tells another one.
    ///
    /// # Errors
    /// See [`Merged::on_logged`].
    pub fn on_told(&mut self, partition: PartitionId, payload: &Bytes) -> Result<(), Violation> {
        self.on_logged(partition, payload)?;
        if let Ok(merge) = Merge::decode(payload) {
            self.told.insert((partition, merge.dot), payload.clone());
        }
        Ok(())
    }

    /// A client is told that a write is done.
    ///
    /// `survives`: one disk may be lost, and it is still there.
    pub fn on_acknowledged(&mut self, partition: PartitionId, dot: Dot, survives: bool) {
        if survives {
            self.surviving.insert((partition, dot));
        }
        self.acknowledged_up_to.entry(partition).or_default().raise(dot.origin, dot.counter);
        self.acknowledged.push((partition, dot, self.logged.get(&(partition, dot)).cloned()));
    }

    /// The disk of a node is lost, or a node was removed.
    pub fn on_loss(&mut self, node: NodeId, removed: usize) {
        self.at_loss = (self.acknowledged_up_to.clone(), removed);
        self.disks.retain(|(other, _), _| *other != node);
    }

    /// All that was acknowledged when that happened last, and the number that was given then.
    pub fn at_loss(&self) -> (&BTreeMap<PartitionId, VersionVector>, usize) {
        (&self.at_loss.0, self.at_loss.1)
    }

    /// A replica asks others what they hold.
    pub fn on_asked(&mut self, node: NodeId, partition: PartitionId, round: u64) {
        let vector = self.acknowledged_up_to.get(&partition).cloned();
        self.asked.insert((node, partition, round), vector.unwrap_or_default());
    }

    /// A request of that round goes on, over this.
    ///
    /// # Errors
    /// Something is missing that was acknowledged before: the register is not regular.
    pub fn on_covered(
        &self,
        node: NodeId,
        partition: PartitionId,
        round: u64,
        vector: &VersionVector,
    ) -> Result<(), Violation> {
        let Some(before) = self.asked.get(&(node, partition, round)) else {
            return Err(Violation::new(
                "quorums",
                format!("node {} goes on with a round it never began", node.0),
            ));
        };
        match vector.includes(before) {
            true => Ok(()),
            false => {
                let text = format!(
                    "node {} answers from {vector:?} what was asked when {before:?} was acknowledged",
                    node.0
                );
                Err(Violation::new("quorums", text))
            }
        }
    }

    /// So many writes were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// Looks at a replica.
    ///
    /// # Errors
    /// It holds something else than it ought to.
    pub fn look(
        &self,
        node: NodeId,
        partition: PartitionId,
        bounded: bool,
        replica: &Causal,
    ) -> Result<(), Violation> {
        let wrong = |text: String| {
            Err(Violation::new("merged", format!("node {} of {:x}: {text}", node.0, partition.0)))
        };
        let mut all = Vec::new();
        for last in replica.vector().iter() {
            for counter in 1..=last.counter {
                let dot = Dot { counter, ..last };
                let bytes = self.told.get(&(partition, dot)).or_else(|| self.logged.get(&(partition, dot)));
                let Some(merge) = bytes.and_then(|bytes| Merge::decode(bytes).ok()) else {
                    return wrong(format!("{dot:?} is applied, and nobody made it"));
                };
                if !replica.vector().includes(&merge.vector) {
                    return wrong(format!("{dot:?} is applied, and not what it depends on"));
                }
                all.push(merge);
            }
        }
        all.sort_by_key(|merge| (merge.time, merge.dot));
        let (mut table, mut applied) = (MergedTable::new(), VersionVector::new());
        for merge in &all {
            if !applied.includes(&merge.vector) {
                return wrong(format!("{:?} is earlier than what it depends on", merge.dot));
            }
            applied.raise(merge.dot.origin, merge.dot.counter);
            table.apply(merge);
        }
        let (expected, found) = (table.digest(), replica.table().digest());
        if expected != found {
            let keys = all.iter().flat_map(|merge| &merge.changes).map(data::merged::Change::key);
            let sorted = |table: &MergedTable, key: &Bytes| {
                let mut elements = table.elements(key);
                elements.sort_by_key(|(facet, name, _)| (*facet, name.clone()));
                elements
            };
            let different = keys.into_iter().find(|key| sorted(&table, key) != sorted(replica.table(), key));
            let about = different.map(|key| (key, sorted(replica.table(), key), sorted(&table, key)));
            return wrong(format!("it has another state than its mutations come to: {about:?}"));
        }
        // No state that is closed under causes has less than no rights to a counter, and so none has a counter below zero.
        for (_, key, _) in replica.table().keys_from(0).filter(|_| bounded) {
            let rights = data::merged::bounded::rights(key, replica.table());
            if rights.iter().any(|(_, rights)| *rights < 0) {
                let key = String::from_utf8_lossy(key);
                let text = format!("node {}: the rights to {key} are {rights:?}", node.0);
                return Err(Violation::new("bounds", text));
            }
            let sum: i128 = rights.iter().map(|(_, rights)| rights).sum();
            if sum != replica.table().element(key, Facet::String, b"").sum() {
                return wrong(format!("the rights to {} are not what it is", String::from_utf8_lossy(key)));
            }
        }
        match found == replica.table().recompute_digest() {
            true => Ok(()),
            false => wrong("the running digest is wrong".into()),
        }
    }

    /// At the end: whatever was acknowledged is there. `gone`: origins whose replica was lost.
    ///
    /// # Errors
    /// It is not.
    pub fn check_acknowledged(
        &self,
        partition: PartitionId,
        replica: &Causal,
        gone: impl Fn(u64) -> bool,
    ) -> Result<(), Violation> {
        let is_there = |dot: Dot, payload: &Option<Bytes>| {
            replica.vector().covers(dot) && self.logged.get(&(partition, dot)) == payload.as_ref()
        };
        let missing = self.acknowledged.iter().find(|(of, dot, payload)| {
            *of == partition
                && !is_there(*dot, payload)
                && (self.surviving.contains(&(*of, *dot)) || !gone(dot.origin))
        });
        match missing {
            None => Ok(()),
            Some((_, dot, _)) => {
                Err(Violation::new("acknowledged writes", format!("{dot:?} was acknowledged, and is gone")))
            }
        }
    }
}
