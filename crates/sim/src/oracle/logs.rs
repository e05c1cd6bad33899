//! What was applied once is applied for ever: by index, every replica and every restart applies the same entry (Raft,
//! figure 3: state machine safety), each replica in order and once, and each new leader has it (leader completeness).

use std::collections::BTreeMap;

use replication::{FIRST_OF_CHILD, NodeId, PartitionId};

use super::Violation;

/// The one log per partition that all replicas must agree on.
#[derive(Debug, Default)]
pub struct Logs {
    partitions: BTreeMap<PartitionId, Applied>,
    /// By node and partition: where it stands since its start, and what it may apply next at the most.
    positions: BTreeMap<(NodeId, PartitionId), Option<u64>>,
}

#[derive(Debug, Default)]
struct Applied {
    /// By index: term and hash.
    entries: BTreeMap<u64, (u64, u64)>,
    /// By index: it was committed in this term at the latest.
    committed_in: BTreeMap<u64, u64>,
}

impl Logs {
    /// A node started: it may go on anywhere up to the next entry.
    pub fn on_start(&mut self, node: NodeId) {
        self.positions.retain(|(of, _), _| *of != node);
    }

    /// A replica begins empty.
    pub fn on_opened(&mut self, node: NodeId, partition: PartitionId) {
        self.positions.insert((node, partition), None);
    }

    /// A replica begins with part of the state of another partition: all of them at the same index.
    pub fn on_born(&mut self, node: NodeId, partition: PartitionId) {
        self.partitions.entry(partition).or_default().entries.entry(FIRST_OF_CHILD).or_default();
        self.positions.insert((node, partition), Some(FIRST_OF_CHILD));
    }

    /// A snapshot took the place of a replica's state.
    ///
    /// # Errors
    /// It stands for more than was ever applied, or for less than what the replica had.
    pub fn on_installed(
        &mut self,
        node: NodeId,
        partition: PartitionId,
        index: u64,
    ) -> Result<(), Violation> {
        if index > self.highest(partition) {
            return Err(Violation::new(
                "state machine safety",
                format!(
                    "node {} installed a snapshot of partition {} at {index}, but nothing after {} was ever applied",
                    node.0,
                    partition.0,
                    self.highest(partition)
                ),
            ));
        }
        self.positions.insert((node, partition), None);
        Ok(())
    }

    /// A replica applied an entry; `latest_term` is the highest that anyone led in so far. True if it is the first to do so.
    ///
    /// # Errors
    /// Another entry was applied at this index, here or elsewhere, or one was left out or applied again.
    pub fn on_applied(
        &mut self,
        node: NodeId,
        partition: PartitionId,
        index: u64,
        term: u64,
        hash: u64,
        latest_term: u64,
    ) -> Result<bool, Violation> {
        let highest = self.highest(partition);
        let position = self.positions.entry((node, partition)).or_default();
        let expected = position.map_or(index.min(highest + 1), |position| position + 1);
        if index != expected {
            return Err(Violation::new(
                "apply order",
                format!("node {} applied entry {index} of partition {}, not {expected}", node.0, partition.0),
            ));
        }
        *position = Some(index);
        let applied = self.partitions.entry(partition).or_default();
        match applied.entries.insert(index, (term, hash)) {
            None => {
                applied.committed_in.insert(index, latest_term.max(term));
                Ok(true)
            }
            Some(earlier) if earlier == (term, hash) => Ok(false),
            Some((other_term, other_hash)) => Err(Violation::new(
                "state machine safety",
                format!(
                    "node {} applied entry {index} of partition {} with term {term} and hash {hash:x}, but it had been \
                     applied with term {other_term} and hash {other_hash:x}",
                    node.0, partition.0
                ),
            )),
        }
    }

    /// The log of the leader of `term` ends at `last_index` as it begins to lead.
    ///
    /// # Errors
    /// It lacks something that was committed in an earlier term. (What was committed in a later one it need not have, though
    /// it be an entry of an earlier one: its votes may have been on their way for long.)
    pub fn on_leader(
        &self,
        node: NodeId,
        partition: PartitionId,
        term: u64,
        last_index: u64,
    ) -> Result<(), Violation> {
        let Some(applied) = self.partitions.get(&partition) else { return Ok(()) };
        let earlier = applied.committed_in.iter().rev().find(|(_, committed_in)| **committed_in < term);
        let Some((must_have, _)) = earlier.filter(|(index, _)| **index > last_index) else { return Ok(()) };
        Err(Violation::new(
            "leader completeness",
            format!(
                "node {} leads partition {} in term {term} with a log up to {last_index}, but {must_have} was applied",
                node.0, partition.0
            ),
        ))
    }

    /// The term of the entry that was applied for good at `index`.
    pub fn term_at(&self, partition: PartitionId, index: u64) -> Option<u64> {
        self.partitions.get(&partition)?.entries.get(&index).map(|(term, _)| *term)
    }

    /// The highest index that any replica ever applied.
    pub fn highest(&self, partition: PartitionId) -> u64 {
        let last = self.partitions.get(&partition).and_then(|applied| applied.entries.last_key_value());
        last.map_or(0, |(index, _)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionId = PartitionId(0);

    #[test]
    fn replicas_apply_the_same_entries_in_order_and_once() {
        let mut logs = Logs::default();
        for index in 1..4 {
            assert_eq!(logs.on_applied(NodeId(1), P, index, 1, index, 1), Ok(true));
            assert_eq!(logs.on_applied(NodeId(2), P, index, 1, index, 1), Ok(false));
        }
        assert!(logs.on_applied(NodeId(1), P, 3, 1, 3, 1).is_err(), "again");
        assert!(logs.on_applied(NodeId(2), P, 5, 1, 5, 1).is_err(), "one left out");
        logs.on_start(NodeId(1));
        assert!(logs.on_applied(NodeId(1), P, 2, 2, 2, 2).is_err(), "another one after a restart");
    }

    #[test]
    fn a_leader_must_have_what_was_applied() {
        let mut logs = Logs::default();
        assert_eq!(logs.on_applied(NodeId(1), P, 1, 1, 1, 1), Ok(true));
        assert!(logs.on_leader(NodeId(2), P, 2, 0).is_err());
        assert!(logs.on_leader(NodeId(2), P, 2, 1).is_ok());
        assert!(logs.on_leader(NodeId(2), P, 1, 0).is_ok(), "elected late");
        assert!(logs.on_installed(NodeId(2), P, 2).is_err());
        // An entry of term 1 that the leader of term 5 committed: one of term 4 whose votes were late may lack it.
        assert_eq!(logs.on_applied(NodeId(1), P, 2, 1, 2, 5), Ok(true));
        assert!(logs.on_leader(NodeId(2), P, 4, 1).is_ok());
        assert!(logs.on_leader(NodeId(2), P, 6, 1).is_err());
    }
}
