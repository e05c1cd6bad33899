//! Reads that more than one replica may answer: whether a keyspace has the level that is asked for, who is asked where this node holds no replica,
//! and what a session is told that it has seen.

use std::collections::BTreeMap;
use std::time::Duration;

use super::balance::Loads;
use super::{SWEEP_INTERVAL, Shard, Strategy, nodes_of};
use crate::catalogue::{CATALOGUE, StrategyKind};
use crate::consistency::Seen;
use crate::contract::Call;
use crate::shard::outbox::{Wishes, is_read};
use crate::time::{Now, Time};
use crate::{NodeId, PartitionId, Placement};

/// Where those that could serve have been silent for longer than this, nothing is waited for but a moment.
const HOPELESS_AFTER: Duration = Duration::from_secs(3);
/// That moment.
const LAST_HOPE: Duration = Duration::from_millis(200);

/// Who may be asked for what any replica may answer.
fn readable(placement: &Placement, partition: PartitionId) -> impl Iterator<Item = NodeId> {
    let readers = placement.readers_of(partition).iter().filter(|reader| reader.ready);
    let readers: Vec<NodeId> = readers.map(|reader| reader.node).collect();
    nodes_of(placement, partition).into_iter().chain(readers)
}

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

    /// Asks other replicas as well about reads that have no answer for long.
    pub(super) fn hedge(&mut self, now: Now) {
        let (placement, peers, me) = (&self.placement, &self.peers, self.options.node);
        let mut other = |partition: PartitionId, asked: NodeId, loads: &mut Loads| {
            let others = readable(placement, partition);
            let candidates: Vec<NodeId> = others
                .filter(|node| *node != me && *node != asked && peers.reachable(*node).is_some())
                .collect();
            let to = loads.pick(me, candidates, &placement.zones, now.time)?;
            Some((to, peers.reachable(to)?))
        };
        self.forwards.hedge(now.time, &mut other, &mut self.outbox);
    }

    /// The members of which nothing is heard, and for how long.
    pub fn silent(&self, now: Time) -> BTreeMap<NodeId, Duration> {
        let others = self.placement.members.iter().filter(|node| **node != self.options.node);
        let silent = others.filter(|node| !self.peers.is_alive(**node, now));
        silent.map(|node| (*node, self.peers.silent_for(*node, now))).collect()
    }

    /// Until when a request is worth waiting for: where nobody could serve it for long, it is refused soon. It waits for a moment all the same, since
    /// that may just be over.
    pub(super) fn patience(&mut self, partition: PartitionId, deadline: Time, now: Time) -> Time {
        // This is asked of each request, and mostly nobody can have been silent for so long.
        if now < self.nobody_gone_before {
            return deadline;
        }
        if now >= self.looks_for_gone_at {
            let others = self.placement.members.iter().filter(|node| **node != self.options.node);
            let gone_from = |node: &NodeId| now - self.peers.silent_for(*node, now) + HOPELESS_AFTER;
            self.nobody_gone_before = others.map(gone_from).min().unwrap_or_default();
            self.looks_for_gone_at = now + SWEEP_INTERVAL;
        }
        if self.placement.primaries.contains_key(&partition) {
            // Replicas that all take writes say themselves what they lack.
            return deadline;
        }
        let silent = |node: &NodeId| *node != self.options.node && !self.peers.is_alive(*node, now);
        let is_gone = |node: &NodeId| silent(node) && self.peers.silent_for(*node, now) > HOPELESS_AFTER;
        let without_majority = |partition: PartitionId| {
            let nodes = nodes_of(&self.placement, partition);
            !nodes.is_empty() && nodes.iter().filter(|node| is_gone(node)).count() * 2 >= nodes.len()
        };
        let leads = || self.replicas.get(&partition).is_some_and(Strategy::is_leader);
        let hopeless = match self.placement.groups.get(&partition).map(|group| &group.configuration) {
            // Who is in sync and gone can be taken out by the catalogue alone.
            Some(group) if group.primary == self.options.node => {
                group.in_sync.iter().any(is_gone) && without_majority(CATALOGUE)
            }
            Some(group) => is_gone(&group.primary),
            None => !leads() && without_majority(partition),
        };
        if hopeless { deadline.min(now + LAST_HOPE) } else { deadline }
    }

    /// Why nobody serves a partition, as far as can be told from here.
    pub(super) fn why_unserved(&self, partition: PartitionId, now: Time) -> String {
        let replicas = match self.placement.groups.get(&partition) {
            Some(group) => group.configuration.replicas.clone(),
            None => nodes_of(&self.placement, partition),
        };
        let silent = self.silent(now);
        let gone: Vec<Duration> = replicas.iter().filter_map(|node| silent.get(node).copied()).collect();
        let slots = match (self.placement.groups.get(&partition), self.placement.get(partition)) {
            (Some(group), _) => (group.configuration.first_slot, group.configuration.last_slot),
            (None, Some(placed)) => (placed.first_slot, placed.last_slot),
            (None, None) => (0, data::slot::SLOTS - 1),
        };
        let is_gone = |node: &NodeId| silent.contains_key(node);
        let what = match (self.placement.groups.get(&partition), gone.len() * 2 >= replicas.len().max(1)) {
            (Some(group), _) if is_gone(&group.configuration.primary) => "no primary",
            (Some(_), _) => "no answer from the primary in time",
            (None, true) => "no majority",
            (None, false) => "no answer from a majority in time",
        };
        let since = gone.iter().max().map_or(String::new(), |longest| {
            format!(
                " ({} of {} replicas unreachable for {:.1} s)",
                gone.len(),
                replicas.len(),
                longest.as_secs_f64()
            )
        });
        format!("{what} for slots {}-{}{since}", slots.0, slots.1)
    }

    /// A node that could serve a read which any replica may answer.
    pub(super) fn best_member(&mut self, partition: PartitionId, now: Now) -> Option<NodeId> {
        let (me, peers) = (self.options.node, &self.peers);
        let others = readable(&self.placement, partition);
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
