//! Nodes that stand in for members that cannot be reached, as a member sees them (sloppy quorum and hinted handoff: DeCandia et al., Dynamo, SOSP
//! 2007, section 4.6). What they do is in [`crate::merged::hints`].
//!
//! One is told all that is durable here and not with all members, in the order of this log, whoever made it: so it has the causes of all that it
//! has, and what it holds is one vector, as with members. It counts for a write when that vector covers it.
//!
//! What is folded here cannot be told one by one, so one that has not got it by then does not count until members have it.

use std::time::Duration;

use bytes::Bytes;
use data::merged::{Dot, VersionVector};

use super::{Causal, Message};
use crate::NodeId;
use crate::time::{Now, Time};

/// What is known of one.
#[derive(Debug)]
pub(super) struct StandIn {
    /// All of this is durable there, or with all members.
    holds: VersionVector,
    heard: bool,
    heard_at: Time,
    /// It has room.
    takes: bool,
    /// Entries of this log up to this one were sent.
    sent: u64,
    /// When something was sent first that it has not said to hold since, or when it last said more.
    waiting_since: Option<Time>,
    told_at: Option<Time>,
}

impl StandIn {
    pub fn wake_at(&self, options: &super::Options) -> Time {
        let tell_at = self.told_at.map_or(Time::default(), |told_at| told_at + options.tell_every);
        let again_at = self.waiting_since.map_or(Time::NEVER, |since| since + options.resend_after);
        tell_at.min(again_at)
    }
}

impl Causal {
    /// These stand in from now on, and no others.
    pub fn set_stand_ins(&mut self, nodes: &[NodeId], now: Now) {
        self.stand_ins.retain(|node, _| nodes.contains(node));
        for &node in nodes {
            self.stand_ins.entry(node).or_insert_with(|| StandIn {
                holds: VersionVector::new(),
                heard: false,
                heard_at: now.time,
                takes: true,
                sent: 0,
                waiting_since: None,
                told_at: None,
            });
        }
    }

    /// Those that stand in.
    pub fn stand_ins(&self) -> impl Iterator<Item = NodeId> {
        self.stand_ins.keys().copied()
    }

    /// Was one heard within this time, or asked to stand in, and has it room?
    pub fn may_stand_in(&self, node: NodeId, within: Duration, now: Now) -> bool {
        let stand_in = self.stand_ins.get(&node);
        stand_in.is_some_and(|stand_in| stand_in.takes && stand_in.heard_at + within > now.time)
    }

    /// Does that node stand in, and take what it is told?
    pub fn has_stand_in(&self, node: NodeId) -> bool {
        self.stand_ins.get(&node).is_some_and(|stand_in| stand_in.heard && stand_in.takes)
    }

    /// How many of those that stand in, of whom `counts` says so, hold a mutation durably, as far as known here.
    pub fn stand_in_copies(&self, dot: Dot, counts: impl Fn(NodeId) -> bool) -> usize {
        let holders =
            self.stand_ins.iter().filter(|(node, stand_in)| counts(**node) && stand_in.holds.covers(dot));
        holders.count()
    }

    /// Tells them what they have not got.
    pub(super) fn hint(&mut self, now: Now) {
        for (&node, stand_in) in &mut self.stand_ins {
            if stand_in.waiting_since.is_some_and(|since| since + self.options.resend_after <= now.time) {
                // Nothing came of what was sent: all of it again.
                (stand_in.sent, stand_in.waiting_since) = (0, None);
            }
            let has_causes = stand_in.heard && stand_in.takes && stand_in.holds.includes(&self.kept.folded);
            let mut batches: Vec<Vec<Bytes>> = Vec::new();
            if has_causes && stand_in.sent < self.persisted {
                // From the end, where they are.
                let unsent = self.kept.recent().rev().take_while(|entry| entry.index > stand_in.sent);
                let durable = unsent.filter(|entry| entry.index <= self.persisted);
                let mut entries: Vec<_> = durable.filter(|entry| !stand_in.holds.covers(entry.dot)).collect();
                entries.reverse();
                entries.truncate(self.options.window as usize);
                stand_in.sent = entries.last().map_or(self.persisted, |entry| entry.index);
                let mut bytes = usize::MAX;
                for entry in entries {
                    if bytes >= self.options.batch_bytes {
                        batches.push(Vec::new());
                        bytes = 0;
                    }
                    bytes += entry.bytes.len();
                    batches.last_mut().expect("one was begun").push(entry.bytes.clone());
                }
            }
            let is_due = stand_in.told_at.is_none_or(|told_at| told_at + self.options.tell_every <= now.time);
            if !batches.is_empty() {
                stand_in.waiting_since.get_or_insert(now.time);
            } else if is_due {
                // A sign of life, which is answered.
                batches.push(Vec::new());
            }
            for mutations in batches {
                stand_in.told_at = Some(now.time);
                self.effects.send.push((node, Message::Hint { base: self.kept.base.clone(), mutations }));
            }
        }
    }

    /// One of them says what it holds.
    pub(super) fn on_hinted(&mut self, from: NodeId, vector: VersionVector, takes: bool, now: Now) {
        let Some(stand_in) = self.stand_ins.get_mut(&from) else { return };
        (stand_in.heard, stand_in.heard_at, stand_in.takes) = (true, now.time, takes);
        let is_more = !stand_in.holds.includes(&vector);
        // It may be another life, which has less: what it said before was true, and is not what it has got now.
        stand_in.holds = vector;
        if stand_in.holds.includes(&self.durable) {
            stand_in.waiting_since = None;
        } else if is_more && stand_in.waiting_since.is_some() {
            stand_in.waiting_since = Some(now.time);
        }
    }
}
