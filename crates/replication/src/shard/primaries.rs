//! Keyspaces whose replicas all take writes: they are here beside the partitions, since nothing of leaders and logs of others is about them.
//!
//! A request goes to the replica here if it serves, else to any other node that has one. Which are here is for the catalogue alone to say
//! ([`crate::primaries`]).

use super::outbox::Work;
use super::{Recovered, Shard};
use crate::contract::{Event, Write};
use crate::merged::causal;
use crate::merged::replica::Replica;
use crate::time::Now;
use crate::{NodeId, PartitionId, Placement};

impl Shard {
    /// Is there a replica here that takes requests?
    pub(super) fn is_primary(&self, partition: PartitionId) -> bool {
        self.primaries.get(&partition).is_some_and(Replica::is_serving)
    }

    /// Runs `act` on a replica, if it is here, and marks it for the next `finish`.
    pub(super) fn with_primary(
        &mut self,
        partition: PartitionId,
        act: impl FnOnce(&mut Replica, &mut super::Outbox),
    ) {
        if let Some(replica) = self.primaries.get_mut(&partition) {
            self.touched.insert(partition);
            act(replica, &mut self.outbox);
        }
    }

    pub(super) fn handle_primary(&mut self, partition: PartitionId, work: Work, now: Now) {
        let Some(work) = self.if_no_keyspace_was_made(partition, work) else { return };
        self.with_primary(partition, |replica, outbox| replica.handle(work, now, outbox));
    }

    pub(super) fn on_causal(
        &mut self,
        from: NodeId,
        partition: PartitionId,
        message: causal::Message,
        now: Now,
    ) {
        self.on_hint(from, partition, &message, now);
        self.with_primary(partition, |replica, _| replica.receive(from, message, now));
    }

    /// Replicas come and go as the catalogue says.
    pub(super) fn open_and_close_primaries(&mut self, placement: &Placement) {
        let node = self.options.node;
        let here: Vec<PartitionId> = self.primaries.keys().copied().collect();
        for partition in here {
            let is_known = partition.keyspace() <= placement.keyspaces_numbered;
            match placement.primaries.get(&partition) {
                Some(primaries) if primaries.seats.contains_key(&node) => {}
                Some(primaries) if !self.primaries[&partition].has_lost_its_seat(primaries) => {}
                // A node that has restarted may know only an old catalogue for a while.
                None if !is_known => {}
                Some(_) | None => self.drop_primary(partition),
            }
        }
        for (&partition, primaries) in &placement.primaries {
            let is_mine = primaries.seats.contains_key(&node)
                && placement.lane_of(partition, self.options.lanes) == self.options.lane;
            if !is_mine || self.governed.is_leaving(partition) {
                continue;
            }
            if !self.primaries.contains_key(&partition) {
                let found = self.governed.take_given_up(partition);
                let found = found.unwrap_or_else(|| Recovered::nothing(partition));
                let mut replica = Replica::new(self.options.clone(), found, primaries);
                replica.set_disk_full(self.disk_full);
                self.primaries.insert(partition, replica);
                self.outbox.event(Event::Opened { partition });
            }
            self.with_primary(partition, |replica, _| replica.set_primaries(primaries, placement));
        }
    }

    /// The replica has no seat any more, or the keyspace was dropped: nothing of it is kept.
    fn drop_primary(&mut self, partition: PartitionId) {
        if let Some(mut replica) = self.primaries.remove(&partition) {
            replica.give_up(&mut self.outbox);
        }
        self.forget_all_of(partition);
        self.outbox.event(Event::GivenUp { partition });
    }

    /// Nothing of it is kept, nor opened again before that is durable.
    pub(super) fn forget_all_of(&mut self, partition: PartitionId) {
        self.outbox.forget(partition);
        self.gate.forget(partition);
        self.touched.remove(&partition);
        if let Some(at) = self.timer_of.remove(&partition) {
            self.timers.remove(&(at, partition));
        }
        self.outbox.persist(partition, &mut vec![Write::Forget { partition }], None);
        self.governed.leaves(partition);
    }

    pub(super) fn finish_primary(&mut self, partition: PartitionId, now: Now) {
        let Some(replica) = self.primaries.get_mut(&partition) else { return };
        replica.finish(now, &mut self.outbox);
        let at = replica.wake_at(now);
        self.set_timer(partition, at);
    }
}
