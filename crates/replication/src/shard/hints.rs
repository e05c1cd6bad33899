//! What is held here for members of groups that have no replica here ([`crate::merged::hints`]): it begins when a member says so, and ends when all
//! members have it.

use std::time::Duration;

use super::{Recovered, Shard};
use crate::catalogue::CATALOGUE;
use crate::configuration::{Ask, Wish};
use crate::merged::causal::Message;
use crate::merged::hints::{self, Hints};
use crate::time::{Now, Time};
use crate::{NodeId, PartitionId, Placement};

/// How often a node that is to go says that it holds nothing for others.
const RELEASE_EVERY: Duration = Duration::from_millis(500);

impl Shard {
    /// A message about a group may be for what is held for others.
    pub(super) fn on_hint(&mut self, from: NodeId, group: PartitionId, message: &Message, now: Now) {
        let has_replica = self.primaries.contains_key(&group);
        let is_for_hints = match message {
            Message::Hint { .. } => true,
            Message::Told { round, .. } => round.life == hints::life(self.options.incarnation),
            Message::Ask { .. } => !has_replica,
            _ => false,
        };
        if !is_for_hints {
            return;
        }
        if matches!(message, Message::Hint { .. }) && !has_replica {
            self.open_hints(group, now);
        }
        let partition = group.of_hints();
        if let Some(hints) = self.hints.get_mut(&partition) {
            self.touched.insert(partition);
            hints.receive(from, message.clone(), now, &mut self.outbox);
        }
    }

    fn open_hints(&mut self, group: PartitionId, now: Now) {
        let partition = group.of_hints();
        let is_mine = self.placement.lane_of(group, self.options.lanes) == self.options.lane;
        let primaries = self.placement.primaries.get(&group).filter(|of| of.leaderless.is_some());
        let Some(primaries) = primaries.filter(|_| is_mine && !self.hints.contains_key(&partition)) else {
            return;
        };
        if self.governed.is_leaving(partition) {
            return;
        }
        let found = self.governed.take_given_up(partition);
        let found = found.unwrap_or_else(|| Recovered::nothing(partition));
        let mut hints = Hints::new(self.options.clone(), found, group, now);
        hints.set_members(primaries);
        hints.set_disk_full(self.disk_full);
        hints.set_refusing(!self.placement.active.contains(&self.options.node));
        self.hints.insert(partition, hints);
        self.touched.insert(partition);
    }

    /// What was held when the process ended is held on; what is of a keyspace that was dropped goes.
    pub(super) fn open_and_close_hints(&mut self, placement: &Placement, now: Now) {
        let mut gone = Vec::new();
        for group in self.governed.remembered_hints() {
            match placement.primaries.contains_key(&group) {
                true => self.open_hints(group, now),
                false if group.keyspace() > placement.keyspaces_numbered => {}
                false => gone.push(group.of_hints()),
            }
        }
        for (&partition, hints) in &mut self.hints {
            let Some(group) = partition.hinted() else { continue };
            hints.set_refusing(!placement.active.contains(&self.options.node));
            match placement.primaries.get(&group) {
                Some(primaries) => hints.set_members(primaries),
                // A node that has restarted may know only an old catalogue for a while.
                None if group.keyspace() > placement.keyspaces_numbered => {}
                None => gone.push(partition),
            }
            self.touched.insert(partition);
        }
        gone.into_iter().for_each(|partition| self.drop_hints(partition));
    }

    /// Nothing is held any more, or it is of no use.
    fn drop_hints(&mut self, partition: PartitionId) {
        self.hints.remove(&partition);
        self.governed.take_given_up(partition);
        self.forget_all_of(partition);
    }

    /// A node that is to go takes nothing for others any more, and says so when it has nothing.
    pub(super) fn release_hints(&mut self, now: Now) {
        let (node, placement) = (self.options.node, &self.placement);
        let is_sloppy =
            || placement.primaries.values().any(|group| group.leaderless.is_some_and(|of| of.sloppy));
        let goes = !placement.active.contains(&node) && placement.members.contains(&node);
        if !(goes && is_sloppy()) {
            self.releases_at = Time::NEVER;
            return;
        }
        if self.releases_at > now.time && self.releases_at != Time::NEVER {
            return;
        }
        self.releases_at = now.time + RELEASE_EVERY;
        if self.hints.values().all(Hints::is_empty) && self.governed.remembered_hints().is_empty() {
            let wish = Wish::Release { lane: self.options.lane, lanes: self.options.lanes };
            self.outbox.asks.push(Ask { partition: CATALOGUE, version: 0, from: node, wish });
        }
    }

    pub(super) fn finish_hints(&mut self, partition: PartitionId, now: Now) {
        let Some(hints) = self.hints.get_mut(&partition) else { return };
        hints.finish(now, &mut self.outbox);
        if hints.is_done(now) {
            return self.drop_hints(partition);
        }
        let at = hints.wake_at();
        self.set_timer(partition, at);
    }
}
