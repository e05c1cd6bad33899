//! What comes from other replicas.

use std::time::Duration;

use bytes::Bytes;
use data::merged::Merge;
#[cfg(any(test, feature = "planted-bugs"))]
use data::merged::VersionVector;

#[cfg(any(test, feature = "planted-bugs"))]
use super::Bug;
use super::{Causal, Event, Holds, Message};
use crate::NodeId;
use crate::time::Now;

/// That an origin's clock is ahead is told so often.
const SKEW_TOLD_EVERY: Duration = Duration::from_secs(1);

impl Causal {
    /// Takes a message.
    pub fn receive(&mut self, from: NodeId, message: Message, now: Now) {
        match message {
            Message::Mutations(mutations) => {
                for bytes in mutations {
                    self.take(from, bytes, now);
                }
            }
            Message::Holds(holds) => self.on_holds(from, holds, now),
            Message::Want(want) => self.on_want(from, want, now),
            Message::Piece { id, body } => self.on_piece(from, id, body, now),
            Message::Range(range) => self.on_range(from, range, now),
            Message::RangeIs { round, digest } => self.on_range_is(from, round, digest),
            Message::Rebuild { round } => self.on_rebuild(from, round),
            Message::Ask { round, vector } => self.on_ask(from, round, &vector, now),
            Message::Told { round, vector } => self.on_told(from, round, vector, now),
            // That is for nodes that stand in for members.
            Message::Hint { .. } => {}
            Message::Hinted { vector, takes } => self.on_hinted(from, vector, takes, now),
            Message::Rights { key, amount } => self.on_rights(from, &key, amount, now),
        }
    }

    fn take(&mut self, from: NodeId, bytes: Bytes, now: Now) {
        let Ok(merge) = Merge::decode(&bytes) else {
            return self.effects.events.push(Event::Malformed { from });
        };
        if self.vector.covers(merge.dot) {
            self.duplicates += 1;
            #[cfg(any(test, feature = "planted-bugs"))]
            if self.has_bug(Bug::AppliedTwice) {
                self.table.apply(&merge);
            }
            return;
        }
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.has_bug(Bug::GapsIgnored) && self.vector.includes(&without(&merge.vector, merge.dot.origin)) {
            return self.apply(merge, bytes, now);
        }
        // What can be applied makes room, so it is always taken; some of what is missing always can.
        let can_be_applied =
            merge.dot.counter == self.vector.get(merge.dot.origin) + 1 && self.vector.includes(&merge.vector);
        if self.held_count >= self.options.held_limit && !can_be_applied {
            return;
        }
        if can_be_applied && merge.time.ms <= self.latest_ms(now) {
            // A buffer of its own: what it came in is larger, and this may be kept for long.
            self.apply(merge, Bytes::copy_from_slice(&bytes), now);
        } else {
            let of_origin = self.held.entry(merge.dot.origin).or_default();
            match of_origin.insert(merge.dot.counter, merge) {
                None => self.held_count += 1,
                Some(_) => self.duplicates += 1,
            }
        }
        if can_be_applied && self.held_count > 0 {
            self.retry_held(now);
        }
    }

    /// What is later waits for this node's clock.
    fn latest_ms(&self, now: Now) -> u64 {
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.options.planted == Some(Bug::SkewIgnored) {
            return u64::MAX;
        }
        now.wall_ms.saturating_add(self.options.max_skew.as_millis() as u64)
    }

    /// Applies what is held and has all that it depends on by now.
    pub(super) fn retry_held(&mut self, now: Now) {
        while let Some(merge) = self.next_ready(now) {
            let bytes = merge.encode();
            self.apply(merge, bytes, now);
        }
        self.held.retain(|_, of_origin| !of_origin.is_empty());
    }

    /// Takes a mutation out that can be applied.
    fn next_ready(&mut self, now: Now) -> Option<Merge> {
        let latest_ms = self.latest_ms(now);
        let origins: Vec<u64> = self.held.keys().copied().collect();
        for origin in origins {
            let of_origin = self.held.get_mut(&origin)?;
            // Such as came by another way meanwhile.
            while let Some(first) = of_origin.first_entry()
                && *first.key() <= self.vector.get(origin)
            {
                first.remove();
                self.held_count -= 1;
                self.duplicates += 1;
            }
            let Some(first) = of_origin.first_entry() else { continue };
            let merge = first.get();
            let is_next = merge.dot.counter == self.vector.get(origin) + 1;
            #[cfg(any(test, feature = "planted-bugs"))]
            let blind = self.options.planted == Some(Bug::DependenciesIgnored);
            #[cfg(not(any(test, feature = "planted-bugs")))]
            let blind = false;
            if !is_next || !(blind || self.vector.includes(&merge.vector)) {
                continue;
            }
            if merge.time.ms > latest_ms {
                let ahead_ms = merge.time.ms - now.wall_ms;
                let told = self.skew_told.get(&origin).is_some_and(|at| *at + SKEW_TOLD_EVERY > now.time);
                if !told {
                    self.skew_told.insert(origin, now.time);
                    self.effects.events.push(Event::Skewed { origin, ahead_ms });
                }
                continue;
            }
            self.held_count -= 1;
            return Some(first.remove());
        }
        None
    }

    fn on_holds(&mut self, from: NodeId, holds: Holds, now: Now) {
        let me = self.options.origin;
        let Holds { vector, base, folded, digest, knows } = holds;
        if let Some(theirs) = digest.filter(|_| vector == self.vector) {
            let ours = self.table.digest();
            if ours != theirs {
                self.differences += 1;
                self.effects.events.push(Event::Differs { from, ours, theirs });
            }
        }
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.hear(now);
        (peer.base, peer.folded) = (base, folded);
        peer.knows = peer.knows.max(knows);
        if vector.get(me) > peer.holds.get(me) {
            peer.waiting_since = Some(now.time);
        }
        peer.holds.merge(&vector);
        peer.heard = true;
        if peer.holds.get(me) >= peer.sent {
            peer.sent = peer.holds.get(me);
            peer.waiting_since = None;
        }
    }
}

/// A vector without an origin.
#[cfg(any(test, feature = "planted-bugs"))]
fn without(vector: &VersionVector, origin: u64) -> VersionVector {
    vector.iter().filter(|dot| dot.origin != origin).map(|dot| (dot.origin, dot.counter)).collect()
}
