//! Replicas that have applied up to the same index hold the same state.

use std::collections::BTreeMap;

use replication::{NodeId, PartitionId};

use super::Violation;

/// The digest that a partition has at each index.
#[derive(Debug, Default)]
pub struct Digests {
    known: BTreeMap<(PartitionId, u64), (u128, NodeId)>,
    /// A replica that was loaded from a snapshot taken while writes went on is exact only from here on.
    exact_from: BTreeMap<(NodeId, PartitionId), u64>,
}

impl Digests {
    /// A replica was loaded from a snapshot; nothing after `highest` had been applied by anyone when it was taken.
    pub fn on_loaded(&mut self, node: NodeId, partition: PartitionId, highest: u64) {
        self.exact_from.insert((node, partition), highest);
    }

    /// A replica has this digest at this index. True if there was another to compare it with.
    ///
    /// # Errors
    /// Another replica had another digest there.
    pub fn on_digest(
        &mut self,
        node: NodeId,
        partition: PartitionId,
        index: u64,
        digest: u128,
    ) -> Result<bool, Violation> {
        if self.exact_from.get(&(node, partition)).is_some_and(|&from| index < from) {
            return Ok(false);
        }
        let (known, by) = *self.known.entry((partition, index)).or_insert((digest, node));
        if known == digest {
            return Ok(by != node);
        }
        Err(Violation::new(
            "digest",
            format!(
                "at entry {index} of partition {} node {} holds {digest:032x} and node {} held {known:032x}",
                partition.0, node.0, by.0
            ),
        ))
    }
}
