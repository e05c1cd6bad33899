//! Changes of members by an operator: what is wanted is asked for again and again until it is so, whoever leads meanwhile.
//! Every node then learns the new placement, some time later each.

use std::sync::Arc;

use replication::contract::{Admin, Call, Input};
use replication::{NodeId, PartitionId};

use super::{Event, World};
use crate::clock::MILLISECOND;

/// Who takes part in a partition, each list sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Members {
    pub voters: Vec<NodeId>,
    pub learners: Vec<NodeId>,
}

/// The fewest voters: fewer would make every fault an outage.
const FEWEST_VOTERS: usize = 3;

impl World {
    /// Some partition is to have other members.
    pub(super) fn want_members(&mut self) {
        if self.operator.is_some() {
            return self.want_change();
        }
        let partition = PartitionId(self.random.below(u64::from(self.scenario.partitions)) as u32);
        let mut nodes: Vec<NodeId> = self.nodes.iter().map(|node| node.id).collect();
        let count = self.random.between(FEWEST_VOTERS as u64, nodes.len() as u64) as usize;
        self.random.shuffle(&mut nodes);
        let with_learner = self.random.chance(250);
        if nodes.len() <= FEWEST_VOTERS || !self.copies_are_whole() {
            return;
        }
        let mut learners = nodes.split_off(count);
        learners.truncate(usize::from(with_learner));
        nodes.sort_unstable();
        let wanted = Members { voters: nodes, learners };
        if self.members.get(&partition).is_some_and(|(_, members)| *members == wanted) {
            return;
        }
        self.counters.add("fault.members");
        self.tell(|| format!("partition {} is to have the members {wanted:?}", partition.0));
        self.wanted.insert(partition, wanted);
    }

    /// A node whose disk is gone got no further than being a learner: it is not waited for.
    pub(super) fn drop_learner(&mut self, node: NodeId) {
        for (&partition, (_, members)) in &self.members {
            if members.learners.contains(&node) {
                let mut wanted = members.clone();
                wanted.learners.retain(|&learner| learner != node);
                self.wanted.insert(partition, wanted);
            }
        }
    }

    /// At the end nobody is to be without a vote, but for those that are about to take a lost node's place.
    pub(super) fn want_no_learners(&mut self) {
        if self.operator.is_some() {
            return;
        }
        for partition in (0..self.scenario.partitions).map(PartitionId) {
            let Some((_, members)) = self.members.get(&partition) else { continue };
            if self.rebuilding.iter().any(|(waiting, _, _)| *waiting == partition) {
                continue;
            }
            if self.wanted.contains_key(&partition) || !members.learners.is_empty() {
                let known = self.wanted.get(&partition).unwrap_or(members);
                let wanted = Members { learners: Vec::new(), ..known.clone() };
                self.wanted.insert(partition, wanted);
            }
        }
    }

    /// Asks the leaders for what is wanted.
    pub(super) fn ask_for_members(&mut self) {
        for (partition, members) in self.wanted.clone() {
            let leads = |node: &crate::node::Node| {
                let leader = node.process.as_ref().and_then(|process| process.shard.leader(partition));
                leader == Some(node.id)
            };
            let Some(node) = self.nodes.iter().position(leads) else { continue };
            let (life, now) = (self.nodes[node].life, self.nodes[node].now(self.at));
            let Some(process) = self.process(node, life) else { continue };
            let Members { voters, learners } = members;
            let call = Call::Admin(Admin::Members { voters, learners });
            let request = process.front.request(partition, call, now);
            self.take_in(node, life, Input::Request(request));
        }
    }

    /// A membership is committed for good, as some replica tells.
    pub(super) fn on_members(&mut self, partition: PartitionId, index: u64, members: Members) {
        if self.members.get(&partition).is_some_and(|(known, _)| *known >= index) {
            return;
        }
        if self.wanted.get(&partition) == Some(&members) {
            self.wanted.remove(&partition);
            self.counters.add("fault.members_changed");
        }
        if self.operator.is_some() {
            self.members.insert(partition, (index, members));
            return;
        }
        let mut placement = (*self.placement).clone();
        placement.epoch += 1;
        placement.partitions[partition.0 as usize].replicas.clone_from(&members.voters);
        self.members.insert(partition, (index, members));
        self.placement = Arc::new(placement);
        for node in 0..self.nodes.len() {
            let at = self.at + self.nodes[node].random.between(1, 300) * MILLISECOND;
            let (life, input) = (self.nodes[node].life, Input::Placement(self.placement.clone()));
            self.queue.push(at, Event::Completed { node, life, input });
        }
    }
}
