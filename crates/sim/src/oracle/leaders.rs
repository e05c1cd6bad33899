//! At most one leader per term and partition (Raft, figure 3: election safety).

use std::collections::BTreeMap;

use replication::{NodeId, PartitionId};

use super::Violation;

/// Who ever led.
#[derive(Debug, Default)]
pub struct Leaders {
    by_term: BTreeMap<(PartitionId, u64), (NodeId, u64)>,
}

impl Leaders {
    /// A node became leader. True if this is an election that was not known.
    ///
    /// # Errors
    /// Another node, or the same one before a restart, led in this term.
    pub fn on_leader(
        &mut self,
        partition: PartitionId,
        term: u64,
        node: NodeId,
        incarnation: u64,
    ) -> Result<bool, Violation> {
        match self.by_term.insert((partition, term), (node, incarnation)) {
            None => Ok(true),
            Some(earlier) if earlier == (node, incarnation) => Ok(false),
            Some(earlier) => Err(Violation::new(
                "election safety",
                format!(
                    "partition {} has two leaders in term {term}: node {} (start {}) and node {} (start {incarnation})",
                    partition.0, earlier.0.0, earlier.1, node.0
                ),
            )),
        }
    }

    /// The leader of the highest term of a partition, dead or alive.
    pub fn latest(&self, partition: PartitionId) -> Option<NodeId> {
        self.last(partition).map(|(_, node)| node)
    }

    /// The highest term that anyone led a partition in.
    pub fn latest_term(&self, partition: PartitionId) -> u64 {
        self.last(partition).map_or(0, |(term, _)| term)
    }

    fn last(&self, partition: PartitionId) -> Option<(u64, NodeId)> {
        let terms = self.by_term.range((partition, 0)..=(partition, u64::MAX));
        terms.last().map(|((_, term), (node, _))| (*term, *node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_leader_of_a_term_is_an_alarm_even_after_a_restart() {
        let mut leaders = Leaders::default();
        let p = PartitionId(0);
        assert_eq!(leaders.on_leader(p, 1, NodeId(1), 1), Ok(true));
        assert_eq!(leaders.on_leader(p, 1, NodeId(1), 1), Ok(false));
        assert_eq!(leaders.on_leader(p, 2, NodeId(2), 1), Ok(true));
        assert_eq!(leaders.on_leader(PartitionId(1), 2, NodeId(1), 1), Ok(true));
        assert_eq!(leaders.latest(p), Some(NodeId(2)));
        assert!(leaders.on_leader(p, 1, NodeId(1), 2).is_err());
        assert!(leaders.on_leader(p, 2, NodeId(1), 1).is_err());
    }
}
