//! Whether replicas hold what they ought to, all the time, and what is done if one does not.
//!
//! Under load two of them seldom have applied the same, so they cannot compare their states whole. Each goes round its keys, a range at a time:
//! it tells the others the digest of a range, and its vector at that moment. Who has all of that vector, and of what is not in it nothing
//! that touches the range, must come to the same digest. Collections of very many elements are left out, since a digest of them takes too long at once; they are
//! in the digest of the whole, which is compared whenever two have applied the same (`receive`).
//!
//! A difference is an alarm: memory that went bad, or a fault in this program. If more than half of all members agree with the one that asks, who does not is
//! the one that is wrong: it is told so, takes a state from the one that asked, and puts on top what it keeps for others, as ever. Otherwise
//! nobody can say who is right, and it stays an alarm.

use std::collections::BTreeMap;
use std::time::Duration;

use data::Position;
use data::merged::{Merge, VersionVector};
use data::table::position_of;

use super::{Causal, Event, Message};
use crate::NodeId;
use crate::time::{Now, Time};

/// How often a range is gone over.
const EVERY: Duration = Duration::from_millis(500);
/// The elements in a range, about. All replicas of all groups go over theirs and those of the others, whatever else there is to do: with 2 000 that took
/// a tenth or more of the CPU of three nodes under writes.
const ELEMENTS: usize = 250;
/// Who has not what belongs to a range waits for it so long.
const PATIENCE: Duration = Duration::from_secs(2);

/// The digest of a range of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// The number of this round, of the one that asks.
    pub round: u64,
    /// From this position on, and up to this one; `None`: to the end.
    pub from: Position,
    pub to: Option<Position>,
    /// What was applied when it was read.
    pub vector: VersionVector,
    /// Its digest.
    pub digest: u128,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Audits {
    next: Position,
    due: Time,
    /// What is gone over, and whether it was told.
    own: Option<(Range, bool)>,
    /// What others said of it, and who was told to be wrong.
    answers: BTreeMap<NodeId, u128>,
    told: Vec<NodeId>,
    /// What others ask, until when it is waited for what belongs to it.
    asked: BTreeMap<NodeId, (Range, Time)>,
    /// The last round of another in which this replica came to something else.
    differed: BTreeMap<NodeId, u64>,
    /// A state is to be taken from there.
    rebuild_from: Option<NodeId>,
}

impl Audits {
    /// From whom a state is to be taken since this replica is wrong.
    pub fn rebuild_from(&self) -> Option<NodeId> {
        self.rebuild_from
    }

    /// A state was taken.
    pub fn is_rebuilt(&mut self) {
        self.rebuild_from = None;
    }

    pub fn wake_at(&self) -> Time {
        self.due
    }
}

impl Causal {
    /// Goes over the next range, and answers what others ask.
    pub(super) fn audit(&mut self, now: Now) {
        let waiting = std::mem::take(&mut self.audits.asked);
        for (from, (range, until)) in waiting {
            self.answer_audit(from, range, until, now);
        }
        if self.audits.due <= now.time && !self.peers.is_empty() {
            self.audits.due = now.time + EVERY;
            let (from, to) = (self.audits.next, self.table.range_from(self.audits.next, ELEMENTS));
            self.audits.next = to.unwrap_or(0);
            // Of another life than the rounds before a restart, whose answers may still come.
            self.next_want += 1;
            let (vector, digest) = (self.vector.clone(), self.table.digest_of(from, to));
            let range = Range { round: self.next_want, from, to, vector, digest };
            self.audits.own = Some((range, false));
            (self.audits.answers, self.audits.told) = (BTreeMap::new(), Vec::new());
        }
        // What is not durable may be made anew under the same name.
        if let Some((range, told)) = &mut self.audits.own
            && !*told
            && self.durable.includes(&range.vector)
        {
            *told = true;
            for &node in self.peers.keys() {
                self.effects.send.push((node, Message::Range(range.clone())));
            }
        }
    }

    /// Another replica asks what a range comes to here.
    pub(super) fn on_range(&mut self, from: NodeId, range: Range, now: Now) {
        if self.peers.contains_key(&from) {
            self.answer_audit(from, range, now.time + PATIENCE, now);
        }
    }

    fn answer_audit(&mut self, from: NodeId, range: Range, until: Time, now: Now) {
        if !self.vector.includes(&range.vector) {
            if until > now.time {
                self.audits.asked.insert(from, (range, until));
            }
            return;
        }
        if self.incoming.is_some() || self.has_touched(&range) {
            return;
        }
        let digest = self.table.digest_of(range.from, range.to);
        if digest != range.digest {
            self.audits.differed.insert(from, range.round);
        }
        self.effects.send.push((from, Message::RangeIs { round: range.round, digest }));
    }

    /// Is there anything here that touches the range, or may, and is not in its vector?
    fn has_touched(&self, range: &Range) -> bool {
        let is_in = |key: &[u8]| {
            let at = position_of(key);
            at >= range.from && range.to.is_none_or(|to| at < to)
        };
        let touches = |bytes| {
            Merge::decode(bytes).is_ok_and(|merge| merge.changes.iter().any(|change| is_in(change.key())))
        };
        let mut later = self.kept.recent().filter(|entry| !range.vector.covers(entry.dot));
        !range.vector.includes(&self.kept.folded) || later.any(|entry| touches(&entry.bytes))
    }

    /// What a range comes to at another replica.
    pub(super) fn on_range_is(&mut self, from: NodeId, round: u64, theirs: u128) {
        let Some((range, true)) = &self.audits.own else { return };
        if range.round != round || self.audits.answers.insert(from, theirs).is_some() {
            return;
        }
        let ours = range.digest;
        if theirs != ours {
            self.differences += 1;
            self.effects.events.push(Event::Differs { from, ours, theirs });
        }
        let agree = self.audits.answers.values().filter(|digest| **digest == ours).count();
        if 2 * (agree + 1) <= self.peers.len() + 1 {
            return;
        }
        for (&node, _) in self.audits.answers.iter().filter(|(_, digest)| **digest != ours) {
            if !self.audits.told.contains(&node) {
                self.audits.told.push(node);
                self.effects.send.push((node, Message::Rebuild { round }));
            }
        }
    }

    /// This replica is wrong, says another one with which most agree.
    pub(super) fn on_rebuild(&mut self, from: NodeId, round: u64) {
        if self.audits.differed.get(&from) == Some(&round) {
            self.differences += 1;
            self.audits.rebuild_from = Some(from);
        }
    }
}
