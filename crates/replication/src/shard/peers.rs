//! What a shard knows of the other nodes: whether they show signs of life, and what they forwarded.
//!
//! Every node tells every other that it is alive. To those that matter soon - it holds a partition with them, or both vote
//! on the catalogue - often enough for an election; to all others, who only want to know whether a request can be
//! forwarded and whether a member has gone for good, about once a second. So a node of a large cluster says little more than
//! one of a small one, and no rumour has to be spread.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::shard::outbox::Outbox;
use crate::time::Time;
use crate::wire::Message;
use crate::{NodeId, PartitionId};

/// How often those that are not near are told: each so manieth time.
const FAR: u32 = 8;
/// How many lanes of former incarnations are remembered before they are dropped.
const LANES_KEPT: usize = 1024;

/// The other nodes.
#[derive(Debug)]
pub(crate) struct Peers {
    peers: BTreeMap<NodeId, Peer>,
    alive_interval: Duration,
    dead_after: Duration,
    next_alive: Time,
    told: u32,
}

#[derive(Debug, Default)]
struct Peer {
    incarnation: Option<u64>,
    heard_at: Time,
    suspected: bool,
    /// It holds a partition together with this node, or both vote on the catalogue.
    near: bool,
    /// It is no member any more: nothing is sent to it and nothing expected of it, unless it is heard of again. What it
    /// forwarded is remembered, since copies of that may still be on their way.
    gone: bool,
    /// The highest sequence taken from each lane of an incarnation. Former incarnations are kept, since what they sent
    /// may still be on its way.
    taken: BTreeMap<(u64, u8), u64>,
    /// The latest generation of forwards that was sent back, likewise and by partition.
    sent_back: BTreeMap<(u64, u8, PartitionId), u64>,
}

/// What a message says about its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The same process as before.
    Same,
    /// It has started anew since: what was asked of the former process will not be answered.
    Restarted,
}

impl Peers {
    pub fn new(alive_interval: Duration, dead_after: Duration, now: Time) -> Peers {
        Peers { peers: BTreeMap::new(), alive_interval, dead_after, next_alive: now, told: 0 }
    }

    /// Only these are the other nodes, from now on.
    pub fn set_only(&mut self, nodes: &BTreeSet<NodeId>, near: &BTreeSet<NodeId>, now: Time) {
        for (node, peer) in &mut self.peers {
            peer.gone |= !nodes.contains(node);
        }
        self.set(nodes.iter().copied(), now);
        for (node, peer) in &mut self.peers {
            peer.near = near.contains(node);
        }
    }

    /// For how long nothing was heard of `node`.
    pub fn silent_for(&self, node: NodeId, now: Time) -> Duration {
        self.peers.get(&node).map_or(Duration::ZERO, |peer| now.since(peer.heard_at))
    }

    /// These are other nodes, and near.
    pub fn set(&mut self, nodes: impl Iterator<Item = NodeId>, now: Time) {
        for node in nodes {
            let unknown = || Peer { gone: true, near: true, ..Peer::default() };
            let peer = self.peers.entry(node).or_insert_with(unknown);
            if std::mem::take(&mut peer.gone) {
                peer.heard_at = now;
            }
        }
    }

    /// A message has come from `node`.
    pub fn hear(&mut self, node: NodeId, incarnation: u64, now: Time) -> Heard {
        let peer = self.peers.entry(node).or_default();
        peer.heard_at = now;
        (peer.suspected, peer.gone) = (false, false);
        if peer.incarnation == Some(incarnation) {
            return Heard::Same;
        }
        let restarted = peer.incarnation.is_some();
        peer.incarnation = Some(incarnation);
        if peer.taken.len() > LANES_KEPT {
            peer.taken.retain(|&(of, _), _| of == incarnation);
            peer.sent_back.retain(|&(of, ..), _| of == incarnation);
        }
        if restarted { Heard::Restarted } else { Heard::Same }
    }

    /// The present process of `node`, if it has been heard of and is not believed to be gone: what is sent to it may
    /// get an answer.
    pub fn reachable(&self, node: NodeId) -> Option<u64> {
        self.peers.get(&node).filter(|peer| !peer.suspected)?.incarnation
    }

    /// Is this forward new? One that came before, or was overtaken by a later one, is not run (again).
    pub fn take_forward(&mut self, node: NodeId, incarnation: u64, sequence: u64) -> bool {
        let Some(peer) = self.peers.get_mut(&node) else { return false };
        let taken = peer.taken.entry((incarnation, lane(sequence))).or_default();
        let new = sequence > *taken;
        *taken = sequence.max(*taken);
        new
    }

    /// A forward of this generation is not served here.
    pub fn send_back(
        &mut self,
        node: NodeId,
        incarnation: u64,
        sequence: u64,
        partition: PartitionId,
        generation: u64,
    ) {
        if let Some(peer) = self.peers.get_mut(&node) {
            let latest = peer.sent_back.entry((incarnation, lane(sequence), partition)).or_default();
            *latest = generation.max(*latest);
        }
    }

    /// Was one of the same generation, which came before it, sent back? Then so must this one be.
    pub fn was_sent_back(
        &self,
        node: NodeId,
        incarnation: u64,
        sequence: u64,
        partition: PartitionId,
        generation: u64,
    ) -> bool {
        let peer = self.peers.get(&node);
        peer.and_then(|peer| peer.sent_back.get(&(incarnation, lane(sequence), partition)))
            .is_some_and(|&latest| generation <= latest)
    }

