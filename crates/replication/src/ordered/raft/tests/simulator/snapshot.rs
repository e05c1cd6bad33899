//! Compaction, and snapshots from leader to follower, as a driver would do them.

use super::super::super::*;
use super::disk::{Batch, Snapshot, Then};
use super::network::Packet;
use super::world::{MS, World};

impl World {
    /// A snapshot of a replica's own state begins; the log is cut when it is durable.
    pub fn begin_snapshot(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a node");
        let Some(raft) = &mut node.raft else { return };
        if node.compacting || node.applied <= raft.log_start() {
            return;
        }
        raft.applied(node.applied);
        let index = node.applied;
        let meta = raft.meta_at(index).expect("what was just applied is known");
        node.compacting = true;
        let snapshot = Snapshot { meta, digest: node.digest };
        let then = Then::Compact { index };
        let batch =
            Batch { writes: Vec::new(), snapshot: Some(snapshot), token: None, messages: Vec::new(), then };
        self.persist(id, batch);
    }

    pub fn compact(&mut self, id: u64, index: u64) {
        self.counters.compactions += 1;
        self.nodes.get_mut(&id).expect("a node").compacting = false;
        self.with(id, |raft, _| raft.compact(index));
    }

    pub fn send_snapshot(&mut self, id: u64, to: NodeId) {
        self.counters.snapshots_sent += 1;
        let gives_up = self.real + 300 * MS;
        let node = self.nodes.get_mut(&id).expect("a node");
        node.sending.insert(to, gives_up);
        let raft = node.raft.as_ref().expect("it is up");
        let meta = raft.meta_at(node.applied).expect("what was just applied is known");
        let snapshot = Snapshot { meta, digest: node.digest };
        let term = raft.term();
        self.say(|| format!("{id} sends a snapshot to {to:?} at {}", snapshot.meta.index));
        self.send(id, to.0, Packet::Snapshot { term, snapshot });
    }

    pub fn on_snapshot(&mut self, from: u64, to: u64, term: u64, snapshot: Snapshot) {
        let follows = self.with(to, |raft, now| raft.hear_leader(NodeId(from), term, now));
        if follows != Some(true) {
            return;
        }
        if self.nodes[&to].raft.as_ref().is_some_and(|raft| raft.commit() >= snapshot.meta.index) {
            self.counters.snapshots_too_old += 1;
        }
        let then = Then::Restore { from: NodeId(from), snapshot: snapshot.clone() };
        let batch =
            Batch { writes: Vec::new(), snapshot: Some(snapshot), token: None, messages: Vec::new(), then };
        self.persist(to, batch);
    }

    pub fn restore(&mut self, id: u64, from: NodeId, snapshot: &Snapshot) {
        let last_before = self.nodes[&id].raft.as_ref().map_or(0, Raft::last_index);
        let index = snapshot.meta.index;
        assert_eq!(snapshot.digest, self.oracle.digest_at(index), "a snapshot holds what was committed");
        let node = self.nodes.get_mut(&id).expect("a node");
        let now = node.clock.local(self.real);
        let Some(raft) = &mut node.raft else { return };
        if raft.restore(&snapshot.meta, now) {
            node.applied = index;
            node.digest = snapshot.digest;
            if raft.last_index() == index && last_before != index {
                self.counters.snapshots_replacing_the_log += 1;
            } else {
                self.counters.snapshots_beside_the_log += 1;
            }
        }
        self.with(id, |_, _| ());
        self.send(id, from.0, Packet::SnapshotAck { index });
    }

    pub fn on_snapshot_ack(&mut self, from: u64, to: u64, index: u64) {
        let node = self.nodes.get_mut(&to).expect("a node");
        if node.sending.remove(&NodeId(from)).is_some() {
            self.with(to, |raft, now| raft.snapshot_delivered(NodeId(from), Some(index), now));
        }
    }

    /// Snapshots whose acknowledgement did not come are given up.
    pub fn give_up_snapshots(&mut self, id: u64) {
        let real = self.real;
        let node = self.nodes.get_mut(&id).expect("a node");
        let late: Vec<NodeId> =
            node.sending.iter().filter(|&(_, &until)| until <= real).map(|(&to, _)| to).collect();
        for to in late {
            self.nodes.get_mut(&id).expect("a node").sending.remove(&to);
            self.with(id, |raft, now| raft.snapshot_delivered(to, None, now));
        }
    }
}
