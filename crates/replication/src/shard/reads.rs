//! Reads that more than one replica may answer: whether a keyspace has the level that is asked for, who is asked where this node holds no replica,
//! and what a session is told that it has seen.

use super::{Shard, nodes_of};
use crate::catalogue::StrategyKind;
use crate::consistency::Seen;
use crate::contract::Call;
use crate::shard::outbox::{Wishes, is_read};
use crate::time::Now;
use crate::{NodeId, PartitionId};

impl Shard {
    /// What who is answered here has seen of a group at the most.
    pub(super) fn seen_by_answers(&self, partition: PartitionId) -> Option<Seen> {
        if let Some(replica) = self.replicas.get(&partition) {
            return Some(replica.seen());
        }
        let causal = self.primaries.get(&partition)?.causal()?;
        Some(Seen::Vector(causal.durable().clone()))
    }

    /// Why a read cannot be as fresh as is asked for, whatever the state of things.
    pub(super) fn refusal(
        &self,
        partition: PartitionId,
        call: &Call,
        wishes: &Wishes,
    ) -> Option<&'static str> {
        let level = wishes.consistency.filter(|_| is_read(call))?;
        let group = self.placement.primaries.get(&partition)?;
        match group.leaderless {
            None => level.refusal(StrategyKind::MultiPrimary, false),
            Some(options) => level.refusal(StrategyKind::Leaderless, options.sloppy),
        }
    }

    /// A node that could serve a read which any replica may answer.
    pub(super) fn best_member(&mut self, partition: PartitionId, now: Now) -> Option<NodeId> {
        let (me, peers) = (self.options.node, &self.peers);
        let others = nodes_of(&self.placement, partition).into_iter();
        let candidates: Vec<NodeId> =
            others.filter(|node| *node != me && peers.reachable(*node).is_some()).collect();
        self.forwards.loads.pick(me, candidates, &self.placement.zones, now.time)
    }

    /// A node that could serve a partition in which this one takes no part, as far as is known here.
    pub(super) fn some_member(&self, partition: PartitionId) -> Option<NodeId> {
        let known = self.replicas.get(&partition).map(|replica| replica.membership().voters.clone());
        let placed = nodes_of(&self.placement, partition);
        let mut candidates: Vec<NodeId> = Vec::new();
        for node in self.forwards.hint(partition).into_iter().chain(known.into_iter().flatten()).chain(placed)
        {
            if node != self.options.node
                && self.peers.reachable(node).is_some()
                && !candidates.contains(&node)
            {
                candidates.push(node);
            }
        }
        // Whoever knew no leader is not asked again before the others were.
        let unhelpful = self.forwards.unhelpful(partition);
        let asked = candidates.iter().position(|&node| Some(node) == unhelpful);
        let next = asked.map_or(0, |asked| asked + 1);
        candidates.get(next).or(candidates.first()).copied()
    }
}
