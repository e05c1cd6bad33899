//! What this node knows of the cluster: nodes, placement, leaders. Drivers refresh it, commands read it.

use std::sync::{Arc, Mutex};

use replication::shard::PartitionStatus;
use replication::{NodeId, PartitionId, Placement};

use crate::config::Address;

/// A node as seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its identity.
    pub id: NodeId,
    /// Its name in the configuration.
    pub name: String,
    /// Where it takes clients.
    pub client: Address,
    /// Where it takes peers.
    pub peer: Address,
    /// Is there a connection to it? True for this node.
    pub alive: bool,
}

/// A moment's view of the cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterState {
    /// This node.
    pub myself: NodeId,
    /// All nodes whose identity is known, by identity.
    pub nodes: Vec<NodeView>,
    /// Which partition holds a slot and which nodes hold a partition.
    pub placement: Arc<Placement>,
    /// By partition number: what this node's replica says; `None` where it holds no replica.
    pub partitions: Vec<Option<PartitionStatus>>,
    /// Rises when nodes, placement, members or leaders change (not with every applied entry).
    pub version: u64,
}

/// The shared view.
#[derive(Debug, Default)]
pub struct ClusterView {
    state: Mutex<Arc<ClusterState>>,
}

impl ClusterView {
    /// The view of a node that knows itself alone.
    pub fn new(myself: NodeId, nodes: Vec<NodeView>, placement: Arc<Placement>) -> ClusterView {
        let partitions = placement.partitions.iter().map(|_| None).collect();
        let state = ClusterState { myself, nodes, placement, partitions, version: 1 };
        ClusterView { state: Mutex::new(Arc::new(state)) }
    }

    /// The present view.
    pub fn state(&self) -> Arc<ClusterState> {
        self.lock().clone()
    }

    /// Enters what a worker's shard says of its partitions. To be called by each worker after roles changed and about
    /// every 100 ms.
    pub fn set_status(&self, statuses: Vec<PartitionStatus>) {
        let _ = statuses;
    }

    /// Adds a node or changes what is known of it.
    pub fn set_node(&self, node: NodeView) {
        let _ = node;
    }

    /// A connection to a node was made or lost.
    pub fn set_alive(&self, node: NodeId, alive: bool) {
        let _ = (node, alive);
    }

    /// A new placement.
    pub fn set_placement(&self, placement: Arc<Placement>) {
        let _ = placement;
    }

    /// The present leader of a partition if known, else the preferred one.
    pub fn leader(&self, partition: PartitionId) -> Option<NodeId> {
        let _ = partition;
        None
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Arc<ClusterState>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