    /// Has `node` shown a sign of life lately?
    pub fn is_alive(&self, node: NodeId, now: Time) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.incarnation.is_some() && !self.is_silent(peer, now))
    }

    fn is_silent(&self, peer: &Peer, now: Time) -> bool {
        now.since(peer.heard_at) >= if peer.near { self.dead_after } else { self.dead_after * FAR }
    }

    /// The connection to `node` broke. Returns whether that is news.
    pub fn lost(&mut self, node: NodeId) -> bool {
        self.peers.get_mut(&node).is_some_and(|peer| !std::mem::replace(&mut peer.suspected, true))
    }

    /// Sends signs of life when they are due; returns the nodes that are silent, again and again as long as they are: a
    /// partition may fall quiet after its leader has died.
    pub fn wake(&mut self, now: Time, outbox: &mut Outbox) -> Vec<NodeId> {
        if now < self.next_alive {
            return Vec::new();
        }
        self.next_alive = now + self.alive_interval;
        self.told = self.told.wrapping_add(1);
        let members = || self.peers.iter().filter(|(_, peer)| !peer.gone);
        for (&node, _) in members()
            .filter(|(node, peer)| peer.near || self.told.wrapping_add(node.0 as u32).is_multiple_of(FAR))
        {
            outbox.send(node, Message::Alive);
        }
        let suspected = |peer: &Peer| peer.suspected || self.is_silent(peer, now);
        let silent: Vec<NodeId> =
            members().filter(|(_, peer)| suspected(peer)).map(|(&node, _)| node).collect();
        for node in &silent {
            self.peers.entry(*node).or_default().suspected = true;
        }
        silent
    }

    pub fn wake_at(&self) -> Time {
        self.next_alive
    }
}

/// Forwards of one sending shard are numbered apart: the low byte of a sequence is the number of that shard.
pub(crate) fn lane(sequence: u64) -> u8 {
    sequence as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that leaves and comes back, or is not yet known here: what it forwarded before does not run again.
    #[test]
    fn what_a_node_forwarded_is_remembered_when_it_is_no_member() {
        let node = NodeId(2);
        let mut peers = Peers::new(Duration::from_millis(100), Duration::from_millis(500), Time(0));
        peers.hear(node, 7, Time(1));
        assert!(peers.take_forward(node, 7, 0x200));
        peers.set_only(&BTreeSet::from([NodeId(3)]), &BTreeSet::from([NodeId(3)]), Time(2));
        let mut outbox = Outbox::default();
        peers.wake(Time(3), &mut outbox);
        assert_eq!(outbox.outputs.len(), 1, "nothing is sent to who is gone");
        peers.hear(node, 7, Time(4));
        assert!(!peers.take_forward(node, 7, 0x200) && !peers.take_forward(node, 7, 0x100));
    }

    #[test]
    fn who_is_far_is_told_seldom_and_missed_late() {
        let (near, far) = (NodeId(2), NodeId(3));
        let (interval, dead_after) = (Duration::from_millis(100), Duration::from_millis(500));
        let mut peers = Peers::new(interval, dead_after, Time(0));
        peers.set_only(&BTreeSet::from([near, far]), &BTreeSet::from([near]), Time(0));
        let mut now = Time(0);
        for node in [near, far] {
            peers.hear(node, 7, now);
        }
        let mut told: BTreeMap<NodeId, u32> = BTreeMap::new();
        let mut missed: BTreeMap<NodeId, Time> = BTreeMap::new();
        for _ in 0..48 {
            let mut outbox = Outbox::default();
            for node in peers.wake(now, &mut outbox) {
                missed.entry(node).or_insert(now);
            }
            for output in outbox.outputs {
                let crate::contract::Output::Send { to, .. } = output else { continue };
                *told.entry(to).or_default() += 1;
            }
            now = now + interval;
        }
        assert_eq!(told, BTreeMap::from([(near, 48), (far, 6)]));
        assert_eq!(missed, BTreeMap::from([(near, Time(0) + dead_after), (far, Time(0) + dead_after * FAR)]));
    }

    #[test]
    fn a_forward_runs_once_per_lane_and_incarnation() {
        let node = NodeId(2);
        let mut peers = Peers::new(Duration::from_millis(100), Duration::from_millis(500), Time(0));
        assert_eq!(peers.hear(node, 7, Time(1)), Heard::Same);
        assert!(peers.take_forward(node, 7, 0x100));
        assert!(!peers.take_forward(node, 7, 0x100), "a duplicate");
        assert!(peers.take_forward(node, 7, 0x300));
        assert!(!peers.take_forward(node, 7, 0x200), "overtaken");
        assert!(peers.take_forward(node, 7, 0x101), "another lane");
        assert_eq!(peers.hear(node, 8, Time(2)), Heard::Restarted);
        assert!(peers.take_forward(node, 8, 0x100), "another process counts anew");
        assert_eq!(peers.hear(node, 7, Time(3)), Heard::Restarted);
        assert!(!peers.take_forward(node, 7, 0x100), "a late copy from the former process");
    }
}
