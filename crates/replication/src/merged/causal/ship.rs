//! What is told to other replicas, and again.

use std::time::Duration;

use bytes::Bytes;

#[cfg(any(test, feature = "planted-bugs"))]
use super::Bug;
use super::kept::Logged;
use super::{Causal, Holds, Message};
use crate::NodeId;
use crate::time::{Now, Time};

/// The first of these mutations, up to the one with which they are so many bytes.
pub(super) fn first_of<'a>(entries: impl Iterator<Item = &'a Logged>, most: usize) -> Vec<Bytes> {
    let mut bytes = 0;
    let fits = |entry: &&Logged| {
        let has_room = bytes < most;
        bytes += entry.bytes.len();
        has_room
    };
    entries.take_while(fits).map(|entry| entry.bytes.clone()).collect()
}

impl Causal {
    /// When [`Causal::finish`] is to be called though nothing has come.
    pub fn wake_at(&self) -> Time {
        // What is held may wait for this node's clock.
        let is_held = self.held_count > 0;
        let mut at = if is_held { self.retry_at } else { Time::NEVER };
        for peer in self.peers.values() {
            let tell_at = peer.told_at.map_or(Time::default(), |told_at| told_at + self.options.tell_every);
            at = at.min(tell_at);
            if let Some(since) = peer.waiting_since {
                at = at.min(since + self.options.resend_after);
            }
        }
        let hint_at = self.stand_ins.values().map(|stand_in| stand_in.wake_at(&self.options)).min();
        at = at.min(hint_at.unwrap_or(Time::NEVER));
        let audit_at = if self.peers.is_empty() { Time::NEVER } else { self.audits.wake_at() };
        at.min(self.repair_at()).min(audit_at)
    }

    /// Sends what others have not.
    pub(super) fn ship(&mut self, now: Now) {
        let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
        for node in nodes {
            self.tell(node, now);
            self.send_own(node, now);
            self.relay(node, now);
        }
    }

    /// What is durable here, if that has changed or was not told for a while.
    fn tell(&mut self, node: NodeId, now: Now) {
        #[cfg(any(test, feature = "planted-bugs"))]
        let early = self.has_bug(Bug::HoldsBeforeDurable);
        #[cfg(not(any(test, feature = "planted-bugs")))]
        let early = false;
        let holds = if early { &self.vector } else { &self.durable };
        let holds = self.holds_at_end.as_ref().unwrap_or(holds);
        let is_exact = self.durable == self.vector && *holds == self.vector;
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let is_due = peer.told_at.is_none_or(|told_at| told_at + self.options.tell_every <= now.time);
        if is_due || peer.told != *holds {
            peer.told.clone_from(holds);
            peer.told_at = Some(now.time);
            let holds = Holds {
                vector: holds.clone(),
                base: self.kept.base.clone(),
                folded: self.kept.asked_for.clone(),
                digest: is_exact.then(|| self.table.digest()),
                knows: self.knows,
            };
            self.effects.send.push((node, Message::Holds(holds)));
        }
    }

    /// This replica's own mutations, in order, as far as they are durable.
    fn send_own(&mut self, node: NodeId, now: Now) {
        let (me, durable) = (self.options.origin, self.durable.get(self.options.origin));
        #[cfg(any(test, feature = "planted-bugs"))]
        let durable = if self.has_bug(Bug::ToldBeforeDurable) { self.vector.get(me) } else { durable };
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.waiting_since.is_some_and(|since| since + self.options.resend_after <= now.time) {
            // Nothing came of what was sent: from where it stands.
            peer.sent = peer.holds.get(me);
            peer.waiting_since = None;
        }
        // Whoever is gone gets a little now and then, in case it hears without being heard.
        let is_silent = peer.is_silent(now);
        let window = if is_silent { self.options.window / 16 } else { self.options.window };
        let patience = if is_silent { self.options.resend_after * 9 } else { Duration::ZERO };
        let from = peer.sent.max(peer.holds.get(me));
        // What is folded is asked for.
        if from >= durable || (peer.heard && peer.holds.get(me) < self.kept.asked_for.get(me)) {
            return;
        }
        let up_to = durable.min(peer.holds.get(me).saturating_add(window));
        if from >= up_to {
            return;
        }
        // From the end, where they are: what others lack may be long.
        let own = self.kept.mutations().rev().filter(|entry| entry.dot.origin == me);
        let unsent = own.take_while(|entry| entry.dot.counter > from);
        let mut entries: Vec<_> = unsent.filter(|entry| entry.dot.counter <= up_to).collect();
        entries.reverse();
        let mut batch: Vec<Bytes> = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            if bytes >= self.options.batch_bytes {
                self.effects.send.push((node, Message::Mutations(std::mem::take(&mut batch))));
                bytes = 0;
            }
            bytes += entry.bytes.len();
            batch.push(entry.bytes.clone());
        }
        if !batch.is_empty() {
            self.effects.send.push((node, Message::Mutations(batch)));
        }
        peer.sent = up_to;
        peer.waiting_since.get_or_insert(now.time + patience);
    }

    /// What others made, if it has been here for a while and is not there yet.
    fn relay(&mut self, node: NodeId, now: Now) {
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.has_bug(Bug::NothingRelayed) {
            return;
        }
        let (me, relay_after) = (self.options.origin, self.options.relay_after);
        let Some(peer) = self.peers.get_mut(&node) else { return };
        // Who has never said what it holds may be gone; and once in a while is enough.
        if peer.relay_at > now.time || !peer.heard {
            return;
        }
        // Whether there is anything or not: they are not looked through with each batch.
        peer.relay_at = now.time + if peer.is_silent(now) { relay_after * 8 } else { relay_after / 4 };
        let late = self.kept.mutations().take_while(|entry| entry.at + relay_after <= now.time);
        let entries = late.filter(|entry| {
            entry.dot.origin != me
                && entry.dot.origin != peer.origin
                && entry.index <= self.persisted
                && !peer.holds.covers(entry.dot)
        });
        let batch = first_of(entries, self.options.batch_bytes);
        if !batch.is_empty() {
            peer.relay_at = peer.relay_at.max(now.time + relay_after);
            self.effects.send.push((node, Message::Mutations(batch)));
        }
    }
}
