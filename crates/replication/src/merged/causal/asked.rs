//! What others hold, asked before a client is answered (quorums: Gifford 1979; Dynamo, section 4.5).
//!
//! A replica applies everything in causal order, so all that it holds is one vector. So a replica that is to answer for
//! others asks for their vectors, whatever the keys, once for all requests of a batch, and answers when it has applied itself what enough
//! of them held. Nothing is asked for that a key has: what is missing comes as it always does, but at once. Whoever is asked sees by the vector
//! what the other one lacks, and sends it (read repair).

use std::collections::BTreeMap;
use std::time::Duration;

use data::merged::VersionVector;

use super::{Causal, Message, Round};
use crate::NodeId;
use crate::time::{Now, Time};

/// What is here for so long has come to others by itself, or was lost on the way.
const REPAIRED_AFTER: Duration = Duration::from_millis(20);
/// So often something is sent to a replica that was found to lack it, at the most.
const REPAIRED_EVERY: Duration = Duration::from_millis(20);

/// What is asked, what was told, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    number: u64,
    told: Vec<(NodeId, u64, VersionVector)>,
    repaired_at: BTreeMap<NodeId, Time>,
    repairs: u64,
}

impl Causal {
    /// Asks all others what they hold, and gives the number of the round; answers come with [`Causal::take_told`].
    pub fn ask_what_others_hold(&mut self) -> u64 {
        self.asked.number += 1;
        let number = self.asked.number;
        self.ask_again(number, |_| true);
        number
    }

    /// Asks again those of whom `lacks` says so.
    pub fn ask_again(&mut self, number: u64, lacks: impl Fn(NodeId) -> bool) {
        let round = Round { life: self.options.life, number };
        for node in self.peers.keys().chain(self.stand_ins.keys()).filter(|node| lacks(**node)) {
            self.effects.send.push((*node, Message::Ask { round, vector: self.vector.clone() }));
        }
    }

    /// What was told since this was asked last: by whom, in which round, and what.
    pub fn take_told(&mut self) -> Vec<(NodeId, u64, VersionVector)> {
        std::mem::take(&mut self.asked.told)
    }

    /// Was this member heard lately?
    pub fn is_heard(&self, node: NodeId, within: Duration, now: Now) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.heard && peer.heard_at + within > now.time)
    }

    /// How many of the members of whom `counts` says so hold a mutation durably, as far as known here.
    pub fn copies_among(&self, dot: data::merged::Dot, counts: impl Fn(NodeId) -> bool) -> usize {
        let others = self.peers.iter().filter(|(node, peer)| counts(**node) && peer.holds.covers(dot));
        others.count()
    }

    /// So often mutations were sent to a replica that was found to lack them when it asked.
    pub fn read_repairs(&self) -> u64 {
        self.asked.repairs
    }

    pub(super) fn on_ask(&mut self, from: NodeId, round: Round, vector: &VersionVector, now: Now) {
        let told = Message::Told { round, vector: self.durable.clone() };
        self.effects.send.push((from, told));
        if vector.includes(&self.durable) || !self.peers.contains_key(&from) {
            return;
        }
        let due_at = self.asked.repaired_at.get(&from).map_or(Time::default(), |at| *at + REPAIRED_EVERY);
        if due_at > now.time {
            return;
        }
        self.asked.repaired_at.insert(from, now.time);
        // From the end, where they mostly are: while somebody is gone much is kept.
        let missing = self.vector.iter().map(|dot| dot.counter.saturating_sub(vector.get(dot.origin)));
        let missing = missing.sum::<u64>().try_into().unwrap_or(usize::MAX);
        let newest_first = self.kept.recent().rev().filter(|entry| !vector.covers(entry.dot)).take(missing);
        let is_late =
            |entry: &&super::Logged| entry.at + REPAIRED_AFTER <= now.time && entry.index <= self.persisted;
        let mut lacking: Vec<_> = newest_first.filter(is_late).collect();
        lacking.reverse();
        let batch = super::ship::first_of(lacking.into_iter(), self.options.batch_bytes);
        if !batch.is_empty() {
            self.asked.repairs += 1;
            self.effects.send.push((from, Message::Mutations(batch)));
        }
    }

    pub(super) fn on_told(&mut self, from: NodeId, round: Round, vector: VersionVector, now: Now) {
        if round.life != self.options.life {
            return;
        }
        match self.peers.get_mut(&from) {
            Some(peer) => peer.hear(now),
            None if self.stand_ins.contains_key(&from) => {}
            None => return,
        }
        self.asked.told.push((from, round.number, vector));
    }
}
