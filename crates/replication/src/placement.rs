//! Which partition holds a slot and which nodes hold a partition. Data with an epoch; the catalogue will make it.

use data::slot::SLOTS;
use serde::{Deserialize, Serialize};

/// The identity of a node: generated when its data folder is formatted, outlives address changes. A node that lost its
/// disk is a new node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

/// A partition: a contiguous range of slots, replicated as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId(pub u32);

/// The map from slots to partitions to nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Rises with every change.
    pub epoch: u64,
    /// The nodes that vote on the catalogue which this follows from; empty if it follows from none.
    pub catalogue: Vec<NodeId>,
    /// All members of the cluster, if it follows from a catalogue.
    pub members: Vec<NodeId>,
    /// How fast a partition is copied to a new member at the most; 0: as fast as it goes.
    #[serde(default)]
    pub move_bytes_per_second: u64,
    /// By partition number; the slots of partition `i` end before those of partition `i + 1` begin.
    pub partitions: Vec<PartitionPlacement>,
}

/// Where one partition lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionPlacement {
    /// The first slot.
    pub first_slot: u16,
    /// The last slot, included.
    pub last_slot: u16,
    /// The nodes that hold it; the first is the preferred leader.
    pub replicas: Vec<NodeId>,
    /// The index, in the partition's own log, of the membership that `replicas` stands for; 0: the first one. A node that is
    /// not wanted here and knows of no later membership may forget the partition.
    pub settled_at: u64,
    /// The nodes that are to hold it instead; empty: these.
    pub moving_to: Vec<NodeId>,
}

impl PartitionPlacement {
    /// Who is to hold it in the end, the preferred leader first.
    pub fn wanted(&self) -> &[NodeId] {
        if self.moving_to.is_empty() { &self.replicas } else { &self.moving_to }
    }

    /// Does the node hold it, or is it to?
    pub fn places(&self, node: NodeId) -> bool {
        self.replicas.contains(&node) || self.moving_to.contains(&node)
    }
}

impl Placement {
    /// `partitions` equal ranges of slots, each on `replication_factor` of `nodes`, the preferred leader going round.
    pub fn round_robin(nodes: &[NodeId], partitions: u32, replication_factor: usize) -> Placement {
        let mut placement = Placement { epoch: 1, ..Placement::of_slots(partitions) };
        let copies = replication_factor.min(nodes.len());
        for (number, placed) in placement.partitions.iter_mut().enumerate() {
            placed.replicas = (0..copies).map(|copy| nodes[(number + copy) % nodes.len()]).collect();
        }
        placement
    }

    /// Which slots are in which partition, and nothing else.
    pub fn of_slots(partitions: u32) -> Placement {
        let partitions = partitions.clamp(1, u32::from(SLOTS));
        let first = |partition: u32| (u64::from(partition) * u64::from(SLOTS) / u64::from(partitions)) as u16;
        let place = |partition: u32| PartitionPlacement {
            first_slot: first(partition),
            last_slot: first(partition + 1).wrapping_sub(1).min(SLOTS - 1),
            replicas: Vec::new(),
            settled_at: 0,
            moving_to: Vec::new(),
        };
        Placement { partitions: (0..partitions).map(place).collect(), ..Placement::default() }
    }

    /// The partition that holds `slot`.
    pub fn partition_of(&self, slot: u16) -> PartitionId {
        let after = self.partitions.partition_point(|partition| partition.first_slot <= slot);
        PartitionId(after.saturating_sub(1) as u32)
    }

    /// The placement of a partition.
    pub fn get(&self, partition: PartitionId) -> Option<&PartitionPlacement> {
        self.partitions.get(partition.0 as usize)
    }
}
