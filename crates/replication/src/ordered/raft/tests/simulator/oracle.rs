//! What must hold after every step.

use std::collections::BTreeMap;

use super::super::super::*;
use super::node::Node;

/// What is known about an entry that was ever committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Committed {
    term: u64,
    /// Of everything applied up to here.
    digest: u64,
}

#[derive(Debug, Default)]
pub struct Oracle {
    leaders: BTreeMap<u64, NodeId>,
    /// By index and term: the content and the term of the entry before.
    entries: BTreeMap<(u64, u64), (u64, u64)>,
    /// From index 1 on.
    committed: Vec<Committed>,
    /// The term in which each was: that of the leader, which is the first to apply it.
    committed_in: Vec<u64>,
    /// The largest commit index that any replica has known.
    pub known_commit: u64,
}

pub fn hash(seed: u64, entry: &Entry) -> u64 {
    let mut hash = xxhash_rust::xxh3::Xxh3::with_seed(seed);
    hash.update(&entry.index.to_le_bytes());
    hash.update(&entry.term.to_le_bytes());
    hash.update(&[entry.kind as u8]);
    hash.update(&entry.payload);
    hash.digest()
}

impl Oracle {
    /// Log matching: one index and term, one content, and the same entry before it.
    pub fn written(&mut self, entry: &Entry, term_before: u64) {
        let content = (hash(0, entry), term_before);
        let known = *self.entries.entry((entry.index, entry.term)).or_insert(content);
        assert_eq!(known, content, "two entries at {} of term {}", entry.index, entry.term);
    }

    /// Everyone applies the same, in order. Returns the digest of everything up to it.
    pub fn applied(&mut self, digest_before: u64, entry: &Entry, term: u64) -> u64 {
        let digest = hash(digest_before, entry);
        let committed = Committed { term: entry.term, digest };
        let place = entry.index as usize - 1;
        assert!(place <= self.committed.len(), "applied {} before all before it", entry.index);
        if place == self.committed.len() {
            self.committed.push(committed);
            self.committed_in.push(term);
        }
        assert_eq!(self.committed[place], committed, "what is committed at {} changed", entry.index);
        digest
    }

    pub fn digest_at(&self, index: u64) -> u64 {
        index.checked_sub(1).map_or(0, |place| self.committed[place as usize].digest)
    }

    pub fn committed_count(&self) -> u64 {
        self.committed.len() as u64
    }

    /// One leader a term, and it has everything that was committed in earlier terms.
    pub fn leads(&mut self, node: NodeId, raft: &Raft) {
        let term = raft.term();
        let leader = *self.leaders.entry(term).or_insert(node);
        assert_eq!(leader, node, "two leaders in term {term}");
        let places = 0..self.committed.len();
        for place in places.rev().filter(|&place| self.committed_in[place] < term).take(50) {
            let index = place as u64 + 1;
            assert!(
                raft.last_index() >= index,
                "leader {node:?} of term {term} lacks {index}, which is committed"
            );
            if let Some(meta) = raft.meta_at(index) {
                assert_eq!(
                    meta.term, self.committed[place].term,
                    "leader {node:?} has another entry at {index}"
                );
            }
        }
    }

    /// What a leader newly takes for committed is durable on majorities.
    pub fn is_durable(&self, index: u64, leader: &Raft, nodes: &BTreeMap<u64, Node>) {
        let Some(term) = leader.meta_at(index).map(|meta| meta.term) else { return };
        let membership = leader.membership();
        for half in [&membership.voters, &membership.outgoing] {
            let copies = half.iter().filter(|node| nodes[&node.0].disk.holds(index, term)).count();
            assert!(
                half.is_empty() || copies >= crate::quorum::majority(half.len()),
                "{index} of term {term} is taken for committed, durable on {copies} of {half:?}"
            );
        }
    }

    /// At most one lease at any time, and its holder knows everything that is committed.
    pub fn leases(&self, real: u64, nodes: &BTreeMap<u64, Node>) -> u64 {
        let mut holders = Vec::new();
        for node in nodes.values() {
            let Some(raft) = &node.raft else { continue };
            if raft.has_lease(node.clock.local(real)) {
                assert!(
                    raft.commit() >= self.known_commit,
                    "{:?} has a lease and does not know that {} is committed (but {})",
                    node.id,
                    self.known_commit,
                    raft.commit()
                );
                holders.push(node.id);
            }
        }
        assert!(holders.len() < 2, "two leases at {real}: {holders:?}");
        holders.len() as u64
    }
}
