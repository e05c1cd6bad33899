//! What nodes hold for replicas that cannot be reached (`SLOPPY yes`).

use replication::merged::causal::{Causal, Message};
use replication::{PartitionId, wire};

use super::World;
use crate::oracle::Violation;

impl World {
    /// What is told to a node that stands in is told.
    pub(super) fn on_hint_sent(&mut self, message: &wire::Message) -> Result<(), Violation> {
        if let wire::Message::Causal { partition, message: Message::Hint { mutations, .. } } = message {
            for payload in mutations {
                self.counters.add("hints.told");
                self.merged.on_told(*partition, payload)?;
            }
        }
        Ok(())
    }

    /// Is there anything that a node holds for others, though all are back?
    pub(super) fn undelivered(&self) -> Option<String> {
        self.nodes.iter().find_map(|node| {
            let all = node.process.as_ref()?.shard.hints();
            let some = all.into_iter().find(|hints| hints.hints > 0)?;
            Some(format!("node {} still holds {some:?}", node.id.0))
        })
    }

    /// What was acknowledged before a disk or a node was lost, or goes, is with all replicas by now: so another one may be lost.
    pub(super) fn loss_is_made_up_for(&self) -> bool {
        if !self.scenario.is_sloppy() {
            return true;
        }
        let newest = self.operator.newest();
        let (acknowledged, removed) = self.merged.at_loss();
        let everywhere = |partition: &PartitionId| {
            let Some(group) = newest.primaries.get(partition) else { return true };
            group.seats.keys().all(|id| {
                let node = self.nodes.iter().find(|node| node.id == *id);
                let replica = node.and_then(|node| node.process.as_ref()?.shard.causal(*partition));
                replica.is_some_and(|replica| replica.durable().includes(&acknowledged[partition]))
            })
        };
        removed == newest.removed.len() && acknowledged.keys().all(everywhere)
    }

    /// Now and then: is what was acknowledged on two disks at least? Whoever was removed has taken what it held with it, at the most.
    pub(super) fn check_disks(&mut self) -> Result<(), Violation> {
        if self.scenario.leaderless.is_none() {
            return Ok(());
        }
        let newest = self.operator.newest().clone();
        let removed = newest.removed.len();
        if self.merged.at_loss().1 != removed {
            for node in newest.removed.keys() {
                self.merged.on_loss(*node, removed);
            }
        }
        for (&partition, group) in &newest.primaries {
            for node in &self.nodes {
                let Some(process) = &node.process else {
                    self.merged.is_down(node.id, partition);
                    continue;
                };
                let has_seat = group.seats.contains_key(&node.id);
                let durable = process.shard.causal(partition).map(Causal::durable);
                let hinted = process.shard.hinted(partition);
                let who = (node.id, node.life, self.at);
                let has_more = (has_seat && durable.is_none()) || process.shard.has_unopened_hints(partition);
                self.merged.on_disk(who, (partition, has_more), durable, hinted);
            }
            self.merged.check_disks(partition)?;
            self.counters.add("check.disks");
        }
        for node in &self.nodes {
            let held = node.process.iter().flat_map(|process| process.shard.hints());
            self.counters.add_many("hints.held", held.map(|hints| hints.hints).sum());
        }
        Ok(())
    }

    /// A write was acknowledged: with how many of the replicas, and with whom else?
    pub(super) fn count_hinted(&mut self, partition: PartitionId, dot: data::merged::Dot) {
        if !self.scenario.is_sloppy() {
            return;
        }
        let holds = |node: &&crate::node::Node| {
            let replica = node.process.as_ref().and_then(|process| process.shard.causal(partition));
            replica.is_some_and(|replica| replica.durable().covers(dot))
        };
        let hinted = |node: &&crate::node::Node| {
            node.process.as_ref().is_some_and(|process| process.shard.hinted(partition).contains(&dot))
        };
        if self.nodes.iter().filter(holds).count() < 2 && self.nodes.iter().any(|node| hinted(&node)) {
            self.counters.add("hints.counted");
        }
    }
}
